"""A clip is cut to the model's window by time, and says what it lacks."""

from __future__ import annotations

import gc
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mmer.batch import IGNORED
from mmer.config import (
    AugmentConfig,
    ClipConfig,
    FeaturesConfig,
    ModelConfig,
    MViTConfig,
    PrepareConfig,
    WaveCNNConfig,
)
from mmer.corpora.manifest import Manifest, Row
from mmer.data.clip import PreparedClip
from mmer.data.cut import cut, windows
from mmer.data.dataset import ClipDataset, Padded, Strings, make_layout, settle_worker, usable_rows
from mmer.data.prepare import prepare_corpus
from mmer.data.samplers import Draw
from mmer.data.store import PreparedCorpus
from mmer.errors import ClipError, ConfigError
from mmer.media.jpeg import encode_jpeg
from mmer.tokenizer import Tokenizer

RATE = 100
FACE, VOICE = MViTConfig("mvit", variant="tiny"), WaveCNNConfig("wave_cnn", variant="tiny")
BOTH = ModelConfig({"face": FACE, "voice": VOICE}, clip=ClipConfig(seconds=0.4, frames=8))


def recorded(seconds: float, fps: int = 10, audio: bool = True) -> PreparedClip:
    """A clip whose frames and samples say their own time: grey level and sample are 100 x seconds."""
    times = np.arange(round(seconds * fps)) / fps
    parts = [encode_jpeg(np.full((16, 16, 3), round(100 * t), np.uint8), 95) for t in times]
    samples = np.arange(round(seconds * RATE), dtype=np.float32)
    sizes = np.array([len(part) for part in parts], np.int64)
    return PreparedClip(times, sizes, np.concatenate(parts), samples if audio else None, RATE)


def window(clip: PreparedClip, frames: int = 4, **where: float) -> tuple[list[int], list[float]]:
    """The times, in hundredths of a second, of the frames and of the first and last sample of a window of 1 s."""
    config = ClipConfig(seconds=1.0, frames=frames, sample_rate=RATE)
    piece = cut(clip, config, "the key", **where)
    assert piece.video is not None and piece.audio is not None
    return [round(float(f.float().mean())) for f in piece.video], [float(piece.audio[0]), float(piece.audio[-1])]


def test_window_is_the_middle_of_the_clip() -> None:
    frames, sound = window(recorded(2.0))
    assert frames == pytest.approx([60, 90, 110, 140], abs=6)
    assert sound == [50, 149]


def test_frames_and_samples_of_every_view_are_of_the_same_time() -> None:
    starts = []
    for view in range(3):
        frames, sound = window(recorded(2.0), view=view, views=3)
        assert frames[0] == pytest.approx(sound[0] + 12.5, abs=6)
        assert frames[-1] == pytest.approx(sound[0] + 87.5, abs=6)
        starts.append(sound[0])
    assert starts == [0, 50, 100]


@pytest.mark.parametrize(("shift", "start"), [(0.2, 70), (-0.2, 30), (5.0, 100), (-5.0, 0)])
def test_shifted_window_stays_inside_the_clip(shift: float, start: float) -> None:
    assert window(recorded(2.0), shift=shift)[1][0] == start


def test_short_clip_is_used_whole_and_its_frames_repeat() -> None:
    frames, sound = window(recorded(0.2), frames=8)
    assert frames == pytest.approx([0] * 2 + [10] * 6, abs=3)
    assert sound == [0, 19]


def test_frames_of_a_variable_rate_are_chosen_by_time() -> None:
    clip = recorded(1.0)
    clip = replace(clip, times=np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 1.0]))
    frames, _ = window(clip)
    assert frames[-2:] == pytest.approx([90, 90], abs=3), "after 0.54 s the last frame is the nearest"


def test_what_a_clip_lacks_is_none() -> None:
    config = ClipConfig(seconds=1.0, sample_rate=RATE)
    silent = cut(recorded(1.0, audio=False), config, "the key")
    assert silent.audio is None and silent.video is not None
    blind = cut(replace(recorded(1.0), sizes=np.zeros(10, np.int64)), config, "the key")
    assert blind.video is None and blind.audio is not None


def test_a_faster_window_is_a_longer_piece_and_its_frames_stay_with_its_sound() -> None:
    config = ClipConfig(seconds=1.0, frames=4, sample_rate=RATE)
    for speed, start in ((1.2, 40), (0.8, 60), (1.0, 50)):
        piece = cut(recorded(2.0), config, "the key", speed=speed)
        assert piece.video is not None and piece.audio is not None
        assert len(piece.audio) == 100
        times = [float(f.float().mean()) for f in piece.video]
        assert times == pytest.approx([start + (i + 0.5) * 25 * speed for i in range(4)], abs=6)
        heard = [float(piece.audio[i]) for i in (12, 37, 62, 87)]  # the samples of the frames' own times
        assert heard == pytest.approx([start + i * speed for i in (12, 37, 62, 87)], abs=4)


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 1.5])
def test_a_short_clip_at_any_speed_fits_the_window(speed: float) -> None:
    config = ClipConfig(seconds=1.0, frames=4, sample_rate=RATE)
    piece = cut(recorded(0.9), config, "the key", speed=speed)
    assert piece.audio is not None and len(piece.audio) == pytest.approx(min(90 / speed, 100), abs=1)
    assert len(piece.audio) <= 100


def test_sound_that_ends_before_the_window_is_none() -> None:
    clip = replace(recorded(2.4), audio=np.zeros(20, np.float32))
    assert cut(clip, ClipConfig(seconds=1.0, sample_rate=RATE), "the key").audio is None


def test_sample_rate_of_model_and_clips_must_agree() -> None:
    with pytest.raises(ConfigError, match="reads audio at 16000 Hz and the clips were prepared at 8000 Hz; prepare"):
        make_layout(BOTH, PrepareConfig(sample_rate=8_000))
    make_layout(ModelConfig({"face": FACE}), PrepareConfig(sample_rate=8_000))


def test_rows_that_the_model_cannot_use_are_passed_over() -> None:
    a_file = Path("a.npz")
    rows = [
        Row("seen", "test", "1", "happy", video=a_file),
        Row("heard", "test", "1", "happy", audio=a_file),
        Row("dropped", "test", "1", "neutral", video=a_file),
    ]
    model = ModelConfig({"face": FACE}, labels="no_neutral7")
    assert [row.key for row in usable_rows(rows, model)] == ["seen"]
    assert [row.key for row in usable_rows(rows, BOTH)] == ["seen", "heard", "dropped"]


def test_row_without_a_label_is_refused() -> None:
    with pytest.raises(ConfigError, match="clip a has no label; fill the table's 'label' column, or leave its row out"):
        usable_rows([Row("a", "test", video=Path("a"))], BOTH)


def test_unknown_labels_are_refused_all_at_once() -> None:
    rows = [Row(str(i), "test", label=label, video=Path("a")) for i, label in enumerate(["hungry", "tired", "hungry"])]
    said = r"labels 'hungry' \(2\), 'tired' \(1\) are not in the label set ravdess8 \(neutral, calm, .*choose"
    with pytest.raises(ConfigError, match=said):
        usable_rows([*rows, Row("b", "test", label="happy", video=Path("b"))], BOTH)


def test_text_is_something_to_use_where_the_model_reads_it(words: ModelConfig) -> None:
    rows = [Row("said", "test", label="happy", text="What a day!"), Row("seen", "test", label="happy", video=Path("a"))]
    assert [row.key for row in usable_rows(rows, words)] == ["said"]
    assert [row.key for row in usable_rows(rows, BOTH)] == ["seen"]


@pytest.fixture
def words() -> ModelConfig:
    """A model that reads text, as far as a data set can tell."""
    stream = WaveCNNConfig("wave_cnn")
    object.__setattr__(stream, "reads", "text")
    return ModelConfig({"words": stream})


def test_a_row_of_text_alone_has_no_file_and_is_read_all_the_same(tmp_path: Path, words: ModelConfig) -> None:
    rows = (Row("said", "test", label="happy", text="What a day!"), Row("mute", "test", label="sad"))
    corpus = PreparedCorpus(tmp_path, rows, PrepareConfig())
    dataset = ClipDataset(corpus, rows, words)
    assert [dataset.read(i).text for i in range(2)] == ["What a day!", None]
    assert (dataset[0].key, dataset[0].label, dataset[0].video, dataset[0].audio) == ("said", 2, None, None)
    deaf = ClipDataset(corpus, rows, BOTH, AugmentConfig())
    assert deaf[Draw(1, 0)].label == 3
    batch = make_layout(BOTH, corpus.config).collate([deaf[0]])
    assert batch.video_mask is not None and not batch.video_mask.any()


class Frozen(Dataset[int]):
    """How many objects a worker's garbage collector leaves alone."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        return gc.get_freeze_count()


def test_a_settled_worker_leaves_its_parents_objects_alone() -> None:
    loader = DataLoader(Frozen(), batch_size=None, num_workers=1, worker_init_fn=settle_worker)
    assert min(loader) > 10_000
    assert gc.get_freeze_count() < 10_000, "the parent goes on as before"


class Interrupted(Dataset[int]):
    """Interrupts whoever reads it."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        os.kill(os.getpid(), signal.SIGINT)
        return index


def test_a_settled_worker_leaves_a_ctrl_c_to_its_parent() -> None:
    assert list(DataLoader(Interrupted(), batch_size=None, num_workers=1, worker_init_fn=settle_worker)) == [0, 1]


def test_strings_come_back_as_they_were() -> None:
    strings = ["a", "", "spaces ünd 顔 %03d", "a" * 500, ""]
    packed = Strings(strings)
    assert len(packed) == 5 and [packed[i] for i in range(5)] == strings
    assert len(Strings([])) == 0


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, odd_media: dict[str, Path]) -> PreparedCorpus:
    root = tmp_path_factory.mktemp("prepared")
    rows = (
        Row("both", "test", "1", "happy", video=odd_media["a face.mp4"]),
        Row("sight", "test", "1", "sad", video=odd_media["no sound.mp4"]),
        Row("sound", "test", "1", "sad", audio=odd_media["float.wav"]),
        Row("short", "test", "1", "calm", video=odd_media["two tenths.mp4"]),
    )
    prepare_corpus(Manifest(rows), root, PrepareConfig(size=64), progress=False)
    return PreparedCorpus.open(root)


def test_clips_of_every_kind_make_one_batch(corpus: PreparedCorpus) -> None:
    dataset = ClipDataset(corpus, corpus.rows, BOTH)
    batch = make_layout(BOTH, corpus.config).collate([dataset[i] for i in range(4)])
    assert batch.key == ("both", "sight", "sound", "short")
    assert batch.video is not None and batch.video.shape == (4, 8, 3, 64, 64) and batch.video.dtype == torch.uint8
    assert batch.audio is not None and batch.audio.shape == (4, 6400) and batch.audio.dtype == torch.float32
    assert batch.video_mask is not None and batch.video_mask.all(dim=1).tolist() == [True, True, False, True]
    assert batch.audio_mask is not None and batch.audio_mask.sum(dim=1).tolist()[1:3] == [0, 6400]
    assert batch.audio_mask[3].sum().item() == pytest.approx(3200, abs=400)
    assert batch.label is not None and batch.label.tolist() == [2, 3, 3, 1]


def test_only_what_the_model_reads_is_read(corpus: PreparedCorpus) -> None:
    clip = ClipDataset(corpus, corpus.rows, ModelConfig({"voice": VOICE}))[0]
    assert clip.video is None and clip.audio is not None


def test_clips_are_the_same_every_time_without_augmentation_and_differ_with_it(corpus: PreparedCorpus) -> None:
    plain = ClipDataset(corpus, corpus.rows, BOTH)
    torch.testing.assert_close(plain[0].video, plain[0].video)
    changed = ClipDataset(corpus, corpus.rows, BOTH, AugmentConfig())
    first, second = changed[Draw(0, 1)], changed[Draw(0, 2)]
    assert first.video is not None and (first.video != second.video).any()
    assert first.audio is not None and not torch.equal(first.audio[:100], second.audio[:100])
    assert first.label == plain[0].label
    torch.testing.assert_close(changed[0].video, plain[0].video)  # an index is never augmented
    torch.testing.assert_close(plain[Draw(0, 1)].video, plain[0].video)


def test_a_draw_repeats_with_its_seed_and_leaves_everyone_elses_chance_alone(corpus: PreparedCorpus) -> None:
    dataset = ClipDataset(corpus, corpus.rows, BOTH, AugmentConfig(rand_augment=2, erase=0.5, speed=0.1))
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = dataset[Draw(0, 7)]
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()
    torch.rand(3)
    again = dataset[Draw(0, 7)]
    assert torch.equal(first.video, again.video) and torch.equal(first.audio, again.audio)


def test_classes_are_counted(corpus: PreparedCorpus) -> None:
    assert ClipDataset(corpus, corpus.rows, BOTH).class_counts(8) == [0, 1, 1, 2, 0, 0, 0, 0]


def test_repeats_that_fill_a_batch_have_no_label(corpus: PreparedCorpus) -> None:
    padded = Padded(ClipDataset(corpus, corpus.rows[:3], BOTH), 2)
    assert len(padded) == 4
    assert [padded[i].label for i in range(4)] == [2, 3, 3, None]
    batch = make_layout(BOTH, corpus.config).collate([padded[3]])
    assert batch.key == ("both",) and batch.label is not None and batch.label.tolist() == [IGNORED]


def test_damaged_clip_is_a_clip_error_and_never_another_clip(tmp_path: Path, corpus: PreparedCorpus) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "both.npz").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(ClipError, match=r"clip both .*the prepared clip is unreadable .*delete it and prepare again"):
        ClipDataset(PreparedCorpus(tmp_path, corpus.rows, corpus.config), corpus.rows, BOTH)[0]


def test_a_long_clip_is_seen_through_windows_that_reach_both_ends() -> None:
    clip = recorded(2.0)
    config = ClipConfig(seconds=0.5, frames=4, sample_rate=RATE)
    seen = windows(clip, config, "long")
    assert len(seen) == 4
    assert [int(view.audio[0]) for view in seen] == [0, 50, 100, 150]
    assert len(windows(recorded(0.7), config, "short")) == 1


# --- words and precomputed features


def described(seconds: float, steps: int) -> PreparedClip:
    """A clip with sound whose features say the number of their step."""
    values = np.arange(steps, dtype=np.float32)[:, None]
    sound = np.zeros(round(seconds * RATE), np.float32)
    return replace(PreparedClip.empty(RATE, "what a day"), audio=sound, features={"units": values, "whole": values[:1]})


def steps_of(clip: PreparedClip, seconds: float = 1.0, **where: float) -> list[float]:
    config = ClipConfig(seconds=seconds, frames=4, sample_rate=RATE)
    piece = cut(clip, config, "the key", **where)
    assert piece.features["whole"].tolist() == [[0.0]]
    return piece.features["units"][:, 0].tolist()


def test_features_of_a_window_are_those_of_its_time() -> None:
    clip = described(4.0, 8)  # a step every half second, in the middle of its span
    assert steps_of(clip) == [3, 4]
    assert steps_of(clip, view=0, views=4) == [0, 1]
    assert steps_of(clip, view=3, views=4) == [6, 7]
    assert steps_of(clip, shift=1.0) == [5, 6]
    assert steps_of(clip, seconds=10.0) == list(range(8))
    assert steps_of(clip, speed=2.0) == [2, 3, 4, 5]


def test_a_window_between_two_steps_takes_the_nearest() -> None:
    clip = described(10.0, 2)
    assert steps_of(clip, view=0, views=10) == [0]
    assert steps_of(clip, view=9, views=10) == [1]


def test_features_of_a_clip_of_unknown_length_are_taken_whole() -> None:
    clip = replace(PreparedClip.empty(), features=described(4.0, 8).features)
    assert steps_of(clip) == list(range(8))


def test_a_sound_that_is_not_read_says_how_long_the_clip_is(tmp_path: Path) -> None:
    described(4.0, 8).save(tmp_path / "a.npz")
    for reads in (("units", "whole"), ("units", "whole", "audio"), None):
        found = PreparedClip.load(tmp_path / "a.npz", "a", reads)
        assert found.seconds == 4.0 and steps_of(found) == [3, 4]


def test_words_belong_to_every_window_and_only_a_tokenizer_reads_them() -> None:
    config, tokenizer = ClipConfig(seconds=1.0, frames=4, sample_rate=RATE, tokens=8), Tokenizer.train(["a day"], 300)
    seen = windows(described(3.0, 8), config, "key", tokenizer)
    assert len(seen) == 3
    assert all(torch.equal(view.text, tokenizer.encode("what a day", 8)) for view in seen)
    assert not windows(described(3.0, 8), config, "key")[0].has("text")
    assert not cut(replace(described(3.0, 8), text="  "), config, "key", tokenizer).has("text")


@pytest.fixture
def units(tmp_path: Path) -> PreparedCorpus:
    """A clip that has features and nothing else, and one of words."""
    rows = (Row("told", "test", label="happy", extra={"features": "other units"}), Row("b", "test", text="a"))
    (tmp_path / "clips").mkdir()
    replace(PreparedClip.empty(), features=described(1.0, 3).features).save(tmp_path / "clips" / "told.npz")
    return PreparedCorpus(tmp_path, rows, PrepareConfig(features=("units",)))


def test_a_row_says_which_features_it_has(units: PreparedCorpus) -> None:
    told, said = units.rows
    assert told.has("units") and not told.has("unit") and not told.has("text")
    assert said.has("text") and not said.has("units")


def test_a_clip_of_features_alone_is_read_from_its_file(units: PreparedCorpus) -> None:
    model = ModelConfig({"table": FeaturesConfig("features", "units", 1)})
    assert [row.key for row in usable_rows(units.rows[:1], model)] == ["told"]
    batch = make_layout(model, units.config).collate(list(ClipDataset(units, units.rows, model)))
    assert batch.read("units")[1].tolist() == [[True] * 3, [False] * 3]


def test_a_wrong_width_is_refused_with_the_real_one(units: PreparedCorpus) -> None:
    model = ModelConfig({"table": FeaturesConfig("features", "units", 35)})
    with pytest.raises(ConfigError, match=r"the features units of .* are 1 wide and the config says 35"):
        ClipDataset(units, units.rows, model)
