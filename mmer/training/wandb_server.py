"""How Weights & Biases is reached: whether at all, with which key, and what it complains of."""

from __future__ import annotations

import os

import requests

_OLD_SERVER = "https://api.wandb.ai"  # a key that an older wandb wrote down is one of this server, and still good


def choose_mode() -> str:
    """Return ``online``, ``offline`` or ``disabled``: what the user has set, or else by whether there is a key."""
    import wandb

    asked = os.environ.get("WANDB_MODE")
    mode = asked or wandb.setup().settings.mode
    if mode in ("offline", "dryrun"):
        return "offline"
    if mode == "disabled":
        return "disabled"
    return "online" if asked or has_key() else "offline"


def has_key() -> bool:
    """Tell whether wandb would find a key, in the environment or in the user's netrc, without asking for one."""
    import wandb

    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    server = wandb.setup().settings.base_url
    servers = [server, _OLD_SERVER] if server == wandb.Settings().base_url else [server]
    return any(requests.utils.get_netrc_auth(each) is not None for each in servers)


def complaint_of(error: Exception) -> str:
    """Return what went wrong on one line, without its full stop."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
