"""A file to its face: what comes out of a whole video."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmer.config import PrepareConfig
from mmer.errors import ClipError
from mmer.media.container import Source
from mmer.media.faces import FaceClip, build_detector, read_faces
from mmer.media.faces.look import Search
from mmer.media.jpeg import decode_jpeg
from mmer.media.video import Frame, Image


def read(path: Path, **settings: object) -> FaceClip:
    config = PrepareConfig(**settings)
    return read_faces(Source("the key", path), config, build_detector(config))


def images(clip: FaceClip) -> list[Image | None]:
    ends = np.cumsum(clip.sizes)
    return [
        decode_jpeg(clip.jpeg[end - size : end]) if size else None for end, size in zip(ends, clip.sizes, strict=True)
    ]


def test_every_frame_has_its_face(odd_media: dict[str, Path]) -> None:
    clip = read(odd_media["a face.mp4"], size=64)
    assert (clip.height, clip.width) == (240, 320)
    np.testing.assert_allclose(clip.times, np.arange(10) / 25, atol=1e-3)
    assert (clip.sizes > 0).all() and clip.sizes.sum() == len(clip.jpeg)
    assert clip.boxes.dtype == np.float32 and clip.boxes.shape == (10, 4)
    assert not np.isnan(clip.boxes).any() and (clip.boxes[:, 3] == 0).all()
    assert [image.shape for image in images(clip)] == [(64, 64, 3)] * 10
    found = clip.statistics
    assert (found.share, found.size, found.jitter) == (
        1,
        pytest.approx(clip.boxes[0, 2], abs=2),
        pytest.approx(0, abs=0.01),
    )
    assert 0.25 < found.height_share < 1


def test_frames_without_a_face_have_no_box_and_no_picture(odd_media: dict[str, Path]) -> None:
    clip = read(odd_media["face at times.mp4"], size=64)
    assert np.isnan(clip.boxes[:, 0]).tolist() == (clip.sizes == 0).tolist()
    assert 4 <= np.count_nonzero(clip.sizes) <= 10 and clip.sizes[0] > 0
    assert clip.statistics.share == pytest.approx(np.count_nonzero(clip.sizes) / 31)


def test_face_is_level_after_alignment_and_its_roll_is_noted(face: Image, make_clip: Callable[..., Path]) -> None:
    height, width = face.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), -12, 1)
    path = make_clip("clip.mp4", [cv2.warpAffine(face, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)] * 6)
    aligned, plain, level = read(path, align=True), read(path), read(make_clip("level.mp4", [face] * 6), align=True)
    assert np.rad2deg(aligned.boxes[:, 3] - level.boxes[:, 3]) == pytest.approx(12, abs=5)
    assert (plain.boxes[:, 3] == 0).all()
    target = images(level)[0]
    distance = [np.abs(images(clip)[0].astype(float) - target).mean() for clip in (aligned, plain)]
    assert distance[0] < 0.7 * distance[1]


def test_upright_face_of_a_portrait_video(odd_media: dict[str, Path]) -> None:
    level, turned = read(odd_media["a face.mp4"], size=64), read(odd_media["portrait.mp4"], size=64)
    assert (turned.height, turned.width) == (level.height, level.width)
    np.testing.assert_allclose(turned.boxes[0], level.boxes[0], atol=6)
    assert np.abs(images(turned)[0].astype(float) - images(level)[0]).mean() < 12


def test_clip_that_is_a_face_already_is_its_middle(make_clip: Callable[..., Path]) -> None:
    grey, black = np.full((48, 64, 3), 100, np.uint8), np.zeros((48, 64, 3), np.uint8)
    clip = read(make_clip("clip.mp4", [grey, grey, black]), detector="none", size=32, margin=0.5)
    assert (clip.sizes > 0).tolist() == [True, True, False], "black padding is no face"
    np.testing.assert_array_equal(clip.boxes, [[32, 24, 48, 0], [32, 24, 48, 0], [np.nan] * 4])
    assert images(clip)[0].shape == (32, 32, 3)


def test_faceless_video_is_told_how_it_could_be_kept(bad_media: dict[str, Path]) -> None:
    with pytest.raises(ClipError, match=r"no face in any of 6 frames; clips that are faces .* prepare --detector none"):
        read(bad_media["no face.mp4"])


def test_black_video_is_no_face(bad_media: dict[str, Path]) -> None:
    with pytest.raises(ClipError, match="no face in any of 6 frames; every frame is black"):
        read(bad_media["all black.mp4"], detector="none")


def test_same_file_gives_the_same_bytes_whatever_the_threads(talking: Path) -> None:
    config = PrepareConfig(size=64)
    clips = [read_faces(Source("a", talking), config, build_detector(config), threads) for threads in (1, 0, 3)]
    for clip in clips[1:]:
        np.testing.assert_array_equal(clip.jpeg, clips[0].jpeg)
        np.testing.assert_array_equal(clip.boxes, clips[0].boxes)


def test_every_frame_is_a_look_where_that_is_asked_for(talking: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float] = []
    search = Search.__call__

    def count(self: Search, frame: Frame, *known: list[object]) -> list[object]:
        looks.append(frame.time)
        return search(self, frame, *known)

    monkeypatch.setattr(Search, "__call__", count)
    for every in (1, 7):
        looks.clear()
        clip = read(talking, size=32, detect_every=every)
        np.testing.assert_allclose(looks, clip.times[::every])


@pytest.mark.parametrize("align", [False, True])
def test_real_clips_show_their_face_in_every_frame(align: bool, real_data: Path) -> None:
    paths = sorted(real_data.glob("ravdess/*/01-*.mp4"))
    if not paths:
        pytest.skip("no RAVDESS video")
    clip = read(paths[-1], align=align)
    found = clip.statistics
    assert found.share == 1 and 0.4 < found.height_share < 0.7 and found.jitter < 0.005
    assert (np.abs(clip.boxes[:, 3]) < np.deg2rad(8)).all() and (clip.boxes[:, 3] != 0).any() == align
