from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmer import cli
from mmer.baselines.late import combine
from mmer.baselines.members import Answers, Member, align, read_folder
from mmer.errors import PredictionsError, SplitError
from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions, join
from mmer.training.plan import RESULT, Task
from tests.baselines.conftest import NAMES

Make = Callable[..., Predictions]
PEOPLE = {"1": (["5", "6"], ["7", "8"]), "2": (["7", "8"], ["5", "6"])}  # of each fold: validation, test


@pytest.fixture
def member(answering: Make) -> Callable[..., Member]:
    def make(name: str, right: float, seed: int = 0, skip: int = 0) -> Member:
        answers = {
            ("", fold): Answers(
                answering(validated, right, seed, fold, skip), answering(tested, right, seed + 1, fold, skip)
            )
            for fold, (validated, tested) in PEOPLE.items()
        }
        return Member(name, answers)

    return make


def write(member: Member, folder: Path) -> Path:
    folder.mkdir()
    join([each.test for each in member.answers.values()]).write(folder / "predictions.csv")
    join([each.validation for each in member.answers.values()]).write(folder / "validation.csv")
    return folder


def test_the_average_is_the_mean_of_the_probabilities(member: Callable[..., Member]) -> None:
    members = [member("a", 0.8, 1), member("b", 0.6, 2)]
    found = combine(align(members), "average").system.predictions
    each = [join([answers.test for answers in one.answers.values()]).probabilities for one in members]
    np.testing.assert_allclose(found.probabilities, np.mean(each, axis=0))
    assert set(found.fold) == {"1", "2"}


@pytest.mark.parametrize("method", ["logistic", "forest"])
def test_a_stack_learns_from_validation_speakers_whom_to_trust(method: Any, member: Callable[..., Member]) -> None:
    members = [member("good", 0.95, 1), member("bad", 0.5, 2)]
    stack = combine(align(members), method)
    assert stack.shares()["good"] > 0.5
    assert score(stack.system.predictions)["uar"] > 0.7
    assert sum(stack.shares().values()) == pytest.approx(1)


def test_what_is_fitted_never_sees_a_test_label(member: Callable[..., Member]) -> None:
    members = [member("a", 0.8, 1), member("b", 0.6, 2)]
    before = combine(align(members), "logistic").system.predictions

    def wrong(answers: Answers) -> Answers:
        return replace(answers, test=replace(answers.test, label=(answers.test.label + 1) % 3))

    twisted = [Member(one.name, {place: wrong(each) for place, each in one.answers.items()}) for one in members]
    after = combine(align(twisted), "logistic").system.predictions
    np.testing.assert_array_equal(after.probabilities, before.probabilities)
    assert (after.label != before.label).all()


@pytest.mark.parametrize("method", ["average", "logistic"])
def test_a_clip_that_lacks_a_member_is_combined_of_the_others(method: Any, member: Callable[..., Member]) -> None:
    whole, part = member("voice", 0.8, 1), member("face", 0.7, 2, skip=3)
    stack = combine(align([whole, part]), method)
    found = stack.system.predictions
    assert len(found) == 2 * 24
    assert any(note == "fold 1: 3 clips by voice" for note in stack.system.about["notes"])
    assert {each.members for each in stack.weights} == {("voice", "face"), ("voice",)}
    if method == "average":
        alone = [found.key.index(f"7-{i}") for i in range(3)]
        own = whole.answers["", "1"].test
        np.testing.assert_allclose(found.probabilities[alone], own.probabilities[:3])


def test_nobody_who_has_all_in_validation_leaves_the_mean(member: Callable[..., Member]) -> None:
    whole, part = member("voice", 0.8, 1), member("face", 0.7, 2)
    few = {
        place: replace(each, validation=each.validation.where(np.isin(each.validation.label, [0])))
        for place, each in part.answers.items()
    }
    stack = combine(align([whole, Member("face", few)]), "logistic")
    assert (
        "fold 1: 24 clips by voice+face, by their mean: too few validation clips have all of them"
        in (stack.system.about["notes"])
    )
    assert stack.shares() == {"voice": 0.5, "face": 0.5}


def test_classes_in_another_order_are_the_same_classes(member: Callable[..., Member]) -> None:
    first, second = member("a", 0.8, 1), member("b", 0.6, 2)
    turned = Member("b", {place: each.renamed(("noise", "high", "low")) for place, each in second.answers.items()})
    plain, other = (combine(align([first, each]), "average").system.predictions for each in (second, turned))
    np.testing.assert_allclose(plain.probabilities, other.probabilities)


def test_a_member_of_one_seed_stands_beside_each_seed_of_another(member: Callable[..., Member]) -> None:
    first, second = member("a", 0.8, 1), member("b", 0.6, 2)
    seeds = {(seed, fold): each for (_, fold), each in first.answers.items() for seed in ("0", "1")}
    found = combine(align([Member("a", seeds), second]), "average").system.predictions
    assert set(found.seed) == {"0", "1"}
    assert len(found) == 2 * 2 * 24
    three = {(seed, fold): each for (_, fold), each in second.answers.items() for seed in ("0", "1", "2")}
    with pytest.raises(PredictionsError, match="b has the seeds 0, 1, 2 and a 0, 1; combine systems of the same seeds"):
        align([Member("a", seeds), Member("b", three)])


def changed(one: Member, part: str, change: Callable[[Predictions], Predictions]) -> Member:
    answers = {place: replace(each, **{part: change(getattr(each, part))}) for place, each in one.answers.items()}
    return Member("b", answers)


def test_members_of_different_splits_are_refused(member: Callable[..., Member]) -> None:
    first, second = member("a", 0.8, 1), member("b", 0.6, 2)

    def refused(other: Member, kind: type[Exception], message: str) -> None:
        with pytest.raises(kind, match=message):
            align([first, other])

    one = Member("b", {("", "1"): second.answers["", "1"]})
    refused(one, PredictionsError, "a has the folds 1, 2 and b 1; combine systems of the same protocol")
    fewer = changed(second, "test", lambda p: p.where(np.array(p.speaker) != "7"))
    refused(fewer, SplitError, "fold 1: the test speakers of a are 7, 8 and those of b 8; combine systems of the same")
    nobody = changed(second, "validation", lambda p: replace(p, speaker=("",) * len(p)))
    refused(nobody, PredictionsError, "fold 1: b does not say who is in its validation clips; add a column speaker")
    labels = changed(second, "test", lambda p: replace(p, label=(p.label + 1) % 3))
    refused(labels, PredictionsError, "fold 1: b says that clip 7-0 has another label or speaker than the others say")
    classes = Member("b", {place: other_classes(each) for place, each in second.answers.items()})
    refused(classes, PredictionsError, "a has the classes high, low, noise and b x, y, z; combine systems of the same")
    both = [changed(each, "validation", lambda p: replace(p, speaker=("7",) * len(p))) for each in (first, second)]
    with pytest.raises(SplitError, match="fold 1: speakers 7 are tested and would be learned from"):
        align(both)


def other_classes(answers: Answers) -> Answers:
    return Answers(*(replace(each, names=("x", "y", "z")) for each in (answers.validation, answers.test)))


def test_a_seed_without_a_fold_is_refused(member: Callable[..., Member]) -> None:
    first, second = member("a", 0.8, 1), member("b", 0.6, 2)
    seeds = {("0", "1"): first.answers["", "1"], ("1", "2"): first.answers["", "2"]}
    whole = {(seed, fold): each for (_, fold), each in second.answers.items() for seed in ("0", "1")}
    with pytest.raises(PredictionsError, match="a has no answers for seed 1, fold 1; finish it"):
        align([Member("b", whole), Member("a", seeds)])


def test_folders_are_combined_from_the_command_line(
    tmp_path: Path, member: Callable[..., Member], capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = (write(member(name, right, i), tmp_path / name) for i, (name, right) in enumerate((("a", 0.9), ("b", 0.6))))
    out = tmp_path / "late"
    args = ["late", str(a), f"second={b}", "--output", str(out), "--resamples", "20"]
    assert cli.main(args) == 0
    said = capsys.readouterr().out
    assert "second" in said
    assert "% of the weights" in said
    assert len(Predictions.read(out / "predictions.csv")) == 48
    with (out / "weights.csv").open(newline="") as file:
        weights = list(csv.DictReader(file))
    assert [(each["fold"], each["member"]) for each in weights] == [
        (fold, name) for fold in ("1", "2") for name in ("a", "second")
    ]


def test_checkpoints_and_cross_validations_are_asked_about_their_validation_speakers(
    tmp_path: Path, member: Callable[..., Member], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The network is played by its answers; what is read and what is asked for is real."""
    one, other = member("a", 0.9, 1), member("b", 0.6, 2)
    asked = []

    def evaluate(checkpoint: Path, root: Path | None, part: str, **_: Any) -> SimpleNamespace:
        asked.append((checkpoint.relative_to(tmp_path).as_posix(), part, root))
        fold = "2" if "fold-2" in str(checkpoint) else "1"
        return SimpleNamespace(predictions=getattr(other.answers["", fold], part))

    monkeypatch.setattr("mmer.evaluation.evaluate.evaluate_checkpoint", evaluate)
    tasks = [Task(int(fold), 0, int(fold), tmp_path / f"cv/seed-0/fold-{fold}") for fold in PEOPLE]
    for task, answers in zip(tasks, other.answers.values(), strict=True):
        task.folder.mkdir(parents=True)
        answers.test.write(task.folder / "predictions.csv")
    plan = SimpleNamespace(tasks=lambda folder: tasks, classes=NAMES)
    monkeypatch.setattr("mmer.training.plan.read_plan", lambda folder: plan if folder.name == "cv" else None)
    args = ["late", str(write(one, tmp_path / "a")), str(tmp_path / "cv"), "--output", str(tmp_path / "late")]
    assert cli.main([*args, "--method", "average"]) == 2
    assert "2 of 2 tasks are not finished, task 1 (seed 0, fold 1) the first" in capsys.readouterr().err
    for task in tasks:
        (task.folder / RESULT).touch()
    assert cli.main([*args, "--resamples", "20", "--data.root", "x"]) == 0
    assert asked == [(f"cv/seed-0/fold-{i}/checkpoints/best.ckpt", "validation", Path("x")) for i in (1, 2)]

    asked.clear()
    for name in ("b.ckpt", "c.ckpt"):
        (tmp_path / name).touch()
    args = ["late", str(tmp_path / "b.ckpt"), str(tmp_path / "c.ckpt"), "--output", str(tmp_path / "both")]
    assert cli.main([*args, "--resamples", "20"]) == 0
    assert asked == [(name, part, None) for name in ("b.ckpt", "c.ckpt") for part in ("validation", "test")]

    asked.clear()
    assert cli.main([*args, "--method", "average", "--resamples", "20"]) == 0
    assert asked == [(name, "test", None) for name in ("b.ckpt", "c.ckpt")], "a mean learns from nobody"


def test_a_mean_needs_no_answers_to_learn_from(
    tmp_path: Path, member: Callable[..., Member], capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [write(member(name, 0.8, i), tmp_path / name) for i, name in enumerate("ab")]
    (folders[0] / "validation.csv").unlink()
    args = ["late", *map(str, folders), "--output", str(tmp_path / "late"), "--resamples", "20", "--method"]
    assert cli.main([*args, "logistic"]) == 2
    assert "has no validation.csv" in capsys.readouterr().err
    assert cli.main([*args, "average"]) == 0
    found = Predictions.read(tmp_path / "late/predictions.csv")
    each = [Predictions.read(folder / "predictions.csv").probabilities for folder in folders]
    np.testing.assert_allclose(found.probabilities, np.mean(each, axis=0), atol=1e-6)


@pytest.mark.parametrize("place", ["a", "b", "other", "report"])
def test_the_answers_of_one_system_are_never_overwritten(
    tmp_path: Path, member: Callable[..., Member], capsys: pytest.CaptureFixture[str], place: str
) -> None:
    a, b, _, report = (write(member(name, 0.8), tmp_path / name) for name in ("a", "b", "other", "report"))
    for folder in (b, report):
        (folder / "validation.csv").unlink()
    before = (tmp_path / place / "predictions.csv").read_bytes()
    assert cli.main(["late", str(a), str(b), "--method", "average", "--output", str(tmp_path / place)]) == 2
    said = f"--output {tmp_path / place} holds the answers of one system; name another folder"
    assert said in capsys.readouterr().err
    assert (tmp_path / place / "predictions.csv").read_bytes() == before


def test_mistakes_are_one_line(
    tmp_path: Path, member: Callable[..., Member], capsys: pytest.CaptureFixture[str]
) -> None:
    a, out = write(member("a", 0.9), tmp_path / "a"), tmp_path / "late"

    def refused(*args: object) -> str:
        assert cli.main(["late", *map(str, args), "--output", str(out)]) == 2
        assert not out.exists() or out.is_file()
        return capsys.readouterr().err

    assert "one system is not combined with anything; name two or more" in refused(a)
    assert "nowhere does not exist; name a checkpoint, folder of mmer crossval" in refused(a, tmp_path / "nowhere")
    (a / "validation.csv").rename(a / "old.csv")
    assert f"{a} has no validation.csv; give a checkpoint" in refused(a, a)
    out.write_text("")
    assert f"--output {out} is a file; name a folder" in refused(a, a)


def test_tables_of_different_folds_are_refused(tmp_path: Path, member: Callable[..., Member]) -> None:
    folder = write(member("a", 0.9), tmp_path / "a")
    validation = Predictions.read(folder / "validation.csv")
    validation.where(np.array(validation.fold) == "1").write(folder / "validation.csv")
    with pytest.raises(PredictionsError, match=r"predictions.csv has the folds 1, 2 and validation.csv 1; both must"):
        read_folder("a", folder, fitted=True)
