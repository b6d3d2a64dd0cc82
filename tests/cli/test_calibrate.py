"""``mmer calibrate``: fitted on validation speakers alone, kept in the checkpoint, used by all that answers."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmer.calibration import Calibration
from mmer.checkpoint import CARD, Card, read_checkpoint, write_calibration
from mmer.cli import main
from mmer.config import ClipConfig, ModelConfig, PrepareConfig, SplitConfig, TransformerFusionConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.corpora.splits import AT_RANDOM, make_split
from mmer.data.clip import PreparedClip
from mmer.data.store import clip_path, write_settings
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.media.write import write_clip
from mmer.model import build_model

MODEL = ModelConfig(
    {"voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    labels=("no", "yes"),
    clip=ClipConfig(seconds=0.2),
    fusion=TransformerFusionConfig(dim=16, depth=1, heads=2),
)
RATE = 16_000
SPLIT = SplitConfig("speakers", validation=(2, 4), test=(1, 3))
CLIPS = 36


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The clips of six speakers in a prepared folder, noise of different loudness."""
    root = tmp_path_factory.mktemp("prepared")
    (root / "clips").mkdir()
    found = []
    for i, sound in enumerate(sounds()):
        row = Row(f"clip{i}", "home", str(i % 6), MODEL.labels[(i // 6) % 2], audio=clip_path(root, f"clip{i}"))
        replace(PreparedClip.empty(RATE), audio=sound).save(row.audio)
        found.append(row)
    write_manifest(root / "manifest.csv", found)
    write_settings(root, PrepareConfig(size=64))
    return found


def sounds() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.02 * (1 + i % 7), RATE // 5).astype(np.float32) for i in range(CLIPS)]


@pytest.fixture
def checkpoint(rows: list[Row], tmp_path: Path) -> Path:
    return save(rows, tmp_path / "best.ckpt")


def save(rows: list[Row], path: Path, split: SplitConfig = SPLIT, **changes: Any) -> Path:
    """Write an untrained checkpoint whose answers are far too sure."""
    root = str(rows[0].audio.parents[1])
    card = Card.of_split(
        make_split(rows, split), rows, model=MODEL, prepare=PrepareConfig(size=64), split=split, root=root
    )
    torch.manual_seed(0)
    model = build_model(MODEL, load=False)
    with torch.no_grad():
        model.head[1].weight *= 20
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({CARD: replace(card, **changes).to_plain(), "state_dict": weights, "optimizer_states": [1]}, path)
    return path


def calibrate(checkpoint: Path, *options: str) -> int:
    return main(["calibrate", str(checkpoint), "--device=cpu", *options])


def calibration(path: Path) -> Calibration | None:
    return read_checkpoint(path)[1].calibration


def answers(checkpoint: Path) -> dict[str, np.ndarray]:
    found = evaluate_checkpoint(checkpoint, device=torch.device("cpu"), progress=False).predictions
    return dict(zip(found.key, found.probabilities, strict=True))


def test_it_is_fitted_on_the_validation_speakers_and_kept(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(checkpoint) == 0
    found = calibration(checkpoint)
    assert (found.method, found.speakers, found.clips) == ("temperature", ["2", "4"], 12)
    assert found.scale[0] < 0.7
    assert torch.load(checkpoint, weights_only=True)["optimizer_states"] == [1]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "speakers, validation speakers 2, 4: 12 clips"
    assert lines[1].split() == ["raw", "calibrated", "speaker", "held", "out"]
    assert [line[:10].strip() for line in lines[2:7]] == ["log loss", "ECE", "Brier", "accuracy", "chance"]
    assert lines[7] == f"temperature {1 / found.scale[0]:.3f}"
    assert lines[8] == "note: 'calibrated' is on the very clips of the fit; evaluate.py scores it on the test speakers"
    assert lines[9] == f"written: {checkpoint}"


def test_numbers_for_programs(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(checkpoint, "--format=json", "--method=vector") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["calibration"]["scale"] == list(calibration(checkpoint).scale)
    assert (found["protocol"], found["leaks"], found["synthetic"], found["chance"]) == ("speakers", [], False, 0.5)
    assert found["calibrated"]["log_loss"]["value"] < found["raw"]["log_loss"]["value"]
    low, value, high = (found["raw"]["accuracy"][name] for name in ("low", "value", "high"))
    assert low <= value <= high
    assert set(found["held_out"]) == {"log_loss", "ece", "brier", "accuracy"}


def test_a_single_validation_speaker_has_neither_intervals_nor_others_to_be_held_out_from(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(rows, tmp_path / "best.ckpt", SplitConfig("speakers", validation=(2,), test=(1,)))
    assert calibrate(path) == 0
    assert "held out" not in capsys.readouterr().out


def test_a_second_fit_begins_with_the_raw_answers(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(checkpoint, "--format=json") == 0
    write_calibration(checkpoint, Calibration("temperature", (7.0,)))
    assert calibrate(checkpoint, "--format=json") == 0
    first, second = capsys.readouterr().out.split("\n}\n")[:2]
    assert second == first


def test_another_file_is_written_and_the_checkpoint_left(checkpoint: Path, tmp_path: Path) -> None:
    before = checkpoint.read_bytes()
    assert calibrate(checkpoint, f"--output={tmp_path / 'new.ckpt'}") == 0
    assert checkpoint.read_bytes() == before
    assert calibration(tmp_path / "new.ckpt") is not None


def test_it_can_be_taken_out(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(checkpoint) == 0
    assert calibrate(checkpoint, "--remove") == 0
    assert calibration(checkpoint) is None
    assert capsys.readouterr().out.endswith(f"{checkpoint} has no calibration\n")
    assert calibrate(checkpoint, "--remove", "--format=json") == 0
    assert json.loads(capsys.readouterr().out) == {"checkpoint": str(checkpoint), "calibration": None}


def test_a_leaky_or_drawn_validation_part_is_marked(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(rows, tmp_path / "best.ckpt", SplitConfig("random_leaky"))
    assert calibrate(path) == 0
    assert capsys.readouterr().out.startswith(f"LEAKY split, the probabilities are too high: {AT_RANDOM}")


# --- refusals: one line, and nothing is written


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--precision=0.99"], "a precision of 0.99 is never reached on these 12 clips; the best is "),
        (["--precision=80"], "argument --precision: '80' is no share between 0 and 1, as 0.8"),
        (["--precision=much"], "argument --precision: 'much' is no share between 0 and 1, as 0.8"),
        (["--remove", "--precision=0.8"], "--remove and --precision contradict each other; leave one of them out"),
        (["--method=magic"], "argument --method: invalid choice: 'magic'"),
        (["--output=."], "--output . cannot be a file; name one in a folder that exists"),
        (["--output=no/such/folder/a.ckpt"], "--output no/such/folder/a.ckpt cannot be a file"),
        (["--data.root=nowhere"], "nowhere is not a prepared folder"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    before = checkpoint.read_bytes()
    try:
        code = calibrate(checkpoint, *options)
    except SystemExit as stop:
        code = int(str(stop.code))
    line = capsys.readouterr().err.splitlines()[-1]
    assert (code, said in line) == (2, True), line
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("split", [SplitConfig("speakers", test=(1,)), SplitConfig("table", allow_leak=True)])
def test_a_checkpoint_without_validation_speakers_is_refused(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str], split: SplitConfig
) -> None:
    words = [replace(row, extra={"split": "test" if i < 6 else "train"}) for i, row in enumerate(rows)]
    path = save(words, tmp_path / "best.ckpt", split)
    assert calibrate(path) == 2
    assert capsys.readouterr().err == (
        f"mmer: error: checkpoint {path} has no validation part, and on what it has learned from a calibration would "
        "promise too much; train one whose split has validation speakers\n"
    )


def test_a_folder_without_the_validation_speakers_is_refused(
    rows: list[Row], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    (other / "clips").mkdir(parents=True)
    some = [replace(row, audio=clip_path(other, row.key)) for row in rows if row.speaker == "0"]
    for row in some:
        replace(PreparedClip.empty(RATE), audio=np.zeros(3200, np.float32)).save(row.audio)
    write_manifest(other / "manifest.csv", some)
    write_settings(other, PrepareConfig(size=64))
    assert calibrate(checkpoint, f"--data.root={other}") == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"mmer: error: {other} holds no clip of the validation part that {checkpoint} can use; give the folder that it "
        "was trained on as --data.root"
    )


# --- all that answers uses it


def test_evaluation_and_prediction_give_the_same_calibrated_numbers(
    rows: list[Row], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = answers(checkpoint)
    assert calibrate(checkpoint, "--method=vector") == 0
    expected = answers(checkpoint)
    assert max(np.abs(expected[key] - raw[key]).max() for key in raw) > 0.05
    files = {}
    for row, sound in zip(rows, sounds(), strict=True):
        if row.key in expected:
            files[row.key] = tmp_path / f"{row.key}.wav"
            write_clip(files[row.key], None, samples=sound, sample_rate=RATE, audio_codec="pcm_f32le")
    capsys.readouterr()
    command = ["predict", *map(str, files.values()), f"--checkpoint={checkpoint}", "--device=cpu", "--format=json"]
    assert main(command) == 0
    for answer, key in zip(json.loads(capsys.readouterr().out), files, strict=True):
        assert answer["predicted"] == MODEL.labels[expected[key].argmax()]
        assert list(answer["probabilities"].values()) == pytest.approx(expected[key].tolist(), abs=2e-5)


def test_prediction_abstains_below_the_threshold_that_was_fitted(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = tmp_path / "voice.wav"
    write_clip(sound, None, samples=sounds()[3], sample_rate=RATE, audio_codec="pcm_f32le")

    def predict(threshold: float, form: str) -> str:
        write_calibration(checkpoint, Calibration("temperature", (0.1,), threshold=threshold))
        assert main(["predict", str(sound), f"--checkpoint={checkpoint}", "--device=cpu", f"--format={form}"]) == 0
        return capsys.readouterr().out

    (sure,) = json.loads(predict(0.5, "json"))
    (unsure,) = json.loads(predict(1.0, "json"))
    assert (sure["abstains"], unsure["abstains"]) == (False, True)
    assert (sure["predicted"], sure["probabilities"]) == (unsure["predicted"], unsure["probabilities"])
    share = 100 * unsure["probabilities"][unsure["predicted"]]
    assert predict(1.0, "table").splitlines()[0] == (
        f"{sound}: unsure: {unsure['predicted']} at {share:.1f}%, below 100.0% (audio; 0.2 s)"
    )
    assert predict(0.5, "table").splitlines()[0] == f"{sound}: {sure['predicted']} (audio; 0.2 s)"
    (row,) = csv.DictReader(predict(1.0, "csv").splitlines())
    assert (row["predicted"], row["abstains"]) == (unsure["predicted"], "yes")
    (row,) = csv.DictReader(predict(0.5, "csv").splitlines())
    assert row["abstains"] == "no"


def test_a_precision_becomes_a_threshold_that_keeps_it(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calibrate(checkpoint, "--precision=0.4") == 0
    found = calibration(checkpoint)
    assert found.precision == 0.4 and found.threshold is not None and 0 < found.coverage <= 1
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("abstains below "))
    assert f"{100 * found.coverage:.1f}% of these clips are answered, " in line
    assert float(line.split(", ")[1].split("%")[0]) >= 40
