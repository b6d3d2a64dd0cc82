"""A training that begins from a checkpoint: what is loaded, what is said, and whom it has learned from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mmer.checkpoint import Card, checkpoint_hash, read_checkpoint
from mmer.config import FeaturesConfig, LSTMConfig, ModelConfig, TextConfig, WaveCNNConfig
from mmer.corpora.leaks import join_marks, mark_clips
from mmer.corpora.manifest import Row
from mmer.errors import CheckpointError
from mmer.model import EmotionModel, build_model
from mmer.training.cli import main
from mmer.training.origin import begin_from, report, shares_words
from mmer.training.past import read_past
from tests.conftest import write_checkpoint

pytestmark = pytest.mark.filterwarnings("default")


def begin(checkpoint: Path, config: ModelConfig) -> EmotionModel:
    return begin_from(checkpoint, lambda load: build_model(config, load=load))[0]


def test_everything_that_fits_is_loaded(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, card = read_checkpoint(checkpoint)
    begun = begin(checkpoint, card.model)
    torch.testing.assert_close(begun.state_dict(), model.state_dict(), rtol=0, atol=0)
    lines = capsys.readouterr().err.splitlines()
    count = len(list(model.parameters()))
    assert lines[0] == f"train.py: init {checkpoint}: {count} of {count} parameters loaded"
    parts = [line.removeprefix(f"train.py: init {checkpoint}: ").partition(":")[0] for line in lines[1:]]
    assert parts == ["encoders.face", "encoders.voice", "fusion", "head", "stream_heads.face", "stream_heads.voice"]
    assert not any("not " in line or "left" in line for line in lines)


def test_what_is_of_another_shape_or_stream_begins_anew_and_is_named(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, card = read_checkpoint(checkpoint)
    config = replace(
        card.model,
        streams={"voice": card.model.streams["voice"], "other": WaveCNNConfig("wave_cnn", "tiny")},
        fusion=replace(card.model.fusion, depth=2),
        labels="ekman7",
    )
    begun = begin(checkpoint, config)
    said = capsys.readouterr().err
    voice = len(model.encoders["voice"].state_dict())
    assert f": encoders.voice: {voice} of {voice}\n" in said
    assert f": encoders.other: 0 of {voice}, it is not in the checkpoint\n" in said
    assert "(not there)" in said, "the fusion has one more layer"
    assert ": head: 0 of 2, not head.1.bias ([8] there, [7] here), head.1.weight ([8, 32] there, [7, 32] here)" in said
    assert "left in the checkpoint: encoders.face (" in said
    torch.testing.assert_close(begun.encoders["voice"].state_dict(), model.encoders["voice"].state_dict())


def test_buffers_are_counted_apart() -> None:
    ours, theirs = ({f"encoders.{name}": torch.zeros(2) for name in names} for names in (("a.w", "a.window"), ("a.w",)))
    said = list(report(ours, {"encoders.a.w"}, theirs, theirs, {}))
    assert said == [
        "1 of 1 parameters loaded",
        "encoders.a: 1 of 1",
        "buffers, which no optimiser learns: 0 of 1, not encoders.a.window (not there)",
    ]
    assert list(report(theirs, {"encoders.a.w"}, ours, theirs, {}))[-1] == "left in the checkpoint: encoders.a (1)"


def test_heads_of_other_classes_begin_anew_although_they_would_fit(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight classes in another order: the same shapes, and other answers."""
    model, card = read_checkpoint(checkpoint)
    begun = begin(checkpoint, replace(card.model, labels=tuple(reversed(card.model.label_set.names))))
    assert not torch.equal(begun.head[1].weight, model.head[1].weight)
    said = capsys.readouterr().err
    assert "head: 0 of 2, not head.1.bias (of other classes), head.1.weight (of other classes)" in said


def features(steps: int | None, table: str = "face_posteriors", width: int = 7) -> FeaturesConfig:
    return FeaturesConfig("features", table, width, temporal=None if steps is None else LSTMConfig("lstm", width=steps))


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (features(8), features(8), None),
        (features(None), features(None), None),
        (features(8), features(8, "pitch"), "of the table face_posteriors"),
        (features(None), features(None, "pitch"), "of the table face_posteriors"),
        (features(8), features(16), "none of its weights fits"),
        (features(None), features(None, width=9), "none of its weights fits"),
    ],
)
def test_statistics_of_a_table_come_with_the_weights_that_know_them_or_not_at_all(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    before: FeaturesConfig,
    after: FeaturesConfig,
    reason: str | None,
) -> None:
    config = ModelConfig({"table": before, "voice": WaveCNNConfig("wave_cnn", "tiny")})
    model = build_model(config)
    model.encoders["table"].fit(torch.full((7,), 120.0), torch.full((7,), 5.0), 9)
    path = write_checkpoint(model, tmp_path / "table.ckpt")
    begun = begin(path, replace(config, streams={**config.streams, "table": after}))
    assert bool((begun.encoders["table"].mean == 120).all()) == (reason is None)
    assert begun.encoders["table"].longest == (9 if reason is None else None)
    same_head = torch.equal(begun.stream_heads["table"][1].weight, model.stream_heads["table"][1].weight)
    assert same_head == (
        after.features == before.features and begun.encoders["table"].dim == model.encoders["table"].dim
    )
    said = capsys.readouterr().err
    assert f"encoders.table.steps ({reason})" in said or reason is None


def test_a_table_may_be_called_as_a_part_of_a_layer_is(tmp_path: Path) -> None:
    config = ModelConfig({"weight": features(None), "voice": WaveCNNConfig("wave_cnn", "tiny")})
    path = write_checkpoint(build_model(config), tmp_path / "table.ckpt")
    _, loaded = begin_from(
        path, lambda _: build_model(replace(config, streams={**config.streams, "weight": features(None, "pitch")}))
    )
    assert "fusion.query" in loaded
    assert not any(".weight." in name for name in loaded)


def test_a_checkpoint_of_which_nothing_fits_is_refused(checkpoint: Path) -> None:
    config = ModelConfig({"mouth": WaveCNNConfig("wave_cnn", "base")}, labels="ekman7")
    with pytest.raises(CheckpointError, match=r"none of its .* fits by name and shape; it has the streams face"):
        begin(checkpoint, config)


def test_weights_that_the_checkpoint_brings_are_not_looked_for(checkpoint: Path) -> None:
    _, card = read_checkpoint(checkpoint)
    face = replace(card.model.streams["face"], weights="nowhere.pt")
    begin(checkpoint, replace(card.model, streams={**card.model.streams, "face": face}))
    with pytest.raises(CheckpointError, match=r"nowhere\.pt"):
        begin(checkpoint, replace(card.model, streams={"nose": face, "voice": card.model.streams["voice"]}))


@pytest.fixture
def fit(voice_config: Path, tmp_path: Path) -> Callable[..., int]:
    """Train the voice for an epoch: ``fit(name of the run, flag, ...)``."""

    def run(name: str, *flags: str) -> int:
        folder = f"--trainer.default_root_dir={tmp_path / name}"
        return main(["fit", f"--config={voice_config}", "--trainer.max_epochs=1", folder, *flags])

    return run


def card_of(tmp_path: Path, name: str) -> Card:
    return read_checkpoint(tmp_path / name / "checkpoints/last.ckpt")[1]


def test_a_training_begins_from_another_and_remembers_it(
    fit: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("first", "--data.split.train=[1,2]") == 0
    first = tmp_path / "first/checkpoints/best.ckpt"
    capsys.readouterr()
    init = f"--init={first}"
    assert fit("second", init, "--data.split.train=[3]", "--data.split.validation=[2]", "--model.optim.lr=1e-9") == 0
    said = capsys.readouterr().err
    past = f"note: the training began from {first}: speakers of noise, 1, 2 trained"
    assert f"train.py: {past}" in said
    assert f"validation chooses kindly: {first} has learned from speakers 2 or was chosen on them" in said
    card, before = card_of(tmp_path, "second"), read_checkpoint(first)[1]
    assert (card.origin.path, card.origin.sha256) == (str(first), checkpoint_hash(first))
    assert past.removeprefix("note: ") in card.notes and not card.leaks
    assert card.marks == join_marks(card.marks, before.marks), "clips of the first are known to the second"
    weights = [read_checkpoint(tmp_path / name / "checkpoints/best.ckpt")[0] for name in ("first", "second")]
    torch.testing.assert_close(weights[0].state_dict(), weights[1].state_dict(), rtol=0, atol=1e-6)

    again = ["--data.split.train=[3]", "--data.split.validation=[2]", "--model.optim.lr=1e-9", "--trainer.max_epochs=2"]
    assert fit("second", "--ckpt_path=last", *again) == 0
    resumed = card_of(tmp_path, "second")
    assert (resumed.origin, resumed.marks, resumed.notes) == (card.origin, card.marks, card.notes)
    assert fit("second", "--ckpt_path=last", init, *again) == 0
    assert fit("second", "--ckpt_path=last", "--init=elsewhere.ckpt", *again) == 2
    assert "init=elsewhere.ckpt begins a training and --ckpt_path=" in capsys.readouterr().err


def test_whom_the_first_training_knows_the_second_does_not_test_unasked(
    fit: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit("first") == 0
    init = f"--init={tmp_path / 'first/checkpoints/best.ckpt'}"
    other = ["--data.split.test=[4]", "--data.split.validation=[6]"]
    assert fit("second", init, *other) == 2
    said = capsys.readouterr().err
    assert "has learned from speakers 4 or was chosen on them, and this split tests them; test others, or data." in said
    assert not (tmp_path / "second/checkpoints").exists()
    assert fit("second", init, *other, "--data.split.allow_leak=true") == 0
    assert "warning: LEAKY split, its scores are too high: /" in capsys.readouterr().err
    (leak,) = card_of(tmp_path, "second").leaks
    assert leak.endswith("has learned from speakers 4 or was chosen on them")


def test_a_checkpoint_that_a_stream_names_is_a_past_too(checkpoint: Path) -> None:
    _, card = read_checkpoint(checkpoint)
    face = replace(card.model.streams["face"], weights=f"{checkpoint}#face")
    other = replace(card.model.streams["face"], weights="KINETICS400_V1")
    assert read_past(None, replace(card.model, streams={"face": face, "other": other})) == {str(checkpoint): card}


def test_a_tokenizer_is_taken_over_with_its_reader() -> None:
    voice, words = WaveCNNConfig("wave_cnn"), TextConfig("text")
    other = replace(words, width=32)
    assert shares_words(ModelConfig({"words": words}), ModelConfig({"voice": voice, "text": words}))
    assert not shares_words(ModelConfig({"words": words}), ModelConfig({"text": other}))
    assert not shares_words(ModelConfig({"voice": voice}), ModelConfig({"voice": voice}))


def test_marks_are_joined() -> None:
    rows = [Row(key, "noise", "1", "sad", extra={"sound": key}) for key in ("a", "b", "c")]
    assert join_marks(mark_clips(rows[:2]), mark_clips(rows[1:])) == mark_clips(rows)
