from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from mmer.evaluation.explanation import Explanation
from mmer.evaluation.measure import measure
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.report.page import write_report
from mmer.evaluation.system import Degraded, System

CLASSES = ("neutral", "<b>happy</b>", 'sad & "low"')
SPEAKERS, CLIPS = 6, 12  # of each speaker

ABOUT = {
    "source": {"kind": "checkpoint", "path": "runs/best.ckpt", "sha256": "ab" * 32, "epoch": 2},
    "protocol": "contig6 fold 1",
    "part": "test",
    "seeds": [7],
    "speakers": {"train": ["9", "10"], "validation": ["8"], "scored": list("123456")},
    "model": {"modalities": ["video", "audio"], "streams": {"face": "mvit", "voice": "wave_cnn"}, "parameters": 12345},
    "trained_with": {"torch": "2.12"},
    "corpus": {
        "names": ["ravdess"],
        "licences": {"ravdess": "CC BY-NC-SA 4.0"},
        "root": "data/ravdess",
        "synthetic": False,
        "left_out": [{"reason": "no face in any frame", "clips": 3}],
    },
    "leaks": [],
    "notes": ["2 sounds are scored under several keys"],
}
CALIBRATED = {
    "calibration": {
        "method": "temperature",
        "scale": [0.5],
        "bias": [],
        "speakers": ["8"],
        "clips": 12,
        "before": {"ece": 0.235, "brier": 0.6, "log_loss": 1.25},
    },
    "abstention": {"threshold": 0.5, "wanted": 0.9},
}


def answers(
    seed: int = 0, *, strength: float = 1.5, names: tuple[str, ...] = CLASSES, seeds: int = 1, known: bool = True
) -> Predictions:
    """Return answers that are right at times; of ``known`` clips speaker, fold, gender and corpus are told."""
    random, n = np.random.default_rng(seed), SPEAKERS * CLIPS
    clip = np.tile(np.arange(n), seeds)
    label = clip % len(names)
    logits = random.normal(size=(len(clip), len(names)))
    logits[np.arange(len(clip)), label] += strength
    speaker = [str(i // CLIPS + 1) for i in clip]
    groups = {"gender": tuple("female" if int(who) % 2 else "male" for who in speaker)}
    return Predictions(
        names,
        tuple(f"clip{i}" for i in clip),
        tuple(speaker) if known else ("",) * len(clip),
        label,
        np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        fold=tuple(str((int(who) + 1) // 2) for who in speaker) if known else (),
        seed=tuple(str(i // n) for i in range(len(clip))) if seeds > 1 else (),
        groups=groups if known else {},
    )


def rich(name: str, seed: int = 0, **about: Any) -> System:
    """Return a system of which everything is known."""
    random = np.random.default_rng(seed)
    run = {"name": "fold 1", "epochs": [0, 1, 2], "train/loss": [2.0, 1.0, 0.5], "val/loss": [None, 1.5, 1.2]}
    return System(
        name,
        answers(seed, seeds=2),
        {**ABOUT, **CALIBRATED, **about},
        oracle=answers(seed, strength=2.5, seeds=2),
        subsets={"video": answers(seed + 1), "audio": answers(seed + 2)},
        degraded=[
            Degraded("audio_noise", level, answers(seed, strength=strength), "dB SNR")
            for level, strength in ((None, 1.5), (10.0, 1.0), (0.0, 0.1))
        ],
        explanations=[
            Explanation(
                "clip0",
                None,
                dict(zip(CLASSES, (0.2, 0.7, 0.1), strict=True)),
                {"audio": 0.2},
                1.0,
                {"audio": np.array([0.1, -0.1])},
                audio=random.normal(size=1600).astype(np.float32),
                sample_rate=1600,
            )
        ],
        training={"runs": [{**run, "val/uar": [0.2, 0.4, 0.5], "lr": [1e-3, 5e-4, 1e-4]}]},
    )


class Report(NamedTuple):
    """A report that was written."""

    folder: Path
    metrics: dict[str, Any]
    page: str


def write(folder: Path, systems: list[System], **settings: Any) -> Report:
    """Measure some systems and write their report."""
    metrics = measure(systems, resamples=20, **settings)
    write_report(folder, metrics, systems)
    return Report(folder, metrics, (folder / "index.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="session", name="answers")
def _answers() -> Callable[..., Predictions]:
    return answers


@pytest.fixture(scope="session", name="rich")
def _rich() -> Callable[..., System]:
    return rich


@pytest.fixture(scope="session", name="write")
def _write() -> Callable[..., Report]:
    return write


@pytest.fixture(scope="session")
def one(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of one system of which everything is known."""
    return write(tmp_path_factory.mktemp("one"), [rich("mvit")], command="evaluate.py --checkpoint runs/best.ckpt")


@pytest.fixture(scope="session")
def two(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of two systems: one with a name that is markup, one that leaks, on drawn faces, of another part."""
    corpus = {**ABOUT["corpus"], "names": ["demo"], "licences": {}, "synthetic": True}
    leaky = System("leaky", answers(3), {**ABOUT, "corpus": corpus, "leaks": ["takes are shared"], "part": "train"})
    return write(tmp_path_factory.mktemp("two"), [leaky, System('<i>a</i> & "b"', answers(4, strength=2.5), ABOUT)])


@pytest.fixture(scope="session")
def unknown(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The report of answers of which nothing is known but clip, class and probabilities."""
    return write(tmp_path_factory.mktemp("unknown"), [System("answers", answers(known=False), {})])
