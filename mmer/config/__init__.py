"""What describes a model and a data set: frozen dataclasses of plain values, without torch.

The signatures are the schema. ``train.py`` builds its command line and its ``--help`` from them, checks every value
against them before a model exists, and a checkpoint keeps them as plain dictionaries.
"""

from mmer.config.audio import SpecAugmentConfig, WaveCNNConfig
from mmer.config.augment import AugmentConfig
from mmer.config.clip import ClipConfig, Modality
from mmer.config.fusion import FusionConfig, TransformerFusionConfig
from mmer.config.model import ModelConfig, StreamConfig
from mmer.config.plain import from_plain, to_plain
from mmer.config.prepare import PrepareConfig
from mmer.config.split import SplitConfig
from mmer.config.temporal import LSTMConfig, SelfAttentionConfig, TemporalConfig
from mmer.config.video import MViTConfig, ResNet3DConfig

__all__ = [
    "AugmentConfig",
    "ClipConfig",
    "FusionConfig",
    "LSTMConfig",
    "MViTConfig",
    "Modality",
    "ModelConfig",
    "PrepareConfig",
    "ResNet3DConfig",
    "SelfAttentionConfig",
    "SpecAugmentConfig",
    "SplitConfig",
    "StreamConfig",
    "TemporalConfig",
    "TransformerFusionConfig",
    "WaveCNNConfig",
    "from_plain",
    "to_plain",
]
