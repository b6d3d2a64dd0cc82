"""Face frames to tokens: 3D convolutional networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from pytorchvideo.models.hub import resnet as resnet_hub
from pytorchvideo.models.hub import slowfast as slowfast_hub
from pytorchvideo.models.hub import x3d as x3d_hub
from pytorchvideo.models.resnet import create_resnet
from pytorchvideo.models.slowfast import create_slowfast
from pytorchvideo.models.x3d import create_x3d
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video import R2Plus1D_18_Weights, R3D_18_Weights, VideoResNet, r2plus1d_18, r3d_18
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, Conv3DSimple

from mmer.batch import Tokens
from mmer.config import ResNet3DConfig
from mmer.encoders.norms import encode_real, settle_batch_norm
from mmer.encoders.video.pixels import FrameInput, pool_mask
from mmer.encoders.weights import Fetchers, State, fetch_torchvision, load_weights

_GREY = ((0.45,) * 3, (0.225,) * 3)
_KINETICS = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
"""Mean and standard deviation of each colour, as pytorchvideo's and torchvision's weights were trained with."""


class ResNet3D(nn.Module):
    """Tokens of a 3D convolutional network, one for each time step of its last stage, averaged over space.

    Args:
        config: Variant and weights.
        load: Whether to load the weights that the config names; False when a checkpoint brings its own.
    """

    def __init__(self, config: ResNet3DConfig, load: bool = True) -> None:
        super().__init__()
        upstream = _UPSTREAM[config.variant]
        network = upstream.build()
        if config.weights is not None and load:
            load_weights(network, config.weights, upstream.weights, head=upstream.head)
        self.frozen_norm = config.weights is not None
        self.dim = upstream.dim
        mean, std = upstream.colours
        self.input = FrameInput(upstream.frames, upstream.size, mean=mean, std=std)
        self.network = upstream.body(network)
        _count_plainly(self.network)

    @property
    def layers(self) -> list[nn.Module]:
        """Its stages from input to output, for learning rates that fall towards the input."""
        return list(self.network.children())

    def train(self, mode: bool = True) -> ResNet3D:
        """Set the mode; BatchNorm with loaded statistics stays in eval mode."""
        super().train(mode)
        if self.frozen_norm:
            settle_batch_norm(self.network)
        return self

    def forward(self, x: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode clips."""
        pixels, mask = self.input(x, mask)
        hidden = encode_real(self.network, pixels, mask.any(dim=1))  # [b d t h w]
        return Tokens(hidden.mean(dim=(3, 4)).transpose(1, 2), pool_mask(mask, hidden.shape[2]))


class SlowFastStages(nn.Sequential):
    """Two pathways over one clip: the fast one sees every frame, the slow one every fourth (Feichtenhofer et al. 2019).

    The fast pathway's steps are averaged to the slow one's, and the two laid side by side. Averaged over time as well,
    that is what pytorchvideo's classifier reads.
    """

    alpha = 4
    """Frames of the fast pathway for each of the slow one's."""

    def forward(self, pixels: Float[Tensor, "b 3 f s s"]) -> Float[Tensor, "b d t h w"]:
        """Pass a clip through both pathways."""
        frames = pixels.shape[2]
        slow = torch.linspace(0, frames - 1, frames // self.alpha).long()  # these frames, as the weights were trained
        pathways = [pixels[:, :, slow.to(pixels.device)], pixels]
        for stage in self:
            pathways = stage(pathways)
        return torch.cat([pathways[0], F.avg_pool3d(pathways[1], (self.alpha, 1, 1))], dim=1)


class ThinVideoResNet(VideoResNet):  # type: ignore[misc]
    """R3D or R(2+1)D as torchvision builds them (Tran et al. 2018, arXiv:1711.11248), with an eighth of their channels.

    It has 10 layers, for each stage is one block.

    Args:
        convolution: torchvision's convolution of its blocks: whole, or taken apart into space and time.
        stem: Makes what comes before its first block, of so many channels.
    """

    inplanes: int
    thinner = 8

    def __init__(self, convolution: type[nn.Module], stem: Callable[[int], nn.Module]) -> None:
        super().__init__(BasicBlock, [convolution] * 4, [1] * 4, partial(stem, 64 // self.thinner))
        self.fc = nn.Linear(512 // self.thinner, 400)

    def _make_layer(
        self, block: type[nn.Module], conv_builder: type[nn.Module], planes: int, blocks: int, stride: int = 1
    ) -> nn.Sequential:
        planes //= self.thinner
        self.inplanes = min(self.inplanes, planes)  # torchvision counts on 64 behind the stem
        return cast(nn.Sequential, super()._make_layer(block, conv_builder, planes, blocks, stride))


def _stages(network: nn.Module) -> nn.Module:
    """Return pytorchvideo's stem and stages."""
    return nn.Sequential(*_blocks(network)[:-1])


def _torchvision_stages(network: nn.Module) -> nn.Module:
    """Return torchvision's stem and layers."""
    return nn.Sequential(*(layer for name, layer in network.named_children() if name not in ("avgpool", "fc")))


def _x3d_stages(network: nn.Module) -> nn.Module:
    """Return X3D's stem, stages and last convolution; pytorchvideo has the latter in its head, before the pooling."""
    blocks = _blocks(network)
    pool = cast(nn.Module, blocks[-1].pool)
    last = (cast(nn.Module, getattr(pool, name)) for name in ("pre_conv", "pre_norm", "pre_act"))
    return nn.Sequential(*blocks[:-1], nn.Sequential(*last))


def _slowfast_stages(network: nn.Module) -> nn.Module:
    """Return SlowFast's stems and stages, which pytorchvideo follows with a pooling and the head."""
    return SlowFastStages(*_blocks(network)[:-2])


def _count_plainly(network: nn.Module) -> None:
    """Make plain integers of the strides and sizes that pytorchvideo computes with numpy: no compiler takes those."""
    for module in network.modules():
        for name, sizes in list(vars(module).items()):
            if isinstance(sizes, tuple) and any(isinstance(size, np.integer) for size in sizes):
                setattr(module, name, tuple(map(int, sizes)))


def _blocks(network: nn.Module) -> list[nn.Module]:
    return list(cast(nn.ModuleList, network.blocks))


def _fetch_hub(make: Callable[..., nn.Module]) -> Fetchers:
    """Return how to fetch the weights of one of pytorchvideo's networks."""
    return {"KINETICS400": lambda: cast(State, make(pretrained=True).state_dict())}


@dataclass(frozen=True)
class _Upstream:
    """A network as its library makes it.

    Args:
        build: How it is built.
        body: How to get what comes before the classifier.
        head: Prefixes of the classifier's parameters.
        dim: Channels of the body's last layer.
        frames: Frames that it takes.
        size: Their side, in pixels.
        colours: Mean and standard deviation of each colour.
        weights: How to fetch the weights of each name.
    """

    build: Callable[[], nn.Module]
    body: Callable[[nn.Module], nn.Module]
    head: str | tuple[str, ...]
    dim: int
    frames: int
    size: int
    colours: tuple[tuple[float, ...], tuple[float, ...]]
    weights: Fetchers


_SILU = {"inner_act": nn.SiLU}
"""PyTorch's own for pytorchvideo's Swish, the same function, which PyTorch warns of in training."""

_X3D_HEAD = ("blocks.5.pool.post_conv.", "blocks.5.proj.")


def _build_tiny_resnet() -> nn.Module:
    return cast(nn.Module, create_resnet(stem_dim_out=8, head_pool_kernel_size=(8, 2, 2)))


def _build_tiny_r3d() -> nn.Module:
    return ThinVideoResNet(Conv3DSimple, _whole_stem)


def _build_tiny_r2plus1d() -> nn.Module:
    return ThinVideoResNet(Conv2Plus1D, _split_stem)


def _whole_stem(channels: int) -> nn.Module:
    return _convolution(3, channels, (3, 7, 7), stride=2)


def _split_stem(channels: int) -> nn.Module:
    between = 20  # as many weights as the whole one's
    return nn.Sequential(
        *_convolution(3, between, (1, 7, 7), stride=2), *_convolution(between, channels, (3, 1, 1), stride=1)
    )


def _convolution(before: int, after: int, size: tuple[int, int, int], stride: int) -> nn.Sequential:
    time, side, _ = size
    padding = (time // 2, side // 2, side // 2)
    convolution = nn.Conv3d(before, after, size, (1, stride, stride), padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(after), nn.ReLU(inplace=True))


def _build_tiny_x3d() -> nn.Module:
    sizes = {"input_clip_length": 8, "input_crop_size": 64, "width_factor": 1.0, "depth_factor": 1.0}
    return cast(nn.Module, create_x3d(**sizes, **_SILU))


def _build_tiny_slowfast() -> nn.Module:
    return cast(
        nn.Module,
        create_slowfast(model_depth=18, stem_dim_outs=(16, 2), head_pool_kernel_sizes=((4, 2, 2), (16, 2, 2))),
    )


_UPSTREAM = {
    "slow_r50": _Upstream(
        resnet_hub.slow_r50, _stages, "blocks.5.", 2048, 8, 224, _GREY, _fetch_hub(resnet_hub.slow_r50)
    ),
    "r3d_18": _Upstream(r3d_18, _torchvision_stages, "fc.", 512, 16, 112, _KINETICS, fetch_torchvision(R3D_18_Weights)),
    "r2plus1d_18": _Upstream(
        r2plus1d_18, _torchvision_stages, "fc.", 512, 16, 112, _KINETICS, fetch_torchvision(R2Plus1D_18_Weights)
    ),
    "x3d_xs": _Upstream(
        partial(x3d_hub.x3d_xs, **_SILU), _x3d_stages, _X3D_HEAD, 432, 4, 160, _GREY, _fetch_hub(x3d_hub.x3d_xs)
    ),
    "x3d_s": _Upstream(
        partial(x3d_hub.x3d_s, **_SILU), _x3d_stages, _X3D_HEAD, 432, 13, 160, _GREY, _fetch_hub(x3d_hub.x3d_s)
    ),
    "x3d_m": _Upstream(
        partial(x3d_hub.x3d_m, **_SILU), _x3d_stages, _X3D_HEAD, 432, 16, 224, _GREY, _fetch_hub(x3d_hub.x3d_m)
    ),
    "slowfast_r50": _Upstream(
        slowfast_hub.slowfast_r50,
        _slowfast_stages,
        "blocks.6.",
        2304,
        32,
        224,
        _GREY,
        _fetch_hub(slowfast_hub.slowfast_r50),
    ),
    "tiny": _Upstream(_build_tiny_resnet, _stages, "blocks.5.", 256, 8, 64, _GREY, {}),
    "tiny_r3d": _Upstream(_build_tiny_r3d, _torchvision_stages, "fc.", 64, 8, 64, _KINETICS, {}),
    "tiny_r2plus1d": _Upstream(_build_tiny_r2plus1d, _torchvision_stages, "fc.", 64, 8, 64, _KINETICS, {}),
    "tiny_x3d": _Upstream(_build_tiny_x3d, _x3d_stages, _X3D_HEAD, 216, 8, 64, _GREY, {}),
    "tiny_slowfast": _Upstream(_build_tiny_slowfast, _slowfast_stages, "blocks.6.", 576, 16, 64, _GREY, {}),
}
"""The networks by variant."""
