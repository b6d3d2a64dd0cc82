"""What is learned: the loss of the answer, of its copies and of each stream alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mmer.batch import IGNORED, Batch, Mix
from mmer.errors import ConfigError
from mmer.model import Output

Sums = tuple[Float[Tensor, ""], Float[Tensor, ""]]
"""A sum of losses, and of what the clips count; their quotient is a mean."""


class EmotionLoss(nn.Module):
    """The loss of a model's output.

    In training every mean is over the clips of all processes, which may have different numbers of clips with a label,
    a modality or a weight: the mean of the processes' losses, and so of their gradients, is that of one process with
    all the clips.

    Args:
        reads: What each stream reads, by the stream's name.
        classes: How many classes there are.
        smoothing: Share of the target that is spread over all classes.
        gamma: Exponent of the focal loss; 0 is cross entropy.
        stream_weight: Weight of the streams' own losses, their mean.
    """

    class_weight: Tensor

    def __init__(
        self, reads: Mapping[str, str], classes: int, smoothing: float, gamma: float, stream_weight: float
    ) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ConfigError(f"model.label_smoothing={smoothing} must lie in [0, 1)")
        if gamma < 0:
            raise ConfigError(f"model.focal={gamma} must not be negative; 0 is cross entropy")
        if stream_weight < 0:
            raise ConfigError(f"model.stream_loss={stream_weight} must not be negative")
        self.reads = dict(reads)
        self.smoothing = smoothing
        self.gamma = gamma
        self.stream_weight = stream_weight
        self.register_buffer("class_weight", torch.ones(classes), persistent=False)

    def forward(self, output: Output, batch: Batch) -> Float[Tensor, ""]:
        """Return the mean over the answer and its copies, and the streams' share beside it."""
        assert batch.label is not None, "a data module's batches carry labels"
        answers = [self._sums(logits, batch.label, batch.mix) for logits in (output.logits, *output.copies)]
        sums = [*answers, *self._streams(output, batch, batch.label)]
        total, counted = (torch.stack(each) for each in zip(*sums, strict=True))
        losses = total / self._over_processes(counted).clamp(min=torch.finfo(counted.dtype).tiny)
        loss = losses[: len(answers)].mean()
        if output.stream_logits:  # with a weight of 0 too: DDP wants a gradient for every parameter
            loss = loss + self.stream_weight * losses[len(answers) :].mean()
        return loss

    def balance(self, counts: list[int]) -> None:
        """Weigh each class by the inverse of its number of clips, and by 0 where it has none.

        Label smoothing would otherwise teach that every clip might be of the class that is rarest of all.
        """
        clips = torch.tensor(counts)
        there = clips > 0
        self.class_weight.copy_(torch.where(there, clips.sum() / (there.sum() * clips.clamp(min=1)), 0.0))

    def _streams(self, output: Output, batch: Batch, label: Int[Tensor, " b"]) -> Iterator[Sums]:
        """Yield the sums of the streams' own losses, each over the clips that have its modality."""
        for name, logits in output.stream_logits.items():
            _, mask = batch.read(self.reads[name])
            has, mix = mask.any(dim=1), batch.mix
            mix = mix and replace(mix, label=mix.label.where(has, IGNORED))  # both clips of a pair have it, or neither
            yield self._sums(logits, label.where(has, IGNORED), mix)

    def _over_processes(self, counted: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return what the processes have counted on average; in evaluation what this one has."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return counted
        counted = counted.detach().clone()
        dist.all_reduce(counted)
        return counted / dist.get_world_size()

    def _sums(self, logits: Float[Tensor, "b c"], label: Int[Tensor, " b"], mix: Mix | None) -> Sums:
        return cross_entropy_sums(logits, label, self.class_weight, self.smoothing, mix, self.gamma)


def cross_entropy_sums(
    logits: Float[Tensor, "b c"],
    label: Int[Tensor, " b"],
    weight: Float[Tensor, " c"],
    smoothing: float,
    mix: Mix | None = None,
    gamma: float = 0.0,
) -> Sums:
    """Return the sum of the losses of the clips that have a label, and the sum of what they count.

    A mixed clip counts as two, each with its share: its own label, and that of the clip that was mixed into it. With a
    ``gamma`` what is answered well counts for less, by the focal loss of Lin et al. 2017 (arXiv:1708.02002).
    """
    own = torch.ones_like(weight[:1]).expand(len(label)) if mix is None else mix.share
    targets = [(label, own)] if mix is None else [(label, own), (mix.label, 1 - own)]
    total, counted = logits.new_zeros(()), weight.new_zeros(())
    for target, share in targets:
        each = F.cross_entropy(
            logits, target, weight, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
        )
        if gamma > 0:
            each = each * _doubt(logits, target) ** gamma
        total = total + (share * each).sum()
        counted = counted + (share * torch.where(target == IGNORED, 0.0, weight[target.clamp(min=0)])).sum()
    return total, counted


def main_label(label: Int[Tensor, " b"], mix: Mix | None) -> Int[Tensor, " b"]:
    """Return the label that training scores count: of a mixed clip that of its larger share."""
    return label if mix is None else label.where(mix.share >= 0.5, mix.label)


def _doubt(logits: Float[Tensor, "b c"], target: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
    """Return what the target's probability lacks to 1, and never 0, where a small exponent has an endless slope."""
    log = logits.log_softmax(dim=1).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    return (-torch.expm1(log)).clamp(min=torch.finfo(log.dtype).eps)
