"""How the shards of an object store are read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mmer.errors import ConfigError


@dataclass(frozen=True)
class ShardConfig:
    """How shards are read; a prepared folder needs none of it."""

    cache: str | None = None
    """Folder for copies of an object store's shards; null takes ``shards`` in mmer's cache folder."""
    cache_gb: float = 50.0
    """How much of each URL stays there, in 10^9 bytes; what was used longest ago makes room."""
    window_gb: float | None = None
    """Training clips are shuffled within windows of so many 10^9 bytes of shards in random order; the next window is
    fetched meanwhile. Null takes 4 of an object store, or what the cache has room for, and of a local folder everything
    at once."""

    def __post_init__(self) -> None:
        for name, size in (("cache_gb", self.cache_gb), ("window_gb", self.window_gb)):
            if size is not None and not 0 < size < math.inf:
                raise ConfigError(f"data.shards.{name}={size} must be a positive number, in 10^9 bytes")
