"""Clips of the face to tokens: invariances, and parity with the networks that the encoders are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video import (
    MViT_V1_B_Weights,
    MViT_V2_S_Weights,
    R2Plus1D_18_Weights,
    R3D_18_Weights,
    mvit_v1_b,
    mvit_v2_s,
)

from mmer.config import MViTConfig, ResNet3DConfig, VideoPatchesConfig
from mmer.encoders.video.mvit import MViT, _build_mvit
from mmer.encoders.video.patches import VideoPatches
from mmer.encoders.video.pixels import FrameInput
from mmer.encoders.video.resnet3d import _UPSTREAM, ResNet3D

PATCHES = VideoPatchesConfig("video_patches", width=32, frames=8, size=32)


def resnet3d(variant: str, **settings: object) -> ResNet3D:
    return ResNet3D(ResNet3DConfig("resnet3d", variant=variant, **settings))


TINY = {
    "mvit": (lambda: MViT(MViTConfig("mvit", variant="tiny", drop_path=0.0)), 4, 128),
    "resnet3d": (lambda: resnet3d("tiny"), 8, 256),
    "x3d": (lambda: resnet3d("tiny_x3d"), 8, 216),
    "slowfast": (lambda: resnet3d("tiny_slowfast"), 4, 576),
    "r3d": (lambda: resnet3d("tiny_r3d"), 1, 64),
    "r2plus1d": (lambda: resnet3d("tiny_r2plus1d"), 1, 64),
    "patches": (lambda: VideoPatches(PATCHES), 4 * 4, 32),
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


def test_every_parameter_receives_a_gradient(encoder: nn.Module) -> None:
    lively(encoder)  # the last norm of a residual branch begins as zeros
    encoder.train()(*real(clips=2)).x.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("kind", [kind for kind in TINY if kind != "patches"])
def test_layers_lie_from_input_to_output_and_share_no_parameter(kind: str) -> None:
    encoder = TINY[kind][0]()
    names = {id(parameter): name for name, parameter in encoder.named_parameters()}
    layers = [[names[id(p)] for p in layer.parameters()] for layer in encoder.layers]
    flat = [name for layer in layers for name in layer]
    assert len(set(flat)) == len(flat)
    assert flat == [name for name in names.values() if name in flat]
    assert flat[-1] == list(names.values())[-1]


def test_other_clips_do_not_change_a_clip_s_tokens(encoder: nn.Module) -> None:
    """Dropout is off; in training the statistics of BatchNorm are of all clips that are there, and of no others."""
    video, mask = real(clips=3)
    mask[2] = False
    for training, clips in ((False, 1), (True, 2)):
        encoder.train(training)
        torch.testing.assert_close(
            encoder(video, mask).x[:clips], encoder(video[:clips], mask[:clips]).x, rtol=1e-4, atol=1e-5
        )


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
        (lambda: MViT(MViTConfig("mvit", variant="mvit_v1_b")), MViT_V1_B_Weights.KINETICS400_V1),
        (lambda: resnet3d("r3d_18"), R3D_18_Weights.KINETICS400_V1),
        (lambda: resnet3d("r2plus1d_18"), R2Plus1D_18_Weights.KINETICS400_V1),
    ],
    ids=["mvit_v2_s", "mvit_v1_b", "r3d_18", "r2plus1d_18"],
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
@pytest.mark.parametrize(("variant", "make"), [("mvit_v2_s", mvit_v2_s), ("mvit_v1_b", mvit_v1_b)])
def test_a_whole_mvit_is_torchvision_s_up_to_the_head(
    variant: str, make: Callable[[], nn.Module], saved: Callable[[nn.Module], str]
) -> None:
    network = lively(make())
    check_mvit(network, MViT(MViTConfig("mvit", variant=variant, weights=saved(network))).eval())


def test_mvit_v2_b_has_the_paper_s_size() -> None:
    """Li et al. 2022, table 5: 51.2 M parameters with the classifier of Kinetics-400, 32 frames."""
    with on_meta():
        network, frames, _ = _build_mvit(MViTConfig("mvit", variant="mvit_v2_b"))
    assert (len(network.blocks), frames) == (24, 32)
    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(51.2, abs=0.1)


def test_the_blocks_of_mvit_v2_s_follow_the_rule_that_makes_those_of_b(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmer.encoders.video import mvit

    with on_meta():
        rule = mvit._mvit_v2(mvit._scales((1, 2, 11, 2)), 16, 224, 0.1)
        ours, theirs = rule.state_dict(), mvit_v2_s().state_dict()
    assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}


# --- parity of the 3D networks


def x3d_logits(network: nn.Module, tokens: Tensor) -> Tensor:
    head = network.blocks[5]
    pooled = head.pool.post_act(head.pool.post_conv(tokens.mean(dim=1)[:, :, None, None, None])).flatten(1)
    return head.proj(pooled).softmax(dim=1)  # its classifier ends in a softmax in eval mode


HEADS = {
    "slow_r50": lambda n, tokens: n.blocks[5].proj(tokens.mean(dim=1)),
    "r3d_18": lambda n, tokens: n.fc(tokens.mean(dim=1)),
    "r2plus1d_18": lambda n, tokens: n.fc(tokens.mean(dim=1)),
    "x3d_xs": x3d_logits,
    "slowfast_r50": lambda n, tokens: n.blocks[6].proj(tokens.mean(dim=1)),
    "tiny": lambda n, tokens: n.blocks[5].proj(tokens.mean(dim=1)),
    "tiny_r3d": lambda n, tokens: n.fc(tokens.mean(dim=1)),
    "tiny_r2plus1d": lambda n, tokens: n.fc(tokens.mean(dim=1)),
    "tiny_x3d": x3d_logits,
    "tiny_slowfast": lambda n, tokens: n.blocks[6].proj(tokens.mean(dim=1)),
}
"""What the original's classifier says of tokens."""


def original(variant: str) -> nn.Module:
    network = lively(_UPSTREAM[variant].build())
    last = network.fc if hasattr(network, "fc") else network.blocks[-1].proj
    nn.init.normal_(last.weight, std=last.in_features**-0.5)
    return network


@pytest.mark.parametrize(
    "variant",
    [name if name.startswith("tiny") else pytest.param(name, marks=pytest.mark.slow) for name in HEADS],
)
def test_a_3d_network_with_weights_is_the_original_up_to_the_head(
    variant: str, saved: Callable[[nn.Module], str]
) -> None:
    network = original(variant)
    encoder = resnet3d(variant, weights=saved(network)).train()
    video, mask = real(1, encoder.input.frames, encoder.input.size)
    with torch.no_grad():
        pixels, _ = encoder.input(video, mask)
        slow = torch.linspace(0, pixels.shape[2] - 1, pixels.shape[2] // 4).long()  # as pytorchvideo packs pathways
        close(
            HEADS[variant](network, encoder(video, mask).x),
            network([pixels[:, :, slow], pixels] if "slowfast" in variant else pixels),
        )


def test_the_medium_and_the_small_x3d_are_the_smallest_with_more_pixels() -> None:
    """So that the parity of one is that of all."""
    with on_meta():
        shapes = [
            {name: value.shape for name, value in resnet3d(variant).state_dict().items()}
            for variant in ("x3d_xs", "x3d_s", "x3d_m")
        ]
    assert shapes[0] == shapes[1] == shapes[2]


def test_loaded_statistics_stay_as_they_are_in_training(saved: Callable[[nn.Module], str]) -> None:
    encoder = resnet3d("tiny", weights=saved(original("tiny"))).train()
    before = {name: value.clone() for name, value in encoder.named_buffers()}
    video, mask = real(clips=2)
    mask[1] = False
    together = encoder(video, mask).x
    assert all(torch.equal(value, before[name]) for name, value in encoder.named_buffers())
    close(together[:1], encoder(video[:1], mask[:1]).x)


def test_batch_norm_learns_its_statistics_from_scratch_alone(saved: Callable[[nn.Module], str]) -> None:
    for weights, learns in ((None, True), (saved(original("tiny")), False)):
        encoder = resnet3d("tiny", weights=weights).train()
        norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm3d)]
        assert norms and all(norm.training == learns for norm in norms)


# --- patches


@pytest.mark.parametrize("variant", ["tiny", "tiny_x3d", "tiny_slowfast"])
def test_compilers_find_no_numbers_of_numpy(variant: str) -> None:
    settings = [value for module in resnet3d(variant).modules() for value in vars(module).values()]
    numbers = [each for value in settings for each in (value if isinstance(value, tuple) else (value,))]
    assert not any(isinstance(each, np.generic) for each in numbers)


def test_a_patch_sees_its_own_tubelet_alone() -> None:
    encoder, (video, mask) = VideoPatches(PATCHES), real(frames=8, size=32)
    changed = video.clone()
    changed[:, 2:4, :, :16, 16:] = 255 - changed[:, 2:4, :, :16, 16:]  # the second step's second place
    moved = (encoder(changed, mask).x != encoder(video, mask).x).any(dim=2)
    assert moved[0].nonzero().flatten().tolist() == [4 + 1]


def test_a_patch_is_real_where_any_of_its_frames_is() -> None:
    video, mask = real(frames=8, size=32)
    mask[0, :3] = False
    assert VideoPatches(PATCHES)(video, mask).mask.view(4, 4).tolist() == [[False] * 4, *[[True] * 4] * 3]


def test_equal_patches_are_told_apart_by_time_and_place() -> None:
    video = torch.zeros(1, 8, 3, 32, 32, dtype=torch.uint8)
    tokens = VideoPatches(PATCHES)(video, torch.ones(1, 8, dtype=torch.bool)).x[0]
    apart = torch.cdist(tokens, tokens) + torch.eye(16)
    assert apart.min() > 1e-3
    assert F.cosine_similarity(tokens[0] - tokens[4], tokens[1] - tokens[5], dim=0) > 0.99  # the same step in time
