"""The command line takes every system in configs/, and a small one of each takes a training and a validation step."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmer.training.cli import main

CONFIGS = Path(__file__).parents[2] / "configs"

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]


@pytest.mark.parametrize("config", sorted((CONFIGS / "tiny").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_small_system_takes_a_step(
    config: Path, described_corpus: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    own = []
    if config.stem == "text_hf":  # its network lies on the hub
        own = [f"--model.config.streams.words.model={request.getfixturevalue('hf_folder')}"]
    code = main(
        [
            "fit",
            f"--config={config}",
            f"--data.root={described_corpus}",
            "--data.batch_size=1",
            "--data.workers=0",
            "--trainer.fast_dev_run=1",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            f"--trainer.default_root_dir={tmp_path}",
            *own,
        ]
    )
    assert code == 0


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_system_of_its_own_size_is_understood(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", f"--config={config}", "--print_config"])
    assert "streams:" in capsys.readouterr().out
