"""Norms under which a clip's answer never depends on the clips beside it, nor on their padding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.distributed import group
from torch.distributed._functional_collectives import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm


class MaskedBatchNorm(nn.Module):
    """BatchNorm (Ioffe and Szegedy 2015, arXiv:1502.03167) of waveforms' or spectrograms' channels over real steps.

    Training takes the statistics of all real steps of the batch, so that neither padding nor a clip without sound moves
    them; afterwards they are the running ones. Shapes are those of the input at all times: nothing is gathered.

    Args:
        channels: Channels in and out.
        momentum: Share of a batch's statistics that joins the running ones.
        eps: What a variance has at least.
    """

    synced = False
    """Whether the statistics are those of the batches of all processes."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Float[Tensor, "b c *f t"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b c *f t"]:
        """Normalise the steps, which are zeros where the mask is False before, and anything after."""
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean, variance = self._statistics(x, mask) if self.training else (self.mean, self.variance)
        scale = self.weight * (variance + self.eps).rsqrt()
        return x * scale.view(shape) + (self.bias - mean * scale).view(shape)

    def _statistics(
        self, x: Float[Tensor, "b c *f t"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
        """Return the batch's mean and variance, and let them join the running ones where there is any real step."""
        x, over = x.float(), [0, *range(2, x.ndim)]  # half precision could not hold the difference of squares
        count = mask.sum() * (x[0, 0].numel() // x.shape[-1])
        sums = torch.cat([x.sum(over), x.square().sum(over), count.float().unsqueeze(0)])
        if self.synced:
            assert group.WORLD is not None, "only several processes share statistics"
            sums = all_reduce(sums, "sum", group.WORLD)  # of which the gradient is known
        channels, count = x.shape[1], sums[-1]
        mean = sums[:channels] / count.clamp(min=1)
        variance = (sums[channels:-1] / count.clamp(min=1) - mean.square()).clamp(min=0)
        with torch.no_grad():
            share = torch.where(count > 1, self.momentum, 0.0)
            unbiased = variance * count / (count - 1).clamp(min=1)
            for kept, found in ((self.mean, mean), (self.variance, unbiased)):
                kept.lerp_(found.to(kept.dtype), share.to(kept.dtype))
        return mean, variance


def settle_batch_norm(network: nn.Module) -> None:
    """Put every BatchNorm of a library's network into eval mode, so that its statistics stay as they were loaded."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def encode_real(network: nn.Module, x: Float[Tensor, "n ..."], real: Bool[Tensor, " n"]) -> Float[Tensor, "n ..."]:
    """Encode pictures or clips; where BatchNorm learns, only those that are real, so that it never counts the others.

    Where none is real, all are encoded by the running statistics: every parameter has its gradient on every process.

    Args:
        network: The network over one picture or clip each.
        x: The pictures or clips.
        real: Which of them are there; what is said of the others is zeros where BatchNorm learns, and anything
            otherwise.
    """
    if any(isinstance(module, _BatchNorm) and module.training for module in network.modules()):
        learned: Tensor = _encode_learning(network, x, real)
        return learned
    everything: Tensor = network(x)
    return everything


@torch.compiler.disable(recursive=False)  # type: ignore[no-untyped-call, untyped-decorator]
def _encode_learning(network: nn.Module, x: Tensor, real: Tensor) -> Tensor:
    """Encode what is real; shapes follow the data here, which no compiler likes, and not inside the network."""
    synced = any(isinstance(module, nn.SyncBatchNorm) and module.training for module in network.modules())
    if not synced and not real.any():  # where statistics are shared, the other processes wait for ours, even for none
        with _evaluating(network):
            return _encode(network, x)
    seen = x[real]
    # a norm behind the pooling would have one number of a single picture, unless the other processes have more
    twice = seen.ndim == 4 and len(seen) == 1 and not synced
    half = torch.is_autocast_enabled(x.device.type) and len(seen) > 0
    with torch.autocast(x.device.type, enabled=half):  # of nothing, its norms would send half precision for single
        said = _encode(network, seen.expand(2, *seen.shape[1:]) if twice else seen)[: len(seen)]
    return said.new_zeros(len(x), *said.shape[1:]).index_put((real,), said)


def _encode(network: nn.Module, x: Tensor) -> Tensor:
    """Encode all; where a model is compiled, this call is, for PyTorch compiles none that begins in its own modules."""
    said: Tensor = network(x)
    return said


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network into eval mode for a while."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def standardise(x: Float[Tensor, "*b n"], mask: Bool[Tensor, "*#b n"], eps: float = 1e-5) -> Float[Tensor, "*b n"]:
    """Bring the real values of each row to mean 0 and deviation 1; the others become zeros."""
    count = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    mean = torch.where(mask, x, 0.0).sum(dim=-1, keepdim=True) / count
    variance = torch.where(mask, (x - mean).square(), 0.0).sum(dim=-1, keepdim=True) / count
    return torch.where(mask, (x - mean) / (variance + eps).sqrt(), 0.0)
