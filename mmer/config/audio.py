"""Encoders of the voice."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mmer.config.checks import require, require_positive, require_rate, require_sizes
from mmer.config.clip import Modality
from mmer.config.temporal import TemporalConfig

SAMPLE_RATE = 16_000
"""Rate of the waveforms that these encoders are made for, in Hz."""

SpeechVariant = Literal[
    "tiny",
    "WAV2VEC2_BASE",
    "WAV2VEC2_LARGE",
    "WAV2VEC2_LARGE_LV60K",
    "WAV2VEC2_XLSR53",
    "WAV2VEC2_XLSR_300M",
    "WAV2VEC2_XLSR_1B",
    "WAV2VEC2_XLSR_2B",
    "HUBERT_BASE",
    "HUBERT_LARGE",
    "HUBERT_XLARGE",
    "WAVLM_BASE",
    "WAVLM_BASE_PLUS",
    "WAVLM_LARGE",
]
"""A pretrained speech network, as torchaudio names it; or a small one without weights."""


@dataclass(frozen=True)
class WaveCNNConfig:
    """Strided 1D CNN over the raw waveform."""

    reads: ClassVar[Modality] = "audio"

    encoder: Literal["wave_cnn"]
    variant: Literal["base", "tiny"] = "base"
    """``base``: 512 channels, the seven-block layout of wav2vec 2.0's encoder, 50 tokens a second. ``tiny``: 64, 25."""
    dropout: float = 0.1
    """Rate at which whole channels of a block are dropped in training."""
    normalise: bool = False
    """Bring each window to unit power, as wav2vec 2.0 does: neither the microphone nor loudness matters then."""
    frames: int | None = None
    """How much is heard, in video frames: 16 are 0.53 s, 64 are 2.1 s. Training hears a part of the window drawn anew
    each time, evaluation its middle, so 16 against 64 compares what a voice says in that time. Null hears it all, as
    ``fusion: early`` and ``head: frame`` must."""
    frame_rate: float = 29.97
    """Video frames a second, by which ``frames`` is counted: RAVDESS's. It is the model's and not each clip's, so that
    the network always hears as long, clips without a face included, whatever rate a film has."""

    def __post_init__(self) -> None:
        require_rate("dropout", self.dropout)
        require(
            self.frames is None or self.frames > 0,
            f"frames={self.frames} must be a number of video frames, as 16 or 64, or null for the whole window",
        )
        require_positive("frame_rate", self.frame_rate, "Hz")


@dataclass(frozen=True)
class SpecAugmentConfig:
    """What SpecAugment hides of a spectrogram in training (Park et al. 2019, arXiv:1904.08779)."""

    bands: int = 2
    """Bands of frequencies that are hidden, each drawn anew for every clip."""
    band_width: int = 27
    """Largest width of a band, in bins."""
    spans: int = 2
    """Spans of time that are hidden."""
    span_share: float = 0.1
    """Largest length of a span, as a share of the clip's own steps."""

    def __post_init__(self) -> None:
        for name in ("bands", "band_width", "spans"):
            require(getattr(self, name) >= 0, f"spec_augment.{name}={getattr(self, name)} must not be negative")
        require_rate("spec_augment.span_share", self.span_share)


@dataclass(frozen=True)
class MelConfig:
    """Log-mel spectrogram of a voice at 16 kHz, the same for every encoder that reads one."""

    bins: int = 64
    """Mel bands."""
    window: float = 0.025
    """Length of the Fourier window, in seconds."""
    hop: float = 0.01
    """Seconds from one column to the next."""
    low: float = 50.0
    """Lowest frequency, in Hz."""
    high: float = 8000.0
    """Highest frequency, in Hz; at most 8000."""
    normalise: Literal["clip", "none"] = "clip"
    """``clip``: mean 0 and deviation 1 over the clip's own columns, so that its level never matters."""
    spec_augment: SpecAugmentConfig | None = field(
        default_factory=lambda: SpecAugmentConfig(bands=2, band_width=8, spans=2, span_share=0.1)
    )
    """What training hides of it; null for nothing."""

    def __post_init__(self) -> None:
        require_positive("mel.bins", self.bins)
        require(
            0 < self.hop <= self.window, f"mel.hop={self.hop} must be positive and at most mel.window={self.window}"
        )
        require(
            0 <= self.low < self.high <= 8000,
            f"mel.low={self.low} and mel.high={self.high} must be two frequencies in [0, 8000] Hz, the lower first",
        )


@dataclass(frozen=True)
class MelCNNConfig:
    """Residual 2D CNN over a log-mel spectrogram, and where it is asked for a network over its steps."""

    reads: ClassVar[Modality] = "audio"

    encoder: Literal["mel_cnn"]
    mel: MelConfig = field(default_factory=MelConfig)
    """The spectrogram."""
    channels: tuple[int, ...] = (16, 32, 64)
    """Channels of each stage; every stage halves the bins and the steps."""
    dim: int = 128
    """Width of the tokens."""
    window: float | None = None
    """Seconds of the windows that the CNN sees one at a time, half overlapping: each becomes one token, the mean of its
    steps. Null gives it the whole spectrogram: a token for each step of its last stage."""
    dropout: float = 0.1
    """Rate at which whole channels of a stage are dropped in training."""
    temporal: TemporalConfig | None = None
    """A network over the tokens, as ``{kind: lstm, width: 128}``; null for none."""

    def __post_init__(self) -> None:
        require(
            len(self.channels) > 0 and min(self.channels) > 0,
            f"channels={list(self.channels)} must be positive numbers, one for each stage, as [16, 32, 64]",
        )
        require_positive("dim", self.dim)
        require_rate("dropout", self.dropout)
        require(
            self.window is None or self.window >= 2 * self.mel.hop,
            f"window={self.window} must be null or at least two columns of the spectrogram, {2 * self.mel.hop} s",
        )


@dataclass(frozen=True)
class MelPatchesConfig:
    """Patches of a log-mel spectrogram, each a token by one linear layer (AST: Gong et al. 2021, arXiv:2104.01778).

    Patches of all bins are columns: the voice beside the frames of a face, in time.
    """

    reads: ClassVar[Modality] = "audio"

    encoder: Literal["mel_patches"]
    mel: MelConfig = field(default_factory=MelConfig)
    """The spectrogram."""
    bins: int = 16
    """Mel bands of a patch; must divide ``mel.bins``."""
    steps: int = 16
    """Columns of a patch."""
    dim: int = 128
    """Width of the tokens."""

    def __post_init__(self) -> None:
        require_sizes("mel_patches: ", self, "bins", "steps", "dim")
        require(
            self.mel.bins % self.bins == 0,
            f"bins={self.bins} of a patch must divide mel.bins={self.mel.bins}; change one of them",
        )


@dataclass(frozen=True)
class SpeechConfig:
    """Pretrained speech network over the raw waveform: wav2vec 2.0 (Baevski et al. 2020, arXiv:2006.11477), HuBERT
    (Hsu et al. 2021, arXiv:2106.07447) or WavLM (Chen et al. 2022, arXiv:2110.13900), as torchaudio builds it.

    A token is the sum of what all layers say, with learned weights (SUPERB: Yang et al. 2021, arXiv:2105.01051).
    """  # noqa: D205

    reads: ClassVar[Modality] = "audio"

    encoder: Literal["speech"]
    variant: SpeechVariant = "WAVLM_BASE_PLUS"
    """The network; its weights are fetched by this name. ``tiny`` has two layers and none: for a laptop."""
    weights: str | None = None
    """Local file with weights of the same network, or a checkpoint of mmer's; null fetches them by its name."""
    trainable: Literal["none", "all"] | int = "none"
    """``none`` freezes the network and learns the layers' weights alone; a number trains so many of the top layers."""

    def __post_init__(self) -> None:
        require(
            isinstance(self.trainable, str) or self.trainable > 0,
            f"trainable={self.trainable} must be none, all, or how many of the top layers are trained",
        )
        require(
            self.variant != "tiny" or self.weights is not None or self.trainable == "all",
            f"variant=tiny has no weights of its own, so trainable={self.trainable} would freeze noise; "
            "set trainable=all, or name a file in weights",
        )


AudioConfig = WaveCNNConfig | MelCNNConfig | MelPatchesConfig | SpeechConfig
"""An encoder of the voice; ``encoder`` says which."""
