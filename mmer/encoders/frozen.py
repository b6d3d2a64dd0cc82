"""Networks of which only a part learns."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


def freeze_but(network: nn.Module, trained: Iterable[nn.Module]) -> None:
    """Let nothing of a network learn but some of its modules."""
    network.requires_grad_(False)
    for module in trained:
        module.requires_grad_(True)


def train_but_frozen(network: nn.Module, trained: Iterable[nn.Module], mode: bool) -> None:
    """Set the mode of those of a network's modules that learn; the others stay in eval mode, without dropout."""
    network.eval()
    for module in trained:
        module.train(mode)
