"""A whole model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mmer.config.audio import SAMPLE_RATE, AudioConfig, WaveCNNConfig
from mmer.config.checks import require, require_rate
from mmer.config.clip import ClipConfig
from mmer.config.features import FeaturesConfig
from mmer.config.fusion import EarlyFusionConfig, FusionConfig, MeanFusionConfig, TransformerFusionConfig
from mmer.config.text import TextConfig, TextHFConfig
from mmer.config.video import Face48Config, FramesConfig, VideoConfig
from mmer.emotions import LabelSet, LabelSetName, label_set

StreamConfig = VideoConfig | AudioConfig | TextConfig | TextHFConfig | FeaturesConfig
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
    missing: Literal["dropout", "copies"] = "dropout"
    """How training meets missing modalities: ``dropout`` hides them at random, at the rate above; ``copies`` shows
    every clip as it is, with random weights of its modalities, and without each of them (Chumachenko et al. 2022,
    arXiv:2201.11095), and wants ``modality_dropout: 0``."""
    head: Literal["clip", "frame"] = "clip"
    """``clip`` answers once for a clip; ``frame`` for every step, and for the clip by their mean."""
    frame_mean: Literal["logits", "probabilities"] = "logits"
    """What the answer of ``head: frame`` for a clip is the mean of."""

    def __post_init__(self) -> None:
        require(len(self.streams) > 0, "model.config.streams is empty; name at least one stream")
        for name in self.streams:
            require(
                name.isidentifier() and name.islower(),
                f"stream name {name!r} is not a lower-case identifier, such as 'face' or 'voice'",
            )
        require(
            "audio" not in self.reads or self.clip.sample_rate == SAMPLE_RATE,
            f"clip.sample_rate={self.clip.sample_rate}, and encoders of the voice are made for {SAMPLE_RATE} Hz; "
            "leave it there, and prepare the clips so",
        )
        require_rate("modality_dropout", self.modality_dropout)
        require(
            self.missing == "dropout" or self.modality_dropout == 0,
            f"missing=copies and modality_dropout={self.modality_dropout} would hide modalities twice; "
            "set modality_dropout to 0",
        )
        require(
            self.missing == "dropout" or len(self.reads) > 1,
            f"missing=copies hides one of several modalities and the model reads {self.reads[0]} alone; "
            "leave it at dropout",
        )
        self._check_head()
        self._check_parts()
        if self.causal:
            self._check_causal()
        label_set(self.labels)
        for name, width in self.widths.items():
            widths = {each.width for each in self._features if each.features == name}
            require(widths == {width}, f"streams give the features {name} the widths {sorted(widths)}; they have one")

    def _check_head(self) -> None:
        keeps_steps = isinstance(self.fusion, EarlyFusionConfig) or (
            isinstance(self.fusion, MeanFusionConfig) and len(self.streams) == 1
        )
        require(
            self.head == "clip" or keeps_steps,
            f"head=frame needs a fusion that keeps the steps: early, or mean over a single stream; "
            f"this one is {self.fusion.kind} over {', '.join(self.streams)}",
        )

    def _check_parts(self) -> None:
        """Check how much streams hear of the window that the others read."""
        for name, stream in self.streams.items():
            if not isinstance(stream, WaveCNNConfig) or stream.frames is None:
                continue
            seconds = stream.frames / stream.frame_rate
            require(
                seconds <= self.clip.seconds,
                f"stream {name} hears frames={stream.frames} video frames, {seconds:.2f} s, of a window of "
                f"clip.seconds={self.clip.seconds}; lower frames, or raise clip.seconds",
            )
            require(
                self.head == "clip" and not isinstance(self.fusion, EarlyFusionConfig),
                f"stream {name} hears frames={stream.frames} video frames of the window, and fusion.kind=early and "
                "head=frame take what it hears for all of it; set frames to null, or shorten clip.seconds",
            )

    def _check_causal(self) -> None:
        for name, stream in self.streams.items():
            alone = isinstance(stream, AudioConfig) or (
                isinstance(stream, FramesConfig | Face48Config | FeaturesConfig) and stream.temporal is None
            )
            require(
                alone,
                f"fusion.temporal.causal=true must not look ahead and stream {name} ({stream.encoder}) does; read "
                "frames, face48 or features with temporal: null, or sound",
            )
        samples, steps = round(self.clip.seconds * self.clip.sample_rate), self.clock
        for each, what, count in (("video", "clip.frames", self.clip.frames), ("audio", "samples of a clip", samples)):
            require(
                each not in self.reads or count % steps == 0,
                f"fusion.temporal.causal=true needs steps of whole frames and samples, and {what}={count} is not a "
                f"multiple of fusion.steps={steps}; change clip.seconds, clip.frames or fusion.steps",
            )

    @property
    def causal(self) -> bool:
        """Whether no step depends on later ones, so that clips can be read piece by piece."""
        return isinstance(self.fusion, EarlyFusionConfig) and self.fusion.temporal.causal

    @property
    def clock(self) -> int:
        """Steps of a window on the fusion's clock; 0 where it has none."""
        return self.fusion.steps if isinstance(self.fusion, EarlyFusionConfig) else 0

    @property
    def reads(self) -> tuple[str, ...]:
        """What the model reads, each modality and each precomputed stream once, in the order of the streams."""
        return tuple(dict.fromkeys(stream.reads for stream in self.streams.values()))

    @property
    def widths(self) -> dict[str, int]:
        """Numbers in each step of the precomputed streams that the model reads, by their names."""
        return {stream.features: stream.width for stream in self._features}

    @property
    def _features(self) -> list[FeaturesConfig]:
        return [stream for stream in self.streams.values() if isinstance(stream, FeaturesConfig)]

    @property
    def label_set(self) -> LabelSet:
        """The classes of the model's outputs."""
        return label_set(self.labels)
