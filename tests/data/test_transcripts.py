"""Words come from where the settings say, or are said to be missing."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from mmer.config import PrepareConfig
from mmer.corpora.manifest import Row
from mmer.data import transcripts
from mmer.data.prepare import prepare_clip
from mmer.data.transcripts import build_transcriber, find_sidecar, read_sidecar
from mmer.errors import ClipError, ConfigError

SRT = """\ufeff1
00:00:00,000 --> 00:00:01,500
<i>Kids are talking</i>

2
00:00:01,500 --> 00:00:03,000 X1:40 X2:600
{\\an8}by the door. 42
"""

VTT = """WEBVTT - a film
Kind: captions

STYLE
::cue { color: red }

NOTE nobody says this

first
00:00.000 --> 00:02.000 align:start
<v Anna>Kids &amp; dogs</v>
are talking
"""


@pytest.fixture
def film(tmp_path: Path) -> Row:
    """A row whose video need not exist."""
    return Row("a", "test", video=tmp_path / "a.b.mp4", text="what the corpus says")


def beside(row: Row, suffix: str, text: str | bytes) -> Path:
    assert row.video is not None
    path = row.video.with_suffix(suffix)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_the_corpus_speaks_unless_told_otherwise(film: Row) -> None:
    assert build_transcriber(PrepareConfig())(film) == "what the corpus says"


@pytest.mark.parametrize(
    ("suffix", "text", "words"),
    [
        (".txt", "\ufeffKids are\r\n talking \n", "Kids are talking"),
        (".srt", SRT, "Kids are talking by the door. 42"),
        (".srt", SRT.replace("\n", "\r\n"), "Kids are talking by the door. 42"),
        (".vtt", VTT, "Kids & dogs are talking"),
        (".txt", " \n", None),
    ],
)
def test_sidecar_is_read(film: Row, suffix: str, text: str, words: str | None) -> None:
    beside(film, suffix, text)
    assert build_transcriber(PrepareConfig(transcripts="sidecar"))(film) == words


def test_clip_without_a_sidecar_has_no_words_and_a_row_of_text_keeps_its_own(film: Row) -> None:
    assert read_sidecar(film) is None
    assert read_sidecar(Row("a", "test", text="kept")) == "kept"


def test_sidecar_of_the_sound_is_found_after_that_of_the_video(film: Row, tmp_path: Path) -> None:
    row = Row("a", "test", video=film.video, audio=tmp_path / "voice.wav")
    (tmp_path / "voice.txt").write_text("of the voice")
    assert read_sidecar(row) == "of the voice"
    beside(film, ".srt", SRT)
    assert find_sidecar(row) == tmp_path / "a.b.srt"


def test_sidecar_in_an_archive_is_found(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "films.zip", "w") as archive:
        archive.writestr("one/a.txt", "packed words")
    assert read_sidecar(Row("a", "test", video=tmp_path / "films.zip/one/a.mp4")) == "packed words"


def test_name_too_long_for_a_file_has_no_sidecar(tmp_path: Path) -> None:
    assert find_sidecar(Row("a", "test", video=tmp_path / ("a sentence " * 40))) is None


def test_sidecar_that_is_no_utf8_is_one_line(film: Row) -> None:
    path = beside(film, ".txt", b"caf\xe9")
    with pytest.raises(ClipError) as caught:
        read_sidecar(film)
    assert str(caught.value) == f"clip a ({path}): the transcript is not UTF-8 text; save it as UTF-8"


def test_sidecar_that_cannot_be_read_is_one_line(film: Row) -> None:
    assert film.video is not None
    film.video.with_suffix(".txt").mkdir()
    with pytest.raises(ClipError, match=r"clip a .*a\.b\.txt\): the transcript cannot be read: Is a directory"):
        read_sidecar(film)


# --- faster-whisper, at its seam


class Model:
    """Says how long the sound is."""

    def __init__(self, model: str, cpu_threads: int) -> None:
        if model != "small":
            raise {"offline": FileNotFoundError, "damaged": RuntimeError}.get(model, ValueError)(f"no {model}\nmore")
        assert cpu_threads == 1

    def transcribe(
        self, audio: NDArray[np.float32], temperature: float, condition_on_previous_text: bool
    ) -> tuple[Iterator[SimpleNamespace], None]:
        assert audio.dtype == np.float32 and temperature == 0.0 and condition_on_previous_text is False
        words = (" ", f" {len(audio)}", " samples ") if audio.any() else ()
        return (SimpleNamespace(text=word) for word in words), None


@pytest.fixture
def whisper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    transcripts._load_whisper.cache_clear()
    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=Model))
    yield
    transcripts._load_whisper.cache_clear()


@pytest.mark.usefixtures("whisper")
def test_whisper_hears_sixteen_kilohertz_whatever_is_stored(
    make_clip: Callable[..., Path], tone: Callable[..., NDArray[np.float32]]
) -> None:
    config = PrepareConfig(transcripts="whisper", sample_rate=8_000)
    voice = make_clip("voice.wav", None, samples=tone(0.5, 48_000), audio_codec="pcm_s16le")
    clip = prepare_clip(Row("a", "test", audio=voice, text="not this"), config)
    assert clip.audio is not None and len(clip.audio) == 4_000
    assert clip.text == "8000 samples"


@pytest.mark.usefixtures("whisper")
def test_whisper_hears_nothing_where_nothing_is(odd_media: dict[str, Path], make_clip: Callable[..., Path]) -> None:
    hear = build_transcriber(PrepareConfig(transcripts="whisper"))
    assert hear(Row("a", "test", video=odd_media["no sound.mp4"], text="not this")) is None
    silence = make_clip("silence.wav", None, samples=np.zeros(8_000, np.float32), sample_rate=16_000)
    assert hear(Row("a", "test", audio=silence)) is None
    assert hear(Row("a", "test", text="kept")) == "kept"


@pytest.mark.usefixtures("whisper")
@pytest.mark.parametrize("model", ["offline", "damaged", "unknown"])
def test_model_that_cannot_be_loaded_is_one_line(model: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_transcriber(PrepareConfig(transcripts="whisper", whisper_model=model))
    assert str(caught.value) == (
        f"whisper_model={model} cannot be loaded (no {model}); give one of faster-whisper's names, or, "
        "without a network, the local folder of a model that was converted for it"
    )


@pytest.mark.usefixtures("whisper")
def test_folder_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").touch()
    with pytest.raises(ConfigError) as caught:
        build_transcriber(PrepareConfig(transcripts="whisper", whisper_model=str(tmp_path)))
    assert str(caught.value) == (
        f"whisper_model={tmp_path} holds no model.bin and no tokenizer.json; "
        "give the folder of a model that was converted for faster-whisper"
    )


def test_whisper_that_is_not_installed_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    transcripts._load_whisper.cache_clear()
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(ConfigError, match=r"needs the package faster-whisper; .*: pip install 'mmer\[asr\]'"):
        build_transcriber(PrepareConfig(transcripts="whisper"))
