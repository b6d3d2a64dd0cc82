"""The model: streams, fusion, classifier. The one place where configs meet modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mmer.batch import Batch, Tokens
from mmer.config import ModelConfig, MViTConfig, ResNet3DConfig, StreamConfig, WaveCNNConfig
from mmer.encoders.audio import WaveCNN
from mmer.encoders.video import MViT, ResNet3D
from mmer.errors import ConfigError
from mmer.fusion.transformer import TransformerFusion


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
    """

    logits: Float[Tensor, "b c"]
    stream_logits: Mapping[str, Float[Tensor, "b c"]]


class EmotionModel(nn.Module):
    """Encoders, one a stream, whose tokens a transformer fuses into one answer.

    Args:
        config: What the model was built from.
        encoders: The streams' encoders by name.
    """

    def __init__(self, config: ModelConfig, encoders: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.config = config
        self.encoders = nn.ModuleDict(encoders)
        dims = {name: int(encoder.dim) for name, encoder in encoders.items()}  # type: ignore[arg-type]
        self.fusion = TransformerFusion(dims, config.fusion)
        classes = len(config.label_set.names)
        self.head = nn.Sequential(nn.Dropout(config.fusion.dropout), nn.Linear(config.fusion.dim, classes))
        self.stream_heads = nn.ModuleDict(
            {name: nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes)) for name, dim in dims.items()}
        )

    def forward(self, batch: Batch) -> Output:
        """Recognise the emotion of each clip from whatever modalities it has."""
        tokens = self.encode(batch)
        if not self.training:
            return Output(self.answer(tokens), {})
        alone = {name: head(_mean(tokens[name])) for name, head in self.stream_heads.items()}
        if self.config.modality_dropout > 0:
            tokens = self._hide_modalities(tokens)
        return Output(self.answer(tokens), alone)

    def encode(self, batch: Batch) -> dict[str, Tokens]:
        """Return the tokens of each stream by its name."""
        return {name: encoder(*batch.read(self.config.streams[name].reads)) for name, encoder in self.encoders.items()}

    def answer(self, tokens: Mapping[str, Tokens]) -> Float[Tensor, "b c"]:
        """Return the scores of the classes, of the tokens of every stream; a stream whose mask is False is missing."""
        logits: Tensor = self.head(self.fusion(tokens))
        return logits

    def attention(self, tokens: Mapping[str, Tokens]) -> Mapping[str, Float[Tensor, "b t"]]:
        """Return which share of the answer's attention went to each token of each stream.

        The shares of a clip add up to at most 1; the rest stayed with the fusion's own query.
        """
        return self.fusion.attend(tokens)[1]

    def _hide_modalities(self, tokens: Mapping[str, Tokens]) -> dict[str, Tokens]:
        """Mask modalities of random clips, all streams of one together; a clip's last one stays."""
        reads = self.config.reads
        column = [reads.index(self.config.streams[name].reads) for name in tokens]
        first = next(iter(tokens.values())).mask
        present = torch.stack([self._present(tokens, read) for read in reads], dim=1)  # [b m]
        keep = torch.rand(present.shape, device=first.device) >= self.config.modality_dropout
        keep = keep | ~(keep & present).any(dim=1, keepdim=True)
        return {
            name: Tokens(stream.x, stream.mask & keep[:, i, None])
            for i, (name, stream) in zip(column, tokens.items(), strict=True)
        }

    def _present(self, tokens: Mapping[str, Tokens], read: str) -> Bool[Tensor, " b"]:
        streams = [s.mask.any(dim=1) for n, s in tokens.items() if self.config.streams[n].reads == read]
        return torch.stack(streams).any(dim=0)


def _mean(tokens: Tokens) -> Float[Tensor, "b d"]:
    """Return the mean of a stream's real tokens; zero where it has none."""
    count = tokens.mask.sum(dim=1, keepdim=True).clamp(min=1)
    return (tokens.x * tokens.mask.unsqueeze(2)).sum(dim=1) / count


def build_model(config: ModelConfig, *, load: bool = True) -> EmotionModel:
    """Build a model.

    Args:
        config: Its description.
        load: Whether to load the weights that the streams name; False when a checkpoint brings its own.

    Raises:
        CheckpointError: A stream's weights cannot be had or do not fit.
        ConfigError: The streams do not fit together.
    """
    reserved = sorted(set(dir(nn.ModuleDict())) & set(config.streams))
    if reserved:
        raise ConfigError(f"stream name {reserved[0]!r} is reserved by PyTorch; call the stream otherwise")
    return EmotionModel(config, {name: build_encoder(stream, load) for name, stream in config.streams.items()})


def build_encoder(config: StreamConfig, load: bool = True) -> nn.Module:
    """Build one stream's encoder, an :class:`Encoder`."""
    match config:
        case MViTConfig():
            return MViT(config, load)
        case ResNet3DConfig():
            return ResNet3D(config, load)
        case WaveCNNConfig():
            return WaveCNN(config)
