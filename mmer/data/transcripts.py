"""Where a clip's words come from: the corpus, a file beside the clip, or a machine that listens."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from mmer.config import PrepareConfig
from mmer.corpora.manifest import Row
from mmer.errors import ClipError, ConfigError
from mmer.media.audio import find_audio, read_audio
from mmer.media.container import Source
from mmer.media.files import exists, open_binary

SIDECARS = (".txt", ".srt", ".vtt")
"""Suffixes of transcripts that lie beside a clip, in the order of preference."""

_CUE = re.compile(r"^\s*[\d:.,]+\s+-->\s+[\d:.,]+.*$")
_MARKUP = re.compile(r"<[^>]*>|\{\\[^}]*\}")
_WHISPER_RATE = 16_000  # Hz; what every Whisper model hears
_WHISPER_FILES = ("model.bin", "config.json", "tokenizer.json")


@runtime_checkable
class Transcriber(Protocol):
    """Whatever knows a clip's words."""

    def __call__(self, row: Row) -> str | None:
        """Return the words of a clip, or None where nobody knows them.

        Raises:
            ClipError: The clip's sound or transcript is broken.
        """


def build_transcriber(config: PrepareConfig) -> Transcriber:
    """Return the transcriber that some settings name.

    Raises:
        ConfigError: A package or a model that it needs is missing.
    """
    match config.transcripts:
        case "corpus":
            return read_corpus_text
        case "sidecar":
            return read_sidecar
        case "whisper":
            return Whisper(_load_whisper(config.whisper_model), config.max_seconds)


def read_corpus_text(row: Row) -> str | None:
    """Return the words that the corpus itself gives."""
    return row.text


def read_sidecar(row: Row) -> str | None:
    """Return the words of the ``.txt``, ``.srt`` or ``.vtt`` file with a clip's name, beside its video or its sound.

    A clip without such a file has no words; a row that names no media keeps its own.

    Raises:
        ClipError: The file is no UTF-8 text.
    """
    if row.video is None and row.audio is None:
        return row.text
    path = find_sidecar(row)
    if path is None:
        return None
    try:
        with open_binary(path) as file:
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise ClipError(row.key, path, f"the transcript cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ClipError(row.key, path, "the transcript is not UTF-8 text; save it as UTF-8") from error
    words = text if path.suffix == ".txt" else _spoken(text)
    return " ".join(words.split()) or None


def find_sidecar(row: Row) -> Path | None:
    """Return the transcript that lies beside a clip's video or sound, or None where there is none."""
    media = [path for path in (row.video, row.audio) if path is not None]
    candidates = (path.with_suffix(suffix) for path in media for suffix in SIDECARS)
    return next((path for path in candidates if _lies(path)), None)


def _lies(path: Path) -> bool:
    try:
        return exists(path)
    except OSError:  # a name too long for a file, as a sentence in the wrong column is
        return False


def _spoken(subtitles: str) -> str:
    """Return the words of SubRip or WebVTT subtitles: the lines of each block that follow its times."""
    words: list[str] = []
    for block in re.split(r"\n\s*\n", subtitles.replace("\r\n", "\n").replace("\r", "\n")):
        lines = block.split("\n")
        times = next((i for i, line in enumerate(lines) if _CUE.match(line)), None)
        if times is not None:  # headers, notes and styles have none
            words += lines[times + 1 :]
    return html.unescape(_MARKUP.sub("", " ".join(words)))


@dataclass(frozen=True, slots=True)
class Whisper:
    """Speech recognition by faster-whisper; it takes the likeliest words, so that it says the same every time.

    Args:
        model: A ``faster_whisper.WhisperModel``.
        max_seconds: Longest clip that is accepted.
    """

    model: Any
    max_seconds: float

    def __call__(self, row: Row) -> str | None:
        """Return what is said in a clip; a row that names no media keeps its own words.

        Raises:
            ClipError: The clip's sound is broken.
        """
        path = row.audio or row.video
        if path is None:
            return row.text
        source = Source(row.key, path, self.max_seconds)
        audio = (find_audio if row.audio is None else read_audio)(source, _WHISPER_RATE)
        if audio is None:
            return None
        segments, _ = self.model.transcribe(audio, temperature=0.0, condition_on_previous_text=False)
        return " ".join("".join(segment.text for segment in segments).split()) or None


@cache
def _load_whisper(model: str) -> Any:
    """Load a model once per process; ``cpu_threads`` is 1 because clips are heard in several processes."""
    try:
        package = import_module("faster_whisper")
    except ImportError as error:
        raise ConfigError(
            "transcripts=whisper needs the package faster-whisper; install it with: pip install 'mmer[asr]'"
        ) from error
    if Path(model).is_dir():
        missing = [name for name in _WHISPER_FILES if not (Path(model) / name).is_file()]
        if missing:
            raise ConfigError(
                f"whisper_model={model} holds no {' and no '.join(missing)}; "
                "give the folder of a model that was converted for faster-whisper"
            )
    try:
        return package.WhisperModel(model, cpu_threads=1)
    except (OSError, RuntimeError, ValueError) as error:  # no network, a damaged file, no such name
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"whisper_model={model} cannot be loaded ({reason}); give one of faster-whisper's names, or, "
            "without a network, the local folder of a model that was converted for it"
        ) from error
