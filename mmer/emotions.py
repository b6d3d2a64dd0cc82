"""Label sets, and how the labels of a corpus map onto them.

Papers call three different sets "the 7 classes of RAVDESS"; here each has its own name, and a set says of every label
whether it keeps it, merges it into another or drops it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from mmer.errors import ConfigError

LabelSetName = Literal["ravdess8", "no_neutral7", "no_calm7", "calm_as_neutral7", "ekman7"]

RAVDESS8 = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""RAVDESS's emotions in the order of its own codes 01 to 08."""

EKMAN7 = ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
"""Ekman's six and neutral: what most corpora share."""

SYNONYMS: Mapping[str, str] = {
    "anger": "angry",
    "calmness": "calm",
    "disgusted": "disgust",
    "fear": "fearful",
    "happiness": "happy",
    "joy": "happy",
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
        raise ConfigError(
            f"label {label!r} is not in the label set {self.name} ({', '.join(self.names)}); "
            "choose another label set, or list your own labels"
        )

    def _canonical(self, label: str) -> str:
        """Return the set's own word for a label: its spelling first, then synonyms, then merges."""
        stripped = label.strip()
        if stripped in self.names:
            return stripped
        name = SYNONYMS.get(stripped.lower(), stripped.lower())
        return self.merged.get(name, name)


_NAMED: Mapping[str, LabelSet] = {
    "ravdess8": LabelSet("ravdess8", RAVDESS8),
    "no_neutral7": LabelSet("no_neutral7", RAVDESS8[1:], dropped=frozenset({"neutral"})),
    "no_calm7": LabelSet("no_calm7", EKMAN7, dropped=frozenset({"calm"})),
    "calm_as_neutral7": LabelSet("calm_as_neutral7", EKMAN7, merged={"calm": "neutral"}),
    "ekman7": LabelSet("ekman7", EKMAN7, merged={"calm": "neutral"}),
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
