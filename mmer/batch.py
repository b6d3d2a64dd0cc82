"""What flows through the house: a clip, a batch of clips, and the tokens an encoder makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.utils.data import get_worker_info

from mmer.config import Modality

_MODALITIES = get_args(Modality)

IGNORED = -100
"""Label of a clip that must not be scored: it has none, or it repeats another to fill a batch."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A stream after its encoder.

    Args:
        x: The tokens.
        mask: True where a token is real, everywhere in the project.
        weight: How much each clip's stream counts in the fusion, where no norm takes it away again; None is 1. Training
            alone gives it.
        extent: How many tokens last as long as the clip, not always a whole number, where more or fewer than the real
            ones do; None: all up to the last real one.
    """

    x: Float[Tensor, "b t d"]
    mask: Bool[Tensor, "b t"]
    weight: Float[Tensor, " b"] | None = None
    extent: Float[Tensor, " b"] | None = None

    def weighed(self) -> Tokens:
        """Return the stream multiplied by its weight, which is then spent."""
        if self.weight is None:
            return self
        return replace(self, x=self.x * self.weight.view(-1, 1, 1), weight=None)

    def repeat(self, times: int) -> Tokens:
        """Return the streams of all clips several times, one copy of them after another."""
        weight, extent = (None if each is None else each.repeat(times) for each in (self.weight, self.extent))
        return Tokens(self.x.repeat(times, 1, 1), self.mask.repeat(times, 1), weight, extent)

    def count(self) -> Float[Tensor, " b"]:
        """Return how many last as long as each clip; what is masked before the last is a gap, after it padding."""
        if self.extent is not None:
            return self.extent
        place = torch.arange(1, self.mask.shape[1] + 1, device=self.mask.device)
        return (self.mask * place).amax(dim=1).float()


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip as a data set gives it; None is a modality this clip lacks.

    Args:
        key: The clip's key in its manifest.
        video: RGB face frames.
        audio: Mono waveform in [-1, 1].
        label: Class index, or None where it is unknown.
        text: Token ids of the words.
        features: Precomputed streams by name; a clip lacks those that are not there.
        span: Which share of the model's window it lasts, in (0, 1]; its sound may end before.
    """

    key: str
    video: UInt8[Tensor, "t 3 h w"] | None = None
    audio: Float[Tensor, " s"] | None = None
    label: int | None = None
    text: Int[Tensor, " l"] | None = None
    features: Mapping[str, Float[Tensor, "n f"]] = field(default_factory=dict)
    span: float = 1.0

    def has(self, name: str) -> bool:
        """Tell whether the clip has a modality, or a precomputed stream of that name."""
        return getattr(self, name) is not None if name in _MODALITIES else name in self.features

    def without(self, name: str) -> Clip:
        """Return the clip as if it lacked a modality or a stream."""
        if name in self.features:
            return replace(self, features={other: x for other, x in self.features.items() if other != name})
        changes: dict[str, Any] = {name: None}
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class Mix:
    """What was mixed into each clip of a training batch.

    Args:
        label: Class index of the other clip.
        share: How much of the clip is its own, in [0, 1].
    """

    label: Int[Tensor, " b"]
    share: Float[Tensor, " b"]


@dataclass(frozen=True, slots=True)
class Batch:
    """B clips. ``None`` says that the model does not read a modality; that a clip lacks it is said by its mask.

    The first is decided by the config and so agrees on every rank; the second is data. A missing modality is zeros
    plus an all-False mask row. ``span`` is each clip's share of the window; None: each lasts as long as its sound.
    """

    key: tuple[str, ...]
    video: UInt8[Tensor, "b t 3 h w"] | None = None
    video_mask: Bool[Tensor, "b t"] | None = None
    audio: Float[Tensor, "b s"] | None = None
    audio_mask: Bool[Tensor, "b s"] | None = None
    text: Int[Tensor, "b l"] | None = None
    text_mask: Bool[Tensor, "b l"] | None = None
    features: Mapping[str, Tokens] = field(default_factory=dict)
    label: Int[Tensor, " b"] | None = None
    mix: Mix | None = None
    span: Float[Tensor, " b"] | None = None

    def __len__(self) -> int:
        return len(self.key)

    def read(self, name: str) -> tuple[Tensor, Bool[Tensor, "b n"]]:
        """Return a modality, or a precomputed stream by its name, and its mask.

        Raises:
            ValueError: The batch was made for a model that does not read it.
        """
        if name in self.features:
            return self.features[name].x, self.features[name].mask
        x, mask = (getattr(self, each) for each in (name, f"{name}_mask")) if name in _MODALITIES else (None, None)
        if x is None or mask is None:
            raise ValueError(f"the batch holds no {name}; it was made for a model that does not read it")
        return x, mask

    def without(self, name: str) -> Batch:
        """Return the batch as if every clip lacked a modality or a stream: zeros and an all-False mask."""
        x, mask = (torch.zeros_like(each) for each in self.read(name))
        if name in self.features:
            return replace(self, features={**self.features, name: Tokens(x, mask)})
        changes: dict[str, Any] = {name: x, f"{name}_mask": mask}
        return replace(self, **changes)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """Return the batch on a device."""
        return self._map(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in page-locked memory; the data loader calls this."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """Apply a change to every tensor."""
        return replace(self, **{f.name: _apply(getattr(self, f.name), change) for f in fields(self)})


def _apply(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Tokens):
        return replace(value, **{f.name: _apply(getattr(value, f.name), change) for f in fields(value)})
    if isinstance(value, Mix):
        return Mix(change(value.label), change(value.share))
    if isinstance(value, Mapping):
        return {name: _apply(item, change) for name, item in value.items()}
    return value


@dataclass(frozen=True, slots=True)
class Layout:
    """The shape that every batch of a run has, whatever its clips lack.

    Args:
        reads: What the model reads: modalities, and precomputed streams by their names.
        frames: Video frames of a clip.
        size: Side of a frame, in pixels.
        samples: Audio samples of a full window.
        tokens: Token ids of a text, padding included.
        widths: Numbers in each step of the precomputed streams, by their names.
    """

    reads: tuple[str, ...]
    frames: int
    size: int
    samples: int
    tokens: int = 0
    widths: Mapping[str, int] = field(default_factory=dict)

    def collate(self, clips: Sequence[Clip]) -> Batch:
        """Stack clips; what ends early is padded and masked, precomputed streams up to the longest of the clips."""
        spans = torch.tensor([clip.span for clip in clips])
        batch = Batch(key=tuple(clip.key for clip in clips), label=_labels(clips), span=spans)
        if "video" in self.reads:
            video, mask = self._video(clips)
            batch = replace(batch, video=video, video_mask=mask)
        if "audio" in self.reads:
            audio, mask = _pad([clip.audio for clip in clips], (self.samples,), torch.float32)
            batch = replace(batch, audio=audio, audio_mask=mask)
        if "text" in self.reads:
            text, mask = _pad([clip.text for clip in clips], (self.tokens,), torch.int64)
            batch = replace(batch, text=text, text_mask=mask)
        return replace(
            batch, features={name: self._features(clips, name) for name in self.reads if name in self.widths}
        )

    def _video(self, clips: Sequence[Clip]) -> tuple[Tensor, Tensor]:
        mask = torch.tensor([clip.video is not None for clip in clips])[:, None].repeat(1, self.frames)
        video = _side_by_side([clip.video for clip in clips])
        if video is None:
            video = frame_block(len(clips), self.frames, self.size)
            for row, clip in zip(video, clips, strict=True):
                row[:] = 0 if clip.video is None else clip.video
        return video, mask

    def _features(self, clips: Sequence[Clip], name: str) -> Tokens:
        streams = [clip.features.get(name) for clip in clips]
        steps = max(1, *(0 if x is None else len(x) for x in streams))
        return Tokens(*_pad(streams, (steps, self.widths[name]), torch.float32))


def frame_block(clips: int, frames: int, size: int) -> UInt8[Tensor, "b t 3 h w"]:
    """Return memory for the frames of a batch, with anything in it; pixel lies after pixel, as JPEGs are decoded."""
    return _memory((clips, frames, size, size, 3), torch.uint8).permute(0, 1, 4, 2, 3)


def _pad(rows: Sequence[Tensor | None], shape: tuple[int, ...], kind: torch.dtype) -> tuple[Tensor, Tensor]:
    """Stack rows of up to so many steps; None is a row without any. Return them and which steps are real."""
    block = _memory((len(rows), *shape), kind).zero_()
    mask = _memory((len(rows), shape[0]), torch.bool).zero_()
    for i, row in enumerate(rows):
        if row is not None:
            block[i, : len(row)] = row
            mask[i, : len(row)] = True
    return block, mask


def _memory(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    """Return memory with anything in it.

    In a loader's worker it is shared with the parent, as in PyTorch's own collating: handing it over copies nothing and
    leaves no holes in the worker's heap, which would grow for epochs.
    """
    size = math.prod(shape) * kind.itemsize
    if get_worker_info() is None:
        block = torch.from_numpy(np.empty(size, np.uint8))  # numpy asks for huge pages, torch does not
    else:
        block = torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(size))  # type: ignore[no-untyped-call]
    return block.view(kind).view(shape)


def _side_by_side(rows: Sequence[Tensor | None]) -> Tensor | None:
    """Return rows that lie one after the other in one block as that block, and None where they do not."""
    first = rows[0]
    if first is None:
        return None
    block, start, step = first.untyped_storage().data_ptr(), first.storage_offset(), first.numel()
    for place, row in enumerate(rows):
        if row is None or (row.untyped_storage().data_ptr(), row.storage_offset()) != (block, start + place * step):
            return None
    return first.as_strided((len(rows), *first.shape), (step, *first.stride()))


def _labels(clips: Sequence[Clip]) -> Tensor:
    return torch.tensor([IGNORED if clip.label is None else clip.label for clip in clips])
