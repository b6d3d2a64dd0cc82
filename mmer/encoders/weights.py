"""Load weights into a network: a library's own by name, a local file, or a stream of one of mmer's checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmer.errors import CheckpointError

State = Mapping[str, Tensor]
"""Weights by parameter name."""

Fetchers = Mapping[str, Callable[[], State]]
"""How to fetch weights, by their name."""

CARD = "mmer"
"""Where a checkpoint of mmer's keeps its card."""

_TEMPORAL = "temporal."
"""Prefix of an encoder's network over its steps, which may be another than the checkpoint's."""

_WRAPPERS = ("model_state", "state_dict", "model")
"""Where published files put the weights when they hold more than them."""


def load_weights(
    network: nn.Module,
    weights: str,
    named: Fetchers,
    head: str | tuple[str, ...],
    rename: Callable[[State], State] = lambda state: state,
) -> None:
    """Load weights into a whole network, its classifier left out.

    Args:
        network: The network.
        weights: One of the names, or the path of a local file.
        named: How to fetch the weights of each name.
        head: Prefixes of the classifier's parameters; they may be missing, or of another size.
        rename: Gives the weights of a file the names that the network has for them.

    Raises:
        CheckpointError: The name is unknown, the download or the file fails, or the weights are another network's.
    """
    _load_body(network, rename(_fetch(weights, named)), head, f"weights {weights}", "give weights of the same variant")


def fetch_torchvision(weights: Iterable[Any]) -> Fetchers:
    """Return how to fetch each of the weights that torchvision has of a network."""
    return {each.name: partial(each.get_state_dict, progress=True, check_hash=True) for each in weights}


@dataclass(frozen=True)
class Stored:
    """The streams of one of mmer's checkpoints.

    Args:
        name: What to call it in errors.
        stream: The stream that was asked for; None where there is a choice.
        configs: The settings of each stream's encoder.
        states: The weights of each.
    """

    name: str
    stream: str | None
    configs: Mapping[str, Mapping[str, Any]]
    states: Mapping[str, State]

    def load_into(self, encoder: nn.Module, kind: str) -> None:
        """Load the stream of the same encoder; a network over its steps that the checkpoint lacks stays as it is.

        Args:
            encoder: The encoder.
            kind: Its name, as ``face48``.

        Raises:
            CheckpointError: The checkpoint has no such stream, or several, or it was trained with other settings.
        """
        stream = self._choose(kind)
        left = _TEMPORAL if self.leaves(encoder, kind) else ()
        settings = ", ".join(f"{name}: {value}" for name, value in self.configs[stream].items())
        advice = f"give the settings that it was trained with: {settings}"
        _load_body(encoder, self.states[stream], left, f"weights {self.name}, stream {stream},", advice)

    def leaves(self, encoder: nn.Module, kind: str) -> set[str]:
        """Return what of an encoder it does not bring: none, or all of its network over the steps."""
        state, expected = self.states[self._choose(kind)], encoder.state_dict()
        steps = {name for name in state.keys() | expected.keys() if name.startswith(_TEMPORAL)}
        whole = all(_shape(state.get(name)) == _shape(expected.get(name)) for name in steps)
        return set() if whole else steps & expected.keys()

    def config(self, kind: str) -> Mapping[str, Any]:
        """Return the settings of the stream that :meth:`load_into` loads."""
        return self.configs[self._choose(kind)]

    def _choose(self, kind: str) -> str:
        same = [name for name, config in self.configs.items() if config.get("encoder") == kind]
        found = [name for name in same if self.stream in (None, name)]
        if len(found) > 1:
            choices = " or ".join(f"{self.name}#{name}" for name in found)
            raise CheckpointError(f"checkpoint {self.name} has several {kind} streams; say which, as {choices}")
        if not found:
            held = ", ".join(f"{name} ({config.get('encoder')})" for name, config in self.configs.items())
            wanted = f"{kind} stream" if self.stream is None else f"{kind} stream called {self.stream}"
            raise CheckpointError(f"checkpoint {self.name} has no {wanted}; its streams are {held}")
        return found[0]


def read_stored(weights: str) -> Stored | None:
    """Read the streams of one of mmer's checkpoints; None where the weights are something else.

    Args:
        weights: The path of a checkpoint, as ``best.ckpt``, or as ``best.ckpt#face`` to take one of its streams.

    Raises:
        CheckpointError: The file cannot be read.
    """
    name, _, stream = weights.partition("#")
    path = Path(name)
    if path.suffix != ".ckpt" or not path.is_file():
        return None
    data = load_plain(path, "weights")
    try:
        configs = data[CARD]["card"]["model"]["streams"]
        states = {each: _below(data["state_dict"], f"model.encoders.{each}.") for each in configs}
    except (KeyError, TypeError, IndexError):  # a checkpoint of somebody else's
        return None
    return Stored(name, stream or None, configs, states)


def _below(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _load_body(network: nn.Module, state: State, head: str | tuple[str, ...], name: str, advice: str) -> None:
    """Load all weights but those under some prefixes, and refuse what does not fit."""
    body = {name: value for name, value in state.items() if not name.startswith(head)}
    expected = {name: value for name, value in network.state_dict().items() if not name.startswith(head)}
    every = body.keys() | expected.keys()
    wrong = sorted(name for name in every if _shape(body.get(name)) != _shape(expected.get(name)))
    if wrong:
        raise CheckpointError(
            f"{name} are not this network's: {len(wrong)} of {len(every)} parameters are missing, "
            f"unknown or of another shape, {wrong[0]} the first; {advice}"
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


def _fetch(weights: str, named: Fetchers) -> State:
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
    data = _load_safetensors(path) if path.suffix == ".safetensors" else load_plain(path, "weights")
    for name in _WRAPPERS:
        if isinstance(data, Mapping) and isinstance(data.get(name), Mapping):
            data = data[name]
    if not isinstance(data, Mapping) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in data.items()):
        raise CheckpointError(f"weights {path} hold no state dictionary; save one with torch.save(module.state_dict())")
    return data


def _load_safetensors(path: Path) -> State:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"weights {path} cannot be read: {reason}") from error
