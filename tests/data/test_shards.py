"""A folder of shards holds what the prepared folder holds, to the bit, and never looks finished when it is not."""

from __future__ import annotations

import filecmp
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from mmer.batch import Clip
from mmer.cli import main
from mmer.config import (
    ClipConfig,
    FeaturesConfig,
    ModelConfig,
    PrepareConfig,
    ResNet3DConfig,
    TextConfig,
    WaveCNNConfig,
)
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset
from mmer.data.samplers import Draw
from mmer.data.shards import INDEX, ShardedCorpus, open_corpus, read_index
from mmer.data.store import PLACES, PreparedCorpus, clip_path, write_settings
from mmer.data.write_shards import write_shards
from mmer.errors import ClipError, CorpusError
from mmer.media.jpeg import encode_jpeg
from mmer.tokenizer import Tokenizer

EVERYTHING = ModelConfig(
    {
        "face": ResNet3DConfig("resnet3d", variant="tiny"),
        "voice": WaveCNNConfig("wave_cnn", variant="tiny"),
        "words": TextConfig("text"),
        "units": FeaturesConfig("features", "action_units", 4),
    },
    clip=ClipConfig(seconds=0.4, frames=4),
)
SMALL = 90_000  # bytes of a shard


def write_prepared(root: Path, speakers: int = 4, takes: int = 5) -> Path:
    """Write a prepared folder in which some clips lack what others have, and one is of words alone."""
    (root / "clips").mkdir(parents=True)
    write_settings(root, PrepareConfig(size=32, features=("action_units",)))
    rng, rows = np.random.default_rng(0), []
    for take in range(takes):
        for speaker in range(speakers):  # so that a speaker's clips do not lie together
            number = len(rows)
            key = f"take.{take}/of {speaker}" + "-long" * 30 * (number == 7)
            images = [encode_jpeg(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8), 80) for _ in range(9)]
            clip = PreparedClip(
                times=np.arange(len(images)) / 25,
                sizes=np.array([len(image) for image in images], np.int64),
                jpeg=np.concatenate(images),
                audio=rng.normal(0, 0.1, 8_000).astype(np.float32) if number % 4 else None,
                sample_rate=16_000,
                text=f"clip number {number}",
                features={"action_units": rng.normal(0, 1, (7, 4)).astype(np.float32)} if number % 3 else {},
            )
            if number % 5 == 2:
                nothing = PreparedClip.empty(16_000)
                clip = replace(clip, times=nothing.times, sizes=nothing.sizes, jpeg=nothing.jpeg)
            path = clip_path(root, key)
            if clip.has_video or clip.audio is not None or clip.features:
                clip.save(path)
            extra = {"features": "action_units"} if clip.features else {}
            video, audio = path if clip.has_video else None, None if clip.audio is None else path
            rows.append(Row(key, "noise", str(speaker), "happy", video, audio, clip.text, extra))
    rows.insert(3, Row("words", "noise", "1", "sad", text="nothing but words"))
    write_manifest(root / "manifest.csv", rows)
    (root / "skipped.csv").write_text("key,path,reason\nbad,bad.mp4,no face\n")
    return root


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared") / "data")


@pytest.fixture(scope="module")
def shards(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("sharded") / "shards"
    write_shards(prepared, output, SMALL, progress=False)
    return output


def dataset(root: Path, speaker: str | None = None) -> ClipDataset:
    corpus = open_corpus(root)
    tokenizer = Tokenizer.train([row.text for row in corpus.rows], 300)
    rows = [row for row in corpus.rows if speaker in (None, row.speaker)]
    return ClipDataset(corpus, rows, EVERYTHING, tokenizer=tokenizer)


def same(one: Clip, other: Clip) -> bool:
    for name in ("video", "audio", "text"):
        left, right = getattr(one, name), getattr(other, name)
        if (left is None) != (right is None) or (left is not None and not torch.equal(left, right)):
            return False
    features = one.features.keys() == other.features.keys()
    return features and all(torch.equal(one.features[name], other.features[name]) for name in one.features)


def test_every_clip_is_what_the_prepared_folder_gives_to_the_bit(prepared: Path, shards: Path) -> None:
    near, far = dataset(prepared), dataset(shards)
    assert isinstance(open_corpus(shards), ShardedCorpus) and len(near) == len(far) == 21
    kinds = set()
    for index in range(len(near)):
        one, other = near[index], far[index]
        assert one.key == other.key and one.label == other.label and same(one, other)
        kinds.add((one.video is None, one.audio is None, not one.features))
    assert len(kinds) > 4, "clips that lack one thing or another"
    one, other = (data.__getitems__([Draw(5, 1), Draw(9, 2)]) for data in (near, far))
    assert all(map(same, one, other)), "a batch whose frames lie side by side as well"


def test_the_whole_clip_is_read_and_checked_as_from_its_file(prepared: Path, shards: Path) -> None:
    corpus = open_corpus(shards)
    row = next(row for row in corpus.rows if row.video is not None)
    place = corpus.places[row.key]
    data = (shards / corpus.index.shards[place.shard].name).read_bytes()[place.offset : place.offset + place.bytes]
    assert data == clip_path(prepared, row.key).read_bytes()
    clip = PreparedClip.read(memoryview(data), row.key, shards)
    assert np.array_equal(clip.jpeg, PreparedClip.load(clip_path(prepared, row.key), row.key).jpeg)
    damaged = bytearray(data)
    damaged[len(data) // 2] ^= 1
    with pytest.raises(ClipError, match=r"is unreadable"):
        PreparedClip.read(memoryview(bytes(damaged)), row.key, shards / "shard-00000.tar")


def test_the_folder_says_of_itself_what_the_prepared_one_says(prepared: Path, shards: Path) -> None:
    for name in ("prepare.json", "manifest.csv", "skipped.csv"):
        assert filecmp.cmp(prepared / name, shards / name, shallow=False)
    near, far = open_corpus(prepared), open_corpus(shards)
    assert [row.key for row in near.rows] == [row.key for row in far.rows]
    assert (near.config, near.skipped()) == (far.config, far.skipped())


def test_no_shard_has_two_speakers_and_none_is_too_long(shards: Path) -> None:
    corpus = open_corpus(shards)
    speakers = {row.key: row.speaker for row in corpus.rows}
    found = [{speakers[key] for key, place in corpus.places.items() if place.shard == number} for number in range(99)]
    found = [each for each in found if each]
    assert all(len(each) == 1 for each in found) and len(found) == len(corpus.index.shards) > 4
    assert all(shard.bytes <= SMALL + 1024 for shard in corpus.index.shards)


def test_a_part_of_a_split_opens_no_other_speakers_shards(shards: Path) -> None:
    data = dataset(shards, "2")
    for index in range(len(data)):
        data[index]
    corpus = open_corpus(shards)
    own = {corpus.places[row.key].shard for row in corpus.rows if row.speaker == "2" and row.key in corpus.places}
    assert set(data.files.mapped) == own


def test_others_can_read_the_tar_files(prepared: Path, shards: Path, tmp_path: Path) -> None:
    for path in shards.glob("*.tar"):
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path, filter="data")
    assert not filecmp.dircmp(prepared / "clips", tmp_path).diff_files
    assert {path.name for path in (prepared / "clips").iterdir()} == {path.name for path in tmp_path.iterdir()}


def test_the_same_clips_make_the_same_bytes(prepared: Path, shards: Path, tmp_path: Path) -> None:
    write_shards(prepared, tmp_path / "again", SMALL, progress=False)
    names = sorted(path.name for path in shards.iterdir() if path.name[0] != ".")
    assert filecmp.cmpfiles(shards, tmp_path / "again", names, shallow=False) == (names, [], [])


def test_a_killed_writer_goes_on_and_nothing_looks_finished_before(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "shards"
    calls = []

    def die(path: Path, *args: object) -> None:
        calls.append(path.name)
        if len(calls) == 3:
            (output / f".{path.stem}.123.tar").write_bytes(b"half")  # as a killed process leaves it
            raise KeyboardInterrupt
        real(path, *args)

    import mmer.data.write_shards as writer

    real = writer._write_shard
    monkeypatch.setattr(writer, "_write_shard", die)
    with pytest.raises(KeyboardInterrupt):
        write_shards(prepared, output, SMALL, progress=False)
    with pytest.raises(CorpusError, match=r"shards that are not finished; run its mmer shards command again"):
        open_corpus(output)
    monkeypatch.setattr(writer, "_write_shard", real)
    done = write_shards(prepared, output, SMALL, progress=False)
    assert done.kept == 2 and len(open_corpus(output).rows) == 21
    assert not list(output.glob(".shard*"))
    index = (output / INDEX).stat()
    assert write_shards(prepared, output, SMALL, progress=False).kept == len(done.shards), "finished: nothing to do"
    assert (output / INDEX).stat().st_ino == index.st_ino


def test_a_clip_that_was_prepared_again_is_written_again(prepared: Path, tmp_path: Path) -> None:
    output = tmp_path / "shards"
    write_shards(prepared, output, SMALL, progress=False)
    (output / INDEX).unlink()
    first = output / "shard-00000.tar"
    os.utime(first, ns=(0, 0))  # older than its clips
    done = write_shards(prepared, output, SMALL, progress=False)
    assert done.kept == len(done.shards) - 1 and first.stat().st_mtime_ns > 0


def test_an_unfinished_folder_of_another_size_begins_anew(prepared: Path, tmp_path: Path) -> None:
    output = tmp_path / "shards"
    write_shards(prepared, output, SMALL, progress=False)
    (output / INDEX).unlink()
    done = write_shards(prepared, output, 200_000, progress=False)
    assert done.kept == 0 and len(list(output.glob("*.tar"))) == len(done.shards)


def test_what_is_wrong_with_a_finished_folder_is_mended(prepared: Path, shards: Path, tmp_path: Path) -> None:
    """A shard that is gone, one that is cut off, and, where one is written again, another that is not what it was."""
    output = tmp_path / "shards"
    shutil.copytree(shards, output)
    paths = sorted(output.glob("*.tar"))
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-600])
    damaged = bytearray(paths[2].read_bytes())
    damaged[-3000] ^= 1
    paths[2].write_bytes(damaged)
    done = write_shards(prepared, output, SMALL, progress=False)
    assert done.kept == len(paths) - 3
    names = [path.name for path in shards.iterdir() if path.name[0] != "."]
    assert filecmp.cmpfiles(shards, output, names, shallow=False)[1:] == ([], [])


def test_a_folder_of_shards_is_not_prepared_into(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a finished one nor one that is not."""
    output = tmp_path / "shards"
    shutil.copytree(shards, output)
    (tmp_path / "words.csv").write_text("key,text,label\na,hello,happy\n")
    line = f"mmer: error: {output} holds shards; prepare into another folder, and write shards from that: mmer shards\n"
    for name in (INDEX, "prepare.json"):
        (output / name).unlink()
        before = sorted(output.iterdir())
        assert main(["prepare", "table", str(tmp_path / "words.csv"), str(output)]) == 2
        assert capsys.readouterr().err == line and sorted(output.iterdir()) == before


def test_shards_are_not_written_into_a_prepared_folder_nor_to_a_url(
    prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write_prepared(tmp_path / "other", speakers=1, takes=1)
    before = sorted(other.iterdir())
    assert main(["shards", str(prepared), str(other)]) == 2
    assert capsys.readouterr().err.endswith("other exists and holds no shards; choose an empty or a new folder\n")
    assert sorted(other.iterdir()) == before
    for command in (["shards", str(prepared), "s3://bucket/x"], ["prepare", "table", "films.csv", "s3://bucket/x"]):
        with pytest.raises(SystemExit) as error:
            main(command)
        assert error.value.code == 2
        assert "'s3://bucket/x' is a URL; name a folder, and copy that with" in capsys.readouterr().err


def test_a_folder_of_other_things_is_refused(prepared: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds finished shards of other clips or sizes; delete it, or use another"):
        write_shards(prepared, shards, 200_000, progress=False)
    (tmp_path / "thing").write_text("mine")
    with pytest.raises(CorpusError, match=r"exists and holds no shards; choose an empty or a new folder"):
        write_shards(prepared, tmp_path, progress=False)
    for inside in (prepared, prepared / "clips", prepared / "shards"):
        with pytest.raises(CorpusError, match=r"is the prepared folder itself, or lies in it; name another one"):
            write_shards(prepared, inside, progress=False)
    assert not (prepared / "shards").exists()
    with pytest.raises(CorpusError, match=r"holds shards; give the prepared folder"):
        write_shards(shards, tmp_path / "new", progress=False)
    with pytest.raises(CorpusError, match=r"holds shards; give the prepared folder"):
        PreparedCorpus.open(shards)


def test_two_writers_do_not_meet(prepared: Path, tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(CorpusError, match=r"another process is writing to .*; wait for it, or use another folder"),
    ):
        write_shards(prepared, tmp_path, progress=False)


def test_a_damaged_clip_is_found_when_it_is_written(tmp_path: Path) -> None:
    root = write_prepared(tmp_path / "data", speakers=1, takes=3)
    path = clip_path(root, "take.1/of 0")
    whole = bytearray(path.read_bytes())
    whole[-3000] ^= 1
    path.write_bytes(whole)
    with pytest.raises(ClipError, match=r"clip take.1/of 0 .*the prepared clip is unreadable"):
        write_shards(root, tmp_path / "shards", progress=False)
    path.unlink()
    with pytest.raises(ClipError, match=r"clip take.1/of 0 .*the prepared clip is missing .*prepare again"):
        write_shards(root, tmp_path / "shards", progress=False)


def test_a_damaged_shard_is_a_clip_error_with_the_key(prepared: Path, tmp_path: Path) -> None:
    write_shards(prepared, tmp_path / "shards", SMALL, progress=False)
    data = dataset(tmp_path / "shards")
    data.files.mapped.clear()  # the first clip of its features was looked at
    key, number = data.keys[1], int(data.files.shard[1])
    path = tmp_path / "shards" / f"shard-{number:05d}.tar"
    whole = path.read_bytes()
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(
        ClipError, match=rf"clip {key} \(.*{path.name}\): .* unreadable .*delete the shard, and write or"
    ):
        data[1]
    path.write_bytes(whole[: int(data.files.offset[1]) + 10])
    data.files.mapped.clear()
    with pytest.raises(ClipError, match=rf"clip {key} \(.*{path.name}\): its shard is cut off"):
        data[1]
    path.unlink()
    data.files.mapped.clear()
    with pytest.raises(ClipError, match=rf"clip {key} \(.*{path.name}\): its shard cannot be read .*No such file"):
        data[1]


def test_a_damaged_index_or_table_is_one_line(prepared: Path, tmp_path: Path) -> None:
    output = tmp_path / "shards"
    write_shards(prepared, output, SMALL, progress=False)
    index, places = (output / INDEX).read_text(), (output / PLACES).read_text()
    for text, message in (
        ("{", r"shards.json is damaged \(.*\); write the shards again"),
        ("[]", r"shards.json is damaged"),
        (index.replace('"format": 1', '"format": 9'), r"has shards of format 9 and this version reads 1"),
    ):
        (output / INDEX).write_text(text)
        with pytest.raises(CorpusError, match=message):
            open_corpus(output)
    (output / INDEX).write_text(index)
    (output / PLACES).write_text(places.replace("take.0/of 0,", "other,"))
    with pytest.raises(CorpusError, match=r"clips.csv does not know where clip take.0/of 0 lies"):
        open_corpus(output)
    (output / PLACES).write_text("key,shard,offset,bytes\na,1\n")
    with pytest.raises(CorpusError, match=r"clips.csv is damaged"):
        open_corpus(output)
    (output / "prepare.json").unlink()
    with pytest.raises(CorpusError, match=r"shards without prepare.json and manifest.csv; write them again"):
        open_corpus(output)


def test_the_command_says_what_it_wrote(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shards", str(prepared), str(tmp_path / "a"), "--shard-size", "90KB"]) == 0
    found = capsys.readouterr()
    assert f"21 clips in {len(read_index(tmp_path / 'a' / INDEX).shards)} shards of" in found.out
    assert f"--data.root {tmp_path / 'a'}" in found.out and "19/19" in found.err, "and a progress bar"
    assert main(["shards", str(prepared), str(tmp_path / "a"), "--shard-size", "90KB", "--format", "json"]) == 0
    assert '"clips": 21' in capsys.readouterr().out
    assert main(["shards", str(tmp_path), str(tmp_path / "b")]) == 2
    assert "is not a prepared folder" in capsys.readouterr().err
    with pytest.raises(SystemExit) as error:
        main(["shards", str(prepared), str(tmp_path / "b"), "--shard-size", "many"])
    assert error.value.code == 2 and "'many' is not a size, as 64MB or 1GB" in capsys.readouterr().err
