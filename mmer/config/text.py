"""Encoders of the words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from mmer.config.checks import require, require_positive, require_rate
from mmer.config.clip import Modality
from mmer.config.temporal import TemporalConfig


@dataclass(frozen=True)
class TextConfig:
    """Words from scratch: learned embeddings of a vocabulary that the training clips teach, and a network over them.

    The vocabulary is byte pairs (Sennrich et al. 2016, arXiv:1508.07909) of lower-cased words.
    """

    reads: ClassVar[Modality] = "text"

    encoder: Literal["text"]
    width: int = 128
    """Width of the embeddings."""
    vocabulary: int = 8000
    """Most tokens in the vocabulary; 256 of them spell whatever else is written."""
    dropout: float = 0.1
    """Rate of dropout behind the embeddings."""
    token_dropout: float = 0.1
    """Chance of each token to be hidden in training."""
    temporal: TemporalConfig | None = None
    """The network over the words; null leaves them as they are, for a fusion that reads words."""

    def __post_init__(self) -> None:
        require_positive("width", self.width)
        require(self.vocabulary >= 300, f"vocabulary={self.vocabulary} must be at least 300: 256 bytes and some words")
        require_rate("dropout", self.dropout)
        require_rate("token_dropout", self.token_dropout)


@dataclass(frozen=True)
class TextHFConfig:
    """A Hugging Face encoder of words with its own tokenizer, as BERT (Devlin et al. 2019, arXiv:1810.04805).

    Needs the extra ``hf``.
    """

    reads: ClassVar[Modality] = "text"

    encoder: Literal["text_hf"]
    model: str = "roberta-base"
    """A name on the Hugging Face hub, or a local folder that ``save_pretrained`` wrote; weights as safetensors."""
    trainable: Literal["none", "last_layers", "all"] = "last_layers"
    """What learns: nothing, the last layers, or everything."""
    last_layers: int = 2
    """How many layers learn (``last_layers`` only)."""
    token_dropout: float = 0.0
    """Chance of each token to be hidden in training."""

    def __post_init__(self) -> None:
        require(self.model != "", "model is empty; give a name on the Hugging Face hub, or a local folder")
        require(self.last_layers > 0, f"last_layers={self.last_layers} must be positive; trainable: none trains none")
        require_rate("token_dropout", self.token_dropout)
