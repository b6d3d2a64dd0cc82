"""The libraries that read and cut media, whose versions can change a pixel."""

from __future__ import annotations

import av
import cv2
import numpy as np


def media_versions() -> dict[str, str]:
    """Return the versions of PyAV, FFmpeg, OpenCV and numpy."""
    return {
        "av": av.__version__,
        "ffmpeg": av.ffmpeg_version_info,
        "opencv": cv2.__version__,
        "numpy": np.__version__,
    }
