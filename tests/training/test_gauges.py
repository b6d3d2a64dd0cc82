"""What is measured beside the scores: gradient, speed, memory."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD

from mmer.batch import Batch
from mmer.evaluation.training_log import read_log
from mmer.training import gauges
from mmer.training.classifier import EmotionClassifier
from mmer.training.cli import main
from mmer.training.gauges import Gauges, gradient_norm

pytestmark = pytest.mark.filterwarnings("default")


class Clock:
    """Time that passes in steps of training, a second each, and of validation, a hundred."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        training, validation = EmotionClassifier.training_step, EmotionClassifier.validation_step

        def train(module: EmotionClassifier, batch: Batch, number: int) -> Tensor:
            self.now += 1
            return training(module, batch, number)

        def validate(module: EmotionClassifier, batch: Batch, number: int) -> None:
            self.now += 100
            validation(module, batch, number)

        monkeypatch.setattr(EmotionClassifier, "training_step", train)
        monkeypatch.setattr(EmotionClassifier, "validation_step", validate)
        monkeypatch.setattr(gauges, "perf_counter", lambda: self.now)


def lines(run: Path) -> list[dict[str, str]]:
    with (run / "logs/version_0/metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_gauges_are_read_at_the_steps_that_are_logged(
    voice_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradient is that before clipping; no validation slows the training down; the log is read as before."""
    Clock(monkeypatch)
    flags = ["--trainer.log_every_n_steps=3", "--trainer.gradient_clip_val=0.001"]
    assert main(["fit", f"--config={voice_config}", *flags]) == 0
    found = [line for line in lines(tmp_path / "run") if line["train/grad_norm"]]
    assert [line["step"] for line in found] == ["2", "5"]  # of 8, counted from 0
    assert all(float(line["train/grad_norm"]) > 0.01 for line in found)
    assert [float(line["train/clips_per_second"]) for line in found] == [4.0, 4.0]
    assert {line["epoch"] for line in found} == {""}
    course = read_log(tmp_path / "run", "run")
    assert course["epochs"] == [0, 1]
    assert [course["train/loss"][1], course["val/uar"][1]] == [
        float(next(line[name] for line in reversed(lines(tmp_path / "run")) if line[name]))
        for name in ("train/loss", "val/uar")
    ]


def test_every_batch_of_an_accumulated_step_counts(
    voice_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    flags = ["--trainer.log_every_n_steps=1", "--trainer.accumulate_grad_batches=2"]
    assert main(["fit", f"--config={voice_config}", *flags]) == 0
    found = [line for line in lines(tmp_path / "run") if line["train/grad_norm"]]
    assert [line["step"] for line in found] == ["0", "1", "2", "3"]
    assert [float(line["train/clips_per_second"]) for line in found] == [4.0] * 4


class Line(L.LightningModule):
    """A module that learns two numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)


def quiet_trainer(**settings: Any) -> L.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return L.Trainer(accelerator="cpu", **quiet, **settings)


def test_no_step_between_is_measured() -> None:
    """Where nothing is logged, nothing waits for the device."""
    gauge, module, trainer = Gauges(), Line(), quiet_trainer(log_every_n_steps=5)
    module.line(torch.ones(1, 1)).sum().backward()
    gauge.on_before_optimizer_step(trainer, module, SGD(module.parameters()))
    assert gauge._norm is None
    gauge.on_train_batch_end(trainer, module, None, Batch(("a", "b")), 0)
    assert gauge._clips == 2


def test_the_norm_is_that_of_all_that_learns() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    network[0].requires_grad_(False)
    network(torch.randn(5, 3)).square().sum().backward()
    expected = torch.nn.utils.clip_grad_norm_(network[1].parameters(), 1e9)
    torch.testing.assert_close(gradient_norm(network.parameters()), expected)
    assert gradient_norm(nn.Linear(1, 1).parameters()) == 0


def test_a_gradient_that_the_optimiser_scales_back_is_not_logged_too_large() -> None:
    """Lightning scales it back before, but for an optimiser that does it itself, as a fused one."""
    gauge, module, trainer = Gauges(), Line(), quiet_trainer(log_every_n_steps=1)
    module.line(torch.ones(1, 1)).sum().backward()
    trainer.precision_plugin.scaler = SimpleNamespace(get_scale=lambda: 1024.0)
    for fused, norm in ((False, 2**0.5), (True, 2**0.5 / 1024)):
        optimizer = SGD(module.parameters())
        optimizer._step_supports_amp_scaling = fused
        gauge.on_before_optimizer_step(trainer, module, optimizer)
        assert float(gauge._norm) == pytest.approx(norm)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="memory of a GPU is measured on a GPU")
def test_memory_of_a_gpu_is_logged(voice_config: Path, tmp_path: Path) -> None:
    flags = ["--trainer.log_every_n_steps=1", "--trainer.accelerator=gpu", "--trainer.precision=16-mixed"]
    assert main(["fit", f"--config={voice_config}", *flags]) == 0
    found = [float(line["train/gpu_memory_gb"]) for line in lines(tmp_path / "run") if line["train/gpu_memory_gb"]]
    assert len(found) == 8 and all(0 < each < 10 for each in found)
