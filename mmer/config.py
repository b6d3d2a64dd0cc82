"""What describes a model and a data set: frozen dataclasses of plain values, without torch.

The signatures are the schema. ``train.py`` builds its command line and its ``--help`` from them, checks every value
against them before a model exists, and a checkpoint keeps them as plain dictionaries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError

from mmer.emotions import LabelSet, LabelSetName, label_set
from mmer.errors import CheckpointError, ConfigError

Modality = Literal["video", "audio", "text"]
"""What a stream can read; the same word in manifests, batches, configs and reports."""

_MODALITIES = ", ".join(get_args(Modality))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ConfigError(message)


@dataclass(frozen=True)
class ClipConfig:
    """How much of a clip a model sees, the same for every stream, so that streams line up in time."""

    seconds: float = 3.6
    """Length of the window, in seconds, taken from the middle of the clip; a shorter clip is used whole."""
    frames: int = 16
    """Video frames sampled uniformly over the window."""
    sample_rate: int = 16_000
    """Rate of the waveform, in Hz."""

    def __post_init__(self) -> None:
        _require(self.seconds > 0, f"clip.seconds={self.seconds} must be positive")
        _require(self.frames > 0, f"clip.frames={self.frames} must be positive")
        _require(self.sample_rate > 0, f"clip.sample_rate={self.sample_rate} must be positive, in Hz")


@dataclass(frozen=True)
class MViTConfig:
    """MViTv2 over face frames (Li et al. 2022, arXiv:2112.01526), as torchvision builds it."""

    modality: ClassVar[Modality] = "video"

    encoder: Literal["mvit"]
    variant: Literal["mvit_v2_s", "tiny"] = "mvit_v2_s"
    """``mvit_v2_s``: 16 frames at 224 pixels, 34 M parameters. ``tiny``: 8 frames at 64, for a laptop."""
    weights: str | None = None
    """A name of torchvision's (``KINETICS400_V1``) or a local file of the same network; None starts from scratch."""
    drop_path: float = 0.1
    """Rate of stochastic depth in the last block; it grows linearly from 0 in the first."""

    def __post_init__(self) -> None:
        _require(0 <= self.drop_path < 1, f"drop_path={self.drop_path} must lie in [0, 1)")


@dataclass(frozen=True)
class ResNet3DConfig:
    """3D ResNet over face frames.

    With weights, BatchNorm keeps their statistics and never learns new ones; from scratch it is replaced by GroupNorm.
    Either way a clip's answer does not depend on the clips beside it, nor on those whose video is missing.
    """

    modality: ClassVar[Modality] = "video"

    encoder: Literal["resnet3d"]
    variant: Literal["slow_r50", "r3d_18", "tiny"] = "slow_r50"
    """``slow_r50``: pytorchvideo's, 8 frames at 224. ``r3d_18``: torchvision's, 16 at 112. ``tiny``: 8 at 64."""
    weights: str | None = None
    """``KINETICS400`` (slow_r50), a name of torchvision's (r3d_18: ``KINETICS400_V1``), or a local file."""


@dataclass(frozen=True)
class WaveCNNConfig:
    """Strided 1D CNN over the raw waveform."""

    modality: ClassVar[Modality] = "audio"

    encoder: Literal["wave_cnn"]
    variant: Literal["base", "tiny"] = "base"
    """``base``: 512 channels, the seven-block layout of wav2vec 2.0's encoder, 50 tokens a second. ``tiny``: 64, 25."""
    dropout: float = 0.1
    """Rate at which whole channels of a block are dropped in training."""
    normalise: bool = False
    """Bring each window to unit power, as wav2vec 2.0 does: neither the microphone nor loudness matters then."""

    def __post_init__(self) -> None:
        _require(0 <= self.dropout < 1, f"dropout={self.dropout} must lie in [0, 1)")


StreamConfig = MViTConfig | ResNet3DConfig | WaveCNNConfig
"""One encoder reading one modality; ``encoder`` says which."""


@dataclass(frozen=True)
class FusionConfig:
    """Transformer over the tokens of all streams, read out by one learned query."""

    dim: int = 256
    """Width of the fused tokens."""
    depth: int = 4
    """Transformer layers."""
    heads: int = 8
    """Attention heads; must divide ``dim``."""
    dropout: float = 0.1
    """Rate of dropout inside the layers and before the classifier."""
    max_tokens: int = 512
    """Longest stream, in tokens, that has time embeddings."""

    def __post_init__(self) -> None:
        _require(min(self.dim, self.depth, self.heads, self.max_tokens) > 0, f"{self} has a size that is not positive")
        _require(
            self.dim % self.heads == 0,
            f"fusion.dim={self.dim} is not a multiple of fusion.heads={self.heads}; change one of them",
        )
        _require(0 <= self.dropout < 1, f"fusion.dropout={self.dropout} must lie in [0, 1)")


@dataclass(frozen=True)
class ModelConfig:
    """A whole model: what ``build_model`` takes and what a checkpoint keeps."""

    streams: dict[str, StreamConfig]
    """The model's encoders by the name of their stream, as ``face: {encoder: mvit, variant: tiny}``."""
    labels: LabelSetName | tuple[str, ...] = "ravdess8"
    """A label set by name, or the class names themselves."""
    clip: ClipConfig = field(default_factory=ClipConfig)
    """What is cut from a clip before any encoder sees it."""
    fusion: FusionConfig = field(default_factory=FusionConfig)
    """How the streams become one answer."""
    modality_dropout: float = 0.2
    """Chance of each modality of a clip to be hidden in training; where all would be, none is."""

    def __post_init__(self) -> None:
        _require(len(self.streams) > 0, "model.config.streams is empty; name at least one stream")
        for name in self.streams:
            _require(
                name.isidentifier() and name.islower(),
                f"stream name {name!r} is not a lower-case identifier, such as 'face' or 'voice'",
            )
        _require(0 <= self.modality_dropout < 1, f"modality_dropout={self.modality_dropout} must lie in [0, 1)")
        label_set(self.labels)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What the model reads, each modality once, in the order of the streams."""
        return tuple(dict.fromkeys(stream.modality for stream in self.streams.values()))

    @property
    def label_set(self) -> LabelSet:
        """The classes of the model's outputs."""
        return label_set(self.labels)


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
        _require(
            (self.detector == "yunet") == (self.detector_model is not None),
            f"detector={self.detector} and detector_model={self.detector_model} do not go together: "
            "yunet wants the path or URL of its ONNX file, the others want none",
        )
        _require(self.detect_every >= 1, f"detect_every={self.detect_every} must be at least 1")
        _require(self.detect_size >= 64, f"detect_size={self.detect_size} must be at least 64 pixels")
        _require(self.size >= 16, f"size={self.size} must be at least 16 pixels")
        _require(0 <= self.margin <= 2, f"margin={self.margin} must lie in [0, 2]")
        _require(1 <= self.quality <= 100, f"quality={self.quality} must lie in 1 to 100")
        _require(self.sample_rate > 0, f"sample_rate={self.sample_rate} must be positive, in Hz")
        _require(self.max_seconds > 0, f"max_seconds={self.max_seconds} must be positive")
        for name in self.features:
            _require(
                name.isidentifier() and name.islower(),
                f"feature stream {name!r} is not a lower-case identifier, such as 'action_units'",
            )
            _require(
                name not in get_args(Modality) and self.features.count(name) == 1,
                f"feature stream {name!r} is taken; give every stream a name of its own, not {_MODALITIES}",
            )


@dataclass(frozen=True)
class SplitConfig:
    """Who trains, who chooses the checkpoint and who is tested. No speaker is in two parts, unless ``allow_leak``."""

    protocol: str = "contig6"
    """``contig6``, ``luna5``, ``emobox6``, ``chuma5``, ``mitseas:audio``, ``mitseas:combination``: RAVDESS's folds;
    ``crema5``: CREMA-D's; ``loso``: leave one speaker out; ``contig:K``: K folds of neighbours, of who is there;
    ``group-kfold:K``: K folds of about as many clips; ``speakers``: the lists below; ``table``: a column or a table
    says it; ``random_leaky``: clips at random, to measure the leak."""
    fold: int = 1
    """Which fold is tested, from 1; its validation speakers are the test speakers of the next, unless the protocol
    names others."""
    test: tuple[int | str, ...] = ()
    """Speakers of the test part (``speakers`` only); none where a model is trained for use and not for a score. Among
    several corpora a name says whose, as ``ravdess:3``."""
    validation: tuple[int | str, ...] = ()
    """Speakers of the validation part (``speakers`` only); none keeps the last checkpoint instead of the best."""
    train: tuple[int | str, ...] | None = None
    """Speakers of the training part (``speakers`` only); None takes everyone else."""
    column: str = "split"
    """Column that says ``train``, ``validation`` or ``test`` (``table`` only); who has no word takes no part."""
    file: str | None = None
    """CSV table with ``key`` and that column, as ``mmer split --output`` writes it (``table`` only); None takes the
    column of the manifest."""
    seed: int = 0
    """Seed of ``random_leaky``."""
    allow_leak: bool = False
    """Run although a speaker, a take or a sound is in two parts, as in some owners' splits; all results are marked."""
    duplicates: Literal["refuse", "drop"] = "refuse"
    """What to do with clips whose sound is that of another clip, to the sample: refuse them, or keep the first."""


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes to training clips; each is drawn once a clip, so that a clip stays consistent over time.

    Only mixing is drawn once a batch. Nothing shifts a voice against its face: ``jitter`` and ``speed`` move and
    stretch both together.
    """

    flip: float = 0.5
    """Chance of a horizontal flip."""
    rotate: float = 10.0
    """Largest rotation, in degrees."""
    zoom: tuple[float, float] = (0.85, 1.15)
    """Smallest and largest scale; above 1 crops the face, below 1 leaves a black border. ``[1, 1]`` keeps it."""
    shift: float = 0.08
    """Largest translation, as a share of the frame's side."""
    light: float = 0.3
    """Largest change of brightness, contrast and saturation, as a share."""
    rand_augment: int = 0
    """Operations of RandAugment (Cubuk et al. 2020, arXiv:1909.13719) for each clip; 0 for none."""
    rand_magnitude: int = 9
    """Strength of these operations, 0 to 30."""
    erase: float = 0.0
    """Chance that a rectangle is black in all frames (Zhong et al. 2020, arXiv:1708.04896)."""
    mixup: float = 0.0
    """Alpha of mixup (Zhang et al. 2018, arXiv:1710.09412): pairs of a batch's clips are blended, face and voice with
    one share, and learned as so much of each label; 0 for none. Training scores then count the larger share's label."""
    cutmix: float = 0.0
    """Alpha of cutmix (Yun et al. 2019, arXiv:1905.04899): a rectangle of all frames is another clip's, and the voices
    are blended with its share; 0 for none. Beside mixup, each batch takes one of the two at random."""
    gain: float = 3.0
    """Largest change of the voice's level, in dB."""
    noise: tuple[float, float] | None = (20.0, 40.0)
    """Lowest and highest signal-to-noise ratio of added white noise, in dB; null for none."""
    speed: float = 0.0
    """Largest change of speed, as a share: 0.1 plays face and voice at 0.9 to 1.1 times theirs, pitch included."""
    jitter: float = 0.1
    """Largest shift of the window in time, as a share of its length."""

    def __post_init__(self) -> None:
        for name in ("flip", "erase"):
            _require(0 <= getattr(self, name) <= 1, f"augment.{name}={getattr(self, name)} must lie in [0, 1]")
        for name in ("shift", "light", "jitter"):
            _require(0 <= getattr(self, name) < 1, f"augment.{name}={getattr(self, name)} must lie in [0, 1)")
        for name in ("rotate", "gain", "rand_augment", "mixup", "cutmix"):
            _require(getattr(self, name) >= 0, f"augment.{name}={getattr(self, name)} must not be negative")
        _require(0 <= self.speed <= 0.5, f"augment.speed={self.speed} must lie in [0, 0.5]")
        _require(0 <= self.rand_magnitude <= 30, f"augment.rand_magnitude={self.rand_magnitude} must lie in 0 to 30")
        _require(
            0 < self.zoom[0] <= self.zoom[1],
            f"augment.zoom={list(self.zoom)} must be two positive scales, the smaller first, as [0.8, 1.4]",
        )
        _require(
            self.noise is None or self.noise[0] <= self.noise[1],
            f"augment.noise={self.noise and list(self.noise)} must be two ratios in dB, the lower first, as [15, 30]",
        )


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
            _require(getattr(self, name) >= 0, f"spec_augment.{name}={getattr(self, name)} must not be negative")
        _require(0 <= self.span_share < 1, f"spec_augment.span_share={self.span_share} must lie in [0, 1)")


T = TypeVar("T")


def to_plain(config: Any) -> Any:
    """Turn a config into dictionaries, lists and scalars: what JSON, YAML and ``weights_only`` checkpoints can hold."""
    return TypeAdapter(type(config)).dump_python(config, mode="json")


def from_plain(kind: type[T], data: Any) -> T:
    """Read back what :func:`to_plain` wrote.

    Raises:
        CheckpointError: The data do not describe a valid ``kind``; the first fault is named.
    """
    try:
        return TypeAdapter(kind).validate_python(data)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "its top"
        raise CheckpointError(f"the stored {kind.__name__} is not readable at {where!r}: {fault['msg']}") from error
    except ConfigError as error:
        raise CheckpointError(f"the stored {kind.__name__} is not valid: {error}") from error
