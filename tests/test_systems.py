"""What every system in configs/ must do, whatever it is made of."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
import yaml
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import Dim
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from mmer.batch import Batch, Tokens
from mmer.build import build_tokenizer
from mmer.checkpoint import read_checkpoint
from mmer.config import FeaturesConfig, ModelConfig, from_plain
from mmer.model import EmotionModel, build_model
from tests.conftest import write_checkpoint

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = sorted((CONFIGS / "tiny").glob("*.yaml"))
OWN = sorted(path for path in CONFIGS.glob("*.yaml") if path.stem != "demo")  # which is a tiny one
WORDS = ("kids are talking by the door", "dogs are sitting by the door")
SIZE = 64  # side of the frames, in pixels

every_tiny = pytest.mark.parametrize("config", TINY, ids=lambda path: path.stem)


@pytest.fixture
def described(config: Path, request: pytest.FixtureRequest) -> ModelConfig:
    """The model of a system's YAML."""
    described = yaml.safe_load(config.read_text(encoding="utf-8"))["model"]["config"]
    if config.stem == "text_hf":  # its network lies on the hub
        described["streams"]["words"] |= {"model": str(request.getfixturevalue("hf_folder")), "last_layers": 1}
    return from_plain(ModelConfig, described)


@pytest.fixture
def model(described: ModelConfig) -> EmotionModel:
    torch.manual_seed(0)
    return build_model(described, load=False, tokenizer=build_tokenizer(described, WORDS))


def make_batch(config: ModelConfig, clips: int = 3, size: int = SIZE) -> Batch:
    """Return clips of noise that have all that a model reads, each in full length."""
    torch.manual_seed(1)
    clip = config.clip
    found: dict[str, Any] = {}
    if "video" in config.reads:
        found["video"] = torch.randint(0, 256, (clips, clip.frames, 3, size, size), dtype=torch.uint8)
    if "audio" in config.reads:
        found["audio"] = 0.1 * torch.randn(clips, round(clip.seconds * clip.sample_rate))
    if "text" in config.reads:
        found["text"] = torch.randint(5, 11, (clips, clip.tokens))
    masks = {f"{name}_mask": torch.ones(x.shape[:2], dtype=torch.bool) for name, x in found.items()}
    features = {
        stream.features: Tokens(torch.randn(clips, 12, stream.width), torch.ones(clips, 12, dtype=torch.bool))
        for stream in config.streams.values()
        if isinstance(stream, FeaturesConfig)
    }
    label = torch.arange(clips) % len(config.label_set.names)
    span = torch.tensor([1.0, 0.83, 0.47, 0.05])[:clips]
    return Batch(tuple(map(str, range(clips))), features=features, label=label, span=span, **found, **masks)


def ends_early(batch: Batch) -> Batch:
    """Return a batch whose first clip has half of everything that has a length, and frames at all times."""
    half = {}
    for name in ("audio", "text"):
        mask = getattr(batch, f"{name}_mask")
        if mask is not None:
            half[f"{name}_mask"] = halved(mask)
    features = {name: Tokens(tokens.x, halved(tokens.mask)) for name, tokens in batch.features.items()}
    return replace(batch, features=features, **half)


def halved(mask: Tensor) -> Tensor:
    mask = mask.clone()
    mask[0, mask.shape[1] // 2 :] = False
    return mask


def with_garbage(batch: Batch) -> Batch:
    """Return a batch with something else wherever its masks are False."""
    found: dict[str, Any] = {}
    for name, garbage in (("video", 255), ("audio", 0.7), ("text", 7)):
        x, mask = getattr(batch, name), getattr(batch, f"{name}_mask")
        if x is not None:
            found[name] = x.where(mask.view(*mask.shape, *[1] * (x.ndim - 2)), torch.tensor(garbage, dtype=x.dtype))
    features = {
        name: Tokens(tokens.x.where(tokens.mask.unsqueeze(2), torch.tensor(9.0)), tokens.mask)
        for name, tokens in batch.features.items()
    }
    return replace(batch, features=features, **found)


def lacking(batch: Batch, name: str, clip: int) -> Batch:
    """Return a batch whose clip lacks one modality; what lies there is left for the mask to hide."""
    mask = batch.read(name)[1].clone()
    mask[clip] = False
    if name in batch.features:
        return replace(batch, features={**batch.features, name: Tokens(batch.features[name].x, mask)})
    changes: dict[str, Any] = {f"{name}_mask": mask}
    return replace(batch, **changes)


def answer(model: EmotionModel, batch: Batch) -> Tensor:
    with torch.no_grad():
        return model.eval()(batch).logits


def same(a: Tensor, b: Tensor) -> None:
    assert a.isfinite().all()
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@every_tiny
def test_what_a_mask_hides_changes_nothing(model: EmotionModel) -> None:
    batch = ends_early(make_batch(model.config))
    for name in model.config.reads:
        batch = lacking(batch, name, 2)
    same(answer(model, with_garbage(batch)), answer(model, batch))


@every_tiny
def test_a_clip_may_lack_any_modality_whatever_its_neighbours_have(model: EmotionModel) -> None:
    batch = make_batch(model.config)
    whole = answer(model, batch)
    for name in model.config.reads:
        found, alone = answer(model, lacking(batch, name, 1)), answer(model, batch.without(name))
        same(found[1], alone[1])
        same(found[[0, 2]], whole[[0, 2]])
        assert not torch.allclose(found[1], whole[1], atol=1e-5), f"{name} does not matter"


@every_tiny
def test_every_parameter_that_is_trained_receives_a_gradient(model: EmotionModel) -> None:
    model.train()
    batch = make_batch(model.config, clips=4)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d) and not module.weight.any():
            nn.init.ones_(module.weight)  # X3D's residual branches begin as zeros, and learn from the second step on
    for _ in range(3):  # dropout and hidden modalities may leave some out of one step
        output = model(batch)
        total = sum(F.cross_entropy(logits, batch.label) for logits in answers(output))
        total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
    still = {name for name, parameter in model.named_parameters() if name in trained and not parameter.grad.any()}
    assert still == set()


def answers(output: Any) -> list[Tensor]:
    """Return all that a model in training says: its answer, those of its copies and of each stream alone."""
    return [output.logits, *output.copies, *output.stream_logits.values()]


@every_tiny
def test_one_batch_can_be_learned_by_heart(model: EmotionModel) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout | nn.Dropout1d | nn.Dropout2d):
            module.p = 0.0
    batch = make_batch(model.config, clips=4)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for step in range(1, 61):
        model.train()
        output = model(batch)
        loss = sum(F.cross_entropy(logits, batch.label) for logits in answers(output))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 4 == 0 and (answer(model, batch).argmax(dim=1) == batch.label).all():
            return
    raise AssertionError(f"after 60 steps the loss is {float(loss.detach()):.3f}")


@every_tiny
def test_a_checkpoint_gives_the_same_answers(model: EmotionModel, tmp_path: Path) -> None:
    batch = make_batch(model.config)
    path = write_checkpoint(model, tmp_path / "a.ckpt")
    again, _ = read_checkpoint(path)
    torch.testing.assert_close(answer(again, batch), answer(model, batch))


class Exported(nn.Module):
    """A model whose inputs and answer are plain tensors, as an export wants them."""

    def __init__(self, model: EmotionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: dict[str, Tensor], features: dict[str, tuple[Tensor, Tensor]]) -> Tensor:
        streams = {name: Tokens(*pair) for name, pair in features.items()}
        return self.model(Batch((), features=streams, **x)).logits


def inputs(model: EmotionModel, batch: Batch) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    """Return what an exported model is given of a batch."""
    read = [name for name in ("video", "audio", "text") if name in model.config.reads]
    x = {name: getattr(batch, name) for each in read for name in (each, f"{each}_mask")}
    return x | {"span": batch.span}, {name: (tokens.x, tokens.mask) for name, tokens in batch.features.items()}


@every_tiny
def test_it_can_be_exported_for_any_number_of_clips(model: EmotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    check_export(model, monkeypatch)


def test_a_causal_transformer_can_be_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    described = yaml.safe_load((CONFIGS / "tiny/early_features.yaml").read_text(encoding="utf-8"))["model"]["config"]
    described["fusion"]["temporal"] = {"kind": "transformer", "width": 16, "heads": 2, "causal": True}
    check_export(build_model(from_plain(ModelConfig, described)), monkeypatch)


def check_export(model: EmotionModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export a model and ask the program about other and more clips than it was traced with."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # to check a shape would settle it
    model.eval()
    given = inputs(model, make_batch(model.config))
    torch.backends.mha.set_fastpath_enabled(False)  # its kernel has no trace
    try:
        sizes = tree_map(lambda _: {0: Dim("clips", min=2, max=64)}, given)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The tensor attributes", UserWarning)  # an LSTM lists its weights twice
            program = torch.export.export(Exported(model), given, dynamic_shapes=sizes)
    finally:
        torch.backends.mha.set_fastpath_enabled(True)
    early = ends_early(make_batch(model.config, clips=4))
    same(program.module()(*inputs(model, early)), answer(model, early))


@pytest.mark.slow
@pytest.mark.parametrize("config", OWN, ids=lambda path: path.stem)
def test_a_system_of_its_own_size_answers(model: EmotionModel) -> None:
    model.eval()
    with FakeTensorMode(allow_non_fake_inputs=True):  # shapes and no numbers
        assert answer(model, make_batch(model.config, clips=2, size=224)).shape == (
            2,
            len(model.config.label_set.names),
        )


def test_a_system_comes_in_two_sizes() -> None:
    shared = {path.stem: found[0] for path in OWN if (found := heads(path, "# Tiny: "))}
    assert {path.stem for path in TINY} == {path.stem for path in OWN} - shared.keys()
    assert set(shared.values()) <= {path.stem for path in TINY}


def heads(config: Path, what: str) -> list[str]:
    """Return what a YAML says of itself in lines that begin so."""
    lines = config.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(what) for line in lines if line.startswith(what)]


@pytest.mark.parametrize("config", OWN, ids=lambda path: path.stem)
def test_a_system_names_its_published_result(config: Path) -> None:
    assert len(heads(config, "# Published: ")) == 1
