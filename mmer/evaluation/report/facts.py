"""What a page says beside its tables: title, warnings, levels to compare with, who and what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmer.evaluation.report.words import (
    SCORES,
    amount,
    chance_level,
    majority_level,
    warnings_of,
)

Metrics = Mapping[str, Any]


class Banner(NamedTuple):
    """What must not be overlooked: in few words, in a sentence, and of which systems."""

    short: str
    sentence: str
    names: list[str]


class Level(NamedTuple):
    """Scores that systems are compared with."""

    name: str
    scores: dict[str, float | None]


def write_title(metrics: Metrics) -> str:
    """Return the page's title: which system, or how many, on what."""
    systems = metrics["systems"]
    who = systems[0]["name"] if len(systems) == 1 else f"{len(systems)} systems"
    corpora = dict.fromkeys(name for system in systems for name in (system["corpus"] or {}).get("names") or ())
    return f"Emotion recognition: {who}" + (f" on {', '.join(corpora)}" if corpora else "")


def list_facts(metrics: Metrics) -> list[str]:
    """Return what was scored in a few words each."""
    best = metrics["systems"][0]
    speakers = len(best["speakers"]["scored"] or ())
    facts = dict.fromkeys(system["protocol"] for system in metrics["systems"] if system["protocol"])
    return [
        *facts,
        *dict.fromkeys(f"{system['part']} part" for system in metrics["systems"] if system["part"]),
        _count(best),
        f"{speakers} speakers" if speakers else "speakers unknown",
        f"{len(metrics['labels'])} classes",
    ]


def _count(system: Metrics) -> str:
    """Say how many clips there are, each once, however many seeds answered for it."""
    if not system["seeds_scores"]:
        return f"{amount(system['scores']['n'])} clips"
    each = system["seeds_scores"]["each"]
    return f"{amount(max(part['n'] for part in each))} clips, each for {len(each)} seeds"


def list_banners(metrics: Metrics) -> list[Banner]:
    """Return all warnings, each once, with the systems that it is about."""
    found: dict[tuple[str, str], list[str]] = {}
    for system in metrics["systems"]:
        for warning in warnings_of(system).items():
            found.setdefault(warning, []).append(system["name"])
    return [Banner(short, sentence, names) for (short, sentence), names in found.items()]


def list_levels(metrics: Metrics) -> list[Level]:
    """Return the levels of a guess and of the largest class; of different clips each has its own."""
    found: dict[tuple[int, ...], list[str]] = {}
    for system in metrics["systems"]:
        found.setdefault(tuple(each["support"] for each in system["per_class"].values()), []).append(system["name"])
    levels = []
    for support, names in found.items():
        of = f" of {', '.join(names)}" if len(found) > 1 else ""
        levels.append(Level(f"chance{of}", {name: chance_level(name, support) for name in SCORES}))
        levels.append(Level(f"largest class{of}", {name: majority_level(name, support) for name in SCORES}))
    return levels


def explain_intervals(metrics: Metrics) -> str:
    """Say what the intervals are made of."""
    bootstrap, units = metrics["bootstrap"], {system["scores"]["unit"] for system in metrics["systems"]}
    of = "speakers" if units == {"speaker"} else "clips, for nobody knows several speakers"
    if len(units) > 1:
        of = "speakers, or of clips where nobody knows several speakers"
    return (
        f"Small figures are {100 * bootstrap['level']:g}% intervals by {amount(bootstrap['resamples'])} bootstrap "
        f"resamples of {of}."
    )


def list_sections(metrics: Metrics, drawn: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """Return the sections of a page, by what their links are called: only those that have something to say."""
    systems = metrics["systems"]
    folds = any(system["folds"] or system["seeds_scores"] for system in systems)
    every = {
        "scores": "Scores",
        "comparison": "Comparison",
        "folds": "Folds and seeds",
        "confusion": "Confusion",
        "classes": "Classes",
        "curves": "ROC and precision over recall",
        "calibration": "Calibration",
        "groups": "Speakers and groups",
        "modalities": "Missing modalities",
        "degradations": "Damaged input",
        "training": "Training",
        "explanations": "Explanations",
        "facts": "Who and what",
    }
    told = {"scores", "confusion", "classes", "curves", "calibration", "facts"}
    told |= {"folds"} if folds else set()
    told |= {"groups"} if drawn.get("speakers") else set()
    return {name: words for name, words in every.items() if name in told or drawn.get(name)}


def describe(system: Metrics) -> dict[str, list[str]]:
    """Return who and what a system is: lines by what they are about, without what nobody knows."""
    found = {
        "warnings": list(warnings_of(system)),
        "protocol": [system["protocol"] or "unknown"],
        "leaks": system["leaks"],
        "part": [system["part"] or "unknown"],
        **_describe_people(system),
        **_describe_corpus(system["corpus"]),
        **_describe_model(system["model"]),
        "seeds": [", ".join(str(seed) for seed in system["seeds"] or ())],
        "source": _describe_source(system["source"]),
        "trained with": [", ".join(f"{name} {version}" for name, version in (system["trained_with"] or {}).items())],
    }
    return {name: lines for name, lines in found.items() if any(lines)}


def _describe_people(system: Metrics) -> dict[str, list[str]]:
    people = system["speakers"]
    chosen = ", ".join(people["validation"] or ())
    if not chosen:
        chosen = "nobody: the last epoch" if people["train"] else "unknown"
    return {
        "trained on speakers": [", ".join(people["train"] or ()) or "unknown"],
        "checkpoint chosen by speakers": [chosen],
        "scored speakers": [", ".join(people["scored"] or ()) or "unknown"],
    }


def _describe_corpus(corpus: Metrics | None) -> dict[str, list[str]]:
    if not corpus or not corpus["names"]:
        return {"corpus": ["unknown"]}
    licences = corpus["licences"] or {}
    left_out = corpus["left_out"] or ()
    return {
        "corpus": [f"{name}: licence {licences.get(name) or 'unknown'}" for name in corpus["names"]],
        "prepared folder": [corpus["root"] or ""],
        "clips left out": [f"{amount(each['clips'])}: {each['reason']}" for each in left_out] or ["none"],
    }


def _describe_model(model: Metrics | None) -> dict[str, list[str]]:
    if model is None:
        return {}
    return {
        "reads": [", ".join(model["modalities"])],
        "encoders": [", ".join(f"{name}: {encoder}" for name, encoder in model["streams"].items())],
        "parameters": [amount(model["parameters"]) if model["parameters"] is not None else ""],
    }


def _describe_source(source: Metrics | None) -> list[str]:
    if source is None:
        return []
    lines = [f"{source['kind']} {source['path'] or ''}".strip()]
    lines += [f"SHA-256 {source['sha256']}"] if source["sha256"] else []
    lines += [f"epoch {source['epoch']}"] if source["epoch"] is not None else []
    return lines
