"""An arm's own process: ``python -m benchmarks.worker OUT`` does what ``OUT/call.json`` says."""

from __future__ import annotations

import json
import sys
import time
from importlib import import_module
from pathlib import Path

from benchmarks.job import Job


def main(out: Path) -> None:
    """Call the arm's function; leave its figures, and the seconds it took, in ``out``."""
    call = json.loads((out / "call.json").read_text(encoding="utf-8"))
    job = Job.from_json(call["job"])
    module, _, name = call["function"].partition(":")
    function = getattr(import_module(module), name)
    began = time.perf_counter()
    figures = function(job, tuple(call["targets"]), out, *call["arguments"]) or {}
    figures["seconds"] = time.perf_counter() - began
    (out / "figures.json").write_text(json.dumps(figures), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
