"""Days that a normal lacks in its whole region: which, and why, for the summary of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from climdask.climatology.cycles import DAY, CycleDays

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def gaps_of(
    region: str,
    values: npt.NDArray[Any],
    years_per_day: npt.NDArray[np.int16],
    needed: npt.NDArray[np.integer[Any]],
    steps: CycleDays,
) -> list[dict[str, Any]]:
    """Return what a normal lacks everywhere, as a list for the trace; empty if nothing.

    Args:
        region: its name.
        values: float32 [day, lat, lon] or [day, area], NaN where missing.
        years_per_day: int16 [day], source years with any valid cell on that day.
        needed: int16 [day], years that the rule asks for.
        steps: of a year.
    """
    missing = np.isnan(values).all(axis=tuple(range(1, values.ndim)))
    if not missing.any():
        return []
    first = int(missing.argmax())
    return [
        {
            "region": region,
            "n_days": int(missing.sum()),
            "of": len(steps),
            "first": list(steps.first_day(first)),
            "years": int(years_per_day[missing].max()),
            "needed": int(needed[first]),
            **({} if steps.cycle.name == DAY else {"step": steps.names[first]}),
        }
    ]


def summarize(writes: Iterable[Mapping[str, Any]], min_years: int) -> list[str]:
    """Return a sentence for all normals of a chain and region that lack the same days.

    Args:
        writes: events of the traces; of those that have ``gaps``.
        min_years: of the workflow.
    """
    found: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for event in writes:
        for gap in event.get("gaps", ()):
            key = (event["chain"], gap["region"], gap["n_days"], gap["of"], *gap["first"])
            found[*key, gap["needed"], gap.get("step", "")].append(gap["years"])
    return [_sentence(key, years, min_years) for key, years in sorted(found.items())]


def _sentence(key: tuple[Any, ...], years: Sequence[int], min_years: int) -> str:
    chain, region, n_days, of, month, day, needed, step = key
    normals = f"{len(years)} normal{'s' * (len(years) != 1)}"
    had = f"{min(years)}" if min(years) == max(years) else f"{min(years)} to {max(years)}"
    rule = "min_years" if needed == min_years else f"min_years: {min_years}"
    rule += f" asks for {needed}"
    if n_days == of:
        verb = "have" if len(years) != 1 else "has"
        return f"{chain}, {region}: {normals} {verb} no value: {had} source years; {rule}"
    first, noun = (step, "steps") if step else (f"{day} {MONTHS[month - 1]}", "days")
    what = f"{first} is" if n_days == 1 else f"{n_days} {noun}, the first {first}, are"
    return f"{chain}, {region}: {what} missing in {normals}: {had} years have values there; {rule}"
