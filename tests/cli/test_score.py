"""evaluate.py as a user types it: several systems, any split, tables of answers, and mistakes that are one line."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmer import cli
from mmer.checkpoint import CARD, Card
from mmer.cli.score import SCORES
from mmer.config import ClipConfig, ModelConfig, PrepareConfig, SplitConfig, TransformerFusionConfig, WaveCNNConfig
from mmer.corpora.manifest import Row, read_rows, write_manifest
from mmer.corpora.splits import make_split
from mmer.data.clip import PreparedClip
from mmer.data.store import clip_path, write_settings
from mmer.evaluation.degrade import DEGRADATIONS
from mmer.evaluation.metrics import EVERY_SCORE
from mmer.model import build_model

NAMES = ("no", "yes")
LEARNED = SplitConfig("speakers", test=(1, 2, 3), validation=(4,))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 12 clips of noise by 6 speakers."""
    root = tmp_path_factory.mktemp("prepared")
    (root / "clips").mkdir()
    rng, rows = np.random.default_rng(0), []
    for i in range(12):
        path = clip_path(root, f"clip{i:02}")
        audio = rng.normal(0, 0.1, 3200).astype(np.float32)
        PreparedClip(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.uint8), audio, 16_000).save(path)
        rows.append(Row(f"clip{i:02}", "home", str(i % 6), NAMES[i // 6], audio=path, extra={"gender": "female"}))
    write_manifest(root / "manifest.csv", rows)
    write_settings(root, PrepareConfig(size=64))
    return root


@pytest.fixture(scope="module")
def runs(data: Path) -> Path:
    """The runs a, b and c; c has other classes."""
    for seed, name in enumerate(("a", "b", "c")):
        write_checkpoint(data.parent / "runs" / name, data, NAMES if name != "c" else ("yes", "no", "maybe"), seed)
    return data.parent / "runs"


def write_checkpoint(run: Path, data: Path, labels: Sequence[str], seed: int) -> None:
    model = ModelConfig(
        {"voice": WaveCNNConfig("wave_cnn", variant="tiny")},
        labels=tuple(labels),
        clip=ClipConfig(seconds=0.2),
        fusion=TransformerFusionConfig(dim=16, depth=1, heads=2),
    )
    rows = [row for _, row in read_rows(data / "manifest.csv", "")]
    card = Card.of_split(
        make_split(rows, LEARNED),
        rows,
        model=model,
        prepare=PrepareConfig(size=64),
        split=LEARNED,
        root=str(data),
        seed=seed,
    )
    torch.manual_seed(seed)
    weights = {f"model.{name}": value for name, value in build_model(model, load=False).state_dict().items()}
    (run / "checkpoints").mkdir(parents=True)
    torch.save({CARD: card.to_plain(), "state_dict": weights}, run / "checkpoints/best.ckpt")
    (run / "logs/version_0").mkdir(parents=True)
    (run / "logs/version_0/metrics.csv").write_text("epoch,step,train/loss,val/uar\n0,1,0.9,0.5\n1,3,0.8,0.6\n")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Answers of another system about the same test clips, classes in another order, of the demo corpus."""
    keys = ("clip01", "clip02", "clip03", "clip07", "clip08", "clip09")
    lines = [f"{key},{i % 3 + 1},{NAMES[i // 3]},{0.1 * i:.1f},{1 - 0.1 * i:.1f},demo" for i, key in enumerate(keys)]
    path = tmp_path / "svm.csv"
    path.write_text("\n".join(["key,speaker,label,yes,no,corpus", *lines]))
    return path


@pytest.fixture(autouse=True)
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no report where none is looked at: that takes seconds."""
    if request.node.get_closest_marker("slow") is None:
        monkeypatch.setattr("mmer.evaluation.results.write_report", lambda *_: None)


def evaluate(output: Path, *arguments: object) -> int:
    run = [f"--output={output}", "--device=cpu", "--resamples=20"]
    return cli.evaluate([*run, *map(str, arguments)])


def metrics_of(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
    return found


def best(runs: Path, name: str) -> Path:
    return runs / name / "checkpoints/best.ckpt"


# --- several systems


def test_checkpoints_and_tables_are_scored_together(runs: Path, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(out, "--checkpoint", best(runs, "a"), best(runs, "b"), "--predictions", table) == 0
    metrics = metrics_of(out)
    assert {system["name"] for system in metrics["systems"]} == {"a", "b", "svm"}
    assert metrics["labels"] == list(NAMES)
    assert metrics["comparison"]["clips"] == 6
    assert len(metrics["comparison"]["pairs"]) == 3
    kinds = {system["name"]: system["source"]["kind"] for system in metrics["systems"]}
    assert kinds == {"a": "checkpoint", "b": "checkpoint", "svm": "predictions"}
    assert {path.name for path in (out / "predictions").iterdir()} == {"a.csv", "b.csv", "svm.csv"}
    assert not (out / "predictions.csv").exists()


def test_both_options_may_be_repeated_and_systems_named(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(out, f"--checkpoint=first={best(runs, 'a')}", "--checkpoint", best(runs, "a"), best(runs, "a")) == 0
    assert {system["name"] for system in metrics_of(out)["systems"]} == {"first", "a", "a 2"}
    assert {path.name for path in (out / "predictions").iterdir()} == {"first.csv", "a.csv", "a-2.csv"}


def test_a_path_with_an_equals_sign_is_a_path(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "lr=0.1.ckpt"
    path.write_bytes(best(runs, "a").read_bytes())
    assert evaluate(tmp_path / "out", "--checkpoint", path) == 0
    assert metrics_of(tmp_path / "out")["systems"][0]["name"] == "lr=0.1"


def test_names_that_no_file_may_have_become_files_all_the_same(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert (
        evaluate(out, "--checkpoint", f"a: b?={best(runs, 'a')}", f"a. b!={best(runs, 'b')}", f"..={best(runs, 'b')}")
        == 0
    )
    assert {path.name for path in (out / "predictions").iterdir()} == {"a-b.csv", "a.-b.csv", "system.csv"}


def test_a_report_takes_the_place_of_an_earlier_one_and_leaves_other_files_alone(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(out, "--checkpoint", best(runs, "a"), best(runs, "b")) == 0
    (out / "predictions/mine.csv").write_text("mine")
    (out / "notes.txt").write_text("mine")
    assert evaluate(out, "--checkpoint", best(runs, "a"), "--table=csv") == 0
    assert (out / "predictions.csv").is_file()
    assert [path.name for path in (out / "predictions").iterdir()] == ["mine.csv"]
    assert (out / "notes.txt").read_text() == "mine"
    assert len(metrics_of(out)["systems"]) == 1


@pytest.mark.slow
def test_everything_is_the_same_to_the_byte_when_it_is_done_again(runs: Path, tmp_path: Path) -> None:
    run = ["--checkpoint", best(runs, "a"), best(runs, "b"), "--degrade", "all", "--explain", 2]
    assert evaluate(tmp_path / "out", *run) == 0
    files = {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()}
    assert {"index.html", "metrics.json"} <= {path.name for path in files}
    assert evaluate(tmp_path / "out", *run) == 0
    assert {path: path.read_bytes() for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()} == files


def test_answers_are_written_as_parquet_where_that_is_asked_for(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "out"
    assert evaluate(out, "--checkpoint", best(runs, "a"), "--table=parquet") == 0
    again = tmp_path / "again"
    assert evaluate(again, "--predictions", out / "predictions.parquet") == 0
    assert metrics_of(again)["systems"][0]["name"] == "out"
    scores = [metrics_of(folder)["systems"][0]["scores"] for folder in (out, again)]
    assert scores[0] == scores[1]


def test_the_order_of_the_systems_is_that_of_the_metric(runs: Path, table: Path, tmp_path: Path) -> None:
    for metric, sign in (("accuracy", -1), ("log_loss", 1)):
        out = tmp_path / metric
        assert evaluate(out, "--checkpoint", best(runs, "a"), "--predictions", table, f"--metric={metric}") == 0
        values = [sign * system["scores"][metric]["value"] for system in metrics_of(out)["systems"]]
        assert values == sorted(values)


def test_the_exact_command_is_told(runs: Path, tmp_path: Path) -> None:
    checkpoint, out = f"my run={best(runs, 'a')}", tmp_path / "out"
    assert cli.evaluate([f"--checkpoint={checkpoint}", f"--output={out}", "--device=cpu", "--resamples=20"]) == 0
    metrics = metrics_of(out)
    assert shlex.split(metrics["command"]) == [
        "python", "evaluate.py", f"--checkpoint={checkpoint}", f"--output={out}", "--device=cpu", "--resamples=20",
    ]  # fmt: skip
    assert metrics["bootstrap"]["resamples"] == 20


# --- what is measured


def test_subsets_harms_and_explanations_are_in_the_metrics(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(out, "--checkpoint", best(runs, "a"), "--degrade", "audio_noise", "--explain", 3) == 0
    (system,) = metrics_of(out)["systems"]
    assert list(system["modalities"]) == ["audio"]
    assert [each["level"] for each in system["degradations"]] == [None, 20, 10, 5, 0, -5]
    assert {each["unit"] for each in system["degradations"]} == {"dB SNR"}
    assert len(system["explanations"]) == 3


def test_another_split_is_scored_on_the_command_line(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = ["--data.split.protocol=speakers", "--data.split.test=1,2", "--data.split.train=3"]
    assert evaluate(tmp_path / "out", "--checkpoint", best(runs, "a"), *split) == 0
    (system,) = metrics_of(tmp_path / "out")["systems"]
    assert (system["protocol"], system["speakers"]["scored"], system["leaks"]) == ("speakers", ["1", "2"], [])
    capsys.readouterr()
    split = ["--data.split.protocol=speakers", "--data.split.test=0,1"]
    assert evaluate(tmp_path / "leaky", "--checkpoint", best(runs, "a"), *split) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("evaluate.py: error: speakers: the checkpoint has learned from speakers 0 or was chosen on")
    assert not (tmp_path / "leaky").exists()
    assert evaluate(tmp_path / "leaky", "--checkpoint", best(runs, "a"), *split, "--allow-leak") == 0
    assert capsys.readouterr().out.startswith("LEAKY split, the scores are too high: the checkpoint has learned from")
    assert (tmp_path / "leaky/predictions.csv").read_text().splitlines()[1].endswith(",yes")


def test_a_fold_and_a_part_of_another_split_are_chosen(runs: Path, data: Path, tmp_path: Path) -> None:
    rows = [row for _, row in read_rows(data / "manifest.csv", "")]
    expected = make_split(rows, SplitConfig("group-kfold:6", fold=2)).validation
    split = ["--data.split.protocol=group-kfold:6", "--data.split.fold=2", "--data.part=validation"]
    assert evaluate(tmp_path / "out", "--checkpoint", best(runs, "a"), *split) == 0
    (system,) = metrics_of(tmp_path / "out")["systems"]
    assert system["protocol"] == "group-kfold:6 fold 2, its validation part"
    assert tuple(system["speakers"]["scored"]) == expected


# --- the course of the training


def test_the_log_beside_a_checkpoint_is_found(runs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert evaluate(out, "--checkpoint", best(runs, "a")) == 0
    (run,) = metrics_of(out)["systems"][0]["training"]["runs"]
    assert (run["name"], run["epochs"], run["val/uar"]) == ("a", [0, 1], [0.5, 0.6])
    assert evaluate(out, "--checkpoint", best(runs, "a"), "--no-log") == 0
    assert metrics_of(out)["systems"][0]["training"] is None


def test_logs_are_named_for_their_systems(runs: Path, table: Path, tmp_path: Path) -> None:
    out, logs = tmp_path / "out", ["--log", f"svm={runs / 'a'}", f"svm={runs / 'b'}"]
    assert evaluate(out, "--checkpoint", best(runs, "a"), "--predictions", table, *logs) == 0
    training = {system["name"]: system["training"] for system in metrics_of(out)["systems"]}
    assert training["a"] is None
    assert [run["name"] for run in training["svm"]["runs"]] == ["a", "b"]


def test_a_checkpoint_without_a_log_is_scored_all_the_same(runs: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved/checkpoints/best.ckpt"
    moved.parent.mkdir(parents=True)
    moved.write_bytes(best(runs, "a").read_bytes())
    assert evaluate(tmp_path / "out", "--checkpoint", moved) == 0
    assert metrics_of(tmp_path / "out")["systems"][0]["training"] is None


# --- the screen


def test_several_systems_are_shown_sorted_with_intervals_and_paired_tests(
    runs: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert evaluate(out, "--checkpoint", best(runs, "a"), "--predictions", table) == 0
    printed, metrics = capsys.readouterr().out, metrics_of(out)
    lines = printed.splitlines()
    first, second = (system["name"] for system in metrics["systems"])
    assert "svm: SYNTHETIC demo corpus: a test bed, not a result" in lines
    assert "a: speakers, test speakers 1, 2, 3" in lines
    assert "svm: answers of a table, speakers 1, 2, 3" in lines
    rows = {line.split()[0]: line for line in reversed(lines) if line.startswith(("a  ", "svm  ", "chance"))}
    assert lines.index(rows[first]) < lines.index(rows[second])
    scores = metrics["systems"][0]["scores"]
    for score in ("accuracy", "uar", "macro_f1"):
        value, low, high = (100 * scores[score][name] for name in ("value", "low", "high"))
        assert f"{value:.1f}%" in rows[first]
        assert f"{low:.1f} to {high:.1f}" in rows[first]
    assert rows["chance"].split() == ["chance", "50.0%", "50.0%"]
    assert any(line.split() == ["largest", "class", "50.0%"] for line in lines)
    assert f"worst speaker of {first}: " in printed
    assert "paired on 6 clips, p by Holm:" in lines
    assert f"  {first} - {second}: uar " in printed
    assert lines[-1] == f"report: {out / 'index.html'}"


def test_one_system_is_shown_with_every_part_of_what_it_reads(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(tmp_path / "out", "--checkpoint", best(runs, "a")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "clips" in line or "%" in line][:2] == ["read", "audio"]
    assert "paired" not in "\n".join(lines)


def test_json_is_metrics_json_and_nothing_else(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path / "out", "--checkpoint", best(runs, "a"), "--format=json") == 0
    assert json.loads(capsys.readouterr().out) == metrics_of(tmp_path / "out")


@pytest.mark.parametrize(("how", "mark"), [("markdown", "|"), ("latex", "&")])
def test_a_table_for_a_paper_comes_alone_and_its_warnings_on_standard_error(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str, mark: str
) -> None:
    assert evaluate(tmp_path / "out", "--predictions", table, f"--format={how}") == 0
    output = capsys.readouterr()
    assert "svm" in output.out and mark in output.out
    assert "report:" not in output.out
    assert output.err == "SYNTHETIC demo corpus: a test bed, not a result\n"


# --- mistakes


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to score; give --checkpoint FILE, --predictions FILE, or both"),
        (["--checkpoint", "gone.ckpt"], "checkpoint gone.ckpt does not exist"),
        (["--checkpoint", "A", "gone.ckpt"], "checkpoint gone.ckpt does not exist"),
        (["--predictions", "gone.csv"], "gone.csv"),
        (["--predictions", "SVM", "--degrade", "all"], "--degrade runs a model, and --predictions are answers; give a"),
        (["--predictions", "SVM", "--explain", "2"], "--explain runs a model, and --predictions are answers; give a"),
        (["--predictions", "SVM", "--labels=no"], "label set 'no' is unknown; choose one of ravdess8"),
        (
            ["--checkpoint", "A", "--labels=no,yes"],
            "--labels names the classes of --predictions; a checkpoint knows",
        ),
        (
            ["--checkpoint", "A", "--degrade", "rain"],
            "degradation 'rain' is unknown; choose all or some of audio",
        ),
        (["--checkpoint", "A", "--degrade", "face_blur"], "face_blur is one of video and the model reads audio"),
        (["--checkpoint", "A", "--allow-leak"], "--allow-leak: of which split? Name it by --data.split.protocol"),
        (
            ["--checkpoint", "A", "--data.split.fold=2"],
            "--data.split.fold: of which split? Name it by --data",
        ),
        (
            ["--predictions", "SVM", "--data.split.protocol=loso"],
            "--data.split.protocol chooses clips",
        ),
        (["--predictions", "SVM", "--data.root=x"], "--data.root chooses clips for a checkpoint to answer; give one"),
        (["--predictions", "SVM", "--data.part=train"], "--data.part chooses clips for a checkpoint to answer; give"),
        (["--checkpoint", "A", "--data.split.protocol=magic"], "magic"),
        (["--checkpoint", "A", "--no-log", "--log", "x"], "--log and --no-log contradict each other"),
        (["--checkpoint", "A", "--log", "x"], "x holds no log of a whole epoch"),
        (["--checkpoint", "A", "B", "--log", "x"], "--log x: of which system? Say NAME=x with one of a, b"),
        (["--checkpoint", "A", "--log", "z=x"], "--log x: of which system? Say NAME=x with one of a"),
        (["--checkpoint", "A", "C"], "best.ckpt has the classes no, yes and "),
        (["--checkpoint", "C", "--predictions", "SVM"], "has the classes yes, no, maybe and "),
        (["--checkpoint", "A", "--metric=fun"], "invalid choice: 'fun'"),
        (["--checkpoint", "A", "--resamples=0"], "'0' is not a positive whole number"),
        (["--checkpoint", "A", "--device=cuda:99"], "device 'cuda:99' is not available"),
        (["--checkpoint", "A", "--json"], "unrecognized arguments: --json"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    runs: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    stands_for = {"A": best(runs, "a"), "B": best(runs, "b"), "C": best(runs, "c"), "SVM": table}
    try:
        code = evaluate(tmp_path / "out", *(stands_for.get(each, each) for each in arguments))
    except SystemExit as stop:
        code = int(str(stop.code))
    output = capsys.readouterr()
    line = output.err.splitlines()[-1]
    assert (code, output.out) == (2, "")
    assert said in line
    assert "Traceback" not in output.err
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    assert evaluate(tmp_path / "out", "--checkpoint", "gone.ckpt") == 2
    assert f"--output {tmp_path / 'out'} is a file; name a folder" in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("place", ["predictions.csv", "predictions/svm.csv"])
def test_a_table_where_the_answers_are_written_is_refused_and_stays(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    mine = tmp_path / "out" / place
    mine.parent.mkdir(parents=True)
    mine.write_bytes(before := table.read_bytes())
    assert evaluate(tmp_path / "out", "--predictions", str(mine)) == 2
    assert f"--predictions {mine} lies where the report writes its answers" in capsys.readouterr().err
    assert mine.read_bytes() == before


# --- help


def test_help_names_every_score_and_every_harm(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.evaluate(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert set(SCORES) == set(EVERY_SCORE)
    for degradation in DEGRADATIONS:
        assert degradation.kind in shown
    for group in ("what is scored", "on which clips checkpoints are scored", "what is measured", "what is written"):
        assert f"{group}:" in shown
    assert "(default: None)" not in shown
