"""The command line before jsonargparse reads it, and its complaints after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from mmer.config import FusionConfig, StreamConfig
from mmer.errors import ConfigError

_UNIONS = ("--model.config.fusion", "--model.config.streams")
_ABOVE = ("--model", "--model.config")
_NAMES = ("kind", "encoder")
_DEFAULT = {"kind": "transformer"}
_MISMATCH = re.compile(
    r'^(?P<indent>[ -]*)Parser key "(?:kind|encoder)":\n *Expected a typing\.Literal\[(?P<names>[^]]*)\]\. '
    r"Got value: (?P<value>.*)\n?",
    re.MULTILINE,
)


def settle_unions(args: Sequence[str]) -> list[str]:
    """Return a command line that says at one place what the streams and the fusion are.

    jsonargparse merges two values of a union of dataclasses field by field, whichever of them they belong to, and then
    takes the first that fits (its issues 829 and 842): ``--model.config.fusion.dim=64`` would forget the kind that the
    config names. So flags of streams and fusion are written into the config, and several configs into one; a new kind,
    encoder or class, as of ``trainer.strategy``, replaces the old one with all its settings.

    Raises:
        ConfigError: A stream or the fusion has a setting that its kind does not know.
    """
    if not args or args[0].startswith("-"):  # no subcommand, so nothing is built
        return list(args)
    configs, flags, rest = [], [], []
    for flag, value in _pairs(args):
        if flag in ("--config", "-c") and value is not None:
            configs.append(value)
        elif value is not None and _says_unions(flag, value):
            flags.append((flag, value))
        else:
            rest.append(flag if value is None else f"{flag}={value}")
    try:
        read = [yaml.safe_load(Path(path).read_text(encoding="utf-8")) for path in configs]
        said = [_nested(flag.removeprefix("--").split("."), yaml.safe_load(value)) for flag, value in flags]
    except (OSError, UnicodeError, yaml.YAMLError):
        return list(args)  # the parser says better what is wrong with them
    if not all(isinstance(each, Mapping) for each in read):
        return list(args)
    merged: Any = {}
    for each in (*read, *said):
        merged = _merge(merged, each)
    _check_model(merged)
    if _at(merged, "model", "config", "fusion") is None:
        merged = _merge(merged, _nested(["model", "config", "fusion"], _DEFAULT))
    elif len(read) == 1 and not said:
        return list(args)
    return [*rest[:1], f"--config={yaml.safe_dump(merged, sort_keys=False)}", *rest[1:]]


def _says_unions(flag: str, value: str) -> bool:
    """Tell whether a flag is about streams or fusion, or about all that they are a part of, as a sweep's agent says."""
    if flag in _ABOVE:
        return value.lstrip().startswith("{")
    return flag.startswith(_UNIONS) and not flag.endswith(".help")


def explains(args: Sequence[str]) -> bool:
    """Tell whether a command line asks for words about settings: by ``--help``, ``--X.help=...``, or for comments."""
    return any(
        word == "-h" or word.partition("=")[0].endswith("help") or word.startswith("--print_config=") for word in args
    )


def one_line(message: str) -> str:
    """Return a parser's message on one line.

    Where none of several kinds of stream or fusion fits, jsonargparse explains each; only the one that was meant
    matters, and where there is none such, which there are.
    """
    message = _without_strangers(message)
    lines = [line.strip(" -") for line in message.splitlines()]
    noise = re.compile(
        r"Subclasses are disabled|Subtypes:|Errors:|Does not validate|Given value type|Given value: Namespace"
        r"|Problem with given|Expected a <class 'NoneType'>"
    )
    return re.sub(r"\s+", " ", " ".join(dict.fromkeys(line for line in lines if not noise.match(line))))


def _without_strangers(message: str) -> str:
    """Leave out the kinds that were not meant; where the name fits none of them, say it once, with all that there are.

    A name that fits none is at the innermost place where names are compared, unless something else is wrong there.
    """
    found = list(_MISMATCH.finditer(message))
    if not found:
        return message
    depth = max(len(each["indent"]) for each in found)
    inner = [each for each in found if len(each["indent"]) == depth]
    short = _MISMATCH.sub("", message)
    if re.search(
        r"is not accepted(?! as class_path)|does not accept option|Expected a <(?!class 'NoneType')|are required|must "
        r"|Got value",
        short,
    ):
        return short
    names = ", ".join(each["names"] for each in inner)
    return f"{short.rstrip()}\nexpected one of {names}. Got value: {inner[0]['value']}"


def _pairs(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield flags with their values, and words that are neither with None."""
    words = iter(args)
    for word in words:
        flag, equals, value = word.partition("=")
        if equals and flag.startswith("-"):
            yield flag, value
        elif word in ("--config", "-c") or word.startswith(_UNIONS):
            yield word, next(words, None)
        else:
            yield word, None


def _nested(keys: Sequence[str], value: Any) -> Any:
    for key in reversed(keys):
        value = {key: value}
    return value


def _merge(old: Any, new: Any) -> Any:
    """Return a mapping with the entries of another one over its own, unless that one is of another kind or class."""
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return new
    if any(new.get(name, old.get(name)) != old.get(name) for name in (*_NAMES, "class_path")):
        return new
    return {**old, **{key: _merge(old[key], value) if key in old else value for key, value in new.items()}}


def _check_model(config: Any) -> None:
    """Refuse settings of streams and fusion that their kinds do not know.

    jsonargparse tries every kind of a union and says what each of them lacks, but not what the one that was meant has.
    """
    described = _at(config, "model", "config")
    streams = _at(described, "streams")
    for name, stream in streams.items() if isinstance(streams, Mapping) else ():
        _check_settings(stream, StreamConfig, f"model.config.streams.{name}")
    _check_settings(_at(described, "fusion"), FusionConfig, "model.config.fusion")


def _check_settings(said: Any, hint: Any, place: str) -> None:
    """Refuse settings that a description does not have, and what is none where there must be settings.

    Args:
        said: What a config says of it.
        hint: Its type: a dataclass, or a union of some that a name tells apart.
        place: Where it is said.

    Raises:
        ConfigError: There is such a setting.
    """
    hints = get_args(hint) or (hint,)
    kinds = [each for each in hints if is_dataclass(each)]
    if not kinds or isinstance(said, str):  # which is no description, or the file of one
        return
    if not isinstance(said, Mapping):
        if hints == (kinds[0],):
            raise ConfigError(f"{place}={said} must be settings: {_listed(kinds[0])}")
        return
    kind = next((each for each in kinds if _is_meant(each, said)), None)
    if kind is None:
        return  # the parser says which there are
    known = get_type_hints(kind)
    for name, value in said.items():
        setting = str(name).partition(".")[0]
        if setting not in known:
            raise ConfigError(f"{place} has no setting {setting!r}; {_name(kind)} has {_listed(kind)}")
        if setting == name:
            _check_settings(value, known[setting], f"{place}.{name}")


def _is_meant(kind: Any, said: Mapping[Any, Any]) -> bool:
    """Tell whether the name by which kinds are told apart, where they are, is this one's."""
    hints, defaults = get_type_hints(kind), {each.name: each.default for each in fields(kind)}
    return all(said.get(name, defaults[name]) in get_args(hints[name]) for name in _NAMES if name in defaults)


def _name(kind: Any) -> str:
    hints = get_type_hints(kind)
    return next((str(get_args(hints[name])[0]) for name in _NAMES if name in hints), "it")


def _listed(kind: Any) -> str:
    return ", ".join(each.name for each in fields(kind))


def _at(config: Any, *keys: str) -> Any:
    for key in keys:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config
