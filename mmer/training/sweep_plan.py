"""What there is to sweep, checked before anything starts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mmer.config import ModelConfig, ShardConfig, SplitConfig
from mmer.corpora.splits import make_split
from mmer.data.shards import open_corpus
from mmer.data.store import as_root
from mmer.errors import ConfigError
from mmer.training.devices import device_flags
from mmer.training.settings import read_several
from mmer.training.study import Pruner
from mmer.training.sweep_file import Sweep, read_sweep
from mmer.training.sweepable import check_flags


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What there is to sweep; every process that works on it has the same.

    Args:
        sweep: The file.
        overrides: Further flags of ``train.py fit``, for every trial.
        seed: Seed of what is drawn.
        retries: How many times a trial that dies is tried again.
        pruner: When trials are ended early.
        settings: All settings of the first sample.
        module: The module that trains.
    """

    sweep: Sweep
    overrides: tuple[str, ...] = ()
    seed: int = 0
    retries: int = 2
    pruner: Pruner = "none"
    settings: dict[str, Any] = field(default_factory=dict)
    module: str = "mmer.training"

    @property
    def epochs(self) -> int | None:
        """How many epochs a trial lasts; None where the settings end it otherwise, or where it is swept."""
        epochs = self.settings.get("trainer", {}).get("max_epochs")
        swept = "trainer.max_epochs" in self.sweep.domains
        return int(epochs) if epochs is not None and epochs > 0 and not swept else None

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
        """Return what two processes must agree on; how many workers read clips changes no number."""
        sweep = asdict(self.sweep)
        parameters = {name: str(domain) for name, domain in self.sweep.domains.items()}
        settings = json.loads(json.dumps(self.settings))
        for part, name in (("trainer", "default_root_dir"), ("data", "workers")):
            settings.get(part, {}).pop(name, None)
        kept = {name: sweep[name] for name in ("method", "metric", "goal", "fixed", "halving")}
        return {
            **kept,
            "parameters": parameters,
            "seed": self.seed,
            "retries": self.retries,
            "pruner": self.pruner,
            "settings": settings,
        }

    def flags(self, params: dict[str, Any], device: str) -> list[str]:
        """Return the flags of a trial, but for its folder."""
        alone = ["--trainer.devices=1"] if device == "auto" and self.on_one_device else []  # whatever else is there
        return [*self.sweep.flags(params), *device_flags(device), *alone, *self.overrides]


def make_plan(
    file: Path, overrides: Sequence[str], *, seed: int = 0, retries: int = 2, pruner: Pruner | None = None
) -> SweepPlan:
    """Read a sweep and check all of it: that each parameter is a setting, that every value is one that it can have.

    Args:
        file: The sweep.
        overrides: Further flags of ``train.py fit``.
        seed: Seed of what is drawn.
        retries: How many times a trial that dies is tried again.
        pruner: When trials are ended early; None does as the file says.

    Raises:
        MmerError: It cannot work.
    """
    sweep = read_sweep(file)
    check_flags(overrides, (*sweep.domains, *sweep.fixed))
    found = read_several([[*sweep.flags(params), *overrides] for params in sweep.samples()])
    for settings in found:
        _check_settings(settings)
    ended: Pruner = "none" if sweep.halving is None else "halving"
    return SweepPlan(sweep, tuple(overrides), seed, retries, pruner or ended, found[0])


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
    split = TypeAdapter(SplitConfig).validate_python(settings["data"]["split"])
    shards = TypeAdapter(ShardConfig).validate_python(settings["data"].get("shards", {}))
    rows = open_corpus(as_root(settings["data"]["root"]), shards).rows
    if not make_split(rows, split).rows(rows, "validation"):
        raise ConfigError(
            "the split has no validation clips, and a sweep chooses on validation speakers; name some, as "
            "--data.split.validation=[11,12]"
        )
