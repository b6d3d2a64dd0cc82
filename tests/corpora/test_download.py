"""Corpora come from their owners: resumed, checked, whole or not at all. The owner is a server on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from mmer import cli
from mmer.corpora import download as module
from mmer.corpora.catalogue import CORPORA
from mmer.corpora.download import RemoteFile, download, list_ravdess, list_tess
from mmer.corpora.ravdess import read_ravdess
from mmer.errors import CorpusError

SIZE = 300_000
NAME = "Video_Speech_Actor_01.zip"


class Owner(ThreadingHTTPServer):
    """A repository whose files and faults a test sets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        """Path and Range header of every request for a file."""
        self.faults: list[Callable[[Answer], bool]] = []
        """What the next requests for files meet; True: the fault was the whole answer."""
        self.ranges = True
        self.sent: dict[str, bytes] = {}
        """What is sent under a name instead of what the record says."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def zenodo(self) -> dict[str, object]:
        return {"files": [self.entry(name, data) for name, data in self.files.items()]}

    def entry(self, name: str, data: bytes) -> dict[str, object]:
        url = f"{self.url}/api/records/1188976/files/{name}/content"
        return {
            "key": name,
            "size": len(data),
            "checksum": f"md5:{hashlib.md5(data).hexdigest()}",
            "links": {"self": url},
        }

    def dataverse(self) -> dict[str, object]:
        files = []
        for number, (name, data) in enumerate(self.files.items()):
            folder, _, label = name.rpartition("/")
            checksum = {"type": "SHA-1", "value": hashlib.sha1(data).hexdigest()}
            file = {"id": number, "filename": label, "filesize": len(data), "checksum": checksum, "tabularData": False}
            files.append({"label": label, "directoryLabel": folder, "dataFile": file})
        return {"status": "OK", "data": {"latestVersion": {"files": files}}}


class Answer(BaseHTTPRequestHandler):
    server: Owner

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("http://corpora.invalid")
        if path == "/record":
            return self.send(json.dumps(self.server.zenodo()).encode())
        if path == "/dataset":
            return self.send(json.dumps(self.server.dataverse()).encode())
        self.server.asked.append((path, self.headers.get("Range")))
        if self.server.faults and self.server.faults.pop(0)(self):
            return None
        name = path.split("/")[-2] if path.endswith("/content") else list(self.server.files)[int(path.split("/")[-1])]
        return self.send(self.server.sent.get(name, self.server.files[name]))

    def send(self, data: bytes, cut: int | None = None) -> None:
        """Send a file, or the range that is asked for; ``cut`` bytes of it, and the connection breaks."""
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.server.ranges else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : None if cut is None else start + cut])
        return None

    def log_message(self, *_: object) -> None:
        pass


def cut_after(number: int) -> Callable[[Answer], bool]:
    def fault(answer: Answer) -> bool:
        answer.send(answer.server.files[NAME], cut=number)
        return True

    return fault


def status(code: int, **headers: str) -> Callable[[Answer], bool]:
    def fault(answer: Answer) -> bool:
        answer.send_response(code)
        for name, value in headers.items():
            answer.send_header(name.replace("_", "-"), value)
        answer.send_header("Content-Length", "0")
        answer.end_headers()
        return True

    return fault


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited between two tries; nobody waits in a test."""
    waited: list[float] = []
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=waited.append))
    return waited


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch, pauses: list[float]) -> Iterator[Owner]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Owner()
    server.files[NAME] = np.random.default_rng(0).bytes(SIZE)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def files(owner: Owner) -> list[RemoteFile]:
    return list_ravdess([1], ["video"], record=f"{owner.url}/record")


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder, the lock aside."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".download.lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def part_of(files: list[RemoteFile], folder: Path, data: bytes) -> Path:
    (file,) = files
    path = folder / f"{file.name}.{file.checksum.removeprefix('md5:')[:8]}.part"
    path.write_bytes(data)
    return path


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    try:
        code = cli.main(["download", *args])
    except SystemExit as stop:
        code = int(str(stop.code))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_file_comes_whole_and_is_not_fetched_again(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    assert download(files, tmp_path, progress=False) == files
    assert contents(tmp_path) == owner.files
    assert download(files, tmp_path, progress=False) == []
    assert owner.asked == [(f"/api/records/1188976/files/{NAME}/content", None)]


def test_a_cut_connection_is_resumed_where_it_broke(
    owner: Owner, files: list[RemoteFile], tmp_path: Path, pauses: list[float]
) -> None:
    owner.faults = [cut_after(100_000), cut_after(100_000)]
    download(files, tmp_path, progress=False)
    assert contents(tmp_path) == owner.files
    ranges = [asked for _, asked in owner.asked]
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges[1:] if asked is not None]
    assert ranges[0] is None and len(starts) == 2 and 0 < starts[0] < starts[1] < SIZE
    assert pauses == [1.0, 1.0]


def test_a_later_run_goes_on_from_the_part(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    part_of(files, tmp_path, owner.files[NAME][:123_456])
    download(files, tmp_path, progress=False)
    assert owner.asked[0][1] == "bytes=123456-"
    assert contents(tmp_path) == owner.files


def test_a_whole_part_is_only_checked(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    part_of(files, tmp_path, owner.files[NAME])
    download(files, tmp_path, progress=False)
    assert (contents(tmp_path), owner.asked) == (owner.files, [])


def test_an_interruption_keeps_the_part(
    owner: Owner, files: list[RemoteFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    owner.faults = [cut_after(100_000)]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, "time", SimpleNamespace(sleep=interrupt))
        download(files, tmp_path, progress=False)
    ((name, data),) = contents(tmp_path).items()
    assert name.endswith(".part") and owner.files[NAME].startswith(data) and data
    download(files, tmp_path, progress=False)
    assert contents(tmp_path) == owner.files
    assert owner.asked[1][1] == f"bytes={len(data)}-"


def test_a_server_without_ranges_begins_anew(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    owner.ranges = False
    part_of(files, tmp_path, owner.files[NAME][:123_456])
    download(files, tmp_path, progress=False)
    assert contents(tmp_path) == owner.files
    assert len(owner.asked) == 1


def test_the_part_of_another_version_is_no_beginning(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.0123abcd.part").write_bytes(b"old" * 100)
    (tmp_path / "mine.0123abcd.part").write_bytes(b"mine")
    download(files, tmp_path, progress=False)
    assert owner.asked[0][1] is None
    assert contents(tmp_path) == {**owner.files, "mine.0123abcd.part": b"mine"}


def test_a_part_longer_than_the_servers_file_is_fetched_anew(
    owner: Owner, files: list[RemoteFile], tmp_path: Path
) -> None:
    part_of(files, tmp_path, owner.files[NAME][:-1])
    owner.faults = [status(416)]
    download(files, tmp_path, progress=False)
    assert [asked for _, asked in owner.asked] == [f"bytes={SIZE - 1}-", None]
    assert contents(tmp_path) == owner.files


def test_a_damaged_part_is_found_out_and_fetched_anew(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    part_of(files, tmp_path, b"damaged" * 1000)
    download(files, tmp_path, progress=False)
    assert [asked for _, asked in owner.asked] == ["bytes=7000-", None]
    assert contents(tmp_path) == owner.files


def test_another_file_of_that_name_is_replaced_by_the_owners(
    owner: Owner, files: list[RemoteFile], tmp_path: Path
) -> None:
    (tmp_path / NAME).write_bytes(bytes(SIZE))
    assert download(files, tmp_path, progress=False) == files
    assert contents(tmp_path) == owner.files


def test_a_wrong_checksum_is_tried_twice_and_leaves_nothing(
    owner: Owner, files: list[RemoteFile], tmp_path: Path
) -> None:
    owner.sent[NAME] = bytes(SIZE)
    with pytest.raises(CorpusError, match=rf"{NAME} came twice with another checksum than its owner's, md5:\w{{32}}"):
        download(files, tmp_path, progress=False)
    assert (len(owner.asked), contents(tmp_path)) == (2, {})


def test_a_wrong_checksum_keeps_the_file_that_was_there(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"mine")
    owner.sent[NAME] = bytes(SIZE)
    with pytest.raises(CorpusError):
        download(files, tmp_path, progress=False)
    assert contents(tmp_path) == {NAME: b"mine"}


def test_a_file_of_another_size_is_refused_at_once(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    owner.sent[NAME] = b"<html>please log in</html>"
    with pytest.raises(CorpusError, match=rf"the server offers 26 bytes and the owner's record says {SIZE}; try again"):
        download(files, tmp_path, progress=False)
    assert len(owner.asked) == 1


def test_an_endless_answer_does_not_fill_the_disk(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    swallowed: list[int] = []

    def endless(answer: Answer) -> bool:
        answer.send_response(200)
        answer.end_headers()
        with contextlib.suppress(OSError):
            for number in range(1000):
                answer.wfile.write(bytes(1 << 16))
                swallowed.append(number)
        return True

    owner.faults = [endless]
    download(files, tmp_path, progress=False)
    assert contents(tmp_path) == owner.files
    assert len(swallowed) < 1000


def test_too_small_a_disk_is_found_before_anything_is_fetched(
    owner: Owner, files: list[RemoteFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part_of(files, tmp_path, owner.files[NAME][:100_000])
    for free, enough in ((199_999, False), (200_000, True)):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(0, 0, free))
        if enough:
            download(files, tmp_path, progress=False)
        else:
            with pytest.raises(
                CorpusError, match=r"has 0.2 MB free and 0.2 MB are needed; free some space, give a folder"
            ):
                download(files, tmp_path, progress=False)
            assert owner.asked == []


def test_a_busy_server_is_given_the_time_that_it_asks_for(
    owner: Owner, files: list[RemoteFile], tmp_path: Path, pauses: list[float]
) -> None:
    owner.faults = [status(503), status(429, Retry_After="59"), status(500), status(429, Retry_After="86400")]
    download(files, tmp_path, progress=False)
    assert contents(tmp_path) == owner.files
    assert pauses == [1.0, 59.0, 4.0, 120.0]


def test_a_server_that_stays_broken_is_one_line(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    part_of(files, tmp_path, owner.files[NAME][:100_000])
    owner.faults = [status(500)] * 9
    with pytest.raises(
        CorpusError, match=r"answers 500 Internal Server Error; 0.1 MB of 0.3 MB are kept, the same command"
    ):
        download(files, tmp_path, progress=False)
    assert len(owner.asked) == 6


def test_a_file_that_is_gone_is_one_line_at_once(owner: Owner, files: list[RemoteFile], tmp_path: Path) -> None:
    owner.faults = [status(404)]
    with pytest.raises(
        CorpusError, match=r"/content: the server answers 404 Not Found; try another source with --from"
    ):
        download(files, tmp_path, progress=False)
    assert (len(owner.asked), contents(tmp_path)) == (1, {f"{NAME}.{files[0].checksum[4:12]}.part": b""})


def test_two_downloads_do_not_write_to_one_folder(files: list[RemoteFile], tmp_path: Path) -> None:
    with (
        module.FileLock(tmp_path / ".download.lock"),
        pytest.raises(CorpusError, match=r"another download is writing to .*; wait for it, or give another folder"),
    ):
        download(files, tmp_path, progress=False)


def test_offline_is_one_line(owner: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    owner.shutdown()
    owner.server_close()
    code, out, err = run(capsys, "ravdess", str(tmp_path / "new"), f"--from={owner.url}/record")
    host = owner.url.removeprefix("http://")
    assert (code, out) == (2, "")
    assert err == (
        f"mmer: error: there is no connection to {host}, or it was cut, so the list of files cannot be read from "
        f"{owner.url}/record\n"
    )
    assert not (tmp_path / "new").exists()


def test_a_connection_that_is_lost_for_good_keeps_the_part(
    owner: Owner, files: list[RemoteFile], tmp_path: Path, pauses: list[float]
) -> None:
    part = part_of(files, tmp_path, owner.files[NAME][:100_000])
    owner.shutdown()
    owner.server_close()
    with pytest.raises(CorpusError, match=r"there is no connection to .*, or it was cut; 0.1 MB of 0.3 MB are kept"):
        download(files, tmp_path, progress=False)
    assert part.stat().st_size == 100_000
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]


def test_silence_is_not_waited_for_for_ever(
    owner: Owner, files: list[RemoteFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = threading.Event()
    monkeypatch.setattr(module, "_PATIENCE", (1.0, 0.05))
    owner.faults = [lambda _: done.wait(5)] * 9
    with pytest.raises(CorpusError, match=r"127.0.0.1:\d+ does not answer; 0.0 MB of 0.3 MB are kept"):
        download(files, tmp_path, progress=False)
    done.set()


def test_the_proxy_of_the_environment_is_used(owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", owner.url)
    monkeypatch.setenv("http_proxy", owner.url)
    assert [file.name for file in list_ravdess([1], ["video"], record="http://corpora.invalid/record")] == [NAME]


def test_ravdess_is_listed_by_actor_channel_and_modality(owner: Owner) -> None:
    names = [f"Video_Speech_Actor_{actor:02d}.zip" for actor in range(1, 25)]
    names += [f"Video_Song_Actor_{actor:02d}.zip" for actor in range(1, 25) if actor != 18]
    names += ["Audio_Speech_Actors_01-24.zip", "Audio_Song_Actors_01-24.zip"]
    owner.files = {name: name.encode() for name in names}

    def listed(*args: object) -> list[str]:
        return [file.name for file in list_ravdess(*args, record=f"{owner.url}/record")]

    assert listed() == [*names[:24], names[-2]]
    assert listed([17, 18], ["video"], ["speech", "song"]) == [names[16], names[17], "Video_Song_Actor_17.zip"]
    assert listed([3], ["audio"], ["song"]) == ["Audio_Song_Actors_01-24.zip"]
    assert sorted(listed(range(1, 25), ["video", "audio"], ["speech", "song"])) == sorted(names)
    with pytest.raises(CorpusError, match="RAVDESS has no actor 25; its actors are 1 to 24"):
        listed([1, 25])


def test_a_record_without_the_file_is_refused(owner: Owner) -> None:
    with pytest.raises(CorpusError, match=r"/record lists no Video_Speech_Actor_02.zip; is it the record of RAVDESS\?"):
        list_ravdess([1, 2], ["video"], record=f"{owner.url}/record")


def test_links_of_a_mirror_may_be_relative(owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {**owner.entry(NAME, owner.files[NAME]), "links": {"self": f"files/{NAME}/content"}}
    monkeypatch.setattr(Owner, "zenodo", lambda _: {"files": [entry]})
    (file,) = list_ravdess([1], ["video"], record=f"{owner.url}/record")
    assert file.url == f"{owner.url}/files/{NAME}/content"
    download([file], tmp_path, progress=False)
    assert contents(tmp_path) == owner.files


@pytest.mark.parametrize(
    "record",
    [
        [],
        {},
        {"files": [{"key": NAME}]},
        {"files": [{"key": NAME, "size": 1, "checksum": None, "links": {"self": "a"}}]},
        {"files": [{"key": NAME, "size": 1, "checksum": "d41d8cd9", "links": {"self": "a"}}]},
        {"files": [{"key": NAME, "size": 1, "checksum": "shake_128:", "links": {"self": "a"}}]},
        {"files": [{"key": NAME, "size": 1, "checksum": f"md5:{'0' * 32}", "links": {"self": "file:///etc/passwd"}}]},
        {"files": [{"key": NAME, "size": 1, "checksum": "md5:d41d8cd9", "links": {"self": "a"}}]},
        {"files": [{"key": NAME, "size": 1, "checksum": f"crc:{'0' * 32}", "links": {"self": "a"}}]},
        {"files": [{"key": f"../{NAME}", "size": 1, "checksum": f"md5:{'0' * 32}", "links": {"self": "a"}}]},
        {"files": [{"key": f"/tmp/{NAME}", "size": 1, "checksum": f"md5:{'0' * 32}", "links": {"self": "a"}}]},
        {"files": [{"key": f"..\\{NAME}", "size": 1, "checksum": f"md5:{'0' * 32}", "links": {"self": "a"}}]},
    ],
)
def test_what_is_no_record_is_refused(owner: Owner, monkeypatch: pytest.MonkeyPatch, record: object) -> None:
    monkeypatch.setattr(Owner, "zenodo", lambda _: record)
    with pytest.raises(CorpusError, match="/record does not list files with their sizes and checksums; give --from a"):
        list_ravdess([1], ["video"], record=f"{owner.url}/record")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://zenodo.org/record", "record.json"])
def test_only_the_web_is_a_source(url: str) -> None:
    with pytest.raises(CorpusError, match="is not an address that begins with http:// or https://"):
        list_ravdess(record=url)


def test_an_address_that_is_none_is_one_line() -> None:
    with pytest.raises(
        CorpusError, match=r"there is no connection to \[nowhere, .* cannot be read from http://\[nowhere"
    ):
        list_ravdess(record="http://[nowhere/record")


def test_tess_is_every_file_of_its_record_but_converted_tables(owner: Owner, tmp_path: Path) -> None:
    owner.files = {"OAF_angry/OAF_back_angry.wav": b"a", "YAF_ps/YAF_back_ps.wav": b"b", "empty": b"", "list.tab": b"c"}
    record = owner.dataverse()
    record["data"]["latestVersion"]["files"][3]["dataFile"]["tabularData"] = True
    owner.dataverse = lambda: record
    download(list_tess(f"{owner.url}/dataset"), tmp_path, progress=False)
    del owner.files["list.tab"]
    assert contents(tmp_path) == owner.files
    assert [path for path, _ in owner.asked] == ["/api/access/datafile/0", "/api/access/datafile/1"]


def test_the_command_fetches_and_says_what_comes_next(
    owner: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.files["Audio_Speech_Actors_01-24.zip"] = b"all voices"
    args = ("ravdess", str(tmp_path), "--actors=1", f"--from={owner.url}/record")
    code, out, err = run(capsys, *args)
    assert (code, contents(tmp_path)) == (0, owner.files)
    assert out.splitlines() == [
        f"2 files in {tmp_path}, 0.3 MB, all as their owner published them; 2 are new",
        f"next: mmer prepare ravdess {tmp_path} DST",
    ]
    assert "the audio file holds all 24 actors and is fetched whole" in err
    assert "Audio_Speech_Actors_01-24.zip: 100%" in err
    _, out, err = run(capsys, *args)
    assert "0 are new" in out and len(err.splitlines()) == 1, "nothing is fetched, so nothing progresses"


def test_the_next_command_reads_what_was_fetched(
    owner: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owner.files = {"Audio_Song_Actors_01-24.zip": b"all songs"}
    args = ("--modalities", "audio", "--channel=song", f"--from={owner.url}/record")
    assert f"mmer prepare ravdess {tmp_path} DST --channel song\n" in run(capsys, "ravdess", str(tmp_path), *args)[1]


def test_what_was_fetched_is_read_where_it_lies(owner: Owner, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("Actor_01/01-01-05-02-01-02-01.mp4", b"a film")
    owner.files[NAME] = archive.getvalue()
    download(list_ravdess([1], ["video"], record=f"{owner.url}/record"), tmp_path, progress=False)
    (tmp_path / f"{NAME}.0123abcd.part").write_bytes(b"half of a later one")
    manifest = read_ravdess(tmp_path)
    assert [row.key for row in manifest.rows] == ["01-05-02-01-02-01"] and manifest.broken == ()


def test_a_dry_run_lists_and_fetches_nothing(owner: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("--actors=1", "--modalities", "video", "--dry-run", f"--from={owner.url}/record")
    code, out, err = run(capsys, "ravdess", str(tmp_path / "new"), *args)
    checksum = f"md5:{hashlib.md5(owner.files[NAME]).hexdigest()}"
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"    0.3 MB  {NAME}  {checksum}", "    0.3 MB  1 files"]
    assert (owner.asked, (tmp_path / "new").exists()) == ([], False)


def test_the_folder_need_not_be_named(
    owner: Owner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    args = ("ravdess", "--actors", "1", "--modalities", "video", f"--from={owner.url}/record")
    code, out, _ = run(capsys, *args)
    assert code == 0 and out.endswith(f"next: mmer prepare ravdess {Path('data', 'ravdess')} DST\n")
    assert contents(tmp_path / "data" / "ravdess") == owner.files


def test_the_folder_may_come_last(owner: Owner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ("ravdess", "--actors", "1", f"--from={owner.url}/record", "--modalities", "video", str(tmp_path))
    assert run(capsys, *args)[0] == 0
    assert contents(tmp_path) == owner.files


def test_other_modalities_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "ravdess", str(tmp_path), "--modalities=video,text")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "'video,text' is not video, audio or video,audio" in err


@pytest.mark.parametrize(("text", "numbers"), [("3", [3]), ("1-3,7", [1, 2, 3, 7]), ("7, 1-2,2", [1, 2, 7])])
def test_actors_are_numbers_and_ranges(text: str, numbers: list[int]) -> None:
    from mmer.cli.download import _numbers

    assert _numbers(text) == numbers


@pytest.mark.parametrize("text", ["", "one", "3-1", "1-", "1;2", "1-99999999999"])
def test_other_actors_are_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "ravdess", str(tmp_path), f"--actors={text}")
    assert (code, len(err.splitlines())) == (2, 1)
    assert f"{text!r} is not a list of numbers and ranges, such as 1-3,7" in err


def test_every_other_corpus_says_where_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    for corpus in CORPORA:
        if corpus.name not in ("ravdess", "tess", "text", "folder", "table"):
            code, _, err = run(capsys, corpus.name)
            assert (code, len(err.splitlines())) == (2, 1), err
            assert f"{corpus.name} is not for mmer to fetch" in err and corpus.source in err
