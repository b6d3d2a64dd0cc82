"""Raw waveforms to tokens."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import WaveCNNConfig
from mmer.config.audio import SAMPLE_RATE

_LAYOUTS: dict[str, tuple[tuple[int, int, int], ...]] = {
    # channels, kernel, stride of each block
    "base": ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2),
    "tiny": ((64, 400, 40), (64, 9, 4), (64, 5, 4)),
}


class WaveCNN(nn.Module):
    """Strided 1D CNN over a mono waveform at 16 kHz.

    ``base`` has the layout of wav2vec 2.0's feature encoder (Baevski et al. 2020, arXiv:2006.11477): seven blocks of
    512 channels, a token every 20 ms. ``tiny`` has three blocks of 64 and a token every 40 ms; its first filters, 25 ms
    long, start as the Gabor functions of LEAF (Zeghidour et al. 2021, arXiv:2101.08596), which a small corpus is too
    small to teach them.

    Args:
        config: Variant, dropout, how much is heard.
    """

    def __init__(self, config: WaveCNNConfig) -> None:
        super().__init__()
        self.part = None if config.frames is None else Part(round(config.frames / config.frame_rate * SAMPLE_RATE))
        layout = _LAYOUTS[config.variant]
        widths = (1, *(channels for channels, _, _ in layout))
        blocks = [
            WaveBlock(width, channels, kernel, stride, config.dropout)
            for width, (channels, kernel, stride) in zip(widths, layout, strict=False)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.dim = widths[-1]
        self.normalise = config.normalise
        if config.variant == "tiny":
            _start_as_gabor(blocks[0].conv)

    def forward(self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> Tokens:
        """Encode waveforms in [-1, 1]; samples where the mask is False never matter."""
        if self.part is not None:
            x, mask = self.part(x, mask)
        x = torch.where(mask, x, 0.0)
        if self.normalise:
            x = x / _level(x, mask)
        h, keep = x.unsqueeze(1), mask
        for block in self.blocks:
            h, keep = block(h, keep)
        return Tokens(h.transpose(1, 2), keep)


class Part(nn.Module):
    """A part of each waveform: in training one drawn at random, otherwise the middle; a shorter one is heard whole.

    Args:
        samples: Length of the part.
    """

    def __init__(self, samples: int) -> None:
        super().__init__()
        self.samples = samples

    def forward(
        self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b n"], Bool[Tensor, "b n"]]:
        """Take the part, up to each waveform's last real sample."""
        places = torch.arange(x.shape[1], device=x.device)
        length = torch.where(mask, places + 1, 0).amax(dim=1)
        slack = (length - self.samples).clamp(min=0)
        start = (torch.rand(len(x), device=x.device) * (slack + 1)).long() if self.training else slack // 2
        index = start.unsqueeze(1) + places[: self.samples]
        return x.gather(1, index), mask.gather(1, index)


class WaveBlock(nn.Module):
    """Convolution, norm over the channels of each step, GELU.

    A norm over time would let padding move the answer.

    Args:
        width: Channels in.
        channels: Channels out.
        kernel: Length of the filters, in steps.
        stride: Steps from one output to the next.
        dropout: Rate at which whole channels are dropped.
    """

    def __init__(self, width: int, channels: int, kernel: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(width, channels, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(channels)
        self.activation = nn.GELU()
        self.dropout = nn.Dropout1d(dropout)

    def forward(
        self, x: Float[Tensor, "b c n"], mask: Bool[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b d m"], Bool[Tensor, "b m"]]:
        """Filter the steps that are real."""
        mask = mask[:, :: self.stride]
        h = self.conv(x)[..., : mask.shape[1]]
        h = self.activation(self.norm(h.transpose(1, 2)).transpose(1, 2))
        return self.dropout(h) * mask.unsqueeze(1), mask  # re-silence: a conv smears real audio into padding


def _level(x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> Float[Tensor, "b 1"]:
    """Return the root mean square of the samples that are real, at least -80 dB of full scale."""
    power = x.square().sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
    return power.sqrt().clamp(min=1e-4)


def _start_as_gabor(conv: nn.Conv1d, low: float = 60.0, high: float = 7000.0) -> None:
    """Set a convolution's filters to windowed cosines of unit norm, evenly spaced on the mel scale.

    Args:
        conv: The convolution; its input has one channel.
        low: Frequency of the first filter, in Hz.
        high: Frequency of the last, in Hz.
    """
    count, length = conv.out_channels, conv.kernel_size[0]
    mels = torch.linspace(_mel(low), _mel(high), count)
    frequency = 700 * (10 ** (mels / 2595) - 1)
    time = (torch.arange(length) - length / 2) / SAMPLE_RATE
    phase = torch.arange(count) % 2 * (math.pi / 2)  # neighbours in quadrature: together they feel every phase
    waves = torch.hann_window(length) * torch.cos(2 * math.pi * frequency[:, None] * time + phase[:, None])
    with torch.no_grad():
        conv.weight.copy_((waves / waves.norm(dim=1, keepdim=True))[:, None])


def _mel(frequency: float) -> float:
    """Return the mel of a frequency in Hz (O'Shaughnessy 1987)."""
    return 2595 * math.log10(1 + frequency / 700)
