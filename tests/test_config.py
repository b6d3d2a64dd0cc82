from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mmer.config import (
    AugmentConfig,
    ClipConfig,
    CrossAttentionFusionConfig,
    EarlyFusionConfig,
    Face48Config,
    FeaturesConfig,
    FramesConfig,
    GatedFusionConfig,
    LSTMConfig,
    MeanFusionConfig,
    MelCNNConfig,
    MelConfig,
    MelPatchesConfig,
    ModelConfig,
    MViTConfig,
    PrepareConfig,
    ResNet3DConfig,
    SelfAttentionConfig,
    SpecAugmentConfig,
    SpeechConfig,
    SplitConfig,
    TextConfig,
    TextHFConfig,
    TransformerFusionConfig,
    VideoPatchesConfig,
    WaveCNNConfig,
    from_plain,
    to_plain,
)
from mmer.errors import CheckpointError, ConfigError

FACE = MViTConfig("mvit", variant="tiny", weights="face.pt", drop_path=0.2)
MOTION = ResNet3DConfig("resnet3d", variant="r3d_18", weights="KINETICS400_V1")
VOICE = WaveCNNConfig("wave_cnn", variant="tiny", dropout=0.0)
MODEL = ModelConfig({"face": FACE, "motion": MOTION, "voice": VOICE}, labels="ekman7")

CONFIGS = (
    WaveCNNConfig("wave_cnn", frames=16),
    MelCNNConfig("mel_cnn", MelConfig(spec_augment=None), (8, 16), window=0.5, temporal=LSTMConfig("lstm", width=8)),
    MelPatchesConfig("mel_patches", MelConfig(spec_augment=SpecAugmentConfig(bands=1)), steps=4),
    SpeechConfig("speech", variant="HUBERT_BASE", weights="hubert.pt", trainable=2),
    FACE,
    MOTION,
    VOICE,
    MODEL,
    ModelConfig(
        {"voice": VOICE},
        ("yes", "no"),
        ClipConfig(1.5, 4),
        TransformerFusionConfig(dim=32, depth=1, heads=2, dropout=0.0, max_tokens=9),
        0.5,
    ),
    ModelConfig({"words": TextConfig("text", temporal=LSTMConfig("lstm")), "pretrained": TextHFConfig("text_hf")}),
    ModelConfig({"table": FeaturesConfig("features", "units", 35, temporal=SelfAttentionConfig("transformer"))}),
    FramesConfig("frames", weights="timm", trainable="none", temporal=LSTMConfig("lstm", width=8)),
    Face48Config("face48", temporal=SelfAttentionConfig("transformer", width=8, heads=2)),
    VideoPatchesConfig("video_patches", patch=8),
    ClipConfig(seconds=2.0),
    TransformerFusionConfig(dim=96),
    ModelConfig({"voice": VOICE}, fusion=MeanFusionConfig("mean", dim=8), head="frame", frame_mean="probabilities"),
    ModelConfig({"face": FACE, "voice": VOICE}, fusion=CrossAttentionFusionConfig("cross_attention", dim=8)),
    ModelConfig(
        {"face": FACE, "voice": VOICE}, fusion=GatedFusionConfig("gated"), missing="copies", modality_dropout=0
    ),
    ModelConfig({"face": FACE, "voice": VOICE}, fusion=EarlyFusionConfig("early", LSTMConfig("lstm", causal=False))),
    PrepareConfig(detector="none", size=96, max_seconds=5),
    SplitConfig("speakers", test=(1, "anna"), validation=(2,), train=("bob",)),
    SplitConfig(fold=4),
    AugmentConfig(flip=0.0),
)

MISTAKES = {
    "frames: size=0 must be positive, in pixels": lambda: FramesConfig("frames", size=0),
    "trainable=none without weights would keep random filters; give weights, or trainable=all": lambda: FramesConfig(
        "frames", trainable="none"
    ),
    "video_patches: tubelet=0 must be positive": lambda: VideoPatchesConfig("video_patches", tubelet=0),
    "video_patches: frames=15 is not a multiple of tubelet=2; change one": lambda: VideoPatchesConfig(
        "video_patches", frames=15
    ),
    "video_patches: size=100 is not a multiple of patch=16; change one": lambda: VideoPatchesConfig(
        "video_patches", size=100
    ),
    "stream voice hears frames=128 video frames, 4.27 s, of a window of clip.seconds=3.6; lower frames, or raise": (
        lambda: ModelConfig({"voice": WaveCNNConfig("wave_cnn", frames=128)}, clip=ClipConfig(3.6))
    ),
    "stream voice hears frames=16 video frames of the window, and fusion.kind=early and head=frame take": (
        lambda: ModelConfig(
            {"voice": WaveCNNConfig("wave_cnn", frames=16)}, fusion=EarlyFusionConfig("early", LSTMConfig("lstm"))
        )
    ),
    "set frames to null, or shorten clip.seconds": lambda: ModelConfig(
        {"voice": WaveCNNConfig("wave_cnn", frames=16)}, fusion=MeanFusionConfig("mean"), head="frame"
    ),
    "clip.seconds=0 must be positive": lambda: ClipConfig(seconds=0),
    "clip.frames=-1 must be positive": lambda: ClipConfig(frames=-1),
    "clip.sample_rate=0 must be positive, in Hz": lambda: ClipConfig(sample_rate=0),
    "drop_path=1.0 must lie in [0, 1)": lambda: MViTConfig("mvit", drop_path=1.0),
    "dropout=-0.1 must lie in [0, 1)": lambda: WaveCNNConfig("wave_cnn", dropout=-0.1),
    "frames=0 must be a number of video frames, as 16 or 64": lambda: WaveCNNConfig("wave_cnn", frames=0),
    "frame_rate=0 must be positive, in Hz": lambda: WaveCNNConfig("wave_cnn", frame_rate=0),
    "mel.bins=0 must be positive": lambda: MelConfig(bins=0),
    "mel.hop=0.03 must be positive and at most mel.window=0.02": lambda: MelConfig(hop=0.03, window=0.02),
    "mel.low=50.0 and mel.high=9000 must be two frequencies in [0, 8000] Hz": lambda: MelConfig(high=9000),
    "channels=[16, 0] must be positive numbers": lambda: MelCNNConfig("mel_cnn", channels=(16, 0)),
    "dim=0 must be positive": lambda: MelCNNConfig("mel_cnn", dim=0),
    "dropout=1 must lie in [0, 1)": lambda: MelCNNConfig("mel_cnn", dropout=1),
    "window=0.01 must be null or at least two columns": lambda: MelCNNConfig("mel_cnn", window=0.01),
    "mel_patches: steps=0 must be positive": lambda: MelPatchesConfig("mel_patches", steps=0),
    "bins=24 of a patch must divide mel.bins=64": lambda: MelPatchesConfig("mel_patches", bins=24),
    "trainable=0 must be none, all, or how many": lambda: SpeechConfig("speech", trainable=0),
    "variant=tiny has no weights of its own, so trainable=none would freeze noise; set trainable=all": (
        lambda: SpeechConfig("speech", variant="tiny")
    ),
    "clip.sample_rate=8000, and encoders of the voice are made for 16000 Hz": lambda: ModelConfig(
        {"voice": VOICE}, clip=ClipConfig(sample_rate=8000)
    ),
    "fusion.depth=0 must be positive": lambda: TransformerFusionConfig(depth=0),
    "fusion.dim=100 is not a multiple of fusion.heads=8; change one of them": lambda: TransformerFusionConfig(dim=100),
    "fusion.dropout=1.5 must lie in [0, 1)": lambda: TransformerFusionConfig(dropout=1.5),
    "fusion.dropout=1 must lie in [0, 1)": lambda: MeanFusionConfig("mean", dropout=1),
    "fusion.dropout=-1 must lie in [0, 1)": lambda: GatedFusionConfig("gated", dropout=-1),
    "fusion.dropout=2 must lie in [0, 1)": lambda: CrossAttentionFusionConfig("cross_attention", dropout=2),
    "fusion.dropout=3 must lie in [0, 1)": lambda: EarlyFusionConfig("early", LSTMConfig("lstm"), dropout=3),
    "fusion.dim=0 must be positive": lambda: MeanFusionConfig("mean", dim=0),
    "fusion.dim=-1 must be positive": lambda: GatedFusionConfig("gated", dim=-1),
    "fusion.steps=0 must be positive": lambda: EarlyFusionConfig("early", LSTMConfig("lstm"), steps=0),
    "fusion.dim=30 is not a multiple of fusion.heads=8; change one of them": lambda: CrossAttentionFusionConfig(
        "cross_attention", dim=30
    ),
    "model.config.streams is empty; name at least one stream": lambda: ModelConfig({}),
    "stream name 'my face' is not a lower-case identifier, such as 'face'": lambda: ModelConfig({"my face": FACE}),
    "stream name 'Face' is not a lower-case identifier, such as 'face'": lambda: ModelConfig({"Face": FACE}),
    "modality_dropout=1 must lie in [0, 1)": lambda: ModelConfig({"face": FACE}, modality_dropout=1),
    "label set 'eight' is unknown": lambda: ModelConfig({"face": FACE}, labels="eight"),
    "clip.tokens=4 must be at least 8": lambda: ClipConfig(tokens=4),
    "vocabulary=100 must be at least 300: 256 bytes and some words": lambda: TextConfig("text", vocabulary=100),
    "token_dropout=1 must lie in [0, 1)": lambda: TextConfig("text", token_dropout=1),
    "model is empty; give a name on the Hugging Face hub, or a local folder": lambda: TextHFConfig("text_hf", ""),
    "last_layers=0 must be positive; trainable: none trains none": lambda: TextHFConfig("text_hf", last_layers=0),
    "features='Action units' is no name of a stream, such as 'action_units'": lambda: FeaturesConfig(
        "features", "Action units", 35
    ),
    "features='text' is no name of a stream": lambda: FeaturesConfig("features", "text", 35),
    "percentile=0 must lie in (0, 100]": lambda: FeaturesConfig("features", "units", 35, percentile=0),
    "streams give the features units the widths [35, 36]; they have one": lambda: ModelConfig(
        {"a": FeaturesConfig("features", "units", 35), "b": FeaturesConfig("features", "units", 36)}
    ),
    "size=8 must be at least 16 pixels": lambda: PrepareConfig(size=8),
    "margin=3 must lie in [0, 2]": lambda: PrepareConfig(margin=3),
    "detect_every=0 must be at least 1": lambda: PrepareConfig(detect_every=0),
    "quality=0 must lie in 1 to 100": lambda: PrepareConfig(quality=0),
    "sample_rate=-8000 must be positive, in Hz": lambda: PrepareConfig(sample_rate=-8000),
    "max_seconds=0 must be positive": lambda: PrepareConfig(max_seconds=0),
}


@pytest.mark.parametrize(("message", "make"), MISTAKES.items(), ids=MISTAKES)
def test_a_value_that_cannot_work_is_refused_with_what_can(message: str, make: Callable[[], object]) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_config_survives_plain_data_and_json(config: Any) -> None:
    plain = to_plain(config)
    assert from_plain(type(config), plain) == config
    assert from_plain(type(config), json.loads(json.dumps(plain))) == config


def test_what_a_model_reads_comes_once_each_in_the_order_of_the_streams() -> None:
    assert MODEL.reads == ("video", "audio")
    assert ModelConfig({"voice": VOICE, "face": FACE}).reads == ("audio", "video")
    units = FeaturesConfig("features", "units", 35)
    several = ModelConfig({"table": units, "face": FACE, "again": units, "words": TextConfig("text")})
    assert several.reads == ("units", "video", "text")
    assert several.widths == {"units": 35}


def test_the_model_s_label_set_is_that_of_its_labels() -> None:
    assert MODEL.label_set.name == "ekman7"
    assert ModelConfig({"voice": VOICE}, ("yes", "no")).label_set.names == ("yes", "no")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"streams": {"face": {"encoder": "vgg"}}}, "the stored ModelConfig is not readable at 'streams.face."),
        ({"clip": {"frames": "many"}}, "the stored ModelConfig is not readable at 'clip.frames': Input should be"),
        ({"labels": 8}, 'the stored ModelConfig is not readable at "labels.'),
        ({"clip": {"frames": 0}}, "the stored ModelConfig is not valid: clip.frames=0 must be positive"),
    ],
)
def test_stored_nonsense_is_refused_and_its_place_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError) as error:
        from_plain(ModelConfig, {**to_plain(MODEL), **changes})
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_stored_config_without_a_required_value_is_refused() -> None:
    with pytest.raises(CheckpointError, match="the stored ModelConfig is not readable at 'streams': Field required"):
        from_plain(ModelConfig, {})


def test_what_is_no_dictionary_at_all_is_refused() -> None:
    with pytest.raises(CheckpointError, match="the stored ClipConfig is not readable at 'its top'"):
        from_plain(ClipConfig, "nonsense")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"flip": 2}, r"augment.flip=2 must lie in \[0, 1\]"),
        ({"light": -1}, r"augment.light=-1 must lie in \[0, 1\)"),
        ({"rotate": -5}, "augment.rotate=-5 must not be negative"),
        ({"erase": 1.5}, r"augment.erase=1.5 must lie in \[0, 1\]"),
        ({"shift": 1}, r"augment.shift=1 must lie in \[0, 1\)"),
        ({"zoom": (0.0, 1.0)}, r"augment.zoom=\[0.0, 1.0\] must be two positive scales, the smaller first, as"),
        ({"zoom": (1.4, 0.8)}, r"augment.zoom=\[1.4, 0.8\] must be two positive scales, the smaller first, as"),
        ({"noise": (30.0, 15.0)}, r"augment.noise=\[30.0, 15.0\] must be two ratios in dB, the lower first, as"),
        ({"mixup": -0.1}, "augment.mixup=-0.1 must not be negative"),
        ({"cutmix": -1}, "augment.cutmix=-1 must not be negative"),
        ({"rand_augment": -1}, "augment.rand_augment=-1 must not be negative"),
        ({"rand_magnitude": 31}, "augment.rand_magnitude=31 must lie in 0 to 30"),
        ({"speed": 0.6}, r"augment.speed=0.6 must lie in \[0, 0.5\]"),
    ],
)
def test_augmentation_that_cannot_be_is_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AugmentConfig(**setting)


def test_a_fault_is_that_of_what_the_data_say_they_are() -> None:
    plain = to_plain(ModelConfig({"voice": VOICE}, fusion=MeanFusionConfig("mean")))
    for change, where in (
        ({"fusion": {"kind": "mean", "dim": "wide"}}, "fusion.dim"),
        ({"streams": {"voice": {"encoder": "mel_cnn", "dim": "wide"}}}, "streams.voice.dim"),
    ):
        with pytest.raises(
            CheckpointError, match=f"the stored ModelConfig is not readable at '{where}': Input should be a"
        ):
            from_plain(ModelConfig, plain | change)
