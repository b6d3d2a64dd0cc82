from __future__ import annotations

import pytest
import torch

from mmer.batch import Tokens
from mmer.config import GatedFusionConfig
from mmer.fusion.gated import GatedFusion

DIMS = {"face": 6, "voice": 10}


@pytest.fixture
def fusion() -> GatedFusion:
    torch.manual_seed(0)
    return GatedFusion(DIMS, GatedFusionConfig("gated", dim=4)).eval()


def clips(face: bool, voice: bool) -> dict[str, Tokens]:
    torch.manual_seed(1)
    has = {"face": face, "voice": voice}
    return {name: Tokens(torch.randn(2, 3, dim), torch.full((2, 3), has[name])) for name, dim in DIMS.items()}


def test_two_streams_have_the_gates_z_and_1_minus_z(fusion: GatedFusion) -> None:
    """Equation 1 of Arevalo et al. 2017, by hand."""
    streams = clips(face=True, voice=True)
    face, voice = (fusion.streams[name](streams[name]).x.mean(dim=1) for name in DIMS)
    scores = fusion.gate(torch.cat([face, voice], dim=1))
    z = torch.sigmoid(scores[:, :4] - scores[:, 4:])
    torch.testing.assert_close(fusion(streams), z * face.tanh() + (1 - z) * voice.tanh())


def test_a_stream_alone_has_its_gates_wide_open(fusion: GatedFusion) -> None:
    streams = clips(face=False, voice=True)
    fused, shares = fusion.attend(streams)
    torch.testing.assert_close(fused, fusion.streams["voice"](streams["voice"]).x.mean(dim=1).tanh())
    torch.testing.assert_close(shares["voice"], torch.full((2, 3), 1 / 3))
    assert not shares["face"].any()


def test_shares_are_the_mean_gates(fusion: GatedFusion) -> None:
    shares = fusion.attend(clips(face=True, voice=True))[1]
    torch.testing.assert_close(shares["face"].sum(dim=1) + shares["voice"].sum(dim=1), torch.ones(2))
