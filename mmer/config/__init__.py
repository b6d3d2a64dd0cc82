"""What describes a model and a data set: frozen dataclasses of plain values, without torch.

The signatures are the schema. ``train.py`` builds its command line and its ``--help`` from them, checks every value
against them before a model exists, and a checkpoint keeps them as plain dictionaries.
"""

from mmer.config.audio import (
    AudioConfig,
    MelCNNConfig,
    MelConfig,
    MelPatchesConfig,
    SpecAugmentConfig,
    SpeechConfig,
    SpeechVariant,
    WaveCNNConfig,
)
from mmer.config.augment import AugmentConfig
from mmer.config.clip import ClipConfig, Modality
from mmer.config.compute import ComputeConfig
from mmer.config.features import FeaturesConfig
from mmer.config.fusion import (
    CrossAttentionFusionConfig,
    EarlyFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    MeanFusionConfig,
    TransformerFusionConfig,
)
from mmer.config.model import ModelConfig, StreamConfig
from mmer.config.optim import AveragingConfig, OptimConfig
from mmer.config.plain import from_plain, to_plain
from mmer.config.prepare import PrepareConfig
from mmer.config.shards import ShardConfig
from mmer.config.split import SplitConfig
from mmer.config.temporal import LSTMConfig, SelfAttentionConfig, TemporalConfig
from mmer.config.text import TextConfig, TextHFConfig
from mmer.config.video import Face48Config, FramesConfig, MViTConfig, ResNet3DConfig, VideoPatchesConfig

__all__ = [
    "AudioConfig",
    "AugmentConfig",
    "AveragingConfig",
    "ClipConfig",
    "ComputeConfig",
    "CrossAttentionFusionConfig",
    "EarlyFusionConfig",
    "Face48Config",
    "FramesConfig",
    "FeaturesConfig",
    "FusionConfig",
    "GatedFusionConfig",
    "LSTMConfig",
    "MViTConfig",
    "MeanFusionConfig",
    "MelCNNConfig",
    "MelConfig",
    "MelPatchesConfig",
    "Modality",
    "ModelConfig",
    "OptimConfig",
    "PrepareConfig",
    "ResNet3DConfig",
    "SelfAttentionConfig",
    "ShardConfig",
    "SpecAugmentConfig",
    "SpeechConfig",
    "SpeechVariant",
    "SplitConfig",
    "StreamConfig",
    "TemporalConfig",
    "TextConfig",
    "TextHFConfig",
    "TransformerFusionConfig",
    "VideoPatchesConfig",
    "WaveCNNConfig",
    "from_plain",
    "to_plain",
]
