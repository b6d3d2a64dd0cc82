"""Shards are read exactly once an epoch by all ranks and workers, and an epoch goes on where it was broken off."""

from __future__ import annotations

import errno
import http.server
import io
import json
import multiprocessing
import os
import shutil
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from filelock import FileLock
from torch.utils.data import DataLoader

from mmer.config import ClipConfig, ModelConfig, PrepareConfig, ShardConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.data import mirror as mirroring
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset, make_layout
from mmer.data.loader import TrainLoader
from mmer.data.mirror import Mirror, Shard, _downloader
from mmer.data.samplers import Draw, DrawSampler, Share
from mmer.data.shards import INDEX, Index, Place, ShardedCorpus, open_corpus, write_index, write_places
from mmer.data.store import PLACES, as_root, clip_path, write_settings
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
    sampler = ShardSampler(dataset, dataset.files.total / windows, Share(1, batch, ranks, rank))
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


def read_in_processes(reads: list[Callable[[], list[str]]]) -> list[list[str]]:
    """What several processes read at the same time, each by one of some functions."""
    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in reads]
    begun = [
        context.Process(target=lambda read=read, pipe=pipe: pipe[1].send(read()))
        for read, pipe in zip(reads, pipes, strict=True)
    ]
    for process in begun:
        process.start()
    for _, ours in pipes:
        ours.close()
    found = [pipe.recv() for pipe, _ in pipes]
    for process in begun:
        process.join()
    return found


def test_two_ranks_of_two_workers_see_each_of_ten_thousand_clips_once_an_epoch(
    ten_thousand: Path, tmp_path: Path
) -> None:
    """Of a URL, whose copies the processes of both ranks make at the same time."""
    dataset = make_dataset(f"local:{ten_thousand}", ShardConfig(cache=str(tmp_path)))
    loaders = [make_loader(dataset, rank, workers=WORKERS) for rank in range(RANKS)]
    parts = read_in_processes([lambda loader=loader: keys(loader, 0) for loader in loaders])
    assert [len(part) for part in parts] == [CLIPS // RANKS] * RANKS
    assert {*parts[0], *parts[1]} == {*dataset.keys}, "none is missing, so none is there twice"
    following = [[dataset.keys[draw.index] for draw in _epoch(loader.sampler, 1)] for loader in loaders]
    assert {*following[0], *following[1]} == {*dataset.keys}
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
    batches = [len(set(seen[start : start + BATCH])) for start in range(0, len(seen), BATCH)]
    assert np.mean(batches) > 2, "the clips of a window are mixed: in the order of shards it would be one or two"
    assert len(here) <= 26, "a rank reads its own half of the shards, and one that both have a part of"


@pytest.mark.parametrize("taken", [1, 50, 80, 130, 251])
def test_where_an_epoch_goes_on_its_first_clip_asks_for_what_would_be_on_its_way(few: Path, taken: int) -> None:
    """From the first clips on, in the middle of a window, between two, and at the last clip."""
    dataset = make_dataset(few)
    sampler, other = (make_loader(dataset, ranks=1, batch=1, windows=3).sampler for _ in range(2))
    whole = _epoch(sampler, 1)
    other.go_on(1, taken)
    first, *later = rest = _epoch(other, 1)
    wanted = [shard for shard in dict.fromkeys(shards_of(dataset, rest)) if shard >= 0]
    here: set[int] = set()
    unasked = 0
    for draw, shard in zip(rest, shards_of(dataset, rest), strict=True):
        here.update(draw.ahead)
        unasked += shard >= 0 and shard not in here
    assert unasked == 0
    assert sorted(shard for draw in rest for shard in draw.ahead) == sorted(wanted), "each once"
    due = {shard for draw in whole[: taken + 1] for shard in draw.ahead}
    due |= set(shards_of(dataset, rest[: -taken % sampler.window]))  # of its window
    assert first.ahead == tuple(shard for shard in wanted if shard in due), "the first that are read, first"
    if taken >= sampler.window:
        assert later == whole[taken + 1 :], "and the others are fetched by and by, as ever"


def shards_of(dataset: ClipDataset, draws: list[Draw]) -> list[int]:
    found: list[int] = dataset.files.shard[[draw.index for draw in draws]].tolist()
    return found


def test_words_alone_are_strewn_over_the_epoch(few: Path) -> None:
    dataset = make_dataset(few)
    order = [draw.index for draw in _epoch(ShardSampler(dataset, 1.0, Share(1)), 0)]
    assert sorted(order) == list(range(252))
    places = [place for place, index in enumerate(order) if dataset.files.shard[index] < 0]
    assert len(places) == 12 and len({place // 42 for place in places}) > 3, "in most sixths of it"


def test_an_epoch_that_is_not_whole_steps_leaves_out_the_rest(few: Path) -> None:
    dataset = make_dataset(few)
    parts = [[draw.index for draw in _epoch(make_loader(dataset, rank, batch=50).sampler, 0)] for rank in range(2)]
    assert [len(part) for part in parts] == [100, 100] and len({*parts[0], *parts[1]}) == 200


def test_shards_at_hand_are_drawn_as_a_prepared_folder_is(few: Path) -> None:
    dataset = make_dataset(few)
    sampler = build_sampler(dataset, None, ShardConfig(), Share(5))
    assert type(sampler) is DrawSampler
    assert _epoch(sampler, 1) == _epoch(DrawSampler(range(252), share=Share(5)), 1)
    assert isinstance(build_sampler(dataset, None, ShardConfig(window_gb=1e-5), Share(5)), ShardSampler)


def test_shards_of_a_single_window_are_all_fetched_from_the_first_clip_on(few: Path, tmp_path: Path) -> None:
    """In the order of a prepared folder, by each process for itself; the same where an epoch goes on in the middle."""
    near, far = make_dataset(few), make_dataset(*copied(few, tmp_path))
    share = Share(5, 6, 2, 1)
    sampler, as_ever = build_sampler(far, None, ShardConfig(), share), DrawSampler(range(252), share=share)
    assert sampler.order == as_ever.order
    for taken in (0, 60):
        for each in (sampler, as_ever):
            each.go_on(1, taken)
        draws = _epoch(sampler, 1)
        assert [replace(draw, ahead=()) for draw in draws] == _epoch(as_ever, 1)
        wanted = dict.fromkeys(int(far.files.shard[draw.index]) for draw in draws)
        assert draws[0].ahead == tuple(shard for shard in wanted if shard >= 0), "the first that are read, first"
        assert len(draws[0].ahead) == 12 and not any(draw.ahead for draw in draws[1:])
    assert not any(draw.ahead for draw in _epoch(build_sampler(near, None, ShardConfig(), share), 1)), "nothing is far"


def test_balancing_over_windows_is_refused(few: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"balanced data.sampler .* windows of 1e-05 GB; choose data.sampler=shuffled"
    ):
        build_sampler(make_dataset(few), np.zeros(252, np.int64), ShardConfig(window_gb=1e-5))
    balanced = build_sampler(make_dataset(few), np.zeros(252, np.int64), ShardConfig(window_gb=1.0))
    assert balanced.members is not None, "where all fits in one window it is as ever"


@pytest.mark.parametrize("setting", ["cache_gb", "window_gb"])
@pytest.mark.parametrize("size", [0.0, -1.0, float("nan"), float("inf")])
def test_a_size_that_is_none_is_refused(setting: str, size: float) -> None:
    with pytest.raises(ConfigError, match=rf"data.shards.{setting}={size} must be a positive number, in 10\^9 bytes"):
        ShardConfig(**{setting: size})


def copied(few: Path, cache: Path, gb: float = 1.0) -> tuple[str, ShardConfig]:
    return f"local:{few}", ShardConfig(cache=str(cache), cache_gb=gb)


def in_shards(few: Path, shards: float) -> float:
    """So many shards in 10^9 bytes; all of them are as long."""
    return shards * next(few.glob("*.tar")).stat().st_size / 1e9


def bounded(few: Path, cache: float, window: float | None = None) -> ShardConfig:
    return ShardConfig(cache_gb=in_shards(few, cache), window_gb=None if window is None else in_shards(few, window))


@pytest.mark.parametrize("local", [1, 2, 3])
def test_the_windows_of_all_processes_of_a_machine_fit_in_its_cache(few: Path, tmp_path: Path, local: int) -> None:
    dataset = make_dataset(*copied(few, tmp_path))
    needed, windows = [], set()
    for rank in range(local):
        sampler = build_sampler(dataset, None, bounded(few, 11), Share(1, 6, local, rank, local))
        for epoch in range(5):
            shard = dataset.files.shard[[draw.index for draw in _epoch(sampler, epoch)]]
            parts = [shard[start : start + 2 * sampler.window] for start in range(0, len(shard), sampler.window)]
            needed.append(max(len(set(part[part >= 0])) for part in parts))
        windows.add(sampler.window)
    assert local * max(needed) <= 11 < 2 * local * max(needed), "and most of it is used"
    assert len(windows) == 1


def test_a_cache_without_room_for_three_shards_of_every_process_is_refused(few: Path, tmp_path: Path) -> None:
    dataset = make_dataset(*copied(few, tmp_path))
    build_sampler(dataset, None, bounded(few, 9.1), Share(local=3))
    line = r"data.shards.cache_gb=.* is too little: each of the 3 processes of this machine keeps there three shards"
    with pytest.raises(ConfigError, match=rf"{line} of up to 0.0\d* MB; give it at least 0.001$"):
        build_sampler(dataset, None, bounded(few, 8.9), Share(local=3))
    with pytest.raises(ConfigError, match=r"is too little: a training keeps there three shards"):
        build_sampler(dataset, None, bounded(few, 2.9))


def test_a_window_that_is_too_wide_for_the_processes_of_a_machine_is_refused(few: Path, tmp_path: Path) -> None:
    dataset = make_dataset(*copied(few, tmp_path))
    build_sampler(dataset, None, bounded(few, 10.1, 1.5), Share(local=2))
    line = r"data.shards.window_gb=.* is too much: each of the 2 processes of this machine keeps there that window"
    with pytest.raises(ConfigError, match=rf"{line}, the next one and two shards, and data.shards.cache_gb=.*; give"):
        build_sampler(dataset, None, bounded(few, 9.9, 1.5), Share(local=2))
    with pytest.raises(ConfigError, match="is too much: a training keeps there that window"):
        build_sampler(dataset, None, bounded(few, 11, 13))


def test_what_fits_in_the_cache_as_a_whole_may_have_any_window(few: Path, tmp_path: Path) -> None:
    near, far = make_dataset(few), make_dataset(*copied(few, tmp_path))
    assert isinstance(build_sampler(far, None, bounded(few, 12, 11), Share(local=8)), ShardSampler)
    assert isinstance(build_sampler(near, None, bounded(few, 1, 11), Share(local=8)), ShardSampler), "no copies"


def test_a_url_is_copied_as_far_as_it_is_read(few: Path, tmp_path: Path) -> None:
    url, config = copied(few, tmp_path)
    corpus = open_corpus(url, config)
    assert isinstance(corpus, ShardedCorpus) and corpus.root.parent == tmp_path and corpus.name == url
    assert {path.name for path in corpus.root.iterdir() if path.name[0] != "."} == {
        INDEX, PLACES, "manifest.csv", "prepare.json",
    }  # fmt: skip
    dataset = ClipDataset(corpus, [row for row in corpus.rows if row.speaker == "2"], VOICE)
    assert {dataset[i].key for i in range(len(dataset))} == {row.key for row in corpus.rows if row.speaker == "2"}
    mirror = corpus.mirror
    assert {path.name for path in corpus.root.glob("*.tar")} == {
        mirror.path(corpus.index.shards[i]).name for i in (4, 5)
    }


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Counter[str]]:
    """How often each file was fetched, by whatever process."""
    log = tmp_path / "fetched.txt"
    log.touch()

    def note(url: str, path: Path, download: Any = mirroring._download) -> None:
        with log.open("a") as file:
            file.write(f"{url.rpartition('/')[2]}\n")
        download(url, path)

    monkeypatch.setattr(mirroring, "_download", note)
    return lambda: Counter(log.read_text().split())


def test_workers_of_two_ranks_share_the_copies(few: Path, tmp_path: Path, fetched: Callable[[], Counter[str]]) -> None:
    dataset = make_dataset(*copied(few, tmp_path / "cache"))
    loaders = [make_loader(dataset, rank, workers=2, batch=6) for rank in range(2)]
    found = read_in_processes([lambda loader=loader: keys(loader, 0) for loader in loaders])
    assert len({*found[0], *found[1]}) == 252
    shards = {name: count for name, count in fetched().items() if name.endswith(".tar")}
    assert shards == {path.name: 1 for path in few.glob("*.tar")}


def test_what_was_opened_longest_ago_makes_room(few: Path, tmp_path: Path) -> None:
    files = make_dataset(*copied(few, tmp_path, in_shards(few, 3.5))).files
    paths = [files.mirror.path(shard) for shard in files.shards]
    for number in (0, 1, 2):
        files.mirror.open(files.shards[number]).close()
        os.utime(paths[number], (number, number))
    before = time.time()
    files.mirror.open(files.shards[0]).close()
    assert paths[0].stat().st_mtime > before - 1
    files.mirror.open(files.shards[3]).close()
    assert [path.is_file() for path in paths[:4]] == [True, False, True, True]
    files.mirror.open(files.shards[1]).close()
    assert [path.is_file() for path in paths[:4]] == [True, True, False, True], "what was removed is fetched again"


def test_a_copy_of_one_shard_is_kept_however_small_the_cache(few: Path, tmp_path: Path) -> None:
    dataset = make_dataset(*copied(few, tmp_path, in_shards(few, 0.5)))
    loader = make_loader(dataset, ranks=1, batch=6)
    assert len(set(keys(loader, 0))) == 252
    assert len(list(dataset.files.root.glob("*.tar"))) == 1


def test_copies_that_many_readers_take_from_each_other_are_read(few: Path, tmp_path: Path) -> None:
    """Room for none, and eight readers, each of which makes room for its own."""
    url, config = copied(few, tmp_path, in_shards(few, 0.5))
    seen = read_in_processes([lambda seed=seed: shuffled_reads(make_dataset(url, config), seed) for seed in range(8)])
    assert [len(each) for each in seen] == [60] * 8
    assert len(list(open_corpus(url, config).root.glob("*.tar"))) == 1


def shuffled_reads(dataset: ClipDataset, seed: int) -> list[str]:
    """Read clips of shards that others throw away, each shard fetched anew."""
    seen = []
    for index in np.random.default_rng(seed).permutation(len(dataset))[:60]:
        dataset.files.mapped.clear()
        seen.append(dataset[int(index)].key)
    return seen


def test_a_copy_that_was_cut_off_is_fetched_again(few: Path, tmp_path: Path) -> None:
    """As a loss of power leaves it."""
    dataset = make_dataset(*copied(few, tmp_path))
    assert dataset[0].key == "00-000"
    path = dataset.files.mirror.path(dataset.files.shards[0])
    whole = path.read_bytes()
    path.write_bytes(whole[:700])
    dataset.files.mapped.clear()
    assert dataset[0].key == "00-000" and path.read_bytes() == whole


def test_downloads_of_killed_processes_are_swept_and_no_others(few: Path, tmp_path: Path) -> None:
    url, config = copied(few, tmp_path)
    root = open_corpus(url, config).root
    for name in ("part-killed", "part-busy", "part-young"):
        (root / name).mkdir()
        (root / name / "file").write_text("half")
    for name in ("part-killed", "part-busy"):
        os.utime(root / name, (1, 1))
    with FileLock(root / "part-busy/.lock"):
        os.utime(root / "part-busy", (1, 1))
        open_corpus(url, config)
    assert {path.name for path in root.glob("part-*")} == {"part-busy", "part-young"}


def test_a_full_disk_is_said_and_where(few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_dataset(*copied(few, tmp_path))

    def full(source: str, target: str) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), target)

    monkeypatch.setattr("litdata.streaming.downloader.shutil.copy", full)
    line = (
        r"copy cannot be kept: .*part-.*: No space left on device; name a folder with more room, .* data.shards.cache"
    )
    with pytest.raises(ClipError, match=rf"clip 00-000 .*{line}"):
        dataset[0]
    assert not list(dataset.files.root.glob("part-*")), "and nothing half is left"
    with pytest.raises(ConfigError, match=r"copies of local:.* cannot be kept: .*No space left on device"):
        open_corpus(*copied(few, tmp_path))


def test_a_cache_that_cannot_be_one_is_one_line(few: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot be kept: .*file.*Not a directory; name a folder"):
        open_corpus(*copied(few, tmp_path / "file"))


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
    (far / "skipped.csv").write_text("key,path,reason\nbad,bad.mp4,no face\n")
    index = json.loads((far / INDEX).read_text())
    index["tables"]["skipped.csv"] = file_hash(far / "skipped.csv")
    (far / INDEX).write_text(json.dumps(index))
    url, config = copied(far, tmp_path / "cache")
    assert open_corpus(url, config).skipped() == ["no face"]
    shutil.rmtree(far)
    write_tiny_shards(far, 24, 2, content=silence(tmp_path))
    again = open_corpus(url, config)
    assert len(again.rows) == 24 and again.skipped() == []


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


@pytest.mark.parametrize("url", ["ftp://a/b", "S3://a/b", "s3://"])
def test_an_unknown_kind_of_url_is_one_line(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"data.root={url} cannot be fetched; URLs begin with s3://"):
        open_corpus(as_root(url), ShardConfig(cache=str(tmp_path)))


def test_a_store_whose_library_is_missing_names_it(tmp_path: Path) -> None:
    line = r"to read gs://b/shards needs google-cloud-storage: pip install google-cloud-storage"
    with pytest.raises(ConfigError, match=line):
        open_corpus("gs://b/shards", ShardConfig(cache=str(tmp_path)))


def test_without_litdata_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmer.data.mirror.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"to read s3://bucket/shards needs litdata: pip install 'mmer\[streaming\]'"):
        Mirror("s3://bucket/shards", tmp_path, 1)


@pytest.mark.parametrize("url", ["s3://me:hush@bucket/shards", "azure://box/shards?sig=hush"])
def test_a_url_with_a_password_is_refused_and_not_repeated(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.root=\w+://... says who asks, .* leave that to what") as found:
        open_corpus(url, ShardConfig(cache=str(tmp_path)))
    assert "hush" not in str(found.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda index: index["tables"].update({"../../outside": "0" * 64}), "its tables are"),
        (lambda index: index["tables"].pop(PLACES), "its tables are"),
        (lambda index: index["shards"][1].update(name="../shard-00001.tar"), "shard 1 is called '../shard-00001.tar'"),
        (lambda index: index["shards"][1].update(sha256="../../x"), "a checksum is no SHA-256"),
    ],
)
def test_an_index_that_names_other_files_is_refused(
    few: Path, tmp_path: Path, change: Callable[[Any], object], said: str
) -> None:
    """What is fetched must not choose where it is written."""
    far = tmp_path / "far"
    shutil.copytree(few, far)
    index = json.loads((far / INDEX).read_text())
    change(index)
    (far / INDEX).write_text(json.dumps(index))
    for root in (far, f"local:{far}"):
        with pytest.raises(CorpusError, match=rf"shards.json is damaged \({said}.*; write the shards again"):
            open_corpus(root, ShardConfig(cache=str(tmp_path / "cache")))


def test_an_index_and_a_table_that_do_not_fit_are_refused(few: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    shutil.copytree(few, far)
    index = json.loads((far / INDEX).read_text())
    index["shards"] = index["shards"][:3]
    (far / INDEX).write_text(json.dumps(index))
    with pytest.raises(CorpusError, match=r"clips.csv and shards.json do not fit at clip 03-000; write the shards"):
        open_corpus(far)


def test_missing_shards_are_told_before_an_epoch_begins_and_those_of_others_do_not_matter(
    few: Path, tmp_path: Path
) -> None:
    far = tmp_path / "few"
    shutil.copytree(few, far)
    (far / "shard-00000.tar").unlink()
    (far / "shard-00003.tar").write_bytes(b"cut")
    corpus = open_corpus(far)
    with pytest.raises(CorpusError, match=r"few lacks 2 shards, or they are cut off, shard-00000.tar the first; copy"):
        ClipDataset(corpus, corpus.rows, VOICE)
    ClipDataset(corpus, [row for row in corpus.rows if row.speaker == "2"], VOICE)
