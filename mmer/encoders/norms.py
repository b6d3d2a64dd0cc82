"""Norms under which a clip's answer never depends on the clips beside it, nor on their padding."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmer.config import FramesConfig, ResNet3DConfig


class MaskedBatchNorm(nn.BatchNorm1d):
    """BatchNorm (Ioffe and Szegedy 2015, arXiv:1502.03167) of waveforms' or spectrograms' channels over real steps.

    Training takes the statistics of all real steps of the batch, so that neither padding nor a clip without sound moves
    them; afterwards they are the running ones. Shapes are those of the input at all times: nothing is gathered.
    """

    def forward(self, x: Float[Tensor, "b c *f t"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b c *f t"]:  # type: ignore[override]
        """Normalise the steps, which are zeros where the mask is False before, and anything after."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, variance = self._statistics(x, mask) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * (variance + self.eps).rsqrt()
        return x * scale.view(shape) + (self.bias - mean * scale).view(shape)

    def _statistics(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return the batch's mean and variance, and let them join the running ones where there is any real step."""
        over = [0, *range(2, x.ndim)]
        count = mask.sum() * (x[0, 0].numel() // x.shape[-1])
        mean = x.sum(over) / count.clamp(min=1)
        variance = (x.square().sum(over) / count.clamp(min=1) - mean.square()).clamp(min=0)
        with torch.no_grad():
            share = torch.where(count > 1, self.momentum, 0.0)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1), share)
        return mean, variance


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
