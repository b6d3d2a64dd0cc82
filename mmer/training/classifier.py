"""The LightningModule: a model, a loss, metrics."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import lightning as L
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from mmer.batch import IGNORED, Batch
from mmer.build import random_parameters
from mmer.checkpoint import read_card
from mmer.config import AveragingConfig, ComputeConfig, ModelConfig, OptimConfig, to_plain
from mmer.corpora.manifest import listed
from mmer.data.store import changes
from mmer.errors import ConfigError
from mmer.evaluation.metrics import SCORES
from mmer.model import EmotionModel, build_model
from mmer.training.averaging import AverageWeights
from mmer.training.compute import FullySharded, shape
from mmer.training.data import data_of, require_validation
from mmer.training.losses import EmotionLoss, main_label
from mmer.training.optim import build_optimizer, build_schedule
from mmer.training.origin import begin_from
from mmer.training.say import say
from mmer.training.settings import name_differences
from mmer.training.standardise import standardise
from mmer.training.stopping import StopEarly
from mmer.training.tally import Tally

Stage = Literal["train", "val", "test"]
"""Prefix of a metric's name."""

_SO_FAR = "epoch_so_far"
"""Under what a checkpoint keeps the tally of an epoch that it was written in."""

_STEP = "clips_of_a_step"
"""Under what a checkpoint keeps how many clips a step took, and how many its rate was for."""

_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")
"""Ways of counting under which clips stay as they were prepared."""

Watched = Literal["uar", "accuracy", "macro_f1", "loss"]
"""What can be watched on the validation speakers."""


class EmotionClassifier(L.LightningModule):
    """Trains an emotion model.

    Args:
        config: The model.
        optim: The optimiser and the course of its rate.
        averaging: Whether an average of the weights is validated and kept, and which.
        early_stopping: Validations without anything better after which the training ends; null goes through all epochs.
        watch: What early stopping and a plateau of the learning rate watch on the validation speakers. ``best.ckpt`` is
            of the best UAR whatever they watch.
        freeze: Names of streams whose encoders stay as they are, as ``[face]``; for weights that come from elsewhere.
        label_smoothing: Share of the target that is spread over all classes.
        focal: Gamma of the focal loss, as 2: clips that are answered well count for less (Lin et al. 2017,
            arXiv:1708.02002); 0 is cross entropy.
        class_weights: ``balanced`` weighs a class by the inverse of its number of training clips.
        stream_loss: Weight of the streams' own losses, their mean, beside the fused answer's; so that a stream that
            learns slowly is not left behind by one that learns fast (Wang et al. 2020, arXiv:1905.12681).
        compute: How the steps are computed.
    """

    def __init__(
        self,
        config: ModelConfig,
        optim: OptimConfig = OptimConfig(),  # noqa: B008 - frozen, and the command line shows it
        averaging: AveragingConfig = AveragingConfig(),  # noqa: B008
        early_stopping: int | None = None,
        watch: Watched = "uar",
        freeze: tuple[str, ...] = (),
        label_smoothing: float = 0.1,
        focal: float = 0.0,
        class_weights: Literal["none", "balanced"] = "none",
        stream_loss: float = 0.5,
        compute: ComputeConfig = ComputeConfig(),  # noqa: B008
    ) -> None:
        super().__init__()
        if early_stopping is not None and early_stopping < 1:
            raise ConfigError(f"model.early_stopping={early_stopping} must be at least 1; null never stops early")
        if strangers := [name for name in freeze if name not in config.streams]:
            raise ConfigError(
                f"model.freeze names {strangers[0]!r}, which is no stream; the model has {', '.join(config.streams)}"
            )
        self.config = config
        self.optim = optim
        self.averaging = averaging
        self.early_stopping = early_stopping
        self.watch = f"val/{watch}"
        self.freeze_streams = freeze
        self.class_weights = class_weights
        self.compute = compute
        self.load_weights = True  # False where a checkpoint will bring them
        self.init: Path | None = None  # the checkpoint to begin from
        self._step_before: tuple[int, int] | None = None  # clips of a step of the run that goes on, and its reference
        self.confused: dict[Stage, NDArray[Any]] = {}  # how often what was taken for what, in the last epoch of each
        reads = {name: stream.reads for name, stream in config.streams.items()}
        classes = len(config.label_set.names)
        self.loss = EmotionLoss(reads, classes, label_smoothing, focal, stream_loss)
        # ModuleDict refuses the key "train"
        self.tallies = nn.ModuleDict({f"{stage}_tally": Tally(classes) for stage in get_args(Stage)})

    def configure_callbacks(self) -> list[Callback]:
        """Return what the recipe asks for beside learning."""
        callbacks: list[Callback] = []
        if self.averaging.kind != "none":
            callbacks.append(AverageWeights(self.averaging))
        if self.early_stopping is not None:
            callbacks.append(StopEarly(self.watch, self.early_stopping))
        return callbacks

    def setup(self, stage: str) -> None:
        """Refuse what does not go together, before a model is built; weigh the classes by the training clips.

        Raises:
            ConfigError: There are no validation speakers to watch, the course of the rate is over a training without
                an end, rare classes are favoured twice, or sound would not be read in single precision.
        """
        if self.trainer.precision not in _PRECISIONS:
            raise ConfigError(
                f"trainer.precision={self.trainer.precision} would turn the clips themselves into other numbers, and a "
                f"spectrogram wants 32 bits; give one of {', '.join(_PRECISIONS)}"
            )
        if stage != "fit":
            return
        if self.trainer.precision == "16-mixed" and isinstance(self.trainer.strategy, FullySharded):
            raise ConfigError(
                "trainer.precision=16-mixed scales gradients as trainer.strategy=fsdp2 cannot; give bf16-mixed, or ddp"
            )
        if self.averaging.kind != "none" and isinstance(self.trainer.strategy, FullySharded):
            raise ConfigError(
                f"model.averaging.kind={self.averaging.kind} wants whole weights on each process, and "
                "trainer.strategy=fsdp2 has parts; use ddp, or leave the average out"
            )
        self._check_course()
        self._weigh_classes()
        watching = {
            "model.early_stopping": self.early_stopping is not None,
            "model.optim.schedule=plateau": self.optim.schedule == "plateau",
        }
        for setting, on in watching.items():
            if on:
                require_validation(self.trainer, setting)

    def configure_model(self) -> None:
        """Build the model, once the data are known to be there; a checkpoint brings its own weights.

        Raises:
            CheckpointError: Its weights cannot be had or do not fit.
            ConfigError: Random weights would be frozen.
        """
        if not hasattr(self, "model"):
            loaded: Collection[str] = ()
            if self.init is None:
                self.model: EmotionModel = self._build(self.load_weights)
            else:
                self.model, loaded = begin_from(self.init, self._build)
            for name in self.freeze_streams:
                if self.load_weights:
                    self._refuse_random(name, loaded)
                self.model.encoders[name].requires_grad_(False).eval()  # Lightning leaves each module its mode
            if isinstance(self.trainer.strategy, FullySharded) and self.trainer.state.fn == "fit":
                self.trainer.strategy.share_statistics(self.model)
            shape(self.model, self.compute, self._device_mesh and self._device_mesh["data_parallel"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the epoch adds up to so far, for a checkpoint that is written in the middle of it."""
        checkpoint[_SO_FAR] = self._tally("train").so_far()
        checkpoint[_STEP] = list(self._clips_of_a_step())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model, another preparation or another split.

        Under another split, speakers that it was trained on would be tested.

        Raises:
            CheckpointError: It is none of mmer's.
            ConfigError: It does not belong to this run.
        """
        card, data = read_card(checkpoint, "the checkpoint"), data_of(self.trainer)
        pairs: dict[str, tuple[Any, Any]] = {
            "model.config": (card.model, self.config),
            "data.split": (card.split, data.split_config),
        }
        if self.trainer.state.fn == "fit":
            pairs["model.optim"] = (card.optim or self.optim, self.optim)  # older checkpoints do not say it
            pairs["model.averaging"] = (card.averaging, self.averaging)
        faults = {
            name: name_differences({name: to_plain(before)}, {name: to_plain(now)})
            for name, (before, now) in pairs.items()
            if before != now
        }
        if differences := changes(card.prepare, data.corpus.config, self.config.reads):
            faults["preparation of the clips"] = differences
        if not faults and (moved := data.split.moved(card.dealt)):  # the clips have changed, or a table of parts has
            faults["deal of the same split"] = moved
        for name, fault in faults.items():
            raise ConfigError(
                f"the checkpoint was trained with another {name}; give the settings of its run, "
                f"or evaluate it with evaluate.py: {fault}"
            )
        self._step_before = tuple(checkpoint.get(_STEP, ())) or None
        if self.trainer.state.fn == "fit" and self.trainer.is_global_zero:
            self._tally("train").go_on(checkpoint.get(_SO_FAR, {}))

    def on_train_start(self) -> None:
        """Let the loader go on in the middle of an epoch.

        Lightning does it where it makes the loader, and passes over it where the course of the rate has asked before
        how many steps there are.
        """
        self.trainer.fit_loop._load_combined_loader_states()
        self._rescale()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of a batch."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, _: int) -> None:
        """Score a batch of the validation speakers."""
        self._step(batch, "val")

    def test_step(self, batch: Batch, _: int) -> None:
        """Score a batch of the test speakers."""
        self._step(batch, "test")

    def on_train_epoch_end(self) -> None:
        """Log the scores of the training clips."""
        self._log_scores("train")

    def on_validation_epoch_end(self) -> None:
        """Log the scores of the validation speakers, and lower the rate on a plateau.

        Lightning would lower it behind the checkpoint of the validation, and not at all where a run goes on from there.
        """
        self._log_scores("val")
        schedule = self.lr_schedulers() if self.trainer.state.fn == "fit" else None
        if isinstance(schedule, ReduceLROnPlateau) and not self.trainer.sanity_checking:
            schedule.step(self.trainer.callback_metrics[self.watch])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Let the rate follow the steps."""
        if not isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step()

    def on_test_epoch_end(self) -> None:
        """Log the scores of the test speakers."""
        self._log_scores("test")

    def configure_optimizers(self) -> Any:
        """Return the optimiser and the course of its rate."""
        optimizer = build_optimizer(self.model, self._scaled_optim())
        steps = self.trainer.estimated_stepping_batches  # endless where the course needs no end
        return {"optimizer": optimizer, "lr_scheduler": build_schedule(optimizer, self.optim, steps, self.watch)}

    def _scaled_optim(self) -> OptimConfig:
        """Return the optimiser's settings with the rate for the clips of a step, and say so where it is another."""
        clips, reference = self._clips_of_a_step()
        factor = self.optim.scale(clips, reference)
        if self.optim.scaling != "none":
            say(
                f"note: the learning rate is {self.optim.lr * factor:.3g}, {factor:.3g} times {self.optim.lr:.3g} "
                f"({self.optim.scaling} scaling): a step takes {clips} clips, and that rate is for {reference}"
            )
        return replace(self.optim, lr=self.optim.lr * factor)

    def _clips_of_a_step(self) -> tuple[int, int]:
        """Return how many clips a step takes, and how many the rate is for: those of the run that goes on."""
        trainer = self.trainer
        size = data_of(trainer).batch_size
        before = size if self._step_before is None else self._step_before[1]
        return size * trainer.world_size * trainer.accumulate_grad_batches, self.optim.reference_batch or before

    def _rescale(self) -> None:
        """Let the rate of a run that goes on with other steps follow its rule; its checkpoint brings that of before."""
        if self._step_before is None:
            return
        clips, reference = self._clips_of_a_step()
        ratio = self.optim.scale(clips, reference) / self.optim.scale(self._step_before[0], reference)
        for optimizer in self.trainer.optimizers:
            for group in optimizer.param_groups:
                group |= {name: group[name] * ratio for name in ("lr", "initial_lr") if name in group}
        for config in self.trainer.lr_scheduler_configs:
            if isinstance(config.scheduler, LambdaLR):
                config.scheduler.base_lrs = [rate * ratio for rate in config.scheduler.base_lrs]

    def _refuse_random(self, stream: str, loaded: Collection[str]) -> None:
        """Refuse to freeze what has learned nothing.

        Args:
            stream: Whose encoder is to be frozen.
            loaded: Names of the model's parameters that come from the checkpoint that the training begins from.
        """
        random = random_parameters(self.config.streams[stream], self.model.encoders[stream])
        if lacking := sorted(name for name in random if f"encoders.{stream}.{name}" not in loaded):
            raise ConfigError(
                f"model.freeze names {stream!r}, of which {listed(lacking, 2)} are random and would stay so; begin "
                "from a checkpoint that has them (--init), or give the stream's weights where it takes any"
            )

    def _check_course(self) -> None:
        """Refuse a course of the rate over a training without an end, or that a clock ends."""
        endless = self.trainer.max_epochs == -1 and self.trainer.max_steps == -1
        needs_end = self.optim.schedule == "cosine" or (self.optim.schedule == "constant" and self.optim.warmup > 0)
        if endless and needs_end:
            raise ConfigError(
                f"model.optim.schedule={self.optim.schedule} has its course over the whole training, and nobody knows "
                "how many steps this one has; give trainer.max_epochs, or choose plateau, or constant with warmup: 0"
            )

    def _weigh_classes(self) -> None:
        """Weigh the classes, before anything copies the weights."""
        if self.class_weights == "balanced":
            data = data_of(self.trainer)
            if data.sampler == "class_balanced":
                raise ConfigError(
                    "model.class_weights=balanced and data.sampler=class_balanced would favour rare classes twice; "
                    "leave one of them out"
                )
            self.loss.balance(data.train.class_counts(len(self.config.label_set.names)))

    def _build(self, load: bool) -> EmotionModel:
        """Build the model, with weights from elsewhere or without, and fit its statistics to the training clips."""
        data = data_of(self.trainer)
        model = build_model(self.config, load=load, tokenizer=data.tokenizer)
        if self.load_weights:
            standardise(model, data.train)
        return model

    def _step(self, batch: Batch, stage: Stage) -> Tensor:
        assert batch.label is not None, "a data module's batches carry labels"
        output = self.model(batch)
        loss: Tensor = self.loss(output, batch)
        self._tally(stage).update(output.logits, main_label(batch.label, batch.mix), loss)
        if stage != "train":
            clips = int((batch.label != IGNORED).sum())
            self.log(f"{stage}/loss", loss, batch_size=clips, sync_dist=True, on_step=False, on_epoch=True)
        return loss

    def _tally(self, stage: Stage) -> Tally:
        tally = self.tallies[f"{stage}_tally"]
        assert isinstance(tally, Tally)
        return tally

    def _log_scores(self, stage: Stage) -> None:
        """Score an epoch as evaluate.py does, over the clips of all processes."""
        tally = self._tally(stage)
        counts, loss = tally.compute()
        tally.reset()
        self.confused[stage] = confusion = counts.cpu().numpy()
        for name, score in SCORES.items():
            self.log(f"{stage}/{name}", float(score(confusion)), sync_dist=True)
        if stage == "train":
            self.log("train/loss", loss, sync_dist=True)
