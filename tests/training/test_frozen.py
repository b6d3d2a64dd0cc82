"""What is frozen stays as it was loaded through a whole training: Lightning asks no module to go into train mode."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import yaml
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmer.encoders.audio.speech import _tiny
from mmer.encoders.video.resnet3d import _build_tiny_resnet
from mmer.training import cli
from mmer.training.cli import main
from tests.training.conftest import quick_data, quick_trainer

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, Path]:
    """Files of weights by the stream that begins from them."""
    torch.manual_seed(0)
    networks = {
        "motion": _build_tiny_resnet(),
        "face": timm.create_model("test_resnet", num_classes=0),
        "voice": _tiny(),
    }
    for name, network in networks.items():
        for module in network.modules():
            if isinstance(module, _BatchNorm):  # as a training leaves them
                module.running_mean.normal_(0, 0.1)
        torch.save(network.state_dict(), tmp_path / f"{name}.pt")
    return {name: tmp_path / f"{name}.pt" for name in networks}


@pytest.fixture
def modes(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bool]]:
    """Which modules were in train mode at each step, by their names."""
    found: list[dict[str, bool]] = []
    original = cli.EmotionClassifier.training_step

    def look(self: cli.EmotionClassifier, *args: Any) -> Tensor:
        found.append({name: module.training for name, module in self.model.encoders.named_modules()})
        return original(self, *args)

    monkeypatch.setattr(cli.EmotionClassifier, "training_step", look)
    return found


def test_a_training_leaves_what_is_frozen_as_it_was_loaded(
    noise_corpus: Path,
    weights: dict[str, Path],
    tmp_path: Path,
    modes: list[dict[str, bool]],
    recwarn: pytest.WarningsRecorder,
) -> None:
    streams = {
        "motion": {"encoder": "resnet3d", "variant": "tiny", "weights": str(weights["motion"])},
        "face": {"encoder": "frames", "backbone": "test_resnet", "weights": str(weights["face"]), "trainable": "none"},
        "voice": {"encoder": "speech", "variant": "tiny", "weights": str(weights["voice"]), "trainable": 1},
    }
    config = {
        "model": {
            "config": {
                "streams": streams,
                "clip": {"seconds": 0.5, "frames": 8},
                "fusion": {"kind": "mean", "dim": 16},
            },
            "optim": {"lr": 0.01},
        },
        "data": quick_data(noise_corpus),
        "trainer": quick_trainer(tmp_path / "run"),
    }
    path = tmp_path / "frozen.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["fit", f"--config={path}"]) == 0
    assert not [each for each in recwarn if "eval mode" in str(each.message)], "nobody is asked whether it is meant"

    network = _tiny()
    dropouts = {f"voice.network.{name}" for name, m in network.named_modules() if isinstance(m, nn.Dropout)}
    top = "voice.network.encoder.transformer.layers.1."
    assert len(modes) == 4
    for step in modes:  # the second epoch's follow a validation
        assert not any(on for name, on in step.items() if name.startswith("face.network.network."))
        assert {name for name in dropouts if step[name]} == {name for name in dropouts if name.startswith(top)} != set()
        assert step["motion"] and step["voice"]

    learned = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    for stream, theirs, ours in (("motion", "blocks.", "network."), ("face", "", "network.network.")):
        before = torch.load(weights[stream], weights_only=True)
        pairs = {
            name: (value, learned[after])
            for name, value in before.items()
            if (after := f"model.encoders.{stream}.{ours}{name.removeprefix(theirs)}") in learned
        }
        moved = {name for name, (value, after) in pairs.items() if not torch.equal(value, after)}
        statistics = {name for name in pairs if "running_" in name or "num_batches" in name}
        assert statistics and not moved & statistics
        assert bool(moved) == (stream == "motion"), "what is trained learns, and what is not does not"
