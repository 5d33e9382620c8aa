"""One exit code for one kind of mistake, whatever the command: 2, one message, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from climdask.cli import main
from tests.samples import write_archive
from tests.workflows import small

SLURM = {"kind": "slurm", "cores": 2, "memory": "2GiB"}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with workflows and profiles, right ones and wrong ones."""
    folder = tmp_path_factory.mktemp("desk")
    write_archive(folder / "in", variables=["tas"], first=2010, last=2014, calendar="noleap")
    flow = small(folder / "in", folder / "out", scenarios=[])
    right = flow.model_dump(mode="json", exclude_unset=True)
    (folder / "file").write_text("a file where a folder is due")
    written = {
        "right": right,
        "key": {**right, "windowe": 5},
        "value": {**right, "window": "five"},
        "variable": {**right, "variables": ["tos"]},
        "inputs": {**right, "input": {"root": str(folder / "none")}},
        "output": {**right, "output": {"root": str(folder / "file" / "out")}},
        "slurm": SLURM,
        "profile": {**SLURM, "coars": 2},
    }
    for name, content in written.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    (folder / "text.yaml").write_text("a: [")
    return folder


MISTAKES = [
    *(
        (*command, f"{name}.yaml", *more)
        for command, more in (
            (("plan",), ()),
            (("run",), ("--serial",)),
            (("submit",), ("--cluster", "slurm.yaml")),
        )
        for name in ("none", "text", "key", "value", "variable", "inputs", "output")
        if (command, name) != (("plan",), "output")  # which writes nothing
    ),
    ("run", "right.yaml", "--cluster", "profile.yaml"),
    ("run", "right.yaml", "--cluster", "none.yaml"),
    ("submit", "right.yaml", "--cluster", "profile.yaml"),
    ("submit", "right.yaml"),
    ("cluster", "show", "profile.yaml"),
    ("cluster", "show", "none.yaml"),
    ("status", "none"),
    ("cancel", "none"),
    ("audit", "none"),
    ("report", "none"),
    ("plot", "none"),
]


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_of_the_user_ends_with_2_and_one_message(
    words: tuple[str, ...],
    desk: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(desk)
    before = sorted(desk.iterdir())
    try:
        code = main(list(words))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr().err
    assert code == 2, said
    assert said.startswith("climdask: error: ")
    assert "Traceback" not in said
    assert sorted(desk.iterdir()) == before


@pytest.mark.parametrize("words", [("run",), ("plan", "--bogus"), ("walk",), ("submit",)])
def test_a_wrong_command_line_ends_with_2(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(list(words))
    assert end.value.code == 2
    assert "error: " in capsys.readouterr().err
