"""A CSV table becomes rows; a row that cannot be a clip is left out by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmer.corpora.manifest import Manifest, Row, read_rows, speaker_name, write_manifest
from mmer.corpora.table import read_table
from mmer.emotions import label_set
from mmer.errors import CorpusError


def table(folder: Path, text: str, encoding: str = "utf-8") -> Manifest:
    path = folder / "films.csv"
    path.write_bytes(text.encode(encoding))
    return read_table(path)


def test_columns_are_read_and_others_are_kept(tmp_path: Path) -> None:
    text = 'key,video,audio,text,label,speaker,corpus,light\na,a.mp4,a.wav,"well, hello",happy,07,home,dim\n'
    (row,) = table(tmp_path, text).rows
    assert row == Row(
        "a", "home", "7", "happy", tmp_path / "a.mp4", tmp_path / "a.wav", "well, hello", {"light": "dim"}
    )


def test_empty_cells_are_none_and_the_table_names_the_corpus(tmp_path: Path) -> None:
    (row,) = table(tmp_path, "key,video,audio,text,label,speaker\na, ,,hello,,\n").rows
    assert row == Row("a", "films", text="hello")


def test_relative_paths_start_at_the_table_and_absolute_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "films.csv").write_text("key,video\na,clips/a.mp4\nb,/else/b.mp4\n")
    monkeypatch.chdir(tmp_path)
    first, second = read_table(Path("corpus/films.csv")).rows
    assert first.video == Path("corpus/clips/a.mp4")
    assert second.video == Path("/else/b.mp4")


def test_table_of_a_spreadsheet_program_is_read(tmp_path: Path) -> None:
    (row,) = table(tmp_path, "key,video\r\nä 顔,b c.mp4\r\n", "utf-8-sig").rows
    assert (row.key, row.video) == ("ä 顔", tmp_path / "b c.mp4")


def test_rows_that_are_too_short_or_too_long_are_read(tmp_path: Path) -> None:
    short, long = table(tmp_path, "key,video,label\na,a.mp4\nb,b.mp4,happy,surplus,cells\n").rows
    assert (short.label, long.label, long.extra) == (None, "happy", {})


def test_row_without_a_key_is_left_out(tmp_path: Path) -> None:
    manifest = table(tmp_path, "key,video\n,a.mp4\nb,b.mp4\n")
    assert [row.key for row in manifest.rows] == ["b"]
    assert [str(error) for error in manifest.broken] == ["clip at line 2: the row has no key"]


def test_row_that_names_nothing_is_left_out(tmp_path: Path) -> None:
    manifest = table(tmp_path, "key,video,label\na,,happy\nb,b.mp4,sad\n")
    assert [row.key for row in manifest.rows] == ["b"]
    assert [str(error) for error in manifest.broken] == [
        "clip a: the row (line 2) names no video, no audio and no text"
    ]


def test_key_that_is_used_twice_is_left_out_both_times(tmp_path: Path) -> None:
    manifest = table(tmp_path, "key,video\na,1.mp4\nb,2.mp4\na,3.mp4\n")
    assert [row.key for row in manifest.rows] == ["b"]
    (error,) = manifest.broken
    assert str(error) == "clip a: the key is used 2 times (line 2, line 4); keys must be unique"


def test_unknown_label_is_left_out_and_a_dropped_one_stays(tmp_path: Path) -> None:
    manifest = table(tmp_path, "key,video,label\na,a.mp4,hungry\nb,b.mp4,neutral\nc,c.mp4,Anger\nd,d.mp4,\n")
    known = manifest.known(label_set("no_neutral7"))
    assert [row.key for row in known.rows] == ["b", "c"]
    first, second = known.broken
    assert str(first).startswith(f"clip a ({tmp_path / 'a.mp4'}): label 'hungry' is not in the label set no_neutral7 (")
    assert str(first).endswith("choose another label set, or list your own labels")
    assert second.key == "d"


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", "none"), ("name,video\n", "name, video"), ("key,label\n", "key, label"), ("key;video\n", "key;video")],
)
def test_table_that_lacks_a_column_is_refused(text: str, columns: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        table(tmp_path, text)
    needed = "it needs 'key' and at least one of 'video', 'audio' and 'text'"
    assert str(caught.value) == f"the table {tmp_path / 'films.csv'} has the columns {columns}; {needed}"


def test_table_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere.csv cannot be read: No such file .*; give a UTF-8 CSV file"):
        read_table(tmp_path / "nowhere.csv")
    with pytest.raises(CorpusError, match=r"cannot be read: Is a directory; give a UTF-8 CSV file with a header"):
        read_table(tmp_path)
    with pytest.raises(CorpusError, match=r"cannot be read: .*codec can't decode.*; give a UTF-8 CSV file"):
        table(tmp_path, "key,video\nä,a.mp4\n", "latin-1")


@pytest.mark.parametrize("spelling", [7, "7", "07", " 7 ", "007"])
def test_speaker_has_one_spelling(spelling: int | str) -> None:
    assert speaker_name(spelling) == "7"


def test_named_speaker_is_only_stripped() -> None:
    assert speaker_name(" Anna 07 ") == "Anna 07"


def test_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [
        Row("a", "home", "7", "happy", tmp_path / "x" / "a.mp4", None, 'she said "no", twice', {"light": "dim"}),
        Row("ä 顔", "home", None, None, None, tmp_path.parent / "b.wav", None, {"noise": "low"}),
    ]
    write_manifest(tmp_path / "manifest.csv", rows)
    again = [row for _, row in read_rows(tmp_path / "manifest.csv", corpus="")]
    assert [(row.key, row.corpus, row.speaker, row.label, row.text) for row in again] == [
        (row.key, row.corpus, row.speaker, row.label, row.text) for row in rows
    ]
    assert [row.extra for row in again] == [row.extra for row in rows]
    assert again[0].video == rows[0].video
    assert again[1].audio is not None and again[1].audio.resolve() == rows[1].audio
    assert str(tmp_path) not in (tmp_path / "manifest.csv").read_text(), "paths are relative: a folder can be moved"
