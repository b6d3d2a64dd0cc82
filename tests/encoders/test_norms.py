"""Norms: the statistics are those of what is real, and of nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from mmer.encoders.norms import MaskedBatchNorm, encode_real


def spectrograms(*steps: int, length: int = 9, shape: tuple[int, ...] = (3, 4)) -> tuple[Tensor, Tensor]:
    """Noise of the given lengths, and zeros behind it."""
    torch.manual_seed(0)
    mask = torch.arange(length) < torch.tensor(steps).unsqueeze(1)
    x = 2 + torch.randn(len(steps), *shape, length)
    return x * mask.view(len(steps), *[1] * len(shape), length), mask


def pair(channels: int = 3) -> tuple[MaskedBatchNorm, nn.BatchNorm1d]:
    """Ours and PyTorch's, with the same weights."""
    ours, theirs = MaskedBatchNorm(channels), nn.BatchNorm1d(channels)
    for norm in (ours, theirs):
        torch.manual_seed(1)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return ours, theirs


@pytest.mark.parametrize("shape", [(3,), (3, 4)], ids=["waveform", "spectrogram"])
def test_real_steps_are_normalised_as_pytorch_normalises_them_alone(shape: tuple[int, ...]) -> None:
    ours, theirs = pair()
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        x, mask = spectrograms(9, 4, 1, shape=shape)
        real = x.movedim(-1, 1)[mask]  # [n c *f]
        torch.testing.assert_close(ours(x, mask).movedim(-1, 1)[mask], theirs(real), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.mean, theirs.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.variance, theirs.running_var, rtol=1e-4, atol=1e-5)


def test_neither_padding_nor_a_clip_without_sound_moves_the_statistics() -> None:
    x, mask = spectrograms(9, 4)
    longer = torch.zeros(3, 3, 4, 20)
    longer[:2, ..., :9] = x
    short, long = MaskedBatchNorm(3), MaskedBatchNorm(3)
    expected, found = short(x, mask), long(longer, torch.arange(20) < torch.tensor([[9], [4], [0]]))
    for clip, steps in enumerate((9, 4)):
        torch.testing.assert_close(found[clip, ..., :steps], expected[clip, ..., :steps])
    torch.testing.assert_close(long.state_dict(), short.state_dict())
    assert short.mean.all()


def test_a_batch_without_any_sound_teaches_no_statistics_but_has_gradients() -> None:
    norm = MaskedBatchNorm(3)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(*spectrograms(0, 0)).sum().backward()
    torch.testing.assert_close(norm.state_dict(), before)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in norm.parameters())


class Network(nn.Sequential):
    """A convolution and its norm, then the mean over the picture."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).mean(dim=2)


def test_pictures_that_are_not_there_teach_no_statistics() -> None:
    x, real = torch.randn(4, 1, 6, 6), torch.tensor([True, False, True, False])
    network, alone = Network(), Network()
    alone.load_state_dict(network.state_dict())
    said = encode_real(network, x, real)
    torch.testing.assert_close(said[real], alone(x[real]))
    assert not said[~real].any()
    torch.testing.assert_close(network.state_dict(), alone.state_dict())


def test_where_no_picture_is_there_every_parameter_has_a_gradient_and_modes_stay() -> None:
    network = Network()
    network[0].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    encode_real(network, torch.randn(2, 1, 6, 6), torch.zeros(2, dtype=torch.bool)).sum().backward()
    torch.testing.assert_close(network.state_dict(), before)
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert network.training and network[1].training and not network[0].training


def test_a_single_picture_may_be_all_that_a_norm_behind_the_pooling_sees() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten())
    said = encode_real(network, torch.randn(2, 3, 4, 4), torch.tensor([True, False]))
    assert said.shape == (2, 3) and said.isfinite().all() and not said[1].any()


COMPILED = """
import copy, torch
from torch import nn
from mmer.encoders.norms import encode_real

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())

    def forward(self, x, real):
        return encode_real(self.network, x / 2, real)

graphs = []

def backend(graph, _):
    graphs.append(" ".join(str(node.target) for node in graph.graph.nodes if node.op == "call_function"))
    return graph.forward

plain = Encoder()
compiled = copy.deepcopy(plain)
compiled.compile(backend=backend)
for count in (4, 3, 2, 4):
    x, real = torch.randn(4, 1, 6, 6), torch.arange(4) < count
    torch.testing.assert_close(compiled(x, real), plain(x, real))
torch.testing.assert_close(compiled.state_dict(), plain.state_dict())
found = [graph for graph in graphs if "conv2d" in graph]
assert len(found) == 2 and all("batch_norm" in graph for graph in found), graphs

compiled.network[1].eval()
plain.network[1].eval()
torch._dynamo.reset()
compiled.compile(backend=backend, fullgraph=True)
torch.testing.assert_close(compiled(x, real), plain(x, real))
"""
"""Types are not checked as they are in tests: nobody can compile that."""


def test_a_compiled_network_is_whole_and_where_no_norm_learns_the_encoder_is() -> None:
    """A graph for as many pictures as there are first, and one for any number of them."""
    done = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_statistics_are_kept_in_half_precision_too() -> None:
    norm = MaskedBatchNorm(3).bfloat16()
    x, mask = spectrograms(9, 4)
    norm(x.bfloat16(), mask)
    assert norm.mean.dtype == torch.bfloat16 and norm.mean.all()
