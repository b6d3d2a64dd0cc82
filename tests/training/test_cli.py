"""train.py: a mistake is one line before a model is built; a run survives, and is never overwritten unasked."""

import shutil
from pathlib import Path

import pytest
import torch

from mmer.batch import Batch
from mmer.build import build_encoder
from mmer.config import ModelConfig, ResNet3DConfig, WaveCNNConfig
from mmer.data.clip import PreparedClip
from mmer.data.store import PreparedCorpus, clip_path
from mmer.evaluation.evaluate import evaluate_checkpoint
from mmer.evaluation.measure import measure
from mmer.inference.predictor import Predictor
from mmer.model import Output
from mmer.training import cli
from mmer.training.cli import main

pytestmark = pytest.mark.filterwarnings("default")


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--trainer.max_epoch=3", "--trainer.max_epoch=3"),
        ("--nonsense=1", "--nonsense=1"),
        ("--model.config.fusion.depth=big", "depth"),
        ("--model.config.fusion.dim=17", "fusion.dim=17 is not a multiple of fusion.heads=2"),
        ("--model.config.streams.face.variant=huge", "'tiny_slowfast']. Got value: huge"),
        ("--model.config.streams.face.encoder=sonar", "Got value: sonar"),
        ("--model.config.labels=ravdess9", "ravdess9"),
        ("--data.split.protocol=contig7", "contig7"),
        ("--data.root=nowhere", "nowhere is not a prepared folder; make it with: mmer prepare"),
        ("--data.split.test=[5]", "speakers 5 are both in validation and in test"),
        ("--data.split.test=[99]", "no speakers 99; it has 1, 2, 3, 4, 5, 6"),
        ("--ckpt_path=nowhere.ckpt", "there is no file nowhere.ckpt"),
        ("--ckpt_path=last", "there is no file"),
        ("--model.optim.lr=-1", "model.optim.lr=-1.0 must be positive"),
        ("--model.optim.kind=adam", "adam"),
        ("--model.optim.nesterov=true", "model.optim.nesterov is for kind: sgd"),
        ("--model.optim.layer_decay=2", "model.optim.layer_decay=2.0 must lie in (0, 1]"),
        ("--model.averaging.decay=1", "model.averaging.decay=1.0 must lie in (0, 1)"),
        ("--model.early_stopping=0", "model.early_stopping=0 must be at least 1; null never stops early"),
        ("--model.watch=luck", "luck"),
        ("--model.freeze=[nose]", "model.freeze names 'nose', which is no stream; the model has face, voice"),
        (
            "--model.freeze=[voice]",
            "are random and would stay so; begin from a checkpoint that has them",
        ),
        ("--trainer.precision=bf16-true", "trainer.precision=bf16-true would turn the clips themselves into other"),
        ("--model.focal=-1", "model.focal=-1.0 must not be negative; 0 is cross entropy"),
        ("--model.label_smoothing=2", "label_smoothing=2"),
        ("--model.stream_loss=-1", "model.stream_loss=-1.0 must not be negative"),
        ("--init=nowhere.ckpt", "checkpoint nowhere.ckpt does not exist"),
        (f"--init={__file__}", "cannot be read"),
        ("--model.config.clip.sample_rate=8000", "16000 Hz"),
        ("--data.batch_size=0", "data.batch_size=0 must be positive"),
        ("--data.workers=-1", "data.workers=-1 must not be negative"),
        ("--data.prefetch=0", "data.prefetch=0 must be positive"),
        ("--data.augment.zoom=[2,1]", "augment.zoom=[2.0, 1.0] must be two positive scales, the smaller first"),
        ("--model.config.fusion.max_tokens=5", "needs fusion.max_tokens="),
        ("--trainer.default_root_dir=s3://bucket/run", "default_root_dir=s3://bucket/run must be a folder; copy a run"),
        ("--trainer.default_root_dir=null", "default_root_dir=null names no folder for the run; name one, or leave it"),
        ("--trainer.val_check_interval=0", "val_check_interval=0 is no interval; give a number of batches, or a share"),
        ("--trainer.val_check_interval=0.0", "val_check_interval=0.0 is no interval; give a number of batches, or a"),
        ("--trainer.val_check_interval=5", "val_check_interval=5 is more than an epoch's number of batches, 4; give"),
        ("--trainer.accumulate_grad_batches=0", "trainer.accumulate_grad_batches=0 must be positive"),
        ("--trainer.check_val_every_n_epoch=0", "trainer.check_val_every_n_epoch=0 must be positive"),
        ("--trainer.num_nodes=0", "trainer.num_nodes=0 must be positive"),
        ("--trainer.max_epochs=0", "trainer.max_epochs=0 trains nothing; give more, or run train.py validate"),
        ("--trainer.limit_train_batches=0.0", "trainer.limit_train_batches=0.0 trains nothing; give more, or run"),
        ("--trainer.devices=-3", "should be an int > 0"),
        (
            "--trainer.plugins=[{class_path: lightning.pytorch.plugins.environments.SLURMEnvironment}]",
            "trainer.plugins names SLURMEnvironment, as configs/hardware/slurm.yaml does, and SLURM has not started",
        ),
        ("--wandb=", "wandb names no project; give one, as --wandb=emotions, or leave it out"),
        ("--trainer.accelerator=banana", "banana"),
        ("--trainer.strategy=banana", "banana"),
        (f"--ckpt_path={__file__}", "cannot be read"),
        ("--model.config.streams.face.weights=nowhere.pt", "nowhere.pt"),
        (f"--trainer.default_root_dir={__file__}", "test_cli.py"),
    ],
)
def test_a_mistake_is_one_line(tiny_config: Path, capsys: pytest.CaptureFixture[str], flag: str, said: str) -> None:
    assert main(["fit", f"--config={tiny_config}", flag]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train.py: error: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert not (tiny_config.parent / "run").exists()


def test_a_batch_script_of_slurm_is_told_to_use_srun(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a process of SLURM's too, and would wait for the others for ever."""
    for name in ("NTASKS", "PROCID", "LOCALID", "NODEID"):
        monkeypatch.setenv(f"SLURM_{name}", "0")
    plugin = "lightning.pytorch.plugins.environments.SLURMEnvironment"
    assert main(["fit", f"--config={tiny_config}", f"--trainer.plugins=[{{class_path: {plugin}}}]"]) == 2
    assert "SLURM has not started this process; start it with srun, or leave" in capsys.readouterr().err


@pytest.mark.parametrize("accelerator", ["gpu", "cuda", "mps"])
def test_a_gpu_that_is_not_here_is_one_line(
    tiny_config: Path, accelerator: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for backend in (torch.cuda, torch.backends.mps):
        monkeypatch.setattr(backend, "is_available", lambda: False)
    assert main(["fit", f"--config={tiny_config}", f"--trainer.accelerator={accelerator}"]) == 2
    assert (
        f"trainer.accelerator={accelerator} and no such device is here; give --trainer.accelerator=cpu, or leave"
        in (capsys.readouterr().err.splitlines()[-1])
    )


@pytest.mark.parametrize("flag", ["--trainer.max_epoch=3", "--model.config.fusion.depth=big", "--trainer.nope=1"])
def test_a_wrong_flag_is_seen_before_a_model_is_built(
    tiny_config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    monkeypatch.setattr("mmer.training.classifier.build_model", lambda config: pytest.fail("a model was built"))
    assert main(["fit", f"--config={tiny_config}", flag]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_validations_may_be_counted_over_epochs_and_not_behind_more_batches_than_are_taken(
    voice_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for limit in ("2", "0.7"):
        flags = ["fit", f"--config={voice_config}", "--trainer.val_check_interval=3"]
        flags += [f"--trainer.limit_train_batches={limit}"]
        assert main(flags) == 2
        assert "val_check_interval=3 is more than an epoch's number of batches, 2; " in capsys.readouterr().err
    assert main([*flags, "--trainer.check_val_every_n_epoch=null"]) == 0


def test_a_missing_config_file_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config=nowhere.yaml"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_testing_needs_a_checkpoint(tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", f"--config={tiny_config}"]) == 2
    assert "needs --ckpt_path PATH" in capsys.readouterr().err


@pytest.fixture
def run(tiny_config: Path) -> Path:
    """A finished run."""
    assert main(["fit", f"--config={tiny_config}"]) == 0
    return tiny_config.parent / "run"


def test_a_run_leaves_its_checkpoints_log_and_config(run: Path) -> None:
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    header, *_ = (run / "logs/version_0/metrics.csv").read_text().splitlines()
    assert {"val/uar", "val/accuracy", "val/macro_f1", "val/loss", "train/loss"} <= set(header.split(","))
    assert (run / "logs/version_0/config.yaml").is_file()


def test_a_run_is_not_overwritten_unasked(run: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "checkpoints/best.ckpt").read_bytes()
    for name in ("run-2", "run-3"):
        assert main(["fit", f"--config={tiny_config}", "--trainer.max_epochs=1"]) == 0
        said = f"{run} holds a run already, so this one goes to {run.with_name(name)}; --overwrite would replace it"
        assert said in capsys.readouterr().err
        assert (run.with_name(name) / "checkpoints/best.ckpt").is_file()
    assert (run / "checkpoints/best.ckpt").read_bytes() == before
    assert main(["fit", f"--config={tiny_config}", "--trainer.max_epochs=1", "--overwrite"]) == 0
    assert (run / "checkpoints/best.ckpt").read_bytes() != before


def test_an_interrupted_run_goes_on_from_its_last_checkpoint(
    tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = []

    def interrupt(self: cli.EmotionClassifier) -> None:
        epochs.append(self.current_epoch)
        if epochs == [0, 1]:
            raise RuntimeError("the power failed")

    monkeypatch.setattr(cli.EmotionClassifier, "on_train_epoch_start", interrupt)
    with pytest.raises(RuntimeError, match="the power failed"):
        main(["fit", f"--config={tiny_config}"])
    assert main(["fit", f"--config={tiny_config}", "--ckpt_path=last"]) == 0
    assert epochs == [0, 1, 1]
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 2 * 4  # 19 training clips in whole batches of 4, 2 epochs
    assert (tmp_path / "run/logs/version_0/metrics.csv").is_file(), "the log of the first part is kept"


def test_the_same_seed_gives_the_same_weights(tiny_config: Path, tmp_path: Path) -> None:
    states = []
    for name in ("a", "b"):
        flags = [f"--trainer.default_root_dir={tmp_path / name}", "--trainer.max_epochs=1"]
        assert main(["fit", f"--config={tiny_config}", *flags]) == 0
        states.append(torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_predictor_gives_the_numbers_of_the_evaluation(run: Path) -> None:
    checkpoint = run / "checkpoints/best.ckpt"
    evaluation = evaluate_checkpoint(checkpoint, device=torch.device("cpu"), progress=False)
    predictor = Predictor.from_checkpoint(checkpoint, "cpu")
    corpus = PreparedCorpus.open(Path(predictor.card.root))
    for key, expected in zip(evaluation.predictions.key, evaluation.predictions.probabilities, strict=True):
        answer = predictor.predict_clip(key, PreparedClip.load(clip_path(corpus.root, key), key))
        assert list(answer.probabilities) == list(evaluation.predictions.names)
        torch.testing.assert_close(
            torch.tensor(list(answer.probabilities.values())), torch.from_numpy(expected).float(), rtol=1e-4, atol=1e-5
        )


def test_the_checkpoint_says_who_trained_and_who_is_tested(run: Path) -> None:
    card = Predictor.from_checkpoint(run / "checkpoints/best.ckpt", "cpu").card
    assert card.speakers == {"train": ["1", "2", "3", "4"], "validation": ["5"], "test": ["6"]}
    assert (card.protocol, card.seed, card.corpora) == ("speakers", 1, ["noise"])


def test_without_validation_speakers_the_last_epoch_is_kept(tiny_config: Path, tmp_path: Path) -> None:
    assert main(["fit", f"--config={tiny_config}", "--data.split.validation=[]", "--data.split.train=[1,2,3]"]) == 0
    folder = tmp_path / "run/checkpoints"
    best, last = (torch.load(folder / name, weights_only=True) for name in ("best.ckpt", "last.ckpt"))
    assert best["epoch"] == last["epoch"] == 1


def test_balanced_class_weights_count_the_training_clips(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = cli.EmotionClassifier.on_fit_start

    def spy(self: cli.EmotionClassifier) -> None:
        original(self)
        seen.append((self.loss.class_weight.clone(), self.trainer.datamodule.train.class_counts(8)))

    monkeypatch.setattr(cli.EmotionClassifier, "on_fit_start", spy)
    flags = ["--model.class_weights=balanced", "--trainer.fast_dev_run=1"]
    assert main(["fit", f"--config={tiny_config}", *flags]) == 0
    weight, counts = seen[0]
    torch.testing.assert_close(weight, sum(counts) / (8 * torch.tensor(counts).float()))


def test_a_damaged_clip_stops_training_with_one_line(
    patchy_corpus: Path, tiny_config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "damaged"
    shutil.copytree(patchy_corpus, root)
    (root / "clips/01-2.npz").write_bytes(b"no archive")
    for workers in (0, 1):
        flags = [f"--data.root={root}", f"--data.workers={workers}", "--overwrite"]
        assert main(["fit", f"--config={tiny_config}", *flags]) == 2
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("train.py: error: ")]
        assert len(lines) == 1
        assert "clip 01-2" in lines[0]
        assert "prepare again" in lines[0]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data.split.test=[1]", "--data.split.validation=[2]"], "another data.split"),
        (["--model.config.fusion.depth=2"], ": model.config.fusion.depth was 1 and is 2\n"),
        (["--model.config.labels=[calm,neutral,happy,sad,angry,fearful,disgust,surprised]"], "another model.config"),
    ],
)
@pytest.mark.parametrize("subcommand", ["fit", "test"])
def test_a_checkpoint_goes_on_only_with_its_own_model_and_speakers(
    run: Path, tiny_config: Path, capsys: pytest.CaptureFixture[str], subcommand: str, flags: list[str], said: str
) -> None:
    """Otherwise speakers that it was trained on would become test speakers."""
    assert main([subcommand, f"--config={tiny_config}", "--ckpt_path=last", *flags]) == 2
    assert said in capsys.readouterr().err


def test_resuming_elsewhere_leaves_the_run_that_is_there(run: Path, tiny_config: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "other")
    before = (tmp_path / "other/checkpoints/best.ckpt").stat().st_mtime_ns
    flags = [f"--ckpt_path={run / 'checkpoints/last.ckpt'}", f"--trainer.default_root_dir={tmp_path / 'other'}"]
    assert main(["fit", f"--config={tiny_config}", *flags, "--trainer.max_epochs=3"]) == 0
    assert (tmp_path / "other/checkpoints/best.ckpt").stat().st_mtime_ns == before
    assert (tmp_path / "other-2/checkpoints/last.ckpt").is_file()


def test_a_mistake_costs_no_run(run: Path, tiny_config: Path) -> None:
    assert main(["fit", f"--config={tiny_config}", "--overwrite", "--data.split.test=[99]"]) == 2
    assert (run / "checkpoints/best.ckpt").is_file()


def test_a_run_does_not_replace_what_it_begins_from(
    run: Path, tiny_config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "link").symlink_to(run)
    init = f"{tmp_path}/link/checkpoints/best.ckpt"
    assert main(["fit", f"--config={tiny_config}", "--overwrite", f"--init={init}"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"train.py: error: init={init} is a checkpoint of the run that --overwrite replaces; copy it elsewhere, or "
        "name another trainer.default_root_dir"
    )
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_checkpoint_brings_its_own_weights(tiny_config: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pt"
    encoder = build_encoder(ResNet3DConfig("resnet3d", "tiny", weights="none"), load=False)
    flags = [f"--config={tiny_config}", f"--model.config.streams.face.weights={weights}"]
    torch.save({f"blocks.{name}": value for name, value in encoder.network.state_dict().items()}, weights)
    assert main(["fit", *flags, "--trainer.max_epochs=1"]) == 0
    weights.unlink()
    assert main(["test", *flags, "--ckpt_path=best"]) == 0


def test_the_training_scores_are_those_of_the_evaluation(tiny_config: Path, run: Path) -> None:
    checkpoint = run / "checkpoints/best.ckpt"
    evaluation = evaluate_checkpoint(checkpoint, part="validation", device=torch.device("cpu"), progress=False)
    score = torch.load(checkpoint, weights_only=True)["callbacks"]
    best = next(state["best_model_score"] for name, state in score.items() if "BestCheckpoint" in name)
    assert float(best) == pytest.approx(measure([evaluation], resamples=1)["systems"][0]["scores"]["uar"]["value"])


def test_a_stream_is_not_blamed_for_clips_that_lack_its_modality() -> None:
    """Its own loss is over the clips that it can read."""
    classifier = cli.EmotionClassifier(ModelConfig({"voice": WaveCNNConfig("wave_cnn", "tiny")}), label_smoothing=0.0)
    mask = torch.tensor([[True] * 4, [False] * 4])
    batch = Batch(("a", "b"), audio=torch.zeros(2, 4), audio_mask=mask, label=torch.tensor([0, 1]))
    logits = torch.randn(2, 8)
    loss = classifier.loss(Output(logits, {"voice": logits}), batch) - classifier.loss(Output(logits, {}), batch)
    torch.testing.assert_close(loss, 0.5 * torch.nn.functional.cross_entropy(logits[:1], batch.label[:1]))


def test_a_model_for_use_trains_without_test_speakers(tiny_config: Path) -> None:
    assert main(["fit", f"--config={tiny_config}", "--data.split.test=[]", "--trainer.max_epochs=1"]) == 0
    assert main(["test", f"--config={tiny_config}", "--data.split.test=[]", "--ckpt_path=best"]) == 2


def test_help_explains_the_settings_in_the_words_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "Length of the window, in seconds" in words
    assert "Speakers of the test part" in words
    for recipe in (
        "a plateau multiplies the rate",
        "Share of the average that a step leaves",
        "Gamma of the focal loss",
        "auto is the newest of the run's folder, and begins where it has none",
    ):
        assert recipe in words


def test_agents_of_a_sweep_that_begin_at_once_have_folders_of_their_own(
    voice_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    monkeypatch.setenv("WANDB_RUN_ID", "r7")
    assert main(["fit", f"--config={voice_config}", "--trainer.max_epochs=1"]) == 0
    assert (tmp_path / "run-r7/checkpoints/last.ckpt").is_file() and not (tmp_path / "run").exists()
