"""``train.py``: LightningCLI over the project's own signatures."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import set_parsing_settings
from jsonargparse.typing import NonNegativeInt, PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

from mmer.checkpoint import Card, Origin, checkpoint_hash, load_checkpoint, read_card
from mmer.config import ShardConfig
from mmer.data.shards import open_corpus
from mmer.data.store import as_root
from mmer.errors import ConfigError, MmerError
from mmer.training.arguments import explains, one_line, settle_unions
from mmer.training.callbacks import (
    BestCheckpoint,
    DropLogs,
    GoodCheckpoints,
    LastCheckpoint,
    ReplaceRun,
    SeedSteps,
    TellSplit,
    WatchTest,
    WriteCard,
)
from mmer.training.classifier import EmotionClassifier
from mmer.training.compute import SyncStatistics, register_strategies
from mmer.training.data import EmotionDataModule
from mmer.training.gauges import Gauges
from mmer.training.origin import Remember, shares_words
from mmer.training.peers import WatchChildren, parted
from mmer.training.refuse import (
    check_accelerator,
    check_cluster,
    check_counts,
    check_folder,
    check_interval,
    check_replaced,
    check_wandb,
)
from mmer.training.say import say, say_each
from mmer.training.signals import Ended, EndOnSignal, KeepOnSignal, interrupted
from mmer.training.survive import AtomicCheckpoints, CheckLoss, NamedLog, newest, remove_unfinished
from mmer.training.wandb_callback import TellWandb
from mmer.training.wandb_checkpoint import fetch_checkpoint
from mmer.training.wandb_log import open_log

_STRICT = {"allow_abbrev": False, "exit_on_error": False}  # jsonargparse would take --trainer.max_epoch for max_epochs

_CKPT_PATH = (
    "Checkpoint to go on with or to score: last or best of the run's folder, a path, or "
    "wandb:ENTITY/PROJECT/NAME:ALIAS; auto is the newest of the run's folder, and begins where it has none."
)


class TrainCLI(LightningCLI):
    """Fit, validate or test an emotion model; a run is a folder, ``trainer.default_root_dir``.

    Args:
        args: The command line; None takes the process's own.
    """

    def __init__(self, args: Sequence[str] | None = None) -> None:
        register_strategies()
        given = sys.argv[1:] if args is None else args
        # --help shows what stands under each setting; to read the sources for it takes half of what parsing takes
        set_parsing_settings(docstring_parse_attribute_docstrings=explains(given))
        settled = settle_unions(given)
        self.asked = next(iter(settled), None)
        super().__init__(
            EmotionClassifier,
            EmotionDataModule,
            args=settled,
            seed_everything_default=0,
            parser_kwargs={**_STRICT, **{name: dict(_STRICT) for name in self.subcommands()}},
            save_config_kwargs={"overwrite": True},  # whether a run may be replaced is asked before, for all of it
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's own arguments, and give the data module the model's description."""
        parser.add_argument(
            "--overwrite", action="store_true", help="Replace the checkpoints of the run that the folder holds."
        )
        parser.add_argument(
            "--wandb",
            type=str | None,
            default=None,
            help="Weights & Biases project to log to as well; offline where there is no key. See docs/wandb.md.",
        )
        parser.add_argument(
            "--wandb_clips",
            type=int,
            default=32,
            help="How many validation clips --wandb shows there, with faces and voices; 0 shows nobody.",
        )
        parser.add_argument(
            "--oracle",
            action="store_true",
            help="Score the test speakers after every epoch and keep the answers of the best epoch, oracle.csv: what "
            "choosing on the test would pretend. It never chooses the checkpoint.",
        )
        parser.add_argument(
            "--init",
            type=str | None,
            default=None,
            help="Checkpoint of mmer's to begin from, a path or wandb:ENTITY/PROJECT/NAME:ALIAS: what fits by name and "
            "shape is loaded, and what was and was not is said. Heads of other classes begin anew.",
        )
        parser.add_argument(
            "--keep",
            type=PositiveInt,
            default=1,
            help="Best epochs whose checkpoints are kept: 1 keeps best.ckpt; more keep a file of each beside it.",
        )
        parser.add_argument(
            "--save_every",
            type=NonNegativeInt,
            default=0,
            help="Optimiser steps after which last.ckpt is written within an epoch too; 0 writes it after epochs.",
        )
        parser.link_arguments("model.config", "data.model", apply_on="instantiate")
        parser.set_defaults({"trainer.default_root_dir": "runs/train"})
        parser.set_defaults({"model.config.fusion": None})  # settle_unions names it; a default's fields would stay

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Return Lightning's subcommands without ``predict``, for that is ``mmer predict``.

        Where one of them is asked for, it is that one alone: to read the settings of each takes its time.
        """
        every = {name: skip for name, skip in LightningCLI.subcommands().items() if name != "predict"}
        return {self.asked: every[self.asked]} if self.asked in every else every

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """Add Lightning's own arguments, and say of ``--ckpt_path`` what it is here."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        for action in parser._actions:
            if action.dest == "ckpt_path":
                action.help = _CKPT_PATH
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the settled command line, without Lightning's doubts about one that is not the process's own."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "LightningCLI's args parameter")
            super().parse_arguments(parser, args)

    def _parse_ckpt_path(self) -> None:
        """Leave the settings alone: checkpoints hold a card, and no hyperparameters of Lightning's."""

    def before_instantiate_classes(self) -> None:
        """Look at the data and the run's folder before anything is built, and set up its logs and checkpoints."""
        config = self.config[self.subcommand]
        check_folder(config.trainer.default_root_dir)
        check_counts(config.trainer, trains=self.subcommand == "fit")
        check_interval(config.trainer.val_check_interval)
        check_accelerator(config.trainer.accelerator)
        check_cluster(config.trainer.plugins)
        folder = asked = Path(config.trainer.default_root_dir)
        open_corpus(as_root(config.data.root), ShardConfig(**config.data.shards.as_dict()))
        check_wandb(config)
        config.init = None if config.init is None else fetch_checkpoint(config.init)
        config.ckpt_path = _resolve_checkpoint(config.ckpt_path, folder, str(self.subcommand))
        self.past, origin = _past(config.init, config.ckpt_path)
        if config.ckpt_path is not None or self.past is None:
            past = Remember(goes_on=self.past)
        else:
            past = Remember(begins={config.init: self.past})
        told: list[Any] = [past, TellSplit(), WatchChildren()]
        self.trainer_defaults["callbacks"] = [*told, EndOnSignal()]
        if self.subcommand != "fit" or config.trainer.fast_dev_run:
            self.save_config_callback = None
            return
        self.resumes = resumes = (
            config.ckpt_path is not None
            and Path(config.ckpt_path).resolve().parent == (folder / "checkpoints").resolve()
        )
        if not resumes and "WANDB_SWEEP_ID" in os.environ:  # agents begin at once, and ask for one folder
            folder = folder.with_name(f"{folder.name}-{os.environ.get('WANDB_RUN_ID', 'trial')}")
            config.trainer.default_root_dir = str(folder)
        if not (resumes or config.overwrite) and _free(folder) != folder:
            folder, taken = _free(folder), folder
            config.trainer.default_root_dir = str(folder)
            say(f"{taken} holds a run already, so this one goes to {folder}; --overwrite would replace it")
        moved = folder != asked
        seed = _seed(config.seed_everything)
        callbacks = [*told, WriteCard(seed, past, origin)]
        if config.wandb is not None:
            callbacks.append(TellWandb(folder / "checkpoints" / "best.ckpt", config.wandb_clips))
        if config.trainer.logger is None:
            callbacks.append(DropLogs())
        if seed is not None:
            callbacks.append(SeedSteps(seed))
        callbacks.append(CheckLoss(folder))
        if config.trainer.enable_checkpointing is not False:
            kept = folder / "checkpoints"
            remove_unfinished(kept)
            if config.overwrite and not resumes:
                check_replaced(config.init, kept)
                callbacks.append(ReplaceRun(kept))
            callbacks.append(BestCheckpoint(kept))
            callbacks += [GoodCheckpoints(kept, config.keep)] if config.keep > 1 else []
            # the last one knows what the others keep
            callbacks += [LastCheckpoint(kept, config.save_every), KeepOnSignal(kept / "last.ckpt", moved)]
        else:
            callbacks.append(EndOnSignal())
        if config.trainer.logger is not False:
            callbacks += [LearningRateMonitor("step"), Gauges()]
        if config.oracle:
            callbacks.append(WatchTest(folder))
        self.trainer_defaults["callbacks"] = callbacks

    def instantiate_classes(self) -> None:
        """Build the module, the data module and the trainer.

        Raises:
            ConfigError: A value is of the right type and still wrong, as a strategy that Lightning does not know.
        """
        try:
            super().instantiate_classes()
        except ValueError as error:
            raise ConfigError(one_line(str(error))) from error
        config = self.config[self.subcommand]
        self.model.load_weights = config.ckpt_path is None
        self.model.init = Path(config.init) if config.init is not None and config.ckpt_path is None else None
        if self.past is not None and shares_words(self.past.model, self.model.config):
            self.datamodule.tokenizer = self.past.tokenizer

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Build the trainer, with the run's logs unless the config brings its own."""
        config = self.config[self.subcommand]
        own = self._get(self.config_init, "trainer.plugins") or []
        kwargs["plugins"] = [*(own if isinstance(own, list) else [own]), AtomicCheckpoints()]
        if config.trainer.sync_batchnorm:
            kwargs["plugins"].append(SyncStatistics())
        if config.trainer.logger is None:
            fit = self.subcommand == "fit"
            kwargs["logger"] = self._loggers(Path(config.trainer.default_root_dir), config.wandb) if fit else False
        try:
            return super().instantiate_trainer(**kwargs)
        except TypeError as error:  # how Lightning refuses numbers of devices
            if "`devices` selected" not in str(error):
                raise
            raise ConfigError(one_line(str(error))) from error

    def _loggers(self, folder: Path, project: str | None) -> list[Logger]:
        """Return a CSV log, and one at Weights & Biases where a project is named."""
        loggers: list[Logger] = [NamedLog(folder, name="logs")]
        if project is not None and not self.config[self.subcommand].trainer.fast_dev_run:
            written = self._parser(self.subcommand).dump(self.config[self.subcommand], skip_none=False)
            log = open_log(project, folder, goes_on=self.resumes, settings=yaml.safe_load(written))
            loggers += [] if log is None else [log]
        return loggers


def _seed(seed: bool | int) -> int | None:
    return None if isinstance(seed, bool) else seed


def _resolve_checkpoint(given: str | None, folder: Path, subcommand: str) -> str | None:
    """Return the path of a checkpoint named ``last``, ``best``, by its path or as ``wandb:ENTITY/PROJECT/NAME:ALIAS``.

    ``auto`` is the newest where the run has one, and begins where it has none: one line for every start of a job.

    Raises:
        ConfigError: It does not exist, or none is given for a subcommand that would use random weights.
    """
    if given == "auto" and subcommand == "fit":
        return None if (kept := newest(folder / "checkpoints")) is None else str(kept)
    if given is None:
        if subcommand != "fit":
            raise ConfigError(f"{subcommand} needs --ckpt_path PATH (or last, or best); a new model has random weights")
        return None
    here = given in ("last", "best")
    path = folder / "checkpoints" / f"{given}.ckpt" if here else Path(fetch_checkpoint(given))
    if not path.is_file():
        raise ConfigError(f"--ckpt_path={given}: there is no file {path}")
    return str(path)


def _past(init: str | None, ckpt_path: str | None) -> tuple[Card | None, Origin | None]:
    """Return what the checkpoint that a run begins from or goes on from says of itself, and where it all began.

    Raises:
        ConfigError: The run is to go on from a checkpoint, and to begin from another.
        CheckpointError: The checkpoint is none of mmer's.
    """
    if ckpt_path is not None:
        card = read_card(load_checkpoint(Path(ckpt_path)), f"checkpoint {ckpt_path}")
        if init is not None and (card.origin is None or card.origin.path != init):
            raise ConfigError(
                f"init={init} begins a training and --ckpt_path={ckpt_path} goes on with one that began elsewhere; "
                "give one of them"
            )
        return card, card.origin
    if init is None:
        return None, None
    card = read_card(load_checkpoint(Path(init)), f"checkpoint {init}")
    return card, Origin(init, checkpoint_hash(Path(init)))


def _free(folder: Path) -> Path:
    """Return the folder, or the first of folder-2, folder-3, ... that holds no run; a run is never lost unasked.

    Every process finds the same one, for checkpoints appear only after all have looked.
    """
    candidates = (folder, *(folder.with_name(f"{folder.name}-{number}") for number in range(2, 1000)))
    return next(path for path in candidates if not any((path / "checkpoints").glob("[!.]*.ckpt")))


def main(args: Sequence[str] | None = None) -> int:
    """Run ``train.py`` and return its exit code.

    It is 0, or 2 after a mistake that one line on standard error explains, or 128 and the number of the signal that has
    ended the training: 130 after Ctrl-C.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")  # what is frozen is meant to be
            warnings.filterwarnings("ignore", "Using `DistributedSampler`")  # which repeats clips, and ours none
            TrainCLI(args)
    except (MmerError, argparse.ArgumentError, MisconfigurationException) as error:
        print(f"train.py: error: {one_line(str(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno is None:  # a reader's, with its traceback
            raise
        where = "" if error.filename is None else f"{error.filename}: "  # a port that is taken has none
        print(f"train.py: error: {where}{error.strerror}", file=sys.stderr)
        return 2
    except Ended as ended:
        say(str(ended))
        return ended.code
    except BaseException as error:
        if (line := interrupted(error)) is not None:
            say(line)
            return 128 + signal.SIGINT
        if (line := parted(error)) is None:
            raise
        say_each(f"error: {line}")
        return 2
    return 0
