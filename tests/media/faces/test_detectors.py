"""Every detector finds faces behind the same protocol, or says what it lacks."""

from __future__ import annotations

import hashlib
import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmer.config import PrepareConfig
from mmer.errors import ConfigError
from mmer.media.container import Source
from mmer.media.faces import build_detector
from mmer.media.faces.detectors import Dlib, FaceDetector, Haar, YuNet
from mmer.media.video import Image, read_video


@pytest.fixture(params=["haar", "dlib"])
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    if request.param == "dlib":
        pytest.importorskip("dlib")
    found = build_detector(PrepareConfig(detector=request.param))
    assert found is not None
    return found


def grey(image: Image) -> Image:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def test_drawn_face_is_found(detector: FaceDetector, face: Image) -> None:
    (box,) = detector(grey(face), smallest=24)
    assert 0.25 * 240 < box.side < 240
    assert abs(box.x - 160) < 60 and abs(box.y - 120) < 60
    assert box.roll is None


def test_both_faces_of_a_wide_picture_are_found(detector: FaceDetector, face: Image) -> None:
    boxes = detector(grey(np.concatenate([face, face], axis=1)), smallest=24)
    assert sorted(box.x > 320 for box in boxes) == [False, True]


def test_face_of_about_the_expected_size_is_found_and_no_other(detector: FaceDetector, face: Image) -> None:
    (box,) = detector(grey(face), smallest=24)
    assert len(detector(grey(face), 0.85 * box.side, 1.18 * box.side)) == 1
    assert detector(grey(face), 1.5 * box.side, 2 * box.side) == []
    assert detector(grey(face), 0.3 * box.side, 0.5 * box.side) == []


def test_nothing_is_found_in_scenery_in_the_dark_and_in_a_tiny_picture(detector: FaceDetector, scenery: Image) -> None:
    assert detector(grey(scenery), smallest=24) == []
    assert detector(np.zeros((180, 320), np.uint8), smallest=18) == []
    assert detector(np.zeros((8, 8), np.uint8), smallest=1) == []


def test_small_face_is_looked_for_where_there_is_no_large_one(face: Image) -> None:
    small = cv2.resize(grey(face), None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    picture = np.full((240, 320), 128, np.uint8)
    picture[100:160, 40:120] = small
    (box,) = Haar()(picture, smallest=20)
    assert box.side < 40 and abs(box.x - 80) < 10
    both = np.concatenate([grey(face), picture], axis=1)
    assert [box.side > 40 for box in Haar()(both, smallest=20)] == [True]


def test_detector_is_built_once(yunet: Path) -> None:
    assert build_detector(PrepareConfig()) is build_detector(PrepareConfig(size=64))
    config = PrepareConfig(detector="yunet", detector_model=str(yunet))
    assert build_detector(config) is build_detector(config)


def test_clips_that_are_faces_already_want_no_detector() -> None:
    assert build_detector(PrepareConfig(detector="none")) is None


def test_dlib_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(ConfigError, match=r"detector=dlib needs .*: pip install 'mmer\[faces\]', or choose haar"):
        Dlib()


def test_yunet_finds_faces_and_their_roll_in_pixels_of_the_picture(yunet: Path) -> None:
    """The network is read and run by OpenCV's own FaceDetectorYN; only its weights are ours."""
    detector = build_detector(PrepareConfig(detector="yunet", detector_model=str(yunet)))
    assert detector is not None and detector.colour
    picture = np.zeros((180, 320, 3), np.uint8)  # no multiple of its largest cell
    picture[24:32, 48:56] = picture[80:88, 160:168] = 255
    boxes = sorted(detector(picture, smallest=10), key=lambda box: box.x)
    assert [(box.x, box.y) for box in boxes] == [(52, 28), (164, 84)]
    assert [box.side for box in boxes] == pytest.approx([64, 64])
    assert [box.roll for box in boxes] == pytest.approx([math.atan2(1, 4)] * 2)
    assert detector(picture, 65, 90) == detector(picture, 20, 60) == []
    assert detector(np.zeros((64, 96, 3), np.uint8), 10) == []


def test_yunet_sees_red_as_red(yunet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was trained on OpenCV's order of colours; ours is the other one."""
    seen: list[Image] = []

    class Network:
        def setInputSize(self, size: tuple[int, int]) -> None:
            pass

        def detect(self, picture: Image) -> tuple[int, None]:
            seen.append(picture)
            return 1, None

    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda *_: Network())
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    YuNet("any.onnx", b"any")(red, smallest=1)
    assert seen[-1][0, 0].tolist() == [0, 0, 200]


@pytest.mark.parametrize("data", [b"", b"no network", bytes(1000)])
def test_file_that_is_no_yunet_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"detector_model=.*other\.onnx is not YuNet as OpenCV .* reads it; take "):
        build_detector(PrepareConfig(detector="yunet", detector_model=str(path)))


def test_yunet_is_held_to_its_checksum(yunet: Path) -> None:
    digits = hashlib.sha256(yunet.read_bytes()).hexdigest()
    assert build_detector(PrepareConfig(detector="yunet", detector_model=f"{yunet}#sha256={digits}")) is not None
    with pytest.raises(ConfigError, match="has the checksum"):
        build_detector(PrepareConfig(detector="yunet", detector_model=f"{yunet}#sha256={'0' * 64}"))


def test_face_is_found_in_every_real_clip(detector: FaceDetector, real_data: Path) -> None:
    paths = sorted(real_data.glob("ravdess/*/01-*.mp4"))
    if not paths:
        pytest.skip("no RAVDESS video")
    for path in paths:
        (box,) = detector(next(read_video(Source(path.stem, path))).grey(320), smallest=18)
        assert 60 < box.side < 120 and abs(box.x - 160) < 20, path.name
