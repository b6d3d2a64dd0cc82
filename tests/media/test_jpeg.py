"""Frames survive JPEG with their colours."""

from __future__ import annotations

import numpy as np
import pytest

from mmer.media.jpeg import decode_jpeg, encode_jpeg


def test_red_stays_red() -> None:
    image = np.zeros((32, 48, 3), np.uint8)
    image[..., 0] = 200
    back = decode_jpeg(encode_jpeg(image, 92))
    assert back.shape == image.shape and back.dtype == np.uint8
    np.testing.assert_allclose(back.mean(axis=(0, 1)), (200, 0, 0), atol=4)


def test_stored_bytes_are_a_jpeg_that_any_viewer_reads_as_red() -> None:
    """Decoded by OpenCV's BGR default, red must be the last channel."""
    import cv2

    image = np.zeros((16, 16, 3), np.uint8)
    image[..., 0] = 200
    np.testing.assert_allclose(cv2.imdecode(encode_jpeg(image, 92), cv2.IMREAD_COLOR)[8, 8], (0, 0, 200), atol=4)


def test_quality_is_traded_for_size() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert len(encode_jpeg(noise, 95)) > 2 * len(encode_jpeg(noise, 30))


def test_what_is_no_jpeg_is_refused() -> None:
    with pytest.raises(ValueError, match="not a JPEG"):
        decode_jpeg(np.arange(50, dtype=np.uint8))
