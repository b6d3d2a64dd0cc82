"""``--wandb PROJECT``: a run at Weights & Biases, online or offline. Without it, nothing of wandb is imported."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from mmer.atomic import replacing
from mmer.errors import ConfigError
from mmer.training.callbacks import versions
from mmer.training.git import ask_git, read_git
from mmer.training.say import say
from mmer.training.wandb_server import choose_mode, complaint_of

_STAGE = "WANDB_DATA_DIR"  # where copies of checkpoints and clips wait for their upload; else in the user's home


class RunLog(WandbLogger):
    """The run at Weights & Biases; what it writes lies in the run's own folder, ``wandb/``.

    A run that goes on from its own checkpoint goes on there too, offline as well: its id is kept in ``wandb.json``.

    Args:
        project: The project.
        folder: The run's folder.
        offline: Whether to leave the network alone.
        goes_on: Whether the run that the folder holds goes on; else a new one begins.
        config: What to tell of the run at its very beginning.
    """

    def __init__(self, project: str, folder: Path, *, offline: bool, goes_on: bool, config: Mapping[str, Any]) -> None:
        self.note = folder / "wandb.json"
        self.offline = offline
        self.goes_on = goes_on
        super().__init__(
            project=project,
            save_dir=folder,
            id=_read_id(self.note, project) if goes_on else None,
            mode="offline" if offline else None,  # Lightning's own offline=True would change the environment
            config=dict(config),
            settings={"git_root": root} if (root := ask_git(Path.cwd(), "rev-parse", "--show-toplevel")) else None,
        )
        del self._wandb_init["anonymous"]  # which wandb knows no more, and says so

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The run; it begins when it is first asked for, on one process of all.

        Raises:
            ConfigError: It cannot begin: the key is wrong, the network is away.
        """
        if self._experiment is None:
            self._begin()
        return self._experiment

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, after an error or Ctrl-C too, and say how to upload what was written offline."""
        if self._experiment is None:
            return
        self._end(0 if status == "success" else 1)
        if self.offline and (parts := self._parts()):
            say(f"wandb sync {shlex.join(map(str, parts))}")

    @rank_zero_only
    def discard(self) -> None:
        """Leave nothing of a run that was refused before its first step; a server that heard of it calls it failed."""
        if self._experiment is None:
            return
        written = Path(self._experiment.dir).parent
        self._end(1)
        self._experiment = None
        if not self.goes_on:
            self.note.unlink(missing_ok=True)
        self._clear([written])

    def _begin(self) -> None:
        import wandb

        self.note.parent.mkdir(parents=True, exist_ok=True)
        others = self._written()
        try:
            run = WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]
        except wandb.errors.Error as error:
            self._clear(self._written() - others)
            raise ConfigError(
                f"wandb={self.name}: the run cannot begin at Weights & Biases ({complaint_of(error)}); "
                "WANDB_MODE=offline writes it into the run's folder, to be uploaded later"
            ) from error
        with replacing(self.note) as temporary:
            temporary.write_text(json.dumps({"id": run.id, "project": self.name}) + "\n", encoding="utf-8")

    def _written(self) -> set[Path]:
        return set((self.note.parent / "wandb").glob("*run-*"))

    def _clear(self, runs: Iterable[Path]) -> None:
        """Remove runs at W&B, and the folders in which nothing else is."""
        for run in runs:
            shutil.rmtree(run, ignore_errors=True)
        if not self._written():
            shutil.rmtree(self.note.parent / "wandb", ignore_errors=True)
        with suppress(OSError):
            self.note.parent.rmdir()

    def _end(self, code: int) -> None:
        self._experiment.finish(exit_code=code)  # type: ignore[union-attr]
        if os.environ.get(_STAGE) == str(_stage(self.note.parent)):
            del os.environ[_STAGE]

    def _parts(self) -> list[Path]:
        """Return what is not uploaded yet of the run: a folder for each time that it went on, in their order."""
        found = sorted(Path(self._experiment.dir).parents[1].glob(f"offline-run-*-{self._experiment.id}"))  # type: ignore[union-attr]
        return [folder for folder in found if not any(folder.glob("*.synced"))]


def open_log(project: str, folder: Path, *, goes_on: bool, settings: Mapping[str, Any]) -> RunLog | None:
    """Return the log of a run at Weights & Biases: offline where there is no key, and none under WANDB_MODE=disabled.

    Args:
        project: The project.
        folder: The run's folder.
        goes_on: Whether the run that the folder holds goes on.
        settings: All settings of the run.
    """
    os.environ.setdefault(_STAGE, str(_stage(folder)))  # before wandb looks at its environment, which it does once
    if (mode := choose_mode()) == "disabled":
        return None
    config = {
        **settings,
        "versions": versions(),
        "git": read_git(Path.cwd()),
        "command": shlex.join(sys.argv),
    }
    return RunLog(project, folder, offline=mode == "offline", goes_on=goes_on, config=config)


def _stage(folder: Path) -> Path:
    return folder.absolute() / "wandb"


def _read_id(note: Path, project: str) -> str | None:
    """Return the id of the run that a folder holds; None where it is of another project, or an agent gives one."""
    if os.environ.get("WANDB_RUN_ID") or os.environ.get("WANDB_SWEEP_ID"):
        return None
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads(note.read_text(encoding="utf-8"))
        return found.get("id") if found.get("project") == project else None
    return None
