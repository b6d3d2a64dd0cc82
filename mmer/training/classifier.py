"""The LightningModule: a model, a loss, metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import lightning as L
import torch
from jaxtyping import Float, Int
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics.classification import MulticlassConfusionMatrix

from mmer.batch import IGNORED, Batch, Mix
from mmer.checkpoint import read_card
from mmer.config import ModelConfig
from mmer.data.store import changes
from mmer.errors import ConfigError
from mmer.evaluation.metrics import SCORES
from mmer.model import EmotionModel, Output, build_model

Stage = Literal["train", "val", "test"]
"""Prefix of a metric's name."""


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a linear warm-up and a cosine to zero."""

    lr: float = 3e-4
    """Highest learning rate."""
    weight_decay: float = 0.05
    """Decay of weights; norms and biases have none."""
    warmup: float = 0.1
    """Share of the training's steps in which the rate rises from zero."""

    def __post_init__(self) -> None:
        if not (self.lr > 0 and self.weight_decay >= 0 and 0 <= self.warmup < 1):
            raise ConfigError(f"{self}: lr must be positive, weight_decay not negative and warmup in [0, 1)")


class EmotionClassifier(L.LightningModule):
    """Trains an emotion model.

    Args:
        config: The model.
        optim: Learning rate and its course.
        label_smoothing: Share of the target that is spread over all classes.
        class_weights: ``balanced`` weighs a class by the inverse of its number of training clips.
        stream_loss: Weight of the streams' own losses, their mean, beside the fused answer's; so that a stream that
            learns slowly is not left behind by one that learns fast (Wang et al. 2020, arXiv:1905.12681).
    """

    class_weight: Tensor

    def __init__(
        self,
        config: ModelConfig,
        optim: OptimConfig = OptimConfig(),
        label_smoothing: float = 0.1,
        class_weights: Literal["none", "balanced"] = "none",
        stream_loss: float = 0.5,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ConfigError(f"label_smoothing={label_smoothing} must lie in [0, 1)")
        if stream_loss < 0:
            raise ConfigError(f"stream_loss={stream_loss} must not be negative")
        self.config = config
        self.optim = optim
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights
        self.stream_loss = stream_loss
        self.load_weights = True  # False where a checkpoint will bring them
        classes = len(config.label_set.names)
        self.register_buffer("class_weight", torch.ones(classes), persistent=False)
        self.confusion = nn.ModuleDict(
            {
                f"{stage}_confusion": MulticlassConfusionMatrix(classes, ignore_index=IGNORED)
                for stage in get_args(Stage)
            }
        )

    def configure_model(self) -> None:
        """Build the model, once the data are known to be there; a checkpoint brings its own weights."""
        if not hasattr(self, "model"):
            self.model: EmotionModel = build_model(self.config, load=self.load_weights)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, another preparation or another split.

        Under another split, speakers that it was trained on would be tested.

        Raises:
            CheckpointError: It is none of mmer's.
            ConfigError: It does not belong to this run.
        """
        card, data = read_card(checkpoint, "the checkpoint"), self.trainer.datamodule  # type: ignore[attr-defined]
        pairs = {
            "model.config": (card.model, self.config),
            "data.split": (card.split, data.split_config),
        }
        faults = {name: f"it was {before}, and now is {now}" for name, (before, now) in pairs.items() if before != now}
        if differences := changes(card.prepare, data.corpus.config, self.config.reads):
            faults["preparation of the clips"] = differences
        if not faults and (moved := data.split.moved(card.dealt)):  # the clips have changed, or a table of parts has
            faults["deal of the same split"] = moved
        for name, fault in faults.items():
            raise ConfigError(
                f"the checkpoint was trained with another {name}; give the settings of its run, "
                f"or evaluate it with evaluate.py: {fault}"
            )

    def on_fit_start(self) -> None:
        """Weigh the classes by the training clips."""
        if self.class_weights == "balanced":
            if self.trainer.datamodule.sampler == "class_balanced":  # type: ignore[attr-defined]
                raise ConfigError(
                    "model.class_weights=balanced and data.sampler=class_balanced would favour rare classes twice; "
                    "leave one of them out"
                )
            classes = len(self.class_weight)
            counts = torch.tensor(self.trainer.datamodule.train.class_counts(classes))  # type: ignore[attr-defined]
            self.class_weight.copy_(counts.sum() / (classes * counts.clamp(min=1)))

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score a batch of the validation speakers."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, _: int) -> None:
        """Score a batch of the test speakers."""
        self._step(batch, "test")

    def on_train_epoch_end(self) -> None:
        """Log the scores of the training clips."""
        self._log_scores("train")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation speakers."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test speakers."""
        self._log_scores("test")

    def configure_optimizers(self) -> Any:
        """Return AdamW and its schedule, which advances every step."""
        groups = param_groups_weight_decay(self.model, self.optim.weight_decay)
        optimizer = AdamW(groups, lr=self.optim.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, steps, self.optim.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _step(self, batch: Batch, stage: Stage) -> Tensor:
        assert batch.label is not None, "a data module's batches carry labels"
        output: Output = self.model(batch)
        loss = self._loss(output.logits, batch.label, batch.mix)
        if output.stream_logits:
            loss = loss + self.stream_loss * self._stream_loss(batch, output, batch.label)
        self._matrix(stage).update(output.logits, _main_label(batch.label, batch.mix))
        clips = int((batch.label != IGNORED).sum()) if stage != "train" else len(batch)
        self.log(f"{stage}/loss", loss, batch_size=clips, sync_dist=stage != "train", on_step=False, on_epoch=True)
        return loss

    def _stream_loss(self, batch: Batch, output: Output, label: Int[Tensor, " b"]) -> Float[Tensor, ""]:
        """Return the mean of the streams' own losses, each over the clips that have its modality."""
        losses = []
        for name, logits in output.stream_logits.items():
            _, mask = batch.read(self.config.streams[name].reads)
            has, mix = mask.any(dim=1), batch.mix
            mix = mix and replace(mix, label=mix.label.where(has, IGNORED))  # both clips of a pair have it, or neither
            losses.append(self._loss(logits, label.where(has, IGNORED), mix))
        return torch.stack(losses).mean()

    def _matrix(self, stage: Stage) -> MulticlassConfusionMatrix:
        matrix = self.confusion[f"{stage}_confusion"]  # ModuleDict refuses the key "train"
        assert isinstance(matrix, MulticlassConfusionMatrix)
        return matrix

    def _log_scores(self, stage: Stage) -> None:
        """Score an epoch as evaluate.py does, over the clips of all processes."""
        matrix = self._matrix(stage)
        confusion = matrix.compute().cpu().numpy()
        matrix.reset()
        for name, score in SCORES.items():
            self.log(f"{stage}/{name}", float(score(confusion)), sync_dist=True)

    def _loss(
        self, logits: Float[Tensor, "b c"], label: Int[Tensor, " b"], mix: Mix | None = None
    ) -> Float[Tensor, ""]:
        return cross_entropy(logits, label, self.class_weight, self.label_smoothing, mix)


def cross_entropy(
    logits: Float[Tensor, "b c"],
    label: Int[Tensor, " b"],
    weight: Float[Tensor, " c"],
    smoothing: float,
    mix: Mix | None = None,
) -> Float[Tensor, ""]:
    """Return the mean loss of the clips that have a label; 0 where none has, which PyTorch's own mean makes NaN.

    A mixed clip counts as two, each with its share: its own label, and that of the clip that was mixed into it.
    """
    own = torch.ones_like(weight[:1]).expand(len(label)) if mix is None else mix.share
    targets = [(label, own)] if mix is None else [(label, own), (mix.label, 1 - own)]
    total, counted = logits.new_zeros(()), weight.new_zeros(())
    for target, share in targets:
        each = F.cross_entropy(
            logits, target, weight, ignore_index=IGNORED, label_smoothing=smoothing, reduction="none"
        )
        total = total + (share * each).sum()
        counted = counted + (share * torch.where(target == IGNORED, 0.0, weight[target.clamp(min=0)])).sum()
    return total / counted.clamp(min=torch.finfo(counted.dtype).tiny)


def _main_label(label: Int[Tensor, " b"], mix: Mix | None) -> Int[Tensor, " b"]:
    """Return the label that training scores count: of a mixed clip that of its larger share."""
    return label if mix is None else label.where(mix.share >= 0.5, mix.label)


def warmup_cosine(step: int, steps: int, warmup: float) -> float:
    """Return the factor of the learning rate at a step: a line up from zero, then half a cosine down to zero."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))
