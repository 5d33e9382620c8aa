// Draws what the selectors and sliders of a report ask for. `fields` and the rest of the arguments
// are made by reporting/figures.py; numbers are packed as reporting.summaries.Packed says.
const MISSING = 65535
const BESIDE_MAP = 210 // pixels: an axis, a colour bar with long numbers, tools, and margins
const BESIDE_CURVE = 150

const room = () => Math.max(330, document.documentElement.clientWidth)

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
  const products = own.filter((f) => f.variable == ui.variable.value)
  offer(ui.product, unique(products.map((f) => f.product)))
  const same = products.filter((f) => f.product == ui.product.value)
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
  if (map.shown === f && map.room === room()) return
  map.shown = f
  map.room = room()
  const smaller = Math.min(1, (room() - BESIDE_MAP) / f.size[0])
  map.plot.setv({frame_width: Math.round(f.size[0] * smaller), frame_height: Math.round(f.size[1] * smaller)})
  map.plot.x_range.setv({start: west, end: east, reset_start: west, reset_end: east})
  map.plot.y_range.setv({start: south, end: north, reset_start: south, reset_end: north})
  const [xs, ys] = coasts[f.coast]
  map.coast.data = {xs, ys}
}

function drawMaps({ui, maps, coasts, palettes}, f, series, step) {
  const colors = palettes[f.palette]
  const changeColors = palettes[f.change_palette]
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
    drawMap(coasts, maps.normal, f, unpack(f.maps, start, cells), limits, f.label, colors,
            `${f.name}, ${f.region}: ${f.steps[step]}, ${years}`)
  } else {
    drawMap(coasts, maps.normal, f, new Float32Array(cells).fill(NaN), limits, f.label, colors, "No map")
  }
  const years = shown.length == series.length ? "" : `, of ${shown.length} with maps`
  ui.target_label.text = `Target year ${target ?? "none"}${years}`
  const change = f.changes[ui.scenario.value]
  if (change) {
    const limit = change.limits[step == 0 ? 0 : 1]
    const [first, last] = change.ends
    drawMap(coasts, maps.change, f, unpack(change, step * cells, cells), [-limit, limit],
            f.change_label, changeColors, `Change from ${first} to ${last}: ${f.steps[step]}`)
  } else {
    drawMap(coasts, maps.change, f, new Float32Array(cells).fill(NaN), [-1, 1], f.change_label,
            changeColors, "No change: one target year only")
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
  const {plot, lines, dots, legend, band, band_legend, axis, x_axis} = curves.cycle
  const {x, names, ticks, tick_names, label, end} = f.cycle
  plot.visible = end > 1 // a product of one step has no cycle
  if (!plot.visible) return
  axis.axis_label = f.label
  lines.forEach((line, n) => {
    const cycle = f.cycles[scenario][n]
    line.visible = cycle != null
    dots[n].visible = cycle != null && f.cycle.dots
    legend.items[n].visible = cycle != null
    if (cycle == null) {
      line.data_source.data = {x: [], y: [], day: [], target: []} // or the axis would hold it
      return
    }
    line.data_source.data = {x, y: cycle.values, day: names, target: x.map(() => cycle.target)}
    legend.items[n].label = {value: `${cycle.target - f.window + 1}-${cycle.target}`}
  })
  const spread = f.bands[scenario]
  band.visible = band_legend.visible = spread != null
  if (spread == null) {
    band.data_source.data = {x: [], low: [], high: []}
  } else {
    band.data_source.data = {x, low: spread.low, high: spread.high}
    const years = `${spread.target - f.window + 1}-${spread.target}`
    band_legend.items[0].label = {value: `${spread.name}, ${years}`}
  }
  x_axis.axis_label = label
  x_axis.ticker.ticks = ticks
  x_axis.major_label_overrides = new Map(ticks.map((n, i) => [n, tick_names[i]]))
  const ends = f.cycle.dots ? {start: 0.7, end: end + 0.3} : {start: 1, end}
  plot.x_range.setv({...ends, reset_start: ends.start, reset_end: ends.end})
}

function fitCurves({curves}) {
  const frame_width = Math.min(curves.width, room() - BESIDE_CURVE)
  for (const {plot} of [curves.cycle, curves.mean, curves.missing]) plot.frame_width = frame_width
}

function draw(args, obj) {
  const {ui} = args
  if (ui.busy) return // a select that is given other options calls again
  ui.busy = true
  try {
    const f = chosenField(args)
    offer(ui.scenario, f.scenarios)
    if (obj === ui.step && f.annual) ui.view.active = 1
    const first = f.annual ? 1 : 0
    slide(ui.step, f.steps.length - first)
    ui.view.visible = f.annual
    ui.view.labels = ["Annual mean", `One ${f.step_word}`]
    const step = f.annual && ui.view.active == 0 ? 0 : ui.step.value + first
    const word = f.step_word[0].toUpperCase() + f.step_word.slice(1)
    ui.step_label.text = `${word}: ${f.steps[ui.step.value + first]}`
    ui.step_box.visible = f.steps.length > 1
    fitCurves(args)
    const series = seriesOf(f, ui.scenario.value)
    const target = drawMaps(args, f, series, step)
    drawMeans(args, f, series, step, target, ui.scenario.value)
    drawCycles(args, f, ui.scenario.value)
    ui.about.text = f.about
  } finally {
    ui.busy = false
  }
}

export default (args, obj) => {
  if (!args.ui.listens) {
    args.ui.listens = true
    window.addEventListener("resize", () => draw(args, null))
  }
  draw(args, obj)
}
