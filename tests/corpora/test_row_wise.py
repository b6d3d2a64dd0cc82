"""Clips dealt one by one: by a column, by a table, at random."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mmer.config import SplitConfig
from mmer.corpora.manifest import Row
from mmer.corpora.splits import AT_RANDOM, PARTS, Split, make_split
from mmer.errors import SplitError

TABLE = SplitConfig("table")


def rows_of(*words: str, speakers: bool = True) -> list[Row]:
    """Return a clip for each word of the column; each has a speaker of its own."""
    return [
        Row(f"clip{i}", "text", str(i) if speakers else None, "happy", extra={"split": word} if word else {})
        for i, word in enumerate(words)
    ]


def keys(split: Split, rows: list[Row]) -> dict[str, list[str]]:
    return {part: [row.key for row in split.rows(rows, part)] for part in PARTS}


def test_a_column_deals_the_clips_and_a_clip_without_a_word_is_in_no_part() -> None:
    rows = rows_of("train", "dev", " Test", "val", "", "valid", "validation", "TRAIN ")
    split = make_split(rows, TABLE)
    assert keys(split, rows) == {
        "train": ["clip0", "clip7"],
        "validation": ["clip1", "clip3", "clip5", "clip6"],
        "test": ["clip2"],
    }
    assert split.protocol == "table, column split"
    assert (split.train, split.test) == (("0", "7"), ("2",))


def test_another_column_can_be_named() -> None:
    rows = [Row("a", "x", "1", extra={"round": "train"}), Row("b", "x", "2", extra={"round": "test"})]
    assert keys(make_split(rows, SplitConfig("table", column="round")), rows)["test"] == ["b"]


def test_a_column_that_no_clip_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        SplitError, match="no clip has a column 'fold' that says its part; the manifest's columns are split: name one"
    ):
        make_split(rows_of("train"), SplitConfig("table", column="fold"))


def test_other_words_are_refused_by_name() -> None:
    with pytest.raises(
        SplitError,
        match=r"column 'split' says 'holdout' \(2 clips\), 'x' \(1 clips\); allowed are train, validation \(or dev, "
        r"val, valid\) and test, and nothing for a clip that takes no part",
    ):
        make_split(rows_of("train", "holdout", "x", "holdout"), TABLE)


def test_a_table_that_trains_on_nothing_is_refused() -> None:
    with pytest.raises(SplitError, match="the train part is empty: column 'split' says 'train' of no clip"):
        make_split(rows_of("test", "dev"), TABLE)


def test_a_table_has_one_fold() -> None:
    with pytest.raises(SplitError, match="table has one fold, 1, not 2"):
        make_split(rows_of("train"), SplitConfig("table", fold=2))


def test_unknown_speakers_are_told() -> None:
    split = make_split(rows_of("train", "test", "", speakers=False), TABLE)
    assert split.notes == ("the speakers of 2 clips are unknown: that the parts share nobody cannot be checked",)
    assert (split.train, split.test, split.leaks) == ((), (), ())


# --- a table of its own


def write(path: Path, text: str) -> SplitConfig:
    path.write_text(text, encoding="utf-8")
    return SplitConfig("table", file=str(path))


def test_a_file_deals_the_clips_by_their_keys(tmp_path: Path) -> None:
    rows = rows_of("test", "test", "test")  # the file counts, and not the column
    split = make_split(rows, write(tmp_path / "fold-1.csv", "key,split\nclip1,train\nclip0,dev\nclip2,test\n"))
    assert keys(split, rows) == {"train": ["clip1"], "validation": ["clip0"], "test": ["clip2"]}
    assert (split.protocol, split.notes) == ("table, file fold-1.csv", ())


def test_clips_that_one_side_alone_knows_are_told(tmp_path: Path) -> None:
    rows = rows_of("", "", "", "")
    split = make_split(rows, write(tmp_path / "f.csv", "key,split\nclip1,train\ngone,test\nclip2,\n"))
    assert split.notes == (
        "3 clips have no part in f.csv and are left out: clip0, clip2, clip3",
        "1 clips of f.csv are not among these clips: gone",
    )
    assert keys(split, rows)["train"] == ["clip1"]


def test_a_file_of_other_clips_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SplitError, match=r"f.csv names none of these clips: its first key is 'x' and theirs is 'clip0'"
    ):
        make_split(rows_of("train"), write(tmp_path / "f.csv", "key,split\nx,train\n"))


def test_a_file_that_names_a_clip_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"f.csv names clips more than once: clip0; name each once"):
        make_split(rows_of("train"), write(tmp_path / "f.csv", "key,split\nclip0,train\nclip0,test\n"))


def test_a_file_without_the_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match=r"f.csv has the columns name, split; it needs 'key' and 'split'"):
        make_split(rows_of("train"), write(tmp_path / "f.csv", "name,split\nclip0,train\n"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SplitError, match=r"split.file .*gone.csv cannot be read: No such file.*; give a CSV file of key"
    ):
        make_split(rows_of("train"), SplitConfig("table", file=str(tmp_path / "gone.csv")))


# --- at random


MANY = [Row(f"clip{i}", "x", str(i % 10)) for i in range(3000)]


def test_random_parts_are_sixths_that_cover_everything_once() -> None:
    tested: Counter[str] = Counter()
    for fold in range(1, 7):
        split = make_split(MANY, SplitConfig("random_leaky", fold=fold))
        after = make_split(MANY, SplitConfig("random_leaky", fold=fold % 6 + 1))
        assert split.rows(MANY, "validation") == after.rows(MANY, "test")
        assert sum(len(split.rows(MANY, part)) for part in PARTS) == len(MANY)
        assert 400 < len(split.rows(MANY, "test")) < 600
        tested.update(row.key for row in split.rows(MANY, "test"))
    assert set(tested.values()) == {1} and len(tested) == len(MANY)


def test_a_clip_s_random_part_depends_on_the_seed_and_on_no_other_clip() -> None:
    config = SplitConfig("random_leaky", fold=2)
    every, some = make_split(MANY, config), make_split(MANY[::3], config)
    assert some.rows(MANY[::3], "test") == every.rows(MANY[::3], "test")
    other = make_split(MANY, SplitConfig("random_leaky", fold=2, seed=1))
    assert other.rows(MANY, "test") != every.rows(MANY, "test")
    assert other.protocol == "random_leaky fold 2, seed 1"


def test_a_random_deal_is_always_marked_and_needs_no_leave() -> None:
    split = make_split(MANY, SplitConfig("random_leaky"))
    assert split.leaks[0] == AT_RANDOM
    assert "speakers 0, 1, 2, 3, 4 and 5 more (10 in all) are both in train and in test" in split.leaks
    nobody = [Row(f"t{i}", "text", None) for i in range(60)]
    assert make_split(nobody, SplitConfig("random_leaky")).leaks == (AT_RANDOM,)


def test_a_random_deal_has_six_folds() -> None:
    with pytest.raises(SplitError, match="random_leaky has the folds 1 to 6, not 7"):
        make_split(MANY, SplitConfig("random_leaky", fold=7))
