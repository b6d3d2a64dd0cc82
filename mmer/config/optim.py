"""How weights are learned: the optimiser, the course of its rate, the average over the training."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mmer.config.checks import require, require_positive, require_rate


@dataclass(frozen=True)
class OptimConfig:
    """The optimiser and the course of its learning rate."""

    kind: Literal["adamw", "sgd"] = "adamw"
    """``adamw`` (Loshchilov and Hutter 2019, arXiv:1711.05101), or ``sgd`` with momentum."""
    lr: float = 3e-4
    """Highest learning rate."""
    weight_decay: float = 0.05
    """Decay of weights; norms and biases have none."""
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    """``cosine`` falls to zero at the end of the training; ``constant`` stays; ``plateau`` falls by ``factor`` where
    what ``model.watch`` names has not become better for ``patience`` validations."""
    warmup: float = 0.1
    """Share of the training's steps in which the rate rises from zero (``cosine`` and ``constant`` only)."""
    factor: float = 0.1
    """By what a plateau multiplies the rate (``plateau`` only)."""
    patience: int = 10
    """Validations without anything better that a plateau waits (``plateau`` only)."""
    layer_decay: float = 1.0
    """Rate of a pretrained encoder's layer as a share of the layer above it, as 0.75 (Clark et al. 2020,
    arXiv:2003.10555); 1 learns all at one rate. Fusion and heads have the whole rate."""
    encoder_lr: float = 1.0
    """Rate of the encoders as a share of ``lr``."""
    momentum: float = 0.9
    """Momentum (``sgd`` only)."""
    dampening: float = 0.0
    """Share by which a gradient is dampened before it joins the momentum (``sgd`` only)."""
    nesterov: bool = False
    """Look ahead along the momentum (``sgd`` only)."""
    scaling: Literal["none", "linear", "sqrt"] = "none"
    """How ``lr`` follows the clips of a step, which are those of all processes and of all batches that are accumulated:
    ``linear`` (Goyal et al. 2017, arXiv:1706.02677) or by the square root of their number over ``reference_batch``."""
    reference_batch: int | None = None
    """Clips of a step for which ``lr`` was chosen; null is ``data.batch_size``, one process's."""

    def __post_init__(self) -> None:
        require_positive("model.optim.lr", self.lr)
        require(self.weight_decay >= 0, f"model.optim.weight_decay={self.weight_decay} must not be negative")
        require_rate("model.optim.warmup", self.warmup)
        require(0 < self.factor < 1, f"model.optim.factor={self.factor} must lie in (0, 1)")
        require(self.patience >= 0, f"model.optim.patience={self.patience} must not be negative")
        require(0 < self.layer_decay <= 1, f"model.optim.layer_decay={self.layer_decay} must lie in (0, 1]")
        require(
            self.encoder_lr > 0,
            f"model.optim.encoder_lr={self.encoder_lr} must be positive; model.freeze keeps encoders as they are",
        )
        require(
            0 <= self.momentum < 1 and 0 <= self.dampening < 1,
            f"model.optim.momentum={self.momentum} and dampening={self.dampening} must lie in [0, 1)",
        )
        require_positive("model.optim.reference_batch", 1 if self.reference_batch is None else self.reference_batch)
        require(
            not self.nesterov or (self.kind == "sgd" and self.momentum > 0 and self.dampening == 0),
            "model.optim.nesterov is for kind: sgd with a momentum and without dampening; set nesterov to false, or "
            "those",
        )

    def scale(self, clips: int, batch_size: int) -> float:
        """Return by what the rate is multiplied.

        Args:
            clips: Clips of a step, of all processes and all accumulated batches.
            batch_size: Clips of a batch on one process.
        """
        times = clips / (self.reference_batch or batch_size)
        match self.scaling:
            case "none":
                return 1.0
            case "linear":
                return times
            case "sqrt":
                return math.sqrt(times)


@dataclass(frozen=True)
class AveragingConfig:
    """An average of the weights over the training, which is what is validated and kept."""

    kind: Literal["none", "ema", "swa"] = "none"
    """``ema``: exponential, after every step; ``swa``: of the weights at the ends of epochs, all alike (Izmailov et
    al. 2018, arXiv:1803.05407); ``none``: the newest weights."""
    decay: float = 0.999
    """Share of the average that a step leaves (``ema`` only); it is less in the first steps, 2/11 in the first."""
    start: float = 0.0
    """Share of the epochs before the average begins, as 0.75 for ``swa``; until then the newest weights are kept."""

    def __post_init__(self) -> None:
        require(0 < self.decay < 1, f"model.averaging.decay={self.decay} must lie in (0, 1)")
        require_rate("model.averaging.start", self.start)
