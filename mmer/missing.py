"""What training hides of the streams, so that a model answers from any of its modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mmer.batch import Tokens


def hide_modalities(tokens: Mapping[str, Tokens], reads: Mapping[str, str], rate: float) -> dict[str, Tokens]:
    """Mask modalities of random clips, all streams of one together; a clip's last one stays.

    Args:
        tokens: The streams by name.
        reads: The modality of each.
        rate: Chance of each modality of a clip to be hidden.
    """
    there = _present(tokens, reads)
    keep = torch.rand(there.shape, device=there.device) >= rate
    return _weigh(tokens, reads, _spare_last(keep, there), None)


def copy_batch(tokens: Mapping[str, Tokens], reads: Mapping[str, str]) -> tuple[dict[str, Tokens], int]:
    """Show every clip several times, one after another: as it is, with soft weights, and without each modality.

    The four copies of Chumachenko et al. 2022 (arXiv:2201.11095) for any number of modalities: the soft weights are
    drawn evenly among all that add up to 1. What would hide a clip's only modality leaves the clip as it is.

    Args:
        tokens: The streams by name.
        reads: The modality of each.

    Returns:
        The streams of all copies, copy after copy, and how many copies there are.
    """
    there = _present(tokens, reads)
    clips, modalities = there.shape
    keep = torch.ones(modalities + 2, clips, modalities, dtype=torch.bool, device=there.device)
    for i in range(modalities):
        keep[i + 2, :, i] = False
    drawn = torch.empty(there.shape, device=there.device).exponential_() * there
    weight = torch.ones(keep.shape, device=there.device)
    weight[1] = drawn / drawn.sum(dim=1, keepdim=True).clamp(min=torch.finfo(drawn.dtype).tiny)
    copied = {name: each.repeat(len(keep)) for name, each in tokens.items()}
    return _weigh(copied, reads, _spare_last(keep, there).flatten(0, 1), weight.flatten(0, 1)), len(keep)


def _present(tokens: Mapping[str, Tokens], reads: Mapping[str, str]) -> Bool[Tensor, "b m"]:
    """Tell which modalities each clip has."""
    of = {read: [each.mask.any(dim=1) for name, each in tokens.items() if reads[name] == read] for read in _each(reads)}
    return torch.stack([torch.stack(streams).any(dim=0) for streams in of.values()], dim=1)


def _spare_last(keep: Bool[Tensor, "... m"], there: Bool[Tensor, "b m"]) -> Bool[Tensor, "... m"]:
    """Return what to keep of each clip: all of it where it would lose everything that it has."""
    return keep | ~(keep & there).any(dim=-1, keepdim=True)


def _weigh(
    tokens: Mapping[str, Tokens],
    reads: Mapping[str, str],
    keep: Bool[Tensor, "b m"],
    weight: Float[Tensor, "b m"] | None,
) -> dict[str, Tokens]:
    column = {read: i for i, read in enumerate(_each(reads))}
    return {
        name: replace(
            each,
            mask=each.mask & keep[:, column[reads[name]], None],
            weight=None if weight is None else weight[:, column[reads[name]]],
        )
        for name, each in tokens.items()
    }


def _each(reads: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reads.values()))
