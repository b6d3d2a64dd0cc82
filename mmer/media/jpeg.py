"""RGB frames to JPEG and back, in memory."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mmer.media.video import Image


def encode_jpeg(image: Image, quality: int) -> NDArray[np.uint8]:
    """Compress a frame.

    Args:
        image: The pixels.
        quality: 1 to 100.
    """
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV encodes any uint8 image"
    encoded: NDArray[np.uint8] = data.reshape(-1)
    return encoded


def decode_jpeg(data: NDArray[np.uint8]) -> Image:
    """Decompress a frame.

    Raises:
        ValueError: The data are no JPEG.
    """
    image: Image | None = cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise ValueError("the stored frame is not a JPEG")
    return image
