"""A speaker is in one part alone, whatever the protocol and the spelling."""

from __future__ import annotations

import pytest

from mmer.config import SplitConfig
from mmer.corpora.manifest import Row, speaker_name
from mmer.corpora.splits import CONTIG6, Split, make_split, speakers_by_part
from mmer.errors import SplitError


def rows_of(*speakers: int | str) -> list[Row]:
    return [Row(f"clip {i}", "test", speaker_name(speaker), "happy") for i, speaker in enumerate(speakers)]


ACTORS = rows_of(*range(1, 25))


def by_lists(**lists: object) -> SplitConfig:
    return SplitConfig(protocol="speakers", **lists)


def test_contig6_is_the_published_one() -> None:
    folds = [[int(actor) for actor in fold] for fold in CONTIG6]
    assert folds == [
        [1, 2, 3, 4],
        [5, 6, 7, 8],
        [9, 10, 11, 12],
        [13, 14, 15, 16],
        [17, 18, 19, 20],
        [21, 22, 23, 24],
    ]


@pytest.mark.parametrize("fold", range(1, 7))
def test_contig6_validates_on_the_test_actors_of_the_next_fold(fold: int) -> None:
    split = make_split(ACTORS, SplitConfig(fold=fold))
    after = make_split(ACTORS, SplitConfig(fold=fold % 6 + 1))
    assert split.test == CONTIG6[fold - 1]
    assert split.validation == after.test
    assert len(split.train) == 16
    assert len({*split.train, *split.validation, *split.test}) == 24
    assert split.protocol == f"contig6 fold {fold}"


def test_contig6_tests_every_actor_once() -> None:
    tested = [actor for fold in range(1, 7) for actor in make_split(ACTORS, SplitConfig(fold=fold)).test]
    assert sorted(tested, key=int) == [str(actor) for actor in range(1, 25)]


def test_contig6_of_a_part_of_the_corpus_keeps_the_actors_there_are() -> None:
    split = make_split(rows_of(2, 3, 5, 9, 10), SplitConfig(fold=1))
    assert (split.train, split.validation, split.test) == (("9", "10"), ("5",), ("2", "3"))


def test_rows_of_a_part_are_those_of_its_speakers() -> None:
    rows = rows_of(1, 1, 5, 9)
    split = make_split(rows, SplitConfig(fold=1))
    assert split.rows(rows, "test") == rows[:2]
    assert split.rows(rows, "validation") == rows[2:3]
    assert split.rows(rows, "train") == rows[3:]
    assert speakers_by_part(split) == {"train": ["9"], "validation": ["5"], "test": ["1"]}


@pytest.mark.parametrize("fold", [0, 7, -1])
def test_fold_that_does_not_exist_is_refused(fold: int) -> None:
    with pytest.raises(SplitError, match=rf"contig6 has the folds 1 to 6, not {fold}"):
        make_split(ACTORS, SplitConfig(fold=fold))


@pytest.mark.parametrize("lists", [{"test": (1,)}, {"validation": (1,)}, {"train": (1,)}, {"train": ()}])
def test_contig6_takes_no_lists(lists: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(SplitError, match="contig6 chooses its own speakers; leave test, validation and train out, or"):
        make_split(ACTORS, SplitConfig(**lists))


@pytest.mark.parametrize("stranger", ["25", "Anna"])
def test_contig6_refuses_other_speakers(stranger: str) -> None:
    with pytest.raises(SplitError, match=rf"contig6 knows RAVDESS's actors 1 to 24, not {stranger}; use protocol"):
        make_split([*ACTORS, *rows_of(stranger)], SplitConfig())


@pytest.mark.parametrize(("speakers", "part"), [((1, 5), "train"), ((1, 9), "validation"), ((5, 9), "test")])
def test_contig6_refuses_an_empty_part(speakers: tuple[int, ...], part: str) -> None:
    with pytest.raises(SplitError, match=rf"contig6 fold 1: the {part} part is empty, .*choose another fold"):
        make_split(rows_of(*speakers), SplitConfig(fold=1))


def test_listed_speakers_are_dealt_and_the_rest_trains() -> None:
    split = make_split(rows_of("Anna", 10, 9, 2), by_lists(test=(2,), validation=("Anna",)))
    assert (split.train, split.validation, split.test) == (("9", "10"), ("Anna",), ("2",))


def test_listed_training_speakers_leave_the_rest_out() -> None:
    split = make_split(rows_of(1, 2, 3), by_lists(test=(2,), train=(1,)))
    assert (split.train, split.validation, split.test) == (("1",), (), ("2",))


@pytest.mark.parametrize("seven", [7, "7", "07", " 007"])
@pytest.mark.parametrize("part", ["validation", "train"])
def test_speaker_in_two_parts_is_refused_however_it_is_spelt(seven: int | str, part: str) -> None:
    with pytest.raises(SplitError, match=r"speakers 7 are both in .* and in test; a split must not share a speaker"):
        make_split(rows_of(7, 8, 9), by_lists(**{"test": ("7",), "train": (9,), part: (seven,)}))


def test_same_speaker_in_the_corpus_under_two_spellings_is_one() -> None:
    split = make_split(rows_of(7, "07", "7", 8), by_lists(test=("007",)))
    assert (split.train, split.test) == (("8",), ("7",))


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ((("1",), ("1",), ("2",)), "train and in validation"),
        ((("1",), (), ("1",)), "train and in test"),
        ((("1",), ("2",), ("2",)), "validation and in test"),
    ],
)
def test_no_split_can_be_made_that_shares_a_speaker(parts: tuple[tuple[str, ...], ...], names: str) -> None:
    with pytest.raises(SplitError, match=names):
        Split("by hand", *parts)


def test_unknown_speaker_is_refused() -> None:
    with pytest.raises(SplitError, match="the corpus has no speakers 4, Anna; it has 1, 2, 3"):
        make_split(rows_of(1, 2, 3), by_lists(test=(4,), validation=("Anna",)))


@pytest.mark.parametrize(("lists", "part"), [({"test": (1, 2)}, "train"), ({"test": (1,), "train": ()}, "train")])
def test_empty_part_is_refused(lists: dict[str, tuple[int, ...]], part: str) -> None:
    with pytest.raises(SplitError, match=rf"the {part} part is empty; the corpus has speakers 1, 2: name some of them"):
        make_split(rows_of(1, 2), by_lists(**lists))


def test_a_model_for_use_needs_nobody_to_test_on() -> None:
    assert make_split(rows_of(1, 2), by_lists(validation=(2,))).test == ()


def test_clips_without_a_speaker_are_refused() -> None:
    rows = [*rows_of(1, 2), Row("nameless", "test", None, "sad")]
    with pytest.raises(
        SplitError, match=r"1 clips have no speaker, 'nameless' the first; .*fill the table's 'speaker'"
    ):
        make_split(rows, by_lists(test=(1,)))
