"""Statistics of precomputed streams equal numpy's over all steps at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmer.config import ClipConfig, FeaturesConfig, ModelConfig, PrepareConfig
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset
from mmer.data.statistics import measure_stream
from mmer.data.store import PreparedCorpus, clip_path

MODEL = ModelConfig({"table": FeaturesConfig("features", "units", 3)}, clip=ClipConfig(seconds=100.0))


@pytest.fixture
def values() -> list[np.ndarray]:
    """Clips of 1 to 9 steps with a mean that is large beside their deviation."""
    rng = np.random.default_rng(0)
    return [(1e4 + rng.normal(0, [1, 5, 0], (steps, 3))).astype(np.float32) for steps in range(1, 10)]


def dataset(root: Path, values: list[np.ndarray]) -> ClipDataset:
    """Return a data set of clips that have these values, and of one that has none."""
    (root / "clips").mkdir()
    rows = [Row("bare", "test", label="sad", text="alone")]
    for i, value in enumerate(values):
        row = Row(f"clip {i}", "test", label="happy", extra={"features": "units"})
        replace(PreparedClip.empty(), features={"units": value}).save(clip_path(root, row.key))
        rows.append(row)
    return ClipDataset(PreparedCorpus(root, tuple(rows), PrepareConfig(features=("units",))), rows, MODEL)


def test_statistics_are_those_of_all_steps(tmp_path: Path, values: list[np.ndarray]) -> None:
    found, every = measure_stream(dataset(tmp_path, values), "units", 95.0), np.concatenate(values).astype(np.float64)
    np.testing.assert_allclose(found.mean, every.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(found.deviation, every.std(axis=0), rtol=1e-4, atol=1e-9)
    assert found.deviation[2] == 0


@pytest.mark.parametrize(("percentile", "steps"), [(100.0, 9), (95.0, 9), (50.0, 5), (1.0, 2)])
def test_steps_are_a_percentile_of_the_lengths(
    tmp_path: Path, values: list[np.ndarray], percentile: float, steps: int
) -> None:
    assert measure_stream(dataset(tmp_path, values), "units", percentile).steps == steps
