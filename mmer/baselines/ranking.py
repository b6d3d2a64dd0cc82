"""Which descriptors tell the classes apart, and a picture of how far they do."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.feature_selection import f_classif, mutual_info_classif
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from mmer.atomic import replacing
from mmer.baselines.clips import Clips, Index
from mmer.evaluation.report.style import COLOURS, WIDTH, draw_png, figure_style, mark, new_figure, short


@dataclass(frozen=True, slots=True)
class Ranked:
    """How well a descriptor tells the classes apart.

    Args:
        name: The descriptor.
        f: Its F in an analysis of variance: variance between classes over variance within them.
        information: What it tells of the class alone, in nats.
    """

    name: str
    f: float
    information: float


def rank_descriptors(
    clips: Clips, learned: Sequence[Index], *, workers: int = 1, progress: bool = True
) -> list[Ranked]:
    """Rank descriptors by their discriminative power among training speakers, the best first.

    Args:
        clips: The clips.
        learned: The training clips of each fold; what is counted is averaged over the folds.
        workers: How many threads count.
        progress: Whether to show a progress bar on standard error.
    """
    with tqdm(learned, desc="rank", unit="fold", disable=not progress) as bar:
        scores = np.mean([_score(clips, index, workers) for index in bar], axis=0)
    ranked = [
        Ranked(name, float(f), float(information))
        for name, (f, information) in zip(clips.table.names, scores.T, strict=True)
    ]
    return sorted(ranked, key=lambda each: -each.f)


def write_ranking(ranked: Sequence[Ranked], path: Path) -> None:
    """Write a ranking as a table; the file appears whole or not at all."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rank", "descriptor", "f", "mutual_information"])
        writer.writerows([i, each.name, f"{each.f:.4f}", f"{each.information:.4f}"] for i, each in enumerate(ranked, 1))


def draw_components(clips: Clips, warning: Sequence[str] = ()) -> Figure:
    """Draw every clip at its first two principal components; no class was looked at to find them.

    Args:
        clips: The clips.
        warning: What the picture must say of itself.
    """
    pca = PCA(2, random_state=0)
    values = clips.table.values
    if values.shape[1] == 1:  # a plane wants a second direction, in which nothing differs
        values = np.pad(values, ((0, 0), (0, 1)))
    places = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), pca).fit_transform(values)
    figure, (axes,) = new_figure(WIDTH, WIDTH)
    with figure_style():
        for i, name in enumerate(clips.labels.names):
            own = places[clips.label == i]
            axes.scatter(
                own[:, 0],
                own[:, 1],
                s=9,
                alpha=0.7,
                linewidths=0,
                color=COLOURS[i % len(COLOURS)],
                marker="os^v"[i // len(COLOURS) % 4],
                label=short(name),
            )
        for axis, share, number in zip((axes.xaxis, axes.yaxis), pca.explained_variance_ratio_, (1, 2), strict=True):
            axis.set_label_text(f"component {number} ({100 * share:.0f}% of the variance)")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=4, handletextpad=0.1)
    mark(figure, warning)
    return figure


def write_picture(figure: Figure, path: Path) -> None:
    """Write a figure as PNG; the file appears whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(draw_png(figure))


def _score(clips: Clips, index: Index, workers: int) -> NDArray[np.float64]:
    """Return F and mutual information of each descriptor among some clips, [2 d]; 0 of one that never changes."""
    x = SimpleImputer(keep_empty_features=True).fit_transform(clips.table.values[index])
    x, y = StandardScaler().fit_transform(x), clips.label[index]
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.filterwarnings("ignore", "Features .* are constant", UserWarning)
        f = np.nan_to_num(f_classif(x, y)[0])
    return np.stack([f, mutual_info_classif(x, y, random_state=0, n_jobs=workers)])
