"""Frames that were never in a file, and a network that stands in for YuNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mmer.media.video import Frame


@pytest.fixture(scope="session")
def shown() -> Callable[..., Frame]:
    """Make a frame of an image: ``shown(image, pixel_format="rgb24")``."""

    def make(image: NDArray[np.uint8], pixel_format: str = "rgb24", time: float = 0.0) -> Frame:
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        return Frame(time, picture.reformat(format=pixel_format))

    return make


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """Encode a protocol buffer, whose fields are numbers (varints) and bytes or text (with their length)."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value & (1 << 64) - 1)
        else:
            data = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(data)) + data
    return encoded


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded, value = encoded + bytes([value & 127 | 128]), value >> 7
    return encoded + bytes([value])


def node(kind: str, inputs: list[str], output: str, **attributes: list[int]) -> tuple[int, bytes]:
    """Encode an operation of an ONNX graph with lists of whole numbers as attributes."""
    named = [(5, message((1, name), *((8, value) for value in values), (20, 7))) for name, values in attributes.items()]
    return 1, message(*((1, name) for name in inputs), (2, output), (4, kind), *named)


def tensor(name: str, values: NDArray[np.float32] | NDArray[np.int64]) -> tuple[int, bytes]:
    kind = 1 if values.dtype == np.float32 else 7
    return 5, message(*((1, side) for side in values.shape), (2, kind), (8, name), (9, values.tobytes()))


def value(number: int, name: str, shape: tuple[int, ...]) -> tuple[int, bytes]:
    sides = message(*((1, message((1, side))) for side in shape))
    return number, message((1, name), (2, message((1, message((1, 1), (2, sides))))))


def convolution(kind: str, stride: int, weight: float, bias: list[float]) -> list[tuple[int, bytes]]:
    """Encode one of YuNet's outputs: the mean brightness of every cell times a weight, plus a constant."""
    name, width = f"{kind}_{stride}", len(bias)
    weights = np.full((width, 3, stride, stride), weight / (3 * stride**2 * 255), np.float32)
    return [
        tensor(f"{name}_w", weights),
        tensor(f"{name}_b", np.array(bias, np.float32)),
        tensor(f"{name}_s", np.array([1, -1, width], np.int64)),
        node(
            "Conv",
            ["input", f"{name}_w", f"{name}_b"],
            f"{name}_c",
            kernel_shape=[stride, stride],
            strides=[stride, stride],
        ),
        node("Transpose", [f"{name}_c"], f"{name}_t", perm=[0, 2, 3, 1]),
        node("Reshape", [f"{name}_t", f"{name}_s"], name),
        value(12, name, (1, (640 // stride) ** 2, width)),
    ]


def bright_cells(outputs: dict[str, list[float]]) -> bytes:
    """Encode a network with YuNet's inputs and outputs that takes bright cells of 8x8 pixels for faces."""
    fields = [
        field
        for kind, bias in outputs.items()
        for stride in (8, 16, 32)
        for field in convolution(kind, stride, float(stride == 8 and kind in ("cls", "obj")), bias)
    ]
    graph = message(*fields, (2, "stand-in"), value(11, "input", (1, 3, 640, 640)))
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 11))))


@pytest.fixture(scope="session")
def yunet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file with YuNet's outputs: every bright cell is a face of 64 pixels whose left eye lies lower."""
    outputs = {
        "cls": [0.0],
        "obj": [0.0],
        "bbox": [0.5, 0.5, float(np.log(8)), float(np.log(8))],
        "kps": [-1.5, -0.5, 2.5, 0.5, 0.5, 1.0, -1.0, 2.0, 2.0, 2.0],
    }
    path = tmp_path_factory.mktemp("models") / "stand-in.onnx"
    path.write_bytes(bright_cells(outputs))
    return path
