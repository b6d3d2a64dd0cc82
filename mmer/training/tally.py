"""What an epoch adds up to: a confusion matrix and the mean loss."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from mmer.batch import IGNORED


class Tally(Metric):
    """Counts answers by label, and adds up losses, over all processes.

    torchmetrics' own confusion matrix makes the processor wait for the GPU in every step, to check the labels and to
    leave out those that are ignored.

    Args:
        classes: How many classes there are.
    """

    full_state_update = False
    confusion: Tensor
    loss: Tensor
    clips: Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.add_state("confusion", torch.zeros(classes, classes, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("loss", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("clips", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Float[Tensor, "b c"], label: Int[Tensor, " b"], loss: Float[Tensor, ""]) -> None:
        """Count a batch.

        Args:
            logits: Scores of the classes.
            label: Class indices; clips whose label is ``IGNORED`` are no answers.
            loss: Mean loss of the batch.
        """
        known = label != IGNORED
        places = label.clamp(min=0) * len(self.confusion) + logits.argmax(dim=1)
        self.confusion.view(-1).index_add_(0, places, known.to(self.confusion.dtype))
        self.loss += loss.detach() * len(label)
        self.clips += len(label)

    def compute(self) -> tuple[Int[Tensor, "c c"], Float[Tensor, ""]]:
        """Return the answers, a row for each label, and the mean loss."""
        return self.confusion, self.loss / self.clips.clamp(min=1)

    def so_far(self) -> dict[str, Any]:
        """Return what all processes have counted, as a checkpoint keeps it; every process must ask."""
        with self.sync_context():
            return {name: getattr(self, name).cpu().clone() for name in self._defaults}

    def go_on(self, counted: dict[str, Any]) -> None:
        """Take up what had been counted; one process alone does, for the counts of all are added."""
        for name, value in counted.items():
            getattr(self, name).copy_(value)
        self._update_count = 1  # or torchmetrics would warn that nothing was counted
