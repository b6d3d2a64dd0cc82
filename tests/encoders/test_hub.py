"""Weights of timm's from the Hugging Face hub: there, silent, or fetched before."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub as hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from mmer.build import build_encoder
from mmer.config import FramesConfig
from mmer.encoders.hub import fetch_from_hub
from mmer.errors import CheckpointError

CONFIG = FramesConfig("frames", "test_resnet", weights="timm", size=32)
REPOSITORY = "models--timm--test_resnet.r160_in1k"


class Session:
    """How the hub is asked: it counts, and answers or fails."""

    def __init__(self, fault: Exception | None) -> None:
        self.fault = fault
        self.asked: list[tuple[str, float]] = []

    def head(self, url: str, *, timeout: float) -> None:
        self.asked.append((url, timeout))
        if self.fault is not None:
            raise self.fault


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the hub's library an empty folder for what it keeps, and no time to wait."""
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waits for {seconds} s"))
    return tmp_path


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Session:
    session = Session(RuntimeError("no route to host"))
    monkeypatch.setattr(hub, "get_session", lambda: session)
    return session


def test_a_silent_hub_is_asked_once_and_said_to_be(kept: Path, silent: Session) -> None:
    with pytest.raises(CheckpointError) as error:
        build_encoder(CONFIG)
    assert str(error.value) == (
        f"weights timm cannot be downloaded ({hub.constants.ENDPOINT} does not answer: no route to host); "
        "go online, or give the path of a local file"
    )
    assert silent.asked == [(hub.constants.ENDPOINT, 10)]
    assert not hub.constants.HF_HUB_OFFLINE


def test_what_was_fetched_before_is_found_without_the_hub(kept: Path, silent: Session) -> None:
    theirs = timm.create_model("test_resnet")
    (kept / REPOSITORY / "refs").mkdir(parents=True)
    (kept / REPOSITORY / "refs" / "main").write_text("0" * 40)
    (kept / REPOSITORY / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(theirs.state_dict(), kept / REPOSITORY / "snapshots" / ("0" * 40) / "model.safetensors")
    encoder = build_encoder(CONFIG)
    assert torch.equal(encoder.network.network.conv1[0].weight, theirs.conv1[0].weight)


def test_a_hub_that_answers_is_left_to_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(None)
    monkeypatch.setattr(hub, "get_session", lambda: session)
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", False)
    assert fetch_from_hub(lambda: hub.constants.HF_HUB_OFFLINE) is False
    assert len(session.asked) == 1


def test_a_fault_of_the_download_itself_is_not_taken_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "get_session", lambda: Session(None))

    def fail() -> None:
        raise FileNotFoundError("the hub has no such file")

    with pytest.raises(FileNotFoundError, match="no such file"):
        fetch_from_hub(fail)
