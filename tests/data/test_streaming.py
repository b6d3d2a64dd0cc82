"""Shards are read exactly once an epoch by all ranks and workers, and an epoch goes on where it was broken off."""

from __future__ import annotations

import http.server
import io
import shutil
import tarfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmer.config import ClipConfig, ModelConfig, PrepareConfig, ShardConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset, make_layout
from mmer.data.loader import TrainLoader
from mmer.data.mirror import Mirror, Shard, _downloader
from mmer.data.samplers import Draw, DrawSampler
from mmer.data.shards import INDEX, Index, Place, ShardedCorpus, open_corpus, write_index, write_places
from mmer.data.store import PLACES, clip_path, write_settings
from mmer.data.streaming import ShardSampler, build_sampler
from mmer.errors import ClipError, ConfigError, CorpusError
from mmer.media.files import file_hash

CLIPS, SPEAKERS, RANKS, WORKERS, BATCH = 10_000, 25, 2, 2, 40
VOICE = ModelConfig({"voice": WaveCNNConfig("wave_cnn", variant="tiny")}, clip=ClipConfig(seconds=0.01, frames=2))


class Named(NamedTuple):
    """A batch of nothing but names."""

    key: list[str]


class Raw(ClipDataset):
    """Clips whose bytes are nothing but their names: ten thousand are read in a second, each known by its content."""

    def __getitems__(self, items: list[Draw]) -> list[str]:
        return [bytes(self.files.data(item.index, self.keys[item.index])).decode() for item in items]


def write_tiny_shards(
    root: Path, clips: int = CLIPS, speakers: int = SPEAKERS, words: int = 0, content: bytes | None = None
) -> Path:
    """Write a finished folder of shards, two of each speaker, without so many files on the way.

    Each clip's bytes are the content, or where there is none its name.
    """
    root.mkdir()
    each = clips // speakers // 2
    rows, places, shards = [], {}, []
    for number in range(2 * speakers):
        path = root / f"shard-{number:05d}.tar"
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
            for i in range(each):
                key = f"{number:02d}-{i:03d}"
                data = content or key.encode()
                info = tarfile.TarInfo(f"{key}.npz")
                info.size = len(data)
                places[key] = Place(number, archive.offset + 512, len(data))
                archive.addfile(info, io.BytesIO(data))
                rows.append(Row(key, "tiny", str(number // 2), "happy", audio=clip_path(root, key)))
        shards.append(Shard(path.name, path.stat().st_size, file_hash(path)))
    rows += [Row(f"words-{i}", "tiny", "0", "happy", text="so be it") for i in range(words)]
    write_places(root / PLACES, places)
    write_settings(root, PrepareConfig())
    write_manifest(root / "manifest.csv", rows)
    names = (PLACES, "prepare.json", "manifest.csv")
    write_index(
        root / INDEX,
        Index(tuple(shards), {name: file_hash(root / name) for name in names}),
    )
    return root


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_shards(tmp_path_factory.mktemp("tiny") / "shards")


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    return write_tiny_shards(folder / "shards", 240, 6, words=12, content=silence(folder))


def silence(folder: Path) -> bytes:
    """The file of a prepared clip of 10 ms."""
    nothing = np.zeros(0)
    clip = PreparedClip(nothing, nothing.astype(np.int64), nothing.astype(np.uint8), np.zeros(160, np.float32), 16_000)
    clip.save(folder / "one.npz")
    return (folder / "one.npz").read_bytes()


def make_dataset(root: str | Path, config: ShardConfig = ShardConfig()) -> ClipDataset:  # noqa: B008
    corpus = open_corpus(root, config)
    return (ClipDataset if "few" in str(root) else Raw)(corpus, corpus.rows, VOICE)


def make_loader(
    dataset: ClipDataset, rank: int = 0, *, ranks: int = RANKS, workers: int = 0, batch: int = BATCH, windows: int = 4
) -> TrainLoader:
    """The training loader of one of several ranks; an epoch has some windows."""
    window = dataset.files.size.sum() / windows
    sampler = ShardSampler(dataset, float(window), seed=1, batch_size=batch, processes=ranks, rank=rank)
    collate = Named if isinstance(dataset, Raw) else make_layout(VOICE, PrepareConfig()).collate
    return TrainLoader(dataset, sampler=sampler, batch_size=batch, num_workers=workers, collate_fn=collate)


def keys(loader: DataLoader, epoch: int, most: int | None = None) -> list[str]:
    """The keys of an epoch in their order, or of its first batches."""
    loader.sampler.set_epoch(epoch)
    found: list[str] = []
    for number, batch in enumerate(loader, 1):
        found += batch.key
        if number == most:
            break
    return found


def test_two_ranks_of_two_workers_see_each_of_ten_thousand_clips_once_an_epoch(ten_thousand: Path) -> None:
    dataset = make_dataset(ten_thousand)
    loaders = [make_loader(dataset, rank, workers=WORKERS) for rank in range(RANKS)]
    parts = [keys(loader, 0) for loader in loaders]
    assert [len(part) for part in parts] == [CLIPS // RANKS] * RANKS
    assert len({*parts[0], *parts[1]}) == CLIPS, "none is missing, so none is there twice"
    following = [keys(loader, 1) for loader in loaders]
    assert len({*following[0], *following[1]}) == CLIPS
    assert following[0] != parts[0] and set(following[0]) != set(parts[0]), "dealt anew"


def test_a_run_that_stops_in_the_middle_goes_on_without_losing_or_repeating_a_clip(ten_thousand: Path) -> None:
    dataset = make_dataset(ten_thousand)
    whole = set()
    for rank in range(RANKS):
        names = [dataset.keys[draw.index] for draw in _epoch(make_loader(dataset, rank).sampler, 3)]
        stopped = make_loader(dataset, rank, workers=WORKERS)
        before = keys(stopped, 3, most=30)  # its workers have read ahead by now
        fresh = make_loader(dataset, rank)
        fresh.load_state_dict(stopped.state_dict())
        assert before + keys(fresh, 3) == names, "as if nothing had happened"
        assert keys(fresh, 4, most=1) == [dataset.keys[draw.index] for draw in _epoch(fresh.sampler, 4)][:BATCH]
        whole |= set(names)
    assert len(whole) == CLIPS


def _epoch(sampler: DrawSampler, epoch: int) -> list:
    sampler.set_epoch(epoch)
    return list(sampler)


def test_every_draw_of_a_continued_epoch_has_the_seed_that_it_would_have_had(few: Path) -> None:
    dataset = make_dataset(few)
    sampler, other = make_loader(dataset, batch=6).sampler, make_loader(dataset, batch=6).sampler
    whole = _epoch(sampler, 2)
    other.go_on(2, 24)
    assert [(draw.index, draw.seed) for draw in _epoch(other, 2)] == [(draw.index, draw.seed) for draw in whole[24:]]


def test_a_window_needs_few_shards_and_fetches_those_of_the_next_meanwhile(ten_thousand: Path) -> None:
    dataset = make_dataset(ten_thousand)
    sampler = make_loader(dataset, windows=10).sampler
    shard = dataset.files.shard
    here: set[int] = set()
    seen = []
    for place, draw in enumerate(_epoch(sampler, 0)):
        here.update(draw.ahead)
        seen.append(int(shard[draw.index]))
        if place >= 10:  # the first window has nobody before it
            assert seen[-1] in here, "fetched before it is needed"
    for start in range(0, len(seen), sampler.window):
        assert len(set(seen[start : start + sampler.window])) <= 7, "50 shards in 10 windows, and two that are cut"
    assert len(here) <= 26, "a rank reads its own half of the shards, and one that both have a part of"


def test_words_alone_are_strewn_over_the_epoch(few: Path) -> None:
    model = replace(VOICE, streams=VOICE.streams)
    corpus = open_corpus(few)
    dataset = ClipDataset(corpus, corpus.rows, model)
    sampler = ShardSampler(dataset, 1.0, seed=1)
    order = [draw.index for draw in _epoch(sampler, 0)]
    assert sorted(order) == list(range(252))
    places = [place for place, index in enumerate(order) if dataset.files.shard[index] < 0]
    assert len(places) == 12 and max(places) - min(places) > 60


def test_an_epoch_that_is_not_whole_steps_leaves_out_the_rest(few: Path) -> None:
    dataset = make_dataset(few)
    parts = [[draw.index for draw in _epoch(make_loader(dataset, rank, batch=50).sampler, 0)] for rank in range(2)]
    assert [len(part) for part in parts] == [100, 100] and len({*parts[0], *parts[1]}) == 200


def test_shards_at_hand_are_drawn_as_a_prepared_folder_is(few: Path) -> None:
    dataset = make_dataset(few)
    sampler = build_sampler(dataset, None, ShardConfig(), seed=5)
    assert type(sampler) is DrawSampler
    assert _epoch(sampler, 1) == _epoch(DrawSampler(range(252), seed=5), 1)
    assert isinstance(build_sampler(dataset, None, ShardConfig(window_gb=1e-5), seed=5), ShardSampler)


def test_balancing_over_windows_is_refused(few: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"balanced data.sampler .* windows of 1e-05 GB; choose data.sampler=shuffled"
    ):
        build_sampler(make_dataset(few), np.zeros(252, np.int64), ShardConfig(window_gb=1e-5))
    balanced = build_sampler(make_dataset(few), np.zeros(252, np.int64), ShardConfig(window_gb=1.0))
    assert balanced.members is not None, "where all fits in one window it is as ever"


def test_a_window_larger_than_half_of_the_cache_is_refused() -> None:
    for config in ({"window_gb": 30.0}, {"window_gb": 0.0}, {"cache_gb": 0.0}):
        with pytest.raises(ConfigError, match=r"data.shards.cache_gb=.* and at most half of it"):
            ShardConfig(**config)


def copied(few: Path, cache: Path, gb: float = 1.0) -> tuple[str, ShardConfig]:
    return f"local:{few}", ShardConfig(cache=str(cache), cache_gb=gb)


def test_a_url_is_copied_as_far_as_it_is_read(few: Path, tmp_path: Path) -> None:
    url, config = copied(few, tmp_path)
    corpus = open_corpus(url, config)
    assert isinstance(corpus, ShardedCorpus) and corpus.root.parent == tmp_path
    assert {path.name for path in corpus.root.iterdir() if path.name[0] != "."} == {
        INDEX, PLACES, "manifest.csv", "prepare.json",
    }  # fmt: skip
    dataset = ClipDataset(corpus, [row for row in corpus.rows if row.speaker == "2"], VOICE)
    assert {dataset[i].key for i in range(len(dataset))} == {row.key for row in corpus.rows if row.speaker == "2"}
    mirror = corpus.mirror
    assert {path.name for path in corpus.root.glob("*.tar")} == {
        mirror.path(corpus.index.shards[i]).name for i in (4, 5)
    }
    shutil.copytree(few, tmp_path / "far")
    assert list(corpus.root.glob("part-*")) == []


def test_workers_of_two_ranks_share_the_copies(few: Path, tmp_path: Path) -> None:
    dataset = make_dataset(*copied(few, tmp_path))
    found = [keys(make_loader(dataset, rank, workers=2, batch=6), 0) for rank in range(2)]
    assert len({*found[0], *found[1]}) == 252
    assert len(list(dataset.files.root.glob("*.tar"))) == 12


def test_the_oldest_copies_make_room(few: Path, tmp_path: Path) -> None:
    shard = next(few.glob("*.tar")).stat().st_size
    dataset = make_dataset(*copied(few, tmp_path, gb=3.5 * shard / 1e9))
    loader = make_loader(dataset, ranks=1, batch=6)
    assert len(set(keys(loader, 0))) == 252, "what was removed is fetched again"
    assert len(list(dataset.files.root.glob("*.tar"))) == 3


@pytest.fixture
def bucket(few: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket of a store that speaks as much of S3's language as is needed to read."""

    class Store(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(few.parent))

        def translate_path(self, path: str) -> str:
            return super().translate_path(path.removeprefix("/bucket"))

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    _downloader.cache_clear()
    yield f"s3://bucket/{few.name}"
    server.shutdown()
    thread.join()
    server.server_close()
    _downloader.cache_clear()


def test_a_bucket_is_read_by_forked_workers(few: Path, bucket: str, tmp_path: Path) -> None:
    config = ShardConfig(cache=str(tmp_path))
    corpus = open_corpus(bucket, config)
    dataset = ClipDataset(corpus, corpus.rows, VOICE)
    assert dataset[0].key == "00-000", "this process has fetched, and has what a fork must not use"
    assert len(set(keys(make_loader(dataset, ranks=1, workers=2, batch=6), 0))) == 252
    with pytest.raises(CorpusError, match=r"s3://bucket/none/shards.json cannot be fetched \(.*404.*\); check the"):
        open_corpus("s3://bucket/none", config)


def test_what_is_expected_is_fetched_in_the_background(few: Path, tmp_path: Path) -> None:
    dataset = make_dataset(*copied(few, tmp_path))
    dataset.files.expect((3,))
    path = dataset.files.mirror.path(dataset.files.shards[3])
    deadline = time.monotonic() + 30
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.is_file()


def test_a_changed_corpus_is_fetched_anew(few: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    shutil.copytree(few, far)
    url, config = copied(far, tmp_path / "cache")
    open_corpus(url, config)
    shutil.rmtree(far)
    write_tiny_shards(far, 24, 2, content=silence(tmp_path))
    assert len(open_corpus(url, config).rows) == 24


def test_a_copy_that_is_not_what_was_promised_is_refused(few: Path, tmp_path: Path) -> None:
    far = tmp_path / "few"
    shutil.copytree(few, far)
    dataset = make_dataset(*copied(far, tmp_path / "cache"))
    path = far / "shard-00000.tar"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ClipError, match=r"clip 00-000 .*shard-00000.tar is not what shards.json promises"):
        dataset[0]
    path.unlink()
    with pytest.raises(ClipError, match=r"clip 00-000 .*shard-00000.tar cannot be fetched .*check the address"):
        dataset[0]


def test_an_address_with_nothing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"local:/nowhere/shards.json cannot be fetched \(.*\); check the address"):
        open_corpus("local:/nowhere", ShardConfig(cache=str(tmp_path)))


def test_an_unknown_kind_of_url_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.root=ftp://a/b cannot be fetched; URLs begin with s3://"):
        open_corpus("ftp://a/b", ShardConfig(cache=str(tmp_path)))


def test_without_litdata_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmer.data.mirror.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"to read s3://bucket/shards needs litdata: pip install 'mmer\[streaming\]'"):
        Mirror("s3://bucket/shards", tmp_path, 1)
