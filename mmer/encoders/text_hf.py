"""Words to tokens by a Hugging Face encoder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from mmer.batch import Tokens
from mmer.config import TextHFConfig
from mmer.encoders.frozen import freeze_but, train_but_frozen
from mmer.encoders.hub import fetch_from_hub
from mmer.encoders.masking import TokenDropout
from mmer.errors import CheckpointError, ConfigError
from mmer.tokenizer import Tokenizer

_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")  # of a repository on the hub; nothing that could be executed
_ENDLESS = 100_000  # tokenizers without a longest text say so by a number with thirty digits


class TextHF(nn.Module):
    """Hidden states of a Hugging Face encoder, one for each of its tokenizer's tokens.

    Args:
        config: Which encoder, and what of it learns.
        tokenizer: Its tokenizer, with its own config.
        load: Whether to load its weights; False when a checkpoint brings them.
    """

    def __init__(self, config: TextHFConfig, tokenizer: Tokenizer, load: bool = True) -> None:
        super().__init__()
        described = _read_config(config.model, tokenizer)
        if config.trainable == "last_layers" and config.last_layers > described.num_hidden_layers:
            raise ConfigError(
                f"last_layers={config.last_layers}: {config.model!r} has {described.num_hidden_layers}; name no more"
            )
        self.network = _load_network(config.model) if load else _build_network(described)
        if getattr(self.network, "pooler", None) is not None:
            self.network.register_module("pooler", None)  # of the first token alone; unasked for, it would never learn
        self.hide = TokenDropout(config.token_dropout, tokenizer.special)
        self.dim = int(described.hidden_size)
        self.layers = _layers(self.network, int(described.num_hidden_layers))
        self.trained = self._choose(config)
        self.longest = tokenizer.longest
        self.padding = int(getattr(described, "pad_token_id", None) or 0)
        freeze_but(self.network, self.trained)

    def train(self, mode: bool = True) -> TextHF:
        """Set the mode; what is frozen stays in eval mode, without dropout."""
        super().train(mode)
        train_but_frozen(self.network, self.trained, mode)
        return self

    def forward(self, x: Int[Tensor, "b l"], mask: Bool[Tensor, "b l"]) -> Tokens:
        """Encode token ids; those where the mask is False never matter, and those beyond the longest text are cut."""
        x, mask = x[:, : self.longest], mask[:, : self.longest]
        mask = self.hide(x, mask)
        looked_at = mask.clone()
        looked_at[:, 0] |= ~mask.any(dim=1)  # attention over nothing would not be finite
        ids = torch.where(mask, x, self.padding)
        hidden = self.network(input_ids=ids, attention_mask=looked_at.long()).last_hidden_state
        return Tokens(torch.where(mask.unsqueeze(2), hidden, 0.0), mask)

    def _choose(self, config: TextHFConfig) -> list[nn.Module]:
        """Return the modules that learn.

        Raises:
            ConfigError: The last layers are to, and there are none with weights of their own: those of ALBERT are one.
        """
        match config.trainable:
            case "none":
                return []
            case "all":
                return [self.network]
            case "last_layers" if not self.layers:
                raise ConfigError(
                    f"text_hf model {config.model!r} has no layers with weights of their own; "
                    "choose trainable: none or all"
                )
            case "last_layers":
                return self.layers[-config.last_layers :]


def fetch_tokenizer(model: str) -> Tokenizer:
    """Return the tokenizer of a Hugging Face encoder, with the encoder's config.

    Args:
        model: A name on the hub, or a local folder.

    Raises:
        CheckpointError: It cannot be had, or has no tokenizer of the ``tokenizers`` library.
        ConfigError: transformers is not installed.
    """
    folder, transformers = _folder(model), _transformers()
    with _faults_named(model, "tokenizer"):
        found = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        library, config = found.backend_tokenizer, transformers.AutoConfig.from_pretrained(folder)
        library.no_padding()
        library.no_truncation()
        if found.model_max_length < _ENDLESS:
            library.enable_truncation(found.model_max_length)
        plain = {**config.to_dict(), "_name_or_path": ""}
    return Tokenizer(library.to_str(), json.dumps(plain, sort_keys=True))


def _read_config(model: str, tokenizer: Tokenizer) -> Any:
    """Return the encoder's config that came with its tokenizer.

    Raises:
        ConfigError: It describes something else than an encoder of words.
    """
    assert tokenizer.backbone is not None, "the tokenizer was fetched with its encoder's config"
    plain = json.loads(tokenizer.backbone)
    with _faults_named(model, "config"):
        config = _transformers().AutoConfig.for_model(**plain)
    fits = all(hasattr(config, name) for name in ("vocab_size", "hidden_size", "num_hidden_layers"))
    if not fits or config.is_encoder_decoder:
        raise ConfigError(f"text_hf model {model!r} is a {config.model_type}, no encoder of words such as roberta-base")
    return config


def _build_network(config: Any) -> nn.Module:
    return cast(nn.Module, _transformers().AutoModel.from_config(config))


def _load_network(model: str) -> nn.Module:
    with _faults_named(model, "weights"):
        network = _transformers().AutoModel.from_pretrained(
            _folder(model), use_safetensors=True, local_files_only=True, dtype=torch.float32
        )
    return cast(nn.Module, network)


def _folder(model: str) -> str:
    """Return the folder of an encoder, and fetch it from the hub where the name is no folder.

    Raises:
        CheckpointError: It cannot be had.
        ConfigError: transformers is not installed.
    """
    if Path(model).is_dir():
        return model
    _transformers()
    hub = import_module("huggingface_hub")
    try:
        return fetch_from_hub(lambda: str(hub.snapshot_download(model, allow_patterns=list(_FILES))))
    except (OSError, ValueError) as error:  # no network, no such name, no space; its own errors are of these kinds
        raise CheckpointError(
            f"text_hf model {model!r} cannot be had ({_first_line(error)}); go online, give another name, "
            "or the path of a local folder that save_pretrained wrote"
        ) from error


@contextmanager
def _faults_named(model: str, part: str) -> Iterator[None]:
    """Say in one line what is wrong with a part of an encoder."""
    try:
        yield
    except Exception as error:  # transformers fails in a dozen ways
        raise CheckpointError(
            f"text_hf model {model!r}: its {part} cannot be read ({_first_line(error)}); give an encoder with a "
            "config.json, a tokenizer.json and weights as safetensors"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _layers(network: nn.Module, count: int) -> list[nn.Module]:
    """Return the blocks of a network from its input to its output, however its class calls them."""
    found = (m for m in network.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
    return list(next(found, nn.ModuleList()))


def _transformers() -> Any:
    """Return the library, told to speak only of errors.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        library = import_module("transformers")
    except ImportError as error:
        raise ConfigError(
            "encoder text_hf needs the package transformers; install it with: pip install 'mmer[hf]'"
        ) from error
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library
