"""Fit what precomputed streams are standardised with, on the training clips alone."""

from __future__ import annotations

import torch

from mmer.data.dataset import ClipDataset
from mmer.data.statistics import measure_stream
from mmer.encoders.features import Features
from mmer.model import EmotionModel


def standardise(model: EmotionModel, training: ClipDataset) -> None:
    """Give the encoders of precomputed streams the statistics of the training clips.

    Once, before the first step: a run that goes on and a model that is fine-tuned keep what their weights were
    learned with.

    Raises:
        ClipError: A prepared clip is missing or damaged.
    """
    for name, encoder in model.encoders.items():
        if isinstance(encoder, Features):
            found = measure_stream(training, model.config.streams[name].reads, encoder.percentile)
            encoder.fit(torch.from_numpy(found.mean), torch.from_numpy(found.deviation), found.steps)
