from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mmer.batch import Tokens
from mmer.config import MelCNNConfig, MelConfig, MelPatchesConfig
from mmer.encoders.audio.mel import MelCNN, MelPatches
from mmer.encoders.stepwise import encode_steps

STEP = 1600


def encode(x: Tensor, mask: Tensor) -> Tokens:
    """By an encoder that looks at all that it is given: a norm over the clip, filters over neighbours."""
    torch.manual_seed(0)
    encoder = MelCNN(MelCNNConfig("mel_cnn", MelConfig(bins=8), channels=(4,), dim=5)).eval()
    return encode_steps(encoder, x, mask, STEP)


def sound(steps: float) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, int(steps * STEP)), torch.ones(2, int(steps * STEP), dtype=torch.bool)


def test_each_step_is_one_token_of_its_own_sound_alone() -> None:
    x, mask = sound(4)
    tokens = encode(x, mask)
    assert tokens.x.shape == (2, 4, 5)
    for step in range(4):
        part = slice(step * STEP, (step + 1) * STEP)
        torch.testing.assert_close(encode(x[:, part], mask[:, part]).x[:, 0], tokens.x[:, step])


def test_what_is_masked_and_padding_never_matter() -> None:
    x, mask = sound(2.5)
    mask[1, STEP + 200 :] = False
    tokens = encode(x, mask)
    assert tokens.mask.tolist() == [[True, True, True], [True, True, False]]
    garbage = torch.where(mask, x, 1e4)
    longer = encode(F.pad(garbage, (0, 2 * STEP)), F.pad(mask, (0, 2 * STEP)))
    torch.testing.assert_close(longer.x[:, :3], tokens.x)
    assert not longer.mask[:, 3:].any()


def test_columns_as_long_as_a_step_are_one_token_each() -> None:
    patches = MelPatches(MelPatchesConfig("mel_patches", MelConfig(normalise="none"), bins=64, steps=10, dim=6))
    assert patches(*sound(1)).x.shape == (2, 1, 6)
    assert encode_steps(patches, *sound(3), STEP).x.shape == (2, 3, 6)
