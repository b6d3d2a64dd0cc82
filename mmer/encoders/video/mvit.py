"""Face frames to tokens: MViTs."""

from __future__ import annotations

from typing import cast

from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torchvision.models.video import MViT_V1_B_Weights, MViT_V2_S_Weights, mvit_v1_b, mvit_v2_s
from torchvision.models.video.mvit import MSBlockConfig
from torchvision.models.video.mvit import MViT as TorchvisionMViT

from mmer.batch import Tokens
from mmer.config import MViTConfig
from mmer.encoders.video.pixels import FrameInput, pool_mask
from mmer.encoders.weights import Fetchers, fetch_torchvision, load_weights


class MViT(nn.Module):
    """Tokens of torchvision's MViT, one for every two frames, averaged over space.

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

    @property
    def layers(self) -> list[nn.Module]:
        """Its blocks from input to output, for learning rates that fall towards the input."""
        return [*self.blocks, self.norm]

    def forward(self, x: UInt8[Tensor, "b t 3 h w"], mask: Bool[Tensor, "b t"]) -> Tokens:
        """Encode clips."""
        pixels, mask = self.input(x, mask)
        hidden, (t, h, w) = self.encode(pixels)
        spatial = hidden[:, 1:].view(hidden.shape[0], t, h * w, -1)  # without the class token: [b t hw d]
        return Tokens(spatial.mean(dim=2), pool_mask(mask, t))

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
        case "mvit_v1_b":
            return mvit_v1_b(stochastic_depth_prob=config.drop_path), 16, 224
        case "mvit_v2_s":
            return mvit_v2_s(stochastic_depth_prob=config.drop_path), 16, 224
        case "mvit_v2_b":
            return _mvit_v2(_scales((2, 3, 16, 3)), 32, 224, config.drop_path), 32, 224
        case "tiny":
            return _mvit_v2(_tiny_blocks(), 8, 64, config.drop_path, patch_embed_stride=(2, 8, 8)), 8, 64


def _mvit_v2(
    blocks: list[MSBlockConfig], frames: int, size: int, drop_path: float, **patches: tuple[int, int, int]
) -> TorchvisionMViT:
    """Build torchvision's network with what MViTv2 added: relative positions and the residual pooling."""
    return TorchvisionMViT(
        spatial_size=(size, size),
        temporal_size=frames,
        block_setting=blocks,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        stochastic_depth_prob=drop_path,
        **patches,
    )


def _scales(depths: tuple[int, ...]) -> list[MSBlockConfig]:
    """Return the blocks of MViTv2 in scales of 96, 192, 384 and 768 channels; the first of a scale halves the picture.

    Keys and values are pooled to the same few in every scale.
    """
    kernel, blocks, before = [3, 3, 3], [], 96
    for scale, depth in enumerate(depths):
        width, pooled = 96 * 2**scale, 8 // 2**scale
        for block in range(depth):
            stride = [1, 2, 2] if scale and not block else [1, 1, 1]
            blocks.append(MSBlockConfig(2**scale, before, width, kernel, kernel, stride, [1, pooled, pooled]))
            before = width
    return blocks


def _tiny_blocks() -> list[MSBlockConfig]:
    """MViTv2's blocks in three scales of 32, 64 and 128 channels."""
    kernel, same, halve = [3, 3, 3], [1, 1, 1], [1, 2, 2]
    return [
        MSBlockConfig(1, 32, 32, kernel, kernel, same, [1, 4, 4]),
        MSBlockConfig(2, 32, 64, kernel, kernel, halve, [1, 2, 2]),
        MSBlockConfig(2, 64, 64, kernel, kernel, same, [1, 2, 2]),
        MSBlockConfig(4, 64, 128, kernel, kernel, halve, same),
    ]


def _mvit_weights(config: MViTConfig) -> Fetchers:
    match config.variant:
        case "mvit_v1_b":
            return fetch_torchvision(MViT_V1_B_Weights)
        case "mvit_v2_s":
            return fetch_torchvision(MViT_V2_S_Weights)
        case "mvit_v2_b" | "tiny":  # torchvision has none
            return {}
