"""What a cross-validation has to do: a training and a test for each fold and each seed."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml
from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from mmer.atomic import replacing
from mmer.config import ModelConfig, PrepareConfig, ShardConfig, SplitConfig, to_plain
from mmer.corpora.folds import DealtFold, deal_folds, describe_folds
from mmer.corpora.splits import PARTS, Part
from mmer.data.dataset import usable_rows
from mmer.data.shards import open_corpus
from mmer.data.store import as_root
from mmer.errors import ConfigError, CrossvalError, SplitError
from mmer.evaluation.degrade import choose_degradations
from mmer.evaluation.select import learned_from
from mmer.training.child import share_threads
from mmer.training.past import read_past
from mmer.training.settings import comparable, name_differences, own_flags, protocol_flags, read_settings

FORMAT = 1
"""Version of plan.json."""

Calibrate = Literal["none", "temperature", "vector"]
"""How each fold's probabilities are calibrated, on its validation speakers."""

State = Literal["finished", "running", "open"]
"""Of a task; it is running while some process holds its lock."""

RESULT = "result.json"
"""What a finished task leaves last."""

_PLAN, _CONFIG = "plan.json", "config.yaml"
_UNTIL_STOPPED = -1  # as Lightning writes an endless training


@dataclass(frozen=True, slots=True)
class PlannedFold:
    """One fold.

    Args:
        number: Which, from 1.
        protocol: How it was dealt, in words.
        speakers: The speakers of each part.
        clips: How many clips of each part the model can use.
        leaks: What the parts share, a sentence each.
    """

    number: int
    protocol: str
    speakers: dict[Part, tuple[str, ...]]
    clips: dict[Part, int]
    leaks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Extras:
    """What is done with each fold beside training and testing it.

    Args:
        oracle: Whether the test speakers are watched in every epoch.
        calibrate: How its probabilities are calibrated.
        degrade: Kinds of harm under which it is scored as well.
    """

    oracle: bool = True
    calibrate: Calibrate = "none"
    degrade: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One fold of one seed.

    Args:
        number: Its number in the plan, from 1.
        seed: The seed.
        fold: The fold.
        folder: Where its training and its results go.
    """

    number: int
    seed: int
    fold: int
    folder: Path

    @property
    def name(self) -> str:
        """What a message calls it."""
        return f"task {self.number} (seed {self.seed}, fold {self.fold})"

    @property
    def lock(self) -> FileLock:
        """What whoever works on it holds; a killed holder keeps nobody out."""
        return FileLock(self.folder.with_name(f".{self.folder.name}.lock"), blocking=False)

    @property
    def finished(self) -> bool:
        """Whether it was trained and tested."""
        return (self.folder / RESULT).is_file()

    @property
    def state(self) -> State:
        """How far it is."""
        if self.finished:
            return "finished"
        if not self.folder.parent.is_dir():
            return "open"
        try:
            with self.lock:
                return "open"
        except Timeout:
            return "running"


@dataclass(frozen=True, slots=True)
class Plan:
    """A cross-validation; every process that works on it has the same.

    Args:
        name: What the report calls the system.
        protocol: The protocol's name.
        seeds: The seeds, in the order in which they were asked for.
        folds: The folds.
        left_out: Why a partial copy of the corpus cannot fill others, a sentence each.
        extras: What is done with each fold beside.
        threads: Threads of each training, which shape its rounding.
        clips: Checksum of what was dealt.
        prepare: How the clips were prepared.
        settings: All settings of ``train.py fit``, but for those of a single task.
    """

    name: str
    protocol: str
    seeds: tuple[int, ...]
    folds: tuple[PlannedFold, ...]
    left_out: tuple[str, ...]
    extras: Extras
    threads: int
    clips: str
    prepare: PrepareConfig
    settings: dict[str, Any]

    def tasks(self, folder: Path) -> list[Task]:
        """Return what there is to do, seed by seed; a seed that is added later adds tasks at the end."""
        pairs = [(seed, fold.number) for seed in self.seeds for fold in self.folds]
        return [
            Task(number, seed, fold, folder / f"seed-{seed}" / f"fold-{fold}")
            for number, (seed, fold) in enumerate(pairs, 1)
        ]

    def fold(self, number: int) -> PlannedFold:
        """Return a fold by its number."""
        return next(fold for fold in self.folds if fold.number == number)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the answers."""
        return TypeAdapter(ModelConfig).validate_python(self.settings["model"]["config"]).label_set.names

    @property
    def epochs(self) -> int | None:
        """How many epochs a training lasts; None where the settings end it otherwise."""
        epochs = self.settings["trainer"]["max_epochs"]
        return None if epochs in (None, _UNTIL_STOPPED) else int(epochs)

    def cost(self, task: Task) -> int | None:
        """Return how many clips a task reads; None where nobody knows how long it trains."""
        if self.epochs is None:
            return None
        clips = self.fold(task.fold).clips
        watched = clips["validation"] + (clips["test"] if self.extras.oracle else 0)
        tested = clips["test"] * (2 if self.extras.degrade else 1)
        if self.extras.calibrate != "none":
            tested += clips["validation"] + clips["test"]  # what it is fitted on, and the test before it
        return self.epochs * (clips["train"] + watched) + tested


def make_plan(
    config: Path, protocol: str, seeds: Sequence[int], extras: Extras, jobs: int, overrides: Sequence[str]
) -> Plan:
    """Plan a cross-validation.

    Args:
        config: The YAML of ``train.py``.
        protocol: How speakers are dealt.
        seeds: Seeds of the trainings.
        extras: What is done with each fold beside training and testing it.
        jobs: How many tasks run at once on this machine; they share its cores.
        overrides: Further flags of ``train.py fit``.

    Raises:
        ConfigError: The settings cannot work.
        CorpusError: The folder was not prepared.
        SplitError: The protocol does not fit the clips.
    """
    settings = read_settings(config, [*protocol_flags(protocol), *overrides])
    if settings["trainer"]["fast_dev_run"] or settings["trainer"]["enable_checkpointing"] is False:
        raise ConfigError("trainer.fast_dev_run and trainer.enable_checkpointing=false leave no checkpoint to test")
    split = TypeAdapter(SplitConfig).validate_python(settings["data"]["split"])
    model = TypeAdapter(ModelConfig).validate_python(settings["model"]["config"])
    if split.protocol != protocol:
        raise ConfigError(f"--protocol is {protocol} and a flag behind -- makes it {split.protocol}; leave it out")
    choose_degradations(extras.degrade, model.reads)
    corpus = open_corpus(as_root(settings["data"]["root"]), ShardConfig(**settings["data"].get("shards", {})))
    dealt, empty = deal_folds(corpus.rows, split)
    usable = {row.key for row in usable_rows(corpus.rows, model)}
    folds = tuple(_planned(fold, usable) for fold in dealt)
    _check_folds(folds, extras, model.reads)
    _check_past(settings["init"], model, split, dealt)
    return Plan(
        name=config.stem,
        protocol=protocol,
        seeds=tuple(dict.fromkeys(seeds)),
        folds=folds,
        left_out=tuple(map(str, empty)),
        extras=extras,
        threads=share_threads(jobs),
        clips=str(describe_folds(corpus.rows, split, dealt)["clips"]),
        prepare=corpus.config,
        settings=settings,
    )


def begin(folder: Path, plan: Plan) -> Plan:
    """Write a plan into a folder, or find the one that it holds, with seeds that are new added.

    Settings that change no number are this process's own in what is returned, and not written over those of the folder.

    Raises:
        CrossvalError: The folder holds something else, or a cross-validation with other settings.
    """
    held = read_plan(folder)
    if held is None and folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise CrossvalError(f"{folder} holds other things than a cross-validation; name a new or an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        merged = _merge(folder, read_plan(folder), plan)  # again: another process may have been quicker
        with replacing(folder / _CONFIG) as temporary:
            temporary.write_text(yaml.safe_dump(merged.settings, sort_keys=False), encoding="utf-8")
        with replacing(folder / _PLAN) as temporary:
            plain = {"format": FORMAT, "plan": to_plain(merged)}
            temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")
    return replace(merged, settings=plan.settings)


def merge(folder: Path, plan: Plan) -> Plan:
    """Return a plan as :func:`begin` would, and write nothing."""
    return replace(_merge(folder, read_plan(folder), plan), settings=plan.settings)


def read_plan(folder: Path) -> Plan | None:
    """Read the plan of a folder; None where it has none.

    Raises:
        CrossvalError: It cannot be read.
    """
    path = folder / _PLAN
    if not path.is_file():
        return None
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        if plain["format"] != FORMAT:
            raise CrossvalError(f"{path} has format {plain['format']} and this version reads {FORMAT}")
        return TypeAdapter(Plan).validate_python(plain["plan"])
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise CrossvalError(f"{path} is not what mmer crossval writes; name a new folder") from error


def train_flags(plan: Plan, task: Task) -> list[str]:
    """Return the flags of ``train.py`` for one task."""
    return [
        "fit",
        f"--config={task.folder.parents[1] / _CONFIG}",
        f"--seed_everything={task.seed}",
        f"--data.split.fold={task.fold}",
        f"--trainer.default_root_dir={task.folder}",
        *own_flags(plan.settings),
        "--trainer.enable_progress_bar=false",  # which would fill the task's log
        *(["--oracle"] if plan.extras.oracle else []),
    ]


def _planned(fold: DealtFold, usable: Container[str]) -> PlannedFold:
    return PlannedFold(
        fold.number,
        fold.split.protocol,
        {part: fold.split.speakers(part) for part in PARTS},
        {part: sum(row.key in usable for row in fold.parts[part]) for part in PARTS},
        fold.split.leaks,
    )


def _check_folds(folds: Sequence[PlannedFold], extras: Extras, reads: Sequence[str]) -> None:
    """Refuse folds that cannot be trained, tested or calibrated, before the first is begun."""
    for fold in folds:
        if empty := [part for part in ("train", "test") if not fold.clips[part]]:
            raise SplitError(
                f"{fold.protocol}: the {empty[0]} part has no clip that the model can use, with {' or '.join(reads)} "
                "and one of its labels; name another corpus (--data.root) or protocol"
            )
        if extras.calibrate != "none" and not fold.clips["validation"]:
            raise ConfigError(
                f"--calibrate {extras.calibrate} is fitted on validation clips, and {fold.protocol} has none; "
                "leave it out, or choose another protocol"
            )


def _check_past(init: str | None, model: ModelConfig, split: SplitConfig, folds: Sequence[DealtFold]) -> None:
    """Refuse folds that would test whom a checkpoint that the trainings begin from has learned from."""
    for path, card in read_past(init, model).items():
        for fold in folds:
            known = [] if fold.split.leaks or split.allow_leak else list(learned_from(fold.parts["test"], card))
            if known:
                raise SplitError(
                    f"{fold.split.protocol}: {path} {'; '.join(known)}, and this fold tests them; begin from another, "
                    "or data.split.allow_leak trains all the same and marks every result"
                )


def _merge(folder: Path, held: Plan | None, plan: Plan) -> Plan:
    """Return the plan that a folder holds, with new seeds at its end.

    Raises:
        CrossvalError: It is another one.
    """
    if held is None:
        return plan
    before, now = comparable(held.settings, plan.settings)
    if differences := name_differences({**_beside(held), **before}, {**_beside(plan), **now}):
        raise CrossvalError(
            f"{folder} holds a cross-validation with other settings: {differences}; give those, or name a new folder"
        )
    return replace(held, seeds=tuple(dict.fromkeys((*held.seeds, *plan.seeds))))


def _beside(plan: Plan) -> dict[str, Any]:
    """Return what two processes must agree on beside the settings of their trainings."""
    plain = to_plain(plan)
    compared = {name: plain[name] for name in ("protocol", "extras", "prepare")}
    return {**compared, "checksum of the clips": plain["clips"]}
