"""Looking at headers before a run: one file of each chain, or all of them."""

from __future__ import annotations

from collections.abc import Mapping

from climdask.errors import ClimdaskError, DataError, PlanError
from climdask.files import FileAccess
from climdask.headers import Header
from climdask.inventory import Inventory, Series
from climdask.netcdf import read_header

# How many files of a chain are tried before the chain counts as unreadable.
PROBES = 3


def probe(inventory: Inventory, access: FileAccess) -> dict[str, Header | ClimdaskError]:
    """Read the header of one file of each series, and say why where none can be read."""
    return {series.id: _probe_one(inventory, series, access) for series in inventory.series}


def _probe_one(inventory: Inventory, series: Series, access: FileAccess) -> Header | ClimdaskError:
    """Read the first header that can be read: a bad first file fails its chain when it is read."""
    error: ClimdaskError = PlanError(f"{series.id}: no files")
    for file in series.files[:PROBES]:
        path = inventory.root / file.path
        try:
            with access.opening(path, purpose="probe"):
                return read_header(path, series.variable)
        except DataError as found:
            error = found
    return error


def check_headers(
    inventory: Inventory, headers: Mapping[str, Header | ClimdaskError], access: FileAccess
) -> dict[str, Header | ClimdaskError]:
    """Open every file and compare its header with its chain's."""
    checked = dict(headers)
    for series in inventory.series:
        expected = headers[series.id]
        if isinstance(expected, ClimdaskError):
            continue
        problems = []
        for file in series.files:
            path = inventory.root / file.path
            try:
                with access.opening(path, purpose="check"):
                    found = read_header(path, series.variable)
                different = expected.differences(found)
                if different:
                    problems.append(f"{path}: has {'; '.join(different)} as in {expected.path}")
            except DataError as error:
                problems.append(str(error))
        if problems:
            checked[series.id] = DataError("\n".join(problems))
    return checked
