"""Checkpoints as artifacts of Weights & Biases: there, and back again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from filelock import FileLock

from mmer.cache import cached
from mmer.checkpoint import Card
from mmer.errors import ConfigError
from mmer.training.wandb_server import complaint_of, has_key

BEST = "best"
"""Alias of the artifact that holds the best checkpoint."""

_REFERENCE = re.compile(r"wandb:(?P<entity>[\w.-]+)/(?P<project>[\w.-]+)/(?P<name>[\w.-]+):(?P<alias>[\w.-]+)")


def checkpoint_artifact(path: Path, name: str, metadata: Mapping[str, Any]) -> Any:
    """Return a checkpoint as an artifact; its bytes are copied, for the file may be replaced before the upload."""
    import wandb

    artifact = wandb.Artifact(name, type="model", metadata=dict(metadata))
    artifact.add_file(str(path), name=path.name)
    return artifact


def about(card: Card) -> dict[str, Any]:
    """Return what a checkpoint says of itself, in short."""
    return {
        "epoch": card.epoch,
        "labels": list(card.model.label_set.names),
        "reads": list(card.model.reads),
        "protocol": card.protocol,
        "corpora": card.corpora,
        "leaks": card.leaks,
        "seed": card.seed,
        "versions": card.versions,
    }


def fetch_checkpoint(given: str) -> str:
    """Return the path of a checkpoint; one that lies at Weights & Biases, ``wandb:...``, is fetched before.

    What was fetched is kept, by version; several processes fetch it once.

    Args:
        given: A path, or ``wandb:ENTITY/PROJECT/NAME:ALIAS``.

    Raises:
        ConfigError: The reference is no reference, nothing can be fetched, or what was fetched is no single checkpoint.
    """
    if not given.startswith("wandb:"):
        return given
    found = _REFERENCE.fullmatch(given)
    if found is None:
        raise ConfigError(
            f"{given} names no artifact; write wandb:ENTITY/PROJECT/NAME:ALIAS, as wandb:me/faces/model-1a2b3c4d:{BEST}"
        )
    import wandb

    if not has_key():
        raise ConfigError(f"{given}: there is no key of Weights & Biases here; run wandb login, or set WANDB_API_KEY")
    cache = cached("wandb")
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(cache / ".lock"):
            artifact = wandb.Api().artifact(given.removeprefix("wandb:"), type="model")
            folder = Path(
                artifact.download(root=str(cache.joinpath(*found.group("entity", "project", "name"), artifact.version)))
            )
    except (wandb.errors.Error, ValueError, requests.RequestException) as error:
        raise ConfigError(
            f"{given} cannot be fetched from Weights & Biases: {complaint_of(error)}; see that it exists, that your "
            "key may read it, and that the network is there"
        ) from error
    checkpoints = sorted(folder.rglob("*.ckpt"))
    if len(checkpoints) != 1:
        raise ConfigError(f"{given} holds {len(checkpoints)} files *.ckpt; name an artifact that holds one checkpoint")
    return str(checkpoints[0])
