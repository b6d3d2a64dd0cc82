"""Every operation does what torchvision's does, and to all frames alike."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment
from torchvision.transforms.v2 import functional as F

from mmer.data.edit import Edit
from mmer.data.rand_augment import OPERATIONS, Operation, operate, rand_augment

SIDE = 48
THEIRS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "colour": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
}


@pytest.fixture
def frame() -> torch.Tensor:
    """A smooth colour picture of 40 to 200, [3 h w]."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    smooth = F.gaussian_blur(noise, [9, 9]).float()
    return ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 160 + 40).to(torch.uint8)


def ours(frame: torch.Tensor, operation: Operation, strength: float, sign: int) -> torch.Tensor:
    edit = Edit(frame.permute(1, 2, 0).repeat(3, 1, 1, 1).numpy())
    operate(edit, operation, strength, sign, SIDE, SIDE)
    done = torch.from_numpy(edit.done()).permute(0, 3, 1, 2)
    assert (done == done[0]).all()
    return done[0]


def theirs(frame: torch.Tensor, operation: Operation, magnitude: int, sign: int) -> torch.Tensor:
    space = RandAugment._AUGMENTATION_SPACE
    magnitudes, signed = space[THEIRS[operation]]
    values = magnitudes(31, SIDE, SIDE)
    value = 0.0 if values is None else float(values[magnitude]) * (sign if signed else 1)
    transform = RandAugment(interpolation=InterpolationMode.BILINEAR)
    changed = transform._apply_image_or_video_transform(
        frame, THEIRS[operation], value, InterpolationMode.BILINEAR, transform._fill
    )
    assert isinstance(changed, torch.Tensor)
    return changed


def test_the_list_is_torchvisions() -> None:
    assert set(THEIRS) == set(OPERATIONS)
    assert set(THEIRS.values()) == set(RandAugment._AUGMENTATION_SPACE)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("magnitude", [0, 9, 20])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_torchvisions(frame: torch.Tensor, operation: Operation, magnitude: int, sign: int) -> None:
    found, expected = ours(frame, operation, magnitude / 30, sign), theirs(frame, operation, magnitude, sign)
    difference = (found.int() - expected.int()).abs()[:, 1:-1, 1:-1].float()
    moves = operation.startswith(("shear", "translate", "rotate"))  # torchvision shifts by whole pixels
    assert difference.median() <= (4 if moves else 1)
    assert difference.quantile(0.9) <= (30 if moves else 2)
    if magnitude and operation != "identity":
        assert (found != frame).any()


def test_light_of_two_operations_is_torchvisions_one_after_the_other(frame: torch.Tensor) -> None:
    edit = Edit(frame.permute(1, 2, 0).unsqueeze(0).numpy())
    edit.light(saturation=0.6)
    edit.light(contrast=0.7)
    edit.light(brightness=1.2)
    expected = F.adjust_brightness(F.adjust_contrast(F.adjust_saturation(frame, 0.6), 0.7), 1.2)
    found = torch.from_numpy(edit.done())[0].permute(2, 0, 1)
    assert (found.int() - expected.int()).abs().max() <= 3


def test_two_movements_are_one_after_the_other() -> None:
    dot = np.zeros((1, 65, 65, 3), np.uint8)
    dot[:, 32, 52] = 200
    edit = Edit(dot)
    edit.turn(90.0)  # up, to (32, 12)
    edit.move([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]])
    assert np.argwhere(edit.done()[0, ..., 0] > 150).tolist() == [[12, 37]]


def test_mirror_comes_before_movement(frame: torch.Tensor) -> None:
    edit = Edit(frame.permute(1, 2, 0).unsqueeze(0).numpy())
    edit.move([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]])
    edit.mirror()
    found = torch.from_numpy(edit.done())[0].permute(2, 0, 1)
    assert torch.equal(found[..., 5:], frame.flip(-1)[..., :-5])


def test_a_clip_of_one_colour_has_nothing_to_stretch_or_to_equalize() -> None:
    grey = np.full((2, 8, 8, 3), 77, np.uint8)
    for name in ("auto_contrast", "equalize"):
        edit = Edit(grey)
        edit.curve(name)
        assert (edit.done() == 77).all()


def test_frames_of_one_clip_share_their_curve() -> None:
    """Else a clip would flicker: torchvision stretches every frame by itself."""
    dark, light = np.full((1, 8, 8, 3), 50, np.uint8), np.full((1, 8, 8, 3), 150, np.uint8)
    edit = Edit(np.concatenate([dark, light]))
    edit.curve("auto_contrast")
    assert (edit.done()[0] == 0).all() and (edit.done()[1] == 255).all()


def test_the_clip_itself_is_not_changed(frame: torch.Tensor) -> None:
    frames = frame.permute(1, 2, 0).unsqueeze(0).numpy()
    before = frames.copy()
    for operation in OPERATIONS:
        edit = Edit(frames)
        operate(edit, operation, 0.5, 1, SIDE, SIDE)
        edit.done()
    assert (frames == before).all()


def test_operations_are_drawn_alike_and_to_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: Counter[tuple[str, int]] = Counter()

    def record(edit: Edit, operation: str, strength: float, sign: int, width: int, height: int) -> None:
        assert (strength, width, height) == (0.3, 8, 6)
        drawn[operation, sign] += 1

    monkeypatch.setattr("mmer.data.rand_augment.operate", record)
    torch.manual_seed(0)
    rand_augment(Edit(np.zeros((1, 6, 8, 3), np.uint8)), 2800, 9, 8, 6)
    assert len(drawn) == 28 and min(drawn.values()) > 60 and max(drawn.values()) < 140
