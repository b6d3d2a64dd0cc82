"""The oracle watches the test speakers and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mmer.evaluation.training_log import read_log
from mmer.training.cli import main

pytestmark = pytest.mark.filterwarnings("default")


def weights(run: Path, name: str) -> dict[str, torch.Tensor]:
    return torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_training_is_the_same_with_an_oracle(tiny_config: Path, tmp_path: Path) -> None:
    runs = {name: tmp_path / name for name in ("plain", "watched")}
    for name, flags in (("plain", []), ("watched", ["--oracle"])):
        folder = f"--trainer.default_root_dir={runs[name]}"
        assert main(["fit", f"--config={tiny_config}", "--trainer.max_epochs=3", folder, *flags]) == 0
    for checkpoint in ("best", "last"):
        plain, watched = (weights(run, checkpoint) for run in runs.values())
        assert plain.keys() == watched.keys()
        assert all(torch.equal(plain[key], watched[key]) for key in plain)
    logs = {name: read_log(run, name) for name, run in runs.items()}
    oracle = logs["watched"].pop("oracle/uar")
    assert {**logs["plain"], "name": "watched"} == logs["watched"]
    assert len(oracle) == 3
    assert not (runs["plain"] / "oracle.csv").exists()
    assert (runs["watched"] / "oracle.csv").read_text().count("\n") == 1 + 5


def test_nobody_can_be_watched_where_nobody_is_tested(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", f"--config={tiny_config}", "--data.split.test=[]", "--oracle"]) == 2
    said = "error: the test part is empty, and --oracle watches it; leave --oracle out"
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_an_oracle_watches_where_nobody_validates_and_goes_on_in_a_resumed_run(
    tiny_config: Path, tmp_path: Path
) -> None:
    flags = [f"--config={tiny_config}", "--data.split.validation=[]", "--oracle"]
    assert main(["fit", *flags, "--trainer.max_epochs=1"]) == 0
    first = (tmp_path / "run/oracle.csv").stat().st_mtime_ns
    assert main(["fit", *flags, "--trainer.max_epochs=3", "--ckpt_path=last"]) == 0
    course = read_log(tmp_path / "run", "run")["oracle/uar"]
    better = max(course[1:]) > course[0]
    assert ((tmp_path / "run/oracle.csv").stat().st_mtime_ns != first) == better
