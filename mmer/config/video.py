"""Encoders of the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mmer.config.checks import require
from mmer.config.clip import Modality


@dataclass(frozen=True)
class MViTConfig:
    """MViTv2 over face frames (Li et al. 2022, arXiv:2112.01526), as torchvision builds it."""

    reads: ClassVar[Modality] = "video"

    encoder: Literal["mvit"]
    variant: Literal["mvit_v2_s", "tiny"] = "mvit_v2_s"
    """``mvit_v2_s``: 16 frames at 224 pixels, 34 M parameters. ``tiny``: 8 frames at 64, for a laptop."""
    weights: str | None = None
    """A name of torchvision's (``KINETICS400_V1``) or a local file of the same network; None starts from scratch."""
    drop_path: float = 0.1
    """Rate of stochastic depth in the last block; it grows linearly from 0 in the first."""

    def __post_init__(self) -> None:
        require(0 <= self.drop_path < 1, f"drop_path={self.drop_path} must lie in [0, 1)")


@dataclass(frozen=True)
class ResNet3DConfig:
    """3D ResNet over face frames.

    With weights, BatchNorm keeps their statistics and never learns new ones; from scratch it is replaced by GroupNorm.
    Either way a clip's answer does not depend on the clips beside it, nor on those whose video is missing.
    """

    reads: ClassVar[Modality] = "video"

    encoder: Literal["resnet3d"]
    variant: Literal["slow_r50", "r3d_18", "tiny"] = "slow_r50"
    """``slow_r50``: pytorchvideo's, 8 frames at 224. ``r3d_18``: torchvision's, 16 at 112. ``tiny``: 8 at 64."""
    weights: str | None = None
    """``KINETICS400`` (slow_r50), a name of torchvision's (r3d_18: ``KINETICS400_V1``), or a local file."""
