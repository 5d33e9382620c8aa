"""Plans and specs for tests of what runs on a worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from climdask.climatology.calendars import DayAxis, Periods
from climdask.climatology.places import GLOBAL, Box, select
from climdask.execution.tasks import RunContext
from climdask.inputs.access import FileAccess
from climdask.inputs.headers import Header
from climdask.inputs.inventory import take_inventory
from climdask.inputs.netcdf import read_header
from climdask.outputs.folder import OutputFolder
from climdask.planning.plan import ChainSpec, Done, Limits, Plan
from climdask.planning.survey import survey
from climdask.settings.workflow import Workflow


def plan_of(workflow: Workflow, *, done: Done | None = None, limits: Limits | None = None) -> Plan:
    """Plan a workflow, reading the header of one file of each series without any lock."""
    inventory = take_inventory(workflow.query)
    headers = {
        series.id: read_header(inventory.root / series.files[0].path, series.variable)
        for series in inventory.series
    }
    whole = survey(workflow, inventory, headers)
    return whole.pending(done or Done()).fitted(limits or Limits())


def spec_of(
    header: Header,
    *,
    boxes: Sequence[Box] = (GLOBAL,),
    leap_day: str = "drop",
    window: int = 30,
    min_years: int = 25,
    count: bool = False,
    compression_level: int = 1,
    significant_digits: int | None = None,
) -> ChainSpec:
    """Return the facts of a chain that has this header."""
    model, member, grid = "ACCESS-CM2", "r1i1p1f1", "gn"
    return ChainSpec(
        f"{model}/{member}/{grid}/{header.variable}",
        model,
        member,
        grid,
        header.variable,
        header,
        DayAxis(header.calendar, leap_day),
        select(header.grid, boxes),
        Periods("historical", 2014, window),
        min_years,
        count,
        compression_level,
        significant_digits,
    )


def context_of(workflow: Workflow, locks: Path, **changes: Any) -> RunContext:
    """Return what every task of a run needs; its folders are made."""
    out, run_id = workflow.output.root, changes.pop("run_id", "run-1")
    folder = OutputFolder(out)
    access = FileAccess(run_id, locks, folder.trace(run_id), timeout=changes.pop("timeout", 5.0))
    access.prepare()
    settings = {
        "run_id": run_id,
        "out": out,
        "input_root": workflow.input.root,
        "access": access,
        "on_bad_file": workflow.run.on_bad_file,
        "retries": workflow.run.retries,
    }
    return RunContext(**{**settings, **changes})
