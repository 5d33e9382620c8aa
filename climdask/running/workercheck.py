"""Checks of workers before the work begins: their software, files, locks and scratch."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import distributed
import psutil

from climdask.errors import ClusterError
from climdask.execution.tasks import RunContext
from climdask.inputs.access import LockCheck
from climdask.inputs.sources import source_of
from climdask.version import __version__

Facts = tuple[str, bool, bool, bool]
_IN_MEMORY = {"tmpfs", "ramfs"}


def check_workers(client: distributed.Client, context: RunContext) -> None:
    """Check that the workers have the same software, and see the files and locks.

    Raises:
        ClusterError: some worker does not; all that is wrong is reported at once.
    """
    check = LockCheck(context.access.lock_dir)
    versions = client.get_versions()["workers"]
    with check.held():
        facts = client.run(_facts, context.input_root, context.out, check, on_error="return")
    problems: dict[str, list[str]] = {}
    for worker in versions.keys() & facts.keys():
        for problem in (*_unlike(versions[worker]), *_lacks(facts[worker], context)):
            problems.setdefault(problem, []).append(worker)
    if problems:
        raise ClusterError(
            "\n".join(f"{_workers(who)}: {what}" for what, who in sorted(problems.items()))
        )


def _unlike(versions: Mapping[str, Any]) -> Iterator[str]:
    """Say what of a worker's Python and Dask is not as here."""
    here = sys.version_info[:2]
    there = tuple(int(n) for n in versions["host"]["python"].split(".")[:2])
    pairs = (
        ("Python", ".".join(map(str, there)), ".".join(map(str, here))),
        ("distributed", versions["packages"].get("distributed"), distributed.__version__),
    )
    for name, found, own in pairs:
        if found != own:
            yield f"{name} {found}, and here {own}; install the same"


def _lacks(facts: Facts | Exception, context: RunContext) -> Iterator[str]:
    """Say what of climdask, files and locks a worker lacks."""
    if isinstance(facts, Exception):
        yield f"climdask is lacking ({facts}), and here {__version__}; install the same"
        return
    found, reads, writes, refused = facts
    if found != __version__:
        yield f"climdask {found}, and here {__version__}; install the same"
    for path, seen in ((context.input_root, reads), (context.out, writes)):
        if not seen:
            yield f"does not see {path}; use a filesystem that all hosts share"
    if not refused:
        yield (
            f"got a lock in {context.access.lock_dir} that this host holds; locks are not shared "
            "there: mount it with flock, or set run.lock_dir"
        )


def _workers(addresses: Sequence[str]) -> str:
    some = ", ".join(sorted(addresses)[:3])
    more = f" and {len(addresses) - 3} more" if len(addresses) > 3 else ""
    return f"{'worker' if len(addresses) == 1 else 'workers'} {some}{more}"


def _facts(input_root: Path, out: Path, check: LockCheck) -> Facts:
    sees_input = source_of(input_root).kind("") == "folder"
    return __version__, sees_input, os.access(out, os.W_OK), check.is_refused()


def security_notes(client: distributed.Client) -> list[str]:
    """Tell of a scheduler that takes tasks from everybody who can connect to it."""
    address = str(client.scheduler.address)
    if not address.startswith(("tcp://", "ws://")):
        return []
    return [
        f"the scheduler at {address} asks for no credentials: whoever can connect to it runs code "
        "as the user of its workers; let it speak TLS, or keep others from that address"
    ]


def scratch_notes(client: distributed.Client) -> list[str]:
    """Tell of workers that would keep in memory what does not fit in memory."""
    held: dict[str, list[str]] = {}
    for worker, found in client.run(_scratch, on_error="return").items():
        if isinstance(found, tuple) and found[1] in _IN_MEMORY:
            held.setdefault(found[0], []).append(worker)
    return [
        f"{_workers(who)}: scratch: {folder} is held in memory, so what does not fit in memory has "
        "no other place; set scratch to a folder on a disk of the node"
        for folder, who in sorted(held.items())
    ]


def _scratch(dask_worker: Any) -> tuple[str, str]:
    """Return a worker's folder for what does not fit in memory, and the kind of its filesystem."""
    folder = Path(dask_worker.local_directory).resolve()
    mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    kind = next((mounts[place] for place in (folder, *folder.parents) if place in mounts), "")
    return str(folder.parent), kind
