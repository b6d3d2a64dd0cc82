"""Two processes learn what one learns, from the same clips, and each draws its own chances."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mmer.data.clip import PreparedClip
from mmer.data.store import PreparedCorpus, clip_path
from mmer.inference.predictor import Predictor
from mmer.training.cli import main

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

RECORD = """
import torch

def record(self, batch, number, step=cli.EmotionClassifier.training_step):
    begun = sum(float(value.detach().double().abs().sum()) for value in self.model.parameters())
    loss = step(self, batch, number)
    faces = int(batch.video_mask.any(dim=1).sum())
    with open({path!r} + f".{{self.global_rank}}", "a") as file:
        print(self.current_epoch, number, float(loss), begun, float(torch.rand(())), faces, *batch.key, file=file)
    return loss

cli.EmotionClassifier.training_step = record
"""


@dataclass
class Step:
    """What a process says of a step."""

    loss: float
    begun: float
    drawn: float
    faces: int
    clips: set[str]


def read(path: Path) -> dict[tuple[str, str], list[Step]]:
    """Return what every process says of each step."""
    steps: dict[tuple[str, str], list[Step]] = defaultdict(list)
    for log in sorted(path.parent.glob(f"{path.name}.?")):
        for line in log.read_text().splitlines():
            epoch, number, loss, begun, drawn, faces, *clips = line.split()
            steps[epoch, number].append(Step(float(loss), float(begun), float(drawn), int(faces), set(clips)))
    return steps


@pytest.fixture(scope="module")
def even_config(tiny_run_config: Path) -> Path:
    """Face and voice, of which every third and every fourth clip has none; nothing is drawn but changes to clips.

    The norms of the mel network learn statistics; classes are weighed, and streams have losses of their own.
    """
    config = yaml.safe_load(tiny_run_config.read_text())
    config["model"]["config"]["streams"] = {
        "face": {"encoder": "mvit", "variant": "tiny", "drop_path": 0.0},
        "voice": {"encoder": "mel_cnn", "channels": [8, 8, 16], "dropout": 0.0, "mel": {"spec_augment": None}},
    }
    config["model"]["config"]["fusion"] |= {"kind": "transformer", "dropout": 0.0}
    config["model"]["config"]["modality_dropout"] = 0.0
    config["model"] |= {"class_weights": "balanced", "stream_loss": 1.0}
    config["trainer"]["sync_batchnorm"] = True
    tiny_run_config.write_text(yaml.safe_dump(config))
    return tiny_run_config


@pytest.fixture(scope="module")
def alone(nursery: Any, even_config: Path) -> dict[tuple[str, str], list[Step]]:
    """The steps of one process, with four clips each."""
    folder = even_config.parent
    record = RECORD.format(path=str(folder / "one"))
    run = nursery.start(["fit", f"--config={even_config}"], folder / "alone.log", before=record)
    assert run.wait() == 0, run.said()
    return read(folder / "one")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp2"])
def test_two_processes_learn_what_one_learns(
    nursery: Any, even_config: Path, alone: dict[Any, list[Step]], tmp_path: Path, strategy: str
) -> None:
    """The losses of eight steps agree to a thousandth, of which AdamW makes most: it divides by small numbers.

    Some steps have faces on one process alone.
    """
    fit = ["fit", f"--config={even_config}", "--data.batch_size=2", f"--trainer.default_root_dir={tmp_path / 'both'}"]
    runs = nursery.start_all(2, fit, tmp_path / "log", RECORD.format(path=str(tmp_path / "two")), strategy)
    assert [run.wait() for run in runs] == [0, 0], "".join(run.said() for run in runs)
    together = read(tmp_path / "two")
    assert together.keys() == alone.keys() and len(together) == 8
    for place, (whole,) in alone.items():
        first, second = together[place]
        assert first.clips | second.clips == whole.clips and not first.clips & second.clips
        assert (first.loss + second.loss) / 2 == pytest.approx(whole.loss, rel=1e-3)
        assert first.drawn != second.drawn, "each process draws its own chances"
    assert any(0 in (first.faces, second.faces) and first.faces != second.faces for first, second in together.values())
    first, second = together["0", "0"]
    if strategy == "ddp":
        assert first.begun == second.begun == alone["0", "0"][0].begun, "all begin with the same weights"
    best = tmp_path / "both/checkpoints/best.ckpt"
    assert main(["validate", f"--config={even_config}", f"--ckpt_path={best}"]) == 0
    predictor = Predictor.from_checkpoint(best, "cpu")
    corpus = PreparedCorpus.open(Path(predictor.card.root))
    key = corpus.rows[0].key
    answer = predictor.predict_clip(key, PreparedClip.load(clip_path(corpus.root, key), key))
    assert np.isfinite(list(answer.probabilities.values())).all()


COMPILE = """
import torch
compile_module = torch.nn.Module.compile

def check(self, mode=None):
    assert mode is None
    print(type(self).__name__, file=open({path!r} + ".compiled", "a"))
    return compile_module(self, backend="aot_eager")

torch.nn.Module.compile = check
"""
"""Leaves out the last part, code for this machine's processor, which takes minutes and is PyTorch's own affair."""

LOSSES = """
def keep(self, batch, number, step=cli.EmotionClassifier.training_step):
    loss = step(self, batch, number)
    print(float(loss), file=open({path!r} + ".losses", "a"))
    return loss

cli.EmotionClassifier.training_step = keep
"""


def test_a_compiled_model_learns_what_it_would_learn(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    losses, weights = [], []
    for name, mode in (("plain", "none"), ("compiled", "default")):
        fit = ["fit", f"--config={voice_config}", f"--trainer.default_root_dir={tmp_path / name}"]
        fit += [f"--model.compute.compile={mode}", "--model.config.streams.voice.dropout=0"]
        fit += ["--model.config.fusion.kind=transformer", "--model.config.fusion.dropout=0"]
        run = nursery.start(fit, tmp_path / f"{name}.log", before=(COMPILE + LOSSES).format(path=str(tmp_path / name)))
        assert run.wait() == 0, run.said()
        losses.append([float(line) for line in Path(f"{tmp_path / name}.losses").read_text().splitlines()])
        weights.append(torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-3) and len(losses[0]) == 6
    assert weights[0].keys() == weights[1].keys()
    assert (tmp_path / "compiled.compiled").read_text().split() == ["WaveCNN", "TransformerFusion"]
    assert not (tmp_path / "plain.compiled").exists()
