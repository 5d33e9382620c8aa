// Draws what the selectors and sliders of a report ask for. `fields` and the rest of the arguments
// are made by reportfigures.py; numbers are packed as climdask.summaries.Packed says.
const MISSING = 65535

function unpack(packed, start, n) {
  const values = new Float32Array(n)
  for (let i = 0; i < n; i++) {
    const p = packed.packed[start + i]
    values[i] = p == MISSING ? NaN : packed.offset + packed.scale * p
  }
  return values
}

const unique = (values) => [...new Set(values)]

// Let a select offer some options; keep its choice if it is still there.
function offer(select, options) {
  if (select.options.join("\n") != options.join("\n")) select.options = options
  if (!options.includes(select.value)) select.value = options[0]
  select.disabled = options.length < 2
}

function slide(slider, n) {
  slider.end = Math.max(1, n - 1)
  slider.value = Math.min(slider.value, n - 1)
  slider.disabled = n < 2
}

function chosenField({fields, ui}) {
  offer(ui.dataset, unique(fields.map((f) => f.dataset)))
  const own = fields.filter((f) => f.dataset == ui.dataset.value)
  offer(ui.variable, unique(own.map((f) => f.variable)))
  const same = own.filter((f) => f.variable == ui.variable.value)
  offer(ui.region, unique(same.map((f) => f.region)))
  return same.find((f) => f.region == ui.region.value)
}

// Places in f.normals on the way of a scenario, in order of target years.
function seriesOf(f, scenario) {
  const own = f.normals.map((_, n) => n)
    .filter((n) => [f.trunk, scenario].includes(f.normals[n][0]))
  return own.sort((a, b) => f.normals[a][1] - f.normals[b][1])
}

// Draw one map into its image; `values` are [lat, lon].
function drawMap(coasts, map, f, values, [low, high], label, palette, title) {
  const {rows, columns} = f
  const nLon = f.lon_edges.length - 1
  const Pixels = map.source.data.image[0].constructor
  const image = new Pixels(rows.length * columns.length, [rows.length, columns.length])
  for (let j = 0; j < rows.length; j++)
    for (let i = 0; i < columns.length; i++)
      image[j * columns.length + i] = values[rows[j] * nLon + columns[i]]
  const [west, east] = [f.lon_edges[0], f.lon_edges.at(-1)]
  const [south, north] = [f.lat_edges[0], f.lat_edges.at(-1)]
  map.source.data = {image: [image], x: [west], y: [south], dw: [east - west], dh: [north - south]}
  map.mapper.setv({low, high, palette})
  map.bar.title = label
  map.plot.title.text = title
  if (map.shown === f) return
  map.shown = f
  map.plot.setv({frame_width: f.size[0], frame_height: f.size[1]})
  map.plot.x_range.setv({start: west, end: east, reset_start: west, reset_end: east})
  map.plot.y_range.setv({start: south, end: north, reset_start: south, reset_end: north})
  const [xs, ys] = coasts[f.coast]
  map.coast.data = {xs, ys}
}

function drawMaps({ui, maps, coasts}, f, series, step) {
  const cells = (f.lat_edges.length - 1) * (f.lon_edges.length - 1)
  const nSteps = f.steps.length
  const shown = series.filter((n) => f.shown.includes(n))
  slide(ui.target, shown.length)
  const limits = f.limits[step == 0 ? 0 : 1]
  let target = null
  if (shown.length) {
    const n = shown[ui.target.value]
    target = f.normals[n][1]
    const start = (f.shown.indexOf(n) * nSteps + step) * cells
    const years = `${target - f.window + 1}-${target}`
    drawMap(coasts, maps.normal, f, unpack(f.maps, start, cells), limits, f.label, f.colors,
            `${f.variable}, ${f.region}: ${f.steps[step]}, ${years}`)
  } else {
    drawMap(coasts, maps.normal, f, new Float32Array(cells).fill(NaN), limits, f.label, f.colors, "No map")
  }
  const years = shown.length == series.length ? "" : `, of ${shown.length} with maps`
  ui.target_label.text = `Target year ${target ?? "none"}${years}`
  const change = f.changes[ui.scenario.value]
  if (change) {
    const limit = change.limits[step == 0 ? 0 : 1]
    const [first, last] = change.ends
    drawMap(coasts, maps.change, f, unpack(change, step * cells, cells), [-limit, limit],
            f.change_label, f.change_colors, `Change from ${first} to ${last}: ${f.steps[step]}`)
  } else {
    drawMap(coasts, maps.change, f, new Float32Array(cells).fill(NaN), [-1, 1], f.change_label,
            f.change_colors, "No change: one target year only")
  }
  return target
}

function drawMeans({curves}, f, series, step, target, scenario) {
  const {mean, missing, bands} = curves
  const x = series.map((n) => f.normals[n][1])
  const period = (t) => f.periods[scenario].find(([_, a, b]) => a <= t && t <= b)?.[0] ?? ""
  const y = Float64Array.from(series, (n) => f.means[n * f.steps.length + step])
  mean.source.data = {x, y, period: x.map(period)}
  mean.plot.title.text = `Regional mean: ${f.steps[step]}`
  mean.axis.axis_label = f.label
  mean.marker.location = target ?? NaN
  missing.source.data = {
    x, top: series.map((n) => f.missing[n]), valid: series.map((n) => 100 * f.valid_share[n])}
  const most = Math.max(...missing.source.data.top)
  missing.plot.title.text = most == 0
    ? "Source years missing: none" : `Source years missing, of ${f.window}`
  missing.plot.y_range.setv({start: 0, end: Math.max(1, most) * 1.1})
  const ends = {start: Math.min(...x) - 1, end: Math.max(...x) + 1}
  for (const {plot} of [mean, missing])
    plot.x_range.setv({...ends, reset_start: ends.start, reset_end: ends.end})
  for (const [kind, {box, label}] of Object.entries(bands)) {
    const span = f.periods[scenario].find(([name]) => name == kind)
    box.visible = label.visible = span != null
    if (span) {
      box.setv({left: span[1] - 0.5, right: span[2] + 0.5})
      label.setv({x: span[1], text: span[3]})
    }
  }
}

function drawCycles({curves}, f, scenario) {
  const {plot, lines, legend, axis, x_axis} = curves.cycle
  axis.axis_label = f.label
  const x = f.days.map((_, n) => n + 1)
  lines.forEach((line, n) => {
    const cycle = f.cycles[scenario][n]
    line.visible = cycle != null
    legend.items[n].visible = cycle != null
    if (cycle == null) return
    line.data_source.data = {x, y: cycle.values, day: f.days, target: x.map(() => cycle.target)}
    legend.items[n].label = {value: `${cycle.target - f.window + 1}-${cycle.target}`}
  })
  x_axis.ticker.ticks = f.month_starts
  x_axis.major_label_overrides = new Map(f.month_starts.map((n) => [n, f.days[n - 1].slice(2)]))
  plot.x_range.setv({start: 1, end: f.days.length, reset_start: 1, reset_end: f.days.length})
}

export default (args, obj) => {
  const {ui} = args
  if (ui.busy) return // a select that is given other options calls again
  ui.busy = true
  try {
    const f = chosenField(args)
    offer(ui.scenario, f.scenarios)
    if (obj === ui.step) ui.view.active = 1
    slide(ui.step, f.steps.length - 1)
    ui.view.labels = ["Annual mean", f.daily ? "One day" : "One month"]
    const step = ui.view.active == 0 ? 0 : ui.step.value + 1
    ui.step_label.text = `${f.daily ? "Day" : "Month"}: ${f.steps[ui.step.value + 1]}`
    const series = seriesOf(f, ui.scenario.value)
    const target = drawMaps(args, f, series, step)
    drawMeans(args, f, series, step, target, ui.scenario.value)
    drawCycles(args, f, ui.scenario.value)
    ui.about.text = f.about
  } finally {
    ui.busy = false
  }
}
