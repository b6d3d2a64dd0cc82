"""train.py and evaluate.py on shards: the same numbers as on the prepared folder, and a run that goes on exactly."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from mmer.checkpoint import load_checkpoint, read_card
from mmer.cli import evaluate
from mmer.cli import main as mmer
from mmer.config import ClipConfig, ModelConfig, ShardConfig, SplitConfig, WaveCNNConfig
from mmer.data.loader import TrainLoader
from mmer.data.shards import open_corpus
from mmer.data.streaming import ShardSampler
from mmer.data.write_shards import write_shards
from mmer.errors import ConfigError
from mmer.training.cli import main
from mmer.training.data import EmotionDataModule

pytestmark = pytest.mark.filterwarnings("default")

VOICE = ModelConfig({"voice": WaveCNNConfig("wave_cnn", variant="tiny")}, clip=ClipConfig(seconds=0.4, frames=2))


@pytest.fixture
def shards(patchy_corpus: Path, tmp_path: Path) -> Path:
    write_shards(patchy_corpus, tmp_path / "shards", 60_000, progress=False)
    return tmp_path / "shards"


def shards_of_the_tested(shards: Path) -> list[Path]:
    corpus = open_corpus(shards)
    return [
        shards / corpus.index.shards[corpus.places[row.key].shard].name for row in corpus.rows if row.speaker == "6"
    ]


def corpus_of(config: Path) -> str:
    found: str = yaml.safe_load(config.read_text())["data"]["root"]
    return found


def fit(config: Path, run: Path, *flags: str) -> Path:
    assert main(["fit", f"--config={config}", f"--trainer.default_root_dir={run}", *flags]) == 0
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(run / "checkpoints/last.ckpt")["state_dict"]
    return found


def equal(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def history(run: Path) -> str:
    return (run / "logs/version_0/metrics.csv").read_text()


def test_a_training_on_shards_is_the_training_on_the_folder(voice_config: Path, shards: Path, tmp_path: Path) -> None:
    near = fit(voice_config, tmp_path / "near")
    far = fit(voice_config, tmp_path / "far", f"--data.root={shards}")
    assert history(near) == history(far), "losses and validation scores, to the last digit"
    assert equal(near, far)
    scores, cache = [], ["--data.shards.cache", str(tmp_path / "cache")]
    for root in (corpus_of(voice_config), str(shards), f"local:{shards}"):
        output = tmp_path / f"scores-{len(scores)}"
        flags = ["--checkpoint", str(near / "checkpoints/best.ckpt"), "--output", str(output), "--resamples", "10"]
        assert evaluate([*flags, "--data.root", root, *cache]) == 0
        scores.append((output / "predictions.csv").read_bytes())
        (system,) = json.loads((output / "metrics.json").read_text())["systems"]
        assert system["corpus"]["root"] == root, "as the user has called it"
    assert scores[0] == scores[1] == scores[2]
    copies = {path.stat().st_size for path in (tmp_path / "cache").glob("*/*.tar")}
    assert copies == {path.stat().st_size for path in shards_of_the_tested(shards)}


def test_a_run_on_a_url_goes_on_in_the_middle_of_an_epoch(
    voice_config: Path,
    patchy_corpus: Path,
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MMER_CACHE", str(tmp_path / "cache"))
    config = yaml.safe_load(voice_config.read_text())
    config["data"] |= {"root": f"local:{shards}", "shards": {"window_gb": 1e-4}, "workers": 1}
    steps = {"dirpath": str(tmp_path / "steps"), "every_n_train_steps": 5, "save_top_k": -1, "filename": "{step}"}
    saver = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": steps}
    config["trainer"]["callbacks"] = [saver]
    voice_config.write_text(yaml.safe_dump(config))
    whole = fit(voice_config, tmp_path / "whole")
    middle = tmp_path / "steps/step=5.ckpt"  # of 3 steps an epoch
    state = load_checkpoint(middle)["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    assert [(each["epoch"], each["batches"]) for each in state] == [(1, 2)]
    assert read_card(load_checkpoint(middle), "it").root == f"local:{shards}", "where evaluate.py will look"
    assert equal(fit(voice_config, tmp_path / "rest", f"--ckpt_path={middle}"), whole)
    write_shards(patchy_corpus, tmp_path / "larger", 90_000, progress=False)
    flags = [f"--data.root=local:{tmp_path / 'larger'}", f"--trainer.default_root_dir={tmp_path / 'other'}"]
    assert main(["fit", f"--config={voice_config}", *flags, f"--ckpt_path={middle}"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("train.py: error: the checkpoint stopped in the middle of an epoch whose clips came in")
    assert not (tmp_path / "other").exists(), "nothing is left of a refused run"


IN_WINDOWS = ShardConfig(window_gb=1.2e-4)


def loader_of(root: Path) -> TrainLoader:
    """A training's loader in its second epoch, over windows of two clips."""
    split = SplitConfig("speakers", validation=(5,), test=("06",))
    data = EmotionDataModule(VOICE, str(root), split, shards=IN_WINDOWS, batch_size=4, workers=0)
    data.setup("fit")
    loader = data.train_dataloader()
    assert isinstance(loader, TrainLoader) and isinstance(loader.sampler, ShardSampler)
    loader.sampler.set_epoch(1)
    return loader


def keys(loader: TrainLoader) -> list[str]:
    return [key for batch in loader for key in batch.key]


def broken_off(root: Path, batches: int) -> dict[str, Any]:
    loader = loader_of(root)
    for _, _ in zip(range(batches), loader, strict=False):
        pass
    return loader.state_dict()


OTHER_ORDER = r"whose clips came in another order; give the .* its shards as they were, or go on from the end of an"


def test_the_middle_of_an_epoch_does_not_go_on_over_shards_that_hold_other_clips(
    patchy_corpus: Path, shards: Path, tmp_path: Path
) -> None:
    write_shards(patchy_corpus, tmp_path / "larger", 90_000, progress=False)
    state, larger = broken_off(shards, 2), loader_of(tmp_path / "larger")
    assert keys(loader_of(tmp_path / "larger")) != keys(loader_of(shards)), "clips would be lost and repeated"
    assert state["order"][:-1] == larger.sampler.order[:-1], "and nothing else tells"
    larger.load_state_dict(state)
    with pytest.raises(ConfigError, match=OTHER_ORDER):
        keys(larger)


def test_the_middle_of_an_epoch_goes_on_over_the_same_shards_written_again(
    patchy_corpus: Path, shards: Path, tmp_path: Path
) -> None:
    write_shards(patchy_corpus, tmp_path / "again", 60_000, progress=False)
    again = loader_of(tmp_path / "again")
    again.load_state_dict(broken_off(shards, 2))
    assert keys(again) == keys(loader_of(shards))[8:]


def test_a_checkpoint_that_does_not_say_where_clips_lay_does_not_go_on_in_the_middle(shards: Path) -> None:
    """As older ones: nothing tells whether the shards are what they were."""
    state, loader = broken_off(shards, 2), loader_of(shards)
    loader.load_state_dict({**state, "order": state["order"][:-1]})
    with pytest.raises(ConfigError, match=OTHER_ORDER):
        keys(loader)


def test_the_end_of_an_epoch_goes_on_over_shards_that_were_written_anew(
    voice_config: Path, patchy_corpus: Path, shards: Path, tmp_path: Path
) -> None:
    """From the best checkpoint too, which is written before its epoch has quite ended."""
    write_shards(patchy_corpus, tmp_path / "larger", 90_000, progress=False)
    windows = f"--data.shards.window_gb={IN_WINDOWS.window_gb}"
    before = fit(voice_config, tmp_path / "before", f"--data.root={shards}", windows, "--trainer.max_epochs=1")
    for name in ("best", "last"):
        path = before / f"checkpoints/{name}.ckpt"
        run = fit(voice_config, tmp_path / name, f"--data.root={tmp_path / 'larger'}", windows, f"--ckpt_path={path}")
        assert load_checkpoint(run / "checkpoints/last.ckpt")["global_step"] == 6, "two whole epochs"


def test_balancing_over_windows_is_one_line(
    voice_config: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--data.root={shards}", "--data.sampler=class_balanced", "--data.shards.window_gb=0.0001"]
    assert main(["fit", f"--config={voice_config}", *flags]) == 2
    assert "train.py: error: a balanced data.sampler draws from all training clips" in capsys.readouterr().err


def test_a_cache_that_is_too_small_for_the_processes_of_a_machine_is_refused_before_anything_is_fetched(
    shards: Path, tmp_path: Path
) -> None:
    """Lightning says how many there are: here 4 of 8."""
    cache = ShardConfig(str(tmp_path / "cache"), 1.5 * max(path.stat().st_size for path in shards.glob("*.tar")) / 1e9)
    split = SplitConfig("speakers", validation=(5,), test=("06",))
    data = EmotionDataModule(VOICE, f"local:{shards}", split, shards=cache, batch_size=4)
    data.trainer = SimpleNamespace(node_rank=0, world_size=8, global_rank=3, num_devices=4)
    with pytest.raises(ConfigError, match=r"cache_gb=.* is too little: each of the 4 processes of this machine keeps"):
        data.setup("fit")
    assert not list((tmp_path / "cache").glob("*/*.tar"))


def test_a_cache_that_is_too_small_is_one_line_and_leaves_nothing(
    voice_config: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [f"--data.root=local:{shards}", f"--data.shards.cache={tmp_path / 'cache'}", "--data.shards.cache_gb=1e-5"]
    assert main(["fit", f"--config={voice_config}", *flags]) == 2
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("train.py: error: data.shards.cache_gb=1e-05 is too little: a training keeps there three shards")
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_folds_are_planned_on_shards(
    voice_config: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--protocol", "contig:3", "--data.root", str(shards), "--output", str(tmp_path / "cv"), "--dry-run"]
    assert mmer(["crossval", "--config", str(voice_config), *flags]) == 0
    assert "contig:3, 3 tasks of 2 epochs" in capsys.readouterr().out


def test_folds_are_shown_of_shards(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mmer(["split", str(shards), "--protocol", "contig:3"]) == 0
    assert "30 clips, contig:3" in capsys.readouterr().out


def test_classical_systems_and_descriptors_say_that_they_read_folders(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert mmer(["features", str(shards), str(tmp_path / "out.npz")]) == 2
    assert f"{shards} holds shards; give the prepared folder that they were written from" in capsys.readouterr().err
