"""Averages of the weights, early stopping, a plateau, frozen encoders: in trainings that last a second."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.optim.swa_utils
import yaml
from torch import Tensor

from mmer.checkpoint import read_checkpoint
from mmer.config import AveragingConfig, OptimConfig
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.evaluation.metrics import score
from mmer.evaluation.predictions import Predictions
from mmer.training import cli
from mmer.training.averaging import decaying, uniform
from mmer.training.cli import main

pytestmark = pytest.mark.filterwarnings("default")

CPU = torch.device("cpu")
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def fit(voice_config: Path) -> Callable[..., int]:
    """Train the voice alone: ``fit(flag, ...)``."""
    return lambda *flags: main(["fit", f"--config={voice_config}", *flags])


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Tensor]]:
    """The weights at the end of each epoch."""
    found: list[dict[str, Tensor]] = []
    original = cli.EmotionClassifier.on_train_epoch_end

    def keep(self: cli.EmotionClassifier) -> None:
        found.append({name: value.clone() for name, value in self.state_dict().items()})
        original(self)

    monkeypatch.setattr(cli.EmotionClassifier, "on_train_epoch_end", keep)
    return found


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def test_swa_keeps_the_mean_of_the_ends_of_epochs_from_its_start_on(
    fit: Callable[..., int], tmp_path: Path, ends: list[dict[str, Tensor]]
) -> None:
    averaging = "--model.averaging={kind: swa, start: 0.5}"
    assert fit(averaging, "--trainer.max_epochs=4") == 0
    last = read(tmp_path / "run/checkpoints/last.ckpt")
    for name, value in last["state_dict"].items():
        torch.testing.assert_close(value, (ends[2][name] + ends[3][name]) / 2)
    torch.testing.assert_close(last["current_model_state"], ends[3], rtol=0, atol=0)
    assert any(not torch.equal(ends[2][name], ends[3][name]) for name in ends[3])


def test_before_its_start_the_newest_weights_are_kept(
    fit: Callable[..., int], tmp_path: Path, ends: list[dict[str, Tensor]]
) -> None:
    assert fit("--model.averaging={kind: ema, start: 0.9}", "--trainer.max_epochs=2") == 0
    assert len(ends) == 2
    kept = read(tmp_path / "run/checkpoints/last.ckpt")
    assert kept["epoch"] == 1 and int(kept["averaging_state"]["n_averaged"]) > 1
    best = read(tmp_path / "run/checkpoints/best.ckpt")
    if best["epoch"] == 0:
        torch.testing.assert_close(best["state_dict"], ends[0], rtol=0, atol=0)


def test_what_is_kept_of_an_average_was_validated_and_the_card_says_it(
    fit: Callable[..., int], tmp_path: Path, ends: list[dict[str, Tensor]]
) -> None:
    assert fit("--model.averaging={kind: ema, decay: 0.9}", "--model.optim={kind: sgd, lr: 0.1}") == 0
    path = tmp_path / "run/checkpoints/best.ckpt"
    found = read(path)
    newest = ends[found["epoch"]]
    assert any(not torch.equal(value, newest[name]) for name, value in found["state_dict"].items())
    chosen = next(state["best_model_score"] for name, state in found["callbacks"].items() if "BestCheckpoint" in name)
    answers = evaluate_checkpoint(path, part="validation", device=CPU, progress=False).predictions
    assert float(chosen) == pytest.approx(score(answers)["uar"])
    card = read_checkpoint(path)[1]
    assert card.averaging == AveragingConfig("ema", decay=0.9)
    assert card.optim == OptimConfig("sgd", lr=0.1)


def test_an_oracle_watches_the_average(fit: Callable[..., int], tmp_path: Path) -> None:
    flags = ["--model.averaging={kind: ema, decay: 0.9}", "--model.optim.lr=0.01", "--trainer.max_epochs=1", "--oracle"]
    for name, validation in (("chosen", "[5]"), ("last", "[]")):
        run = tmp_path / name
        assert fit(*flags, f"--data.split.validation={validation}", f"--trainer.default_root_dir={run}") == 0
        expected = evaluate_checkpoint(run / "checkpoints/best.ckpt", device=CPU, progress=False).predictions
        watched = Predictions.read(run / "oracle.csv")
        assert watched.key == expected.key
        torch.testing.assert_close(
            torch.from_numpy(watched.probabilities), torch.from_numpy(expected.probabilities), rtol=1e-4, atol=1e-5
        )


def test_an_interrupted_recipe_ends_as_if_nothing_had_happened(
    fit: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ["--trainer.max_epochs=3", "--model.averaging={kind: ema, start: 0.4}", "--model.early_stopping=9"]
    recipe += ["--model.optim={kind: sgd, lr: 0.05, nesterov: true, schedule: plateau, patience: 0, factor: 0.5}"]
    recipe += ["--model.config.streams.voice.dropout=0.3", "--model.config.fusion.dropout=0.3"]
    recipe += ["--model.class_weights=balanced", "--model.watch=loss"]
    assert fit(*recipe, f"--trainer.default_root_dir={tmp_path / 'whole'}") == 0

    def interrupt(self: cli.EmotionClassifier) -> None:
        if self.current_epoch == 2:
            raise RuntimeError("the power failed")

    with monkeypatch.context() as patch:
        patch.setattr(cli.EmotionClassifier, "on_train_epoch_start", interrupt)
        with pytest.raises(RuntimeError, match="the power failed"):
            fit(*recipe)
    assert fit(*recipe, "--ckpt_path=last") == 0
    whole, resumed = (read(tmp_path / run / "checkpoints/last.ckpt") for run in ("whole", "run"))
    for state in ("state_dict", "current_model_state", "averaging_state"):
        torch.testing.assert_close(resumed[state], whole[state], rtol=0, atol=0)
    assert resumed["lr_schedulers"] == whole["lr_schedulers"]
    assert resumed["callbacks"].keys() == whole["callbacks"].keys()
    stopping = next(name for name in whole["callbacks"] if name.startswith("StopEarly"))
    assert resumed["callbacks"][stopping] == whole["callbacks"][stopping], "what is watched is the same"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model.optim.lr=0.5"], "another model.optim"),
        (["--model.averaging.kind=ema"], "another model.averaging"),
    ],
)
def test_a_run_goes_on_with_its_own_recipe(
    fit: Callable[..., int], voice_config: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert fit("--trainer.max_epochs=1") == 0
    assert fit("--ckpt_path=last", *flags) == 2
    assert said in capsys.readouterr().err
    assert main(["test", f"--config={voice_config}", "--ckpt_path=best", *flags]) == 0, "who tests it does not mind"


def test_a_training_that_becomes_no_better_stops_and_says_so(
    fit: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("--model.early_stopping=2", "--model.optim.lr=1e-12", "--trainer.max_epochs=9") == 0
    assert read(tmp_path / "run/checkpoints/last.ckpt")["epoch"] == 2
    said = capsys.readouterr().err
    assert "train.py: note: stopped after 3 epochs: val/uar has not become better than 0." in said
    assert said.rstrip().endswith("in 2 validations")


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        ("--model.early_stopping=3", "model.early_stopping"),
        ("--model.optim.schedule=plateau", "model.optim.schedule=plateau"),
    ],
)
def test_nobody_is_watched_where_nobody_validates(
    fit: Callable[..., int],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flag: str,
    name: str,
) -> None:
    monkeypatch.setattr("mmer.training.classifier.build_model", lambda *args, **how: pytest.fail("a model was built"))
    assert fit(flag, "--data.split.validation=[]", "--model.averaging.kind=ema") == 2
    said = f"error: {name} watches validation speakers and there are none; name some (data.split.validation)"
    assert said in capsys.readouterr().err


def test_a_plateau_is_one_of_validations_however_rare(
    fit: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plateau = "--model.optim={kind: sgd, lr: 1.0e-6, schedule: plateau, patience: 0, factor: 0.5}"
    assert fit(plateau, "--trainer.max_epochs=4", "--trainer.check_val_every_n_epoch=2") == 0
    (group, *_) = read(tmp_path / "run/checkpoints/last.ckpt")["optimizer_states"][0]["param_groups"]
    assert group["lr"] == 5e-7, "the second validation was no better than the first"
    assert fit(plateau, "--trainer.limit_val_batches=0") == 2
    said = "model.optim.schedule=plateau watches validation speakers and trainer.limit_val_batches=0 shows none; raise"
    assert said in capsys.readouterr().err


def test_a_plateau_within_an_epoch_is_in_the_checkpoint_of_its_validation(
    fit: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on from there counts the validation once, as one that was never broken off."""
    plateau = "--model.optim={kind: sgd, lr: 1.0e-6, schedule: plateau, patience: 0, factor: 0.5}"
    recipe = [plateau, "--trainer.max_epochs=1", "--trainer.val_check_interval=3", "--data.batch_size=2"]
    assert fit(*recipe, f"--trainer.default_root_dir={tmp_path / 'whole'}") == 0
    step = cli.EmotionClassifier.training_step

    def interrupt(self: cli.EmotionClassifier, batch: Any, number: int) -> Tensor:
        if number == 4:
            raise RuntimeError("the power failed")
        return step(self, batch, number)

    with monkeypatch.context() as patch:
        patch.setattr(cli.EmotionClassifier, "training_step", interrupt)
        with pytest.raises(RuntimeError, match="the power failed"):
            fit(*recipe)
    (kept,) = (tmp_path / "run/checkpoints").iterdir()
    assert (kept.name, read(kept)["global_step"], read(kept)["lr_schedulers"][0]["last_epoch"]) == ("best.ckpt", 3, 1)
    assert fit(*recipe, "--ckpt_path=auto") == 0
    whole, resumed = (read(tmp_path / run / "checkpoints/last.ckpt") for run in ("whole", "run"))
    assert resumed["lr_schedulers"] == whole["lr_schedulers"]
    (group, *_) = resumed["optimizer_states"][0]["param_groups"]
    assert group["lr"] == 5e-7, "the second validation was no better than the first"
    torch.testing.assert_close(resumed["state_dict"], whole["state_dict"], rtol=0, atol=0)


def test_layers_of_their_own_rate_want_layers(fit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model.optim.layer_decay=0.75") == 2
    said = "model.optim.layer_decay=0.75 is for encoders with pretrained layers, and voice have none; leave it out"
    assert said in capsys.readouterr().err


def test_an_endless_training_has_no_share(fit: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert fit("--model.averaging={kind: swa, start: 0.75}", "--trainer.max_epochs=-1") == 2
    said = "model.averaging.start=0.75 is a share of the epochs, and the training has no end; give trainer.max_epochs"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("schedule", ["{schedule: cosine}", "{schedule: constant, warmup: 0.1}"])
def test_a_course_over_an_endless_training_is_refused(
    fit: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path, schedule: str
) -> None:
    assert fit(f"--model.optim={schedule}", "--trainer.max_epochs=-1") == 2
    said = (
        "has its course over the whole training, and nobody knows how many steps this one has; give trainer.max_epochs"
    )
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run/checkpoints").exists()


@pytest.mark.parametrize("schedule", ["{schedule: plateau}", "{schedule: constant, warmup: 0.0}"])
def test_an_endless_training_ends_where_it_becomes_no_better(
    fit: Callable[..., int], tmp_path: Path, schedule: str
) -> None:
    flags = [f"--model.optim={schedule}", "--model.optim.lr=1e-12", "--model.early_stopping=1"]
    assert fit(*flags, "--trainer.max_epochs=-1") == 0
    assert read(tmp_path / "run/checkpoints/last.ckpt")["epoch"] == 1


def test_a_training_that_diverges_stops_and_says_why(
    fit: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cli.EmotionClassifier.validation_step

    def diverge(self: cli.EmotionClassifier, *args: Any) -> None:
        if self.current_epoch == 1:
            torch.nn.init.constant_(self.model.head[1].weight, torch.nan)
        original(self, *args)

    monkeypatch.setattr(cli.EmotionClassifier, "validation_step", diverge)
    assert fit("--model.early_stopping=5", "--model.watch=loss", "--trainer.max_epochs=9") == 0
    said = capsys.readouterr().err
    assert "note: stopped after 2 epochs: val/loss is nan; a lower model.optim.lr may keep it finite" in said


def test_frozen_encoders_stay_as_they_are(
    fit: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: list[dict[str, Tensor]]
) -> None:
    assert fit("--trainer.max_epochs=1") == 0
    ends.clear()
    seen = []
    original = cli.EmotionClassifier.training_step

    def look(self: cli.EmotionClassifier, *args: Any) -> Tensor:
        seen.append((self.training, self.model.fusion.training, self.model.encoders["voice"].training))
        return original(self, *args)

    monkeypatch.setattr(cli.EmotionClassifier, "training_step", look)
    init = f"--init={tmp_path / 'run/checkpoints/best.ckpt'}"
    assert fit(init, "--model.freeze=[voice]", "--trainer.max_epochs=2") == 0
    assert set(seen) == {(True, True, False)}
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]) == name.startswith("model.encoders."), name


def test_an_exponential_average_forgets_its_beginning_quickly() -> None:
    average = decaying(0.5)
    assert average(torch.zeros(1), torch.ones(1), torch.tensor(1)) == pytest.approx(9 / 11)
    assert average(torch.zeros(1), torch.ones(1), torch.tensor(1000)) == pytest.approx(0.5)


RECIPES = re.findall(
    r"^```yaml\n(.*?)^```", (DOCS / "recipes.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_documented_recipe_is_understood(voice_config: Path, tmp_path: Path, recipe: str) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe)
    with pytest.raises(SystemExit, match="0"):
        main(["fit", f"--config={voice_config}", f"--config={tmp_path / 'recipe.yaml'}", "--print_config"])
    described = yaml.safe_load(recipe)["model"]
    OptimConfig(**described["optim"])
    AveragingConfig(**described.get("averaging", {}))


def test_an_average_leaves_counters_whole_where_pytorch_averages_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim.swa_utils, "_get_foreach_kernels_supported_devices", lambda: ["cpu"])  # as on a GPU
    network = torch.nn.BatchNorm1d(2)
    average = torch.optim.swa_utils.AveragedModel(network, use_buffers=True, avg_fn=uniform)
    for value in (1.0, 3.0):
        torch.nn.init.constant_(network.weight, value)
        network.num_batches_tracked.add_(1)
        average.update_parameters(network)
    torch.testing.assert_close(average.module.weight, torch.full((2,), 2.0), check_dtype=False)
    assert average.module.num_batches_tracked == 2
