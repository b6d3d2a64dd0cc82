"""The commands as a user types them: prepare, train.py, evaluate.py and predict agree, and mistakes are one line."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from mmer import cli
from mmer.training.cli import main as train

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, demo_corpus: Path) -> tuple[Path, Path]:
    """A checkpoint that was trained for one epoch on eight drawn clips, and the table that names them."""
    folder = tmp_path_factory.mktemp("whole")
    table = folder / "drawn faces.csv"
    films = sorted(demo_corpus.rglob("*.mp4"))
    lines = [f"{path.stem},{path},{'happy' if i % 2 else 'sad'},{i % 4},demo" for i, path in enumerate(films)]
    table.write_text("\n".join(["key,video,label,speaker,corpus", *lines]))
    assert cli.main(["prepare", "table", str(table), str(folder / "data"), "--size", "64", "--workers", "1"]) == 0
    config = Path(__file__).parents[1] / "configs" / "demo.yaml"
    settings = {
        "config": config,
        "data.root": folder / "data",
        "data.split.validation": "[2]",
        "data.split.test": "[3]",
        "data.batch_size": 2,
        "model.config.labels": "[sad, happy]",
        "trainer.max_epochs": 1,
        "trainer.accelerator": "cpu",
        "trainer.enable_progress_bar": "false",
        "trainer.default_root_dir": folder / "run",
    }
    assert train(["fit", *(f"--{name}={value}" for name, value in settings.items())]) == 0
    return folder / "run/checkpoints/best.ckpt", table


def evaluate(checkpoint: Path, output: Path, *options: str) -> int:
    return cli.evaluate([f"--checkpoint={checkpoint}", f"--output={output}", "--device=cpu", *options])


def test_evaluate_leaves_metrics_predictions_pictures_and_page(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(trained[0], tmp_path / "report") == 0
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        "metrics.json",
        "predictions.csv",
        "figures",
        "index.html",
    }
    printed = capsys.readouterr().out
    assert "SYNTHETIC demo corpus" in printed
    assert f"report: {tmp_path / 'report/index.html'}" in printed
    page = (tmp_path / "report/index.html").read_text()
    assert "SYNTHETIC DEMO: says nothing about people" in page
    assert not re.search(r"""(src|href)=["'](\w+:)?//""", page), "the page must open without a network"
    assert {path.suffix for path in (tmp_path / "report/figures").iterdir()} == {".svg", ".png"}


def test_json_alone_goes_to_standard_output(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(trained[0], tmp_path / "report", "--format=json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "report/metrics.json").read_text())
    assert (printed["chance"], printed["labels"]) == (0.5, ["sad", "happy"])
    (system,) = printed["systems"]
    assert system["speakers"] == {"train": ["0", "1"], "validation": ["2"], "scored": ["3"]}
    assert system["scores"]["n"] == 2
    assert list(system["modalities"]) == ["video+audio", "video", "audio"]
    assert [run["name"] for run in system["training"]["runs"]] == ["run"]


def test_predict_gives_a_file_the_numbers_of_the_evaluation(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the raw file on: faces are cut, frames chosen and sound resampled as in training."""
    checkpoint, table = trained
    assert evaluate(checkpoint, tmp_path / "report") == 0
    with (tmp_path / "report/predictions.csv").open() as file:
        expected = {row["key"]: row for row in csv.DictReader(file)}
    with table.open() as file:
        films = {row["key"]: row["video"] for row in csv.DictReader(file) if row["key"] in expected}
    capsys.readouterr()
    assert cli.main(["predict", *films.values(), f"--checkpoint={checkpoint}", "--format=csv", "--device=cpu"]) == 0
    answers = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    for answer, key in zip(answers, films, strict=True):
        assert answer["predicted"] == expected[key]["predicted"]
        for name in ("sad", "happy"):
            assert float(answer[name]) == pytest.approx(float(expected[key][name]), abs=2e-5)


def test_predict_prints_a_table_for_people(
    trained: tuple[Path, Path], talking: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["predict", str(talking), f"--checkpoint={trained[0]}", "--device=cpu"]) == 0
    output = capsys.readouterr()
    assert "trained on drawn faces" in output.err
    first, *rest = output.out.splitlines()
    assert first.startswith(f"{talking}: ")
    assert "video, audio" in first
    assert {line.split()[0] for line in rest} == {"sad", "happy"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data.root=nowhere"], "nowhere is not a prepared folder"),
        (["--device=abacus"], "device 'abacus' is not available"),
        (["--data.part=holdout"], "invalid choice: 'holdout'"),
        (["--batch-size=0"], "'0' is not a positive whole number"),
        (["--batch-size=few"], "'few' is not a positive whole number"),
        (["--workers=-1"], "'-1' is not a whole number from 0"),
        (["--device=meta"], "device 'meta' is not available"),
        (["--js"], "unrecognized arguments: --js"),
    ],
)
def test_a_mistake_of_evaluate_is_one_line(
    trained: tuple[Path, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    try:
        code = evaluate(trained[0], tmp_path / "report", *options)
    except SystemExit as stop:
        code = int(str(stop.code))
    (line,) = capsys.readouterr().err.splitlines()
    assert (code, said in line) == (2, True), line
    assert not (tmp_path / "report").exists()


def test_scores_of_training_speakers_say_that_they_are_no_test(trained: tuple[Path, Path], tmp_path: Path) -> None:
    assert evaluate(trained[0], tmp_path / "report", "--data.part=train") == 0
    assert "NOT A TEST: train clips" in (tmp_path / "report/index.html").read_text()


def test_a_full_disk_is_one_line(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "predictions.csv")

    monkeypatch.setattr("mmer.evaluation.predictions.Predictions.write", fail)
    assert evaluate(trained[0], tmp_path / "report", "--format=json") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines()[-1] == "evaluate.py: error: predictions.csv: No space left on device"


def test_unknown_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(["dance"])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_corpus_under_another_name_is_scored_but_for_what_was_learned_from_if_prepared_alike(
    trained: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, table = trained
    foreign = tmp_path / "foreign.csv"
    foreign.write_text(table.read_text().replace(",demo", ",elsewhere"))
    for size in (64, 48):
        assert cli.main(["prepare", "table", str(foreign), str(tmp_path / f"{size}"), f"--size={size}"]) == 0
    assert evaluate(checkpoint, tmp_path / "report", f"--data.root={tmp_path / '64'}", "--format=json") == 0
    (system,) = json.loads((tmp_path / "report/metrics.json").read_text())["systems"]
    assert (system["scores"]["n"], system["speakers"]["scored"]) == (2, ["3"])
    assert system["protocol"] == "all of a corpus that was not trained on"
    assert system["notes"][0].startswith("6 clips are left out, for the checkpoint has learned from them")
    capsys.readouterr()
    assert evaluate(checkpoint, tmp_path / "other", f"--data.root={tmp_path / '48'}") == 2
    assert "is not prepared as the checkpoint's clips were: size=64 (now 48)" in capsys.readouterr().err
