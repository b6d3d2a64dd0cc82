"""docs/table.py, which readers copy: it runs as it is, and is no longer than it says."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import System

SCRIPT = Path(__file__).parents[1] / "docs" / "table.py"


def answer(path: Path, *, name: str, device: Any) -> System:
    """Answer as a checkpoint would that is right the more often the longer its name is."""
    label = np.arange(40) % 2
    right = np.arange(40) < 10 + len(path.stem)
    keys = tuple(str(i) for i in range(40))
    speakers = tuple(str(i % 20) for i in range(40))
    return System(
        name, Predictions(("no", "yes"), keys, speakers, label, np.eye(2)[np.where(right, label, 1 - label)]), {}
    )


def test_the_script_prints_a_table_of_a_folder_of_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    for name in ("a.ckpt", "run/best-of-all.ckpt", "notes.txt"):
        (tmp_path / name).touch()
    monkeypatch.setattr("mmer.evaluation.evaluate.evaluate_checkpoint", answer)
    monkeypatch.setattr(sys, "argv", ["table.py", str(tmp_path), "markdown"])
    runpy.run_path(str(SCRIPT))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| run/best-of-all.ckpt", "| a.ckpt", "| Chance"]


def test_the_script_has_ten_lines() -> None:
    _, _, code = SCRIPT.read_text(encoding="utf-8").split('"""')
    assert len([line for line in code.splitlines() if line]) == 10
