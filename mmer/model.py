"""The model: streams, fusion, classifier. The one place where configs meet modules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmer.batch import Batch, Tokens
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
)
from mmer.encoders.audio.mel import MelCNN, MelPatches
from mmer.encoders.audio.speech import Speech
from mmer.encoders.audio.wave import WaveCNN
from mmer.encoders.features import Features
from mmer.encoders.stepwise import Stepwise
from mmer.encoders.text import Text
from mmer.encoders.text_hf import TextHF, fetch_tokenizer
from mmer.encoders.video.face48 import build_face48
from mmer.encoders.video.frames import build_frames
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
from mmer.missing import copy_batch, hide_modalities
from mmer.temporal import Carried, mean_of_steps
from mmer.tokenizer import Tokenizer

Fusion = TransformerFusion | MeanFusion | CrossAttentionFusion | GatedFusion | EarlyFusion
"""What fuses streams: it has a ``dim``, fuses tokens by stream, and ``attend`` says where the answer came from."""


class Encoder(Protocol):
    """What a stream's module offers; any ``nn.Module`` with a ``dim`` and this call is one."""

    dim: int

    def __call__(self, x: Tensor, mask: Bool[Tensor, "b n"]) -> Tokens:
        """Encode one modality of a batch."""


@dataclass(frozen=True, slots=True)
class Output:
    """What a model answers.

    Args:
        logits: Scores of the classes, before softmax.
        stream_logits: In training, what each stream would say alone, by its name; empty otherwise. Without a loss of
            its own a stream that learns slowly never starts (Wang et al. 2020, arXiv:1905.12681).
        frames: Scores of the classes for every step, [b t c], of a model whose head is ``frame``.
        copies: In training with ``missing: copies``, the scores of each further copy of the clips: with soft weights,
            and without each modality. Each is learned as the first is, with the same labels.
    """

    logits: Float[Tensor, "b c"]
    stream_logits: Mapping[str, Float[Tensor, "b c"]] = field(default_factory=dict)
    frames: Tokens | None = None
    copies: tuple[Float[Tensor, "b c"], ...] = ()


class EmotionModel(nn.Module):
    """Encoders, one a stream, whose tokens are fused into one answer.

    Args:
        config: What the model was built from.
        encoders: The streams' encoders by name.
        tokenizer: What makes token ids of the words that they read; None where they read none.
    """

    def __init__(
        self, config: ModelConfig, encoders: Mapping[str, nn.Module], tokenizer: Tokenizer | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.reads = {name: stream.reads for name, stream in config.streams.items()}
        self.tokenizer = tokenizer
        self.encoders = nn.ModuleDict(encoders)
        dims = {name: int(encoder.dim) for name, encoder in encoders.items()}  # type: ignore[arg-type]
        self.fusion = build_fusion(dims, config.fusion)
        classes = len(config.label_set.names)
        self.head = nn.Sequential(nn.Dropout(config.fusion.dropout), nn.Linear(self.fusion.dim, classes))
        self.stream_heads = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes)) for name, dim in dims.items()}
        )

    def forward(self, batch: Batch) -> Output:
        """Recognise the emotion of each clip from whatever modalities it has."""
        tokens = self.encode(batch)
        if not self.training:
            logits, frames = self._answer(tokens)
            return Output(logits, frames=frames)
        alone = {name: head(mean_of_steps(tokens[name])) for name, head in self.stream_heads.items()}
        if self.config.missing == "copies":
            copied, count = copy_batch(tokens, self.reads)
            logits, *copies = self.answer(copied).chunk(count)
            return Output(logits, alone, copies=tuple(copies))
        if self.config.modality_dropout > 0:
            tokens = hide_modalities(tokens, self.reads, self.config.modality_dropout)
        logits, frames = self._answer(tokens)
        return Output(logits, alone, frames)

    def encode(self, batch: Batch) -> dict[str, Tokens]:
        """Return the tokens of each stream by its name."""
        return {name: encoder(*batch.read(self.reads[name])) for name, encoder in self.encoders.items()}

    def answer(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "b c"]:
        """Return the scores of the classes, of the tokens of every stream; a stream whose mask is False is missing."""
        return self._answer(tokens)[0]

    def attention(self, tokens: Mapping[str, Tokens]) -> Mapping[str, Float[Tensor, "b t"]]:
        """Return which share of the answer's attention went to each token of each stream.

        The shares of a clip add up to at most 1; the rest stayed with the fusion's own query. A fusion that looks at
        no token in particular has none.
        """
        return self.fusion.attend(tokens)[1]

    def advance(self, batch: Batch, steps: int, past: Carried | None = None) -> tuple[Tokens, Carried]:
        """Answer for the next steps of clips that are read piece by piece; only a causal model can.

        The answers are those that the whole clips would have got at these steps.

        Args:
            batch: A piece of each clip.
            steps: How many steps of the fusion's clock it lasts.
            past: What is kept of the pieces before.

        Returns:
            Scores of the classes for every step, [b t c], and what to keep for the next piece.
        """
        assert isinstance(self.fusion, EarlyFusion), "only a fusion with a clock can be causal"
        hidden, past = self.fusion.advance(self.encode(batch), steps, past)
        return Tokens(self.head(hidden.x), hidden.mask), past

    def _answer(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b c"], Tokens | None]:
        """Return the scores of the clips, and of their steps where the head gives them."""
        if self.config.head == "clip":
            return self.head(self.fusion(tokens)), None
        assert isinstance(self.fusion, MeanFusion | EarlyFusion), "the config refuses a fusion without steps"
        hidden = self.fusion.steps(tokens)
        frames = Tokens(self.head(hidden.x), hidden.mask)
        if self.config.frame_mean == "logits":
            return mean_of_steps(frames), frames
        mean = mean_of_steps(Tokens(frames.x.softmax(dim=2), frames.mask))
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).log(), frames


def build_model(config: ModelConfig, *, load: bool = True, tokenizer: Tokenizer | None = None) -> EmotionModel:
    """Build a model.

    Args:
        config: Its description.
        load: Whether to load the weights that the streams name; False when a checkpoint brings its own.
        tokenizer: The tokenizer of a model that reads text: :func:`build_tokenizer`'s, or the checkpoint's own.

    Raises:
        CheckpointError: A stream's weights cannot be had or do not fit.
        ConfigError: The streams do not fit together, or words are read without a tokenizer.
    """
    reserved = sorted(set(dir(nn.ModuleDict())) & set(config.streams))
    if reserved:
        raise ConfigError(f"stream name {reserved[0]!r} is reserved by PyTorch; call the stream otherwise")
    encoders = {name: build_encoder(stream, load, tokenizer) for name, stream in config.streams.items()}
    if config.causal:
        samples = round(config.clip.seconds * config.clip.sample_rate) // config.clock
        heard = [name for name, stream in config.streams.items() if stream.reads == "audio"]
        encoders |= {name: Stepwise(encoders[name], samples) for name in heard}
    return EmotionModel(config, encoders, tokenizer)


def build_encoder(config: StreamConfig, load: bool = True, tokenizer: Tokenizer | None = None) -> nn.Module:
    """Build one stream's encoder, an :class:`Encoder`; see :func:`build_model`.

    Raises:
        CheckpointError: Its weights cannot be had or do not fit.
        ConfigError: Its settings do not fit together.
    """
    weights = getattr(config, "weights", None) if load else None
    stored = None if weights is None else read_stored(weights)
    encoder = _new_encoder(config, load and stored is None, tokenizer)
    if stored is not None:
        stored.load_into(encoder, config.encoder)
    return encoder


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
