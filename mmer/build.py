"""Encoders, fusions and tokenizers from their descriptions: the one place where configs meet modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from jaxtyping import Bool
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import (
    CrossAttentionFusionConfig,
    EarlyFusionConfig,
    Face48Config,
    FeaturesConfig,
    FramesConfig,
    FusionConfig,
    GatedFusionConfig,
    MeanFusionConfig,
    MelCNNConfig,
    MelPatchesConfig,
    ModelConfig,
    MViTConfig,
    ResNet3DConfig,
    SpeechConfig,
    StreamConfig,
    TextConfig,
    TextHFConfig,
    TransformerFusionConfig,
    VideoPatchesConfig,
    WaveCNNConfig,
    from_plain,
)
from mmer.encoders.audio.mel import MelCNN, MelPatches
from mmer.encoders.audio.speech import Speech
from mmer.encoders.audio.wave import WaveCNN
from mmer.encoders.features import Features
from mmer.encoders.text import Text
from mmer.encoders.text_hf import TextHF, fetch_tokenizer
from mmer.encoders.video.face48 import build_face48
from mmer.encoders.video.frames import build_frames, check_pixels
from mmer.encoders.video.mvit import MViT
from mmer.encoders.video.patches import VideoPatches
from mmer.encoders.video.resnet3d import ResNet3D
from mmer.encoders.weights import read_stored
from mmer.errors import ConfigError
from mmer.fusion.cross_attention import CrossAttentionFusion
from mmer.fusion.early import EarlyFusion
from mmer.fusion.gated import GatedFusion
from mmer.fusion.mean import MeanFusion
from mmer.fusion.transformer import TransformerFusion
from mmer.tokenizer import Tokenizer

Fusion = TransformerFusion | MeanFusion | CrossAttentionFusion | GatedFusion | EarlyFusion
"""What fuses streams: it has a ``dim``, fuses tokens by stream, and ``attend`` says where the answer came from."""


class Encoder(Protocol):
    """What a stream's module offers; any ``nn.Module`` with a ``dim`` and this call is one."""

    dim: int

    def __call__(self, x: Tensor, mask: Bool[Tensor, "b n"]) -> Tokens:
        """Encode one modality of a batch."""


def build_encoder(config: StreamConfig, load: bool = True, tokenizer: Tokenizer | None = None) -> nn.Module:
    """Build one stream's encoder, an :class:`Encoder`; see :func:`~mmer.model.build_model`.

    Raises:
        CheckpointError: Its weights cannot be had or do not fit.
        ConfigError: Its settings do not fit together.
    """
    weights = getattr(config, "weights", None) if load else None
    stored = None if weights is None else read_stored(weights)
    encoder = _new_encoder(config, load and stored is None, tokenizer)
    if stored is not None:
        if isinstance(config, FramesConfig):
            check_pixels(config, from_plain(FramesConfig, stored.config(config.encoder)), f"weights {weights}")
        stored.load_into(encoder, config.encoder)
    return encoder


def random_parameters(config: StreamConfig, encoder: nn.Module) -> set[str]:
    """Return the names of a new encoder's parameters that no weights of its config's bring."""
    names, weights = {name for name, _ in encoder.named_parameters()}, getattr(config, "weights", None)
    fetched = isinstance(config, TextHFConfig) or (isinstance(config, SpeechConfig) and config.variant != "tiny")
    if weights is None and not fetched:
        return names
    stored = None if weights is None else read_stored(weights)
    if stored is None:
        return {name for name in names if name.startswith("temporal.")}
    return names & stored.leaves(encoder, config.encoder)


def _new_encoder(config: StreamConfig, load: bool, tokenizer: Tokenizer | None) -> nn.Module:
    match config:
        case MViTConfig():
            return MViT(config, load)
        case ResNet3DConfig():
            return ResNet3D(config, load)
        case FramesConfig():
            return build_frames(config, load)
        case Face48Config():
            return build_face48(config, load)
        case VideoPatchesConfig():
            return VideoPatches(config)
        case WaveCNNConfig():
            return WaveCNN(config)
        case MelCNNConfig():
            return MelCNN(config)
        case MelPatchesConfig():
            return MelPatches(config)
        case SpeechConfig():
            return Speech(config, load)
        case FeaturesConfig():
            return Features(config)
        case TextConfig():
            return Text(config, _needed(tokenizer))
        case TextHFConfig():
            return TextHF(config, _needed(tokenizer), load)


def build_fusion(dims: Mapping[str, int], config: FusionConfig) -> Fusion:
    """Build what fuses streams of some widths."""
    match config:
        case TransformerFusionConfig():
            return TransformerFusion(dims, config)
        case MeanFusionConfig():
            return MeanFusion(dims, config)
        case CrossAttentionFusionConfig():
            return CrossAttentionFusion(dims, config)
        case GatedFusionConfig():
            return GatedFusion(dims, config)
        case EarlyFusionConfig():
            return EarlyFusion(dims, config)


def build_tokenizer(config: ModelConfig, texts: Iterable[str]) -> Tokenizer | None:
    """Return the tokenizer that a new model's text streams share; None where it reads no text.

    Args:
        config: The model.
        texts: The words of the training clips, and of no others: a vocabulary is learned like weights.

    Raises:
        CheckpointError: A Hugging Face tokenizer cannot be had.
        ConfigError: The text streams want different tokenizers, or there is no word to learn from.
    """
    wanted = {_vocabulary(stream) for stream in config.streams.values() if stream.reads == "text"}
    if len(wanted) > 1:
        names = " and ".join(sorted(str(each) for each in wanted))
        raise ConfigError(
            f"the text streams want different vocabularies ({names}) and a model has one tokenizer; "
            "give them the same 'vocabulary', or the same 'model'"
        )
    if not wanted:
        return None
    vocabulary = wanted.pop()
    if isinstance(vocabulary, str):
        return fetch_tokenizer(vocabulary)
    known = [text for text in texts if text.strip()]
    if not known:
        raise ConfigError("the model reads text and no training clip has words; prepare them with --transcripts")
    return Tokenizer.train(known, vocabulary)


def _vocabulary(config: StreamConfig) -> int | str:
    """Return the size of the vocabulary that a text stream learns, or the model whose vocabulary it has."""
    match config:
        case TextConfig():
            return config.vocabulary
        case TextHFConfig():
            return config.model
    raise AssertionError(f"{config} reads no text")


def _needed(tokenizer: Tokenizer | None) -> Tokenizer:
    if tokenizer is None:
        raise ConfigError("the model reads text and has no tokenizer; train it anew, so that its checkpoint keeps one")
    return tokenizer
