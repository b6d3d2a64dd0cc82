"""What a training step hides of an encoder's input: bands and spans of a spectrogram, words of a text."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmer.config import SpecAugmentConfig


class SpecAugment(nn.Module):
    """Hide bands and spans of spectrograms in training, others for each clip (Park et al. 2019, arXiv:1904.08779).

    torchaudio's masks lie anywhere in the padded length; these lie among a clip's own steps, however long its batch is.

    Args:
        config: How many, and how large.
    """

    def __init__(self, config: SpecAugmentConfig) -> None:
        super().__init__()
        self.config = config

    def forward(self, x: Float[Tensor, "b f t"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, "b f t"]:
        """Replace what is hidden by the mean of the clip's real steps; steps where the mask is False never matter."""
        if not self.training:
            return x
        config, (clips, bins, _) = self.config, x.shape
        steps = mask.sum(dim=1)
        hidden = torch.zeros_like(x, dtype=torch.bool)
        bin_places, all_bins = torch.arange(bins, device=x.device).expand(clips, -1), torch.full_like(steps, bins)
        for _ in range(config.bands):
            hidden |= _stretch(bin_places, all_bins, all_bins.clamp(max=config.band_width)).unsqueeze(2)
        step_places = mask.cumsum(dim=1) - 1
        for _ in range(config.spans):
            hidden |= _stretch(step_places, steps, (steps * config.span_share).long()).unsqueeze(1)
        real = torch.where(mask.unsqueeze(1), x, 0.0)
        mean = real.sum(dim=(1, 2)) / (bins * steps.clamp(min=1))
        return torch.where(hidden & mask.unsqueeze(1), mean.view(-1, 1, 1), x)


def _stretch(place: Int[Tensor, "b n"], length: Int[Tensor, " b"], widest: Int[Tensor, " b"]) -> Bool[Tensor, "b n"]:
    """Draw a stretch of 0 to ``widest`` places that lies within the length of each clip."""
    width = (torch.rand(length.shape, device=length.device) * (widest + 1)).long()
    start = (torch.rand(length.shape, device=length.device) * (length - width + 1)).long()
    return (place >= start.unsqueeze(1)) & (place < (start + width).unsqueeze(1))


class TokenDropout(nn.Module):
    """Hide random words of a text in training; special tokens stay, and so does a text that would lose all its words.

    Args:
        rate: Chance of each token to be hidden.
        special: Ids that are never hidden, such as the tokeniser's first and last token.
    """

    special: Tensor

    def __init__(self, rate: float, special: Sequence[int] = ()) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("special", torch.tensor(special, dtype=torch.long), persistent=False)

    def forward(self, text: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> Bool[Tensor, "b l"]:
        """Return the mask without the hidden tokens."""
        if not self.training:
            return mask
        words = mask & ~torch.isin(text, self.special)
        kept = words & (torch.rand(text.shape, device=text.device) >= self.rate)
        kept = torch.where(kept.any(dim=1, keepdim=True), kept, words)
        return kept | (mask & ~words)
