"""The report of an output folder: one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from bokeh.embed import file_html
from bokeh.resources import INLINE
from jinja2 import Environment

from climdask.climatology.calendars import run_lengths
from climdask.monitoring.progress import clock
from climdask.outputs.atomicfiles import atomically
from climdask.outputs.folder import write_text
from climdask.plaintext import printable_in_html, quantity
from climdask.reporting.data import MAP_BYTES, ReportData, collect
from climdask.reporting.figures import document, label_of, lane_name
from climdask.version import __version__

MOST_ROWS = 200  # of a table of files

_STATES = {
    "done": "done",
    "failed": "something failed",
    "interrupted": "interrupted",
    "running": "running, or killed before it could say so",
}


def write_report(
    out: Path,
    file: Path | None = None,
    *,
    map_bytes: int = MAP_BYTES,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write the report of an output folder; the file appears whole or not at all.

    Args:
        out: output folder of a run, done or not.
        file: the HTML file; ``report.html`` in the output folder if left out.
        map_bytes: that all maps may take together; they are coarsened to fit.
        tell: receives how far it is.

    Returns:
        The file.

    Raises:
        OutputError: the folder is not the output of a run, or the file cannot be written.
    """
    file = out / "report.html" if file is None else file
    html = to_html(collect(out, map_bytes=map_bytes, tell=tell))
    atomically(file, lambda temporary: write_text(temporary, html), durable=False)
    return file


def to_html(data: ReportData) -> str:
    """Return the page."""
    # What is not Bokeh's comes from files and messages, so all of it is escaped.
    page = Environment(
        autoescape=True, finalize=printable_in_html, trim_blocks=True, lstrip_blocks=True
    ).from_string(
        (files("climdask.reporting") / "templates" / "report.html").read_text(encoding="utf-8")
    )
    drawn = document(data.fields, data.timeline)
    facts = {
        "facts": facts_of(data),
        "has_fields": bool(data.fields),
        "has_timeline": bool(data.timeline.spans),
    }
    title = f"climdask report: {data.root.absolute().name}"
    if not drawn.roots:
        return page.render(
            title=title, bokeh_css="", bokeh_js="", plot_script="", roots={}, **facts
        )
    return str(
        file_html(drawn, resources=INLINE, title=title, template=page, template_variables=facts)
    )


# ---------------------------------------------------------------- what is said in words


def facts_of(data: ReportData) -> dict[str, Any]:
    """Return everything that the page says in words and tables."""
    manifest = data.manifest
    state = str(manifest.get("state", "unknown"))
    return {
        "state": state,
        "state_text": _STATES.get(state, state),
        "folder": str(data.root.absolute()),
        "cards": _cards(data),
        "proved": data.audit.holds and data.runs > 0,
        "proof": _proof(data),
        "lacking": _lacking(data),
        "coarsened": coarsened(data),
        "timeline": _timeline(data),
        "chains": _chains(manifest),
        "notes": [*manifest.get("notes", ()), *_slow(data)],
        "run": _run(manifest),
        "inputs": _inputs(data),
        "workflow": yaml.safe_dump(manifest.get("workflow", {}), sort_keys=False),
        "climdask": __version__,
        "made": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "has_coast": any(field.coast for field in data.fields),
    }


def _cards(data: ReportData) -> list[tuple[str, str]]:
    manifest, counts = data.manifest, data.manifest.get("counts", {})
    there = len({(f.set.id, normal) for f in data.fields for normal in f.normals})
    products = dict.fromkeys(label_of(f) for f in data.fields)
    models = {f.set.model for f in data.fields}
    variables = dict.fromkeys(f.set.variable for f in data.fields)
    regions = dict.fromkeys(f.set.region for f in data.fields)
    targets = run_lengths(t for f in data.fields for _, t in f.normals)
    return [
        (f"normals; the latest run planned {counts.get('normals', '?')}", f"{there}"),
        ("target years", targets or "none"),
        ("models" if len(models) > 1 else "model", ", ".join(sorted(models)) or "none"),
        ("variables", ", ".join(variables) or "none"),
        ("products", f"{len(products)}"),
        ("regions", ", ".join(regions) or "none"),
        ("openings of input files, by all runs", f"{data.audit.opens}"),
        ("the latest run took", clock(float(manifest.get("seconds", 0.0)))),
    ]


def _proof(data: ReportData) -> str:
    if not data.runs:
        return "No traces are there, so nothing is proved about openings of input files."
    return f"Audit of {data.runs} {'run' if data.runs == 1 else 'runs'}: {data.audit}"


def _lacking(data: ReportData) -> list[tuple[str, str]]:
    """Return what failed, is not there or was left out, and why."""
    chains = data.manifest.get("chains", {})
    found = [(f"chain {c} failed", row["failure"]) for c, row in chains.items() if "failure" in row]
    found += [(f"not there: {name}", years) for name, years in data.absent.items()]
    found += [(f"not shown: {name}", reason) for name, reason in data.left_out.items()]
    unreadable = (
        (f"not readable: {field.set.id} {n}", why)
        for field in data.fields
        for n, why in field.unreadable
    )
    found += dict.fromkeys(unreadable)  # a file that cannot be opened is so for all its products
    found += [(f"skipped file {file}", reason) for file, reason in data.audit.skipped]
    found += [(f"incomplete file {file}", reason) for file, reason in data.audit.incomplete]
    found += [("audit", line) for line in (*data.audit.overlaps, *data.audit.unproven)]
    if len(found) > MOST_ROWS:
        more = len(found) - MOST_ROWS
        found = [*found[:MOST_ROWS], (f"and {more} more", "see the manifest, and climdask audit")]
    return found


def coarsened(data: ReportData) -> str:
    """Say where the report shows less than the files hold."""
    fields = data.fields
    said = []
    if months := [f for f in fields if f.has_annual_mean and not f.daily]:
        some = any(f.daily for f in fields) and dict.fromkeys(f.product for f in months)
        of = f" of {', '.join(some)}" if some else ""
        said.append(f"months instead of days{of} (the annual cycle has all days)")
    strides = sorted({f.stride for f in fields if f.stride > 1})
    if strides:
        said.append(f"maps of every {_joined(strides)}th target year (curves have all)")
    for factor in sorted({f.factor for f in fields if f.factor > 1}):
        regions = dict.fromkeys(f.set.region for f in fields if f.factor == factor)
        said.append(f"means of {factor} x {factor} cells in maps of {', '.join(regions)}")
    if not said:
        return ""
    return (
        f"To stay small this page shows {'; '.join(said)}. Means over regions and changes are "
        "made from all cells and days first."
    )


def _joined(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers))


def _timeline(data: ReportData) -> str:
    drawn, run = data.timeline, str(data.manifest.get("run", ""))
    if not drawn.spans:
        return "No trace tells when files were read and normals written."
    busy = ", ".join(f"{stage} {clock(seconds)}" for stage, seconds in drawn.busy.items())
    said = [f"Run {data.timeline_run}; all threads together: {busy}."]
    if data.timeline_run != run:
        said.append(f"The latest run, {run}, read and wrote nothing.")
    if drawn.joined:
        said.append(f"What is less than {drawn.joined:.2g} s apart is drawn as one.")
    died = sorted({lane_name(s.lane) for s in drawn.spans if s.died})
    if died:
        said.append(f"Died while a file was open: {', '.join(died)}.")
    return " ".join(said)


def _chains(manifest: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (
            chain, row["state"], f"{row['seconds']:.1f}", row["files_read"],
            row["target_years_written"], row["repeated_tasks"], row.get("failure", ""),
        )
        for chain, row in manifest.get("chains", {}).items()
    ]  # fmt: skip


def _slow(data: ReportData) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for file, reason in data.audit.slow:
        reasons.setdefault(reason, []).append(file)
    return [
        f"{quantity(len(found), 'file was')} read through the netCDF library: {reason} ({found[0]})"
        for reason, found in reasons.items()
    ]


def _run(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return who ran it, when, where, how long and with what."""
    seconds = float(manifest.get("seconds", 0.0))
    ended = datetime.fromisoformat(str(manifest.get("written", "1970-01-01T00:00:00+00:00")))
    began = ended - timedelta(seconds=seconds)
    versions = manifest.get("versions", {})
    return [
        ("run", str(manifest.get("run", ""))),
        ("by", f"{manifest.get('user', 'unknown')} on {manifest.get('host', 'unknown')}"),
        ("began", f"{began:%Y-%m-%d %H:%M:%S} UTC"),
        ("ended", f"{ended:%Y-%m-%d %H:%M:%S} UTC, after {clock(seconds)}"),
        ("input root", str(manifest.get("input_root", ""))),
        ("plan", str(manifest.get("plan", ""))),
        ("versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]


def _inputs(data: ReportData) -> list[tuple[Any, ...]]:
    versions: dict[str, dict[tuple[str, str], set[int]]] = {}
    for field in data.fields:
        own = versions.setdefault(field.set.chain, {})
        for key, years in field.versions.items():
            own.setdefault(key, set()).update(years)
    rows = []
    for chain, inputs in data.manifest.get("inputs", {}).items():
        facts = "; ".join(
            f"{scenario}: {'no version' if version == 'none' else f'v{version}'} "
            f"({run_lengths(years)})"
            for (scenario, version), years in versions.get(chain, {}).items()
        )
        size = sum(size for _, size, _ in inputs) / 1e6
        rows.append((chain, len(inputs), f"{size:.1f}", facts))
    return rows
