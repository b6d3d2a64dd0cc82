"""GoEmotions and tables of texts become rows."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from mmer.corpora.manifest import Manifest
from mmer.corpora.text import read_goemotions, read_text
from mmer.emotions import GOEMOTIONS28, label_set
from mmer.errors import ConfigError, CorpusError


def lay_out(folder: Path, names: str = "emotions.txt", **tables: str) -> Path:
    (folder / names).write_text("\n".join(GOEMOTIONS28))
    for part, lines in tables.items():
        (folder / f"{part}.tsv").write_text(lines, encoding="utf-8", newline="")
    return folder


def texts(folder: Path, content: str, name: str = "reviews.csv", encoding: str = "utf-8") -> Manifest:
    (folder / name).write_text(content, encoding=encoding)
    return read_text(folder / name)


def faults(manifest: Manifest) -> dict[str, str]:
    return {error.key: error.reason for error in manifest.broken}


def test_a_comment_is_read_column_by_column(tmp_path: Path) -> None:
    manifest = read_goemotions(lay_out(tmp_path, train='"Well\u2028done", he said\t17\tabc\r\n', dev="Oh\t27\tdef\n"))
    first, second = manifest.rows
    assert (first.key, first.corpus, first.speaker, first.label) == ("abc", "goemotions", None, "joy")
    assert (first.text, first.extra) == ('"Well\u2028done", he said', {"split": "train"})
    assert (second.label, second.extra) == ("neutral", {"split": "validation"})
    assert manifest.notes == (
        "train: 1 of 43,410 comments; 0 with several labels were left out",
        "dev: 1 of 5,426 comments; 0 with several labels were left out",
        "there is no test.tsv",
    )


def test_comments_of_several_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    lay_out(tmp_path, test="a\t2,3\tx\nb\t2,17\ty\nc\t3\tz\n")
    manifest = read_goemotions(tmp_path)
    assert [(row.key, row.label) for row in manifest.rows] == [("z", "annoyance")]
    assert manifest.notes[0] == "test: 3 of 5,427 comments; 2 with several labels were left out"
    grouped = read_goemotions(tmp_path, grouping="ekman")
    assert [(row.key, row.label) for row in grouped.rows] == [("x", "anger"), ("z", "anger")]
    assert grouped.notes[0] == "test: 3 of 5,427 comments; 1 with several labels were left out"


def test_an_unknown_grouping_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^GoEmotions has no grouping 'plutchik'; choose one of own, ekman$"):
        read_goemotions(lay_out(tmp_path), grouping="plutchik")  # type: ignore[arg-type]


def test_every_emotion_falls_into_a_group_that_ekman7_knows(tmp_path: Path) -> None:
    lines = "".join(f"text\t{place}\tkey{place}\n" for place in range(28))
    labels = [row.label or "" for row in read_goemotions(lay_out(tmp_path, train=lines), grouping="ekman").rows]
    assert len(labels) == 28
    label_set("ekman7").check(labels)
    assert set(labels) == {"anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"}
    label_set("goemotions28").check(row.label or "" for row in read_goemotions(tmp_path).rows)


@pytest.mark.parametrize(
    "line", ["no tabs", "text\t1", "text\t1\tx\ty", "text\t28\tx", "text\t-1\tx", "text\tjoy\tx", "\t1\tx"]
)
def test_a_line_that_is_no_comment_is_left_out(line: str, tmp_path: Path) -> None:
    manifest = read_goemotions(lay_out(tmp_path, train=f"good\t1\tgood\n\n{line}\n"))
    assert [row.key for row in manifest.rows] == ["good"]
    assert faults(manifest) == {
        "at line 3": "it is not a text, label ids from 0 to 27 and a comment's id, with tabs between"
    }


def test_the_same_comment_twice_is_left_out(tmp_path: Path) -> None:
    manifest = read_goemotions(lay_out(tmp_path, train="a\t1\tx\n", dev="a\t1\tx\n"))
    assert faults(manifest) == {"x": "the key is used 2 times (train.tsv line 1, dev.tsv line 1); keys must be unique"}


def test_a_folder_without_goemotions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.tsv").touch()
    with pytest.raises(CorpusError, match=r" holds none of GoEmotions' tables train.tsv, dev.tsv, test.tsv"):
        read_goemotions(tmp_path)
    (tmp_path / "train.tsv").touch()
    with pytest.raises(
        CorpusError, match=r" has no file with the names of the labels; it needs one, emotions.txt or la"
    ):
        read_goemotions(tmp_path)
    (tmp_path / "emotions.txt").touch()
    (tmp_path / "goemotions_ekman_labels.txt").touch()
    with pytest.raises(
        CorpusError, match=r" has emotions.txt and goemotions_ekman_labels.txt with the names of the lab"
    ):
        read_goemotions(tmp_path)
    (tmp_path / "goemotions_ekman_train.tsv").touch()
    with pytest.raises(
        CorpusError, match=r"goemotions_ekman_train.tsv and .*train.tsv are both the train part; give a"
    ):
        read_goemotions(tmp_path)


def test_the_real_tables(real_data: Path) -> None:
    start = time.process_time()
    manifest = read_goemotions(real_data / "text")
    seconds = time.process_time() - start
    assert manifest.broken == ()
    assert manifest.notes[:2] == (
        "train is complete: 43,410 comments; 3,855 with several labels were left out",
        "dev is complete: 5,426 comments; 480 with several labels were left out",
    )
    train = Counter(row.label for row in manifest.rows if row.extra["split"] == "train")
    assert train == {
        "joy": 15216,
        "neutral": 12823,
        "anger": 4293,
        "surprise": 3858,
        "sadness": 2326,
        "fear": 541,
        "disgust": 498,
    }
    label_set("ekman7").check(row.label or "" for row in manifest.rows)
    assert seconds < 2


def test_a_table_of_texts_needs_no_keys(tmp_path: Path) -> None:
    manifest = texts(tmp_path, "text,label\nI won,joy\n\nI lost,\n")
    assert [(row.key, row.corpus, row.label, row.text) for row in manifest.rows] == [
        ("reviews-2", "reviews", "joy", "I won"),
        ("reviews-4", "reviews", None, "I lost"),
    ]
    assert manifest.broken == ()


def test_a_table_of_texts_keeps_what_else_it_says(tmp_path: Path) -> None:
    (row,) = texts(tmp_path, "Key,Text,Label,Speaker,Split,corpus\na,I won,joy,07,train,chess\n").rows
    assert (row.key, row.corpus, row.speaker, row.label) == ("a", "chess", "7", "joy")
    assert row.extra == {"split": "train"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.tsv", "text\tlabel\nI won, you lost; fine\tjoy\n"),
        ("x.csv", 'text;label\n"I won, you lost; fine";joy\n'),
        ("x.csv", 'label,text\njoy,"I won, you lost; fine"\n'),
    ],
)
def test_commas_tabs_and_semicolons_part_cells(name: str, content: str, tmp_path: Path) -> None:
    (row,) = texts(tmp_path, content, name, encoding="utf-8-sig").rows
    assert (row.text, row.label) == ("I won, you lost; fine", "joy")


def test_a_text_may_have_lines(tmp_path: Path) -> None:
    manifest = texts(tmp_path, 'text,label\n"I\nwon",joy\nbye,sad\n')
    assert [(row.key, row.text) for row in manifest.rows] == [("reviews-3", "I\nwon"), ("reviews-4", "bye")]


def test_a_row_without_a_text_and_a_key_used_twice_are_left_out(tmp_path: Path) -> None:
    manifest = texts(tmp_path, "key,text,label\na,,joy\n,,sad\nb,one,joy\nb,two,joy\nc,three,joy\n")
    assert [row.key for row in manifest.rows] == ["c"]
    assert faults(manifest) == {
        "a": "line 2 has no text",
        "at line 3": "line 3 has no text",
        "b": "the key is used 2 times (line 4, line 5); keys must be unique",
    }


@pytest.mark.parametrize(("content", "columns"), [("", "none"), ("sentence,label\n", "sentence, label")])
def test_a_table_without_texts_is_refused(content: str, columns: str, tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=rf"reviews.csv has the columns {columns}; it needs 'text', and 'label' to tra"
    ):
        texts(tmp_path, content)


def test_a_table_of_texts_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere.csv cannot be read: No such file .*; give a UTF-8 file"):
        read_text(tmp_path / "nowhere.csv")
    with pytest.raises(CorpusError, match=r"reviews.csv cannot be read: .*codec can't decode.*; give a UTF-8 file"):
        texts(tmp_path, "text\nä\n", encoding="latin-1")
    with pytest.raises(CorpusError, match=r"reviews.csv cannot be read: line 2: field larger than field limit"):
        texts(tmp_path, f"text\n{'x' * 140_000}\n")


@pytest.mark.parametrize("cell", ['"Stop', '"Stop" he said'])
def test_a_quotation_mark_never_swallows_the_lines_that_follow(cell: str, tmp_path: Path) -> None:
    (tmp_path / "reviews.tsv").write_text(f"text\tlabel\nFine\thappy\n{cell}\tangry\nOh\tsad\n")
    with pytest.raises(CorpusError, match=r"reviews.tsv cannot be read: line \d: .*; a cell that begins with a quot"):
        read_text(tmp_path / "reviews.tsv")


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("text,label,Label\nFine,happy,sad\n")
    with pytest.raises(CorpusError, match=r"has the columns text, label, label; each name may be there once"):
        read_text(tmp_path / "reviews.csv")
