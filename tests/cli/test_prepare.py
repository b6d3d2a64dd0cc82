"""``mmer prepare``: a flag for every setting, a summary for people and programs, exit codes for scripts."""

from __future__ import annotations

import argparse
import csv
import json
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from mmer.cli import main
from mmer.cli import prepare as command
from mmer.cli.parser import Parser, add_workers
from mmer.config import PrepareConfig
from mmer.corpora.catalogue import CORPORA, Corpus
from mmer.corpora.manifest import Manifest, Row
from mmer.data.store import read_settings


@pytest.fixture
def table(tmp_path: Path, odd_media: dict[str, Path], bad_media: dict[str, Path]) -> Path:
    """Two good clips and three bad ones."""
    with (tmp_path / "films.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("key", "video", "audio", "text", "label", "speaker"))
        writer.writerow(("face", odd_media["a face.mp4"], "", "words", "happy", 1))
        writer.writerow(("voice", "", odd_media["8 kHz.wav"], "", "sad", 1))
        writer.writerow(("cut", "", bad_media["cut in the middle.wav"], "", "sad", 2))
        writer.writerow(("empty", bad_media["zero bytes.mp4"], "", "", "sad", 2))
        writer.writerow(("hidden", bad_media["no face.mp4"], "", "", "sad", 2))
    return tmp_path / "films.csv"


def parse(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add(parser)
    return parser.parse_args([*arguments, "SRC", "DST"])


def prepare(table: Path, *options: str) -> int:
    return main(["prepare", "table", str(table), str(table.parent / "out"), "--size=64", "--workers=1", *options])


@pytest.mark.parametrize("corpus", CORPORA, ids=lambda corpus: corpus.name)
def test_every_corpus_is_a_kind_with_its_own_defaults(corpus: Corpus) -> None:
    args = parse(corpus.name)
    assert command._config(args) == PrepareConfig(**corpus.prepare)
    for name, values in corpus.options.items():
        assert getattr(args, f"option_{name}") == values[0]


def test_every_setting_is_a_flag() -> None:
    assert {field.name for field in fields(PrepareConfig)} == {*command._HELP, "features"}
    flags = [
        *("--detector=yunet", "--detector-model=m.onnx", "--detect-every=3", "--detect-size=200", "--align"),
        *("--margin=0.5", "--size=96", "--quality=80", "--sample-rate=8000", "--max-seconds=9.5"),
        *("--transcripts=whisper", "--whisper-model=tiny"),
    ]
    assert command._config(parse("table", *flags)) == PrepareConfig(
        *("yunet", "m.onnx", 3, 200, True, 0.5, 96, 80, 8000, 9.5, "whisper", "tiny")
    )


def test_options_of_a_reader_are_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, str] = {}

    def read(path: Path, **options: str) -> Manifest:
        given.update(options, path=path.name)
        return Manifest((Row("a", "test", label="sad"), Row("b", "test", label="mad")))

    options = {"channel": ("speech", "song"), "labels": ("intended", "perceived")}
    corpus = Corpus("odd", "Odd", read, (), None, None, (), "", "", "", options, {"size": 48, "detector": "none"})
    monkeypatch.setattr(command, "CORPORA", (corpus,))
    args = parse("odd", "--channel=song", "--labels-from=perceived", "--labels=ravdess8", "--size=96")
    assert command._config(args) == PrepareConfig(size=96, detector="none")
    assert [row.key for row in command._read(corpus, args).rows] == ["a"]
    assert given == {"channel": "song", "labels": "perceived", "path": "SRC"}


def test_summary_says_what_there_is_and_what_is_missing_and_why(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert prepare(table) == 0
    output = capfd.readouterr()
    assert output.out.splitlines()[:3] == [
        f"2 of 5 clips in {table.parent / 'out'}: 1 with a face, 2 with a voice, 1 with words",
        "labels: happy 1, sad 1",
        "speakers: 1 2",
    ]
    assert output.out.splitlines()[3].startswith("faces, median: in 100% of the frames, ")
    *_, one, two, three, cut, empty, hidden, last = output.err.splitlines()
    assert cut.startswith("left out: clip cut (") and cut.endswith("the file is truncated")
    assert empty.startswith("left out: clip empty (") and empty.endswith("the file is empty (0 bytes)")
    assert hidden.startswith("left out: clip hidden (") and "no face in any of 6 frames" in hidden
    assert {one.split()[0], two.split()[0], three.split()[0]} == {"1"}
    assert "1 x it ends after ... of ... bytes; the file is truncated" in (one, two, three)
    assert last == (
        "mmer: warning: 3 of 5 clips were left out; "
        f"all names and reasons are in {table.parent / 'out' / 'skipped.csv'}"
    )


def test_strict_makes_missing_clips_an_error(table: Path) -> None:
    assert prepare(table, "--strict") == 3
    lines = table.read_text().splitlines()
    table.write_text("\n".join(lines[:3]))
    assert main(["prepare", "table", str(table), str(table.parent / "new"), "--workers=1", "--strict"]) == 0


def test_json_summary_stands_alone_on_standard_output(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.savez(table.parent / "au.npz", face=np.ones(3))
    assert prepare(table, "--format=json", f"--features=au={table.parent / 'au.npz'}") == 0
    summary = json.loads(capfd.readouterr().out)
    assert summary["folder"] == str(table.parent / "out")
    assert (summary["clips"], summary["prepared"]) == (5, 2)
    assert summary["modalities"] == {"video": 1, "audio": 2, "text": 1}
    assert summary["features"] == {"au": 1}
    assert (summary["labels"], summary["speakers"]) == ({"happy": 1, "sad": 1}, {"1": 2})
    assert summary["faces"]["share"] == 1.0
    assert [clip["key"] for clip in summary["skipped"]] == ["cut", "empty", "hidden"]
    assert sum(summary["reasons"].values()) == 3
    assert (summary["notes"], summary["warnings"]) == ([], [])
    settings = read_settings(table.parent / "out")
    assert settings is not None and settings.config.features == ("au",)


def test_many_values_and_many_missing_are_shortened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [f"{i},words,{i:02}," for i in range(40)] + [f"gone {i},,,gone{i}.wav" for i in range(40)]
    (tmp_path / "words.csv").write_text("\n".join(["key,text,speaker,audio", *lines]))
    assert main(["prepare", "table", str(tmp_path / "words.csv"), str(tmp_path / "out"), "--workers=1"]) == 0
    output = capfd.readouterr()
    assert "speakers: 0 1, 1 1, 2 1, " in output.out and output.out.splitlines()[-1].endswith(", ... (40 in all)")
    assert output.err.count("left out: clip gone ") == 30 and "left out: 10 more" in output.err
    assert "40 x the file does not exist" in output.err


def test_notes_of_the_reader_are_told_first(
    demo_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    noted = Manifest((Row("a", "test", text="words"),), notes=("1 of 2 takes; actor 2 is missing",))
    corpus = Corpus("odd", "Odd", lambda path: noted, (), None, None, (), "", "", "")
    monkeypatch.setattr(command, "find_corpus", lambda name: corpus)
    assert main(["prepare", "table", str(demo_corpus), str(tmp_path / "out"), "--workers=1"]) == 0
    assert capfd.readouterr().err.splitlines()[0] == "1 of 2 takes; actor 2 is missing"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--features=au"], "'au' is not NAME=PATH, as action_units=openface.csv"),
        (["--features==x"], "'=x' is not NAME=PATH"),
        (["--features=au=x.npz", "--features=au=y.npz"], "--features names 2 streams and 1 names; each name once"),
        (["--features=AU=x.npz"], "feature stream 'AU' is not a lower-case identifier"),
        (["--features=audio=x.npz"], "feature stream 'audio' is taken; give every stream a name of its own, not video"),
        (["--features=au=missing.npz"], "features au: missing.npz cannot be read (No such file or directory)"),
        (["--detector=yunet"], "yunet wants the path or URL of its ONNX file"),
        (["--transcripts=memory"], "invalid choice: 'memory'"),
        (["--size=big"], "invalid int value: 'big'"),
    ],
)
def test_a_mistake_is_one_line_and_makes_no_folder(
    table: Path, options: list[str], said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        code = prepare(table, *options)
    except SystemExit as stop:
        code = int(str(stop.code))
    (line,) = capfd.readouterr().err.splitlines()
    assert (code, said in line) == (2, True), line
    assert not (table.parent / "out").exists()


def test_features_that_fit_no_clip_are_one_line(table: Path, capfd: pytest.CaptureFixture[str]) -> None:
    np.savez(table.parent / "au.npz", other=np.ones(3))
    assert prepare(table, f"--features=au={table.parent / 'au.npz'}") == 2
    assert "fit none of 5 clips: an entry is called 'other' and a clip 'face'" in capfd.readouterr().err


def test_processes_are_as_many_as_the_cores_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)
    parser = Parser()
    add_workers(parser)
    assert parser.parse_args([]).workers == 3
