from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmer.batch import Batch
from mmer.calibration import Calibration
from mmer.checkpoint import CARD, FORMAT, Card, checkpoint_hash, read_checkpoint, write_calibration
from mmer.config import ModelConfig, PrepareConfig, SplitConfig, TransformerFusionConfig, WaveCNNConfig
from mmer.corpora.splits import Split
from mmer.errors import CheckpointError, ConfigError
from mmer.model import EmotionModel, build_model

MODEL = ModelConfig(
    {"voice": WaveCNNConfig("wave_cnn", variant="tiny")},
    ("no", "yes"),
    fusion=TransformerFusionConfig(dim=16, depth=1, heads=2),
)
CARD_OF_MODEL = Card(
    model=MODEL,
    prepare=PrepareConfig(size=64),
    split=SplitConfig("speakers", test=(3, "anna")),
    root="somewhere",
    protocol="speakers",
    speakers={"train": ["1"], "validation": ["2"], "test": ["3", "anna"]},
    corpora=["ravdess"],
    seed=7,
    epoch=12,
    versions={"torch": "2"},
    keys={"train": ["a"], "validation": [], "test": ["b", "c"]},
    dropped=["d"],
    leaks=["speakers 3 are both in train and in test"],
    notes=["1 clips are left out"],
)

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def model() -> EmotionModel:
    torch.manual_seed(0)
    return build_model(MODEL).eval()


@pytest.fixture
def write(tmp_path: Path, model: EmotionModel) -> Write:
    """Write a checkpoint as training does; what is given takes the place of its own."""

    def write(**changes: Any) -> Path:
        weights = {f"model.{name}": value for name, value in model.state_dict().items()}
        trainer = {"epoch": 12, "optimizer_states": [{"state": {}}], "pytorch-lightning_version": "2.6"}
        torch.save(
            {**trainer, CARD: CARD_OF_MODEL.to_plain(), "state_dict": weights, **changes}, tmp_path / "best.ckpt"
        )
        return tmp_path / "best.ckpt"

    return write


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_checkpoint_is_read_back_and_gives_the_same_numbers(write: Write, model: EmotionModel) -> None:
    found, card = read_checkpoint(write())
    assert card == CARD_OF_MODEL
    assert not found.training
    batch = Batch(("a",), audio=torch.randn(1, 4000), audio_mask=torch.ones(1, 4000, dtype=torch.bool))
    with torch.no_grad():
        assert torch.equal(found(batch).logits, model(batch).logits)


def test_a_checkpoint_is_plain_data(write: Write) -> None:
    plain = torch.load(write(), weights_only=True)[CARD]
    assert plain["format"] == FORMAT
    assert plain["card"]["model"]["labels"] == ["no", "yes"]
    assert plain["card"]["split"]["test"] == [3, "anna"]


def test_weights_that_the_config_names_are_not_needed(write: Write, model: EmotionModel) -> None:
    plain = CARD_OF_MODEL.to_plain()
    plain["card"]["model"]["streams"]["face"] = {"encoder": "resnet3d", "variant": "tiny", "weights": "gone.pt"}
    assert "does not fit its own description" in refused(write(**{CARD: plain}))  # and no word of gone.pt


def test_what_training_keeps_beside_the_model_is_left_alone(write: Write, model: EmotionModel) -> None:
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    read_checkpoint(write(state_dict={**weights, "metrics.val_metrics.uar.tp": torch.zeros(2)}))


def test_the_hash_is_that_of_the_file(write: Write) -> None:
    path = write()
    assert checkpoint_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()


# --- the split that it keeps


SPLIT = Split("luna5 fold 2", ("1", "4"), ("2",), ("3",), ("emodb", "ravdess"), None, frozenset("d"), (), ("a note",))
BY_CLIP = replace(
    SPLIT, keys={"train": frozenset("ab"), "validation": frozenset(), "test": frozenset("c")}, leaks=("a leak",)
)


@pytest.mark.parametrize("split", [SPLIT, BY_CLIP], ids=["speakers", "clips"])
def test_the_split_comes_back_from_the_card(write: Write, split: Split) -> None:
    given = {name: getattr(CARD_OF_MODEL, name) for name in ("model", "prepare", "split", "root")}
    path = write(**{CARD: Card.of_split(split, (), **given).to_plain()})
    assert read_checkpoint(path)[1].dealt == split


def test_a_card_of_many_clips_stays_small(write: Write) -> None:
    """54,000 keys of ten letters take 1.1 MB."""
    keys = {"train": frozenset(f"en/{i:07d}" for i in range(54_000))}
    given = {name: getattr(CARD_OF_MODEL, name) for name in ("model", "prepare", "split", "root")}
    before = write().stat().st_size
    path = write(**{CARD: Card.of_split(replace(BY_CLIP, keys=keys), (), **given).to_plain()})
    assert path.stat().st_size - before < 2_000_000


# --- what is no checkpoint


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    assert refused(path) == f"checkpoint {path} does not exist"


@pytest.mark.parametrize("data", [b"", b"hello", b"Dear diary,\nno model.\n", b"PK\x03\x04"])
def test_a_file_that_torch_did_not_write_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "best.ckpt"
    path.write_bytes(data)
    assert refused(path) == f"checkpoint {path} cannot be read: it is damaged, or torch.save did not write it"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_file_that_was_cut_off_is_refused(write: Write, share: float) -> None:
    path = write()
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert refused(path) == f"checkpoint {path} cannot be read: it is damaged, or torch.save did not write it"


def test_a_file_of_python_objects_is_refused_and_not_executed(write: Write) -> None:
    assert "it holds Python objects, which are not safe to load" in refused(write(hyper_parameters=Path("x")))


@pytest.mark.parametrize("changes", [{CARD: None}, {"state_dict": None}, {CARD: "a string"}, {"state_dict": [1]}])
def test_another_program_s_checkpoint_is_refused(write: Write, changes: dict[str, Any]) -> None:
    path = write(**changes)
    assert refused(path) == f"checkpoint {path} was not written by mmer's training; give one that train.py wrote"


@pytest.mark.parametrize("data", [torch.zeros(2), [1], {"weight": torch.zeros(2)}])
def test_a_file_of_other_tensors_is_refused(tmp_path: Path, data: object) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(data, path)
    assert refused(path) == f"checkpoint {path} was not written by mmer's training; give one that train.py wrote"


@pytest.mark.parametrize("version", [FORMAT + 1, None])
def test_another_format_is_refused(write: Write, version: int | None) -> None:
    path = write(**{CARD: {**CARD_OF_MODEL.to_plain(), "format": version}})
    assert refused(path) == f"checkpoint {path} has format {version} and this version reads {FORMAT}"


def test_a_card_that_cannot_be_read_is_refused_and_the_place_named(write: Write) -> None:
    plain = CARD_OF_MODEL.to_plain()
    plain["card"]["model"]["fusion"]["dim"] = "wide"
    assert "the stored Card is not readable at 'model.fusion.dim': Input should be" in refused(write(**{CARD: plain}))
    assert "the stored Card is not readable" in refused(write(**{CARD: {"format": FORMAT}}))


@pytest.mark.parametrize("fault", ["missing", "unknown", "shape"])
def test_weights_that_do_not_fit_the_card_are_refused_and_the_parameter_named(
    write: Write, model: EmotionModel, fault: str
) -> None:
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    if fault == "missing":
        del weights["model.fusion.query"]
    else:
        weights["model.fusion.query" if fault == "shape" else "model.fusion.extra"] = torch.zeros(5)
    path = write(state_dict=weights)
    message = refused(path)
    assert message.startswith(f"checkpoint {path} does not fit its own description: ")
    assert ("fusion.extra" if fault == "unknown" else "fusion.query") in message


# --- a calibration in the card


CALIBRATION = Calibration("vector", (0.5, 0.75), (0.25, -0.25), ["2"], 12, 0.6, 0.8, 0.7)


def test_a_card_from_before_calibrations_is_read(write: Write) -> None:
    plain = CARD_OF_MODEL.to_plain()
    del plain["card"]["calibration"]
    assert read_checkpoint(write(**{CARD: plain}))[1] == CARD_OF_MODEL


def test_a_calibration_is_written_and_taken_out(write: Write) -> None:
    path = write()
    write_calibration(path, CALIBRATION)
    assert read_checkpoint(path)[1] == replace(CARD_OF_MODEL, calibration=CALIBRATION)
    write_calibration(path, None)
    assert read_checkpoint(path)[1] == CARD_OF_MODEL


def test_all_else_in_the_file_stays(write: Write) -> None:
    """Training goes on from it: the optimiser's state, the loops' and whatever else it keeps."""
    state = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.randn(4)}}, "param_groups": [{"lr": 0.1}]}
    path = write(optimizer_states=[state], loops={"fit_loop": {"epoch": 3}})
    before = torch.load(path, weights_only=True)
    write_calibration(path, CALIBRATION)
    after = torch.load(path, weights_only=True)
    assert list(after) == list(before)
    assert after[CARD]["card"].pop("calibration") is not None
    assert before[CARD]["card"].pop("calibration") is None
    for name in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(after.pop(name), before.pop(name), rtol=0, atol=0)
    assert after == before


def test_another_file_can_be_written(write: Write, tmp_path: Path) -> None:
    path = write()
    before = path.read_bytes()
    write_calibration(path, CALIBRATION, tmp_path / "new.ckpt")
    assert path.read_bytes() == before
    assert read_checkpoint(tmp_path / "new.ckpt")[1].calibration == CALIBRATION


def test_a_link_stays_a_link(write: Write, tmp_path: Path) -> None:
    path, link = write(), tmp_path / "link.ckpt"
    link.symlink_to(path)
    write_calibration(link, CALIBRATION)
    assert link.is_symlink()
    assert read_checkpoint(path)[1].calibration == CALIBRATION


def test_a_calibration_of_other_classes_is_neither_written_nor_read(write: Write) -> None:
    path = write()
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="the calibration has scales for 3 classes and the model has 2"):
        write_calibration(path, Calibration("vector", (1.0,) * 3, (0.0,) * 3))
    assert path.read_bytes() == before
    plain = CARD_OF_MODEL.to_plain()
    plain["card"]["calibration"] = {"method": "vector", "scale": [1, 1, 1], "bias": [0, 0, 0]}
    assert "the calibration has scales for 3 classes and the model has 2" in refused(write(**{CARD: plain}))


def test_a_failure_leaves_the_checkpoint_as_it_was(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write()
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        write_calibration(path, CALIBRATION)
    assert path.read_bytes() == before
    assert [each.name for each in path.parent.iterdir()] == [path.name]
