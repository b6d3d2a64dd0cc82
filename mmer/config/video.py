"""Encoders of the face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mmer.config.checks import require, require_multiple, require_positive, require_rate, require_sizes
from mmer.config.clip import Modality
from mmer.config.temporal import TemporalConfig


@dataclass(frozen=True)
class MViTConfig:
    """MViT over face frames (Fan et al. 2021, arXiv:2104.11227; Li et al. 2022, arXiv:2112.01526), as torchvision's."""

    reads: ClassVar[Modality] = "video"

    encoder: Literal["mvit"]
    variant: Literal["mvit_v2_s", "mvit_v2_b", "mvit_v1_b", "tiny"] = "mvit_v2_s"
    """``mvit_v2_s``: 16 frames at 224 pixels, 34 M parameters. ``mvit_v2_b``: 32 at 224, 51 M. ``mvit_v1_b``: the first
    MViT, 16 at 224, 36 M. ``tiny``: MViTv2, 8 frames at 64, for a laptop."""
    weights: str | None = None
    """A name of torchvision's (``KINETICS400_V1``; mvit_v2_b has none), a local file of the same network, or one of
    mmer's checkpoints (``PATH.ckpt``, ``PATH.ckpt#STREAM``); None starts from scratch."""
    drop_path: float = 0.1
    """Rate of stochastic depth in the last block; it grows linearly from 0 in the first."""

    def __post_init__(self) -> None:
        require_rate("drop_path", self.drop_path)


@dataclass(frozen=True)
class ResNet3DConfig:
    """3D convolutional network over face frames.

    With weights, BatchNorm keeps their statistics; from scratch it learns them from the clips that have a video.
    """

    reads: ClassVar[Modality] = "video"

    encoder: Literal["resnet3d"]
    variant: Literal[
        "slow_r50",
        "r3d_18",
        "r2plus1d_18",
        "x3d_xs",
        "x3d_s",
        "x3d_m",
        "slowfast_r50",
        "tiny",
        "tiny_r3d",
        "tiny_r2plus1d",
        "tiny_x3d",
        "tiny_slowfast",
    ] = "slow_r50"
    """``slow_r50``: pytorchvideo's, 8 frames at 224. ``r3d_18``, ``r2plus1d_18`` (Tran et al. 2018, arXiv:1711.11248):
    torchvision's, 16 at 112. ``x3d_xs``, ``x3d_s``, ``x3d_m`` (Feichtenhofer 2020, arXiv:2004.04730): pytorchvideo's, 4
    and 13 at 160, 16 at 224. ``slowfast_r50`` (Feichtenhofer et al. 2019, arXiv:1812.03982): pytorchvideo's, two
    pathways from one clip, 32 frames and every fourth of them, at 224. For a laptop, with few channels: ``tiny`` (of
    slow_r50), ``tiny_r3d``, ``tiny_r2plus1d``, ``tiny_x3d``, 8 at 64; ``tiny_slowfast``, 16 at 64."""
    weights: str | None = None
    """``KINETICS400`` (pytorchvideo's), a name of torchvision's (r3d_18, r2plus1d_18: ``KINETICS400_V1``), a local
    file, or one of mmer's checkpoints (``PATH.ckpt``, ``PATH.ckpt#STREAM``); None starts from scratch."""


@dataclass(frozen=True)
class FramesConfig:
    """Any of timm's networks over each frame alone, then a network over the frames.

    With weights, BatchNorm keeps their statistics; from scratch it learns them from the frames that are there.
    """

    reads: ClassVar[Modality] = "video"

    encoder: Literal["frames"]
    backbone: str = "resnet50"
    """timm's name of the network, as ``resnet50``, ``mobilenetv3_small_050``, ``vit_small_patch16_224``."""
    weights: str | None = None
    """``timm`` for the weights that timm takes by default, one of its tags for this network (``a1_in1k``), a local file
    of the same network (``.pt``, ``.safetensors``), or one of mmer's checkpoints (``PATH.ckpt``, ``PATH.ckpt#STREAM``);
    None starts from scratch."""
    size: int | None = None
    """Side of the backbone's input, in pixels; None takes what timm says of it."""
    trainable: Literal["none", "last_stage", "all"] = "all"
    """Which part of the backbone learns; what does not learn needs weights."""
    temporal: TemporalConfig | None = None
    """Network over the frames, as ``{kind: lstm, width: 256}``; null hands each frame on as it is."""

    def __post_init__(self) -> None:
        if self.size is not None:
            require_positive("frames: size", self.size, "pixels")
        require(
            self.trainable == "all" or self.weights is not None,
            f"trainable={self.trainable} without weights would keep random filters; give weights, or trainable=all",
        )


@dataclass(frozen=True)
class Face48Config:
    """Network over grey faces of 48 x 48 pixels, each frame alone, such as FER2013's; then a network over the frames.

    Frames of any size and colour are scaled and made grey (ITU-R BT.601).
    """

    reads: ClassVar[Modality] = "video"

    encoder: Literal["face48"]
    network: Literal["xception", "vgg19", "tiny_vgg19"] = "xception"
    """``xception``: the small Xception of Arriaga et al. 2017 (arXiv:1710.07557), separable convolutions and residual
    connections, 49 k parameters. ``vgg19``: the 16 convolutions of Simonyan and Zisserman 2015 (arXiv:1409.1556), each
    with a BatchNorm, 20 M. ``tiny_vgg19``: the same with an eighth of the channels, 315 k, for a laptop."""
    weights: str | None = None
    """A local file of the same network, or one of mmer's checkpoints (``PATH.ckpt``, ``PATH.ckpt#STREAM``), as a
    training on FER2013 leaves it; None starts from scratch."""
    temporal: TemporalConfig | None = None
    """Network over the frames, as ``{kind: lstm, width: 64}``; null hands each frame on as it is."""


@dataclass(frozen=True)
class VideoPatchesConfig:
    """Light embedding of video patches, one token each, for a transformer that reads all modalities together.

    A patch is a tubelet: some frames long, a square of pixels wide (Arnab et al. 2021, arXiv:2103.15691, section 3.2).
    """

    reads: ClassVar[Modality] = "video"

    encoder: Literal["video_patches"]
    width: int = 256
    """Width of the tokens."""
    frames: int = 16
    """Frames, spread evenly over the clip's."""
    size: int = 112
    """Side of the frames, in pixels."""
    tubelet: int = 2
    """Frames of a patch; must divide ``frames``."""
    patch: int = 16
    """Side of a patch, in pixels; must divide ``size``."""

    def __post_init__(self) -> None:
        require_sizes("video_patches: ", self, "width", "frames", "size", "tubelet", "patch")
        require_multiple("video_patches: frames", self.frames, "tubelet", self.tubelet)
        require_multiple("video_patches: size", self.size, "patch", self.patch)


VideoConfig = MViTConfig | ResNet3DConfig | FramesConfig | Face48Config | VideoPatchesConfig
"""An encoder of the face."""
