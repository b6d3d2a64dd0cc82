"""How scores are called and how numbers are written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SCORES = {
    "accuracy": "accuracy",
    "uar": "UAR (balanced accuracy)",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
    "top2": "top-2 accuracy",
    "auroc": "AUROC",
    "average_precision": "average precision",
    "ece": "calibration error (ECE)",
    "brier": "Brier score",
    "log_loss": "log loss",
}
"""The scores of metrics.json in words, in the order in which tables show them."""

UNKNOWN = "—"
"""What stands where nobody knows a number."""

_DECIMAL = frozenset({"auroc", "average_precision", "brier", "log_loss"})  # which papers do not give in percent


def say_score(name: str) -> str:
    """Return a score's name in words."""
    return {**SCORES, "f1": "F1"}.get(name, name)


def say_short(name: str) -> str:
    """Return a score's name as narrow places need it: without what stands in brackets."""
    return say_score(name).partition(" (")[0]


def in_percent(name: str) -> bool:
    """Return whether a score is given in percent."""
    return name not in _DECIMAL


def percent(share: float | None) -> str:
    """Return a share as percent with one decimal."""
    return UNKNOWN if share is None else f"{100 * share:.1f}%"


def number(name: str, value: float | None) -> str:
    """Return a score as a reader expects it: percent with one decimal, or three decimals."""
    if value is None:
        return UNKNOWN
    return percent(value) if in_percent(name) else f"{value:.3f}"


def interval(name: str, score: Mapping[str, float | None]) -> str:
    """Return the interval of a score, as ``61.2 to 70.3``; nothing where there is none."""
    low, high = score["low"], score["high"]
    return "" if low is None or high is None else f"{_bare(name, low)} to {_bare(name, high)}"


def difference(name: str, value: float | None) -> str:
    """Return by how much two systems differ in a score, with its sign: percent points or three decimals."""
    if value is None:
        return UNKNOWN
    return f"{100 * value:+.1f}" if in_percent(name) else f"{value:+.3f}"


def spread(name: str, mean: Mapping[str, float | None]) -> str:
    """Return a mean over folds or seeds with its standard deviation, as ``64.1 ± 3.2``."""
    if mean["value"] is None:
        return UNKNOWN
    return _bare(name, mean["value"]) + ("" if mean["sd"] is None else f" ± {_bare(name, mean['sd'])}")


def p_value(p: float | None) -> str:
    """Return a p-value as papers write it."""
    if p is None:
        return UNKNOWN
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def amount(value: int) -> str:
    """Return a number of clips or of parameters, with its thousands apart."""
    return f"{value:,}"


def warnings_of(system: Mapping[str, Any]) -> dict[str, str]:
    """Return what must not be overlooked about a system: few words for a picture, and a sentence for the page."""
    found = {}
    if system["leaks"]:
        found["LEAKY SPLIT: these scores are too high"] = (
            f"The parts of this split are not apart, so the scores are too high: {'; '.join(system['leaks'])}."
        )
    if (system["corpus"] or {}).get("synthetic"):
        found["SYNTHETIC DEMO: says nothing about people"] = (
            "These are drawn faces and computed voices: a test bed for the software. The scores say nothing about "
            "people."
        )
    if system["part"] not in (None, "test"):
        found[f"NOT A TEST: {system['part']} clips"] = (
            f"These are {system['part']} clips, which took part in making the checkpoint."
        )
    return found


def warn_of(systems: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what a picture of these systems must say."""
    return list(dict.fromkeys(words for system in systems for words in warnings_of(system)))


def chance_level(name: str, support: Sequence[int]) -> float | None:
    """Return what a guess scores that names every class equally often, of clips without end.

    Args:
        name: The score.
        support: Clips of each class.
    """
    classes, total = len(support), sum(support)
    shares = [count / total for count in support]
    f1 = [2 * share / (1 + classes * share) for share in shares]
    match name:
        case "accuracy" | "uar":
            return 1 / classes
        case "top2":
            return min(1.0, 2 / classes)
        case "auroc":
            return 0.5
        case "macro_f1":
            return sum(f1) / classes
        case "weighted_f1":
            return sum(share * value for share, value in zip(shares, f1, strict=True))
    return None


def majority_level(name: str, support: Sequence[int]) -> float | None:
    """Return what always naming the largest class scores."""
    share, occurring = max(support) / sum(support), sum(count > 0 for count in support)
    f1 = 2 * share / (1 + share)
    match name:
        case "accuracy":
            return share
        case "uar":
            return 1 / occurring
        case "macro_f1":
            return f1 / occurring
        case "weighted_f1":
            return share * f1
        case "auroc":
            return 0.5
    return None


def _bare(name: str, value: float) -> str:
    return number(name, value).removesuffix("%")
