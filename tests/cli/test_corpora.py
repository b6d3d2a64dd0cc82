"""``mmer corpora`` and ``mmer manifest`` as a user types them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmer import cli
from mmer.corpora.catalogue import CORPORA
from mmer.corpora.table import read_table
from mmer.media.container import Source
from mmer.media.video import read_video

Capture = pytest.CaptureFixture[str]

PIXELS = " ".join(["7"] * 48 * 48)


def run(capsys: Capture, *args: object) -> tuple[int, str, str]:
    """Return the exit code, what was printed and what was complained of."""
    code = cli.main([str(arg) for arg in args])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Two takes of RAVDESS's speech and one of its song, in an archive."""
    folder = tmp_path / "ravdess"
    folder.mkdir()
    with zipfile.ZipFile(folder / "Audio.zip", "w") as archive:
        for take in ("01-05-02-01-02-13", "01-01-01-01-02-08", "02-03-01-01-01-08"):
            archive.writestr(f"Actor/03-{take}.wav", take)
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A folder tree of two pictures."""
    for name in ("happy/a.png", "sad/b.png"):
        (tmp_path / "home" / name).parent.mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "home" / name), np.full((48, 48), 7, np.uint8))
    return tmp_path / "home"


# --- mmer corpora


@pytest.mark.parametrize("width", [40, 80, 120, 300])
def test_all_corpora_are_listed(width: int, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    code, out, _ = run(capsys, "corpora")
    assert code == 0
    for corpus in CORPORA:
        assert f"\n{corpus.name}: {corpus.title}\n" in out
        assert f"licence   {corpus.licence}" in out
    lines = out.splitlines()
    assert max(len(line) for line in lines if "http" not in line) <= min(max(width, 80), 120)
    assert all(line == line.rstrip() for line in lines)


def test_numbers_and_dashes_stand_in_the_table(capsys: Capture) -> None:
    _, out, _ = run(capsys, "corpora")
    lines = [line.split() for line in out.splitlines()]
    assert ["ravdess", "video", "audio", "text", "2,452", "24", "8", "RAVDESS"] in lines
    assert ["fer2013", "video", "35,887", "-", "7", "FER2013"] in lines


def test_one_corpus_is_told_in_full(capsys: Capture) -> None:
    code, out, _ = run(capsys, "corpora", "fer2013")
    assert code == 0
    assert "RAVDESS" not in out
    assert "  from      https://www.kaggle.com/c/" in out
    assert "  layout    fer2013.csv (columns emotion, pixels, Usage)" in out
    assert "  prepared  with detector none, size 48" in out
    _, out, _ = run(capsys, "corpora", "ravdess")
    assert "  option    channel: speech (default), song, both\n" in out


def test_address_is_never_broken(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = run(capsys, "corpora")
    words = out.split()
    for corpus in CORPORA:
        assert all(word in words for word in corpus.source.split() if word.startswith("http"))


def test_corpora_are_plain_data(capsys: Capture) -> None:
    code, out, _ = run(capsys, "corpora", "--format", "json")
    corpora = {corpus["name"]: corpus for corpus in json.loads(out)}
    assert code == 0 and set(corpora) == {corpus.name for corpus in CORPORA}
    assert corpora["ravdess"]["options"] == {"channel": ["speech", "song", "both"]}
    assert corpora["table"]["clips"] is None


def test_unknown_corpus_is_one_line(capsys: Capture) -> None:
    code, _, err = run(capsys, "corpora", "iemocap")
    assert code == 2
    assert err.startswith("mmer: error: corpus 'iemocap' is unknown; choose one of ravdess, ") and err.count("\n") == 1


# --- mmer manifest


def test_several_corpora_become_one_table(voices: Path, clips: Path, tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "new" / "both.csv"
    code, out, err = run(capsys, "manifest", f"ravdess={voices}", f"folder={clips}", "--output", table)
    assert (code, err) == (0, "")
    assert "ravdess: 2 clips, 2 with audio, 2 with text\n  labels: " in out
    assert "  speakers: 8 1, 13 1\n" in out
    assert "home: 2 clips, 2 with video\n  labels: happy 1, sad 1\n  speakers: unknown 2\n" in out
    assert "note: ravdess: 2 of 1,440 speech takes: " in out
    assert "note: ravdess: 1 song takes are passed over; channel both reads them\n" in out
    assert out.endswith(f"4 clips in {table}; next: mmer prepare table {table} DST\n")
    assert str(tmp_path) not in table.read_text(), "paths are relative: all of it can be moved"
    rows = {row.key: row for row in read_table(table).rows}
    assert [(row.corpus, row.speaker, row.label) for row in rows.values()] == [
        ("ravdess", "8", "neutral"),
        ("ravdess", "13", "angry"),
        ("home", None, "happy"),
        ("home", None, "sad"),
    ]
    picture = rows["happy/a"].video
    assert picture is not None and len(list(read_video(Source("happy/a", picture)))) == 1


def test_clips_in_archives_and_tables_are_found_again(voices: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "fer2013.csv").write_text(f"emotion,pixels,Usage\n3,{PIXELS},PublicTest\n")
    table = tmp_path / "out" / "both.csv"
    code, _, _ = run(capsys, "manifest", f"ravdess={voices}", f"fer2013={tmp_path / 'fer2013.csv'}", "--output", table)
    assert code == 0
    rows = {row.key: row for row in read_table(table).rows}
    assert rows["01-05-02-01-02-13"].audio == table.parent / "../ravdess/Audio.zip/Actor/03-01-05-02-01-02-13.wav"
    face = rows["PublicTest-00001"]
    assert face.video is not None and face.extra == {"split": "validation"}
    (frame,) = read_video(Source(face.key, face.video))
    assert (frame.image == 7).all()


def test_counts_are_plain_data(voices: Path, tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "t.csv"
    code, out, _ = run(capsys, "manifest", f"ravdess={voices}", "--output", table, "--format", "json")
    told = json.loads(out)
    assert code == 0 and (told["manifest"], told["clips"], told["broken"]) == (str(table), 2, [])
    assert told["corpora"]["ravdess"] == {
        "clips": 2,
        "holds": {"video": 0, "audio": 2, "text": 2},
        "labels": {"neutral": 1, "angry": 1},
        "speakers": {"8": 1, "13": 1},
    }


def test_options_reach_their_corpus(voices: Path, tmp_path: Path, capsys: Capture) -> None:
    args = ("manifest", f"ravdess={voices}", "--output", tmp_path / "t.csv", "--option", "ravdess.channel=both")
    code, out, _ = run(capsys, *args)
    assert code == 0 and "3 clips in" in out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("meld.x=y", "--option meld.x: no source is of kind 'meld'; there are ravdess"),
        ("ravdess.voice=y", "--option ravdess.voice: ravdess has the options channel"),
        (
            "ravdess.channel=dance",
            "--option ravdess.channel=dance: the value is unknown; choose one of speech, song, both",
        ),
    ],
)
def test_wrong_option_is_one_line(option: str, message: str, voices: Path, tmp_path: Path, capsys: Capture) -> None:
    args = ("manifest", f"ravdess={voices}", "--output", tmp_path / "t.csv", "--option", option)
    assert run(capsys, *args) == (2, "", f"mmer: error: {message}\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ravdess"], "'ravdess' is not KIND=SRC, as ravdess=RAVDESS_FOLDER"),
        (["ravdess=x", "--option", "channel=both"], "'channel=both' is not KIND.NAME=VALUE, as ravdess.channel=both"),
    ],
)
def test_wrong_spelling_is_explained(args: list[str], message: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["manifest", *args, "--output", "t.csv"])
    assert caught.value.code == 2 and message in capsys.readouterr().err


def test_unknown_kind_is_one_line(tmp_path: Path, capsys: Capture) -> None:
    code, _, err = run(capsys, "manifest", f"iemocap={tmp_path}", "--output", tmp_path / "t.csv")
    assert code == 2 and err.startswith("mmer: error: corpus 'iemocap' is unknown; choose one of ravdess, ")


def test_labels_that_a_set_does_not_know_are_all_listed(tmp_path: Path, capsys: Capture) -> None:
    for name in ("happy/a.mp4", "hungry/b.mp4", "thirsty/c.mp4", "thirsty/d.mp4"):
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).touch()
    args = ("manifest", f"folder={tmp_path / 'home'}", "--output", tmp_path / "t.csv", "--labels")
    code, _, err = run(capsys, *args, "ekman7")
    assert code == 2 and "'hungry' (1)" in err and "'thirsty' (2)" in err and "ekman7" in err
    assert not (tmp_path / "t.csv").exists()
    assert run(capsys, *args, "happy,hungry,thirsty")[0] == 0


def test_broken_clips_are_named(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "t.csv").write_text("key,video,label\na,a.mp4,happy\nb,,sad\n")
    args = ("manifest", f"table={tmp_path / 't.csv'}", "--output", tmp_path / "out.csv")
    code, out, err = run(capsys, *args)
    assert code == 0 and "1 clips in" in out
    assert err == (
        "left out: clip b: the row (line 3) names no video, no audio and no text\n"
        "mmer: warning: 1 clips were left out\n"
    )
    assert run(capsys, *args, "--strict")[0] == 3
    broken = json.loads(run(capsys, *args, "--format", "json")[1])["broken"]
    assert broken == [{"key": "b", "path": None, "reason": "the row (line 3) names no video, no audio and no text"}]


def test_many_broken_clips_are_cut_short(tmp_path: Path, capsys: Capture) -> None:
    lines = [f"k{i},,sad" for i in range(25)]
    (tmp_path / "t.csv").write_text("\n".join(["key,video,label", "a,a.mp4,happy", *lines]))
    _, _, err = run(capsys, "manifest", f"table={tmp_path / 't.csv'}", "--output", tmp_path / "out.csv")
    assert err.count("left out: ") == 20
    assert err.endswith("mmer: warning: 25 clips were left out; 5 more are named by --format json\n")


def test_many_speakers_are_counted(tmp_path: Path, capsys: Capture) -> None:
    lines = [f"k{i},a.mp4,{i % 31}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["key,video,speaker", *lines]))
    _, out, _ = run(capsys, "manifest", f"table={tmp_path / 't.csv'}", "--output", tmp_path / "out.csv")
    assert "  speakers: 31, with 1 to 2 clips each\n" in out and "  labels: none 40\n" in out


def test_corpus_without_a_usable_clip_is_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "t.csv").write_text("key,video\na,\n")
    code, _, err = run(capsys, "manifest", f"table={tmp_path / 't.csv'}", "--output", tmp_path / "out.csv")
    assert code == 2
    assert err == (
        "mmer: error: not one of 1 clips can be used; clip a: the row (line 2) names no video, no audio and no text\n"
    )
    (tmp_path / "t.csv").write_text("key,video\n")
    _, _, err = run(capsys, "manifest", f"table={tmp_path / 't.csv'}", "--output", tmp_path / "out.csv")
    assert err == "mmer: error: not one of 0 clips can be used; the corpus is empty\n"


def test_source_is_never_written_over(tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "t.csv"
    table.write_text("key,video\na,a.mp4\n")
    code, _, err = run(capsys, "manifest", f"table={table}", "--output", tmp_path / "x" / ".." / "t.csv")
    assert code == 2 and f"exists and belongs to the source {table}; name a new file, or remove it" in err
    assert table.read_text() == "key,video\na,a.mp4\n"


def test_file_in_a_source_folder_is_never_written_over(tmp_path: Path, capsys: Capture) -> None:
    table = tmp_path / "fer" / "fer2013.csv"
    table.parent.mkdir()
    table.write_text(f"emotion,pixels,Usage\n3,{PIXELS},PublicTest\n")
    before = table.read_bytes()
    code, _, err = run(capsys, "manifest", f"fer2013={table.parent}", "--output", table)
    assert code == 2 and f"belongs to the source {table.parent}" in err and err.count("\n") == 1
    assert table.read_bytes() == before
    assert run(capsys, "manifest", f"fer2013={table.parent}", "--output", table.with_name("new.csv"))[0] == 0


def test_output_that_is_a_folder_is_refused(voices: Path, tmp_path: Path, capsys: Capture) -> None:
    code, _, err = run(capsys, "manifest", f"ravdess={voices}", "--output", tmp_path)
    assert (code, err) == (
        2,
        f"mmer: error: --output {tmp_path} is a folder; name a file, as {tmp_path / 'clips.csv'}\n",
    )


def test_source_that_is_given_twice_is_refused(voices: Path, tmp_path: Path, capsys: Capture) -> None:
    again = voices / ".." / voices.name
    args = ("manifest", f"ravdess={voices}", f"ravdess={again}", "--output", tmp_path / "t.csv")
    assert run(capsys, *args) == (2, "", f"mmer: error: ravdess={voices} is given 2 times; give each source once\n")
