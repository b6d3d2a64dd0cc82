"""Offline runs at Weights & Biases are read back, byte by byte; the server is a stand-in."""

from __future__ import annotations

import io
import json
import shutil
import signal
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import wandb
from PIL import Image
from wandb.proto import wandb_internal_pb2

from mmer.corpora.manifest import Row
from mmer.data.clip import PreparedClip
from mmer.data.store import clip_path
from mmer.emotions import RAVDESS8
from mmer.errors import ConfigError
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.evaluation.metrics import SCORES
from mmer.evaluation.training_log import read_log
from mmer.training.classifier import EmotionClassifier
from mmer.training.cli import main
from mmer.training.git import read_git
from mmer.training.wandb_callback import TellWandb
from mmer.training.wandb_checkpoint import fetch_checkpoint
from mmer.training.wandb_clips import frame_strip, spread
from mmer.training.wandb_log import open_log
from mmer.training.wandb_server import choose_mode

pytestmark = pytest.mark.filterwarnings("default")

_BLOCK = 32_768
_UAR = (0.25, 0.75, 0.5)  # of the three epochs of the run that is read back
_BEST = 1


def records(path: Path) -> Iterator[Any]:
    """Yield what a .wandb file holds: records in blocks, as LevelDB writes its log, behind a header of 7 bytes."""
    data, place, record = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        if (left := _BLOCK - place % _BLOCK) < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        if place + 7 + length > len(data):
            break  # the rest is not written yet
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            found = wandb_internal_pb2.Record()
            found.ParseFromString(record)
            yield found
            record = b""


@dataclass
class Read:
    """What an offline run holds."""

    id: str = ""
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)
    artifacts: dict[str, Any] = field(default_factory=dict)
    code: int | None = None

    def column(self, name: str) -> list[Any]:
        return [row[name] for row in self.history if name in row]

    def artifact(self, beginning: str) -> Any:
        (found,) = (each for name, each in self.artifacts.items() if name.startswith(beginning))
        return found

    def staged(self, beginning: str) -> dict[str, Path]:
        """Return where the files of an artifact wait for their upload, by their names in it."""
        return {each.path: Path(each.local_path) for each in self.artifact(beginning).manifest.contents}


def read_run(folder: Path) -> Read:
    """Read a run that is over; wandb writes the last of it a moment after it has said that it is."""
    (path,) = folder.glob("run-*.wandb")
    deadline = time.monotonic() + 60
    while (run := read_written(path)).code is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return run


def read_written(path: Path) -> Read:
    run = Read()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        held = getattr(record, kind)
        if kind == "run":
            run.id, run.project = held.run_id, held.project
            run.config |= values(held.config.update)
        elif kind == "config":
            run.config |= values(held.update)
        elif kind == "history":
            run.history.append(values(held.item))
        elif kind == "summary":
            run.summary |= values(held.update)
        elif kind == "metric":
            run.metrics[held.name] = held.step_metric
        elif kind == "artifact":
            run.artifacts[held.name] = held
        elif kind == "exit":
            run.code = held.exit_code
    return run


def values(items: Any) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    forget_keys(monkeypatch, tmp_path_factory.mktemp("home"))


def forget_keys(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    for name in ("API_KEY", "IDENTITY_TOKEN_FILE", "MODE", "RUN_ID", "SWEEP_ID", "DATA_DIR", "BASE_URL"):
        monkeypatch.delenv(f"WANDB_{name}", raising=False)
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("HOME", str(home))  # no netrc there
    monkeypatch.setenv("MMER_CACHE", str(home / "cache"))


@dataclass
class Logged:
    """A finished run, what it holds at Weights & Biases, and what was said."""

    folder: Path
    written: Path
    read: Read
    said: str


@pytest.fixture(scope="module")
def logged(tiny_run_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """A run of three epochs, of which the second is the best."""
    keep, said = EmotionClassifier._log_scores, io.StringIO()

    def scripted(self: EmotionClassifier, stage: Any) -> None:
        fixed = {name: lambda _: _UAR[self.current_epoch] for name in SCORES} if stage == "val" else {}
        with patch.dict(SCORES, fixed):
            keep(self, stage)

    flags = ["--wandb=faces", "--trainer.log_every_n_steps=1", "--trainer.max_epochs=3"]
    with pytest.MonkeyPatch.context() as monkeypatch, redirect_stderr(said):
        forget_keys(monkeypatch, tmp_path_factory.mktemp("home"))
        monkeypatch.setitem(sys.modules, "soundfile", None)  # which is no library of ours
        monkeypatch.setattr(EmotionClassifier, "_log_scores", scripted)
        assert main(["fit", f"--config={tiny_run_config}", *flags]) == 0
    folder = tiny_run_config.parent / "run"
    (written,) = parts(folder)
    return Logged(folder, written, read_run(written), said.getvalue())


def test_without_a_key_the_run_is_offline_and_says_how_to_upload_it(logged: Logged) -> None:
    lines = [line for line in logged.said.splitlines() if line.startswith("train.py: ")]
    assert lines == [f"train.py: wandb sync {logged.written}"]
    assert (logged.read.project, logged.read.code) == ("faces", 0)
    assert json.loads((logged.folder / "wandb.json").read_text()) == {"id": logged.read.id, "project": "faces"}


def test_the_settings_the_split_and_the_code_are_logged(logged: Logged) -> None:
    config = logged.read.config
    assert config["seed_everything"] == 1
    assert config["model"]["config"]["fusion"]["dim"] == 16
    assert config["model"]["optim"]["lr"] == 0.001
    assert config["data"]["split"]["validation"] == [5]
    assert (config["split"], config["leaks"], config["world_size"], config["global_batch"]) == ("speakers", [], 1, 4)
    assert config["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert config["git"] is None or len(config["git"]["commit"]) == 40
    assert config["command"]


def test_every_number_of_the_csv_log_is_in_the_history(logged: Logged) -> None:
    course = read_log(logged.folder, "run")
    for name in ("val/uar", "val/loss", "val/accuracy", "train/loss", "train/uar"):
        assert logged.read.column(name) == pytest.approx(course[name])
    assert logged.read.column("val/uar") == list(_UAR)
    steps = 3 * 4  # 19 clips in whole batches of 4
    for name in ("lr-AdamW/pg1", "train/grad_norm", "train/clips_per_second"):
        assert len(logged.read.column(name)) == steps
    assert [row["trainer/global_step"] for row in logged.read.history if "train/grad_norm" in row] == [*range(steps)]
    assert logged.read.metrics["val/uar"] == "epoch"


def test_the_summary_holds_the_scores_of_the_checkpoint_that_is_kept(logged: Logged) -> None:
    """A sweep chooses by the summary, and finds plain numbers there."""
    assert torch.load(logged.folder / "checkpoints/best.ckpt", weights_only=True)["epoch"] == _BEST
    assert logged.read.summary["val/uar"] == _UAR[_BEST]
    assert logged.read.summary["val/loss"] == logged.read.column("val/loss")[_BEST]
    assert logged.read.summary["best_epoch"] == _BEST
    assert logged.read.summary["epoch"] == 2


def table_of(run: Read, name: str) -> dict[str, Any]:
    """Return a table as its artifact holds it."""
    files = run.staged(f"run-{run.id}-{name.replace('/', '')}")
    return json.loads(files[f"{name}.table.json"].read_text())


def test_clips_are_shown_with_what_the_best_checkpoint_answers(logged: Logged) -> None:
    evaluated = evaluate_checkpoint(
        logged.folder / "checkpoints/best.ckpt", part="validation", device=torch.device("cpu"), progress=False
    ).predictions
    table = table_of(logged.read, "val/clips")
    names = evaluated.names
    chances = [f"p({name})" for name in names]
    assert table["columns"] == ["key", "speaker", "label", "predicted", "correct", "frames", "audio", *chances]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["key"] for row in rows] == list(evaluated.key)
    assert {row["speaker"] for row in rows} == {"5"}
    assert [row["label"] for row in rows] == [names[i] for i in evaluated.label]
    assert [row["predicted"] for row in rows] == [names[i] for i in evaluated.predicted]
    assert [row["correct"] for row in rows] == [*(evaluated.label == evaluated.predicted)]
    np.testing.assert_allclose([[row[name] for name in chances] for row in rows], evaluated.probabilities, atol=1e-5)


def test_faces_and_voices_of_the_clips_lie_in_the_run(logged: Logged, patchy_corpus: Path) -> None:
    """They are the clip's own, in the right colours and at the right rate; what a clip lacks is left empty."""
    table, files = table_of(logged.read, "val/clips"), logged.read.staged(f"run-{logged.read.id}-valclips")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert {row["frames"] is None for row in rows} == {row["audio"] is None for row in rows} | {True, False}
    for row in rows:
        clip = PreparedClip.load(clip_path(patchy_corpus, row["key"]), row["key"])
        strip = frame_strip(clip)
        assert (row["frames"] is None) == (strip is None)
        if strip is not None:
            shown = np.asarray(Image.open(files[row["frames"]["path"]])).astype(int)
            assert shown.shape == strip.shape == (32, 6 * 32, 3)
            wrong = np.abs(shown - strip[..., ::-1]).mean()
            assert np.abs(shown - strip).mean() < 0.7 * wrong
        assert (row["audio"] is None) == (clip.audio is None)
        if clip.audio is not None:
            with wave.open(str(files[row["audio"]["path"]])) as sound:
                assert (sound.getframerate(), sound.getnchannels()) == (clip.sample_rate, 1)
                heard = np.frombuffer(sound.readframes(sound.getnframes()), "<i2") / 32_768
            np.testing.assert_allclose(heard, np.clip(clip.audio, -1, 1), atol=1e-4)
    assert all(path.is_relative_to(logged.folder) for path in files.values()), "the run's folder can be handed on"


def test_the_confusion_is_that_of_the_best_epoch(logged: Logged) -> None:
    table = table_of(logged.read, "val/confusion_table")
    assert table["columns"] == ["Actual", "Predicted", "nPredictions"]
    assert [row[:2] for row in table["data"]] == [[true, taken] for true in RAVDESS8 for taken in RAVDESS8]
    clips = table_of(logged.read, "val/clips")["data"]
    answered = [[label, predicted] for _, _, label, predicted, *_ in clips]
    assert {(true, taken): count for true, taken, count in table["data"] if count} == {
        (true, taken): answered.count([true, taken]) for true, taken in answered
    }


def test_the_best_checkpoint_is_an_artifact(logged: Logged) -> None:
    artifact = logged.read.artifacts[f"model-{logged.read.id}"]
    assert (artifact.type, set(artifact.aliases)) == ("model", {"best", "latest"})
    about = json.loads(artifact.metadata)
    assert about["epoch"] == _BEST and about["val/uar"] == _UAR[_BEST]
    assert about["labels"] == list(RAVDESS8) and about["protocol"] == "speakers"
    (staged,) = logged.read.staged(f"model-{logged.read.id}").values()
    assert staged.read_bytes() == (logged.folder / "checkpoints/best.ckpt").read_bytes()
    assert staged.is_relative_to(logged.folder)


def test_a_run_that_was_broken_off_goes_on_as_the_same_run(
    voice_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """After Ctrl-C too there is a line; in the end it names both parts. --overwrite begins another run."""
    begin, folder = EmotionClassifier.on_train_batch_start, tmp_path / "run"

    def interrupt(self: EmotionClassifier, batch: Any, number: int) -> None:
        if (self.current_epoch, number) == (1, 2):
            monkeypatch.setattr(EmotionClassifier, "on_train_batch_start", begin)
            raise KeyboardInterrupt

    monkeypatch.setattr(EmotionClassifier, "on_train_batch_start", interrupt)
    flags = ["fit", f"--config={voice_config}", "--wandb=faces", "--wandb_clips=0", "--trainer.log_every_n_steps=1"]
    handler = signal.getsignal(signal.SIGINT)
    assert main(flags) == 130
    signal.signal(signal.SIGINT, handler)  # which Lightning ignores from then on
    (first,) = parts(folder)
    assert f"train.py: wandb sync {first}\n" in capsys.readouterr().err
    assert read_log(folder, "run")["epochs"] == [0], "half an epoch is none"
    assert main([*flags, "--ckpt_path=last"]) == 0
    _, second = parts(folder)
    assert f"train.py: wandb sync {first} {second}\n" in capsys.readouterr().err
    one, other = read_run(first), read_run(second)
    assert (one.id, one.code, other.code) == (other.id, 1, 0)
    assert one.column("val/uar") + other.column("val/uar") == pytest.approx(read_log(folder, "run")["val/uar"])
    assert other.summary["val/uar"] == max(read_log(folder, "run")["val/uar"])
    assert [*other.artifacts] == [name for name in other.artifacts if "clips" not in name], "nobody is shown"
    assert main([*flags, "--overwrite", "--trainer.max_epochs=1"]) == 0
    assert read_run(parts(folder)[-1]).id != one.id


def test_a_refused_run_leaves_nothing(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", f"--config={tiny_config}", "--wandb=faces", "--model.freeze=[voice]"]) == 2
    assert "wandb sync" not in [line[10:20] for line in capsys.readouterr().err.splitlines()]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--wandb_clips=-1"], "wandb_clips=-1 must not be negative; 0 shows no clips"),
        (["--wandb=p", "--trainer.logger=false"], "wandb=p and trainer.logger both say where to log"),
        (["--ckpt_path=wandb:model"], "wandb:model names no artifact; write wandb:ENTITY/PROJECT/NAME:ALIAS"),
        (["--ckpt_path=wandb:me/faces/model-1:best"], "there is no key of Weights & Biases here; run wandb login"),
        (["--init=wandb:me/faces/model-1"], "wandb:me/faces/model-1 names no artifact"),
    ],
)
def test_a_mistake_is_one_line(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert main(["fit", f"--config={tiny_config}", *flags]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_begin_is_one_line(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**settings: Any) -> None:
        (tmp_path / "run/wandb/run-20260101_120000-1a2b/logs").mkdir(parents=True)
        raise wandb.errors.CommError("the server\ndoes not answer")

    monkeypatch.setattr(wandb, "init", fail)
    assert main(["fit", f"--config={tiny_config}", "--wandb=p"]) == 2
    said = "wandb=p: the run cannot begin at Weights & Biases (the server does not answer); WANDB_MODE=offline"
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "server", "mode"),
    [
        ({}, None, "offline"),
        ({"WANDB_API_KEY": "k" * 40}, None, "online"),
        ({"WANDB_IDENTITY_TOKEN_FILE": "token"}, None, "online"),
        ({"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "offline"}, None, "offline"),
        ({"WANDB_API_KEY": "k" * 40, "WANDB_MODE": "dryrun"}, None, "offline"),
        ({"WANDB_MODE": "online"}, None, "online"),
        ({"WANDB_MODE": "disabled"}, None, "disabled"),
        ({"machine": "api.wandb.ai"}, None, "online"),
        ({"machine": "its own"}, None, "online"),
        ({"machine": "api.wandb.ai"}, "https://wandb.example.org", "offline"),
        ({"machine": "wandb.example.org"}, "https://wandb.example.org", "online"),
    ],
)
def test_a_key_is_found_wherever_wandb_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: dict[str, str], server: str | None, mode: str
) -> None:
    known = wandb.Settings() if server is None else wandb.Settings(base_url=server)
    monkeypatch.setattr(wandb, "setup", lambda: SimpleNamespace(settings=known))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in settings.items():
        if name == "machine":
            machine = known.base_url.removeprefix("https://") if value == "its own" else value
            (tmp_path / ".netrc").write_text(f"machine {machine}\n  login user\n  password {'k' * 40}\n")
        else:
            monkeypatch.setenv(name, value)
    assert choose_mode() == mode
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    assert (open_log("p", tmp_path, goes_on=False, settings={}) is None) == (mode == "disabled")


class Server:
    """A stand-in for ``wandb.Api()``, which serves folders as artifacts."""

    def __init__(self, artifacts: dict[str, Path]) -> None:
        self.artifacts = artifacts

    def artifact(self, name: str, type: str) -> SimpleNamespace:
        assert type == "model"
        if name not in self.artifacts:
            raise ValueError(f"artifact membership {name!r} not found.")

        def download(root: str) -> str:
            shutil.copytree(self.artifacts[name], root, dirs_exist_ok=True)
            return root

        return SimpleNamespace(version="v3", download=download)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """The artifacts that a server holds, for who has a key."""
    held: dict[str, Path] = {}
    monkeypatch.setattr(wandb, "Api", lambda: Server(held))
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    return held


def test_a_checkpoint_is_read_back_from_its_artifact(
    logged: Logged, tiny_run_config: Path, tmp_path: Path, serve: dict[str, Path]
) -> None:
    (staged,) = logged.read.staged(f"model-{logged.read.id}").values()
    (tmp_path / "artifact").mkdir()
    shutil.copy(staged, tmp_path / "artifact/best.ckpt")
    serve["me/faces/model-1:best"] = tmp_path / "artifact"
    given = "wandb:me/faces/model-1:best"
    elsewhere = f"--trainer.default_root_dir={tmp_path / 'other'}"
    assert main(["validate", f"--config={tiny_run_config}", f"--ckpt_path={given}"]) == 0
    assert main(["fit", f"--config={tiny_run_config}", f"--init={given}", elsewhere, "--trainer.fast_dev_run=1"]) == 0
    path = Path(fetch_checkpoint(given))
    assert path.parts[-5:] == ("me", "faces", "model-1", "v3", "best.ckpt")


def test_an_artifact_that_cannot_be_had_is_one_line(tmp_path: Path, serve: dict[str, Path]) -> None:
    said = "wandb:me/faces/none:v0 cannot be fetched from Weights & Biases: artifact membership .* not found; see that"
    with pytest.raises(ConfigError, match=said):
        fetch_checkpoint("wandb:me/faces/none:v0")
    (tmp_path / "empty").mkdir()
    serve["me/faces/table:v0"] = tmp_path / "empty"
    with pytest.raises(ConfigError, match=r"holds 0 files \*\.ckpt; name an artifact that holds one checkpoint"):
        fetch_checkpoint("wandb:me/faces/table:v0")


def test_clips_are_spread_over_the_classes() -> None:
    rows = [Row(f"{label}{take}", "c", "1", label) for label in ("a", "b", "c") for take in range(5)]
    assert [row.key for row in spread(rows, 4)] == ["a0", "a1", "b0", "c0"]
    assert spread(rows, 99) == rows
    assert spread(rows, 0) == []


def test_a_run_that_goes_on_elsewhere_looks_for_its_best_anew(tmp_path: Path) -> None:
    """As its checkpoints are chosen."""
    tells = TellWandb(tmp_path / "best.ckpt", 0)
    tells.epoch, tells.scores = 3, {"val/uar": 0.5}
    same, other = TellWandb(tmp_path / "best.ckpt", 0), TellWandb(tmp_path / "other/best.ckpt", 0)
    for each in (same, other):
        each.load_state_dict(tells.state_dict())
    assert (same.epoch, same.scores) == (3, {"val/uar": 0.5})
    assert other.scores == {}


def test_a_clip_without_a_face_has_no_picture() -> None:
    assert frame_strip(PreparedClip.empty()) is None


def test_the_commit_is_read_and_whether_it_is_the_whole_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(tmp_path)]
    assert read_git(tmp_path) is None
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "m"], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert read_git(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / "changed").touch()
    assert read_git(tmp_path) == {"commit": commit, "dirty": True}
    monkeypatch.setenv("WANDB_DISABLE_GIT", "true")
    assert read_git(tmp_path) is None


LOADED = """
import sys
train = cli.main
cli.main = lambda args: train(args) or 70 * ("wandb" in sys.modules)
"""


def test_who_does_not_ask_for_it_loads_nothing_of_it(nursery: Any, voice_config: Path, tmp_path: Path) -> None:
    fit = ["fit", f"--config={voice_config}", "--trainer.max_epochs=1"]
    assert nursery.start(fit, tmp_path / "log", before=LOADED).wait() == 0
    assert nursery.start(fit, tmp_path / "log", before=f"import wandb\n{LOADED}").wait() == 70
