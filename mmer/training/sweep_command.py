"""The command of a sweep: what stands behind ``train.py``, with the parameters where they belong."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmer.corpora.manifest import listed
from mmer.errors import ConfigError
from mmer.training.domains import Plain, show_value

_ARGS = ("${args}", "${args_no_equals}", "${args_no_boolean_flags}")
_NO_FLAGS = re.compile(r"\$\{args\w+\}")
_INTERPRETERS = ("${interpreter}", "python", "python3")
_ENVIRONMENT = re.compile(r"\$\{envvar:(\w+)\}")
EXAMPLE = "[${env}, python, ${program}, fit, --config=FILE, ${args}]"
"""A command, for messages."""


def read_command(plain: Any) -> tuple[str, ...]:
    """Return what stands behind the program, with what the environment says filled in.

    Raises:
        ConfigError: It is no command, or none of ``train.py fit`` with its parameters.
    """
    if not isinstance(plain, list) or not plain:
        raise ConfigError(f"command must be a list of words, as {EXAMPLE}")
    words = [_with_environment(str(word)) for word in plain]
    start = words[1:] if words[0] == "${env}" else words
    start = start[1:] if start[:1] and start[0] in _INTERPRETERS else start
    if not start or not (start[0] == "${program}" or Path(start[0]).name == "train.py"):
        raise ConfigError(f"command must run ${{program}}, as {EXAMPLE}")
    rest = start[1:]
    if rest[:1] != ["fit"]:
        raise ConfigError(f"command must say fit behind ${{program}}, as {EXAMPLE}")
    if strange := [word for word in rest if "${" in word and word not in _ARGS]:
        why = "train.py takes flags" if _NO_FLAGS.search(strange[0]) else "nothing is known of it"
        raise ConfigError(f"command: {strange[0]} cannot be filled, {why}; use {listed(_ARGS)} or ${{envvar:NAME}}")
    if sum(word in _ARGS for word in rest) != 1:
        raise ConfigError("command must say ${args} once, for the parameters")
    return tuple(rest)


def fill(command: Sequence[str], params: Mapping[str, Plain]) -> list[str]:
    """Return a command with the parameters where they belong, and without what it says to Weights & Biases."""
    return list(_without_wandb([each for word in command for each in _fill(word, params)]))


def _fill(word: str, params: Mapping[str, Plain]) -> list[str]:
    """Return a word of the command, with the parameters where they belong."""
    if word == "${args}":
        return [f"--{name}={show_value(value)}" for name, value in params.items()]
    if word == "${args_no_equals}":
        return [each for name, value in params.items() for each in (f"--{name}", show_value(value))]
    if word == "${args_no_boolean_flags}":
        shown = {name: "" if value is True else f"={show_value(value)}" for name, value in params.items()}
        return [f"--{name}{shown[name]}" for name, value in params.items() if value is not False]
    return [word]


def _without_wandb(words: Sequence[str]) -> Iterator[str]:
    """Leave out ``--wandb PROJECT`` and whatever else is about it."""
    skipped = False
    for word in words:
        value, skipped = skipped and not word.startswith("-"), False
        if word.startswith("--wandb"):
            skipped = "=" not in word
        elif not value:
            yield word


def _with_environment(word: str) -> str:
    for name in _ENVIRONMENT.findall(word):
        if name not in os.environ:
            raise ConfigError(f"command: ${{envvar:{name}}} is not set; export {name}=...")
    return _ENVIRONMENT.sub(lambda found: os.environ[found[1]], word)
