"""Configs as plain data, and back."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from mmer.errors import CheckpointError, ConfigError

T = TypeVar("T")


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what writes and reads a kind of config; to make one takes longer than a checkpoint's other words."""
    return TypeAdapter(kind)


def to_plain(config: Any) -> Any:
    """Turn a config into dictionaries, lists and scalars: what JSON, YAML and ``weights_only`` checkpoints can hold."""
    return adapter(type(config)).dump_python(config, mode="json")  # type: ignore[arg-type] # classes are hashable


def from_plain(kind: type[T], data: Any) -> T:
    """Read back what :func:`to_plain` wrote.

    Raises:
        CheckpointError: The data do not describe a valid ``kind``; the first fault is named.
    """
    try:
        found: T = adapter(kind).validate_python(data)  # type: ignore[arg-type]
    except ValidationError as error:
        fault = _fault(error)
        where = ".".join(str(part) for part in fault["loc"] if not str(part).endswith("Config")) or "its top"
        raise CheckpointError(f"the stored {kind.__name__} is not readable at {where!r}: {fault['msg']}") from error
    except ConfigError as error:
        raise CheckpointError(f"the stored {kind.__name__} is not valid: {error}") from error
    return found


def _fault(error: ValidationError) -> ErrorDetails:
    """Return the first fault of what the data say they are; pydantic lists those of all that they could be."""
    faults = error.errors()
    others = {fault["loc"][:-1] for fault in faults if fault["loc"][-1:] in (("kind",), ("encoder",))}
    meant = [fault for fault in faults if not any(fault["loc"][: len(other)] == other for other in others)]
    return (meant or faults)[0]
