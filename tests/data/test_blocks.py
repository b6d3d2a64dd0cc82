"""A loader's batch is decoded into one block of memory, and holds what its clips hold alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from mmer.batch import Batch, Clip, Layout, frame_block
from mmer.config import AugmentConfig, ClipConfig, ModelConfig, MViTConfig, PrepareConfig, WaveCNNConfig
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset, make_layout
from mmer.data.samplers import Draw
from mmer.data.store import PreparedCorpus, clip_path
from mmer.errors import ClipError
from mmer.media.jpeg import encode_jpeg

SIZE, RATE = 32, 16_000
CONFIG = PrepareConfig(size=SIZE)
MODEL = ModelConfig(
    {"face": MViTConfig("mvit", variant="tiny"), "voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    clip=ClipConfig(seconds=0.4, frames=8),
)
LAYOUT = make_layout(MODEL, CONFIG)


def noise(seed: int, frames: int, audio: bool = True) -> PreparedClip:
    rng = np.random.default_rng(seed)
    parts = [encode_jpeg(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), 90) for _ in range(frames)]
    return replace(
        PreparedClip.empty(RATE),
        times=np.arange(frames) / 25,
        sizes=np.array([len(part) for part in parts], np.int64),
        jpeg=np.concatenate([np.zeros(0, np.uint8), *parts]),
        audio=rng.normal(0, 0.1, RATE // 2).astype(np.float32) if audio else None,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> PreparedCorpus:
    """Six clips: the third of three frames, the last without video."""
    (tmp_path / "clips").mkdir()
    rows = []
    for number, frames in enumerate([12, 12, 3, 12, 12, 0]):
        path = clip_path(tmp_path, str(number))
        noise(number, frames).save(path)
        rows.append(Row(str(number), "noise", str(number), "happy", path if frames else None, path))
    return PreparedCorpus(tmp_path, tuple(rows), CONFIG)


def equal(batch: Batch, clips: list[Clip]) -> None:
    """Assert that a batch holds some clips, whose memory is nowhere near its own."""
    alone = Layout.collate(
        LAYOUT, [replace(clip, video=None if clip.video is None else clip.video.clone()) for clip in clips]
    )
    for name in ("video", "video_mask", "audio", "audio_mask", "label"):
        torch.testing.assert_close(getattr(batch, name), getattr(alone, name), rtol=0, atol=0)
    assert batch.key == alone.key


def places(block: Tensor) -> Iterator[int]:
    return (row.data_ptr() for row in block)


@pytest.mark.parametrize("augment", [None, AugmentConfig()])
def test_frames_of_a_batch_are_read_into_one_block_and_never_copied(
    augment: AugmentConfig | None, corpus: PreparedCorpus
) -> None:
    dataset = ClipDataset(corpus, corpus.rows, MODEL, augment)
    draws = [Draw(index, 7 + index) for index in (4, 0, 2, 3)]
    clips = dataset.__getitems__(draws)
    batch = LAYOUT.collate(clips)
    assert [clip.video.data_ptr() for clip in clips] == list(places(batch.video))
    assert batch.video.shape == (4, 8, 3, SIZE, SIZE)
    equal(batch, [dataset[draw] for draw in draws])


def test_clip_without_video_is_black_in_its_batch(corpus: PreparedCorpus) -> None:
    dataset = ClipDataset(corpus, corpus.rows, MODEL)
    for order in ([5, 0, 1], [0, 5, 1], [5]):
        batch = LAYOUT.collate(dataset.__getitems__(order))
        at = order.index(5)
        assert not batch.video[at].any() and not batch.video_mask[at].any()
        equal(batch, [dataset[index] for index in order])


def test_clips_that_lie_elsewhere_or_in_another_order_are_copied(corpus: PreparedCorpus) -> None:
    dataset = ClipDataset(corpus, corpus.rows, MODEL)
    clips = dataset.__getitems__([0, 1, 2, 3])
    for chosen in (clips[::-1], clips[::2], [clips[0], clips[0]], [clips[0], dataset[1]], [dataset[0], clips[1]]):
        equal(LAYOUT.collate(chosen), [dataset[int(clip.key)] for clip in chosen])
    equal(LAYOUT.collate(clips[1:3]), [dataset[1], dataset[2]])


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_reads_every_clip(workers: int, corpus: PreparedCorpus) -> None:
    dataset = ClipDataset(corpus, corpus.rows, MODEL)
    loader = DataLoader(dataset, 4, num_workers=workers, collate_fn=LAYOUT.collate)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [4, 2]
    equal(batches[0], [dataset[index] for index in range(4)])
    equal(batches[1], [dataset[index] for index in (4, 5)])


def shared(clips: list[Clip]) -> bool:
    return LAYOUT.collate(clips).video.is_shared()


@pytest.mark.parametrize("workers", [0, 1])
def test_block_of_a_worker_is_shared_with_its_parent(workers: int, corpus: PreparedCorpus) -> None:
    dataset = ClipDataset(corpus, corpus.rows[:4], MODEL)
    assert list(DataLoader(dataset, 4, num_workers=workers, collate_fn=shared)) == [workers > 0]


def test_model_that_only_hears_reads_no_frames(corpus: PreparedCorpus) -> None:
    voice = replace(MODEL, streams={"voice": MODEL.streams["voice"]})
    clips = ClipDataset(corpus, corpus.rows, voice).__getitems__([0, 1])
    assert [clip.video for clip in clips] == [None, None]
    assert make_layout(voice, CONFIG).collate(clips).video is None


def test_damaged_clip_is_named_by_its_batch(corpus: PreparedCorpus) -> None:
    noise(0, 12).save(clip_path(corpus.root, "1"))
    path = clip_path(corpus.root, "1")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ClipError, match=r"clip 1 .* unreadable"):
        ClipDataset(corpus, corpus.rows, MODEL).__getitems__([0, 1])


def test_block_has_the_shape_of_a_batch_and_the_memory_of_pictures() -> None:
    block = frame_block(2, 8, SIZE)
    assert block.shape == (2, 8, 3, SIZE, SIZE) and block.dtype == torch.uint8
    assert block.permute(0, 1, 3, 4, 2).is_contiguous()
