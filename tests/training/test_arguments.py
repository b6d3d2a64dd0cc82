"""What configs and flags say together of the streams and the fusion, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from mmer.config import (
    EarlyFusionConfig,
    FusionConfig,
    GatedFusionConfig,
    LSTMConfig,
    MeanFusionConfig,
    ModelConfig,
    SelfAttentionConfig,
    TransformerFusionConfig,
    WaveCNNConfig,
)
from mmer.training import cli
from mmer.training.arguments import explains, one_line, settle_unions

pytestmark = pytest.mark.filterwarnings("default")  # Lightning's own calls are deprecated

MEAN = {"kind": "mean", "dim": 32}
MEL = "--model.config.streams.voice={encoder: mel_cnn, mel"
EARLY = {"kind": "early", "dim": 30, "temporal": {"kind": "lstm", "width": 7, "depth": 2}}


@pytest.fixture
def parse(tiny_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the model that a config with some fusion and some flags describe; nothing is trained."""
    found: list[ModelConfig] = []

    def look(self: cli.TrainCLI, **_: Any) -> None:
        found.append(self.model.config)
        raise cli.ConfigError("seen")

    monkeypatch.setattr(cli.TrainCLI, "before_instantiate_classes", lambda self: None)
    monkeypatch.setattr(cli.TrainCLI, "instantiate_trainer", look)

    def parse(fusion: dict[str, Any] | None, *flags: str) -> ModelConfig | None:
        config = yaml.safe_load(tiny_config.read_text())
        config["model"]["config"].pop("fusion")
        if fusion is not None:
            config["model"]["config"]["fusion"] = fusion
        path = tmp_path / "fusion.yaml"
        path.write_text(yaml.safe_dump(config))
        found.clear()
        assert cli.main(["fit", f"--config={path}", *flags]) == 2
        return found[0] if found else None

    return parse


@pytest.mark.parametrize(
    ("fusion", "flags", "expected"),
    [
        (None, (), TransformerFusionConfig()),
        (None, ("--model.config.fusion.depth=1",), TransformerFusionConfig(depth=1)),
        ({"dim": 32, "heads": 4}, (), TransformerFusionConfig(dim=32, heads=4)),
        (MEAN, (), MeanFusionConfig("mean", 32)),
        (MEAN, ("--model.config.fusion.dim=64",), MeanFusionConfig("mean", 64)),
        (MEAN, ("--model.config.fusion.dim", "64"), MeanFusionConfig("mean", 64)),
        (MEAN, ("--model.config.fusion.dropout=1e-3",), MeanFusionConfig("mean", 32, 0.001)),
        (MEAN, ("--model.config.fusion.kind=gated",), GatedFusionConfig("gated")),
        (MEAN, ("--model.config.fusion={kind: gated, dim: 3}",), GatedFusionConfig("gated", 3)),
        (
            EARLY,
            ("--model.config.fusion.temporal.width=9",),
            EarlyFusionConfig("early", LSTMConfig("lstm", 9, 2), 30),
        ),
        (
            EARLY,
            ("--model.config.fusion.temporal={kind: transformer}",),
            EarlyFusionConfig("early", SelfAttentionConfig("transformer"), 30),
        ),
    ],
)
def test_flags_change_the_fusion_that_the_config_names(
    parse: Any, fusion: dict[str, Any] | None, flags: tuple[str, ...], expected: FusionConfig
) -> None:
    assert parse(fusion, *flags).fusion == expected


def test_flags_change_and_replace_encoders(parse: Any) -> None:
    assert parse(MEAN, "--model.config.streams.voice.dropout=0.3").streams["voice"] == WaveCNNConfig(
        "wave_cnn", "tiny", 0.3
    )
    replaced = parse(MEAN, "--model.config.streams.face={encoder: wave_cnn, variant: base}")
    assert replaced.streams["face"] == WaveCNNConfig("wave_cnn")


def test_a_second_config_lies_over_the_first(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("{model: {config: {fusion: {kind: mean, dim: 3}}}, data: {root: a, batch_size: 1e-3}}")
    second.write_text("{model: {config: {fusion: {dim: 4}}}, data: {root: b}}")
    command, config, rest = settle_unions(["fit", "--config", str(first), f"--config={second}", "--data.workers=0"])
    assert (command, rest) == ("fit", "--data.workers=0")
    assert yaml.safe_load(config.removeprefix("--config=")) == {
        "model": {"config": {"fusion": {"kind": "mean", "dim": 4}}},
        "data": {"root": "b", "batch_size": "1e-3"},
    }


def test_another_class_replaces_the_settings_of_the_first(tmp_path: Path) -> None:
    said = ["{class_path: A, init_args: {x: 1}}", "{init_args: {y: 2}}", "{class_path: B, init_args: {z: 3}}"]
    paths = [tmp_path / f"{number}.yaml" for number in range(3)]
    for path, strategy in zip(paths, said, strict=True):
        path.write_text(f"{{trainer: {{strategy: {strategy}}}}}")
    found = []
    for count in (2, 3):
        _, config = settle_unions(["fit", *(f"--config={path}" for path in paths[:count])])
        found.append(yaml.safe_load(config.removeprefix("--config="))["trainer"]["strategy"])
    assert found == [
        {"class_path": "A", "init_args": {"x": 1, "y": 2}},
        {"class_path": "B", "init_args": {"z": 3}},
    ]


def test_a_single_config_is_left_to_the_parser(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("{model: {config: {fusion: {kind: mean}}}}")
    args = ["fit", "--config", str(path), "--data.root=x"]
    assert settle_unions(args) == args


@pytest.mark.parametrize("args", [[], ["--help"], ["fit", "--config=nowhere.yaml"]])
def test_what_cannot_be_merged_is_left_to_the_parser(args: list[str]) -> None:
    assert settle_unions(args) == args


@pytest.mark.parametrize(
    ("fusion", "flags", "said"),
    [
        ({"kind": "men"}, (), "one of 'transformer', 'mean', 'cross_attention', 'gated', 'early'. Got value: men"),
        (MEAN, ("--model.config.fusion.depth=2",), "config.fusion has no setting 'depth'; mean has kind, dim, dropout"),
        ({"dim": 32, "depht": 2}, (), "no setting 'depht'; transformer has kind, dim, depth, heads, dropout, max_"),
        (EARLY | {"temporal": {"kind": "gru"}}, (), "expected one of 'lstm', 'transformer'. Got value: gru"),
        (EARLY, ("--model.config.fusion.temporal.heads=2",), "fusion.temporal has no setting 'heads'; lstm has kind"),
        ({"kind": "mean", "dim": "wide"}, (), "Parser key \"dim\": Expected a <class 'int'>. Got value: wide"),
        (MEAN, ("--model.config.streams.voice.encoder=sonar",), "Got value: sonar"),
        (MEAN, (f"{MEL}: {{augment: {{}}}}}}",), "voice.mel has no setting 'augment'; it has bins, window, hop, low"),
        (MEAN, (f"{MEL}: {{spec_augment: {{band: 2}}}}}}",), "mel.spec_augment has no setting 'band'; it has bands,"),
        (MEAN, (f"{MEL}: 3}}",), "config.streams.voice.mel=3 must be settings: bins, window, hop"),
        (MEAN, (f"{MEL}: null}}",), "config.streams.voice.mel=None must be settings: bins, window, hop"),
        (MEAN, (f"{MEL}: {{bins: many}}}}",), 'Parser key "mel.bins": Expected a <class \'int\'>. Got value: many'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_about_the_kind_that_was_meant(
    parse: Any, fusion: dict[str, Any], flags: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert parse(fusion, *flags) is None
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
    assert line.count("Expected a typing.Literal") == 0
    assert line.count("is not accepted") <= 1


def test_one_line_keeps_what_matters_of_a_parsers_message() -> None:
    message = 'Parser key "streams":\n  Does not validate\n  Errors:\n    - Subclasses are disabled\n    - Got value: x'
    assert one_line(message) == 'Parser key "streams": Got value: x'


def test_what_is_said_of_all_the_model_at_once_keeps_the_rest_of_a_fusion(tiny_config: Path) -> None:
    """As wandb agent hands over parameters inside others."""
    for flag in ("--model.config={'fusion': {'depth': 3}}", "--model={'config': {'fusion': {'depth': 3}}}"):
        apart = settle_unions(["fit", f"--config={tiny_config}", "--model.config.fusion.depth=3"])
        assert settle_unions(["fit", f"--config={tiny_config}", flag]) == apart


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["fit", "--help"], True),
        (["fit", "-h"], True),
        (["fit", "--trainer.logger.help=CSVLogger"], True),
        (["fit", "--model.config.fusion.help", "Mean"], True),
        (["fit", "--print_config=comments"], True),
        (["fit", "--config=help.yaml", "--print_config"], False),
    ],
)
def test_words_are_looked_for_where_somebody_reads_them(args: list[str], expected: bool) -> None:
    assert explains(args) == expected


def test_what_settings_a_stream_has_is_asked_of_its_own_kind(tmp_path: Path) -> None:
    """Whatever is no description is left to the parser, and so is a name that nothing has."""
    path = tmp_path / "config.yaml"
    path.write_text("{model: {config: {streams: {a: null, b: {encoder: sonar, x: 1}, c: other.yaml}, fusion: null}}}")
    settle_unions(["fit", f"--config={path}"])
    path.write_text("{model: {config: {streams: {a: {encoder: mel_cnn, mel.bins: 3, temporal: null}}}}}")
    settle_unions(["fit", f"--config={path}"])
