"""The arguments of the command line."""

from __future__ import annotations

from pathlib import Path

from climdask.cli.arguments import parse, passed_on


def test_a_job_gets_the_options_of_its_submission_with_absolute_paths() -> None:
    given = parse(
        ["submit", "w.yaml", "--verify", "--log", "a b.log", "--performance-report", "~/p"]
    )
    paths = [str(Path("a b.log").absolute()), str(Path("~/p").expanduser())]
    told = passed_on(given)
    assert told == ["--verify", "--log", paths[0], "--performance-report", paths[1]]
    again = parse(["run", "w.yaml", *told])
    assert (again.verify, again.report, str(again.log)) == (True, False, paths[0])
    assert passed_on(parse(["submit", "w.yaml"])) == []
