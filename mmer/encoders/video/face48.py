"""Face frames to tokens: networks over grey faces of 48 x 48 pixels."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.vgg import cfgs, make_layers

from mmer.config import Face48Config
from mmer.encoders.video.frames import PerFrame
from mmer.encoders.video.pixels import FrameInput
from mmer.encoders.weights import load_weights

SIZE = 48
"""Side of the pictures, in pixels."""


class Grey(nn.Module):
    """Make pictures grey with the luma of ITU-R BT.601, as FER2013's are."""

    luma: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("luma", torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1), persistent=False)

    def forward(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 h w"]:
        """Weigh the colours."""
        return (pictures * self.luma).sum(dim=1, keepdim=True)


class Xception(nn.Module):
    """The small Xception of Arriaga et al. 2017 (arXiv:1710.07557), up to its average over the picture.

    Four modules of two separable convolutions each, beside a strided shortcut (Chollet 2017, arXiv:1610.02357).
    """

    dim = 128

    def __init__(self) -> None:
        super().__init__()
        self.grey = Grey()
        self.stem = nn.Sequential(*_convolution(1, 8), *_convolution(8, 8))
        widths = (8, 16, 32, 64, self.dim)
        self.blocks = nn.Sequential(*(XceptionBlock(a, b) for a, b in pairwise(widths)))

    @property
    def layers(self) -> list[nn.Module]:
        """Its blocks from input to output."""
        return [self.stem, *self.blocks]

    def forward(self, pictures: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Describe pictures."""
        described: Tensor = self.blocks(self.stem(self.grey(pictures))).mean(dim=(2, 3))
        return described


class XceptionBlock(nn.Module):
    """Two separable convolutions and a pooling that halves the picture, beside a strided shortcut.

    Args:
        before: Channels that come in.
        after: Channels that go out.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.shortcut = nn.Sequential(nn.Conv2d(before, after, 1, stride=2, bias=False), nn.BatchNorm2d(after))
        self.body = nn.Sequential(
            *_separable(before, after),
            nn.BatchNorm2d(after),
            nn.ReLU(),
            *_separable(after, after),
            nn.BatchNorm2d(after),
            nn.MaxPool2d(3, stride=2, padding=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h2 w2"]:
        """Add what the convolutions found to what was there."""
        added: Tensor = self.shortcut(x) + self.body(x)
        return added


class VGG19(nn.Module):
    """The convolutions of VGG-19 (Simonyan and Zisserman 2015, arXiv:1409.1556), each with a BatchNorm.

    Their five poolings leave one place of 48 x 48 pixels, so that no hidden layers are needed after them.

    Args:
        width: Channels of the first; the paper has 64, and eight times as many at the end.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.dim = 8 * width
        self.grey = Grey()
        plan = [step if isinstance(step, str) else step * width // 64 for step in cfgs["E"]]  # "M" is a pooling
        convolutions = make_layers(plan, batch_norm=True)
        convolutions[0] = nn.Conv2d(1, width, 3, padding=1)
        for module in convolutions:
            if isinstance(module, nn.Conv2d):  # as torchvision does in its own VGG
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.bias))
        self.convolutions = convolutions

    @property
    def layers(self) -> list[nn.Module]:
        """Its convolutions from input to output, each with its norm."""
        learned = [module for module in self.convolutions if isinstance(module, nn.Conv2d | nn.BatchNorm2d)]
        return [nn.ModuleList(pair) for pair in zip(learned[::2], learned[1::2], strict=True)]

    def forward(self, pictures: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n d"]:
        """Describe pictures."""
        described: Tensor = self.convolutions(self.grey(pictures)).mean(dim=(2, 3))
        return described


def build_face48(config: Face48Config, load: bool = True) -> PerFrame:
    """Build a network over grey faces.

    Args:
        config: Its description.
        load: Whether to load the weights that the config names; False when a checkpoint brings its own.

    Raises:
        CheckpointError: The weights cannot be had or do not fit.
    """
    network = _build_network(config)
    if config.weights is not None and load:
        load_weights(network, config.weights, {}, head=())
    pixels = FrameInput(None, SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    # laid out pixel by pixel, half as much again is read on a CPU, for grey pictures do not say how they lie
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return PerFrame(pixels, network, config.temporal, frozen_norm=config.weights is not None)


def _build_network(config: Face48Config) -> Xception | VGG19:
    match config.network:
        case "xception":
            return Xception()
        case "vgg19":
            return VGG19()
        case "tiny_vgg19":
            return VGG19(width=8)


def _convolution(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, bias=False), nn.BatchNorm2d(after), nn.ReLU()


def _separable(before: int, after: int) -> tuple[nn.Module, ...]:
    """Return a convolution of each channel alone and one of each place alone."""
    return (
        nn.Conv2d(before, before, 3, padding=1, groups=before, bias=False),
        nn.Conv2d(before, after, 1, bias=False),
    )
