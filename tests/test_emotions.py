from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest

from mmer.emotions import CREMA6, EKMAN7, EMODB7, FER7, GOEMOTIONS28, RAVDESS8, SYNONYMS, LabelSetName, label_set
from mmer.errors import ConfigError


@pytest.mark.parametrize("name", sorted({*get_args(LabelSetName)} - {"emodb7", "goemotions28"}))
def test_every_named_set_has_an_answer_for_every_emotion_of_ravdess(name: str) -> None:
    labels = label_set(name)
    found = {labels.index(emotion) for emotion in RAVDESS8}
    assert found - {None} == set(range(len(labels.names)))
    assert labels.name == name


@pytest.mark.parametrize("name", get_args(LabelSetName))
def test_every_named_set_knows_its_own_classes_in_their_order(name: str) -> None:
    labels = label_set(name)
    assert [labels.index(emotion) for emotion in labels.names] == list(range(len(labels.names)))
    labels.check(labels.names)


def test_the_outputs_are_in_the_order_of_the_codes_of_ravdess() -> None:
    labels = label_set("ravdess8")
    assert [labels.index(emotion) for emotion in RAVDESS8] == list(range(8))
    assert labels.names[2:5] == ("happy", "sad", "angry")


@pytest.mark.parametrize(
    ("name", "calm", "neutral"),
    [
        ("ravdess8", 1, 0),
        ("no_neutral7", 0, None),
        ("no_calm7", None, 0),
        ("calm_as_neutral7", 0, 0),
        ("ekman7", 0, 0),
        ("crema6", 0, 0),
        ("fer7", 6, 6),
        ("emodb7", 0, 0),
    ],
)
def test_the_sets_differ_in_calm_and_neutral(name: str, calm: int | None, neutral: int | None) -> None:
    assert (label_set(name).index("calm"), label_set(name).index("neutral")) == (calm, neutral)


def test_fer7_is_in_the_order_of_the_codes_of_fer2013() -> None:
    words = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert [label_set("fer7").index(word) for word in words] == list(range(7))
    assert sorted(FER7) == sorted(EKMAN7)


def test_goemotions28_is_in_the_order_of_the_ids_of_goemotions() -> None:
    assert len(GOEMOTIONS28) == 28
    assert [GOEMOTIONS28[place] for place in (0, 2, 26, 27)] == ["admiration", "anger", "surprise", "neutral"]
    assert label_set("goemotions28").index("anger") == 2
    assert label_set("goemotions28").index("annoyance") == 3


@pytest.mark.parametrize(
    "words",
    [
        RAVDESS8,
        CREMA6,
        FER7,
        EMODB7,
        ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"),  # MELD's
        ("angry", "disgust", "fear", "happy", "neutral", "pleasant surprise", "sad"),  # TESS's
    ],
)
def test_ekman7_reads_every_corpus(words: tuple[str, ...]) -> None:
    labels = label_set("ekman7")
    labels.check(words)
    assert {word for word in words if labels.index(word) is None} <= {"boredom"}


@pytest.mark.parametrize(
    ("name", "dropped"), [("crema6", "surprised"), ("crema6", "boredom"), ("ekman7", "bored"), ("emodb7", "surprise")]
)
def test_what_a_set_of_fewer_classes_lacks_is_dropped(name: str, dropped: str) -> None:
    assert label_set(name).index(dropped) is None
    label_set(name).check([dropped])


@pytest.mark.parametrize("spelling", ["happy", " Happy ", "HAPPINESS", "joy"])
def test_spellings_and_other_corpora_s_words_are_understood(spelling: str) -> None:
    assert label_set("ekman7").index(spelling) == EKMAN7.index("happy")


@pytest.mark.parametrize("spelling", ["joy", "Joy", "happy", "HAPPINESS"])
def test_a_set_in_other_words_understands_the_usual_ones(spelling: str) -> None:
    assert label_set("goemotions28").index(spelling) == GOEMOTIONS28.index("joy")
    assert label_set(["anger", "Joy"]).index(spelling) == 1


def test_every_synonym_leads_to_a_usual_word() -> None:
    assert set(SYNONYMS.values()) <= {*RAVDESS8, "boredom"}
    assert not set(SYNONYMS) & set(SYNONYMS.values())


def test_own_labels_keep_their_own_spelling_and_order() -> None:
    labels = label_set(["Joy", "anger", "bored"])
    assert [labels.index(name) for name in ("bored", "anger", "Joy")] == [2, 1, 0]


def test_an_unknown_label_is_refused_by_name_with_what_is_allowed() -> None:
    with pytest.raises(ConfigError) as caught:
        label_set("no_calm7").index("bored")
    assert str(caught.value) == (
        "label 'bored' is not in the label set no_calm7 (neutral, happy, sad, angry, fearful, disgust, surprised; "
        "it drops calm); choose another label set, or list your own labels"
    )


def test_all_unknown_labels_are_refused_at_once() -> None:
    labels = ["happy", "pride", "calm", "boredom", "pride", "love"]
    allowed = r"are not in the label set ravdess8 \(neutral, calm, .*\); choose another"
    with pytest.raises(ConfigError, match=rf"^labels 'boredom', 'love', 'pride' {allowed}"):
        label_set("ravdess8").check(labels)
    with pytest.raises(ConfigError, match=rf"^labels 'boredom' \(1\), 'love' \(1\), 'pride' \(1,002\) {allowed}"):
        label_set("ravdess8").check(Counter({**Counter(labels), "pride": 1002}))
    with pytest.raises(ConfigError, match=r"^label 'pride' \(2\) is not in the label set ekman7 "):
        label_set("ekman7").check(Counter(["pride", "joy", "pride"]))


def test_known_labels_pass_the_check_in_any_spelling() -> None:
    label_set("ekman7").check(Counter([" Joy ", "calm", "surprise", "bored"]))
    label_set("ekman7").check([])


def test_an_unknown_set_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"label set 'ravdess9' is unknown; choose one of ravdess8, no_neutral7, .*, goemotions28, or"
    ):
        label_set("ravdess9")


@pytest.mark.parametrize("names", [[], ["happy"], ["happy", "sad", "happy"]])
def test_own_labels_are_two_or_more_and_differ(names: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"labels=\[.*\] is not a list of two or more different class names"):
        label_set(names)
