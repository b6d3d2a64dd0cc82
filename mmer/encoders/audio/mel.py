"""Log-mel spectrograms to tokens."""

from __future__ import annotations

import math
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.transforms import MelScale, Spectrogram

from mmer.batch import Tokens
from mmer.config import MelCNNConfig, MelConfig, MelPatchesConfig
from mmer.config.audio import SAMPLE_RATE
from mmer.encoders.masking import SpecAugment
from mmer.encoders.norms import MaskedBatchNorm, standardise
from mmer.temporal import build_optional_temporal, mean_of_steps

_FLOOR = 1e-5
"""Smallest energy of a band whose logarithm is told from silence."""


class LogMel(nn.Module):
    """Log-mel spectrogram of a waveform at 16 kHz; in training with bands and spans hidden.

    A column is real where the sample at its middle is. Silence lies on both sides of a waveform, as it does under the
    mask, so that a column at the end of a short clip hears the same however long its batch is.

    Args:
        config: Bands, hop, what is hidden.
    """

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.hop = round(config.hop * SAMPLE_RATE)
        window = round(config.window * SAMPLE_RATE)
        size = 2 ** math.ceil(math.log2(window))
        self.spectrogram = Spectrogram(size, window, self.hop, power=None, pad_mode="constant")
        self.mel = MelScale(config.bins, SAMPLE_RATE, config.low, config.high, n_stft=size // 2 + 1)
        self.normalise = config.normalise == "clip"
        self.spec_augment = None if config.spec_augment is None else SpecAugment(config.spec_augment)

    def forward(
        self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]
    ) -> tuple[Float[Tensor, "b f t"], Bool[Tensor, "b t"]]:
        """Return the spectrogram, zero where its mask is False; samples where the mask is False never matter."""
        spectrum = self.spectrogram(torch.where(mask, x, 0.0))
        mel = self.mel(spectrum.real.square() + spectrum.imag.square())  # their magnitude would take far longer
        mask = mask[:, :: self.hop]
        mel = mel[..., : mask.shape[1]].clamp(min=_FLOOR).log()
        if self.normalise:
            mel = _standardised(mel, mask)
        if self.spec_augment is not None:
            mel = self.spec_augment(mel, mask)
        return torch.where(mask.unsqueeze(1), mel, 0.0), mask


def _standardised(mel: Float[Tensor, "b f t"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b f t"]:
    """Bring each clip's real columns to mean 0 and deviation 1, all bands together: the spectrum keeps its tilt."""
    real = mask.unsqueeze(1).expand_as(mel)
    return standardise(mel.flatten(1), real.flatten(1)).view_as(mel)


class MelCNN(nn.Module):
    """Residual 2D CNN over a log-mel spectrogram: over the whole of it, or over windows that share one network.

    Args:
        config: Channels, windows, the network over the tokens.
    """

    def __init__(self, config: MelCNNConfig) -> None:
        super().__init__()
        self.mel = LogMel(config.mel)
        widths = (config.channels[0], *config.channels)
        self.stem = nn.Conv2d(1, widths[0], 5, stride=2, padding=2, bias=False)
        self.stages = nn.ModuleList(
            ResidualBlock(width, channels, config.dropout)
            for width, channels in zip(widths, config.channels, strict=False)
        )
        self.norm = MaskedBatchNorm(widths[-1])
        bins = -(-config.mel.bins // 2 ** (len(config.channels) + 1))
        self.project = nn.Linear(widths[-1] * bins, config.dim)
        self.window = None if config.window is None else round(config.window / config.mel.hop)
        self.temporal = build_optional_temporal(config.dim, config.temporal)
        self.dim = self.temporal.dim
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a fifth faster on a CPU

    def forward(self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> Tokens:
        """Encode waveforms in [-1, 1]; samples where the mask is False never matter."""
        mel, mask = self.mel(x, mask)
        tokens = self.encode(mel, mask) if self.window is None else self._encode_windows(mel, mask, self.window)
        return cast(Tokens, self.temporal(tokens))

    def encode(self, mel: Float[Tensor, "b f t"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode spectrograms, a token for each step of the last stage."""
        mask = mask[:, ::2]
        h = self.stem(mel.unsqueeze(1)) * mask[:, None, None]
        for stage in self.stages:
            h, mask = stage(h, mask)
        h = F.relu(self.norm(h, mask)).permute(0, 3, 1, 2).flatten(2)  # [b c f t] -> [b t cf]
        return Tokens(self.project(h) * mask.unsqueeze(2), mask)

    def _encode_windows(self, mel: Float[Tensor, "b f t"], mask: Bool[Tensor, "b t"], size: int) -> Tokens:
        """Encode windows of spectrograms, each a token: the mean of its real steps."""
        windows, keep = _windows(mel, mask, size)
        tokens = self.encode(windows.flatten(0, 1), keep.flatten(0, 1))
        real = keep.any(dim=2)
        return Tokens(mean_of_steps(tokens).view(*real.shape, -1), real)


def _windows(
    mel: Float[Tensor, "b f t"], mask: Bool[Tensor, "b t"], size: int
) -> tuple[Float[Tensor, "b n f w"], Bool[Tensor, "b n w"]]:
    """Cut spectrograms into windows that overlap by half, as many as it takes to hold every real column."""
    hop = size // 2
    count = max(1, math.ceil((mel.shape[2] - size) / hop) + 1)
    missing = (count - 1) * hop + size - mel.shape[2]
    windows = F.pad(mel, (0, missing)).unfold(2, size, hop).transpose(1, 2)  # [b f n w] -> [b n f w]
    keep = F.pad(mask, (0, missing)).unfold(1, size, hop)
    fresh = keep[..., size - hop :].any(dim=2)  # a later window that only repeats the one before it is none
    first = torch.arange(count, device=mask.device) == 0
    return windows, keep & (fresh | first).unsqueeze(2)


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, norms first (He et al. 2016, arXiv:1603.05027); halves bins and steps.

    Args:
        width: Channels in.
        channels: Channels out.
        dropout: Rate at which whole channels are dropped between the convolutions.
    """

    def __init__(self, width: int, channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.norm2 = MaskedBatchNorm(width), MaskedBatchNorm(channels)
        self.conv1 = nn.Conv2d(width, channels, 3, stride=2, padding=1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(width, channels, 1, stride=2, bias=False)
        self.dropout = nn.Dropout2d(dropout)

    def forward(
        self, x: Float[Tensor, "b c f t"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b d g n"], Bool[Tensor, "b n"]]:
        """Filter the steps that are real; the others are zeros, before and after."""
        h = F.relu(self.norm1(x, mask)) * mask[:, None, None]
        mask = mask[:, ::2]
        short = self.shortcut(h)
        h = self.conv1(h) * mask[:, None, None]  # a conv smears real sound into what is masked
        h = self.dropout(F.relu(self.norm2(h, mask))) * mask[:, None, None]
        return (self.conv2(h) + short) * mask[:, None, None], mask


class MelPatches(nn.Module):
    """Patches of a log-mel spectrogram, each a token by one linear layer; all bands of a time, then the next time.

    Args:
        config: Size of the patches.
    """

    def __init__(self, config: MelPatchesConfig) -> None:
        super().__init__()
        self.mel = LogMel(config.mel)
        self.steps = config.steps
        self.dim = config.dim
        self.bands = config.mel.bins // config.bins
        self.project = nn.Conv2d(1, config.dim, (config.bins, config.steps), stride=(config.bins, config.steps))
        self.band = nn.Parameter(0.02 * torch.randn(self.bands, config.dim))

    def forward(self, x: Float[Tensor, "b s"], mask: Bool[Tensor, "b s"]) -> Tokens:
        """Encode waveforms in [-1, 1]; samples where the mask is False never matter."""
        mel, mask = self.mel(x, mask)
        missing = -mel.shape[2] % self.steps
        patches = self.project(F.pad(mel, (0, missing)).unsqueeze(1))  # [b d f t]
        keep = F.pad(mask, (0, missing)).unfold(1, self.steps, self.steps).any(dim=2)
        h = patches.permute(0, 3, 2, 1) + self.band  # [b t f d]
        keep = keep.repeat_interleave(self.bands, dim=1)
        return Tokens(cast(Tensor, h.flatten(1, 2) * keep.unsqueeze(2)), keep)
