"""Words to numbers: a tokenizer as plain data, which a checkpoint keeps."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import tokenizers
import torch
from jaxtyping import Int
from tokenizers import models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from mmer.errors import CheckpointError

_PARALLEL = "TOKENIZERS_PARALLELISM"  # the library's own switch


@dataclass(frozen=True)
class Tokenizer:
    """What turns words into token ids, the same in training, evaluation and prediction.

    Args:
        plain: JSON of the ``tokenizers`` library.
        backbone: JSON config of the Hugging Face encoder that it belongs to; None where the embeddings of its tokens
            are learned from scratch.
    """

    plain: str
    backbone: str | None = None

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> Tokenizer:
        """Learn byte pairs of lower-cased words; the same texts give the same tokenizer.

        Bytes spell what the texts do not hold, so that no word is unknown.

        Args:
            texts: What to learn from.
            vocabulary: Most tokens.
        """
        library = tokenizers.Tokenizer(models.BPE())
        library.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        trainer = trainers.BpeTrainer(
            vocab_size=vocabulary,
            min_frequency=2,
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )
        with _one_thread():
            library.train_from_iterator(texts, trainer)
        return cls(library.to_str())

    def encode(self, text: str, limit: int) -> Int[Tensor, " l"]:
        """Return the token ids of a text, as many as the limit at most.

        Raises:
            CheckpointError: What the checkpoint keeps is no tokenizer.
        """
        self._library.enable_truncation(min(limit, self.longest or limit))
        return torch.tensor(self._library.encode(text).ids, dtype=torch.long)

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return self._library.get_vocab_size()

    @property
    def special(self) -> tuple[int, ...]:
        """Ids of the tokens that are no words, such as the first and the last of a text."""
        return tuple(id for id, token in self._library.get_added_tokens_decoder().items() if token.special)

    @cached_property
    def longest(self) -> int | None:
        """Tokens of the longest text that the backbone can read; None where any length will do."""
        truncation = tokenizers.Tokenizer.from_str(self.plain).truncation
        return None if truncation is None else int(truncation["max_length"])

    @cached_property
    def _library(self) -> tokenizers.Tokenizer:
        try:
            library = tokenizers.Tokenizer.from_str(self.plain)
        except Exception as error:  # the library raises nothing more special
            reason = str(error).splitlines()[0]
            raise CheckpointError(f"the stored tokenizer is not readable: {reason}; train the model anew") from error
        library.no_padding()
        return library


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the library to one thread: it would warn of every data loader's worker that is forked later."""
    before = os.environ.get(_PARALLEL)
    os.environ[_PARALLEL] = "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_PARALLEL]
        else:
            os.environ[_PARALLEL] = before
