"""How a training is computed: what changes its speed and its memory, and its results by rounding alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ComputeConfig:
    """How the steps of a training are computed; a checkpoint is the same whatever stands here."""

    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """Let ``torch.compile`` translate encoders and fusion, in one of its modes; the first steps take minutes."""
    channels_last: bool = False
    """Lay weights and pictures of convolutions out channel after channel, as tensor cores like them."""
    activation_checkpointing: bool = False
    """Forget what lies between the layers of encoders and compute it anew for the gradient (Chen et al. 2016,
    arXiv:1604.06174): less memory, about a third more time. Layers with a BatchNorm that learns are left as they are,
    for it would count every clip twice."""
    matmul: Literal["highest", "high", "medium"] = "highest"
    """Precision of float32 matrix products; ``high`` is TF32 on NVIDIA's tensor cores."""
