"""Faces in videos: found, followed, cut out, counted and shown."""

from mmer.media.faces.boxes import Box, Boxes, FaceStatistics, measure_faces
from mmer.media.faces.detectors import FaceDetector, Haar, build_detector
from mmer.media.faces.read import FaceClip, read_faces

__all__ = [
    "Box",
    "Boxes",
    "FaceClip",
    "FaceDetector",
    "FaceStatistics",
    "Haar",
    "build_detector",
    "measure_faces",
    "read_faces",
]
