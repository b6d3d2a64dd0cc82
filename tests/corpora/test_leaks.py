"""What two parts share is refused by name, or marked where the user allows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mmer.config import SplitConfig
from mmer.corpora.leaks import find_marked, mark_clips, take_name
from mmer.corpora.manifest import Row
from mmer.corpora.splits import make_split
from mmer.errors import SplitError

TABLE = SplitConfig("table")
SPEAKERS = SplitConfig("speakers", test=(2,))


def row(key: str, part: str, speaker: str | None = None, **extra: str) -> Row:
    return Row(key, "meld", speaker, extra={"split": part, **extra})


def refused(rows: list[Row], config: SplitConfig = TABLE) -> str:
    with pytest.raises(SplitError) as error:
        make_split(rows, config)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_speaker_in_two_parts_is_refused_by_name() -> None:
    rows = [row("a", "train", "Joey"), row("b", "test", "Joey"), row("c", "train", "Ross"), row("d", "dev", "Ross")]
    assert refused(rows) == (
        "table, column split: speakers Ross are both in train and in validation; speakers Joey are both in train and "
        "in test; a split must not share a speaker: deal speakers, with group-kfold:K or speakers; "
        "split.allow_leak=true (mmer split: --allow-leak) runs all the same and marks every result"
    )


def test_many_shared_speakers_are_counted_and_the_first_named() -> None:
    rows = [row(f"{part}{i}", part, str(i)) for i in range(30) for part in ("train", "test")]
    assert "speakers 0, 1, 2, 3, 4 and 25 more (30 in all) are both in train and in test" in refused(rows)


def test_a_leak_that_is_allowed_runs_and_is_marked() -> None:
    rows = [row("a", "train", "Joey"), row("b", "test", "Joey")]
    split = make_split(rows, replace(TABLE, allow_leak=True))
    assert split.leaks == ("speakers Joey are both in train and in test",)
    assert (split.rows(rows, "train"), split.rows(rows, "test")) == (rows[:1], rows[1:])


def test_the_same_name_in_two_corpora_is_no_leak() -> None:
    rows = [row("a", "train", "3"), replace(row("b", "test", "3"), corpus="emodb")]
    assert make_split(rows, TABLE).leaks == ()


def test_clips_of_one_take_in_two_parts_are_refused() -> None:
    rows = [row("a", "train", take="t1"), row("b", "test", take="t1"), row("c", "dev", take="t2")]
    assert "takes meld:t1 are both in train and in test; the clips of one performance belong in one" in refused(rows)


@pytest.mark.parametrize(
    "other",
    [
        "01-01-05-02-01-01-07",
        "Actor_07/02-01-05-02-01-01-07.mp4",
        "01-05-02-01-01-07",
        "ravdess_01-01-05-02-01-01-07_face",
        "video-01-01-05-02-01-01-07-crop",
    ],
)
def test_twins_of_a_ravdess_take_are_known_by_their_names(other: str) -> None:
    rows = [row("03-01-05-02-01-01-07", "train"), row(other, "test"), row("03-01-05-02-01-02-07", "test")]
    assert "takes 01-05-02-01-01-07 are both in train and in test" in refused(rows)


@pytest.mark.parametrize(
    "key", ["clip", "1-2-3-4-5-6", "2024-01-05-02-01-01-07", "01-05-02-01-01-07-01-01", "24-12-31-10-20-30"]
)
def test_other_names_say_nothing_of_a_take(key: str) -> None:
    assert take_name(row(key, "train")) is None


@pytest.mark.parametrize("take", ["01-05-02-01-01-07", "s1"])
def test_twins_of_which_one_alone_has_a_take_are_known(take: str) -> None:
    """One comes of the adapter, the other of a table that calls the corpus otherwise."""
    rows = [row("01-05-02-01-01-07", "train", take=take), replace(row("03-01-05-02-01-01-07", "test"), corpus="voices")]
    assert "takes 01-05-02-01-01-07 are both in train and in test" in refused(rows)


def test_a_demo_take_is_not_the_take_that_it_imitates() -> None:
    rows = [row("01-05-02-01-01-07", "train"), replace(row("demo/01-05-02-01-01-07", "test"), corpus="demo")]
    assert make_split(rows, TABLE).leaks == ()


@pytest.mark.parametrize("other", ["anna", "ANNA", "\uff21nna"])
def test_a_speaker_who_is_spelt_in_two_ways_is_one_person(other: str) -> None:
    said = refused([row("a", "train", "Anna"), row("b", "test", other)])
    assert f"speakers Anna = {other} are both in train and in test; a speaker and a corpus have one spelling" in said


def test_a_corpus_that_is_spelt_in_two_ways_is_one() -> None:
    rows = [replace(row(f"{corpus}{i}", "", str(i)), corpus=corpus) for corpus in ("faces", "Faces") for i in range(3)]
    assert "speakers faces:1 = Faces:1 are both in train and in validation" in refused(rows, SplitConfig("loso"))


def test_twins_in_one_part_are_no_leak() -> None:
    rows = [row("03-01-05-02-01-01-07", "train"), row("01-01-05-02-01-01-07", "train"), row("x", "test")]
    assert make_split(rows, TABLE).leaks == ()


# --- the same sound


TWICE = [
    row("a", "train", "1", sound="f00"),
    row("b", "train", "1", sound="f00"),
    row("c", "test", "2", sound="f00"),
    row("d", "test", "2", sound="ba5"),
    row("e", "test", "2"),
    row("f", "train", "1"),  # silent, as e is
]


def test_the_same_sound_twice_is_refused_wherever_it_lies() -> None:
    assert "1 sounds are each there under several keys: a = b = c; a sound counts once: split.dup" in refused(
        TWICE, SPEAKERS
    )
    assert "under several keys: a = b; a sound counts once: split.duplicates=drop keeps" in refused(
        TWICE[:2] + TWICE[3:]
    )


def test_many_sounds_are_counted_and_the_first_named() -> None:
    rows = [row(f"{i}{twin}", "train", "1", sound=str(i)) for i in range(9) for twin in "ab"]
    assert (
        "9 sounds are each there under several keys: 0a = 0b, 1a = 1b, 2a = 2b, 3a = 3b, 4a = 4b and 4 more;"
        in refused([*rows, row("z", "test", "2")], SPEAKERS)
    )


@pytest.mark.parametrize("config", [TABLE, SPEAKERS], ids=["clips", "speakers"])
def test_duplicates_are_dropped_but_the_first_and_told(config: SplitConfig) -> None:
    split = make_split(TWICE, replace(config, duplicates="drop"))
    assert [r.key for r in split.rows(TWICE, "train")] == ["a", "f"]
    assert [r.key for r in split.rows(TWICE, "test")] == ["d", "e"]
    assert split.dropped == {"b", "c"}
    assert split.notes == ("2 clips are left out, for their sound is that of another, to the sample: a = b = c",)
    assert split.leaks == ()


def test_duplicates_that_are_allowed_are_marked() -> None:
    split = make_split(TWICE, replace(SPEAKERS, allow_leak=True))
    assert split.leaks == ("1 sounds are each there under several keys: a = b = c",)
    assert len(split.rows(TWICE, "test")) == 3


def test_a_duplicate_that_takes_no_part_is_no_leak() -> None:
    rows = [row("a", "", "1", sound="f00"), row("b", "train", "1", sound="f00"), row("c", "test", "2")]
    rows[0] = replace(rows[0], extra={"sound": "f00"})
    assert make_split(rows, replace(TABLE, duplicates="drop")).rows(rows, "train") == [rows[1]]


def test_overlapping_lists_are_refused_even_where_a_leak_is_allowed() -> None:
    """They would put the very same clips in two parts."""
    config = SplitConfig("speakers", test=(1,), validation=(1,), allow_leak=True)
    assert "speakers 1 are both in validation and in test" in refused(TWICE, config)


# --- clips under other names


LEARNED = [
    Row("a", "home", "1", extra={"sound": "f00"}),
    Row("b", "home", "1", video=Path("b.npz"), extra={"source": "video:abc audio:def"}),
    Row("03-01-05-02-01-01-07", "home", "1", audio=Path("c.npz"), extra={"sound": "ba5"}),
    Row("d", "home", "1", text="oh no"),
]


@pytest.mark.parametrize(
    "again",
    [
        Row("x", "away", "9", extra={"sound": "f00"}),
        Row("x", "away", "9", video=Path("x.npz"), extra={"source": "video:abc text:123"}),
        Row("face/01-01-05-02-01-01-07", "away", "9", video=Path("x.npz")),
        Row("d", "away", "9", text="oh no"),
    ],
    ids=["sound", "file", "take", "words"],
)
def test_a_clip_is_known_again_under_another_name(again: Row) -> None:
    other = Row("y", "away", "1", video=Path("y.npz"), text="oh no", extra={"sound": "0", "source": "video:0 text:123"})
    assert find_marked([other, again], mark_clips(LEARNED), files=True) == [again]


def test_the_same_words_are_not_the_same_clip() -> None:
    assert find_marked([Row("e", "home", "2", text="oh no")], mark_clips(LEARNED), files=True) == []


def test_the_same_picture_counts_only_where_files_are_asked_for() -> None:
    picture = Row("x", "home", "9", video=Path("x.npz"), extra={"source": "video:abc"})
    assert find_marked([picture], mark_clips(LEARNED), files=False) == []


def test_marks_are_small() -> None:
    rows = [Row(str(i), "home", video=Path("a"), extra={"sound": str(i), "source": f"video:{i}"}) for i in range(1000)]
    assert len(mark_clips(rows)) == 2 * 8 * 1000
