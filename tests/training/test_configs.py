"""Every system in configs/ takes a training and a validation step."""

from pathlib import Path

import pytest

from mmer.training.cli import main

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_every_config_takes_a_step(config: Path, noise_corpus: Path, tmp_path: Path) -> None:
    code = main(
        [
            "fit",
            f"--config={config}",
            f"--data.root={noise_corpus}",
            "--data.batch_size=1",
            "--data.workers=0",
            "--trainer.fast_dev_run=1",
            "--trainer.accelerator=cpu",
            "--trainer.enable_progress_bar=false",
            f"--trainer.default_root_dir={tmp_path}",
        ]
    )
    assert code == 0


def test_there_is_a_config_for_each_system() -> None:
    assert {path.stem for path in CONFIGS} >= {"demo", "mvit_wave", "resnet3d_wave", "mvit_resnet3d_wave", "wave"}
