"""The page of a report, and its figures."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from mmer.atomic import replacing


def write_report(output: Path, metrics: dict[str, Any]) -> None:
    """Write index.html and confusion.png into a folder."""
    picture = draw_confusion(metrics["confusion"], metrics["labels"], leaky=bool(metrics["leaks"]))
    environment = Environment(
        loader=PackageLoader("mmer.evaluation.report", "."), autoescape=True, undefined=StrictUndefined
    )
    page = environment.get_template("page.html.jinja").render(
        metrics=metrics, confusion=base64.b64encode(picture).decode()
    )
    _replace(output / "confusion.png", picture)
    _replace(output / "index.html", page.encode())


def draw_confusion(confusion: list[list[int]], labels: list[str], *, leaky: bool = False) -> bytes:
    """Draw a confusion matrix as a PNG: counts, shaded by their share of the true class; of a leaky split it says so.

    A picture leaves its report behind.
    """
    counts = np.array(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 5.4), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true", xticks=range(len(labels)), yticks=range(len(labels)))
    axes.set_xticklabels(labels, rotation=35, ha="right")
    axes.set_yticklabels(labels)
    for (row, column), count in np.ndenumerate(counts):
        axes.text(
            column, row, str(count), ha="center", va="center", color="white" if shares[row, column] > 0.5 else "black"
        )
    if leaky:
        axes.set_title("LEAKY SPLIT: too good to be true", color="#b3261e", fontweight="bold")
    figure.colorbar(image, label="share of the true class")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _replace(path: Path, data: bytes) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(data)
