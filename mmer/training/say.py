"""What a training has to say, on standard error."""

from __future__ import annotations

import sys

from lightning.pytorch.utilities import rank_zero_only


@rank_zero_only
def say(message: str) -> None:
    """Print a line on standard error, once for all processes."""
    say_each(message)


def say_each(message: str) -> None:
    """Print a line on standard error, for this process alone."""
    print(f"train.py: {message}", file=sys.stderr, flush=True)
