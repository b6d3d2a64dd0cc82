"""Manifests are read and written as tables, quickly and without losing a word."""

from __future__ import annotations

import csv
import gc
from pathlib import Path

import pytest

from mmer.corpora.manifest import (
    Row,
    listed,
    person_name,
    read_rows,
    reading_order,
    speaker_name,
    unique,
    write_manifest,
)
from mmer.errors import CorpusError


def read(folder: Path, text: str) -> list[tuple[str, Row]]:
    (folder / "m.csv").write_text(text, encoding="utf-8")
    return read_rows(folder / "m.csv", "home")


def test_lines_are_counted_as_an_editor_does(tmp_path: Path) -> None:
    rows = read(tmp_path, 'key,text\na,one\n\nb,"two\nlines"\nc,three\n')
    assert [(place, row.key, row.text) for place, row in rows] == [
        ("line 2", "a", "one"),
        ("line 5", "b", "two\nlines"),
        ("line 6", "c", "three"),
    ]


def test_of_two_columns_of_one_name_the_last_counts_and_one_without_a_name_does_not(tmp_path: Path) -> None:
    ((_, row),) = read(tmp_path, "key,text,light,light,\na,x,dim,bright,lost\n")
    assert row.extra == {"light": "bright"}


def test_one_file_for_face_and_voice_is_read_as_both(tmp_path: Path) -> None:
    ((_, row),) = read(tmp_path, "key,video,audio\na,a.npz,a.npz\n")
    assert row.video == row.audio == tmp_path / "a.npz"


def test_the_search_for_cycles_goes_on_after_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    assert gc.isenabled()
    with pytest.raises(CorpusError, match="field larger than field limit"):
        read(tmp_path, f"key,text\na,{'x' * (csv.field_size_limit() + 1)}\n")
    assert gc.isenabled()
    gc.disable()
    try:
        read(tmp_path, "key,text\na,x\n")
        assert not gc.isenabled(), "who has turned it off wants it off"
    finally:
        gc.enable()


def test_paths_are_written_as_seen_from_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    paths = {
        folder / "clips" / "a.npz": "clips/a.npz",
        folder / "clips" / ".." / "b.npz": "b.npz",
        folder / "c..d.npz": "c..d.npz",
        Path("data/e.npz"): "e.npz",
        tmp_path / "database" / "f.npz": "../database/f.npz",
        tmp_path / "g.npz": "../g.npz",
    }
    write_manifest(folder / "m.csv", [Row(str(i), "home", video=path) for i, path in enumerate(paths)])
    with (folder / "m.csv").open() as file:
        assert [line["video"] for line in csv.DictReader(file)] == list(paths.values())


def test_every_place_of_a_key_that_is_used_twice_is_named() -> None:
    manifest = unique([("line 2", Row("a", "x")), ("line 3", Row("b", "x")), ("line 9", Row("a", "y"))])
    assert [row.key for row in manifest.rows] == ["b"]
    assert str(manifest.broken[0]) == "clip a: the key is used 2 times (line 2, line 9); keys must be unique"


def test_a_person_is_named_with_the_corpus_where_there_are_several() -> None:
    row = Row("a", "emodb", "3")
    assert (person_name(row, ["emodb"]), person_name(row, ["emodb", "ravdess"])) == ("3", "emodb:3")
    assert person_name(Row("a", "emodb"), ["emodb", "ravdess"]) is None


def test_numbers_are_in_the_order_of_numbers_and_before_names() -> None:
    names = ["b", "10", "9", "emodb:10", "emodb:9", "Anna", "7:2"]
    assert sorted(names, key=reading_order) == ["7:2", "9", "10", "Anna", "b", "emodb:9", "emodb:10"]


def test_a_long_list_of_names_is_counted() -> None:
    assert listed(["10", "9"], 2) == "9, 10"
    assert listed(map(str, range(24)), 3) == "0, 1, 2 and 21 more (24 in all)"
    assert listed([]) == ""


def test_columns_with_a_meaning_are_known_in_any_case_and_with_spaces(tmp_path: Path) -> None:
    ((_, row),) = read(tmp_path, "Key, Speaker,LABEL, text ,Take,Light\na, 07.0,sad,hello,t1,dim\n")
    assert (row.key, row.speaker, row.label, row.text) == ("a", "7", "sad", "hello")
    assert row.extra == {"take": "t1", "Light": "dim"}


def test_two_columns_of_one_meaning_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"m\.csv has more than one column speaker; leave one of each"):
        read(tmp_path, "key,text,speaker,Speaker\na,x,1,2\n")


@pytest.mark.parametrize("name", ["7", "07", "7.0", " 7 ", "7.", "\uff17"])
def test_a_number_has_one_spelling(name: str) -> None:
    assert speaker_name(name) == "7"


@pytest.mark.parametrize("name", ["7.5", "7a", "-7", "Anna", "", "1.0.0"])
def test_what_is_no_whole_number_stays_as_it_is(name: str) -> None:
    assert speaker_name(name) == name


def test_a_name_has_single_spaces() -> None:
    assert speaker_name(" Anna  Maria ") == "Anna Maria"
