"""A Hugging Face encoder: its own numbers, its own tokenizer, and one line where it cannot be had."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mmer.build import build_tokenizer
from mmer.config import ModelConfig, TextHFConfig
from mmer.encoders.text_hf import TextHF, fetch_tokenizer
from mmer.errors import CheckpointError, ConfigError
from mmer.model import build_model
from mmer.tokenizer import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(hf_folder: Path) -> Tokenizer:
    return fetch_tokenizer(str(hf_folder))


def make(hf_folder: Path, tokenizer: Tokenizer, **settings: Any) -> TextHF:
    return TextHF(TextHFConfig("text_hf", str(hf_folder), **settings), tokenizer)


def batch(tokenizer: Tokenizer) -> tuple[torch.Tensor, torch.Tensor]:
    """A text, a shorter one, and none."""
    x, mask = torch.zeros(3, 8, dtype=torch.long), torch.zeros(3, 8, dtype=torch.bool)
    for row, text in enumerate(["I am so happy.", "sad"]):
        ids = tokenizer.encode(text, 8)
        x[row, : len(ids)], mask[row, : len(ids)] = ids, True
    return x, mask


def test_tokens_are_those_of_its_own_tokenizer(hf_folder: Path, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(hf_folder)
    assert tokenizer.encode("I am so happy.", 64).tolist() == theirs("I am so happy.")["input_ids"]
    assert len(tokenizer.encode("sad " * 99, 64)) == tokenizer.longest == 16
    assert {2, 3} <= set(tokenizer.special)
    assert str(hf_folder) not in tokenizer.backbone, "a checkpoint tells no paths"


def test_hidden_states_are_those_of_transformers(hf_folder: Path, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    x, mask = batch(tokenizer)
    theirs = transformers.AutoModel.from_pretrained(hf_folder).eval()
    wanted = theirs(input_ids=x[:2], attention_mask=mask[:2]).last_hidden_state
    found = make(hf_folder, tokenizer).eval()(x, mask)
    torch.testing.assert_close(found.x[:2][mask[:2]], wanted[mask[:2]])


@pytest.mark.parametrize("length", [8, 40])
def test_what_is_masked_and_padding_never_matter(hf_folder: Path, tokenizer: Tokenizer, length: int) -> None:
    encoder, (x, mask) = make(hf_folder, tokenizer).eval(), batch(tokenizer)
    before = encoder(x, mask)
    longer, kept = torch.full((3, length), 10**9), torch.zeros(3, length, dtype=torch.bool)
    longer[:, :8], kept[:, :8] = torch.where(mask, x, -7), mask
    after = encoder(longer, kept)
    torch.testing.assert_close(after.x[:, :8], before.x)
    assert after.x.isfinite().all() and not after.x[~after.mask].any()


@pytest.mark.parametrize(
    ("trainable", "wanted"), [("none", set()), ("last_layers", {"encoder.layer.2"}), ("all", {"embeddings", "encoder"})]
)
def test_only_what_is_trainable_has_gradients(
    hf_folder: Path, tokenizer: Tokenizer, trainable: str, wanted: set[str]
) -> None:
    encoder, (x, mask) = make(hf_folder, tokenizer, trainable=trainable, last_layers=1).train(), batch(tokenizer)
    learning = {name: p for name, p in encoder.network.named_parameters() if p.requires_grad}
    assert {next((each for each in wanted if name.startswith(each)), name) for name in learning} == wanted
    if learning:
        encoder(x, mask).x.square().sum().backward()
        assert [name for name, p in learning.items() if p.grad is None] == []
    still = {"embeddings": False, "encoder.layer.0": False, "encoder.layer.2": False}
    wanted_modes = still | dict.fromkeys(still if trainable == "all" else wanted, True)
    assert {name: encoder.network.get_submodule(name).training for name in still} == wanted_modes
    assert len(encoder.layers) == 3


def test_a_checkpoint_needs_neither_the_folder_nor_the_hub(hf_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(hf_folder, folder)
    config = ModelConfig({"words": TextHFConfig("text_hf", str(folder))})
    tokenizer = build_tokenizer(config, [])
    trained = build_model(config, tokenizer=tokenizer)
    shutil.rmtree(folder)
    again = build_model(config, load=False, tokenizer=tokenizer)
    again.load_state_dict(trained.state_dict())


# --- mistakes


def test_without_a_network_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def offline(*_: object, **__: object) -> str:
        raise hub.errors.LocalEntryNotFoundError("no network\nand more")

    def silent(*_: object, **__: object) -> None:
        raise OSError("no network\nand more")

    monkeypatch.setattr(hub, "snapshot_download", offline)
    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace(head=silent))
    with pytest.raises(CheckpointError) as error:
        fetch_tokenizer("some/bert")
    assert str(error.value) == (
        "text_hf model 'some/bert' cannot be had (https://huggingface.co does not answer: no network); go online, give "
        "another name, or the path of a local folder that save_pretrained wrote"
    )


def test_without_transformers_one_line_names_the_extra(hf_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"needs the package transformers; install it with: pip install 'mmer\[hf\]'"):
        fetch_tokenizer(str(hf_folder))


@pytest.mark.parametrize(("name", "part"), [("tokenizer.json", "tokenizer"), ("model.safetensors", "weights")])
def test_a_folder_that_lacks_something_is_refused(hf_folder: Path, tmp_path: Path, name: str, part: str) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(hf_folder, folder)
    (folder / name).unlink()
    config = ModelConfig({"words": TextHFConfig("text_hf", str(folder))})
    with pytest.raises(CheckpointError, match=rf"its {part} cannot be read \(.*\); give an encoder with a config.json"):
        build_model(config, tokenizer=build_tokenizer(config, []))


def test_pickled_weights_are_never_loaded(hf_folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "bert"
    shutil.copytree(hf_folder, folder)
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="its weights cannot be read"):
        make(folder, tokenizer)


@pytest.mark.parametrize("load", [True, False])
@pytest.mark.parametrize("trainable", ["none", "last_layers", "all"])
def test_what_learns_has_dropout_from_the_start_and_the_rest_never(
    hf_folder: Path, tokenizer: Tokenizer, trainable: str, load: bool
) -> None:
    config = ModelConfig({"words": TextHFConfig("text_hf", str(hf_folder), trainable=trainable, last_layers=1)})
    network = build_model(config, load=load, tokenizer=tokenizer).encoders["words"].network
    dropouts = {name: m.training for name, m in network.named_modules() if isinstance(m, torch.nn.Dropout)}
    top = {"none": "nowhere", "last_layers": "encoder.layer.2.", "all": ""}[trainable]
    assert dropouts == {name: name.startswith(top) for name in dropouts} != {}


def test_more_layers_than_there_are_cannot_be_trained(hf_folder: Path, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"last_layers=9: '.*' has 3; name no more"):
        make(hf_folder, tokenizer, last_layers=9)


def test_an_encoder_whose_layers_are_one_has_no_last(tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    albert = transformers.AlbertConfig(
        vocab_size=11,
        embedding_size=8,
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
    )
    shared = Tokenizer(tokenizer.plain, json.dumps(albert.to_dict()))
    with pytest.raises(
        ConfigError, match=r"'albert' has no layers with weights of their own; choose trainable: none or all"
    ):
        TextHF(TextHFConfig("text_hf", "albert"), shared, load=False)


def test_what_is_no_encoder_of_words_is_refused(hf_folder: Path, tokenizer: Tokenizer) -> None:
    pytest.importorskip("transformers")
    other = Tokenizer(tokenizer.plain, json.dumps({"model_type": "vit"}))
    with pytest.raises(ConfigError, match=r"is a vit, no encoder of words such as roberta-base"):
        make(hf_folder, other)
