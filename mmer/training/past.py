"""What a training begins from: checkpoints of mmer's, and whom they have learned from."""

from __future__ import annotations

from pathlib import Path

from mmer.checkpoint import CARD, Card, load_checkpoint, read_card
from mmer.config import ModelConfig


def read_past(init: str | None, config: ModelConfig) -> dict[str, Card]:
    """Return the cards of the checkpoints of mmer's that a training begins from, by path.

    Args:
        init: The checkpoint that a whole model begins from.
        config: The model, whose streams may name checkpoints as their weights.

    Raises:
        CheckpointError: One cannot be read.
    """
    names = [getattr(stream, "weights", None) or "" for stream in config.streams.values()]
    paths = sorted({path for path, _, _ in (name.partition("#") for name in names) if path.endswith(".ckpt")})
    found = {path: load_checkpoint(Path(path)) for path in paths if Path(path).is_file()}
    past = {path: read_card(data, f"checkpoint {path}") for path, data in found.items() if CARD in data}
    return past if init is None else {init: read_card(load_checkpoint(Path(init)), f"checkpoint {init}"), **past}
