import shutil
from pathlib import Path

import numpy as np
import pytest

from mmer.baselines import inputs
from mmer.baselines.descriptors import CLIP, SHORT_TERM
from mmer.baselines.inputs import Table, cache_path, read_inputs, write_steps
from mmer.data.clip import PreparedClip
from mmer.data.features import open_features
from mmer.data.store import PreparedCorpus, clip_path
from mmer.errors import ClipError, ConfigError


@pytest.fixture
def corpus(tones: Path) -> PreparedCorpus:
    return PreparedCorpus.open(tones)


def voices(corpus: PreparedCorpus, **options: object) -> Table:
    return read_inputs(corpus, corpus.rows, ("voice",), progress=False, **options)


def test_inputs_stand_side_by_side_and_what_a_clip_lacks_is_nan(corpus: PreparedCorpus) -> None:
    table = read_inputs(corpus, corpus.rows, ("face_posteriors", "voice"), progress=False)
    assert table.values.shape == (36, 3 + len(CLIP))
    assert table.names[:4] == ("face_posteriors_0", "face_posteriors_1", "face_posteriors_2", CLIP[0])
    assert table.has("voice").sum() == 35
    assert table.has("face_posteriors").sum() == 18


def test_a_stream_is_averaged_over_its_steps(corpus: PreparedCorpus) -> None:
    table = read_inputs(corpus, corpus.rows[:1], ("face_posteriors",))
    clip = PreparedClip.load(clip_path(corpus.root, corpus.rows[0].key), "")
    np.testing.assert_allclose(table.values[0], clip.features["face_posteriors"].mean(axis=0), rtol=1e-6)


def test_sounds_are_described_once_for_all_baselines(corpus: PreparedCorpus, monkeypatch: pytest.MonkeyPatch) -> None:
    first = voices(corpus)
    assert cache_path(corpus.root) == corpus.root.parent / "tones.voice.npz"
    assert cache_path(corpus.root).is_file()
    monkeypatch.setattr(inputs, "_vector_of", None)
    np.testing.assert_array_equal(voices(corpus).values, first.values)


def test_a_clip_that_was_prepared_anew_is_described_anew(corpus: PreparedCorpus) -> None:
    before = voices(corpus).values
    one, other = (clip_path(corpus.root, corpus.rows[i].key) for i in (1, 2))
    shutil.copyfile(other, one)
    after = voices(corpus).values
    assert np.flatnonzero((before != after).any(axis=1)).tolist() == [0, 1]  # NaN is not NaN
    np.testing.assert_array_equal(after[1], after[2])


def test_a_damaged_cache_is_made_anew(corpus: PreparedCorpus, tmp_path: Path) -> None:
    first, cache = voices(corpus).values, tmp_path / "cache.npz"
    cache.write_bytes(b"PK\x03\x04 nothing")
    np.testing.assert_array_equal(voices(corpus, cache=cache).values, first)
    np.testing.assert_array_equal(voices(corpus, cache=cache).values, first)


@pytest.mark.slow
def test_workers_count_the_same(corpus: PreparedCorpus, tmp_path: Path) -> None:
    few = PreparedCorpus(corpus.root, corpus.rows[:4], corpus.config)
    one = voices(few).values
    np.testing.assert_array_equal(voices(few, cache=tmp_path / "cache.npz", workers=2).values, one)


def test_a_broken_clip_is_named_and_the_others_are_kept(corpus: PreparedCorpus) -> None:
    path = clip_path(corpus.root, corpus.rows[5].key)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ClipError, match=r"clip 01-1-noise .*the prepared clip is unreadable"):
        voices(corpus)
    with np.load(cache_path(corpus.root)) as held:
        assert len(held["keys"]) == 4


def test_a_stream_that_is_not_there_is_refused(corpus: PreparedCorpus) -> None:
    with pytest.raises(ConfigError, match="has no stream 'mfcc'; read some of: voice, face_posteriors"):
        read_inputs(corpus, corpus.rows, ("mfcc",))
    with pytest.raises(ConfigError, match=r"no clip of .* has the stream face_posteriors; leave it out"):
        read_inputs(corpus, corpus.rows[3:6], ("face_posteriors",))
    with pytest.raises(ConfigError, match=r"no clip of .* has a sound; read other streams, with --features NAME"):
        read_inputs(corpus, corpus.rows[:1], ("voice",))


def test_steps_are_written_as_prepare_reads_them(corpus: PreparedCorpus, tmp_path: Path) -> None:
    path = tmp_path / "voice.npz"
    assert write_steps(path, corpus, "voice", progress=False) == 35
    stream = open_features("voice", path)
    assert stream.read(corpus.rows[0].key) is None
    steps = stream.read(corpus.rows[1].key)
    assert steps is not None
    assert steps.shape == (11, len(SHORT_TERM))


def test_steps_of_nothing_are_refused_and_a_broken_clip_leaves_no_file(corpus: PreparedCorpus, tmp_path: Path) -> None:
    path, silent = tmp_path / "mfcc.npz", PreparedCorpus(corpus.root, corpus.rows[:1], corpus.config)
    with pytest.raises(ConfigError, match=r"no clip of .* has a sound to describe"):
        write_steps(path, silent, "mfcc", progress=False)
    clip_path(corpus.root, corpus.rows[7].key).unlink()
    with pytest.raises(ClipError, match="clip 02-0-low"):
        write_steps(path, corpus, "mfcc", progress=False)
    assert [each.name for each in tmp_path.iterdir()] == ["tones"]
