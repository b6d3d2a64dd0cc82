"""What finds faces in a picture: OpenCV's cascade, dlib's HOG detector, the network YuNet; all behind one protocol."""

from __future__ import annotations

import importlib
import math
from functools import cache
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mmer.config import PrepareConfig
from mmer.errors import ConfigError
from mmer.media.faces.boxes import Box
from mmer.media.faces.weights import fetch

_NEIGHBOURS = 4  # windows that must agree on a face
_LARGE = 1 / 6  # of the picture's short side
_DLIB_WINDOW = 80  # pixels; dlib finds no smaller faces
_CONFIDENCE = 0.7  # of YuNet in a face
_SHARED = 0.3  # intersection over union from which YuNet takes two boxes for one face


class FaceDetector(Protocol):
    """Whatever finds faces in a picture."""

    @property
    def colour(self) -> bool:
        """Whether it looks at RGB [h w 3]; otherwise at brightness [h w]."""

    def __call__(self, picture: NDArray[np.uint8], smallest: float, largest: float | None = None) -> list[Box]:
        """Return the boxes of all faces, in any order.

        Args:
            picture: Where to look.
            smallest: Least side of a face that matters, in pixels.
            largest: Greatest side, where a face of about this size is expected.
        """


class Haar:
    """OpenCV's cascade ``frontalface_alt2`` (Viola and Jones 2001; Lienhart 2003): frontal faces, quickly."""

    colour = False

    def __init__(self) -> None:
        self._cascade = load_cascade("frontalface_alt2")

    def __call__(self, picture: NDArray[np.uint8], smallest: float, largest: float | None = None) -> list[Box]:
        """Look for small faces only where there are no large ones: that is quicker."""
        if largest is not None:
            return self._search(picture, 1.15, smallest, largest)
        large = self._search(picture, 1.2, max(smallest, _LARGE * min(picture.shape)), None)
        return large or self._search(picture, 1.1, smallest, None)

    def _search(self, picture: NDArray[np.uint8], step: float, smallest: float, largest: float | None) -> list[Box]:
        least, most = round(smallest), 0 if largest is None else math.ceil(largest)
        found = self._cascade.detectMultiScale(
            picture, scaleFactor=step, minNeighbors=_NEIGHBOURS, minSize=(least, least), maxSize=(most, most)
        )
        return [_square(*box) for box in found]


class Dlib:
    """dlib's detector on histograms of oriented gradients (King 2015): slower, and finds more turned heads."""

    colour = False

    def __init__(self) -> None:
        self._detector = _import_dlib().get_frontal_face_detector()

    def __call__(self, picture: NDArray[np.uint8], smallest: float, largest: float | None = None) -> list[Box]:
        """Enlarge the picture until the smallest face fills dlib's window, four times at most."""
        doublings = min(max(0, math.ceil(math.log2(_DLIB_WINDOW / smallest))), 2)
        found = self._detector(np.ascontiguousarray(picture), doublings)
        boxes = [_square(face.left(), face.top(), face.width(), face.height()) for face in found]
        return [box for box in boxes if smallest <= box.side and (largest is None or box.side <= largest)]


class YuNet:
    """The network YuNet (Wu et al. 2023) by OpenCV: finds turned and partly hidden faces, and their eyes.

    Args:
        name: How the user named the file, for messages.
        model: The bytes of its ONNX file.
    """

    colour = True

    def __init__(self, name: str, model: bytes) -> None:
        try:
            self._network = cv2.FaceDetectorYN.create(
                "onnx", np.frombuffer(model, np.uint8), np.zeros(0, np.uint8), (64, 64), _CONFIDENCE, _SHARED
            )
            self(np.zeros((64, 64, 3), np.uint8), 8)  # another network fails only here
        except (cv2.error, SystemError) as error:
            raise ConfigError(
                f"detector_model={name} is not YuNet as OpenCV {cv2.__version__} reads it; take "
                "face_detection_yunet_2023mar.onnx of the OpenCV Zoo"
            ) from error

    def __call__(self, picture: NDArray[np.uint8], smallest: float, largest: float | None = None) -> list[Box]:
        """Look at all sizes at once, and keep those that matter."""
        self._network.setInputSize((picture.shape[1], picture.shape[0]))
        _, found = self._network.detect(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        boxes = [] if found is None else [_face(row) for row in found]
        return [box for box in boxes if smallest <= box.side and (largest is None or box.side <= largest)]


def build_detector(config: PrepareConfig) -> FaceDetector | None:
    """Return the detector that the settings name, or None for clips that are faces already.

    A process builds each detector once.

    Raises:
        ConfigError: Its package is not installed, or its model is missing, broken or not what its checksum says.
    """
    return _build(config.detector, config.detector_model)


@cache
def _build(name: str, model: str | None) -> FaceDetector | None:
    match name:
        case "haar":
            return Haar()
        case "dlib":
            return Dlib()
        case "yunet":
            assert model is not None, "PrepareConfig wants the model of yunet"
            return YuNet(model, fetch(model))
    return None


@cache
def load_cascade(name: str) -> cv2.CascadeClassifier:
    """Return one of the cascades that come with OpenCV."""
    return cv2.CascadeClassifier(f"{cv2.data.haarcascades}haarcascade_{name}.xml")


def _import_dlib() -> Any:
    try:
        return importlib.import_module("dlib")
    except ImportError as error:
        raise ConfigError(
            "detector=dlib needs the package dlib; install it with: pip install 'mmer[faces]', or choose haar"
        ) from error


def _square(x: float, y: float, width: float, height: float) -> Box:
    return Box(x + width / 2, y + height / 2, float(max(width, height)))


def _face(row: NDArray[np.float32]) -> Box:
    """Read a row of YuNet's: a box, then the points of the right eye, left eye, nose and mouth, then a score."""
    x, y, width, height, *points = row.tolist()
    (x0, y0), (x1, y1) = sorted((points[0:2], points[2:4]))
    box = _square(x, y, width, height)
    return Box(box.x, box.y, box.side, math.atan2(y1 - y0, x1 - x0))
