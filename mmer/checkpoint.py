"""What a checkpoint says of itself, in plain data: enough to use it years later, without Lightning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from mmer.atomic import replacing
from mmer.calibration import Calibration
from mmer.config import (
    AveragingConfig,
    ModelConfig,
    OptimConfig,
    PrepareConfig,
    SplitConfig,
    from_plain,
    to_plain,
)
from mmer.corpora.leaks import mark_clips
from mmer.corpora.manifest import Row
from mmer.corpora.splits import PARTS, Split, speakers_by_part
from mmer.encoders.weights import CARD as CARD
from mmer.encoders.weights import load_plain
from mmer.errors import CheckpointError, ConfigError
from mmer.model import EmotionModel, build_model
from mmer.tokenizer import Tokenizer

FORMAT = 2
"""Version of the card."""

WEIGHTS = "model."
"""Prefix of the weights in a checkpoint file, which are those of the LightningModule that holds the model."""


@dataclass(frozen=True)
class Origin:
    """The checkpoint that a training began from.

    Args:
        path: Its path, as it was given.
        sha256: Its hash, in hex.
    """

    path: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """What a model is, what it was trained on and by whom it was chosen.

    Args:
        model: The model.
        prepare: How its clips were prepared.
        split: How its speakers were dealt.
        root: The prepared folder or the shards that it was trained on, as an absolute path or a URL.
        protocol: The split in words, as ``contig6 fold 1``.
        speakers: The speakers of each part; where clips were dealt and not speakers, those who occur.
        corpora: The corpora that it was trained on.
        seed: Seed of the run.
        epoch: Index of the epoch after which it was kept; the first is 0.
        versions: Versions of the libraries that trained it.
        keys: The clips of each part, where clips were dealt and not speakers.
        dropped: Clips that took no part, for their sound is that of another.
        leaks: What the parts share, a sentence each; every score and every answer says so.
        notes: What else is to be known of the split.
        marks: By what the clips that it learned from or was chosen on are known again under other names, as
            :func:`~mmer.corpora.leaks.mark_clips` writes it.
        calibration: How its probabilities are corrected; None leaves them as they are.
        tokenizer: What makes token ids of words; None where it reads none.
        optim: How its weights were learned; None where an older version did not say.
        averaging: Of which weights they are an average.
        origin: What its training began from; None began anew.
    """

    model: ModelConfig
    prepare: PrepareConfig
    split: SplitConfig
    root: str
    protocol: str
    speakers: dict[str, list[str]]
    corpora: list[str]
    seed: int | None = None
    epoch: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    keys: dict[str, list[str]] | None = None
    dropped: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    marks: str = ""
    calibration: Calibration | None = None
    tokenizer: Tokenizer | None = None
    optim: OptimConfig | None = None
    averaging: AveragingConfig = field(default_factory=AveragingConfig)
    origin: Origin | None = None

    def __post_init__(self) -> None:
        scales, classes = len(self.calibration.scale) if self.calibration else 1, len(self.model.label_set.names)
        if scales not in (1, classes):
            raise ConfigError(f"the calibration has scales for {scales} classes and the model has {classes}")

    @classmethod
    def of_split(cls, dealt: Split, rows: Iterable[Row], /, **rest: Any) -> Card:
        """Return the card of a model that was trained on some clips under a split."""
        parts = dealt.parts(rows)
        keys = None if dealt.keys is None else {str(part): sorted(found) for part, found in dealt.keys.items()}
        return cls(
            protocol=dealt.protocol,
            speakers=dict(speakers_by_part(dealt)),
            corpora=list(dealt.corpora),
            keys=keys,
            dropped=sorted(dealt.dropped),
            leaks=list(dealt.leaks),
            notes=list(dealt.notes),
            marks=mark_clips([*parts["train"], *parts["validation"]]),
            **rest,
        )

    @property
    def dealt(self) -> Split:
        """The split that it was trained under: it says of any clip whether it may be scored."""
        train, validation, test = (tuple(self.speakers.get(part, ())) for part in PARTS)
        keys = None if self.keys is None else {part: frozenset(self.keys.get(part, ())) for part in PARTS}
        return Split(
            self.protocol,
            train,
            validation,
            test,
            tuple(self.corpora),
            keys,
            frozenset(self.dropped),
            tuple(self.leaks),
            tuple(self.notes),
        )

    def to_plain(self) -> dict[str, Any]:
        """Return the card as dictionaries, lists and scalars."""
        return {"format": FORMAT, "card": to_plain(self)}


def read_checkpoint(path: Path) -> tuple[EmotionModel, Card]:
    """Read a trained model and its card; neither Lightning nor the training data are needed.

    Raises:
        CheckpointError: The file is missing, is no checkpoint of mmer's, or is of another version.
    """
    data = load_checkpoint(path)
    card = read_card(data, f"checkpoint {path}")
    model = build_model(card.model, load=False, tokenizer=card.tokenizer)
    state = {k.removeprefix(WEIGHTS): v for k, v in data["state_dict"].items() if k.startswith(WEIGHTS)}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"checkpoint {path} does not fit its own description: {reason}") from error
    return model.eval(), card


def write_calibration(path: Path, calibration: Calibration | None, output: Path | None = None) -> None:
    """Write a calibration into a checkpoint's card, or take it out; all else that the file holds stays.

    Args:
        path: The checkpoint.
        calibration: The calibration; None takes out what is there.
        output: The file to write; None writes into the checkpoint itself, and into what a link points to.

    Raises:
        CheckpointError: The file is missing, is no checkpoint of mmer's, or is of another version.
        ConfigError: The calibration is one of other classes.
    """
    data = load_checkpoint(path)
    replace(read_card(data, f"checkpoint {path}"), calibration=calibration)  # so that only what can be read is written
    card = {**data[CARD]["card"], "calibration": None if calibration is None else to_plain(calibration)}
    with replacing((output or path).resolve()) as temporary, temporary.open("wb") as file:
        torch.save({**data, CARD: {**data[CARD], "card": card}}, file)


def checkpoint_hash(path: Path) -> str:
    """Return the SHA-256 of a checkpoint file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_card(data: Mapping[str, Any], name: str) -> Card:
    """Return the card of a loaded checkpoint.

    Args:
        data: The checkpoint.
        name: What to call it in errors.

    Raises:
        CheckpointError: It is no checkpoint of mmer's, or is of another version.
    """
    held = data.get(CARD)
    if not isinstance(held, Mapping) or not isinstance(data.get("state_dict"), Mapping):
        raise CheckpointError(f"{name} was not written by mmer's training; give one that train.py wrote")
    if held.get("format") != FORMAT:
        raise CheckpointError(f"{name} has format {held.get('format')} and this version reads {FORMAT}")
    return from_plain(Card, held.get("card"))


def load_checkpoint(path: Path) -> Mapping[str, Any]:
    """Load a checkpoint file, plain data only.

    Raises:
        CheckpointError: The file is missing or cannot be read.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} does not exist")
    data = load_plain(path, "checkpoint")
    return data if isinstance(data, Mapping) else {}
