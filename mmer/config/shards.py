"""How the shards of an object store are read."""

from __future__ import annotations

from dataclasses import dataclass

from mmer.errors import ConfigError


@dataclass(frozen=True)
class ShardConfig:
    """How shards are read; a prepared folder needs none of it."""

    cache: str | None = None
    """Folder for copies of an object store's shards; null takes ``shards`` in mmer's cache folder."""
    cache_gb: float = 50.0
    """How much of them stays there, in 10^9 bytes; what was used longest ago makes room."""
    window_gb: float | None = None
    """Training clips are shuffled within windows of so many 10^9 bytes of shards in random order; the next window is
    fetched meanwhile. Null takes 4 of an object store, and of a local folder everything at once."""

    def __post_init__(self) -> None:
        window = 0.0 if self.window_gb is None else self.window_gb
        if self.cache_gb <= 0 or window < 0 or (self.window_gb is not None and not 0 < window <= self.cache_gb / 2):
            raise ConfigError(
                f"data.shards.cache_gb={self.cache_gb} must be positive, and data.shards.window_gb={self.window_gb} "
                "positive and at most half of it: the next window is fetched while one is read"
            )
