from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from jaxtyping import TypeCheckError

from mmer.batch import IGNORED, Batch, Clip, Layout, Mix, Tokens

LAYOUT = Layout(("video", "audio"), frames=2, size=4, samples=10)


def make_clip(key: str, samples: int = 10) -> Clip:
    video = torch.randint(1, 256, (2, 3, 4, 4), dtype=torch.uint8)
    return Clip(key, video, torch.rand(samples) + 0.1, label=3)


def test_collate_stacks_clips_in_their_order() -> None:
    clips = [make_clip("a"), make_clip("b")]
    batch = LAYOUT.collate(clips)
    assert (len(batch), batch.key) == (2, ("a", "b"))
    assert batch.video is not None and batch.audio is not None and batch.label is not None
    assert (batch.video.dtype, batch.audio.dtype, batch.label.dtype) == (torch.uint8, torch.float32, torch.int64)
    for i, clip in enumerate(clips):
        assert torch.equal(batch.video[i], clip.video)
        assert torch.equal(batch.audio[i], clip.audio)


def test_audio_that_ends_early_is_padded_and_masked() -> None:
    batch = LAYOUT.collate([make_clip("short", samples=7)])
    assert batch.audio_mask is not None and batch.audio is not None
    assert batch.audio_mask.tolist() == [[True] * 7 + [False] * 3]
    assert batch.audio[0, 7:].tolist() == [0, 0, 0]


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_a_modality_that_a_clip_lacks_is_zeros_and_masked_whoever_else_has_it(modality: str) -> None:
    lacks = replace(make_clip("a"), **{modality: None})
    for clips in ([lacks], [make_clip("b"), lacks]):
        batch = LAYOUT.collate(clips)
        x, mask = batch.read(modality)
        assert not x[-1].any() and not mask[-1].any()
        assert mask[:-1].all()


def test_a_modality_that_the_model_does_not_read_is_none_whoever_has_it() -> None:
    batch = replace(LAYOUT, reads=("audio",)).collate([make_clip("a")])
    assert batch.video is None and batch.video_mask is None
    with pytest.raises(ValueError, match="the batch holds no video; it was made for a model that does not read it"):
        batch.read("video")


def test_text_is_padded_to_a_fixed_length_and_features_to_the_longest() -> None:
    layout = Layout(("text", "units", "tone"), 2, 4, 10, tokens=6, widths={"units": 3, "tone": 2})
    long = Clip("a", text=torch.tensor([7, 8]), features={"units": torch.ones(5, 3), "others": torch.ones(9, 9)})
    short = Clip("b", features={"units": torch.ones(1, 3)})
    batch = layout.collate([long, short])
    assert batch.text is not None and batch.text.tolist() == [[7, 8, 0, 0, 0, 0], [0] * 6]
    assert batch.read("text")[1].sum(dim=1).tolist() == [2, 0]
    assert list(batch.features) == ["units", "tone"]
    units, mask = batch.read("units")
    assert units.shape == (2, 5, 3) and mask.sum(dim=1).tolist() == [5, 1] and not units[1, 1:].any()
    tone, mask = batch.read("tone")
    assert tone.shape == (2, 1, 2) and not mask.any(), "nobody has it, and it is there all the same"


@pytest.mark.parametrize("name", ["video", "audio", "text", "units"])
def test_a_clip_says_what_it_has_and_can_be_without_it(name: str) -> None:
    clip = replace(make_clip("a"), text=torch.tensor([1]), features={"units": torch.ones(1, 3)})
    assert clip.has(name) and not clip.without(name).has(name)
    assert all(clip.without(name).has(other) for other in {"video", "audio", "text", "units"} - {name})
    assert not clip.has("tone")


def test_a_clip_without_a_label_is_not_scored() -> None:
    batch = LAYOUT.collate([make_clip("a"), replace(make_clip("b"), label=None)])
    assert batch.label is not None and batch.label.tolist() == [3, IGNORED]


def test_without_is_as_if_every_clip_lacked_the_modality() -> None:
    clips = [make_clip("a"), make_clip("b")]
    wanted = LAYOUT.collate([replace(clip, audio=None) for clip in clips])
    found = LAYOUT.collate(clips).without("audio")
    for field in fields(Batch):
        assert_same(getattr(found, field.name), getattr(wanted, field.name))


def assert_same(a: object, b: object) -> None:
    assert torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b


def test_to_moves_every_tensor_also_of_features_and_of_a_mixture() -> None:
    mix = Mix(torch.zeros(1, dtype=torch.int64), torch.ones(1))
    action_units = Tokens(torch.rand(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))
    moved = replace(LAYOUT.collate([make_clip("a")]), features={"action_units": action_units}, mix=mix).to("meta")
    tensors = [getattr(moved, f.name) for f in fields(Batch) if isinstance(getattr(moved, f.name), torch.Tensor)]
    tensors += [moved.features["action_units"].x, moved.features["action_units"].mask]
    assert moved.mix is not None
    tensors += [moved.mix.label, moved.mix.share]
    assert len(tensors) == 10
    assert {x.device.type for x in tensors} == {"meta"}
    assert moved.key == ("a",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"video": torch.zeros(1, 2, 3, 4, 4)},
        {"video_mask": torch.ones(1, 3, dtype=torch.bool)},
        {"audio": torch.zeros(10)},
        {"audio_mask": torch.ones(1, 10)},
        {"label": torch.zeros(2, dtype=torch.int64)},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_shapes_and_types_are_checked_while_testing(wrong: dict[str, torch.Tensor]) -> None:
    batch = LAYOUT.collate([make_clip("a")])
    with pytest.raises(TypeCheckError):
        replace(batch, **wrong)


def test_moving_a_batch_keeps_all_that_its_streams_say() -> None:
    tokens = Tokens(torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.bool), torch.ones(1), torch.tensor([9.0]))
    moved = Batch(("clip",), features={"units": tokens}).to(torch.device("cpu")).features["units"]
    assert moved.weight is not None and moved.extent is not None and moved.extent.item() == 9
