"""Optimisers and the course of their rate, from their description."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any, Literal

from torch import nn
from torch.nn import Parameter
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from mmer.config import OptimConfig
from mmer.errors import ConfigError
from mmer.model import EmotionModel


def build_optimizer(model: EmotionModel, config: OptimConfig) -> Optimizer:
    """Build the optimiser of what is to be learned; frozen parameters are left out.

    Raises:
        ConfigError: Layers are to learn at rates of their own and no encoder has any.
    """
    groups = group_parameters(model, config)
    match config.kind:
        case "adamw":
            return AdamW(groups, lr=config.lr)
        case "sgd":
            return SGD(
                groups,
                lr=config.lr,
                momentum=config.momentum,
                dampening=config.dampening,
                nesterov=config.nesterov,
            )


def build_schedule(optimizer: Optimizer, config: OptimConfig, steps: int | float, watch: str) -> dict[str, Any]:
    """Build the course of the rate, as Lightning takes it.

    Args:
        optimizer: Whose rate it is.
        config: Its description.
        steps: Steps of the whole training; infinitely many only for a plateau, or a constant rate without warm-up.
        watch: The metric that a plateau is one of, as ``val/uar``.
    """
    if config.schedule == "plateau":
        better: Literal["min", "max"] = "min" if watch.endswith("loss") else "max"
        plateau = ReduceLROnPlateau(optimizer, better, factor=config.factor, patience=config.patience, threshold=0.0)
        # the module steps it behind each validation; Lightning would ask for the metric where none was measured
        return {"scheduler": plateau, "interval": "epoch", "frequency": sys.maxsize, "monitor": watch}
    course = warmup_cosine if config.schedule == "cosine" else warmup_constant
    return {"scheduler": LambdaLR(optimizer, lambda step: course(step, steps, config.warmup)), "interval": "step"}


def group_parameters(model: EmotionModel, config: OptimConfig) -> list[dict[str, Any]]:
    """Return parameters by rate, the highest first, and by whether they decay; norms and biases do not.

    Raises:
        ConfigError: Layers are to learn at rates of their own and no encoder has any, or one cannot say what its are.
    """
    if config.layer_decay < 1 and not any(_layers(encoder) for encoder in model.encoders.values()):
        raise ConfigError(
            f"model.optim.layer_decay={config.layer_decay} is for encoders with pretrained layers, and "
            f"{', '.join(model.encoders)} have none; leave it out, or lower model.optim.encoder_lr"
        )
    share = dict(_encoder_rates(model, config))
    groups: dict[tuple[float, bool], list[Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1 and not name.endswith(".bias")
            groups.setdefault((share.get(parameter, 1.0), decays), []).append(parameter)
    order = sorted(groups, key=lambda group: (-group[0], group[1]))
    return [
        {
            "params": groups[rate, decays],
            "lr": rate * config.lr,
            "weight_decay": config.weight_decay if decays else 0.0,
        }
        for rate, decays in order
    ]


def warmup_cosine(step: int, steps: int | float, warmup: float) -> float:
    """Return the factor of the learning rate at a step: a line up from zero, then half a cosine down to zero."""
    rise = _rise(steps, warmup)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def warmup_constant(step: int, steps: int | float, warmup: float) -> float:
    """Return the factor of the learning rate at a step: a line up from zero, then 1."""
    return min(1.0, (step + 1) / _rise(steps, warmup))


def _rise(steps: int | float, warmup: float) -> int:
    return max(1, round(warmup * steps)) if warmup > 0 else 1


def _encoder_rates(model: EmotionModel, config: OptimConfig) -> Iterator[tuple[Parameter, float]]:
    """Yield the parameters of the encoders, each with its share of the whole rate.

    Layers count from the top, whose share is the decay itself; what is in no layer is below the lowest.
    """
    for encoder in model.encoders.values():
        layers = _layers(encoder) if config.layer_decay < 1 else []
        depth = {
            parameter: len(layers) - number for number, layer in enumerate(layers) for parameter in layer.parameters()
        }
        for parameter in encoder.parameters():
            above = depth.get(parameter, len(layers) + 1) if layers else 0
            yield parameter, config.encoder_lr * config.layer_decay**above


def _layers(encoder: nn.Module) -> list[nn.Module]:
    """Return an encoder's pretrained blocks from input to output; one that learns from scratch need not have any."""
    return list(getattr(encoder, "layers", ()))
