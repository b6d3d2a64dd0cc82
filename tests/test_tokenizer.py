"""The same words make the same tokenizer, and no word is unknown to it."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mmer.config import from_plain, to_plain
from mmer.errors import CheckpointError
from mmer.tokenizer import Tokenizer

TEXTS = ["I am so happy", "I am so sad", "so happy, so very happy", "you are happy"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(TEXTS, 300)


def test_the_same_texts_make_the_same_tokenizer_in_another_process(tokenizer: Tokenizer) -> None:
    command = f"from mmer.tokenizer import Tokenizer; print(Tokenizer.train({TEXTS!r}, 300).plain, end='')"
    found = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    assert found.stdout == tokenizer.plain


def test_known_words_are_tokens_whatever_their_case(tokenizer: Tokenizer) -> None:
    happy = tokenizer.encode("HAPPY", 8)
    assert happy.dtype == torch.int64
    assert len(happy) == 1
    assert torch.equal(happy, tokenizer.encode(" happy ", 8))
    assert int(happy) < tokenizer.size <= 300


@pytest.mark.parametrize("text", ["zebra", "naïve 😀", "顔"])
def test_unknown_words_are_spelled(tokenizer: Tokenizer, text: str) -> None:
    assert len(tokenizer.encode(text, 100)) > 1


def test_long_text_is_cut_and_an_empty_one_is_empty(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("so happy " * 100, 9)) == 9
    assert len(tokenizer.encode("so happy " * 100, 12)) == 12, "a limit is of one call"
    assert len(tokenizer.encode("  ", 9)) == 0


def test_plain_data_bring_it_back(tokenizer: Tokenizer) -> None:
    again = from_plain(Tokenizer, to_plain(tokenizer))
    assert again == tokenizer
    assert torch.equal(again.encode("I am so happy", 8), tokenizer.encode("I am so happy", 8))


def test_damaged_tokenizer_is_one_line() -> None:
    with pytest.raises(CheckpointError, match=r"the stored tokenizer is not readable: .*; train the model anew"):
        Tokenizer("{").encode("words", 8)
