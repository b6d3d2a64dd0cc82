"""How raw files are prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from mmer.config.checks import require, require_positive
from mmer.config.clip import Modality, is_stream_name

_MODALITIES = ", ".join(get_args(Modality))


@dataclass(frozen=True)
class PrepareConfig:
    """How raw files become what models read. A checkpoint keeps it, so that prediction prepares as training did."""

    detector: Literal["haar", "dlib", "yunet", "none"] = "haar"
    """What finds faces: ``haar`` (OpenCV's cascade), ``dlib`` (HOG, extra ``faces``), ``yunet`` (OpenCV's network,
    wants ``detector_model``), ``none``: the clips are faces already."""
    detector_model: str | None = None
    """YuNet's ONNX file: a path, or a URL with its checksum, as ``https://host/yunet.onnx#sha256=0f2e...``."""
    detect_every: int = 5
    """Look for faces in every k-th frame and interpolate between."""
    detect_size: int = 320
    """Longer side of the reduced picture that the detector searches, in pixels. A face must fill 20 of them: at 320 one
    of 80 in a picture 1280 wide; 640 finds faces half as large, and takes longer."""
    align: bool = False
    """Turn every face so that its eyes are level."""
    margin: float = 0.3
    """Room around the detected box, as a share of its side: 0.3 adds 15% on each side."""
    size: int = 224
    """Side of the stored square frames, in pixels."""
    quality: int = 92
    """JPEG quality of the stored frames, 1 to 100."""
    sample_rate: int = 16_000
    """Rate of the stored audio, in Hz."""
    max_seconds: float = 120.0
    """Longest clip that is accepted; an hour of film has no single emotion."""
    transcripts: Literal["corpus", "sidecar", "whisper"] = "corpus"
    """Where the words come from: the corpus itself, a ``.txt``, ``.srt`` or ``.vtt`` file beside the clip, or
    faster-whisper (extra ``asr``)."""
    whisper_model: str = "small"
    """faster-whisper's model: a name, or a local folder."""
    features: tuple[str, ...] = ()
    """Names of the precomputed streams that were joined to the clips, as ``action_units``."""

    def __post_init__(self) -> None:
        require(
            (self.detector == "yunet") == (self.detector_model is not None),
            f"detector={self.detector} and detector_model={self.detector_model} do not go together: "
            "yunet wants the path or URL of its ONNX file, the others want none",
        )
        require(self.detect_every >= 1, f"detect_every={self.detect_every} must be at least 1")
        require(self.detect_size >= 64, f"detect_size={self.detect_size} must be at least 64 pixels")
        require(self.size >= 16, f"size={self.size} must be at least 16 pixels")
        require(0 <= self.margin <= 2, f"margin={self.margin} must lie in [0, 2]")
        require(1 <= self.quality <= 100, f"quality={self.quality} must lie in 1 to 100")
        require_positive("sample_rate", self.sample_rate, "Hz")
        require_positive("max_seconds", self.max_seconds)
        for name in self.features:
            require(
                name.isidentifier() and name.islower(),
                f"feature stream {name!r} is not a lower-case identifier, such as 'action_units'",
            )
            require(
                is_stream_name(name) and self.features.count(name) == 1,
                f"feature stream {name!r} is taken; give every stream a name of its own, not {_MODALITIES}",
            )
