"""What lies on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, TypeVar

T = TypeVar("T")

_PATIENCE = 10  # seconds, as the hub's own library has for its first question


def fetch_from_hub(fetch: Callable[[], T]) -> T:
    """Fetch something from the hub, or say soon that the hub is silent, whose own library asks for a minute.

    The hub is asked once whether it is there. Where it gives no answer, what was fetched before is still found.

    Args:
        fetch: Fetches it by the hub's own library.

    Raises:
        ConnectionError: The hub is silent, and the thing was not fetched before.
    """
    hub = import_module("huggingface_hub")
    address = hub.constants.ENDPOINT
    try:
        hub.get_session().head(address, timeout=_PATIENCE)
    except Exception as silence:  # noqa: BLE001 - which depends on what the hub's library asks by
        with _offline(hub.constants):
            try:
                return fetch()
            except FileNotFoundError as error:
                raise ConnectionError(f"{address} does not answer: {silence}") from error
    return fetch()


@contextmanager
def _offline(settings: Any) -> Iterator[None]:
    """Let the hub's library look for what it has kept, and ask nobody."""
    before = settings.HF_HUB_OFFLINE
    settings.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        settings.HF_HUB_OFFLINE = before
