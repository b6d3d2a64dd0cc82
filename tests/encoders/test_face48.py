"""Grey faces of 48 x 48 pixels to tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2.functional import rgb_to_grayscale

from mmer.config import Face48Config, LSTMConfig
from mmer.encoders.video.face48 import VGG19, Grey, Xception, build_face48
from mmer.encoders.video.frames import PerFrame
from mmer.errors import CheckpointError

NETWORKS = pytest.mark.parametrize("network", ["xception", "tiny_vgg19"])


def face48(**settings: object) -> PerFrame:
    torch.manual_seed(0)
    return build_face48(Face48Config("face48", **settings))


def real(clips: int = 1, steps: int = 3, size: int = 48) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    video = torch.randint(0, 256, (clips, steps, 3, size, size), dtype=torch.uint8)
    return video, torch.ones(clips, steps, dtype=torch.bool)


@pytest.mark.parametrize(("steps", "size"), [(1, 48), (4, 96)])
def test_frames_of_any_size_become_tokens(steps: int, size: int) -> None:
    tokens = face48()(*real(2, steps, size))
    assert tokens.x.shape == (2, steps, 128)


def test_colours_become_grey_as_the_standard_says() -> None:
    pictures = torch.rand(2, 3, 5, 5)
    torch.testing.assert_close(Grey()(pictures), rgb_to_grayscale(pictures), rtol=1e-3, atol=1e-3)


def test_a_grey_face_in_three_equal_colours_is_the_grey_face() -> None:
    video, mask = real()
    grey = video[:, :, :1].expand_as(video)
    seen: list[Tensor] = []
    encoder = face48()
    encoder.network.stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(grey, mask)
    torch.testing.assert_close(seen[0], (grey[0, :, :1] / 255 - 0.5) / 0.5, rtol=1e-4, atol=1e-4)


def test_the_xception_is_as_small_as_the_paper_s() -> None:
    """Arriaga et al. 2017, section 3: about 60,000 parameters, of which their 3x3 classifier of 7 classes has 8,071."""
    count = sum(parameter.numel() for parameter in Xception().parameters())
    assert 48_000 < count < 60_000 - 8_071


def test_every_separable_convolution_is_depthwise_then_pointwise() -> None:
    shapes = [
        (m.groups, m.kernel_size) for b in Xception().blocks for m in b.body.modules() if isinstance(m, nn.Conv2d)
    ]
    assert [size for _, size in shapes] == [(3, 3), (1, 1)] * 8
    assert [groups for groups, _ in shapes] == [8, 1, 16, 1, 16, 1, 32, 1, 32, 1, 64, 1, 64, 1, 128, 1]


def test_vgg19_has_sixteen_convolutions_and_leaves_one_place() -> None:
    network = VGG19().eval()
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 16
    with torch.no_grad():
        assert network.convolutions(torch.zeros(1, 1, 48, 48)).shape == (1, 512, 1, 1)


@NETWORKS
def test_neither_garbage_under_the_mask_nor_other_clips_matter(network: str) -> None:
    encoder = face48(network=network, temporal=LSTMConfig("lstm", width=4, dropout=0.0))
    video, mask = real(clips=3)
    mask[0, 1], mask[2] = False, False
    garbage = torch.where(mask[:, :, None, None, None], video, 255 - video)
    for training, clips in ((False, 1), (True, 2)):  # in training the statistics are of all clips that are there
        encoder.train(training)
        torch.testing.assert_close(
            encoder(garbage[:clips], mask[:clips]).x, encoder(video, mask).x[:clips], rtol=1e-4, atol=1e-5
        )


@NETWORKS
def test_every_parameter_receives_a_gradient(network: str) -> None:
    encoder = face48(network=network, temporal=LSTMConfig("lstm", width=4))
    encoder(*real(2)).x.square().sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_layers_lie_from_input_to_output_and_hold_everything() -> None:
    for network, count in (("xception", 5), ("tiny_vgg19", 16)):
        encoder = face48(network=network, temporal=LSTMConfig("lstm", width=4))
        assert len(encoder.layers) == count + 1
        assert [id(p) for layer in encoder.layers for p in layer.parameters()] == [id(p) for p in encoder.parameters()]


def test_one_batch_can_be_learnt_by_heart() -> None:
    encoder, head = face48(), nn.Linear(128, 4)
    video, mask = real(clips=4, steps=1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(25):
        loss = F.cross_entropy(head(encoder(video, mask).x[:, 0]), torch.arange(4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3  # from 1.4


def test_weights_of_the_same_network_are_loaded_from_a_file_and_others_refused(tmp_path: Path) -> None:
    source, path = face48(), tmp_path / "face48.pt"
    torch.save(source.network.state_dict(), path)
    torch.manual_seed(3)
    found = build_face48(Face48Config("face48", weights=str(path)))
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), source.parameters(), strict=True))
    with pytest.raises(CheckpointError, match=f"weights {path} are not this network's: .* give weights of the same"):
        build_face48(Face48Config("face48", network="tiny_vgg19", weights=str(path)))
