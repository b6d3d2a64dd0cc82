"""A speaker is in one part alone, whatever the protocol and the spelling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmer.config import SplitConfig
from mmer.corpora.manifest import Row, speaker_name
from mmer.corpora.protocols import CONTIG6
from mmer.corpora.splits import Split, make_split, speakers_by_part
from mmer.errors import SplitError


def rows_of(*speakers: int | str) -> list[Row]:
    return [Row(f"clip {i}", "ravdess", speaker_name(speaker), "happy") for i, speaker in enumerate(speakers)]


ACTORS = rows_of(*range(1, 25))


def by_lists(**lists: object) -> SplitConfig:
    return SplitConfig(protocol="speakers", **lists)


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


def test_a_name_that_is_no_protocol_s_is_refused_before_its_lists() -> None:
    with pytest.raises(SplitError, match="protocol 'spekers' is unknown; choose one of"):
        make_split(ACTORS, SplitConfig("spekers", test=(1,)))


@pytest.mark.parametrize("stranger", ["25", "Anna"])
def test_contig6_refuses_other_speakers(stranger: str) -> None:
    with pytest.raises(SplitError, match=rf"contig6 knows RAVDESS's actors 1 to 24, not {stranger}; use protocol"):
        make_split(rows_of(*range(1, 25), stranger), SplitConfig())


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


@pytest.mark.parametrize("seven", [7, "7", "07", " 007", "7.0"])
@pytest.mark.parametrize("part", ["validation", "train"])
def test_speaker_in_two_parts_is_refused_however_it_is_spelt(seven: int | str, part: str) -> None:
    with pytest.raises(SplitError, match=r"speakers 7 are both in .* and in test; a split must not share a speaker"):
        make_split(rows_of(7, 8, 9), by_lists(**{"test": ("7",), "train": (9,), part: (seven,)}))


def test_same_speaker_in_the_corpus_under_two_spellings_is_one() -> None:
    split = make_split(rows_of(7, "07", "7.0", "7", 8), by_lists(test=("007",)))
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
    rows = [*rows_of(1, 2), Row("nameless", "ravdess", None, "sad")]
    with pytest.raises(
        SplitError, match=r"1 clips have no speaker, 'nameless' the first; .*fill the table's 'speaker'"
    ):
        make_split(rows, by_lists(test=(1,)))


def test_the_speakers_protocol_has_one_fold() -> None:
    with pytest.raises(SplitError, match="speakers has one fold, 1, not 2"):
        make_split(rows_of(1, 2), SplitConfig("speakers", fold=2, test=(1,)))


def test_an_unknown_protocol_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        SplitError, match=r"protocol 'contig7' is unknown; choose one of contig6, luna5, .*random_leaky"
    ):
        make_split(ACTORS, SplitConfig("contig7"))
    said = r"protocol 'mitseas' is that of 'mmer baseline late_forest' alone, .*; choose mitseas:audio for the voice's,"
    with pytest.raises(SplitError, match=said):
        make_split(ACTORS, SplitConfig("mitseas"))


@pytest.mark.parametrize("protocol", ["loso", "group-kfold:3", "random_leaky", "table"])
def test_only_the_speakers_protocol_takes_lists(protocol: str) -> None:
    with pytest.raises(SplitError, match=f"{protocol} chooses its own speakers; leave test, validation and train out"):
        make_split(ACTORS, SplitConfig(protocol, test=(1,)))


def test_only_the_table_protocol_takes_a_file() -> None:
    with pytest.raises(SplitError, match=r"split.file=a.csv is for protocol 'table', not for loso; leave it out"):
        make_split(ACTORS, SplitConfig("loso", file="a.csv"))


# --- several corpora


BOTH = [
    Row("a", "ravdess", "3", "happy"),
    Row("b", "emodb", "3", "happy"),
    Row("c", "emodb", "10", "sad"),
    Row("d", "ravdess", "10", "sad"),
]


def test_the_same_name_in_two_corpora_is_two_people() -> None:
    split = make_split(BOTH, by_lists(test=("ravdess:03",), validation=("emodb:10",)))
    assert (split.train, split.validation, split.test) == (("emodb:3", "ravdess:10"), ("emodb:10",), ("ravdess:3",))
    assert [row.key for row in split.rows(BOTH, "test")] == ["a"]
    assert [row.key for row in split.rows(BOTH, "train")] == ["b", "d"]


def test_a_name_without_its_corpus_is_refused_among_several() -> None:
    with pytest.raises(
        SplitError, match="the corpus has no speakers 3; it has emodb:3, emodb:10, ravdess:3, ravdess:10"
    ):
        make_split(BOTH, by_lists(test=(3,)))


def test_clips_of_a_corpus_that_was_not_dealt_are_in_no_part() -> None:
    split = make_split(rows_of(3, 5), by_lists(test=(3,)))
    assert split.rows([Row("x", "emodb", "3", "happy")], "test") == []


def test_folds_of_people_deal_several_corpora_by_person() -> None:
    tested = [make_split(BOTH, SplitConfig("loso", fold=fold)).test for fold in range(1, 5)]
    assert tested == [("emodb:3",), ("emodb:10",), ("ravdess:3",), ("ravdess:10",)]


def test_a_published_protocol_is_for_its_own_corpus() -> None:
    """EMO-DB's speakers have numbers that are RAVDESS's too."""
    with pytest.raises(
        SplitError,
        match=r"contig6 is a protocol of RAVDESS, and these clips are of emodb; choose group-kfold:K, loso, speakers "
        r"or table \(a table of RAVDESS's clips says 'ravdess' in its 'corpus' column\)",
    ):
        make_split(BOTH, SplitConfig())
    with pytest.raises(SplitError, match="contig6 deals one corpus, and these clips are of demo, ravdess"):
        make_split([BOTH[0], Row("x", "demo", "4")], SplitConfig())


# --- a checkpoint's split and that of now


def test_a_split_says_who_moved() -> None:
    before, now = (make_split(rows_of(1, 2, 3), by_lists(test=(t,), validation=(v,))) for t, v in ((1, 2), (2, 1)))
    assert now.moved(before) == "2 moved from validation to test"
    assert before.moved(before) == ""


def test_names_with_and_without_a_corpus_cannot_be_compared() -> None:
    one, several = make_split(rows_of(3, 10), by_lists(test=(3,))), make_split(BOTH, by_lists(test=("ravdess:3",)))
    assert several.moved(one) == "the corpora were ravdess and are emodb, ravdess"


def test_a_clip_in_two_parts_can_never_be() -> None:
    with pytest.raises(SplitError, match="clips a are both in train and in test; a split must not share a clip"):
        Split("by hand", (), (), (), keys={"train": frozenset("ab"), "test": frozenset("a")})


def test_a_key_that_is_used_twice_is_refused() -> None:
    """Both rows are one prepared clip, and here it would train and be tested."""
    rows = [replace(row, key="a") for row in rows_of(1, 2)] + rows_of(3)
    with pytest.raises(SplitError, match="keys a are used more than once; every clip needs a key of its own"):
        make_split(rows, by_lists(test=(2,)))


def test_an_unknown_protocol_is_told_before_missing_speakers() -> None:
    with pytest.raises(SplitError, match="protocol 'Loso' is unknown"):
        make_split([Row("a", "text")], SplitConfig("Loso"))
    with pytest.raises(SplitError, match="contig6 is a protocol of RAVDESS, and these clips are of text"):
        make_split([Row("a", "text")], SplitConfig())
