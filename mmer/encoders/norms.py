"""Norms by which a clip's answer never depends on the clips beside it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmer.config import FramesConfig, ResNet3DConfig


def keeps_batch_norm(config: FramesConfig | ResNet3DConfig) -> bool:
    """Return whether a network keeps its BatchNorm, with loaded statistics; GroupNorm is in its place otherwise."""
    return config.norm == "batch" or (config.norm is None and config.weights is not None)


def settle_batch_norm(network: nn.Module) -> None:
    """Put every BatchNorm into eval mode, so that its statistics stay as they were loaded.

    Otherwise clips whose video is missing, which are zeros, would move the statistics of all others.
    """
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def replace_batch_norm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm by GroupNorm (Wu and He 2018, arXiv:1803.08494) in groups of about 16 channels."""
    for name, module in network.named_children():
        if isinstance(module, _BatchNorm):
            setattr(network, name, _with_activation(group_norm(module.num_features), module))
        else:
            replace_batch_norm(module)
    return network


def group_norm(channels: int) -> nn.GroupNorm:
    """Return a GroupNorm in groups of about 16 channels."""
    groups = next(count for count in range(max(1, channels // 16), 0, -1) if channels % count == 0)
    return nn.GroupNorm(groups, channels)


def standardise(x: Float[Tensor, "*b n"], mask: Bool[Tensor, "*#b n"], eps: float = 1e-5) -> Float[Tensor, "*b n"]:
    """Bring the real values of each row to mean 0 and deviation 1; the others become zeros."""
    count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = torch.where(mask, x, 0.0).sum(dim=-1, keepdim=True) / count
    variance = torch.where(mask, (x - mean).square(), 0.0).sum(dim=-1, keepdim=True) / count
    return torch.where(mask, (x - mean) / (variance + eps).sqrt(), 0.0)


def _with_activation(norm: nn.GroupNorm, replaced: nn.Module) -> nn.Module:
    """Return a norm with the activation that timm keeps inside some of its BatchNorms."""
    activation = getattr(replaced, "act", None)
    return norm if activation is None else nn.Sequential(norm, activation)
