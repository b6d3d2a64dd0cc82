"""How steps are computed changes neither what is learned nor what checkpoints hold."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal
from unittest.mock import Mock

import lightning as L
import pytest
import torch
from lightning.pytorch.strategies import StrategyRegistry
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.utils._python_dispatch import TorchDispatchMode

from mmer.batch import Batch, Mix, Tokens
from mmer.config import (
    AveragingConfig,
    ClipConfig,
    ComputeConfig,
    Face48Config,
    FeaturesConfig,
    FramesConfig,
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
from mmer.training import compute
from mmer.training.averaging import Average, decaying
from mmer.training.classifier import EmotionClassifier
from mmer.training.cli import main
from mmer.training.compute import FullySharded, shape
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


def test_blocks_of_networks_over_frames_are_computed_anew_too() -> None:
    frames = FramesConfig("frames", "vit_tiny_patch16_224", size=32)
    model, ran = make_model(replace(CONFIG, streams={"face": frames})), []
    shape(model, ComputeConfig(activation_checkpointing=True))
    blocks = list(compute._layers(model))
    assert len(blocks) == 12
    blocks[3].norm1.register_forward_hook(lambda *_: ran.append(1))
    gradients(model)
    assert len(ran) == 2, "once for the answer, once for the gradient"


@pytest.mark.parametrize(
    "stream",
    [Face48Config("face48", "tiny_vgg19"), FramesConfig("frames", "resnet18", size=32), MViTConfig("mvit", "tiny")],
    ids=["vgg19", "resnet18", "mvit"],
)
def test_layers_are_parts_of_the_model_that_can_be_called(stream: Any) -> None:
    """Weights cannot be in parts of anything else."""
    model = make_model(replace(CONFIG, streams={"face": stream}))
    layers, parts = list(compute._layers(model)), set(model.modules())
    assert all(layer in parts and type(layer).forward is not nn.Module.forward for layer in layers)


def test_weights_of_convolutions_are_laid_out() -> None:
    model = make_model(replace(CONFIG, streams={"face": ResNet3DConfig("resnet3d", "tiny"), **dict(CONFIG.streams)}))
    shape(model, ComputeConfig(channels_last=True))
    weights = [value for value in model.encoders.parameters() if value.ndim == 5 and min(value.shape[:2]) > 1]
    assert weights and all(value.is_contiguous(memory_format=torch.channels_last_3d) for value in weights)


@pytest.mark.parametrize(
    "stream",
    [
        WaveCNNConfig("wave_cnn", "tiny"),
        ResNet3DConfig("resnet3d", "tiny"),
        FramesConfig("frames", "resnet18", size=32),
        Face48Config("face48", "tiny_vgg19"),
    ],
    ids=["no layers", "learns norms", "frames learn norms", "no blocks"],
)
def test_nothing_to_compute_anew_is_refused(stream: Any) -> None:
    config = replace(CONFIG, streams={"one": stream})
    with pytest.raises(ConfigError, match="activation_checkpointing is for encoders with layers of their own, and one"):
        shape(make_model(config), ComputeConfig(activation_checkpointing=True))


def test_weights_in_parts_keep_their_layout() -> None:
    with pytest.raises(ConfigError, match=r"channels_last=true is not for trainer\.strategy=fsdp2"):
        shape(make_model(), ComputeConfig(channels_last=True), mesh=Mock(spec=DeviceMesh))


@pytest.mark.parametrize(
    ("precision", "averaging", "said"),
    [
        (
            "16-mixed",
            "none",
            r"trainer\.precision=16-mixed scales gradients as trainer\.strategy=fsdp2 cannot; give bf16",
        ),
        (
            "bf16-mixed",
            "ema",
            r"averaging\.kind=ema wants whole weights on each process, and trainer\.strategy=fsdp2 has",
        ),
    ],
)
def test_what_weights_in_parts_do_not_allow_is_refused(
    precision: str, averaging: Literal["none", "ema"], said: str
) -> None:
    module = EmotionClassifier(CONFIG, averaging=AveragingConfig(averaging))
    trainer = Mock(spec=L.Trainer, precision=precision, strategy=FullySharded())
    module.trainer = trainer
    with pytest.raises(ConfigError, match=said):
        module.setup("fit")


def test_weights_in_parts_are_sent_from_where_they_are_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL knows nothing of a processor."""
    sent: list[str] = []
    monkeypatch.setattr(compute.dist, "broadcast", lambda tensor, src: sent.append(tensor.device.type))
    monkeypatch.setattr(compute, "fully_shard", lambda *_, **__: None)
    model = make_model()
    shape(model, ComputeConfig(), mesh=Mock(spec=DeviceMesh, device_type="meta"))
    assert set(sent) == {"meta"} and len(sent) == len([*model.parameters(), *model.buffers()])


def test_fsdp2_is_known_to_train_py_and_not_by_an_import(voice_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(StrategyRegistry, "fsdp2", raising=False)
    spec = importlib.util.spec_from_file_location("again", compute.__file__)
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    assert "fsdp2" not in StrategyRegistry
    with pytest.raises(SystemExit, match="0"):
        main(["fit", f"--config={voice_config}", "--trainer.strategy=fsdp2", "--print_config"])
    assert "fsdp2" in StrategyRegistry


STATISTICS = """
import os
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed._functional_collectives import all_reduce

from mmer.encoders.norms import MaskedBatchNorm, encode_real
from mmer.errors import ConfigError
from mmer.training.compute import SyncStatistics


class Shared(nn.SyncBatchNorm):  # which takes no pictures on a processor
    def forward(self, x):
        over = (0, 2, 3)
        sums = torch.cat([x.sum(over), x.square().sum(over), torch.tensor([float(x[:, 0].numel())])])
        sums = all_reduce(sums, "sum", dist.group.WORLD)
        mean, square = sums[:-1].view(2, -1) / sums[-1]
        return (x - mean.view(1, -1, 1, 1)) / (square - mean.square() + self.eps).sqrt().view(1, -1, 1, 1)


rank = int(os.environ["RANK"])
dist.init_process_group("gloo", rank=rank, world_size=2, timeout=timedelta(seconds=60))
torch.manual_seed(0)
network = nn.Sequential(nn.Conv2d(1, 2, 3), Shared(2))
alone = nn.Sequential(network[0], nn.BatchNorm2d(2))
x = torch.randn(2, 3, 1, 6, 6)
pictures = encode_real(network, x[rank], torch.tensor([[True, True, False], [False] * 3])[rank])
pictures.square().sum().backward()
assert all(each.grad is not None and each.grad.isfinite().all() for each in network[0].parameters())
expected = alone(x[0, :2]) if rank == 0 else torch.zeros(0, 2, 4, 4)
torch.testing.assert_close(pictures[: len(expected)], expected, rtol=1e-4, atol=1e-4)
assert not pictures[len(expected) :].any()

voice, whole = MaskedBatchNorm(3), MaskedBatchNorm(3)
sync = SyncStatistics()
sync.apply(nn.Sequential(voice))
sound, mask = torch.randn(2, 3, 9), torch.tensor([[True] * 9, [False] * 9])
heard = voice(sound[rank : rank + 1] * mask[rank : rank + 1, None], mask[rank : rank + 1])
torch.testing.assert_close(heard, whole(sound * mask[:, None], mask)[rank : rank + 1], rtol=1e-4, atol=1e-5)
torch.testing.assert_close(voice.state_dict(), whole.state_dict(), rtol=1e-4, atol=1e-5)
sync.revert(nn.Sequential(voice))
assert not voice.synced

try:
    sync.apply(nn.Sequential(nn.BatchNorm2d(2)))
except ConfigError as error:
    assert "trainer.sync_batchnorm=true wants GPUs for the BatchNorm of PyTorch's networks" in str(error)
else:
    raise AssertionError("it was not refused")
sync.apply(nn.Sequential(nn.BatchNorm2d(2).eval()))
dist.barrier()
raise SystemExit(0)
"""
"""One process has no picture and no sound."""


def test_statistics_are_shared_with_a_process_that_has_nothing(nursery: Any, tmp_path: Path) -> None:
    runs = nursery.start_all(2, [], tmp_path / "log", STATISTICS)
    assert [run.wait() for run in runs] == [0, 0], "".join(run.said() for run in runs)


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


def everything(missing: Literal["dropout", "copies"]) -> tuple[EmotionModel, Batch, EmotionLoss]:
    """A model of all that can be trained without waiting, a batch for it and its loss."""
    streams = {
        **CONFIG.streams,
        "mel": MelCNNConfig("mel_cnn", channels=(4, 4), dim=8),
        "mfcc": FeaturesConfig("features", features="mfcc", width=4),
    }
    rate = 0.3 if missing == "dropout" else 0.0
    model = make_model(replace(CONFIG, streams=streams, missing=missing, modality_dropout=rate))
    steps = Tokens(torch.randn(3, 5, 4), torch.ones(3, 5, dtype=torch.bool))
    batch = replace(make_batch(), features={"mfcc": steps}, mix=Mix(torch.tensor([1, 2, 0]), torch.rand(3)))
    return model, batch, EmotionLoss(model.reads, 8, smoothing=0.1, gamma=2.0, stream_weight=0.5).train()


@pytest.mark.parametrize("missing", ["dropout", "copies"])
def test_no_step_waits_for_a_gpu(missing: Literal["dropout", "copies"]) -> None:
    """Nothing of a step looks at a number or at how many there are: encoders, fusion, loss, tally, average."""
    model, batch, loss_of = everything(missing)
    tally, average = Tally(8), Average(model, use_buffers=True, avg_fn=decaying(0.9))
    average.update_parameters(model)
    with Waiting() as waiting:
        output = model(batch)
        loss = loss_of(output, batch)
        loss.backward()
        tally.update(output.logits, batch.label, loss)
        average.update_parameters(model)
    assert waiting.found == []


class Copying(TorchDispatchMode):
    """Notes what goes from one device to another and is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        found, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if name in ("_to_copy", "copy_") and not (kwargs or {}).get("non_blocking", False):
            devices = {each.device.type for each in (found, *args) if isinstance(each, Tensor)}
            if len(devices) > 1:
                self.found.append(f"{name} {'-'.join(sorted(devices))}")
        return found


def imagined(value: Any, fake: FakeTensorMode) -> Any:
    """Return a module, a batch or a tensor as if it were on a GPU, where there need not be any; it has no numbers."""
    if isinstance(value, nn.Module):
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        try:
            return value._apply(partial(imagined, fake=fake))
        finally:
            torch.__future__.set_overwrite_module_params_on_conversion(False)
    if isinstance(value, Tensor):
        known = fake.from_tensor(value)
        with fake:
            return known.to("cuda")
    if is_dataclass(value):
        return replace(value, **{each.name: imagined(getattr(value, each.name), fake) for each in fields(value)})
    return {name: imagined(each, fake) for name, each in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("missing", ["dropout", "copies"])
def test_no_step_copies_from_a_gpu_nor_to_it(missing: Literal["dropout", "copies"]) -> None:
    """``cpu()``, ``tolist()``, ``numpy()`` and numbers written in Python: on a processor none would be seen."""
    fake = FakeTensorMode()
    model, batch, loss_of = (imagined(each, fake) for each in everything(missing))
    tally = imagined(Tally(8), fake)
    with fake, Copying() as copying:
        output = model(batch)
        loss = loss_of(output, batch)
        tally.update(output.logits, batch.label, loss)
    assert output.logits.device.type == "cuda"
    assert copying.found == []


def test_what_copies_is_found() -> None:
    fake = FakeTensorMode()
    x = imagined(torch.ones(3), fake)
    with fake, Copying() as copying:
        x.cpu(), x.to("cpu"), x.to("cpu", non_blocking=True), x.copy_(torch.ones(3)), torch.zeros(3, device="cuda")
    assert copying.found == ["_to_copy cpu-cuda", "_to_copy cpu-cuda", "copy_ cpu-cuda"]
    with fake:
        for look in (x.tolist, x.numpy, x.sum().item, x.nonzero):
            with pytest.raises((RuntimeError, DataDependentOutputException, DynamicOutputShapeException)):
                look()


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
    for size in (-1, 0):
        with pytest.raises(ConfigError, match=rf"model\.optim\.reference_batch={size} must be positive"):
            OptimConfig(reference_batch=size)
