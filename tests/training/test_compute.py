"""How steps are computed changes neither what is learned nor what checkpoints hold."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.utils._python_dispatch import TorchDispatchMode

from mmer.batch import Batch, Mix, Tokens
from mmer.config import (
    ClipConfig,
    ComputeConfig,
    FeaturesConfig,
    MelCNNConfig,
    ModelConfig,
    MViTConfig,
    OptimConfig,
    ResNet3DConfig,
    TransformerFusionConfig,
    WaveCNNConfig,
)
from mmer.errors import ConfigError
from mmer.model import EmotionModel, build_model
from mmer.training.averaging import Average, decaying
from mmer.training.cli import main
from mmer.training.compute import shape
from mmer.training.losses import EmotionLoss
from mmer.training.tally import Tally

CONFIG = ModelConfig(
    {
        "face": MViTConfig("mvit", variant="tiny", drop_path=0.0),
        "voice": WaveCNNConfig("wave_cnn", variant="tiny", dropout=0.0),
    },
    clip=ClipConfig(seconds=0.5, frames=8),
    fusion=TransformerFusionConfig(dim=16, depth=1, heads=2, dropout=0.0, max_tokens=32),
)


def make_batch(clips: int = 3) -> Batch:
    torch.manual_seed(1)
    mask = torch.ones(clips, 8, dtype=torch.bool)
    mask[0] = False
    return Batch(
        tuple("abcdef"[:clips]),
        video=torch.randint(0, 256, (clips, 8, 3, 32, 32), dtype=torch.uint8),
        video_mask=mask,
        audio=torch.randn(clips, 8000),
        audio_mask=torch.ones(clips, 8000, dtype=torch.bool),
        label=torch.arange(clips),
        span=torch.ones(clips),
    )


def make_model(config: ModelConfig = CONFIG) -> EmotionModel:
    torch.manual_seed(0)
    return build_model(config)


def gradients(model: EmotionModel) -> dict[str, Tensor]:
    model(make_batch()).logits.square().sum().backward()
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize(
    "config",
    [
        ComputeConfig(channels_last=True),
        ComputeConfig(activation_checkpointing=True),
        ComputeConfig(activation_checkpointing=True, channels_last=True),
    ],
    ids=["channels_last", "activation_checkpointing", "both"],
)
def test_a_model_learns_the_same_however_it_is_computed(config: ComputeConfig) -> None:
    plain, shaped = make_model(), make_model()
    shape(shaped, config)
    assert list(plain.state_dict()) == list(shaped.state_dict())
    expected, found = gradients(plain), gradients(shaped)
    assert expected.keys() == found.keys()
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_activations_are_forgotten_and_a_copy_forgets_its_own() -> None:
    model = make_model()
    shape(model, ComputeConfig(activation_checkpointing=True))
    other, ran = copy.deepcopy(model), []
    other.encoders["face"].blocks[0].norm1.register_forward_hook(lambda *_: ran.append(1))
    with torch.no_grad():
        other(make_batch())
    assert len(ran) == 1
    gradients(other)
    assert len(ran) == 3, "once for the answer, once for the gradient"


def test_weights_of_convolutions_are_laid_out() -> None:
    model = make_model(replace(CONFIG, streams={"face": ResNet3DConfig("resnet3d", "tiny"), **dict(CONFIG.streams)}))
    shape(model, ComputeConfig(channels_last=True))
    weights = [value for value in model.encoders.parameters() if value.ndim == 5 and min(value.shape[:2]) > 1]
    assert weights and all(value.is_contiguous(memory_format=torch.channels_last_3d) for value in weights)


@pytest.mark.parametrize(
    "stream", [WaveCNNConfig("wave_cnn", "tiny"), ResNet3DConfig("resnet3d", "tiny")], ids=["no layers", "learns norms"]
)
def test_nothing_to_compute_anew_is_refused(stream: Any) -> None:
    config = replace(CONFIG, streams={"one": stream})
    with pytest.raises(ConfigError, match="activation_checkpointing is for encoders with layers of their own, and one"):
        shape(make_model(config), ComputeConfig(activation_checkpointing=True))


def test_weights_in_parts_keep_their_layout() -> None:
    with pytest.raises(ConfigError, match=r"channels_last=true is not for trainer\.strategy=fsdp2"):
        shape(make_model(), ComputeConfig(channels_last=True), mesh=Mock(spec=DeviceMesh))


WAITS = ("_local_scalar_dense", "nonzero", "bincount", "unique", "masked_select")


class Waiting(TorchDispatchMode):
    """Notes what would make the processor wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__
        places = args[1] if name in ("index", "index_put", "index_put_") else ()
        if name.startswith(WAITS) or any(place is not None and place.dtype == torch.bool for place in places):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("missing", ["dropout", "copies"])
def test_no_step_waits_for_a_gpu(missing: str) -> None:
    """Nothing of a step looks at a number or at how many there are: encoders, fusion, loss, tally, average."""
    streams = {
        **CONFIG.streams,
        "mel": MelCNNConfig("mel_cnn", channels=(4, 4), dim=8),
        "mfcc": FeaturesConfig("features", features="mfcc", width=4),
    }
    rate = 0.3 if missing == "dropout" else 0.0
    model = make_model(replace(CONFIG, streams=streams, missing=missing, modality_dropout=rate))
    steps = Tokens(torch.randn(3, 5, 4), torch.ones(3, 5, dtype=torch.bool))
    batch = replace(make_batch(), features={"mfcc": steps}, mix=Mix(torch.tensor([1, 2, 0]), torch.rand(3)))
    loss_of = EmotionLoss(model.reads, 8, smoothing=0.1, gamma=2.0, stream_weight=0.5).train()
    tally, average = Tally(8), Average(model, use_buffers=True, avg_fn=decaying(0.9))
    average.update_parameters(model)
    with Waiting() as waiting:
        output = model(batch)
        loss = loss_of(output, batch)
        loss.backward()
        tally.update(output.logits, batch.label, loss)
        average.update_parameters(model)
    assert waiting.found == []


def test_what_waits_is_found() -> None:
    with Waiting() as waiting:
        x = torch.ones(3)
        bool(x.any()), x[x > 0], x.nonzero()
    assert waiting.found == ["_local_scalar_dense", "index", "nonzero"]


@pytest.mark.parametrize(
    ("optim", "clips", "factor"),
    [
        (OptimConfig(), 64, 1.0),
        (OptimConfig(scaling="linear"), 64, 8.0),
        (OptimConfig(scaling="sqrt"), 32, 2.0),
        (OptimConfig(scaling="linear", reference_batch=256), 64, 0.25),
    ],
)
def test_the_rate_follows_the_clips_of_a_step_by_its_rule(optim: OptimConfig, clips: int, factor: float) -> None:
    assert optim.scale(clips, batch_size=8) == factor


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_scaled_rate_is_said_and_used(
    voice_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ["--model.optim.scaling=linear", "--model.optim.reference_batch=2", "--trainer.accumulate_grad_batches=3"]
    seen: list[float] = []
    from mmer.training import classifier

    build: Callable[..., Any] = classifier.build_optimizer
    monkeypatch.setattr(
        classifier, "build_optimizer", lambda model, optim: seen.append(optim.lr) or build(model, optim)
    )
    assert main(["fit", f"--config={voice_config}", *flags, "--trainer.max_epochs=1"]) == 0
    assert seen == [pytest.approx(0.006)]
    said = "the learning rate is 0.006, 6 times 0.001 (linear scaling): a step takes 12 clips, and that rate is for 2"
    assert f"note: {said}" in capsys.readouterr().err


def test_a_reference_of_no_clips_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.optim\.reference_batch=-1 must be positive"):
        OptimConfig(reference_batch=-1)
