"""The manifest: what a run was, for people and for provenance."""

from __future__ import annotations

import getpass
import platform
import socket
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from climdask.climatology.calendars import run_lengths
from climdask.climatology.cycles import DAY
from climdask.execution.gaps import summarize
from climdask.inputs.audit import Audit
from climdask.inputs.inventory import InputFile
from climdask.inputs.sources import absolute
from climdask.monitoring.progress import ChainProgress
from climdask.planning.plan import Chain, Plan
from climdask.version import __version__


def manifest(
    plan: Plan,
    run_id: str,
    state: str,
    rows: Iterable[ChainProgress],
    seconds: float,
    audit: Audit | None = None,
) -> dict[str, Any]:
    """Return the manifest as a mapping for JSON.

    Args:
        plan: what was to do.
        run_id: names the run's traces.
        state: ``running``, ``done``, ``failed`` or ``interrupted``.
        rows: counts, state and message of each chain.
        seconds: since the run began.
        audit: of the run's traces, when it has ended.
    """
    content: dict[str, Any] = {
        "state": state,
        "run": run_id,
        "user": _user(),
        "host": socket.gethostname(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
        "versions": _versions(),
        "workflow": plan.workflow.model_dump(mode="json"),
        "plan": plan.digest,
        "input_root": str(absolute(plan.inventory.root)),
        "notes": list(plan.notes),
        "counts": {
            "normals": plan.n_all,
            "normals_to_make": plan.n_normals,
            "opens_expected": plan.opens,
            "files_expected": plan.files,
        },
        "chains": {
            row.id: {
                "state": row.state,
                "seconds": round(row.elapsed, 3),
                "files_read": row.reads,
                "target_years_written": row.writes,
                "repeated_tasks": row.repeated,
                **({"failure": row.message} if row.message else {}),
            }
            for row in rows
        },
        "planned": {
            chain.id: {
                "last_historical_year": chain.spec.periods.last_historical_year,
                "regions": [region.place.name for region in chain.spec.selection.regions],
                "target_years": {
                    branch: run_lengths(years) for branch, years in chain.targets.items()
                },
                **_frequencies(chain),
            }
            for chain in plan.all_chains
        },
        "inputs": {
            chain.id: [[f.path, f.size, f.mtime_ns] for f in _inputs(chain)]
            for chain in plan.all_chains
        },
    }
    if audit is not None:
        content["audit"] = {
            "opens": audit.opens,
            "files": audit.files,
            "probes": audit.probes,
            "overlaps": len(audit.overlaps),
            "unproven": len(audit.unproven),
            "skipped": [list(s) for s in audit.skipped],
            "incomplete": [list(s) for s in audit.incomplete],
            "lacking": summarize(audit.lacking, plan.workflow.years_needed),
            "read_through_netcdf4": [list(s) for s in audit.slow],
        }
    return content


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may give the user no name
        return "unknown"


def _inputs(chain: Chain) -> list[InputFile]:
    return sorted({f for files in chain.sources.values() for f in files})


def _frequencies(chain: Chain) -> dict[str, list[str]]:
    """Return the frequencies of a chain's normals where there are others than days."""
    found = [spec.frequency for spec in chain.spec.frequencies]
    return {} if found == [DAY] else {"frequencies": found}


def _versions() -> dict[str, str]:
    names = ("dask", "distributed", "xarray", "netCDF4", "h5py", "numpy", "zarr", "bokeh")
    versions = {"climdask": __version__, "python": platform.python_version()}
    return versions | {name: version(name) for name in names}
