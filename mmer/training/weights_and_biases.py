"""``--wandb PROJECT``: a run at Weights & Biases, online or offline. Without it, nothing of wandb is imported."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import numpy as np
import platformdirs
import requests
from filelock import FileLock
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from numpy.typing import NDArray
from PIL import Image

from mmer.atomic import replacing
from mmer.checkpoint import Card, read_checkpoint
from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.dataset import ClipDataset
from mmer.errors import ConfigError, MmerError
from mmer.evaluation.infer import predict_rows
from mmer.evaluation.metrics import SCORES
from mmer.media.write import write_clip
from mmer.model import EmotionModel
from mmer.training.callbacks import versions
from mmer.training.classifier import EmotionClassifier
from mmer.training.data import EmotionDataModule
from mmer.training.say import say

BEST = "best"
"""Alias of the artifact that holds the best checkpoint."""

FRAMES = 6
"""Pictures that the table shows of a clip, side by side."""

_CHOOSES = "val/uar"
_STAGE = "WANDB_DATA_DIR"  # where copies of checkpoints and clips wait for their upload; else in the user's home
_OLD_SERVER = "https://api.wandb.ai"  # a key that an older wandb wrote down is one of this server, and still good
_REFERENCE = re.compile(r"wandb:(?P<entity>[\w.-]+)/(?P<project>[\w.-]+)/(?P<name>[\w.-]+):(?P<alias>[\w.-]+)")


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
            settings={"git_root": root} if (root := _git(Path.cwd(), "rev-parse", "--show-toplevel")) else None,
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
                f"wandb={self.name}: the run cannot begin at Weights & Biases ({_one_line(error)}); "
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


class TellWandb(Callback):
    """Tell Weights & Biases what no other logger hears: the best epoch, confusions, clips, the best checkpoint.

    Where the run's summary says ``val/...``, these are the scores of the best epoch, the one whose checkpoint is kept;
    for a sweep chooses by the summary.

    Args:
        checkpoint: Where the best checkpoint is.
        clips: How many validation clips to show; 0 shows none.
    """

    def __init__(self, checkpoint: Path, clips: int) -> None:
        self.checkpoint = checkpoint
        self.clips = clips
        self.epoch = -1
        self.scores: dict[str, float] = {}
        self.begun = False

    def state_dict(self) -> dict[str, Any]:
        """Return the best epoch so far, for a run that is resumed."""
        return {"checkpoint": str(self.checkpoint.resolve()), "epoch": self.epoch, "scores": self.scores}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best epoch of the run that is resumed; in another folder the best is looked for anew."""
        if state_dict["checkpoint"] == str(self.checkpoint.resolve()):
            self.epoch, self.scores = state_dict["epoch"], state_dict["scores"]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Say how the numbers belong together, and on how many devices they are made."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if (log := _log_of(trainer)) is None or not trainer.is_global_zero:
            return
        log.experiment.define_metric("epoch")
        for name in ("loss", *SCORES):
            log.experiment.define_metric(f"val/{name}", step_metric="epoch")
        batch = data.batch_size * trainer.world_size * trainer.accumulate_grad_batches
        log.log_hyperparams({"world_size": trainer.world_size, "global_batch": batch})

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """From here on there is something to tell."""
        self.begun = True

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the summary at the best epoch, as :class:`~mmer.training.callbacks.BestCheckpoint` finds it."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        scores = {name: float(x) for name, x in trainer.callback_metrics.items() if name.startswith("val/")}
        better = scores[_CHOOSES] > self.scores.get(_CHOOSES, -1.0)
        if better:
            self.epoch, self.scores = trainer.current_epoch, scores
        log = _log_of(trainer)
        if log is None or not trainer.is_global_zero:
            return
        if better:
            assert isinstance(pl_module, EmotionClassifier)
            chart = confusion_chart(pl_module.confused["val"], pl_module.config.label_set.names)
            log.log_metrics({"val/confusion": chart, "epoch": self.epoch}, trainer.global_step)
        log.experiment.summary.update({**self.scores, "best_epoch": self.epoch})

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show what the best checkpoint answers for some validation clips, and hand it over.

        By now the device is free again, and no process waits for this one.
        """
        log = _log_of(trainer)
        if log is None or not trainer.is_global_zero or not self.checkpoint.is_file():
            return
        model, card = read_checkpoint(self.checkpoint)
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, EmotionDataModule)
        rows = spread(data.split.rows(data.rows, "validation"), self.clips)
        if rows:
            with TemporaryDirectory() as folder:
                table = clip_table(model, data, rows, trainer.strategy.root_device, Path(folder))
                log.log_metrics({"val/clips": table}, trainer.global_step)
        log.experiment.log_artifact(
            checkpoint_artifact(self.checkpoint, f"model-{log.version}", about(card) | self.scores), aliases=[BEST]
        )

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Leave nothing behind of a run that was refused before its first step."""
        log = _log_of(trainer)
        if log is not None and isinstance(exception, MmerError) and not self.begun:
            log.discard()


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


def choose_mode() -> str:
    """Return ``online``, ``offline`` or ``disabled``: what the user has set, or else by whether there is a key."""
    import wandb

    asked = os.environ.get("WANDB_MODE")
    mode = asked or wandb.setup().settings.mode
    if mode in ("offline", "dryrun"):
        return "offline"
    if mode == "disabled":
        return "disabled"
    return "online" if asked or has_key() else "offline"


def has_key() -> bool:
    """Tell whether wandb would find a key, in the environment or in the user's netrc, without asking for one."""
    import wandb

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = wandb.setup().settings.base_url
    servers = [server, _OLD_SERVER] if server == wandb.Settings().base_url else [server]
    return any(requests.utils.get_netrc_auth(each) is not None for each in servers)


def read_git(folder: Path) -> dict[str, Any] | None:
    """Return the commit of a folder, and whether something was changed since; None where there is no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain"))}


def confusion_chart(counts: NDArray[Any], names: Sequence[str]) -> Any:
    """Return W&B's own chart of a confusion matrix [true predicted], from its counts."""
    import wandb

    columns = ("Actual", "Predicted", "nPredictions")  # the chart's own names
    rows = [[names[i], names[j], int(count)] for (i, j), count in np.ndenumerate(counts)]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        wandb.Table(columns=[*columns], data=rows),
        {column: column for column in columns},
        {"title": "Validation speakers, best epoch"},
    )


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Return so many rows at most, of each label as many as can be; always the same, in their order."""
    seen = Counter[str | None]()
    turns = []
    for row in rows:
        turns.append(seen[row.label])
        seen[row.label] += 1
    chosen = sorted(range(len(rows)), key=lambda index: (turns[index], index))[:count]
    return [rows[index] for index in sorted(chosen)]


def clip_table(model: EmotionModel, data: EmotionDataModule, rows: Sequence[Row], device: Any, folder: Path) -> Any:
    """Return a table of clips: what a model reads of them, what is true, and what it answers.

    Args:
        model: The model.
        data: Whose clips they are.
        rows: The clips.
        device: Where the model answers, a clip at a time.
        folder: Where sounds are written, to be read when the table is logged.
    """
    import wandb

    reads = model.config.reads
    answers = predict_rows(model, data.corpus, rows, device=device, batch_size=1, progress=False)["+".join(reads)]
    dataset = ClipDataset(data.corpus, rows, model.config, tokenizer=model.tokenizer)
    shown = [
        name for name, modality in (("frames", "video"), ("audio", "audio"), ("text", "text")) if modality in reads
    ]
    names = answers.names
    table = wandb.Table(
        columns=["key", "speaker", "label", "predicted", "correct", *shown, *(f"p({name})" for name in names)]
    )
    for index, row in enumerate(rows):
        label, predicted = int(answers.label[index]), int(answers.predicted[index])
        clip = dataset.read(index)
        media = {"frames": _picture(clip), "audio": _sound(clip, folder / f"{index}.wav"), "text": clip.text}
        table.add_data(
            row.key,
            row.speaker,
            names[label],
            names[predicted],
            label == predicted,
            *(media[name] for name in shown),
            *answers.probabilities[index].tolist(),
        )
    return table


def frame_strip(clip: PreparedClip, count: int = FRAMES) -> NDArray[np.uint8] | None:
    """Return some frames of a clip side by side, spread over all of it, [h w 3] in RGB; None without a face.

    Raises:
        ClipError: A frame is damaged.
    """
    if not len(clip.times):
        return None
    first, last = float(clip.times[0]), float(clip.times[-1])
    frames = clip.frames_at(first + (last - first) * (np.arange(count) + 0.5) / count)
    return None if frames is None else np.concatenate(list(frames), axis=1)


def checkpoint_artifact(path: Path, name: str, metadata: Mapping[str, Any]) -> Any:
    """Return a checkpoint as an artifact; its bytes are copied, for the file may be replaced before the upload."""
    import wandb

    artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
    artifact.add_file(str(path), name=path.name)
    return artifact


def about(card: Card) -> dict[str, Any]:
    """Return what a checkpoint says of itself, in short."""
    return {
        "epoch": card.epoch,
        "labels": list(card.model.label_set.names),
        "reads": list(card.model.reads),
        "protocol": card.protocol,
        "corpora": card.corpora,
        "leaks": card.leaks,
        "seed": card.seed,
        "versions": card.versions,
    }


def fetch_checkpoint(given: str) -> str:
    """Return the path of a checkpoint; one that lies at Weights & Biases, ``wandb:...``, is fetched before.

    What was fetched is kept, by version; several processes fetch it once.

    Args:
        given: A path, or ``wandb:ENTITY/PROJECT/NAME:ALIAS``.

    Raises:
        ConfigError: The reference is no reference, nothing can be fetched, or what was fetched is no single checkpoint.
    """
    if not given.startswith("wandb:"):
        return given
    found = _REFERENCE.fullmatch(given)
    if found is None:
        raise ConfigError(
            f"{given} names no artifact; write wandb:ENTITY/PROJECT/NAME:ALIAS, as wandb:me/faces/model-1a2b3c4d:{BEST}"
        )
    import wandb

    if not has_key():
        raise ConfigError(f"{given}: there is no key of Weights & Biases here; run wandb login, or set WANDB_API_KEY")
    cache = Path(os.environ.get("MMER_CACHE") or platformdirs.user_cache_path("mmer")) / "wandb"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(cache / ".lock"):
            artifact = wandb.Api().artifact(given.removeprefix("wandb:"), type="model")
            folder = Path(
                artifact.download(root=str(cache.joinpath(*found.group("entity", "project", "name"), artifact.version)))
            )
    except (wandb.errors.Error, ValueError, requests.RequestException) as error:
        raise ConfigError(
            f"{given} cannot be fetched from Weights & Biases: {_one_line(error)}; see that it exists, that your key "
            "may read it, and that the network is there"
        ) from error
    checkpoints = sorted(folder.rglob("*.ckpt"))
    if len(checkpoints) != 1:
        raise ConfigError(f"{given} holds {len(checkpoints)} files *.ckpt; name an artifact that holds one checkpoint")
    return str(checkpoints[0])


def _log_of(trainer: L.Trainer) -> RunLog | None:
    return next((logger for logger in trainer.loggers if isinstance(logger, RunLog)), None)


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


def _git(folder: Path, *words: str) -> str | None:
    if os.environ.get("WANDB_DISABLE_GIT", "").lower() in ("1", "true"):
        return None
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _picture(clip: PreparedClip) -> Any:
    import wandb

    strip = frame_strip(clip)
    return None if strip is None else wandb.Image(Image.fromarray(strip), file_type="jpg")


def _sound(clip: PreparedClip, path: Path) -> Any:
    """Return the whole sound of a clip, by way of a file; from samples, wandb would want one more library."""
    import wandb

    if clip.audio is None or not len(clip.audio):
        return None
    write_clip(path, None, samples=clip.audio, sample_rate=clip.sample_rate, audio_codec="pcm_s16le")
    return wandb.Audio(str(path))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
