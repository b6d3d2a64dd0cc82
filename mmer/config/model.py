"""A whole model."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmer.config.audio import WaveCNNConfig
from mmer.config.checks import require
from mmer.config.clip import ClipConfig
from mmer.config.fusion import FusionConfig, TransformerFusionConfig
from mmer.config.video import MViTConfig, ResNet3DConfig
from mmer.emotions import LabelSet, LabelSetName, label_set

StreamConfig = MViTConfig | ResNet3DConfig | WaveCNNConfig
"""One encoder reading one modality; ``encoder`` says which."""


@dataclass(frozen=True)
class ModelConfig:
    """A whole model: what ``build_model`` takes and what a checkpoint keeps."""

    streams: dict[str, StreamConfig]
    """The model's encoders by the name of their stream, as ``face: {encoder: mvit, variant: tiny}``."""
    labels: LabelSetName | tuple[str, ...] = "ravdess8"
    """A label set by name, or the class names themselves."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """What is cut from a clip before any encoder sees it."""
    fusion: FusionConfig = field(default_factory=TransformerFusionConfig)
    """How the streams become one answer."""
    modality_dropout: float = 0.2
    """Chance of each modality of a clip to be hidden in training; where all would be, none is."""

    def __post_init__(self) -> None:
        require(len(self.streams) > 0, "model.config.streams is empty; name at least one stream")
        for name in self.streams:
            require(
                name.isidentifier() and name.islower(),
                f"stream name {name!r} is not a lower-case identifier, such as 'face' or 'voice'",
            )
        require(0 <= self.modality_dropout < 1, f"modality_dropout={self.modality_dropout} must lie in [0, 1)")
        label_set(self.labels)

    @property
    def reads(self) -> tuple[str, ...]:
        """What the model reads, each modality and each precomputed stream once, in the order of the streams."""
        return tuple(dict.fromkeys(stream.reads for stream in self.streams.values()))

    @property
    def label_set(self) -> LabelSet:
        """The classes of the model's outputs."""
        return label_set(self.labels)
