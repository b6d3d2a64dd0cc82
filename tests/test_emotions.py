from __future__ import annotations

from typing import get_args

import pytest

from mmer.emotions import EKMAN7, RAVDESS8, SYNONYMS, LabelSetName, label_set
from mmer.errors import ConfigError


@pytest.mark.parametrize("name", get_args(LabelSetName))
def test_every_named_set_has_an_answer_for_every_emotion_of_ravdess(name: str) -> None:
    labels = label_set(name)
    found = {labels.index(emotion) for emotion in RAVDESS8}
    assert found - {None} == set(range(len(labels.names)))
    assert labels.name == name


def test_the_outputs_are_in_the_order_of_the_codes_of_ravdess() -> None:
    labels = label_set("ravdess8")
    assert [labels.index(emotion) for emotion in RAVDESS8] == list(range(8))
    assert labels.names[2:5] == ("happy", "sad", "angry")


@pytest.mark.parametrize(
    ("name", "calm", "neutral"),
    [("ravdess8", 1, 0), ("no_neutral7", 0, None), ("no_calm7", None, 0), ("calm_as_neutral7", 0, 0), ("ekman7", 0, 0)],
)
def test_the_sets_of_seven_differ_in_calm_and_neutral(name: str, calm: int | None, neutral: int | None) -> None:
    assert (label_set(name).index("calm"), label_set(name).index("neutral")) == (calm, neutral)


@pytest.mark.parametrize("spelling", ["happy", " Happy ", "HAPPINESS", "joy"])
def test_spellings_and_other_corpora_s_words_are_understood(spelling: str) -> None:
    assert label_set("ekman7").index(spelling) == EKMAN7.index("happy")


def test_every_synonym_leads_to_an_emotion_of_ravdess() -> None:
    assert set(SYNONYMS.values()) <= set(RAVDESS8)
    assert not set(SYNONYMS) & set(RAVDESS8)


def test_own_labels_keep_their_own_spelling_and_order() -> None:
    labels = label_set(["Joy", "anger", "bored"])
    assert [labels.index(name) for name in ("bored", "anger", "Joy")] == [2, 1, 0]


def test_an_unknown_label_is_refused_by_name_with_what_is_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"label 'bored' is not in the label set no_calm7 \(neutral, happy, .*\); choo"
    ):
        label_set("no_calm7").index("bored")


def test_an_unknown_set_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(
        ConfigError, match=r"label set 'ravdess9' is unknown; choose one of ravdess8, no_neutral7, .*, or"
    ):
        label_set("ravdess9")


@pytest.mark.parametrize("names", [[], ["happy"], ["happy", "sad", "happy"]])
def test_own_labels_are_two_or_more_and_differ(names: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"labels=\[.*\] is not a list of two or more different class names"):
        label_set(names)
