"""The catalogue says the same as the adapters and the settings that it names."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

import pytest

from mmer.config import Modality, PrepareConfig
from mmer.corpora.catalogue import CORPORA, Corpus, find_corpus
from mmer.emotions import label_set
from mmer.errors import ConfigError, CorpusError

every_corpus = pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)


def test_names_are_unique_and_found() -> None:
    assert len({corpus.name for corpus in CORPORA}) == len(CORPORA)
    assert all(find_corpus(corpus.name) is corpus for corpus in CORPORA)


def test_corpora_of_the_field_are_there() -> None:
    field = {"ravdess", "crema-d", "fer2013", "meld", "savee", "tess", "emodb", "goemotions", "text", "folder", "table"}
    assert {corpus.name for corpus in CORPORA} == field


def test_unknown_corpus_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"^corpus 'iemocap' is unknown; choose one of ravdess, .*, table$"):
        find_corpus("iemocap")


@every_corpus
def test_everything_is_said(corpus: Corpus) -> None:
    assert corpus.title and corpus.licence and corpus.source and corpus.layout
    assert corpus.modalities and set(corpus.modalities) <= set(get_args(Modality))
    assert len(set(corpus.classes)) == len(corpus.classes)


@every_corpus
def test_options_are_those_of_the_adapter(corpus: Corpus) -> None:
    parameters = inspect.signature(corpus.read).parameters
    _, *options = parameters
    assert set(options) == set(corpus.options)
    for name, values in corpus.options.items():
        assert parameters[name].default == values[0], "the first value is the default"


@every_corpus
def test_settings_are_those_of_the_preparation(corpus: Corpus) -> None:
    config = PrepareConfig(**corpus.prepare)
    assert all(getattr(config, name) == value for name, value in corpus.prepare.items())


@every_corpus
def test_missing_place_is_one_line(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(CorpusError) as caught:
        corpus.read(tmp_path / "nowhere")
    assert "nowhere" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "labels"), [("ravdess", "ravdess8"), ("fer2013", "fer7"), ("crema-d", "crema6")])
def test_classes_are_a_label_set(name: str, labels: str) -> None:
    assert find_corpus(name).classes == label_set(labels).names


def test_faces_that_are_cut_out_already_are_not_looked_for() -> None:
    assert find_corpus("fer2013").prepare == {"detector": "none", "size": 48}
