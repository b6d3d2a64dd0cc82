"""A detector's model file: read, or fetched once, and never another file than was promised."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mmer.errors import ConfigError
from mmer.media.faces.weights import fetch

DATA = b"a model" * 1000
DIGITS = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def requests() -> list[str]:
    return []


@pytest.fixture
def host(requests: list[str]) -> Iterator[str]:
    """A server of one model; /short breaks off half way, /gone is not there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            if self.path == "/gone":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(DATA)))
            self.end_headers()
            self.wfile.write(DATA[: len(DATA) // 2] if self.path == "/short" else DATA)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_local_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(DATA)
    assert fetch(str(tmp_path / "model.onnx")) == DATA
    assert fetch(f"{tmp_path / 'model.onnx'}#sha256={DIGITS.upper()}") == DATA


def test_file_is_fetched_once_and_kept(host: str, requests: list[str], cache: Path) -> None:
    for _ in range(2):
        assert fetch(f"{host}/model.onnx#sha256={DIGITS}") == DATA
    assert requests == ["/model.onnx"]
    assert [path.name for path in cache.rglob("*") if path.is_file()] == [f"{DIGITS}.onnx"]


def test_kept_file_that_was_damaged_is_fetched_again(host: str, requests: list[str], cache: Path) -> None:
    name = f"{host}/model.onnx#sha256={DIGITS}"
    fetch(name)
    next(cache.rglob("*.onnx")).write_bytes(DATA[:-1])
    assert fetch(name) == DATA
    assert len(requests) == 2


def test_cache_that_cannot_be_written_to_is_named(host: str, cache: Path) -> None:
    cache.write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match=r"cannot be kept in .*models \(Not a directory\); set MMER_CACHE to a "):
        fetch(f"{host}/model.onnx#sha256={DIGITS}")


def test_other_file_than_promised_is_refused_and_not_kept(host: str, cache: Path) -> None:
    promised = "0" * 64
    with pytest.raises(ConfigError, match=f"model.onnx has the checksum {DIGITS} and not {promised}"):
        fetch(f"{host}/model.onnx#sha256={promised}")
    assert not cache.exists()


def test_local_file_is_held_to_its_checksum(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"another")
    with pytest.raises(ConfigError, match="correct the checksum or the place"):
        fetch(f"{tmp_path / 'model.onnx'}#sha256={DIGITS}")


def test_answer_that_breaks_off_is_refused(host: str, cache: Path) -> None:
    with pytest.raises(ConfigError, match="broke off after 3500 of 7000 bytes; try again"):
        fetch(f"{host}/short#sha256={DIGITS}")
    assert not cache.exists()


def test_file_that_is_not_there_is_one_clear_line(host: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be fetched \(.*404.*\); fetch it elsewhere and give its path"):
        fetch(f"{host}/gone#sha256={DIGITS}")


def test_no_network_is_one_clear_line() -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:9/model\.onnx cannot be fetched \(.*refused"):
        fetch(f"http://127.0.0.1:9/model.onnx#sha256={DIGITS}")


def test_missing_file_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\); give the path of YuNet's"):
        fetch(str(tmp_path / "model.onnx"))


def test_url_wants_a_checksum() -> None:
    with pytest.raises(ConfigError, match="has no checksum; write #sha256= and the file's 64 digits behind it"):
        fetch("https://example.org/model.onnx")


@pytest.mark.parametrize("digits", ["", "0f2e", "x" * 64, "0" * 65])
def test_half_a_checksum_is_refused(digits: str) -> None:
    with pytest.raises(ConfigError, match="is not 64 hexadecimal digits; copy it whole"):
        fetch(f"https://example.org/model.onnx#sha256={digits}")
