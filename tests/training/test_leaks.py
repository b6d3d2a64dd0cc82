"""A leaky training says so, and a checkpoint goes on only where nobody has changed his part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from mmer.checkpoint import load_checkpoint, read_card
from mmer.corpora.manifest import read_rows, write_manifest
from mmer.corpora.splits import AT_RANDOM
from mmer.data.store import read_settings, write_settings
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.training.cli import main

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def table_config(tiny_config: Path, patchy_corpus: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run whose parts are a table's, without speakers, and the table."""
    root = tmp_path / "data"
    root.mkdir()
    (root / "clips").symlink_to(patchy_corpus / "clips")
    rows = [replace(row, speaker=None) for _, row in read_rows(patchy_corpus / "manifest.csv", "")]
    write_manifest(root / "manifest.csv", rows)
    (root / "prepare.json").write_bytes((patchy_corpus / "prepare.json").read_bytes())
    parts = ["train"] * 20 + ["dev"] * 5 + ["test"] * 5
    table = tmp_path / "fold.csv"
    table.write_text("\n".join(["key,split", *(f"{row.key},{part}" for row, part in zip(rows, parts, strict=True))]))
    config = yaml.safe_load(tiny_config.read_text())
    del config["model"]["config"]["streams"]["face"]  # a voice alone is quicker
    config["data"] |= {"root": str(root), "split": {"protocol": "table", "file": str(table)}}
    config["trainer"]["max_epochs"] = 1
    tiny_config.write_text(yaml.safe_dump(config))
    return tiny_config, table


@pytest.mark.slow
def test_a_random_deal_is_told_logged_and_written_into_the_checkpoint(
    tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load(tiny_config.read_text())
    config["data"]["split"] = {"protocol": "random_leaky"}
    config["trainer"]["max_epochs"] = 1
    tiny_config.write_text(yaml.safe_dump(config))
    assert main(["fit", f"--config={tiny_config}"]) == 0
    warning = f"train.py: warning: LEAKY split, its scores are too high: {AT_RANDOM}"
    assert warning in capsys.readouterr().err.splitlines()
    logged = yaml.safe_load((tmp_path / "run/logs/version_0/hparams.yaml").read_text())
    assert (logged["split"], logged["leaks"][0]) == ("random_leaky fold 1, seed 0", AT_RANDOM)
    card = read_card(load_checkpoint(tmp_path / "run/checkpoints/best.ckpt"), "it")
    assert card.leaks == logged["leaks"]
    assert main(["test", f"--config={tiny_config}", "--ckpt_path=best"]) == 0
    assert warning in capsys.readouterr().err.splitlines()


def test_an_honest_run_is_not_blamed(tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", f"--config={tiny_config}", "--trainer.max_epochs=1"]) == 0
    assert "LEAKY" not in capsys.readouterr().err
    logged = yaml.safe_load((tmp_path / "run/logs/version_0/hparams.yaml").read_text())
    assert logged == {"split": "speakers", "leaks": [], "notes": []}


@pytest.mark.slow
def test_a_table_of_clips_trains_chooses_and_tests_without_speakers(
    table_config: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = table_config
    assert main(["fit", f"--config={config}"]) == 0
    note = "train.py: note: the speakers of 30 clips are unknown: that the parts share nobody cannot be checked"
    assert note in capsys.readouterr().err.splitlines()
    checkpoint = tmp_path / "run/checkpoints/best.ckpt"
    states = torch.load(checkpoint, weights_only=True)["callbacks"]
    assert any(state.get("best_model_score") is not None for state in states.values()), "validation clips chose it"
    found = evaluate_checkpoint(checkpoint, device=torch.device("cpu"), progress=False)
    assert set(found.predictions.key) <= {f"06-{take}" for take in range(5)}
    assert main(["test", f"--config={config}", "--ckpt_path=best"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("subcommand", ["fit", "test"])
def test_a_checkpoint_does_not_go_on_where_clips_have_moved(
    table_config: tuple[Path, Path], capsys: pytest.CaptureFixture[str], subcommand: str
) -> None:
    """The table is the same by name, and now tests what was trained on."""
    config, table = table_config
    assert main(["fit", f"--config={config}"]) == 0
    table.write_text(table.read_text().replace("01-2,train", "01-2,test"))
    capsys.readouterr()
    assert main([subcommand, f"--config={config}", "--ckpt_path=last", "--trainer.max_epochs=2"]) == 2
    said = capsys.readouterr().err
    assert "the checkpoint was trained with another deal of the same split; give the settings of its run" in said
    assert "evaluate.py: 01-2 moved from train to test" in said


@pytest.mark.slow
def test_how_faces_were_cut_matters_to_no_voice(
    tiny_config: Path, patchy_corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sizes of faces may differ where the model only hears; where it sees they may not."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "clips").symlink_to(patchy_corpus / "clips")
    rows = [row for _, row in read_rows(patchy_corpus / "manifest.csv", "")]
    write_manifest(other / "manifest.csv", rows)
    settings = read_settings(patchy_corpus)
    assert settings is not None
    write_settings(other, replace(settings.config, margin=0.5))
    config = yaml.safe_load(tiny_config.read_text())
    config["trainer"]["max_epochs"] = 1
    for seen, code in ((True, 2), (False, 0)):
        if not seen:
            del config["model"]["config"]["streams"]["face"]
        tiny_config.write_text(yaml.safe_dump(config))
        run = [f"--config={tiny_config}", f"--trainer.default_root_dir={tmp_path / f'run{seen}'}"]
        assert main(["fit", *run]) == 0
        capsys.readouterr()
        assert main(["test", *run, "--ckpt_path=best", f"--data.root={other}"]) == code
        assert ("another preparation of the clips" in capsys.readouterr().err) == seen
