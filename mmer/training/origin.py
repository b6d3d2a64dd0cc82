"""Begin from a checkpoint of mmer's: load what fits, say what does not, and remember whom it has learned from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from mmer.checkpoint import WEIGHTS, Card, load_checkpoint, read_card
from mmer.config import FeaturesConfig, FramesConfig, ModelConfig
from mmer.corpora.manifest import Row, listed
from mmer.encoders.video.frames import check_pixels
from mmer.errors import CheckpointError, SplitError
from mmer.evaluation.select import learned_from
from mmer.model import EmotionModel
from mmer.training.data import data_of
from mmer.training.past import read_past
from mmer.training.say import say

_NAMED = 4  # how many parameters a line names


class Remember(Callback):
    """Hand on what checkpoints say of their past to what begins from them or goes on from one.

    Args:
        goes_on: The card of the checkpoint that the run goes on from, which says all of its past; None begins.
        begins: The cards of what it begins from, by path; those of the streams' own weights are added.
    """

    def __init__(self, goes_on: Card | None = None, begins: Mapping[str, Card] | None = None) -> None:
        self.goes_on = goes_on
        self.begins = dict(begins or {})

    @property
    def marks(self) -> list[str]:
        """By what the clips that were learned from are known again, as cards say it."""
        return [card.marks for card in (self.goes_on, *self.begins.values()) if card is not None]

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Look whether they know whom this run tests, once the clips are dealt and before a model is built.

        Raises:
            SplitError: They do, and the split allows no leak.
            CheckpointError: A checkpoint that a stream names cannot be read.
        """
        data = data_of(trainer)
        if self.goes_on is not None:
            leaks, notes = self.goes_on.leaks, self.goes_on.notes
        else:
            self.begins |= read_past(None, pl_module.config)  # type: ignore[arg-type]
            parts = data.split.parts(data.corpus.rows)
            leaks = [*self._known(parts["test"])]
            notes = [f"the training began from {path}: {_past(card)}" for path, card in self.begins.items()]
            notes += [f"validation chooses kindly: {each}" for each in self._known(parts["validation"])]
            if leaks and not (data.split.leaks or data.split_config.allow_leak):
                raise SplitError(
                    f"{'; '.join(leaks)}, and this split tests them; test others, or data.split.allow_leak trains "
                    "all the same and marks every result"
                )
        data.split = replace(
            data.split,
            leaks=tuple(dict.fromkeys((*data.split.leaks, *leaks))),
            notes=tuple(dict.fromkeys((*data.split.notes, *notes))),
        )

    def _known(self, rows: list[Row]) -> Iterator[str]:
        for path, card in self.begins.items():
            yield from (f"{path} {sentence}" for sentence in learned_from(rows, card))


def begin_from(path: Path, build: Callable[[bool], EmotionModel]) -> tuple[EmotionModel, set[str]]:
    """Build a model, load what fits of a checkpoint by name and shape, and say what was loaded and what was not.

    Where the classes are others, or in another order, the heads begin anew; so do the readers of words where the
    vocabulary is another, and those of a precomputed table that is another. Statistics of precomputed streams are the
    checkpoint's where any of its weights are: they were learned with them.

    Args:
        path: The checkpoint.
        build: How to build the model, with the weights that its streams name or without; they are looked for only where
            the checkpoint does not bring all of an encoder's.

    Returns:
        The model, and the names of the parameters and buffers that were loaded.

    Raises:
        CheckpointError: Nothing fits.
        ConfigError: A stream saw its pixels in another way.
    """
    data = load_checkpoint(path)
    card = read_card(data, f"checkpoint {path}")
    theirs = {k.removeprefix(WEIGHTS): v for k, v in data["state_dict"].items() if k.startswith(WEIGHTS)}
    model = build(False)
    parameters = {name for name, _ in model.named_parameters()}
    strange = strangers(model, card, f"init {path}")
    fitting = _fitting(model.state_dict(), theirs, tuple(strange))
    unfit = {f"{part}.": "none of its weights fits" for part in _unfit(model, fitting)}
    strange = unfit | strange
    fitting = _fitting(model.state_dict(), theirs, tuple(strange))
    if not parameters & fitting.keys():
        raise CheckpointError(
            f"init {path}: none of its parameters fits by name and shape; it has the streams "
            f"{', '.join(card.model.streams)} and this model {', '.join(model.config.streams)}: give a stream the same "
            "name and settings"
        )
    if any(name.startswith("encoders.") and name not in fitting for name in model.state_dict()):
        model = build(True)
    for line in report(model.state_dict(), parameters, theirs, fitting, strange):
        say(f"init {path}: {line}")
    model.load_state_dict(fitting, strict=False)
    return model, set(fitting)


def shares_words(before: ModelConfig, config: ModelConfig) -> bool:
    """Tell whether a model can take over the tokenizer of an earlier one: a reader of words is in both."""
    return any(stream.reads == "text" and stream in config.streams.values() for stream in before.streams.values())


def strangers(model: EmotionModel, card: Card, where: str) -> dict[str, str]:
    """Return what means something else in a checkpoint although it may fit, by its prefix, and why.

    Raises:
        ConfigError: A stream saw its pixels in another way.
    """
    found: dict[str, str] = {}
    if model.config.label_set.names != card.model.label_set.names:
        found |= dict.fromkeys(("head.", "stream_heads."), "of other classes")
    if model.tokenizer != card.tokenizer:
        readers = (name for name, stream in model.config.streams.items() if stream.reads == "text")
        found |= {f"encoders.{name}.": "of another vocabulary" for name in readers}
    for name, stream in model.config.streams.items():
        match stream, card.model.streams.get(name):
            case FeaturesConfig(), FeaturesConfig(features=table) if table != stream.features:
                found |= dict.fromkeys([f"encoders.{name}.", *_readers(model, name)], f"of the table {table}")
            case FramesConfig(), FramesConfig() as before:
                check_pixels(stream, before, f"{where}: stream {name}")
    return found


def _readers(model: EmotionModel, stream: str) -> Iterator[str]:
    """Yield the prefixes of what reads one stream's tokens alone, in the fusion and in its own head."""
    for name in model.state_dict():
        before, found, _ = name.partition(f".{stream}.")
        if found and before.partition(".")[0] in ("fusion", "stream_heads"):
            yield before + found


def _unfit(model: EmotionModel, fitting: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield the encoders of which no parameter fits; where one has none, of whose buffers not all do."""
    for name, encoder in model.encoders.items():
        part = f"encoders.{name}"
        parameters = [f"{part}.{each}" for each, _ in encoder.named_parameters()]
        buffers = [f"{part}.{each}" for each in encoder.state_dict()]
        if not (
            any(each in fitting for each in parameters) if parameters else all(each in fitting for each in buffers)
        ):
            yield part


def report(
    ours: Mapping[str, Tensor],
    parameters: Collection[str],
    theirs: Mapping[str, Tensor],
    fitting: Mapping[str, Tensor],
    strange: Mapping[str, str],
) -> Iterator[str]:
    """Say of each part of a model, in a line, how much of it was loaded and what was not; then what was left over.

    Args:
        ours: The model's parameters and buffers; the latter, which no optimiser learns, are counted apart.
        parameters: The names of its parameters.
        theirs: What the checkpoint has.
        fitting: What of it was loaded.
        strange: What means something else in it although it may fit, by its prefix, and why.
    """

    def loaded(own: Sequence[str]) -> str:
        lacking = [f"{name} ({_reason(name, ours, theirs, strange)})" for name in own if name not in fitting]
        known = any(_part(name) == _part(each) for each in own for name in theirs)
        rest = f", not {listed(lacking, _NAMED)}" if known else ", it is not in the checkpoint"
        return f"{len(own) - len(lacking)} of {len(own)}{rest if lacking else ''}"

    learned = [name for name in ours if name in parameters]
    yield f"{len(fitting.keys() & set(learned))} of {len(learned)} parameters loaded"
    for part in dict.fromkeys(map(_part, learned)):
        yield f"{part}: {loaded([name for name in learned if _part(name) == part])}"
    if buffers := [name for name in ours if name not in parameters]:
        yield f"buffers, which no optimiser learns: {loaded(buffers)}"
    rest = [name for name in theirs if name not in fitting]
    if rest:
        counts = {part: sum(_part(name) == part for name in rest) for part in dict.fromkeys(map(_part, rest))}
        yield f"left in the checkpoint: {', '.join(f'{part} ({count})' for part, count in counts.items())}"


def _fitting(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], strange: tuple[str, ...]) -> dict[str, Tensor]:
    return {
        name: theirs[name]
        for name, value in ours.items()
        if name in theirs and theirs[name].shape == value.shape and not name.startswith(strange)
    }


def _reason(name: str, ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor], strange: Mapping[str, str]) -> str:
    if name not in theirs:
        return "not there"
    there, here = (list(state[name].shape) for state in (theirs, ours))
    if there != here:
        return f"{there} there, {here} here"
    return next(reason for prefix, reason in strange.items() if name.startswith(prefix))


def _part(name: str) -> str:
    """Return the part of a model that a parameter is of: a stream's encoder or head, the fusion, the head."""
    first, _, rest = name.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if first in ("encoders", "stream_heads") else first


def _past(card: Card) -> str:
    people = listed(card.speakers.get("train", ()), _NAMED) or "nobody by name"
    return f"{card.protocol} of {listed(card.corpora)}, {people} trained"
