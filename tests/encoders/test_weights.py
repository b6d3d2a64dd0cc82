from __future__ import annotations

from collections.abc import Callable
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from pytorchvideo.models.hub import resnet as pytorchvideo_hub
from torch import Tensor, nn

from mmer.config import MViTConfig, ResNet3DConfig, StreamConfig
from mmer.encoders.weights import load_weights
from mmer.errors import CheckpointError
from mmer.model import build_encoder

Save = Callable[[object], str]


class Network(nn.Module):
    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.body = nn.Linear(2, 4)
        self.head = nn.Linear(4, classes)


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def save(data: object) -> str:
        torch.save(data, tmp_path / "weights.pt")
        return str(tmp_path / "weights.pt")

    return save


def load(weights: str, network: Network, named: dict[str, Callable[[], dict[str, Tensor]]] | None = None) -> None:
    load_weights(network, weights, named or {}, head="head.")


def refused(weights: str, **settings: object) -> str:
    with pytest.raises(CheckpointError) as error:
        load(weights, Network(), **settings)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("wrapper", [None, "model_state", "state_dict", "model"])
def test_a_file_of_weights_is_read_wherever_it_keeps_them(save: Save, wrapper: str | None) -> None:
    source, target = Network(), Network()
    state = source.state_dict()
    load(save(state if wrapper is None else {"epoch": 3, wrapper: state}), target)
    assert torch.equal(target.body.weight, source.body.weight)
    assert torch.equal(target.body.bias, source.body.bias)


@pytest.mark.parametrize("classes", [None, 3, 400], ids=["missing", "same", "other"])
def test_the_head_may_be_missing_or_another_and_is_never_loaded(save: Save, classes: int | None) -> None:
    source, target = Network(classes or 1), Network()
    state = {name: value for name, value in source.state_dict().items() if classes or not name.startswith("head.")}
    before = target.head.weight.clone()
    load(save(state), target)
    assert torch.equal(target.body.weight, source.body.weight)
    assert torch.equal(target.head.weight, before)


def test_weights_are_fetched_by_name() -> None:
    source, target = Network(), Network()
    load("KINETICS", target, {"KINETICS": source.state_dict})
    assert torch.equal(target.body.weight, source.body.weight)


def test_another_network_s_weights_are_refused_and_the_first_wrong_parameter_named(save: Save) -> None:
    state = Network().state_dict()
    state["body.weight"] = torch.zeros(4, 9)
    state["trunk.weight"] = torch.zeros(1)
    path = save(state)
    assert refused(path) == (
        f"weights {path} are not this network's: 2 of 2 parameters are missing, unknown or of another shape, "
        "body.weight the first; give weights of the same variant"
    )


def test_a_missing_parameter_is_named(save: Save) -> None:
    state = {name: value for name, value in Network().state_dict().items() if name != "body.bias"}
    assert "1 of 2 parameters are missing, unknown or of another shape, body.bias the first" in refused(save(state))


def test_neither_a_name_nor_a_file_is_refused_with_the_names() -> None:
    message = refused("KINETICS600", named={"KINETICS400_V1": dict, "KINETICS400_V2": dict})
    assert message == ("weights 'KINETICS600' are neither a name (KINETICS400_V1, KINETICS400_V2) nor an existing file")
    assert refused("nowhere.pt") == "weights 'nowhere.pt' are neither a name (none by name) nor an existing file"


@pytest.mark.parametrize("data", [b"", b"hello", b"Dear diary,\nno weights.\n", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_that_torch_did_not_write_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(data)
    assert refused(str(path)) == f"weights {path} cannot be read: it is damaged, or torch.save did not write it"


def test_a_file_of_python_objects_is_refused_and_not_executed(save: Save) -> None:
    path = save({"state_dict": Network()})
    assert refused(path) == (
        f"weights {path} cannot be read: it holds Python objects, which are not safe to load; "
        "only tensors and plain data are"
    )


@pytest.mark.parametrize("data", [[1, 2], {"epoch": 3}, {0: torch.zeros(1)}, torch.zeros(2)])
def test_a_file_of_something_else_is_refused_with_how_to_save(save: Save, data: object) -> None:
    path = save(data)
    assert refused(path) == f"weights {path} hold no state dictionary; save one with torch.save(module.state_dict())"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (URLError("no route to host"), "no route to host"),
        (TimeoutError("timed out"), "timed out"),
        (IncompleteRead(b"..", 8), "IncompleteRead(2 bytes read, 8 more expected)"),
        (RuntimeError('invalid hash value\n(expected "a", got "b")'), 'invalid hash value (expected "a", got "b")'),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failed_download_says_why_and_what_to_do(error: Exception, reason: str) -> None:
    def fail() -> dict[str, Tensor]:
        raise error

    assert refused("KINETICS", named={"KINETICS": fail}) == (
        f"weights KINETICS cannot be downloaded ({reason}); go online, or give the path of a local file"
    )


NAMED = (
    MViTConfig("mvit", weights="KINETICS400_V1"),
    ResNet3DConfig("resnet3d", variant="r3d_18", weights="KINETICS400_V1"),
    ResNet3DConfig("resnet3d", variant="slow_r50", weights="KINETICS400"),
)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every download fail; the list holds what was asked for."""
    asked: list[str] = []

    def fail(url: str, *args: object, **settings: object) -> None:
        asked.append(url)
        raise URLError("the network is unreachable")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    monkeypatch.setattr(pytorchvideo_hub, "load_state_dict_from_url", fail)
    return asked


@pytest.mark.parametrize("config", NAMED, ids=lambda config: config.variant)
def test_each_backbone_s_weights_fail_offline_in_one_line(config: StreamConfig, offline: list[str]) -> None:
    with pytest.raises(CheckpointError) as error, torch.device("meta"):
        build_encoder(config)
    assert str(error.value) == (
        f"weights {config.weights} cannot be downloaded (the network is unreachable); "
        "go online, or give the path of a local file"
    )
    assert len(offline) == 1


@pytest.mark.parametrize("config", NAMED, ids=lambda config: config.variant)
def test_nothing_is_fetched_for_a_checkpoint_that_brings_its_own_weights(
    config: StreamConfig, offline: list[str]
) -> None:
    with torch.device("meta"):
        build_encoder(config, load=False)
    assert offline == []
