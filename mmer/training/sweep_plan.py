"""What there is to sweep, checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from mmer.config import ModelConfig, ShardConfig, SplitConfig
from mmer.corpora.manifest import listed
from mmer.corpora.splits import make_split
from mmer.data.shards import open_corpus
from mmer.data.store import as_root
from mmer.errors import ConfigError, SweepError
from mmer.training.devices import device_flags
from mmer.training.domains import show_value
from mmer.training.settings import comparable, name_differences, read_several
from mmer.training.sweep_file import Pruner, Sweep
from mmer.training.sweepable import check_flags, check_same, look_up

_EPOCHS = "trainer.max_epochs"


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What there is to sweep; every process that works on it has the same.

    Args:
        sweep: The file.
        overrides: Further flags of ``train.py fit``, for every trial.
        seed: Seed of what is drawn.
        pruner: When trials are ended early.
        settings: All settings of the first sample.
        module: The module that trains.
    """

    sweep: Sweep
    overrides: tuple[str, ...] = ()
    seed: int = 0
    pruner: Pruner = "none"
    settings: dict[str, Any] = field(default_factory=dict)
    module: str = "mmer.training"

    @property
    def epochs(self) -> int | None:
        """How many epochs every trial lasts; None where the settings end it otherwise, or where it is swept."""
        swept = {_EPOCHS, "trainer"} & self.sweep.domains.keys()
        return None if swept else _count(self.settings.get("trainer", {}).get("max_epochs"))

    def epochs_of(self, params: Mapping[str, Any]) -> int | None:
        """Return how many epochs a trial lasts; None where nobody knows before its end."""
        return _count(params[_EPOCHS]) if _EPOCHS in params else self.epochs

    @property
    def on_one_device(self) -> bool:
        """Whether a trial wants a single device; one that wants several finds them itself."""
        return self.settings.get("trainer", {}).get("devices", "auto") in ("auto", 1, "1")

    @property
    def chance(self) -> float | None:
        """What guessing scores, of a metric of which that is known."""
        if not self.settings or self.sweep.metric != "val/uar":
            return None
        model = TypeAdapter(ModelConfig).validate_python(self.settings["model"]["config"])
        return 1 / len(model.label_set.names)

    def definition(self) -> dict[str, Any]:
        """Return what two processes must agree on, as a study keeps it."""
        return {
            **describe(self.sweep),
            "halving": None if self.sweep.halving is None else asdict(self.sweep.halving),
            "seed": self.seed,
            "pruner": self.pruner,
            "settings": self.settings,
        }

    def differences(self, held: Mapping[str, Any]) -> str:
        """Say by name in what this plan makes other trials than the one by which a study was begun.

        Args:
            held: That one's definition; what it lacks, as an older version's, has its default.
        """
        now = self.definition()
        begun = {**SweepPlan(self.sweep).definition(), "settings": {}, **held}
        begun.pop("retries", None)  # older versions asked for the same
        before, settings = comparable(begun["settings"], self.settings)
        return name_differences({**begun, "settings": before}, {**now, "settings": settings})

    def flags(self, params: dict[str, Any], device: str) -> list[str]:
        """Return the flags of a trial, but for its folder."""
        alone = ["--trainer.devices=1"] if device == "auto" and self.on_one_device else []  # whatever else is there
        return [*self.sweep.flags(params), *device_flags(device), *alone, *self.overrides]


def describe(sweep: Sweep) -> dict[str, Any]:
    """Return what makes two sweeps the same, whoever trains their trials."""
    parameters = {name: str(domain) for name, domain in sweep.domains.items()}
    kept = {"method": sweep.method, "metric": sweep.metric, "goal": sweep.goal, "fixed": sweep.fixed}
    return {**kept, "parameters": parameters}


def planned_before(sweep: Sweep, held: Mapping[str, Any], study: str) -> SweepPlan:
    """Return the plan by which a study was begun.

    Args:
        sweep: The file, as it is now.
        held: The study's definition.
        study: Its name.

    Raises:
        SweepError: The file is another sweep by now.
    """
    now = describe(sweep)
    if differences := name_differences({name: held.get(name) for name in now}, now):
        raise SweepError(
            f"study {study} was begun with another sweep than this file: {differences}; give the file as it was, or "
            "the --study that it began"
        )
    known = {name: held[name] for name in ("seed", "pruner", "settings") if name in held}
    return SweepPlan(sweep, **known)


def make_plan(sweep: Sweep, overrides: Sequence[str], *, seed: int = 0, pruner: Pruner | None = None) -> SweepPlan:
    """Check all of a sweep: that each parameter is a setting, that every value is one that it can have.

    Args:
        sweep: The file.
        overrides: Further flags of ``train.py fit``.
        seed: Seed of what is drawn.
        pruner: When trials are ended early; None does as the file says.

    Raises:
        MmerError: It cannot work.
    """
    check_flags(overrides, (*sweep.domains, *sweep.fixed))
    samples = sweep.samples()
    found = read_several([[*sweep.flags(params), *overrides] for params in samples])
    for settings in found:
        _check_settings(settings)
    check_same(found, tuple(sweep.domains))
    _check_clips(found[0])  # the same for all by now, and they may be far away
    _check_reach(sweep, samples, found)
    ended: Pruner = "none" if sweep.halving is None else "halving"
    return SweepPlan(sweep, tuple(overrides), seed, pruner or ended, found[0])


def _count(epochs: Any) -> int | None:
    """Return a number of epochs; Lightning writes an endless training as -1."""
    return int(epochs) if isinstance(epochs, int) and epochs > 0 else None


def _check_reach(sweep: Sweep, samples: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a parameter that another flag undoes, as a config behind it, or a flag of all that it is a part of.

    Raises:
        ConfigError: There is one.
    """
    for name in sweep.domains:
        given = {show_value(params[name]) for params in samples}
        read = {json.dumps(look_up(settings, name), sort_keys=True) for settings in found}
        if len(read) < len(given) and read != {"null"}:
            raise ConfigError(
                f"parameters.{name} does not reach the training: {listed(given)} make {listed(read)} of it; a flag "
                "behind it, in the command or behind --, undoes it, or two of its values are the same"
            )


def _check_settings(settings: dict[str, Any]) -> None:
    """Refuse trials that leave nothing to compare.

    Raises:
        MmerError: They would.
    """
    trainer = settings["trainer"]
    if trainer["fast_dev_run"] or trainer["enable_checkpointing"] is False:
        raise ConfigError("trainer.fast_dev_run and trainer.enable_checkpointing=false leave nothing to choose from")
    if trainer["logger"] is not None:
        raise ConfigError("trainer.logger takes the place of the log that a sweep reads; leave it out")
    TypeAdapter(ModelConfig).validate_python(settings["model"]["config"])
    TypeAdapter(ShardConfig).validate_python(settings["data"].get("shards", {}))


def _check_clips(settings: dict[str, Any]) -> None:
    """Refuse a split without validation clips.

    Raises:
        MmerError: It is one, or the clips cannot be read.
    """
    split = TypeAdapter(SplitConfig).validate_python(settings["data"]["split"])
    shards = TypeAdapter(ShardConfig).validate_python(settings["data"].get("shards", {}))
    rows = open_corpus(as_root(settings["data"]["root"]), shards).rows
    if not make_split(rows, split).rows(rows, "validation"):
        raise ConfigError(
            "the split has no validation clips, and a sweep chooses on validation speakers; name some, as "
            "--data.split.validation=[11,12]"
        )
