"""Mixup and cutmix: training clips that are partly another clip of their batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmer.batch import Batch, Mix, Tokens
from mmer.config import AugmentConfig
from mmer.data.samplers import seed_sequence


class Mixer:
    """Mix a batch's clips in pairs, all modalities of a pair with one share.

    Each batch has one share and one order of partners. A clip whose partner lacks one of its modalities, or has another
    one, stays as it is: its label would follow a share that only some of its modalities have.

    Args:
        config: Alphas of mixup and cutmix.
        seed: The run's seed.
        rank: Which process this is; each draws its own.
    """

    def __init__(self, config: AugmentConfig, seed: int = 0, rank: int = 0) -> None:
        self.config = config
        self.seed = seed
        self.rank = rank

    def __call__(self, batch: Batch, epoch: int, number: int) -> Batch:
        """Mix a batch, of some number in some epoch; where it lies, on a GPU or not, it stays."""
        self._rng = np.random.default_rng(seed_sequence(self.seed, 2, epoch, self.rank, number))
        assert batch.label is not None, "a data module's batches carry labels"
        partner = torch.from_numpy(self._rng.permutation(len(batch))).to(batch.label.device, non_blocking=True)
        if not self._cuts():
            return _mixed(batch, partner, self._rng.beta(self.config.mixup, self.config.mixup))
        share = self._rng.beta(self.config.cutmix, self.config.cutmix)
        if batch.video is None:
            return _mixed(batch, partner, share)
        height, width = batch.video.shape[-2:]
        rows, columns = self._rectangle(height, width, 1 - share)
        kept = 1 - (rows.stop - rows.start) * (columns.stop - columns.start) / (height * width)
        return _mixed(batch, partner, kept, (rows, columns))

    def _cuts(self) -> bool:
        mixup, cutmix = self.config.mixup > 0, self.config.cutmix > 0
        return cutmix and (not mixup or self._rng.random() < 0.5)

    def _rectangle(self, height: int, width: int, area: float) -> tuple[slice, slice]:
        """Draw a rectangle in the frame's shape around any pixel; the part of it that is inside, as in the paper."""
        sides = []
        for side in (height, width):
            middle, half = self._rng.integers(side), round(side * area**0.5) // 2
            sides.append(slice(max(0, int(middle) - half), min(side, int(middle) + half)))
        return sides[0], sides[1]


def _mixed(batch: Batch, partner: Tensor, share: float, cut: tuple[slice, slice] | None = None) -> Batch:
    """Give each clip ``1 - share`` of its partner: in the rectangle, or blended where none is given."""
    assert batch.label is not None
    has = torch.stack([mask.any(dim=1) for mask in _masks(batch)], dim=1)
    pairs = (has == has[partner]).all(dim=1)
    kept = torch.where(pairs, share, 1.0).float()
    mixed = replace(batch, mix=Mix(batch.label[partner], kept))
    if batch.video is not None and batch.video_mask is not None:
        video = _blend(batch.video, partner, kept) if cut is None else _paste(batch.video, partner, pairs, *cut)
        mixed = replace(mixed, video=video, video_mask=_either(batch.video_mask, partner, pairs))
    if batch.audio is not None and batch.audio_mask is not None:
        audio = _blend(batch.audio, partner, kept)
        mixed = replace(mixed, audio=audio, audio_mask=_either(batch.audio_mask, partner, pairs))
    if batch.span is not None:
        mixed = replace(mixed, span=batch.span.where(~pairs, batch.span.maximum(batch.span[partner])))
    features = {name: _mixed_steps(tokens, partner, kept, pairs) for name, tokens in batch.features.items()}
    return replace(mixed, features=features)


def _mixed_steps(tokens: Tokens, partner: Tensor, kept: Float[Tensor, " b"], pairs: Bool[Tensor, " b"]) -> Tokens:
    """Blend the steps that both clips have; where one has ended, the other's stand alone, for 0 is no silence here."""
    there, here = tokens.mask[partner].unsqueeze(2), tokens.mask.unsqueeze(2)
    filled = torch.where(here | ~pairs.view(-1, 1, 1), tokens.x, tokens.x[partner])
    theirs = torch.where(there, tokens.x[partner], tokens.x)
    x = torch.lerp(theirs, filled, kept.view(-1, 1, 1))
    return Tokens(x, _either(tokens.mask, partner, pairs))


def _masks(batch: Batch) -> list[Tensor]:
    masks = [batch.video_mask, batch.audio_mask, *(tokens.mask for tokens in batch.features.values())]
    return [mask for mask in masks if mask is not None]


def _blend(x: Tensor, partner: Tensor, kept: Float[Tensor, " b"]) -> Tensor:
    """Return the weighted means of the clips and their partners; uint8 stays uint8."""
    mixed = torch.lerp(x[partner].float(), x.float(), kept.view(-1, *[1] * (x.ndim - 1)))
    return mixed if x.is_floating_point() else mixed.round().to(x.dtype)


def _paste(video: Tensor, partner: Tensor, pairs: Bool[Tensor, " b"], rows: slice, columns: slice) -> Tensor:
    """Return the clips with a rectangle of their partners."""
    pasted = video.clone()
    source = torch.where(pairs, partner, torch.arange(len(video), device=video.device))
    pasted[..., rows, columns] = video[source][..., rows, columns]
    return pasted


def _either(mask: Bool[Tensor, "b n"], partner: Tensor, pairs: Bool[Tensor, " b"]) -> Bool[Tensor, "b n"]:
    """Return where the mixed clips are real: where one of a pair is."""
    return mask | (mask[partner] & pairs.unsqueeze(1))
