"""The course of a training, from logs as Lightning writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmer.errors import ConfigError
from mmer.evaluation.training_log import read_log

LOG = """epoch,lr-AdamW/pg1,lr-AdamW/pg2,step,train/loss,train/uar,val/uar
,0.001,0.002,0,,,
,0.003,0.004,1,,,
0,,,1,,,0.25
0,,,1,2.5,0.125,
,0.0005,0.0005,2,,,
1,,,3,nan,0.5,
1,,,3,,,0.75
"""


def write_log(run: Path, version: int, text: str) -> Path:
    folder = run / "logs" / f"version_{version}"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(text)
    return run


def test_each_epoch_has_its_numbers_and_its_last_learning_rate(tmp_path: Path) -> None:
    assert read_log(write_log(tmp_path, 0, LOG), "a run") == {
        "name": "a run",
        "epochs": [0, 1],
        "lr": [0.003, 0.0005],
        "train/loss": [2.5, None],
        "train/uar": [0.125, 0.5],
        "val/uar": [0.25, 0.75],
    }


def test_a_resumed_run_goes_on_in_its_second_log_and_a_replaced_one_begins_again(tmp_path: Path) -> None:
    write_log(tmp_path, 9, LOG)
    write_log(tmp_path, 10, "epoch,step,val/uar\n1,3,0.5\n2,5,0.625\n")
    resumed = read_log(tmp_path, "run")
    assert (resumed["epochs"], resumed["val/uar"], resumed["lr"]) == (
        [0, 1, 2],
        [0.25, 0.5, 0.625],
        [0.003, None, None],
    )
    write_log(tmp_path, 11, "epoch,step,val/uar\n0,1,0.125\n")
    assert read_log(tmp_path, "run") == {"name": "run", "epochs": [0], "val/uar": [0.125]}


def test_a_log_is_read_as_far_as_it_is_written(tmp_path: Path) -> None:
    run = write_log(tmp_path, 0, LOG + ",0.00001,0.00001,4,,,\n2,,")
    with (run / "logs/version_0/metrics.csv").open("ab") as file:
        file.write("ü".encode()[:1])
    (run / "logs/version_1").mkdir()  # of a run that has only begun
    read = read_log(run, "run")
    assert read["epochs"] == [0, 1, 2]
    assert (read["val/uar"][2], read["train/loss"][2]) == (None, None)


@pytest.mark.parametrize("text", [None, "", "epoch,step,val/uar\n", "epoch,lr-AdamW,step\n,0.1,0\n"])
def test_a_folder_without_a_log_is_named(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        write_log(tmp_path, 0, text)
    with pytest.raises(ConfigError, match=r"holds no log of a whole epoch .*; name the folder of a run"):
        read_log(tmp_path, "run")
