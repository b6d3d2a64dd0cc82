from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from pytorchvideo.models.hub import resnet, slowfast, x3d
from torch import Tensor, nn

from mmer.build import build_encoder
from mmer.checkpoint import CARD, Card
from mmer.config import (
    ClipConfig,
    EarlyFusionConfig,
    Face48Config,
    FramesConfig,
    FusionConfig,
    LSTMConfig,
    MeanFusionConfig,
    ModelConfig,
    MViTConfig,
    PrepareConfig,
    ResNet3DConfig,
    SpeechConfig,
    SplitConfig,
    StreamConfig,
)
from mmer.encoders.weights import load_weights
from mmer.errors import CheckpointError
from mmer.model import EmotionModel, build_model

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
        f"weights {path} are not this network's: 2 of 3 parameters are missing, unknown or of another shape, "
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
    MViTConfig("mvit", variant="mvit_v1_b", weights="KINETICS400_V1"),
    ResNet3DConfig("resnet3d", variant="r2plus1d_18", weights="KINETICS400_V1"),
    ResNet3DConfig("resnet3d", variant="x3d_m", weights="KINETICS400"),
    ResNet3DConfig("resnet3d", variant="slowfast_r50", weights="KINETICS400"),
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
    for hub in (resnet, slowfast, x3d):
        monkeypatch.setattr(hub, "load_state_dict_from_url", fail)
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


# --- a stream of one of mmer's checkpoints

FACE = Face48Config("face48")
MOTION = ResNet3DConfig("resnet3d", variant="tiny")
MEAN = MeanFusionConfig("mean", dim=8)


@pytest.fixture
def trained(tmp_path: Path) -> Callable[..., EmotionModel]:
    """Write a checkpoint ``best.ckpt`` of some streams, and return its model."""

    def write(fusion: FusionConfig = MEAN, **streams: StreamConfig) -> EmotionModel:
        config = ModelConfig(streams, clip=ClipConfig(frames=4), fusion=fusion)
        card = Card(config, PrepareConfig(size=48), SplitConfig(), "nowhere", "untrained", {}, ["none"])
        torch.manual_seed(0)
        model = build_model(config, load=False)
        weights = {f"model.{name}": value for name, value in model.state_dict().items()}
        torch.save({CARD: card.to_plain(), "state_dict": weights}, tmp_path / "best.ckpt")
        return model

    return write


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    "config",
    [
        FACE,
        MOTION,
        MViTConfig("mvit", variant="tiny"),
        FramesConfig("frames", "test_resnet", size=32, temporal=LSTMConfig("lstm", width=4)),
    ],
    ids=lambda config: config.encoder,
)
def test_every_encoder_reads_its_stream_out_of_a_checkpoint(
    config: StreamConfig, trained: Callable[..., EmotionModel], tmp_path: Path
) -> None:
    model = trained(face=config)
    again = build_encoder(replace(config, weights=str(tmp_path / "best.ckpt")))
    assert equal(again, model.encoders["face"])


def test_a_causal_model_s_encoder_of_sound_is_read_as_any_other(
    trained: Callable[..., EmotionModel], tmp_path: Path
) -> None:
    causal = EarlyFusionConfig("early", LSTMConfig("lstm", width=4, causal=True), dim=4, steps=4)
    speech = SpeechConfig("speech", variant="tiny", trainable="all")
    model = trained(causal, voice=speech)
    again = build_encoder(replace(speech, weights=str(tmp_path / "best.ckpt")))
    assert equal(again, model.encoders["voice"])


def test_a_network_over_the_frames_may_be_new(trained: Callable[..., EmotionModel], tmp_path: Path) -> None:
    model = trained(face=FACE)
    weights = str(tmp_path / "best.ckpt")
    again = build_encoder(Face48Config("face48", weights=weights, temporal=LSTMConfig("lstm", width=4)))
    assert equal(again.network, model.encoders["face"].network)
    trained(face=Face48Config("face48", temporal=LSTMConfig("lstm", width=4)))
    again = build_encoder(Face48Config("face48", weights=weights, temporal=LSTMConfig("lstm", width=6)))
    assert equal(again.network, model.encoders["face"].network)


def test_of_several_streams_one_is_named(trained: Callable[..., EmotionModel], tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    model = trained(left=FACE, right=FACE, motion=MOTION)
    again = build_encoder(Face48Config("face48", weights=f"{path}#right"))
    assert equal(again, model.encoders["right"]) and not equal(again, model.encoders["left"])
    with pytest.raises(CheckpointError) as error:
        build_encoder(Face48Config("face48", weights=str(path)))
    assert str(error.value) == (
        f"checkpoint {path} has several face48 streams; say which, as {path}#left or {path}#right"
    )


def test_a_checkpoint_without_the_stream_says_what_it_has(trained: Callable[..., EmotionModel], tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    trained(face=FACE, motion=MOTION)
    for weights, wanted in ((f"{path}", "mvit stream"), (f"{path}#face", "mvit stream called face")):
        with pytest.raises(CheckpointError) as error:
            build_encoder(MViTConfig("mvit", variant="tiny", weights=weights))
        assert str(error.value) == (
            f"checkpoint {path} has no {wanted}; its streams are face (face48), motion (resnet3d)"
        )


def test_a_stream_of_other_settings_is_refused_with_them(trained: Callable[..., EmotionModel], tmp_path: Path) -> None:
    trained(motion=MOTION)
    with pytest.raises(CheckpointError) as error:
        build_encoder(ResNet3DConfig("resnet3d", variant="tiny_x3d", weights=str(tmp_path / "best.ckpt")))
    assert str(error.value).startswith(f"weights {tmp_path / 'best.ckpt'}, stream motion, are not this network's")
    assert str(error.value).endswith(
        "give the settings that it was trained with: encoder: resnet3d, variant: tiny, weights: None"
    )


def test_a_checkpoint_of_somebody_else_s_is_a_file_of_weights(tmp_path: Path) -> None:
    source, path = build_encoder(FACE), tmp_path / "lightning.ckpt"
    torch.save({"epoch": 3, "state_dict": source.network.state_dict()}, path)
    assert equal(build_encoder(Face48Config("face48", weights=str(path))), source)


def test_a_stored_stream_is_not_read_for_a_checkpoint_that_brings_its_own_weights(tmp_path: Path) -> None:
    build_encoder(Face48Config("face48", weights=str(tmp_path / "gone.ckpt")), load=False)
