"""A prepared folder of tones: whoever speaks, the class is the pitch; a face says it too, but not always."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmer.baselines import classifiers
from mmer.config import PrepareConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.clip import PreparedClip
from mmer.data.store import clip_path, write_settings
from mmer.evaluation.predictions import Predictions

RATE = 8_000
NAMES = ("high", "low", "noise")
HERTZ = {"high": 1500.0, "low": 300.0, "noise": 0.0}


def sound(label: str, rng: np.random.Generator, seconds: float = 0.3) -> np.ndarray:
    noise = rng.normal(0, 0.1, round(seconds * RATE))
    tone = np.sin(2 * np.pi * HERTZ[label] * rng.uniform(0.9, 1.1) * np.arange(len(noise)) / RATE)
    return (noise + 0.3 * tone).astype(np.float32)


def write_tones(root: Path, speakers: Sequence[int], takes: int = 2, corpus: str = "ravdess") -> Path:
    """Write clips of every class by every speaker; each second one has a face, the first of all has no sound."""
    (root / "clips").mkdir(parents=True)
    write_settings(root, PrepareConfig(sample_rate=RATE, size=32, features=("face_posteriors",)))
    rng, rows = np.random.default_rng(0), []
    for speaker in speakers:
        for take in range(takes):
            for i, label in enumerate(NAMES):
                silent = not rows
                streams = "face_posteriors" if silent or take % 2 == 0 else ""
                extra = {"gender": "female", "features": streams}
                row = Row(f"{speaker:02d}-{take}-{label}", corpus, str(speaker), label, extra=extra)
                path = clip_path(root, row.key)
                face = rng.dirichlet(1 + 8 * np.eye(3)[i], 5).astype(np.float32)
                PreparedClip(
                    np.zeros(0),
                    np.zeros(0, np.int64),
                    np.zeros(0, np.uint8),
                    None if silent else sound(label, rng),
                    RATE,
                    features={"face_posteriors": face} if streams else {},
                ).save(path)
                rows.append(replace(row, audio=None if silent else path))
    write_manifest(root / "manifest.csv", rows)
    return root


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    """Six speakers with six clips each."""
    return write_tones(tmp_path / "tones", range(1, 7))


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forests of a size for which nobody waits."""
    monkeypatch.setattr(classifiers, "_TREES", 10)


Answering = Callable[..., Predictions]


@pytest.fixture
def answering() -> Answering:
    """Make answers about clips of some speakers, right as often as is asked for."""

    def make(speakers: Sequence[str], right: float, seed: int, fold: str = "1", skip: int = 0) -> Predictions:
        rng = np.random.default_rng(seed)
        pairs = [(speaker, i) for speaker in speakers for i in range(12)][skip:]
        label = np.array([i % 3 for _, i in pairs], np.int64)
        said = np.where(rng.random(len(label)) < right, label, (label + 1) % 3)
        return Predictions(
            NAMES,
            tuple(f"{speaker}-{i}" for speaker, i in pairs),
            tuple(speaker for speaker, _ in pairs),
            label,
            rng.dirichlet(np.ones(3), len(label)) * 0.4 + np.eye(3)[said] * 0.6,
            fold=(fold,) * len(label),
            groups={"corpus": ("home",) * len(label)},
        )

    return make
