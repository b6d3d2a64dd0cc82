"""Networks over the steps of a stream: LSTM and self-attention, all at once or step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import LSTMConfig, SelfAttentionConfig, TemporalConfig


@dataclass(frozen=True, slots=True)
class Carried:
    """What a causal network keeps of the steps that it has seen, so that later ones go on from there.

    Args:
        memory: Of each layer: an LSTM's hidden and cell state, [2 b d], or the layer's past inputs, [b n d].
        mask: Which of the past steps were real.
    """

    memory: tuple[Tensor, ...]
    mask: Bool[Tensor, "b n"]


def build_temporal(dim: int, config: TemporalConfig) -> LSTM | SelfAttention:
    """Build a network over steps of some width."""
    match config:
        case LSTMConfig():
            return LSTM(dim, config)
        case SelfAttentionConfig():
            return SelfAttention(dim, config)


def build_optional_temporal(dim: int, config: TemporalConfig | None) -> LSTM | SelfAttention | Unchanged:
    """Build a network over steps of some width, or what leaves them as they are where the config is None."""
    return Unchanged(dim) if config is None else build_temporal(dim, config)


class Unchanged(nn.Module):
    """No network: steps stay as they are.

    Args:
        dim: Width of the steps.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, tokens: Tokens) -> Tokens:
        """Return whole streams."""
        return tokens


class LSTM(nn.Module):
    """LSTM over the steps that are real, in order; the others are passed over and come out as zeros.

    Args:
        dim: Width of the steps.
        config: Width, depth, direction.
    """

    def __init__(self, dim: int, config: LSTMConfig) -> None:
        super().__init__()
        directions = 1 if config.causal else 2
        self.dim = directions * config.width
        self.causal = config.causal
        widths = [dim, *[self.dim] * (config.depth - 1)]
        self.forwards = nn.ModuleList(nn.LSTM(width, config.width, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(
            [] if config.causal else (nn.LSTM(width, config.width, batch_first=True) for width in widths)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, tokens: Tokens) -> Tokens:
        """Read whole streams."""
        order = (~tokens.mask).to(torch.uint8).argsort(dim=1, stable=True)  # real steps first, in order
        count = tokens.mask.sum(dim=1)
        x = _take(tokens.x, order)
        back = _reversal(count, x.shape[1])
        for layer, forwards in enumerate(self.forwards):
            x = self.dropout(x)
            heard = [forwards(x)[0]]
            if not self.causal:
                heard.append(_take(self.backwards[layer](_take(x, back))[0], back))
            x = torch.cat(heard, dim=2)
        x = _take(x, order.argsort(dim=1))
        return replace(tokens, x=torch.where(tokens.mask.unsqueeze(2), x, 0.0))

    def advance(self, tokens: Tokens, past: Carried | None = None) -> tuple[Tokens, Carried]:
        """Read the next steps of streams; only a causal network can.

        The steps come out as ``forward`` would have given them in one piece with the past.
        """
        assert self.causal, "a network in both directions has no past to go on from"
        if past is None:
            empty = tokens.x.new_zeros(2, tokens.x.shape[0], self.dim)
            past = Carried((empty,) * len(self.forwards), tokens.mask[:, :0])
        outs, memories = [], []
        for clip in range(len(tokens.x)):  # each clip has its own real steps
            out, memory = self._advance_clip(tokens.x[clip, tokens.mask[clip]], [m[:, clip] for m in past.memory])
            outs.append(torch.zeros_like(tokens.x[clip, :, :1]).repeat(1, self.dim))
            outs[-1][tokens.mask[clip]] = out
            memories.append(memory)
        kept = tuple(torch.stack(layer, dim=1) for layer in zip(*memories, strict=True))
        return Tokens(torch.stack(outs), tokens.mask), Carried(kept, torch.cat([past.mask, tokens.mask], dim=1))

    def _advance_clip(self, x: Float[Tensor, "t d"], past: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        if not len(x):
            return x.new_zeros(0, self.dim), list(past)
        memory = []
        for layer, state in zip(self.forwards, past, strict=True):
            x, (h, c) = layer(self.dropout(x), (state[:1].contiguous(), state[1:].contiguous()))
            memory.append(torch.cat([h, c]))
        return x, memory


class SelfAttention(nn.Module):
    """Transformer encoder over the steps that are real; sines say which step each is, so that no length is too long.

    Args:
        dim: Width of the steps.
        config: Width, depth, heads, direction.
    """

    def __init__(self, dim: int, config: SelfAttentionConfig) -> None:
        super().__init__()
        self.dim = config.width
        self.causal = config.causal
        self.heads = config.heads
        self.project = nn.Linear(dim, config.width)
        self.layers = nn.ModuleList(
            transformer_layer(config.width, config.heads, config.dropout) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)

    def forward(self, tokens: Tokens) -> Tokens:
        """Read whole streams."""
        return self._read(tokens, None)[0]

    def advance(self, tokens: Tokens, past: Carried | None = None) -> tuple[Tokens, Carried]:
        """Read the next steps of streams; only a causal network can.

        The steps come out as ``forward`` would have given them in one piece with the past.
        """
        assert self.causal, "a network in both directions has no past to go on from"
        return self._read(tokens, past)

    def _read(self, tokens: Tokens, past: Carried | None) -> tuple[Tokens, Carried]:
        mask = tokens.mask if past is None else torch.cat([past.mask, tokens.mask], dim=1)
        seen, steps = mask.shape[1] - tokens.mask.shape[1], mask.shape[1]
        x = self.project(tokens.x)
        x = x + _sines(torch.arange(seen, steps, device=x.device), self.dim).to(x.dtype)
        hidden, memory = self._hidden(mask, seen), []
        for number, layer in enumerate(self.layers):
            known = x if past is None else torch.cat([past.memory[number], x], dim=1)
            memory.append(known)
            x = _attend(cast(nn.TransformerEncoderLayer, layer), x, known, hidden)
        x = torch.where(tokens.mask.unsqueeze(2), self.norm(x), 0.0)
        return replace(tokens, x=x), Carried(tuple(memory), mask)

    def _hidden(self, mask: Bool[Tensor, "b n"], seen: int) -> Bool[Tensor, "bh t n"]:
        """Return what each new step must not look at, for every head; each sees itself, so that nothing is NaN."""
        steps = torch.arange(mask.shape[1], device=mask.device)
        hidden = (~mask).unsqueeze(1).expand(-1, mask.shape[1] - seen, -1)
        if self.causal:
            hidden = hidden | (steps > steps[seen:, None])
        hidden = hidden & (steps != steps[seen:, None])
        return hidden.repeat_interleave(self.heads, dim=0)


def transformer_layer(width: int, heads: int, dropout: float) -> nn.TransformerEncoderLayer:
    """Build a layer of a transformer: norms first, and a hidden layer of four times the width."""
    return nn.TransformerEncoderLayer(
        width,
        heads,
        dim_feedforward=4 * width,
        dropout=dropout,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def add_heard(
    layer: nn.TransformerEncoderLayer, x: Float[Tensor, "b t d"], heard: Float[Tensor, "b t d"]
) -> Float[Tensor, "b t d"]:
    """Add what a layer's attention heard, and pass the steps through the rest of the layer."""
    x = x + layer.dropout1(heard)
    out = layer.linear2(layer.dropout(layer.activation(layer.linear1(layer.norm2(x)))))
    return cast(Tensor, x + layer.dropout2(out))


def mean_of_steps(tokens: Tokens) -> Float[Tensor, "b d"]:
    """Return the mean of a stream's real tokens; zero where it has none."""
    count = tokens.mask.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(tokens.mask.unsqueeze(2), tokens.x, 0.0).sum(dim=1) / count


def _attend(
    layer: nn.TransformerEncoderLayer,
    x: Float[Tensor, "b t d"],
    known: Float[Tensor, "b n d"],
    hidden: Bool[Tensor, "bh t n"],
) -> Float[Tensor, "b t d"]:
    """Pass steps through a layer that looks at known ones."""
    keys = layer.norm1(known)
    heard = layer.self_attn(keys[:, known.shape[1] - x.shape[1] :], keys, keys, attn_mask=hidden, need_weights=False)[0]
    return add_heard(layer, x, heard)


def _sines(steps: Int[Tensor, " t"], width: int) -> Float[Tensor, "t d"]:
    """Return sines and cosines of falling frequency for each step (Vaswani et al. 2017, section 3.5)."""
    frequency = torch.exp(torch.arange(0, width, 2, device=steps.device) * (-math.log(10_000) / width))
    angle = steps.unsqueeze(1) * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)


def _take(x: Float[Tensor, "b t d"], index: Int[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
    """Return each clip's steps in another order."""
    return x.gather(1, index.unsqueeze(2).expand_as(x))


def _reversal(count: Int[Tensor, " b"], steps: int) -> Int[Tensor, "b t"]:
    """Return the order that reads each clip's first steps backwards and leaves the rest; it is its own inverse."""
    place = torch.arange(steps, device=count.device).expand(count.shape[0], -1)
    last = count.unsqueeze(1) - 1
    return torch.where(place <= last, last - place, place)
