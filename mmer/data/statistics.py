"""What the training clips say of a precomputed stream: means, deviations, lengths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from mmer.data.dataset import ClipDataset


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics of a precomputed stream.

    Args:
        mean: Mean of each column over all steps of all clips, [f].
        deviation: Standard deviation of each column, [f].
        steps: A percentile of the clips' numbers of steps, rounded up.
    """

    mean: NDArray[np.float32]
    deviation: NDArray[np.float32]
    steps: int


def measure_stream(dataset: ClipDataset, name: str, percentile: float) -> Statistics:
    """Measure a stream over the windows of a data set's clips that have it.

    The sums are kept in double precision and joined clip by clip (Chan et al. 1979), so that neither a large mean nor
    many clips cost digits or memory.

    Args:
        dataset: The clips.
        name: The stream's name.
        percentile: Which percentile of the numbers of steps.

    Raises:
        ClipError: A prepared clip is missing or damaged.
    """
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    lengths = []
    for index in tqdm(range(len(dataset)), desc=f"statistics of {name}", unit="clip", disable=None, leave=False):
        values = dataset.read_stream(index, name)
        if values is None:
            continue
        lengths.append(len(values))
        own, total = values.mean(axis=0, dtype=np.float64), count + len(values)
        apart = own - (mean if count else own)
        squares = (
            (squares if count else 0) + ((values - own) ** 2).sum(axis=0) + apart**2 * (count * len(values) / total)
        )
        mean = own - apart * (count / total)
        count = total
    steps = int(np.ceil(np.percentile(lengths, percentile)))
    return Statistics(mean.astype(np.float32), np.sqrt(squares / count).astype(np.float32), steps)
