"""What all samples of a sweep must have in common, and how often the clips are opened to see it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from mmer.errors import ConfigError
from mmer.training import sweep_plan
from mmer.training.sweep_file import read_sweep
from mmer.training.sweep_plan import make_plan
from tests.training.test_sweep import SETTINGS, SWEEP, write_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "out"


def change(settings: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Return settings with one of them changed."""
    first, _, rest = name.partition(".")
    return {**settings, first: change(settings.get(first, {}), rest, value) if rest else value}


@pytest.mark.parametrize(
    ("parameter", "name", "values", "message"),
    [
        ("data", "data.root", ("a", "b"), "parameters.data changes data.root, which cannot be swept: values on other"),
        ("data", "data.split", ({"test": [6]}, {"test": [5]}), "changes data.split, .*: values of other validation"),
        ("model", "model.config.labels", ("ravdess8", "ekman7"), "parameters.model changes model.config.labels, which"),
        ("trainer", "trainer.devices", (1, 2), "parameters.trainer changes trainer.devices, which cannot be swept: a"),
    ],
)
def test_what_cannot_be_swept_cannot_be_swept_within_what_holds_it_either(
    parameter: str, name: str, values: Sequence[Any], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = {parameter: {"values": [f"{{it: {value}}}" for value in values]}}
    found = [change(SETTINGS, name, value) for value in values]
    monkeypatch.setattr(sweep_plan, "read_several", lambda lines: found)
    with pytest.raises(ConfigError, match=message):
        make_plan(read_sweep(write_file(folder, parameters=parameters)), [])


def test_clips_are_opened_once_however_many_samples_there_are(
    folder: Path, patchy_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = change(SETTINGS, "data.root", str(patchy_corpus))
    opened = []
    found = sweep_plan.open_corpus
    monkeypatch.setattr(sweep_plan, "open_corpus", lambda *args: opened.append(args) or found(*args))
    monkeypatch.setattr(sweep_plan, "read_several", lambda lines: [settings] * len(lines))
    parameters = {**SWEEP["parameters"], "model.config.fusion.depth": {"values": list(range(1, 51))}}
    make_plan(read_sweep(write_file(folder, parameters=parameters)), [])
    assert len(opened) == 1
