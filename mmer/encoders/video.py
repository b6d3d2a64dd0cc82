"""Face frames to tokens: MViTv2 and 3D ResNets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import cast

import torch
from jaxtyping import Bool, Float, UInt8
from pytorchvideo.models.hub import resnet as pytorchvideo_hub
from pytorchvideo.models.resnet import create_resnet
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video import MViT_V2_S_Weights, R3D_18_Weights, mvit_v2_s, r3d_18
from torchvision.models.video.mvit import MSBlockConfig
from torchvision.models.video.mvit import MViT as TorchvisionMViT

from mmer.batch import Tokens
from mmer.config import MViTConfig, ResNet3DConfig
from mmer.encoders.weights import State, load_weights

_Fetchers = Mapping[str, Callable[[], State]]


class FrameInput(nn.Module):
    """Bring frames into the form that a backbone was trained on.

    Args:
        frames: Frames that the backbone takes; they are spread evenly over the clip's.
        size: Side of its input, in pixels.
        mean: Mean of each colour, of pixels in [0, 1].
        std: Standard deviation of each colour.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, frames: int, size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.frames = frames
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(1, 1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 1, 3, 1, 1), persistent=False)

    def forward(
        self, video: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]
    ) -> tuple[Float[Tensor, "b 3 f s s"], Bool[Tensor, "b f"]]:
        """Pick, scale and normalise frames; masked frames become the mean picture."""
        if video.shape[1] != self.frames:
            steps = (torch.arange(self.frames, device=video.device) + 0.5) * (video.shape[1] / self.frames)
            video, mask = video[:, steps.long()], mask[:, steps.long()]
        x = video.to(self.mean.dtype) / 255
        if video.shape[-2:] != (self.size, self.size):
            scaled = F.interpolate(
                x.flatten(0, 1), (self.size, self.size), mode="bilinear", align_corners=False, antialias=True
            )
            x = scaled.view(*x.shape[:3], self.size, self.size)
        x = (x - self.mean) / self.std * mask[:, :, None, None, None]
        return x.transpose(1, 2), mask


def _pool_mask(mask: Bool[Tensor, "b f"], steps: int) -> Bool[Tensor, "b t"]:
    """Mask of tokens that each cover several frames: real where any of theirs is."""
    return mask.view(len(mask), steps, -1).any(dim=2)


class MViT(nn.Module):
    """Tokens of torchvision's MViTv2, one for every two frames, averaged over space.

    torchvision's own ``forward`` returns the class token's logits only; this one follows it up to the last norm.

    Args:
        config: Variant, weights, depth rate.
        load: Whether to load the weights that the config names; False when a checkpoint brings its own.
    """

    def __init__(self, config: MViTConfig, load: bool = True) -> None:
        super().__init__()
        network, frames, size = _build_mvit(config)
        if config.weights is not None and load:
            load_weights(network, config.weights, _mvit_weights(config), head="head.")
        self.input = FrameInput(frames, size, mean=(0.45,) * 3, std=(0.225,) * 3)
        self.conv_proj, self.pos_encoding = network.conv_proj, network.pos_encoding
        self.blocks, self.norm = network.blocks, network.norm
        self.dim = cast(int, network.head[1].in_features)

    def forward(self, x: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode clips."""
        pixels, mask = self.input(x, mask)
        hidden, (t, h, w) = self.encode(pixels)
        spatial = hidden[:, 1:].view(len(hidden), t, h * w, -1)  # [b 1+thw d] -> [b t hw d], without the class token
        return Tokens(spatial.mean(dim=2), _pool_mask(mask, t))

    def encode(self, pixels: Float[Tensor, "b 3 f s s"]) -> tuple[Float[Tensor, "b n d"], tuple[int, int, int]]:
        """Return the class token and the patch tokens after the last norm, and how the patches lie in (t, h, w)."""
        x = self.pos_encoding(self.conv_proj(pixels).flatten(2).transpose(1, 2))
        thw = (self.pos_encoding.temporal_size, *self.pos_encoding.spatial_size)
        for block in self.blocks:
            x, thw = block(x, thw)
        return self.norm(x), thw


def _build_mvit(config: MViTConfig) -> tuple[TorchvisionMViT, int, int]:
    """Return the network, the frames it takes and their side."""
    match config.variant:
        case "mvit_v2_s":
            return mvit_v2_s(stochastic_depth_prob=config.drop_path), 16, 224
        case "tiny":
            return _tiny_mvit(config.drop_path), 8, 64


def _tiny_mvit(drop_path: float) -> TorchvisionMViT:
    """MViTv2's blocks in three scales of 32, 64 and 128 channels, over patches of 2 frames and 8x8 pixels."""
    kernel, same, halve = [3, 3, 3], [1, 1, 1], [1, 2, 2]
    blocks = [
        MSBlockConfig(1, 32, 32, kernel, kernel, same, [1, 4, 4]),
        MSBlockConfig(2, 32, 64, kernel, kernel, halve, [1, 2, 2]),
        MSBlockConfig(2, 64, 64, kernel, kernel, same, [1, 2, 2]),
        MSBlockConfig(4, 64, 128, kernel, kernel, halve, same),
    ]
    return TorchvisionMViT(
        spatial_size=(64, 64),
        temporal_size=8,
        block_setting=blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        stochastic_depth_prob=drop_path,
        patch_embed_stride=(2, 8, 8),
    )


def _mvit_weights(config: MViTConfig) -> _Fetchers:
    match config.variant:
        case "mvit_v2_s":
            return _torchvision_weights(MViT_V2_S_Weights)
        case "tiny":
            return {}


def _torchvision_weights(weights: type[MViT_V2_S_Weights] | type[R3D_18_Weights]) -> _Fetchers:
    return {w.name: partial(w.get_state_dict, progress=True, check_hash=True) for w in weights}


class ResNet3D(nn.Module):
    """Tokens of a 3D ResNet, one for each time step of its last stage, averaged over space.

    Args:
        config: Variant and weights.
        load: Whether to load the weights that the config names; False when a checkpoint brings its own.
    """

    def __init__(self, config: ResNet3DConfig, load: bool = True) -> None:
        super().__init__()
        network, head, self.dim, self.input = _build_resnet3d(config)
        if config.weights is not None and load:
            load_weights(network, config.weights, _resnet3d_weights(config), head=head)
        self.frozen_norm = config.weights is not None
        self.network = _without(network, head) if self.frozen_norm else _group_norm(_without(network, head))

    def train(self, mode: bool = True) -> ResNet3D:
        """Set the mode; BatchNorm with loaded statistics stays in eval mode.

        Otherwise clips whose video is missing, which are zeros, would move the statistics of all others.
        """
        super().train(mode)
        if self.frozen_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eval()
        return self

    def forward(self, x: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode clips."""
        pixels, mask = self.input(x, mask)
        hidden = self.network(pixels)  # [b d t h w]
        return Tokens(hidden.mean(dim=(3, 4)).transpose(1, 2), _pool_mask(mask, hidden.shape[2]))


def _build_resnet3d(config: ResNet3DConfig) -> tuple[nn.Module, str, int, FrameInput]:
    """Return the network, the prefix of its classifier, its width and its input."""
    grey = {"mean": (0.45,) * 3, "std": (0.225,) * 3}
    match config.variant:
        case "slow_r50":
            return pytorchvideo_hub.slow_r50(), "blocks.5.", 2048, FrameInput(8, 224, **grey)
        case "r3d_18":
            kinetics = FrameInput(16, 112, mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))
            return r3d_18(), "fc.", 512, kinetics
        case "tiny":
            network = create_resnet(stem_dim_out=8, head_pool_kernel_size=(8, 2, 2))
            return network, "blocks.5.", 256, FrameInput(8, 64, **grey)


def _resnet3d_weights(config: ResNet3DConfig) -> _Fetchers:
    match config.variant:
        case "slow_r50":
            return {"KINETICS400": lambda: cast(State, pytorchvideo_hub.slow_r50(pretrained=True).state_dict())}
        case "r3d_18":
            return _torchvision_weights(R3D_18_Weights)
        case "tiny":
            return {}


def _without(network: nn.Module, head: str) -> nn.Module:
    """Return a network's layers before its classifier; both libraries chain them in order."""
    if head == "fc.":  # torchvision: stem, layer1 to layer4, avgpool, fc
        return nn.Sequential(*(layer for name, layer in network.named_children() if name not in ("avgpool", "fc")))
    return nn.Sequential(*list(cast(nn.ModuleList, network.blocks))[:-1])  # pytorchvideo: stem, stages, head


def _group_norm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm by GroupNorm (Wu and He 2018) in groups of up to 16 channels."""
    for name, module in network.named_children():
        if isinstance(module, nn.BatchNorm3d):
            groups = max(1, module.num_features // 16)
            setattr(network, name, nn.GroupNorm(groups, module.num_features))
        else:
            _group_norm(module)
    return network
