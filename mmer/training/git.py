"""The version of the code that a run is made with, as git says it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any


def read_git(folder: Path) -> dict[str, Any] | None:
    """Return the commit of a folder, and whether something was changed since; None where there is no git."""
    commit = ask_git(folder, "rev-parse", "HEAD")
    return None if commit is None else {"commit": commit, "dirty": bool(ask_git(folder, "status", "--porcelain"))}


def ask_git(folder: Path, *words: str) -> str | None:
    """Return what a command of git says in a folder; None where it fails, or where wandb is to leave git alone."""
    if os.environ.get("WANDB_DISABLE_GIT", "").lower() in ("1", "true"):
        return None
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
