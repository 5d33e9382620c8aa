"""Looking at headers before a run: one file of each chain, or all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from climdask.errors import BusyFile, ClimdaskError, DataError, PlanError
from climdask.inputs.access import FileAccess
from climdask.inputs.headers import Header
from climdask.inputs.inventory import Inventory, Series
from climdask.inputs.netcdf import check_file, read_header, read_last_day

# How many busy files of a chain are waited for before the chain counts as unreadable.
PATIENCE = 3
# How many of a chain's files a message names.
NAMED = 3


def probe(inventory: Inventory, access: FileAccess) -> dict[str, Header | ClimdaskError]:
    """Read the header of one file of each series, and say why where none can be read.

    Files whose names do not say where they end are opened too.
    """
    return {series.id: _probe(inventory, series, access) for series in inventory.series}


def _probe(inventory: Inventory, series: Series, access: FileAccess) -> Header | ClimdaskError:
    header = _probe_one(inventory, series, access)
    if isinstance(header, ClimdaskError):
        return header
    ends = []
    for file in series.endless:
        path = inventory.source.local(file.path)
        try:
            with access.opening(path, purpose="probe"):
                day = read_last_day(path, header, (file.start, file.end))
        except DataError as error:
            return error
        ends.append((file.path, day))
    return replace(header, ends=tuple(ends))


def _probe_one(inventory: Inventory, series: Series, access: FileAccess) -> Header | ClimdaskError:
    """Read the first header that can be read: a bad file fails its chain when it is read."""
    first, waited = None, 0
    for file in series.files:
        path = inventory.source.local(file.path)
        try:
            with access.opening(path, purpose="probe"):
                return read_header(
                    path,
                    series.variable,
                    claim=file.claim,
                    name=series.name,
                    is_alone=series.is_alone,
                )
        except DataError as error:
            first = first or error
            waited += isinstance(error, BusyFile)
            if waited == PATIENCE:
                break
    return first or PlanError(f"{series.id}: no files")


def check_headers(
    inventory: Inventory, headers: Mapping[str, Header | ClimdaskError], access: FileAccess
) -> dict[str, Header | ClimdaskError]:
    """Open every file and compare its header and its time axis with its name and its chain."""
    checked = dict(headers)
    for series in inventory.series:
        expected = headers[series.id]
        if isinstance(expected, ClimdaskError):
            continue
        problems = []
        for file in series.ending(dict(expected.ends)).files:
            path = inventory.source.local(file.path)
            try:
                with access.opening(path, purpose="check"):
                    check_file(path, expected, file.years, claim=file.claim)
            except DataError as error:
                problems.append(str(error))
        if problems:
            more = len(problems) - NAMED
            named = [*problems[:NAMED], *([f"and {more} more files"] if more > 0 else [])]
            checked[series.id] = DataError("\n".join(named))
    return checked
