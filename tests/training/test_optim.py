"""Who learns at which rate, and how the rate goes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from mmer.batch import Tokens
from mmer.config import AveragingConfig, ModelConfig, OptimConfig, TransformerFusionConfig, WaveCNNConfig
from mmer.errors import ConfigError
from mmer.model import EmotionModel
from mmer.training.optim import build_optimizer, build_schedule, group_parameters


class Pretrained(nn.Module):
    """An encoder of a stem and two layers."""

    dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.low, self.high = (nn.Linear(4, 4) for _ in range(3))

    @property
    def layers(self) -> list[nn.Module]:
        return [self.low, self.high]

    def forward(self, x: Tensor, mask: Tensor) -> Tokens:
        return Tokens(x, mask)


def make_model(encoder: nn.Module) -> EmotionModel:
    fusion = TransformerFusionConfig(dim=8, depth=1, heads=1)
    return EmotionModel(ModelConfig({"voice": WaveCNNConfig("wave_cnn")}, fusion=fusion), {"voice": encoder})


def rates(model: EmotionModel, config: OptimConfig) -> dict[str, tuple[float, float]]:
    """Return rate and decay of each parameter that learns."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = group_parameters(model, config)
    return {names[each]: (group["lr"], group["weight_decay"]) for group in groups for each in group["params"]}


def test_all_learn_at_one_rate_and_norms_and_biases_do_not_decay() -> None:
    model = make_model(Pretrained())
    found = rates(model, OptimConfig(lr=0.5, weight_decay=0.1))
    assert found.keys() == {name for name, _ in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert found[name] == (0.5, 0.0 if parameter.ndim == 1 else 0.1), name


def test_each_layer_learns_more_slowly_than_the_one_above() -> None:
    config = OptimConfig(lr=1.0, layer_decay=0.5, encoder_lr=0.1)
    found = rates(make_model(Pretrained()), config)
    assert [found[f"encoders.voice.{name}.weight"][0] for name in ("high", "low", "stem")] == pytest.approx(
        [0.05, 0.025, 0.0125]
    )
    assert {rate for name, (rate, _) in found.items() if not name.startswith("encoders.")} == {1.0}
    order = [group["lr"] for group in group_parameters(make_model(Pretrained()), config)]
    assert order == sorted(order, reverse=True), "the log's lr is the first group's"


def test_what_is_frozen_is_left_out() -> None:
    model = make_model(Pretrained())
    model.encoders.requires_grad_(False)
    found = rates(model, OptimConfig(layer_decay=0.5))
    assert found.keys() == {name for name, _ in model.named_parameters() if not name.startswith("encoders.")}


def test_layers_of_their_own_rate_want_layers() -> None:
    with pytest.raises(ConfigError, match=r"layer_decay=0.5 is for encoders with pretrained layers, and voice have"):
        group_parameters(make_model(WithoutLayers()), OptimConfig(layer_decay=0.5))


def test_layers_that_cannot_be_told_are_asked_for_only_where_they_matter() -> None:
    model = make_model(WithUnknownLayers())
    assert rates(model, OptimConfig(lr=1.0, encoder_lr=0.1))["encoders.voice.weight"][0] == pytest.approx(0.1)
    with pytest.raises(ConfigError, match="nobody knows"):
        group_parameters(model, OptimConfig(layer_decay=0.5))


class WithoutLayers(nn.Linear):
    dim = 4

    def __init__(self) -> None:
        super().__init__(4, 4)


class WithUnknownLayers(WithoutLayers):
    @property
    def layers(self) -> list[nn.Module]:
        raise ConfigError("nobody knows")


def test_an_optimiser_is_what_its_description_says() -> None:
    model = make_model(Pretrained())
    adamw = build_optimizer(model, OptimConfig(lr=0.5))
    assert isinstance(adamw, AdamW)
    sgd = build_optimizer(model, OptimConfig("sgd", momentum=0.8, nesterov=True))
    assert isinstance(sgd, SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (0.8, True)
    assert build_optimizer(model, OptimConfig("sgd", dampening=0.9)).defaults["dampening"] == 0.9


def course(config: OptimConfig, steps: int) -> list[float]:
    optimizer = build_optimizer(make_model(Pretrained()), config)
    schedule = build_schedule(optimizer, config, steps, "val/uar")
    assert schedule["interval"] == "step"
    assert isinstance(schedule["scheduler"], LambdaLR)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    return found


def test_a_rate_rises_and_falls_or_stays() -> None:
    assert course(OptimConfig(lr=1.0, warmup=0.2), 10) == pytest.approx(
        [0.5, 1.0, *(0.5 + 0.5 * torch.cos(torch.arange(8).double() * torch.pi / 8)).tolist()]
    )
    assert course(OptimConfig(lr=1.0, warmup=0.2, schedule="constant"), 10) == [0.5, *[1.0] * 9]


@pytest.mark.parametrize(("watch", "values"), [("val/uar", [0.5, 0.4, 0.5, 0.5]), ("val/loss", [1.0, 2.0, 1.0, 1.0])])
def test_a_plateau_lowers_the_rate_where_nothing_becomes_better(watch: str, values: list[float]) -> None:
    config = OptimConfig(lr=1.0, schedule="plateau", patience=1, factor=0.5)
    optimizer = build_optimizer(make_model(Pretrained()), config)
    schedule = build_schedule(optimizer, config, 10, watch)
    assert (schedule["interval"], schedule["monitor"]) == ("epoch", watch)
    plateau = schedule["scheduler"]
    assert isinstance(plateau, ReduceLROnPlateau)
    found = []
    for value in values:
        plateau.step(value)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == [1.0, 1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OptimConfig(lr=0), r"model\.optim\.lr=0 must be positive"),
        (lambda: OptimConfig(weight_decay=-1), r"model\.optim\.weight_decay=-1 must not be negative"),
        (lambda: OptimConfig(warmup=1), r"model\.optim\.warmup=1 must lie in \[0, 1\)"),
        (lambda: OptimConfig(factor=1), r"model.optim.factor=1 must lie in \(0, 1\)"),
        (lambda: OptimConfig(patience=-1), "model.optim.patience=-1 must not be negative"),
        (lambda: OptimConfig(layer_decay=0), r"model.optim.layer_decay=0 must lie in \(0, 1\]"),
        (lambda: OptimConfig(encoder_lr=0), "model.optim.encoder_lr=0 must be positive; model.freeze keeps encoders"),
        (lambda: OptimConfig(momentum=1), r"model.optim.momentum=1 and dampening=0.0 must lie in \[0, 1\)"),
        (lambda: OptimConfig(nesterov=True), "model.optim.nesterov is for kind: sgd with a momentum"),
        (lambda: OptimConfig("sgd", nesterov=True, dampening=0.1), "model.optim.nesterov is for kind: sgd"),
        (lambda: AveragingConfig("ema", decay=1), r"model.averaging.decay=1 must lie in \(0, 1\)"),
        (lambda: AveragingConfig("swa", start=1), r"model.averaging.start=1 must lie in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_work_are_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=message):
        make()
