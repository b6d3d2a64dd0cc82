"""``mmer doctor``: does everything that mmer needs work here, and what mends it where it does not."""

from __future__ import annotations

import importlib
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "mmer",
    "torch",
    "torchvision",
    "torchaudio",
    "lightning",
    "torchmetrics",
    "pytorchvideo",
    "timm",
    "wandb",
    "av",
    "opencv-python-headless",
)
_REINSTALL = 'pip install --force-reinstall "torch>=2.11,<2.13" "torchvision>=0.26,<0.28" "torchaudio>=2.11,<2.12"'


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Args:
        name: What.
        ok: Whether it works.
        found: What was found.
        remedy: The line that mends it, where it does not work.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""

    def to_plain(self) -> dict[str, Any]:
        """Return the check as a dictionary."""
        return asdict(self)


def examine(folder: Path) -> Iterator[Check]:
    """Look at versions, the GPU, the torch family, FFmpeg's codecs, the face detector and a folder to write to.

    Args:
        folder: Where runs will be written.
    """
    yield Check("python", sys.version_info >= (3, 11), platform.python_version(), "install Python 3.11 or newer")
    for package in PACKAGES:
        yield _installed(package)
    yield _try("torch devices", _devices, _REINSTALL)
    yield _try("torchvision operators", _torchvision, _REINSTALL)
    yield _try("torchaudio", lambda: f"imports with torch {version('torch')}", _REINSTALL, module="torchaudio")
    for name, mode in (("h264", "r"), ("aac", "r"), ("flac", "r"), ("pcm_s16le", "r"), ("libx264", "w"), ("aac", "w")):
        yield _try(
            f"codec {name} ({'read' if mode == 'r' else 'write'})", _codec(name, mode), "pip install --upgrade av"
        )
    yield _try("face detector", _faces, 'pip install "opencv-python-headless<5"')
    yield _try(f"write access to {folder}", lambda: _write(folder), "choose a folder that you may write to")


def _installed(package: str) -> Check:
    try:
        return Check(package, True, version(package))
    except PackageNotFoundError:
        return Check(package, False, "not installed", f"pip install {package}, or make setup")


def _try(name: str, look: Callable[[], str], remedy: str, module: str | None = None) -> Check:
    try:
        if module is not None:
            importlib.import_module(module)
        return Check(name, True, look())
    except Exception as error:  # noqa: BLE001 - whatever breaks here is the finding
        return Check(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}", remedy)


def _devices() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"CPU only (torch built for CUDA {torch.version.cuda})"
    return ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def _torchvision() -> str:
    import torch
    from torchvision.ops import nms

    kept = nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    return f"nms answers {kept.tolist()}"


def _codec(name: str, mode: str) -> Callable[[], str]:
    def look() -> str:
        import av

        return str(av.Codec(name, mode).long_name)  # type: ignore[arg-type]

    return look


def _faces() -> str:
    import numpy as np

    from mmer.media.faces.detectors import Haar

    return f"{len(Haar()(np.zeros((64, 64), np.uint8), smallest=16))} faces in an empty picture"


def _write(folder: Path) -> str:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    with tempfile.NamedTemporaryFile(dir=there):
        return f"{there} is writable"
