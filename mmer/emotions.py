"""Label sets, and how the labels of a corpus map onto them.

Papers call three different sets "the 7 classes of RAVDESS"; here each has its own name, and a set says of every label
whether it keeps it, merges it into another or drops it. Rows keep their corpus's own words. Across corpora:

- ``ekman7`` reads them all: RAVDESS's calm counts as neutral, TESS's pleasant surprise as surprised, EMO-DB's boredom
  is dropped, and GoEmotions is read in its owners' Ekman groups (``read_goemotions(grouping="ekman")``).
- ``crema6`` is ``ekman7`` without surprised: the six of CREMA-D, which the other acted corpora have too.

A label of which a set says nothing is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from mmer.errors import ConfigError

LabelSetName = Literal[
    "ravdess8",
    "no_neutral7",
    "no_calm7",
    "calm_as_neutral7",
    "ekman7",
    "crema6",
    "fer7",
    "emodb7",
    "goemotions28",
]

RAVDESS8 = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""RAVDESS's emotions in the order of its own codes 01 to 08."""

EKMAN7 = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Ekman's six and neutral: what most corpora share."""

CREMA6 = EKMAN7[:-1]
"""CREMA-D's emotions: nobody was asked to look surprised."""

FER7 = ("angry", "disgust", "fearful", "happy", "sad", "surprised", "neutral")
"""FER2013's emotions in the order of its own codes 0 to 6, which networks trained on it elsewhere answer in."""

EMODB7 = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "boredom")
"""EMO-DB's emotions: boredom, and no surprise."""

GOEMOTIONS_GROUPS: Mapping[str, tuple[str, ...]] = {
    "anger": ("anger", "annoyance", "disapproval"),
    "disgust": ("disgust",),
    "fear": ("fear", "nervousness"),
    "joy": (
        *("joy", "admiration", "amusement", "approval", "caring", "desire", "excitement", "gratitude", "love"),
        *("optimism", "pride", "relief"),
    ),
    "sadness": ("sadness", "disappointment", "embarrassment", "grief", "remorse"),
    "surprise": ("surprise", "confusion", "curiosity", "realization"),
    "neutral": ("neutral",),
}
"""GoEmotions' emotions in Ekman's groups, as its owners put them (Demszky et al. 2020, ``ekman_mapping.json``)."""

GOEMOTIONS28 = (*sorted(word for words in GOEMOTIONS_GROUPS.values() for word in words if word != "neutral"), "neutral")
"""GoEmotions' 27 emotions and neutral in the order of its own ids 0 to 27."""

SYNONYMS: Mapping[str, str] = {
    "anger": "angry",
    "bored": "boredom",
    "calmness": "calm",
    "disgusted": "disgust",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
    "pleasant surprise": "surprised",
    "sadness": "sad",
    "surprise": "surprised",
}
"""Other corpora's words for the canonical ones."""


@dataclass(frozen=True, slots=True)
class LabelSet:
    """The classes of a task, in the order of the model's outputs.

    Args:
        name: How reports call the set.
        names: The class names; output ``i`` of a model is ``names[i]``.
        merged: Labels that count as another one, as ``{"calm": "neutral"}``.
        dropped: Known labels whose clips take no part in the task.
    """

    name: str
    names: tuple[str, ...]
    merged: Mapping[str, str] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    def index(self, label: str) -> int | None:
        """Return the class of a label, or None where the set drops it.

        Raises:
            ConfigError: The set says nothing of this label.
        """
        name = self._canonical(label)
        if name in self.names:
            return self.names.index(name)
        if name in self.dropped:
            return None
        raise ConfigError(self._refusal({label: None}))

    def check(self, labels: Iterable[str]) -> None:
        """Refuse labels of which the set says nothing, all at once.

        Args:
            labels: The labels of some clips; a Counter of them has its counts told.

        Raises:
            ConfigError: Some are neither classes of the set, nor merged into one, nor dropped.
        """
        counts: Mapping[str, int] = labels if isinstance(labels, Mapping) else {}
        unmapped = {label: counts.get(label) for label in self.strangers(labels)}
        if unmapped:
            raise ConfigError(self._refusal(unmapped))

    def strangers(self, labels: Iterable[str]) -> list[str]:
        """Return the labels of which the set says nothing, each once."""
        known = {*self.names, *self.dropped}
        return [label for label in sorted(set(labels)) if self._canonical(label) not in known]

    def _canonical(self, label: str) -> str:
        """Return the set's own word for a label: its spelling first, then synonyms, then merges."""
        stripped = label.strip()
        lower = stripped.lower()
        for spelling in (stripped, lower):
            if spelling in self.names:
                return spelling
        name = self.merged.get(_usual(lower), _usual(lower))
        return next((own for own in self.names if _usual(own.lower()) == name), name)

    def _refusal(self, unmapped: Mapping[str, int | None]) -> str:
        """Say which labels, with their counts where these are known, the set says nothing of."""
        listed = ", ".join(f"{label!r}" + (f" ({count:,})" if count else "") for label, count in unmapped.items())
        subject = f"label {listed} is" if len(unmapped) == 1 else f"labels {listed} are"
        dropped = f"; it drops {', '.join(sorted(self.dropped))}" if self.dropped else ""
        return (
            f"{subject} not in the label set {self.name} ({', '.join(self.names)}{dropped}); "
            "choose another label set, or list your own labels"
        )


def _usual(word: str) -> str:
    return SYNONYMS.get(word, word)


_NAMED: Mapping[str, LabelSet] = {
    "ravdess8": LabelSet("ravdess8", RAVDESS8),
    "no_neutral7": LabelSet("no_neutral7", RAVDESS8[1:], dropped=frozenset({"neutral"})),
    "no_calm7": LabelSet("no_calm7", EKMAN7, dropped=frozenset({"calm"})),
    "calm_as_neutral7": LabelSet("calm_as_neutral7", EKMAN7, merged={"calm": "neutral"}),
    "ekman7": LabelSet("ekman7", EKMAN7, merged={"calm": "neutral"}, dropped=frozenset({"boredom"})),
    "crema6": LabelSet("crema6", CREMA6, merged={"calm": "neutral"}, dropped=frozenset({"boredom", "surprised"})),
    "fer7": LabelSet("fer7", FER7, merged={"calm": "neutral"}, dropped=frozenset({"boredom"})),
    "emodb7": LabelSet("emodb7", EMODB7, merged={"calm": "neutral"}, dropped=frozenset({"surprised"})),
    "goemotions28": LabelSet("goemotions28", GOEMOTIONS28),
}


def label_set(labels: str | Sequence[str]) -> LabelSet:
    """Return a label set by its name, or the one that a list of class names spells out.

    Raises:
        ConfigError: The name is unknown, or the list has fewer than two different names.
    """
    if isinstance(labels, str):
        if labels not in _NAMED:
            allowed = ", ".join(get_args(LabelSetName))
            raise ConfigError(f"label set {labels!r} is unknown; choose one of {allowed}, or list the class names")
        return _NAMED[labels]
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise ConfigError(f"labels={list(labels)} is not a list of two or more different class names")
    return LabelSet("custom", tuple(labels))
