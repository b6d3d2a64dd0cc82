"""Every published fold is the published one, and no protocol shares anybody."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

from mmer.config import SplitConfig
from mmer.corpora.manifest import Row
from mmer.corpora.protocols import PUBLISHED, EmptyPartError
from mmer.corpora.splits import PARTS, count_folds, make_split
from mmer.errors import SplitError

RAVDESS = [Row(f"{actor}-{take}", "ravdess", str(actor)) for actor in range(1, 25) for take in range(2)]
CREMA = [Row(str(actor), "crema-d", str(actor)) for actor in range(1001, 1092)]

TESTED = {
    "contig6": [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20], [21, 22, 23, 24]],
    "luna5": [
        [2, 5, 14, 15, 16],
        [3, 6, 7, 13, 18],
        [10, 11, 12, 19, 20],
        [8, 17, 21, 23, 24],
        [1, 4, 9, 22],
    ],
    "emobox6": [[1, 11, 20, 21], [4, 10, 12, 14], [8, 9, 19, 23], [3, 5, 7, 24], [2, 15, 16, 18], [6, 13, 17, 22]],
    "chuma5": [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20]],
    "crema5": [
        list(range(first, last + 1))
        for first, last in ((1001, 1018), (1019, 1036), (1037, 1054), (1055, 1072), (1073, 1091))
    ],
    "loso": [[actor] for actor in range(1, 25)],
}


def corpus_of(protocol: str) -> list[Row]:
    return CREMA if protocol == "crema5" else RAVDESS


def numbers(names: tuple[str, ...]) -> list[int]:
    return [int(name) for name in names]


@pytest.mark.parametrize("protocol", TESTED)
def test_the_test_speakers_are_the_published_ones(protocol: str) -> None:
    rows, folds = corpus_of(protocol), range(1, len(TESTED[protocol]) + 1)
    assert count_folds(rows, SplitConfig(protocol)) == len(folds)
    assert [numbers(make_split(rows, SplitConfig(protocol, fold=fold)).test) for fold in folds] == TESTED[protocol]


@pytest.mark.parametrize("protocol", ["luna5", "emobox6", "crema5", "loso", "contig:7", "group-kfold:5"])
def test_the_validation_speakers_are_the_test_speakers_of_the_next_fold(protocol: str) -> None:
    rows = corpus_of(protocol)
    splits = [
        make_split(rows, SplitConfig(protocol, fold=i + 1)) for i in range(count_folds(rows, SplitConfig(protocol)))
    ]
    assert [split.validation for split in splits] == [*(split.test for split in splits[1:]), splits[0].test]


def test_chuma5_validates_on_the_next_four_and_never_tests_the_last() -> None:
    splits = [make_split(RAVDESS, SplitConfig("chuma5", fold=fold)) for fold in range(1, 6)]
    assert [numbers(split.validation) for split in splits] == [
        list(range(first, first + 4)) for first in (5, 9, 13, 17, 21)
    ]
    assert numbers(splits[0].train) == list(range(9, 25))
    assert numbers(splits[4].train) == list(range(1, 17))


@pytest.mark.parametrize("fold", range(1, 7))
def test_mitseas_trains_8_and_12_actors_and_tests_4_and_they_are_all_different(fold: int) -> None:
    voice = make_split(RAVDESS, SplitConfig("mitseas:audio", fold=fold))
    both = make_split(RAVDESS, SplitConfig("mitseas:combination", fold=fold))
    assert (len(voice.train), len(both.train), len(both.test)) == (8, 12, 4)
    assert voice.test == both.test
    assert len({*voice.train, *both.train, *both.test}) == 24
    assert voice.validation == both.validation == ()
    genders = [sum(int(actor) % 2 for actor in group) for group in (voice.train, both.train, both.test)]
    assert genders == [4, 6, 2], "half of each are men"


@pytest.mark.parametrize("protocol", [*PUBLISHED, "loso", "contig:5", "group-kfold:4", "group-kfold:6"])
def test_no_fold_shares_a_speaker_and_training_takes_the_rest(protocol: str) -> None:
    rows = corpus_of(protocol)
    for fold in range(1, count_folds(rows, SplitConfig(protocol)) + 1):
        split = make_split(rows, SplitConfig(protocol, fold=fold))
        people = [person for part in PARTS for person in split.speakers(part)]
        assert len(people) == len(set(people))
        assert protocol.startswith("mitseas") or len(people) == len({row.speaker for row in rows})
        assert split.protocol == f"{protocol} fold {fold}"
        assert split.leaks == ()


@pytest.mark.parametrize(
    ("protocol", "last"), [("luna5", 5), ("emobox6", 6), ("chuma5", 5), ("loso", 24), ("group-kfold:4", 4)]
)
@pytest.mark.parametrize("fold", [0, 25])
def test_a_fold_that_does_not_exist_is_refused_with_those_there_are(protocol: str, last: int, fold: int) -> None:
    with pytest.raises(SplitError, match=f"^{protocol} has the folds 1 to {last}, not {fold}$"):
        make_split(RAVDESS, SplitConfig(protocol, fold=fold))


def test_crema_d_s_actors_are_not_ravdess_s() -> None:
    with pytest.raises(SplitError, match="crema5 is a protocol of CREMA-D, and these clips are of ravdess"):
        make_split(RAVDESS, SplitConfig("crema5"))
    with pytest.raises(SplitError, match="crema5 knows CREMA-D's actors 1001 to 1091, not 7; use protocol 'speakers'"):
        make_split([*CREMA, Row("x", "crema-d", "7")], SplitConfig("crema5"))


def test_a_partial_copy_fills_the_folds_that_it_can() -> None:
    rows = [row for row in RAVDESS if int(row.speaker or 0) <= 20]
    assert count_folds(rows, SplitConfig("contig6", fold=6)) == 6
    assert numbers(make_split(rows, SplitConfig("contig6", fold=4)).train) == list(range(1, 13))
    with pytest.raises(
        EmptyPartError, match="contig6 fold 6: the test part is empty, for it is speakers 21, 22, 23, 24"
    ):
        make_split(rows, SplitConfig("contig6", fold=6))
    with pytest.raises(
        EmptyPartError, match=r"contig6 fold 5: the validation part is empty, .*; choose another fold, or"
    ):
        make_split(rows, SplitConfig("contig6", fold=5))


def test_loso_wants_somebody_to_train_on() -> None:
    with pytest.raises(SplitError, match=r"loso wants at least 3 speakers and there are 2 \(1, 2\)"):
        make_split(RAVDESS[:4], SplitConfig("loso"))


def test_contiguous_folds_are_cut_from_the_speakers_who_are_there() -> None:
    rows = [row for row in RAVDESS if int(row.speaker or 0) <= 20]
    splits = [make_split(rows, SplitConfig("contig:5", fold=fold)) for fold in range(1, 6)]
    assert [numbers(split.test) for split in splits] == [list(range(i, i + 4)) for i in (1, 5, 9, 13, 17)]
    assert numbers(splits[4].validation) == [1, 2, 3, 4]
    uneven = [make_split(rows, SplitConfig("contig:6", fold=fold)) for fold in range(1, 7)]
    assert [len(split.test) for split in uneven] == [4, 4, 3, 3, 3, 3]
    whole = [SplitConfig(protocol, fold=fold) for fold in range(1, 7) for protocol in ("contig:6", "contig6")]
    dealt = [make_split(RAVDESS, config) for config in whole]
    assert all(
        (a.train, a.validation, a.test) == (b.train, b.validation, b.test)
        for a, b in zip(dealt[::2], dealt[1::2], strict=True)
    )


@pytest.mark.parametrize("name", ["contig", "group-kfold"])
@pytest.mark.parametrize("number", ["", "two", "2", "0", "-3"])
def test_a_number_of_folds_is_wanted(name: str, number: str) -> None:
    said = f"protocol '{name}:{number}' wants the number of folds behind the colon, 3 or more, as {name}:5"
    with pytest.raises(SplitError, match=said):
        make_split(RAVDESS, SplitConfig(f"{name}:{number}"))


@pytest.mark.parametrize("name", ["contig", "group-kfold"])
def test_a_speaker_is_wanted_for_every_fold(name: str) -> None:
    with pytest.raises(SplitError, match=f"{name}:25 wants at least 25 speakers and there are 24 .*; choose fewer"):
        make_split(RAVDESS, SplitConfig(f"{name}:25"))


def random_clips(seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    people = [str(name) for name in rng.choice([*range(40), "Anna", "b", "Zoe"], rng.integers(6, 30), replace=False)]
    return [Row(str(i), "any", str(name)) for i, name in enumerate(rng.choice(people, 400))]


@pytest.mark.parametrize("rows", [RAVDESS, *map(random_clips, range(20))], ids=range(21))
@pytest.mark.parametrize("count", [3, 5])
def test_group_kfold_is_scikit_learn_s(rows: list[Row], count: int) -> None:
    speakers = [row.speaker for row in rows]
    for fold, (_, tested) in enumerate(GroupKFold(count).split(rows, groups=speakers), 1):
        split = make_split(rows, SplitConfig(f"group-kfold:{count}", fold=fold))
        assert split.rows(rows, "test") == [rows[i] for i in tested]
