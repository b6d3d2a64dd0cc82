"""Load weights into a network: a library's own by name, or a local file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmer.errors import CheckpointError

State = Mapping[str, Tensor]
"""Weights by parameter name."""

_WRAPPERS = ("model_state", "state_dict", "model")
"""Where published files put the weights when they hold more than them."""


def load_weights(network: nn.Module, weights: str, named: Mapping[str, Callable[[], State]], head: str) -> None:
    """Load weights into a whole network, its classifier left out.

    Args:
        network: The network.
        weights: One of the names, or the path of a local file.
        named: How to fetch the weights of each name.
        head: Prefix of the classifier's parameters; they may be missing, or of another size.

    Raises:
        CheckpointError: The name is unknown, the download or the file fails, or the weights are another network's.
    """
    state = _fetch(weights, named)
    body = {name: value for name, value in state.items() if not name.startswith(head)}
    expected = {name: value for name, value in network.state_dict().items() if not name.startswith(head)}
    wrong = sorted(
        name for name in body.keys() | expected.keys() if _shape(body.get(name)) != _shape(expected.get(name))
    )
    if wrong:
        raise CheckpointError(
            f"weights {weights} are not this network's: {len(wrong)} of {len(expected)} parameters are missing, "
            f"unknown or of another shape, {wrong[0]} the first; give weights of the same variant"
        )
    network.load_state_dict(body, strict=False)


def load_plain(path: Path, kind: str) -> Any:
    """Load a file of tensors and plain data; nothing in it is executed.

    Args:
        path: The file.
        kind: What it should be, in a word for the message.

    Raises:
        CheckpointError: It is something else, or damaged.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch fails in a dozen ways, and advises to load what is not safe
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif "Unsupported global" in str(error):
            reason = "it holds Python objects, which are not safe to load; only tensors and plain data are"
        else:
            reason = "it is damaged, or torch.save did not write it"
        raise CheckpointError(f"{kind} {path} cannot be read: {reason}") from error


def _shape(value: Tensor | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value.shape)


def _fetch(weights: str, named: Mapping[str, Callable[[], State]]) -> State:
    if weights in named:
        try:
            return named[weights]()
        except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: what came has another hash
            reason = " ".join(str(getattr(error, "reason", None) or error).split())
            raise CheckpointError(
                f"weights {weights} cannot be downloaded ({reason}); go online, or give the path of a local file"
            ) from error
    path = Path(weights)
    if not path.is_file():
        allowed = ", ".join(named) or "none by name"
        raise CheckpointError(f"weights {weights!r} are neither a name ({allowed}) nor an existing file")
    return _read(path)


def _read(path: Path) -> State:
    data = load_plain(path, "weights")
    for name in _WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(name), Mapping):
            data = data[name]
    if not isinstance(data, Mapping) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in data.items()):
        raise CheckpointError(f"weights {path} hold no state dictionary; save one with torch.save(module.state_dict())")
    return data
