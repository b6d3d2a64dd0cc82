from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mmer.config import (
    AugmentConfig,
    ClipConfig,
    ModelConfig,
    MViTConfig,
    PrepareConfig,
    ResNet3DConfig,
    SplitConfig,
    TransformerFusionConfig,
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
    FACE,
    MOTION,
    VOICE,
    MODEL,
    ModelConfig(
        {"voice": VOICE},
        ("yes", "no"),
        ClipConfig(1.5, 4, 8_000),
        TransformerFusionConfig(dim=32, depth=1, heads=2, dropout=0.0, max_tokens=9),
        0.5,
    ),
    ClipConfig(seconds=2.0),
    TransformerFusionConfig(dim=96),
    PrepareConfig(detector="none", size=96, max_seconds=5),
    SplitConfig("speakers", test=(1, "anna"), validation=(2,), train=("bob",)),
    SplitConfig(fold=4),
    AugmentConfig(flip=0.0),
)

MISTAKES = {
    "clip.seconds=0 must be positive": lambda: ClipConfig(seconds=0),
    "clip.frames=-1 must be positive": lambda: ClipConfig(frames=-1),
    "clip.sample_rate=0 must be positive, in Hz": lambda: ClipConfig(sample_rate=0),
    "drop_path=1.0 must lie in [0, 1)": lambda: MViTConfig("mvit", drop_path=1.0),
    "dropout=-0.1 must lie in [0, 1)": lambda: WaveCNNConfig("wave_cnn", dropout=-0.1),
    "depth=0, heads=8, dropout=0.1, max_tokens=512) has a size that is not positive": lambda: TransformerFusionConfig(
        depth=0
    ),
    "fusion.dim=100 is not a multiple of fusion.heads=8; change one of them": lambda: TransformerFusionConfig(dim=100),
    "fusion.dropout=1.5 must lie in [0, 1)": lambda: TransformerFusionConfig(dropout=1.5),
    "model.config.streams is empty; name at least one stream": lambda: ModelConfig({}),
    "stream name 'my face' is not a lower-case identifier, such as 'face'": lambda: ModelConfig({"my face": FACE}),
    "stream name 'Face' is not a lower-case identifier, such as 'face'": lambda: ModelConfig({"Face": FACE}),
    "modality_dropout=1 must lie in [0, 1)": lambda: ModelConfig({"face": FACE}, modality_dropout=1),
    "label set 'eight' is unknown": lambda: ModelConfig({"face": FACE}, labels="eight"),
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
