"""Face frames to tokens: invariances, and parity with the networks that the encoders are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from pytorchvideo.models.hub import resnet as pytorchvideo_hub
from pytorchvideo.models.resnet import create_resnet
from torch import Tensor, nn
from torchvision.models.video import MViT_V2_S_Weights, R3D_18_Weights, mvit_v2_s, r3d_18

from mmer.config import MViTConfig, ResNet3DConfig
from mmer.encoders.video import FrameInput, MViT, ResNet3D, _build_mvit

TINY = {
    "mvit": (lambda: MViT(MViTConfig("mvit", variant="tiny", drop_path=0.0)), 4, 128),
    "resnet3d": (lambda: ResNet3D(ResNet3DConfig("resnet3d", variant="tiny")), 8, 256),
}
"""How to make each encoder, the tokens of a clip and their width."""


@pytest.fixture(params=TINY)
def encoder(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return TINY[request.param][0]().eval()


def real(clips: int = 1, frames: int = 8, size: int = 64) -> tuple[Tensor, Tensor]:
    video = torch.randint(0, 256, (clips, frames, 3, size, size), dtype=torch.uint8)
    return video, torch.ones(clips, frames, dtype=torch.bool)


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize(("frames", "size"), [(8, 64), (16, 48), (5, 96)])
def test_any_number_and_size_of_frames_gives_the_same_tokens(kind: str, frames: int, size: int) -> None:
    make, steps, dim = TINY[kind]
    encoder = make()
    tokens = encoder(*real(2, frames, size))
    assert (tokens.x.shape, encoder.dim) == ((2, steps, dim), dim)
    assert (tokens.x.dtype, tokens.mask.dtype) == (torch.float32, torch.bool)
    assert tokens.mask.all()


def test_masked_frames_never_matter(encoder: nn.Module) -> None:
    video, mask = real(clips=2)
    mask[0, 5:], mask[1] = False, False
    garbage = torch.where(mask[:, :, None, None, None], video, 255 - video)
    assert torch.equal(encoder(video, mask).x, encoder(garbage, mask).x)


def test_a_token_is_real_where_any_of_its_frames_is() -> None:
    make, _, _ = TINY["mvit"]
    video, mask = real()
    mask[0, :3] = False
    assert make()(video, mask).mask.tolist() == [[False, True, True, True]]


def test_other_clips_do_not_change_a_clip_s_tokens(encoder: nn.Module) -> None:
    """Also in training: dropout is off, and no norm pools over the clips."""
    video, mask = real(clips=3)
    mask[2] = False
    for training in (False, True):
        encoder.train(training)
        torch.testing.assert_close(encoder(video, mask).x[:1], encoder(video[:1], mask[:1]).x, rtol=1e-4, atol=1e-5)


# --- the input


def test_frames_become_what_the_backbone_was_trained_on() -> None:
    frames = FrameInput(2, 4, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 0.125))
    video = torch.full((1, 2, 3, 4, 4), 51, dtype=torch.uint8)  # 0.2 of white
    pixels, _ = frames(video, torch.tensor([[True, False]]))
    torch.testing.assert_close(pixels[0, :, 0, 0, 0], torch.tensor([0.2, 0.0, -0.8]))
    assert not pixels[0, :, 1].any()


@pytest.mark.parametrize(
    ("given", "taken"), [(4, [0, 0, 1, 1, 2, 2, 3, 3]), (8, list(range(8))), (16, range(1, 16, 2))]
)
def test_frames_are_spread_evenly_over_the_clip_s(given: int, taken: list[int]) -> None:
    frames = FrameInput(8, 2, mean=(0.0,) * 3, std=(1 / 255,) * 3)
    video = torch.arange(given, dtype=torch.uint8).view(1, given, 1, 1, 1).expand(1, given, 3, 2, 2)
    pixels, mask = frames(video, torch.arange(given)[None] > 1)
    assert pixels[0, 0, :, 0, 0].round().tolist() == [step if step > 1 else 0 for step in taken]
    assert mask[0].tolist() == [step > 1 for step in taken]


def test_scaling_down_averages_so_that_no_pixel_is_skipped() -> None:
    frames = FrameInput(1, 8, mean=(0.0,) * 3, std=(1.0,) * 3)
    noise = torch.randint(0, 256, (1, 1, 3, 128, 128), dtype=torch.uint8)
    pixels, _ = frames(noise, torch.ones(1, 1, dtype=torch.bool))
    assert pixels.std() < 0.05  # of 0.29; four pixels of each square alone would leave 0.15


@pytest.mark.parametrize(
    ("make", "weights"),
    [
        (lambda: MViT(MViTConfig("mvit")), MViT_V2_S_Weights.KINETICS400_V1),
        (lambda: ResNet3D(ResNet3DConfig("resnet3d", variant="r3d_18")), R3D_18_Weights.KINETICS400_V1),
    ],
    ids=["mvit_v2_s", "r3d_18"],
)
def test_frames_are_normalised_as_the_weights_transforms_do(make: Callable[[], nn.Module], weights: object) -> None:
    with on_meta():
        frames = make().input
    transforms = weights.transforms()
    mean, std = torch.tensor(transforms.mean), torch.tensor(transforms.std)
    torch.testing.assert_close(frames.mean.flatten(), mean)
    torch.testing.assert_close(frames.std.flatten(), std)
    assert [frames.size] * 2 == list(transforms.crop_size)


@contextmanager
def on_meta() -> Iterator[None]:
    """Build large networks without filling them, the input's constants excepted."""
    tensor = torch.tensor

    def real_tensor(*args: object, **settings: object) -> Tensor:
        return tensor(*args, **{"device": "cpu", **settings})

    with pytest.MonkeyPatch.context() as patch, torch.device("meta"):
        patch.setattr(torch, "tensor", real_tensor)
        yield


# --- parity with the original networks


@pytest.fixture
def saved(tmp_path: Path) -> Iterator[Callable[[nn.Module], str]]:
    """Save a network's weights to a file that is gone after the test, for some are large."""
    path = tmp_path / "network.pt"

    def save(network: nn.Module) -> str:
        torch.save(network.state_dict(), path)
        return str(path)

    yield save
    path.unlink(missing_ok=True)


def lively(network: nn.Module) -> nn.Module:
    """Give a network's norms statistics and weights that a mistake would show in."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
        if isinstance(module, nn.BatchNorm3d | nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


def close(a: Tensor, b: Tensor) -> None:
    """Compare in units of how much the answers differ among themselves."""
    scale = b.std()
    torch.testing.assert_close(a / scale, b / scale, rtol=1e-4, atol=1e-4)


def check_mvit(network: nn.Module, encoder: MViT) -> None:
    seen = {}
    for name, module in (("original", network), ("ours", encoder)):
        module.norm.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    video, mask = real(1, encoder.input.frames, encoder.input.size)
    with torch.no_grad():
        tokens = encoder(video, mask)
        logits = network(encoder.input(video, mask)[0])
    close(network.head(seen["ours"][:, 0]), logits)
    patches = seen["original"][:, 1:].unflatten(1, (encoder.input.frames // 2, -1))
    close(tokens.x, patches.mean(dim=2))


def test_the_tiny_mvit_is_torchvision_s_up_to_the_head(saved: Callable[[nn.Module], str]) -> None:
    network = lively(_build_mvit(MViTConfig("mvit", variant="tiny"))[0])
    nn.init.normal_(network.head[1].weight)
    check_mvit(network, MViT(MViTConfig("mvit", variant="tiny", weights=saved(network))).eval())


@pytest.mark.slow
def test_mvit_v2_s_is_torchvision_s_up_to_the_head(saved: Callable[[nn.Module], str]) -> None:
    network = lively(mvit_v2_s())
    check_mvit(network, MViT(MViTConfig("mvit", weights=saved(network))).eval())


RESNETS = {
    "tiny": (lambda: create_resnet(stem_dim_out=8, head_pool_kernel_size=(8, 2, 2)), lambda n: n.blocks[5].proj),
    "r3d_18": (r3d_18, lambda n: n.fc),
    "slow_r50": (pytorchvideo_hub.slow_r50, lambda n: n.blocks[5].proj),
}
"""The original networks, and where their classifier is."""


@pytest.mark.parametrize(
    "variant", ["tiny", *(pytest.param(name, marks=pytest.mark.slow) for name in ("r3d_18", "slow_r50"))]
)
def test_a_resnet_with_weights_is_the_original_up_to_the_head(variant: str, saved: Callable[[nn.Module], str]) -> None:
    make, head = RESNETS[variant]
    network = lively(make())
    nn.init.normal_(head(network).weight)
    encoder = ResNet3D(ResNet3DConfig("resnet3d", variant=variant, weights=saved(network))).train()
    video, mask = real(1, encoder.input.frames, encoder.input.size)
    with torch.no_grad():
        pixels, _ = encoder.input(video, mask)
        close(head(network)(encoder(video, mask).x.mean(dim=1)), network(pixels))


def test_loaded_statistics_stay_as_they_are_in_training(saved: Callable[[nn.Module], str]) -> None:
    network = lively(create_resnet(stem_dim_out=8, head_pool_kernel_size=(8, 2, 2)))
    encoder = ResNet3D(ResNet3DConfig("resnet3d", variant="tiny", weights=saved(network))).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    video, mask = real(clips=2)
    mask[1] = False
    together = encoder(video, mask).x
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    close(together[:1], encoder(video[:1], mask[:1]).x)


def test_from_scratch_there_is_no_batch_norm() -> None:
    encoder = ResNet3D(ResNet3DConfig("resnet3d", variant="tiny"))
    assert any(isinstance(module, nn.GroupNorm) for module in encoder.modules())
    assert not any(isinstance(module, nn.BatchNorm3d) for module in encoder.modules())
