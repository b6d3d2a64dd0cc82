"""What a prepared folder says of itself comes back, and one that is damaged or not finished is refused."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from mmer.config import PrepareConfig
from mmer.data.store import PreparedCorpus, Settings, changes, clip_path, read_settings, write_settings
from mmer.errors import CorpusError


@pytest.mark.parametrize(
    "key", ["a/b", "..", ".hidden", "../../etc/passwd", "a%2Fb", "ä ö", 'x:y*"<>|?', "a\\b", "a\nb"]
)
def test_any_key_is_one_file_in_the_folder(key: str, tmp_path: Path) -> None:
    path = clip_path(tmp_path, key)
    assert path.resolve().parent == (tmp_path / "clips").resolve()
    assert path.suffix == ".npz" and not path.name.startswith(".")


def test_different_keys_are_different_files(tmp_path: Path) -> None:
    keys = ["a/b", "a%2Fb", "a_b", "a:b", "a b", "a.b", "A/b"]
    assert len({clip_path(tmp_path, key) for key in keys}) == len(keys)


def test_settings_come_back(tmp_path: Path) -> None:
    config = PrepareConfig(detector="none", size=64, margin=0.1, features=("action_units",))
    assert read_settings(tmp_path) is None
    write_settings(tmp_path, config)
    assert read_settings(tmp_path) == Settings(config)
    versions = [{"mmer": "0.1.0", "av": "17.0.0"}, {"mmer": "0.1.0", "av": "18.0.0"}]
    write_settings(tmp_path, config, versions=versions, sources="0f2e", counts={"clips": 3, "video": 2})
    assert read_settings(tmp_path) == Settings(config, tuple(versions), "0f2e", {"clips": 3, "video": 2})


def test_settings_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "prepare.json").write_text('{"format": 99, "config": {}}')
    with pytest.raises(CorpusError, match="has format 99 and this version reads 2; prepare it again"):
        read_settings(tmp_path)


@pytest.mark.parametrize("text", ['{"format": 2, "con', '{"format": 2}', '{"format": 2, "config": {"size": -1}}'])
def test_damaged_settings_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "prepare.json").write_text(text)
    with pytest.raises(CorpusError, match=r"prepare.json is damaged .*; delete the folder and prepare again"):
        read_settings(tmp_path)


def test_changes_name_what_differs() -> None:
    before, now = PrepareConfig(), PrepareConfig(size=96, max_seconds=10)
    assert changes(before, now) == "size=224 (now 96), max_seconds=120.0 (now 10.0)"
    assert changes(before, before) == ""


@pytest.mark.parametrize(
    ("modality", "differs"),
    [
        ("video", {"detector", "detector_model", "detect_every", "detect_size", "align", "margin", "size", "quality"}),
        ("audio", {"sample_rate"}),
        ("text", {"transcripts", "whisper_model"}),
        ("units", {"features"}),
    ],
)
def test_changes_are_those_that_matter_to_what_a_model_reads(modality: str, differs: set[str]) -> None:
    now = PrepareConfig("yunet", "a.onnx", 2, 640, True, 0.1, 96, 80, 8_000, 10.0, "whisper", "large", ("units",))
    assert {part.partition("=")[0] for part in changes(PrepareConfig(), now, [modality]).split(", ")} == differs
    assert changes(PrepareConfig(), PrepareConfig(max_seconds=1), [modality]) == ""


def test_every_setting_but_the_longest_clip_matters_to_something() -> None:
    now = PrepareConfig("yunet", "a.onnx", 2, 640, True, 0.1, 96, 80, 8_000, 10.0, "whisper", "large", ("units",))
    everything = changes(PrepareConfig(), now, ["video", "audio", "text", "units"])
    names = {part.partition("=")[0] for part in everything.split(", ")}
    assert names == {item.name for item in fields(PrepareConfig)} - {"max_seconds"}


@pytest.mark.parametrize("begun", [False, True])
def test_folder_that_is_not_prepared_or_not_finished_is_refused(begun: bool, tmp_path: Path) -> None:
    if begun:
        write_settings(tmp_path, PrepareConfig())
    with pytest.raises(CorpusError, match=r"is not a prepared folder; make it with: mmer prepare CORPUS SOURCE"):
        PreparedCorpus.open(tmp_path)
