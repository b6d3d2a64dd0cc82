"""The folder in which mmer keeps what it has fetched."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cached(kind: str) -> Path:
    """Return the folder of one kind of things in the platform's cache folder, or in the one that MMER_CACHE names."""
    return Path(os.environ.get("MMER_CACHE") or platformdirs.user_cache_path("mmer")) / kind
