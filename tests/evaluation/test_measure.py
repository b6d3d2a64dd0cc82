"""The whole of metrics.json, from answers alone and with all that may be known of a system."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmer.errors import ConfigError, PredictionsError
from mmer.evaluation.explanation import Explanation
from mmer.evaluation.measure import measure
from mmer.evaluation.metrics import EVERY_SCORE, score
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.system import Degraded, System

NAMES = ("angry", "calm", "happy")
DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def make(share: float = 0.7, seed: int = 0, clips: int = 120, speakers: int = 12) -> Predictions:
    rng = np.random.default_rng(seed)
    label = np.random.default_rng(9).integers(3, size=clips)
    logits = rng.normal(size=(clips, 3)) + 3 * share * np.eye(3)[label]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    people = tuple(str(i % speakers + 1) for i in range(clips))
    return Predictions(NAMES, tuple(f"clip {i:03}" for i in range(clips)), people, label, probabilities)


def run(*systems: System, **settings: Any) -> dict[str, Any]:
    return measure(systems, **{"resamples": 200, **settings})


def one(predictions: Predictions, **about: Any) -> dict[str, Any]:
    (found,) = run(System("it", predictions, about))["systems"]
    return found


def with_folds(predictions: Predictions) -> Predictions:
    return replace(predictions, fold=tuple(str(int(s) % 4 + 1) for s in predictions.speaker))


def whole(about: bool = True) -> System:
    """Return a system of which everything is known."""
    answers = replace(
        with_folds(make()),
        seed=("0",) * 120,
        groups={"corpus": ("ravdess",) * 120, "gender": tuple("female" if i % 2 else "male" for i in range(120))},
    )
    return System(
        "it",
        answers,
        {"model": {"modalities": ["video", "audio"]}, "abstention": {"threshold": 0.6, "wanted": 0.9}} if about else {},
        oracle=with_folds(make(0.9)),
        subsets={"audio": make(0.3).take(np.arange(50))},
        degraded=[Degraded("audio_noise", None, make()), Degraded("audio_noise", 10.0, make(0.2), "dB SNR")],
        explanations=[Explanation("clip 001", "calm", {"calm": 0.6, "happy": 0.4}, {"audio": 0.2}, 3.6, {})],
        training={"runs": [{"name": "fold 1", "epochs": [0], "lr": [0.1]}]},
    )


def documented(section: str) -> list[str]:
    """Return the keys that a block of docs/metrics.md names, in its order."""
    text = DOCUMENT.read_text(encoding="utf-8")
    block = text[text.index(section) :].split("```\n")[1]
    lines = [line for line in block.splitlines() if not line.startswith(" ")]
    return [name for line in lines for name in re.split(", ", re.match(r"\w+(, \w+)*", line)[0])]  # type: ignore[index]


def test_metrics_have_the_documented_keys() -> None:
    metrics = run(whole(), replace(whole(), name="other"))
    assert sorted(metrics) == sorted(documented("## metrics.json"))
    assert sorted(metrics["systems"][0]) == sorted(documented("### SYSTEM"))
    assert sorted(metrics["comparison"]) == sorted(documented("### COMPARISON"))
    names = re.findall(r"^\| (`.+?`) \|", DOCUMENT.read_text(encoding="utf-8").split("### SCORES")[1], re.MULTILINE)
    assert re.findall(r"`(\w+)`", " ".join(names)) == list(EVERY_SCORE)
    assert list(metrics["systems"][0]["scores"]) == ["n", "unit", "majority", *EVERY_SCORE]


def test_metrics_are_json_and_the_same_each_time() -> None:
    answers = make()
    nobody = replace(answers, names=(*NAMES, "sad"), probabilities=np.pad(answers.probabilities, ((0, 0), (0, 1))))
    metrics = run(System("it", nobody, {}), command="python evaluate.py")
    assert metrics["systems"][0]["per_class"]["sad"]["auroc"] is None
    text = json.dumps(metrics, allow_nan=False)
    assert text == json.dumps(run(System("it", nobody, {}), command="python evaluate.py"))
    assert json.loads(text) == metrics
    assert (metrics["format"], metrics["command"], metrics["chance"]) == (3, "python evaluate.py", 0.25)
    assert metrics["bootstrap"] == {"resamples": 200, "level": 0.95, "seed": 0}
    assert metrics["comparison"] is None


def test_scores_are_those_of_all_clips_each_in_its_interval() -> None:
    answers = make()
    scores = one(answers)["scores"]
    assert (scores["n"], scores["unit"]) == (120, "speaker")
    assert scores["majority"] == max(np.bincount(answers.label)) / 120
    for name, value in score(answers).items():
        assert scores[name]["value"] == value
        assert scores[name]["low"] < value < scores[name]["high"]


def test_a_score_that_answers_do_not_have_is_null() -> None:
    answers = make()
    found = one(answers.where(answers.label == 1))
    assert found["scores"]["auroc"] == {"value": None, "low": None, "high": None}
    assert found["scores"]["average_precision"]["value"] == 1


# --- what is known


def test_of_bare_answers_only_these_are_known() -> None:
    found = one(make())
    for name in ("source", "protocol", "part", "model", "trained_with", "corpus", "calibration", "abstention"):
        assert found[name] is None
    for name in ("folds", "seeds_scores", "modalities", "degradations", "oracle", "training"):
        assert found[name] is None
    assert (found["leaks"], found["notes"], found["seeds"], found["explanations"]) == ([], [], [], [])
    assert found["speakers"] == {"train": None, "validation": None, "scored": [str(i) for i in range(1, 13)]}


def test_what_is_said_of_a_system_goes_first() -> None:
    said = {
        "source": {"kind": "checkpoint"},
        "protocol": "contig6 fold 1",
        "speakers": {"train": ["13"], "validation": ["14"], "scored": ["1"]},
        "corpus": {"names": ["ravdess"]},
        "leaks": ["clips at random"],
        "notes": ["mind this"],
        "seeds": [3],
    }
    found = one(replace(make(), seed=("0",) * 120, leaky=True, notes=("and that", "mind this")), **said)
    assert {name: found[name] for name in said if name != "notes"} == {n: v for n, v in said.items() if n != "notes"}
    assert found["notes"] == ["mind this", "and that"]


def test_predictions_know_their_corpora_and_that_they_leak() -> None:
    answers = replace(make(), groups={"corpus": ("demo",) * 60 + ("mine",) * 60}, leaky=True)
    found = one(answers)
    assert found["corpus"]["names"] == ["demo", "mine"]
    assert found["corpus"]["synthetic"]
    assert found["corpus"]["licences"]["mine"] is None
    assert found["leaks"] == ["the predictions say so of themselves: column leaky"]
    assert one(replace(make(), groups={"corpus": ("ravdess",) * 120}))["corpus"]["licences"] == {
        "ravdess": "CC BY-NC-SA 4.0"
    }


@pytest.mark.parametrize(
    ("speakers", "doubt"),
    [
        (0, "nobody says who the speakers are: the intervals are over clips and say nothing of how other speakers "),
        (1, "all clips are of one speaker: the intervals are over clips and say nothing of how other speakers "),
        (9, "the intervals are over 9 speakers only, and with so few they are too narrow"),
        (10, ""),
    ],
)
def test_intervals_that_say_little_are_doubted(speakers: int, doubt: str) -> None:
    answers = make(speakers=max(speakers, 1))
    notes = one(answers if speakers else replace(answers, speaker=("",) * 120))["notes"]
    assert len(notes) == bool(doubt)
    assert all(note.startswith(doubt) for note in notes)


# --- parts


def test_folds_are_scored_each_and_as_mean_and_pooled() -> None:
    answers = with_folds(make())
    found = one(answers)
    each = found["folds"]["each"]
    assert [part["fold"] for part in each] == [1, 2, 3, 4]
    assert each[0]["speakers"] == ["4", "8", "12"]
    accuracies = [score(answers.where(np.array(answers.fold) == str(fold)))["accuracy"] for fold in range(1, 5)]
    assert [part["accuracy"] for part in each] == accuracies
    mean = found["folds"]["mean"]["accuracy"]
    assert mean == {"value": pytest.approx(np.mean(accuracies)), "sd": pytest.approx(np.std(accuracies, ddof=1))}
    assert found["scores"]["accuracy"]["value"] == score(answers)["accuracy"]


def test_a_mean_over_folds_leaves_out_those_without_the_score() -> None:
    answers = make()
    folds = replace(answers, fold=tuple("a" if label == 1 else "b" for label in answers.label))
    found = one(folds)["folds"]
    assert [part["fold"] for part in found["each"]] == ["a", "b"]
    assert found["each"][0]["auroc"] is None
    assert found["mean"]["auroc"] == {"value": found["each"][1]["auroc"], "sd": None}


def test_seeds_are_scored_each_and_every_fold_of_each() -> None:
    first, second = with_folds(make(seed=1)), with_folds(make(seed=2))
    both = replace(
        first.take(np.tile(np.arange(120), 2)),
        probabilities=np.concatenate([first.probabilities, second.probabilities]),
        seed=("2",) * 120 + ("10",) * 120,
    )
    found = one(both)
    assert found["seeds"] == [2, 10]
    assert [(part["seed"], part["accuracy"]) for part in found["seeds_scores"]["each"]] == [
        (2, score(first)["accuracy"]),
        (10, score(second)["accuracy"]),
    ]
    pairs = [(part["seed"], part["fold"]) for part in found["folds"]["each"]]
    assert pairs == [(seed, fold) for seed in (2, 10) for fold in (1, 2, 3, 4)]
    assert one(replace(first, seed=("0",) * 120))["seeds_scores"] is None


def test_groups_are_scored_and_the_worst_speaker_is_named() -> None:
    answers = replace(make(), groups={"gender": ("female", "", "male") * 40})
    found = one(answers)
    assert list(found["groups"]) == ["speaker", "gender"]
    assert list(found["groups"]["gender"]) == ["female", "male"]
    assert found["groups"]["gender"]["male"]["n"] == 40
    speakers = found["groups"]["speaker"]
    assert list(speakers) == [str(i) for i in range(1, 13)]
    worst = found["worst_speaker"]
    assert worst["accuracy"] == min(part["accuracy"] for part in speakers.values())
    assert worst == {"speaker": worst["speaker"], **speakers[worst["speaker"]]}
    assert one(replace(answers, speaker=("",) * 120))["worst_speaker"] is None


def test_abstention_is_tried_on_the_answers() -> None:
    answers = make()
    sure = answers.probabilities.max(axis=1) >= 0.6
    found = one(answers, abstention={"threshold": 0.6, "wanted": 0.9})["abstention"]
    assert found == {
        "threshold": 0.6,
        "wanted": 0.9,
        "coverage": sure.mean(),
        "precision": (answers.predicted == answers.label)[sure].mean(),
        "n": sure.sum(),
    }
    silent = one(answers, abstention={"threshold": 1.1, "wanted": 0.9})["abstention"]
    assert (silent["coverage"], silent["precision"], silent["n"]) == (0, None, 0)


def test_modalities_begin_with_all_of_them_and_harm_begins_with_none() -> None:
    (found,) = run(whole())["systems"]
    assert list(found["modalities"]) == ["video+audio", "audio"]
    assert found["modalities"]["video+audio"] == found["scores"]
    assert found["modalities"]["audio"]["n"] == 50
    assert [(each["level"], each["unit"], each["n"]) for each in found["degradations"]] == [
        (None, "", 120),
        (10.0, "dB SNR", 120),
    ]
    assert found["degradations"][0]["uar"] == score(make())["uar"]


def test_the_oracle_the_course_and_the_reasons_are_told() -> None:
    (found,) = run(whole())["systems"]
    assert found["oracle"]["scores"]["uar"]["value"] == score(make(0.9))["uar"]
    assert len(found["oracle"]["folds"]["each"]) == 4
    assert found["training"] == {"runs": [{"name": "fold 1", "epochs": [0], "lr": [0.1]}]}
    assert found["explanations"] == [
        {"key": "clip 001", "label": "calm", "predicted": "calm", "streams": {"audio": 0.2}}
    ]


# --- several systems


@pytest.mark.parametrize(("metric", "order"), [("uar", ["good", "bad"]), ("log_loss", ["good", "bad"])])
def test_systems_are_sorted_best_first(metric: str, order: list[str]) -> None:
    metrics = run(System("bad", make(0.2), {}), System("good", make(0.9), {}), metric=metric)
    assert [system["name"] for system in metrics["systems"]] == order
    assert metrics["metric"] == metric
    assert [metrics["comparison"]["pairs"][0][side] for side in "ab"] == order


def test_systems_with_their_classes_in_another_order_are_compared() -> None:
    turned = replace(whole(), name="turned")
    order = ("happy", "angry", "calm")
    turned = replace(
        turned,
        predictions=turned.predictions.renamed(order),
        oracle=make(0.9).renamed(order),
        subsets={"audio": make(0.3).take(np.arange(50)).renamed(order)},
        degraded=[Degraded("audio_noise", None, make().renamed(order))],
    )
    metrics = run(whole(), turned)
    a, b = metrics["systems"]
    assert metrics["labels"] == list(NAMES)
    for name in ("scores", "per_class", "confusion", "modalities"):
        assert a[name] == b[name]
    assert a["oracle"]["scores"] == b["oracle"]["scores"]
    assert a["degradations"][0] == b["degradations"][0]


def test_a_calibration_of_each_class_is_told_in_the_order_of_all() -> None:
    order = ("happy", "angry", "calm")
    said = {"method": "vector", "scale": [3.0, 1.0, 2.0], "bias": [0.3, 0.1, 0.2]}
    turned = System("turned", make(0.2).renamed(order), {"calibration": said})
    found = {each["name"]: each["calibration"] for each in run(System("it", make(0.9), {}), turned)["systems"]}
    assert found == {"it": None, "turned": {"method": "vector", "scale": [1.0, 2.0, 3.0], "bias": [0.1, 0.2, 0.3]}}


def test_a_calibration_of_each_fold_has_no_numbers_to_put_in_order() -> None:
    said = {"method": "vector", "scale": [], "bias": []}
    turned = System("turned", make().renamed(("happy", "angry", "calm")), {"calibration": said})
    assert run(System("a", make(), {}), turned)["systems"][1]["calibration"] == said


def test_systems_are_scored_on_the_same_clips() -> None:
    whole, first = make(0.9), np.arange(100)
    many = System(
        "many", whole, {}, oracle=whole, subsets={"audio": whole}, degraded=[Degraded("audio_noise", 0.0, whole)]
    )
    metrics = run(many, System("few", make(0.2).take(first), {}))
    found = {system["name"]: system for system in metrics["systems"]}
    assert metrics["comparison"]["left_out"] == {"many": 20, "few": 0}
    assert found["many"]["scores"]["n"] == found["many"]["oracle"]["scores"]["n"] == 100
    assert found["many"]["degradations"][0]["n"] == 100
    assert found["many"]["scores"]["uar"]["value"] == pytest.approx(score(whole.take(first))["uar"])
    assert found["many"]["notes"] == ["20 of its clips are left out, for another system has no answer about them"]
    assert found["few"]["notes"] == []


def test_other_classes_are_refused() -> None:
    other = replace(make(), names=("angry", "calm", "sad"))
    with pytest.raises(PredictionsError) as caught:
        run(System("a", make(), {}), System("b", other, {}))
    assert str(caught.value) == (
        "system b has the classes angry, calm, sad, the first one angry, calm, happy; compare systems of the same "
        "classes (a class that is never predicted has a column of zeros)"
    )


def test_an_unknown_metric_and_no_resamples_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"metric speed is unknown; take one of accuracy, uar, macro_f1, "):
        run(System("a", make(), {}), metric="speed")
    with pytest.raises(ConfigError, match=r"resamples=0 must be at least 1"):
        run(System("a", make(), {}), resamples=0)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no system to measure; give a checkpoint or a table of answers"):
        run()
