"""The model: streams, fusion, classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmer.batch import Batch, Tokens
from mmer.build import build_encoder, build_fusion
from mmer.config import ModelConfig
from mmer.encoders.stepwise import encode_steps
from mmer.errors import ConfigError
from mmer.fusion.early import EarlyFusion
from mmer.fusion.mean import MeanFusion
from mmer.missing import copy_batch, hide_modalities
from mmer.temporal import Carried, mean_of_steps
from mmer.tokenizer import Tokenizer


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
        self.train()  # Lightning leaves each module the mode it has: so what is frozen has its own from the start

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

    def encode(self, batch: Batch, modality: str | None = None) -> dict[str, Tokens]:
        """Return the tokens of each stream by its name; those of sound lie where the clip has them, not its window.

        Args:
            batch: The clips.
            modality: The one whose streams are wanted; None for all streams.
        """
        wanted = (name for name in self.encoders if modality in (None, self.reads[name]))
        return {name: self._encode_stream(name, batch) for name in wanted}

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

    def _encode_stream(self, name: str, batch: Batch) -> Tokens:
        """Return the tokens of a stream; a causal model hears each step of its clock alone."""
        encoder, (x, mask) = self.encoders[name], batch.read(self.reads[name])
        if self.reads[name] != "audio":
            tokens: Tokens = encoder(x, mask)
            return tokens
        if self.config.causal:
            clip = self.config.clip
            steps = encode_steps(encoder, x, mask, round(clip.seconds * clip.sample_rate) // self.config.clock)
            return steps if batch.span is None else replace(steps, extent=batch.span * steps.x.shape[1])
        heard: Tokens = encoder(x, mask)
        if batch.span is None:
            return heard
        longer = batch.span * mask.shape[1] / mask.sum(dim=1).clamp(min=1)  # than its sound, by which factor
        return replace(heard, extent=heard.count() * longer.clamp(min=1))

    def _answer(self, tokens: Mapping[str, Tokens]) -> tuple[Float[Tensor, "b c"], Tokens | None]:
        """Return the scores of the clips, and of their steps where the head gives them."""
        if self.config.head == "clip":
            return self.head(self.fusion(tokens)), None
        assert isinstance(self.fusion, MeanFusion | EarlyFusion), "the config refuses a fusion without steps"
        hidden = self.fusion.steps(tokens)
        frames = replace(hidden, x=self.head(hidden.x))
        if self.config.frame_mean == "logits":
            return mean_of_steps(frames), frames
        mean = mean_of_steps(Tokens(frames.x.softmax(dim=2), frames.mask))
        return mean.clamp(min=torch.finfo(mean.dtype).tiny).log(), frames


def build_model(config: ModelConfig, *, load: bool = True, tokenizer: Tokenizer | None = None) -> EmotionModel:
    """Build a model.

    Args:
        config: Its description.
        load: Whether to load the weights that the streams name; False when a checkpoint brings its own.
        tokenizer: The tokenizer of a model that reads text: :func:`~mmer.build.build_tokenizer`'s, or the checkpoint's
            own.

    Raises:
        CheckpointError: A stream's weights cannot be had or do not fit.
        ConfigError: The streams do not fit together, or words are read without a tokenizer.
    """
    reserved = sorted(set(dir(nn.ModuleDict())) & set(config.streams))
    if reserved:
        raise ConfigError(f"stream name {reserved[0]!r} is reserved by PyTorch; call the stream otherwise")
    encoders = {name: build_encoder(stream, load, tokenizer) for name, stream in config.streams.items()}
    return EmotionModel(config, encoders, tokenizer)
