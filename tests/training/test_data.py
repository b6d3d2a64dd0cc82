"""The data module deals the same epochs whoever reads them, and mixes training clips alone."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import torch.distributed as dist

from mmer.batch import Batch
from mmer.config import AugmentConfig, ClipConfig, ModelConfig, MViTConfig, SplitConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, read_rows, write_manifest
from mmer.data.dataset import settle_worker
from mmer.errors import ConfigError
from mmer.training.classifier import EmotionClassifier
from mmer.training.cli import main
from mmer.training.data import EmotionDataModule

VOICE = ModelConfig({"voice": WaveCNNConfig("wave_cnn", variant="tiny")}, clip=ClipConfig(seconds=0.4, frames=2))
FACE = ModelConfig({"face": MViTConfig("mvit", variant="tiny")}, clip=ClipConfig(seconds=0.4, frames=2))
SPLIT = SplitConfig(protocol="speakers", validation=(5,), test=(6,))


@pytest.fixture(autouse=True)
def seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")


def module(root: Path, model: ModelConfig = VOICE, **settings: object) -> EmotionDataModule:
    data = EmotionDataModule(model, str(root), **{"split": SPLIT, "batch_size": 4, "workers": 0, **settings})
    data.setup("fit")
    return data


def content(batches: Iterable[Batch]) -> dict[str, str]:
    """The clips of some batches in their order, each with a hash of its sound."""
    clips = [(key, sound) for batch in batches for key, sound in zip(batch.key, batch.audio, strict=True)]
    return {key: hashlib.sha256(sound.numpy().tobytes()).hexdigest() for key, sound in clips}


def epochs(data: EmotionDataModule, count: int = 2) -> list[dict[str, str]]:
    loader, seen = data.train_dataloader(), []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        seen.append(content(loader))
    return seen


def test_epochs_differ_and_repeat_with_the_runs_seed(noise_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = epochs(module(noise_corpus))
    torch.manual_seed(99)
    assert epochs(module(noise_corpus)) == first
    assert list(first[0]) != list(first[1]), "another order"
    both = set(first[0]) & set(first[1])
    assert len(both) > 10 and all(first[0][key] != first[1][key] for key in both), "and other changes"
    monkeypatch.setenv("PL_GLOBAL_SEED", "4")
    assert epochs(module(noise_corpus)) != first


@pytest.mark.slow
def test_workers_read_the_epochs_that_one_process_reads(noise_corpus: Path) -> None:
    first = epochs(module(noise_corpus))
    for workers in (1, 2):
        assert epochs(module(noise_corpus, workers=workers)) == first


def test_workers_read_although_their_parent_has_used_opencv_on_several_cores(noise_corpus: Path) -> None:
    cv2.setNumThreads(4)
    picture = np.zeros((2000, 2000, 3), np.uint8)
    cv2.warpAffine(picture, np.eye(2, 3), (2000, 2000))
    data = module(noise_corpus, model=FACE, workers=1, augment=AugmentConfig(erase=1.0))
    assert len(list(data.train_dataloader())) == 5
    assert cv2.getNumThreads() == 1


def test_workers_take_the_cores_that_may_be_used_but_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster gives a job some of the machine's."""
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    assert EmotionDataModule(VOICE, "nowhere").workers == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert EmotionDataModule(VOICE, "nowhere").workers == 8


@pytest.mark.parametrize(
    ("cores", "own"),
    [
        ([(0, range(6)), (0, range(6)), (1, range(6)), (1, range(6))], 3),
        ([(0, range(6)), (0, range(6, 12)), (1, range(6)), (1, range(6, 12))], 6),
        ([(0, range(6)), (0, range(2)), (0, range(2)), (1, range(6))], 4),
        ([(0, range(1)), (0, range(1)), (0, range(1)), (0, range(1))], 0),
    ],
    ids=["shared", "pinned", "both", "one"],
)
def test_cores_that_processes_share_are_each_one_s_in_parts(
    noise_corpus: Path, monkeypatch: pytest.MonkeyPatch, cores: list[tuple[int, range]], own: int
) -> None:
    """The first of four processes, which SLURM may have given cores of their own."""

    def gather(into: list[Any], said: tuple[int, set[int]]) -> None:
        assert said == (0, set(cores[0][1]))
        into[:] = [(machine, set(each)) for machine, each in cores]

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(cores[0][1]), raising=False)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(dist, "all_gather_object", gather)
    data = EmotionDataModule(VOICE, str(noise_corpus))
    data.setup("fit")
    assert data.workers == max(own - 1, 0)


def test_workers_are_settled(noise_corpus: Path) -> None:
    data = module(noise_corpus, workers=1)
    for loader in (data.train_dataloader(), *data.val_dataloader(), data.test_dataloader()):
        assert loader.worker_init_fn is settle_worker and loader.persistent_workers


def test_validation_clips_are_never_changed(noise_corpus: Path) -> None:
    (loader,) = module(noise_corpus).val_dataloader()
    assert content(loader) == content(loader) != {}


@pytest.mark.parametrize(("batch_size", "batches"), [(4, 5), (22, 1), (30, 1)])
def test_an_incomplete_batch_is_left_out_unless_it_is_the_only_one(
    noise_corpus: Path, batch_size: int, batches: int
) -> None:
    loader = module(noise_corpus, batch_size=batch_size).train_dataloader()
    assert len(loader) == len(list(loader)) == batches, "of 22 training clips"


@pytest.fixture
def uneven(noise_corpus: Path, tmp_path: Path) -> Path:
    """The corpus with all of speaker 7's labels angry, and 7 the speaker of half of the clips."""
    (tmp_path / "clips").symlink_to(noise_corpus / "clips")
    (tmp_path / "prepare.json").write_bytes((noise_corpus / "prepare.json").read_bytes())
    rows = [row for _, row in read_rows(noise_corpus / "manifest.csv", "")]
    write_manifest(
        tmp_path / "manifest.csv",
        [row if i < 14 else replace(row, speaker="7", label="angry") for i, row in enumerate(rows)],
    )
    return tmp_path


def test_classes_and_speakers_are_drawn_equally_often_where_asked_for(uneven: Path) -> None:
    for sampler, least, most in (("shuffled", 1, 11), ("class_balanced", 2, 3), ("speaker_balanced", 1, 11)):
        data = module(uneven, sampler=sampler, batch_size=1)
        label = Counter(int(batch.label) for batch in data.train_dataloader())
        assert (min(label.values()), max(label.values())) == (least, most) or sampler == "speaker_balanced"
    speaker = {row.key: row.speaker for row in data.rows}
    heard = Counter(speaker[batch.key[0]] for batch in data.train_dataloader())
    assert set(heard.values()) == {1, 2} and len(heard) == 12 and sum(heard.values()) == 22


def test_the_same_name_in_two_corpora_is_two_speakers(uneven: Path) -> None:
    rows = [row for _, row in read_rows(uneven / "manifest.csv", "")]
    write_manifest(
        uneven / "manifest.csv",
        [replace(row, corpus="other") if i >= 20 else row for i, row in enumerate(rows)],
    )
    split = SplitConfig(protocol="random_leaky")
    data = module(uneven, sampler="speaker_balanced", split=split)
    assert data.groups is not None
    people = {(row.corpus, row.speaker) for row in data.split.rows(data.rows, "train")}
    assert len(set(data.groups.tolist())) == len(people) > len({speaker for _, speaker in people})


def test_speakers_cannot_be_balanced_where_a_clip_has_none(uneven: Path) -> None:
    rows = [row for _, row in read_rows(uneven / "manifest.csv", "")]
    write_manifest(uneven / "manifest.csv", [Row(row.key, "a", None, row.label, audio=row.audio) for row in rows])
    said = r"speaker_balanced needs speakers, and \d+ training clips have none, '\d+-0' the first; choose shuffled or"
    with pytest.raises(ConfigError, match=said):
        module(uneven, sampler="speaker_balanced", split=SplitConfig(protocol="random_leaky"))


def test_words_cannot_be_mixed() -> None:
    stream = WaveCNNConfig("wave_cnn")
    object.__setattr__(stream, "reads", "text")
    with pytest.raises(ConfigError, match=r"augment.mixup and augment.cutmix mix no words .* set both to 0"):
        EmotionDataModule(ModelConfig({"words": stream}), "nowhere", augment=AugmentConfig(cutmix=1.0))


def test_a_batch_outside_training_is_not_mixed(noise_corpus: Path) -> None:
    data = module(noise_corpus, augment=AugmentConfig(mixup=0.8))
    batch = next(iter(data.train_dataloader()))
    assert data.on_after_batch_transfer(batch, 0) is batch


@pytest.mark.filterwarnings("default")
def test_training_batches_are_mixed_and_validation_batches_never(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[Batch]] = {"train": [], "val": []}
    step = EmotionClassifier._step

    def record(self: EmotionClassifier, batch: Batch, stage: str) -> torch.Tensor:
        seen[stage].append(batch)
        return step(self, batch, stage)

    monkeypatch.setattr(EmotionClassifier, "_step", record)
    assert main(["fit", f"--config={tiny_config}", "--data.augment.mixup=0.8", "--data.augment.cutmix=1"]) == 0
    assert len(seen["val"]) >= 3 and all(batch.mix is None for batch in seen["val"])
    shares = [float(batch.mix.share.min()) for batch in seen["train"] if batch.mix is not None]
    assert len(shares) == len(seen["train"]) >= 8
    assert len(set(shares)) > len(shares) / 2, "another share for each batch of each epoch"
    keys = [[batch.key for batch in seen["train"][part]] for part in (slice(0, 4), slice(4, 8))]
    assert keys[0] != keys[1], "the sampler is told the epoch"


@pytest.mark.filterwarnings("default")
def test_classes_are_not_favoured_twice(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--model.class_weights=balanced", "--data.sampler=class_balanced"]
    assert main(["fit", f"--config={tiny_config}", *flags]) == 2
    assert "would favour rare classes twice; leave one of them out" in capsys.readouterr().err
