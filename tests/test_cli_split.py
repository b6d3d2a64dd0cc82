"""mmer split: the folds of a protocol, shown and written, and training with a written one."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from mmer.cli import main
from mmer.config import PrepareConfig, SplitConfig
from mmer.corpora.manifest import Row, read_rows, write_manifest
from mmer.corpora.splits import PARTS, make_split
from mmer.data.store import write_settings

LABELS = ("happy", "sad", "angry")


def rows_of(actors: range, corpus: str = "ravdess") -> list[Row]:
    return [
        Row(f"{actor:02d}-{take}", corpus, str(actor), LABELS[take], text="words",
            extra={"gender": "male" if actor % 2 else "female"})
        for actor in actors
        for take in range(3)
    ]  # fmt: skip


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "manifest.csv", rows_of(range(1, 25)))
    return tmp_path / "manifest.csv"


def split(*args: object) -> int:
    return main(["split", *map(str, args)])


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert split(*args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_every_fold_is_shown_with_its_clips_speakers_genders_and_classes(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert split(manifest, "--protocol=emobox6") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["72", "clips,", "emobox6"]
    assert lines[1] == ["fold", "part", "clips", "speakers", "female", "male", "angry", "happy", "sad", "who"]
    assert len(lines) == 2 + 6 * 3
    assert lines[7] == ["2", "test", "12", "4", "4", "0", "4", "4", "4", "4,", "10,", "12,", "14"], (
        "fold 2 tests women alone"
    )
    assert lines[2] == [
        "1",
        "train",
        "48",
        "16",
        "7",
        "9",
        "16",
        "16",
        "16",
        "2,",
        "3,",
        "5,",
        "6,",
        "7,",
        "8",
        "and",
        "10",
        "more",
        "(16",
        "in",
        "all)",
    ]


def test_json_holds_every_speaker(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(manifest, "--protocol=group-kfold:3", "--format=json", "--fold=2") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["split"]["protocol"], len(found["folds"])) == (1, "group-kfold:3", 1)
    (fold,) = found["folds"]
    assert (fold["fold"], fold["protocol"], fold["leaks"], fold["notes"]) == (2, "group-kfold:3 fold 2", [], [])
    test = fold["parts"]["test"]
    assert test["clips"] == 3 * len(test["speakers"]) == 24
    assert sum(test["gender"].values()) == 8
    assert test["labels"] == {"angry": 8, "happy": 8, "sad": 8}


def test_a_prepared_folder_is_taken_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path / "manifest.csv", rows_of(range(1, 25)))
    write_settings(tmp_path, PrepareConfig())
    assert split(tmp_path, "--protocol=contig6", "--fold=1") == 0
    assert "72 clips, contig6" in capsys.readouterr().out
    assert "is not a prepared folder" in refused(capsys, tmp_path / "..", "--protocol=contig6")


def test_written_folds_deal_as_the_protocol_does(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert split(manifest, "--protocol=luna5", f"--output={tmp_path / 'folds'}") == 0
    first = tmp_path / "folds/fold-1.csv"
    assert f"train with: --data.split.protocol=table --data.split.file={first}" in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "folds").iterdir()}
    assert names == {"folds.json", *(f"fold-{fold}.csv" for fold in range(1, 6))}
    rows = [row for _, row in read_rows(manifest, "")]
    for fold in range(1, 6):
        written = make_split(rows, SplitConfig("table", file=str(tmp_path / f"folds/fold-{fold}.csv")))
        dealt = make_split(rows, SplitConfig("luna5", fold=fold))
        assert [written.rows(rows, part) for part in PARTS] == [dealt.rows(rows, part) for part in PARTS]
    with first.open() as file:
        line = next(csv.DictReader(file))
    assert line == {"key": "01-0", "split": "train", "speaker": "1", "label": "happy"}
    assert json.loads((tmp_path / "folds/folds.json").read_text())["split"]["protocol"] == "luna5"


def test_folds_are_written_again_and_never_mixed_with_others(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = f"--output={tmp_path / 'folds'}"
    assert split(manifest, "--protocol=luna5", output) == split(manifest, "--protocol=luna5", output) == 0
    capsys.readouterr()
    said = refused(capsys, manifest, "--protocol=contig6", output)
    assert said.endswith("folds holds folds that were dealt with other settings (protocol luna5); name a new folder")
    assert len(list((tmp_path / "folds").iterdir())) == 6
    write_manifest(tmp_path / "other.csv", [*rows_of(range(1, 25)), Row("one more", "ravdess", "1", text="words")])
    said = refused(capsys, tmp_path / "other.csv", "--protocol=luna5", output)
    assert said.endswith("folds holds folds of other clips; name a new folder")
    (tmp_path / "folds/folds.json").write_text("{}")
    assert "folds.json is not what mmer split writes; name a new folder" in refused(
        capsys, manifest, "--protocol=luna5", output
    )


def test_a_partial_copy_shows_the_folds_that_it_can_fill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_manifest(tmp_path / "some.csv", rows_of(range(1, 21)))
    assert split(tmp_path / "some.csv", "--protocol=contig6") == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 2 + 4 * 3
    assert [line[:27] for line in err.splitlines()] == [f"left out: contig6 fold {fold}: t" for fold in (5, 6)]
    assert "contig6 fold 6: the test part is empty" in refused(
        capsys, tmp_path / "some.csv", "--protocol=contig6", "--fold=6"
    )


def test_lists_of_speakers_are_dealt(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(manifest, "--protocol=speakers", "--test=1, 02", "--validation=3", "--train=4,5") == 0
    who = [line.split()[-2:] for line in capsys.readouterr().out.splitlines()[2:]]
    assert who == [["4,", "5"], ["1", "3"], ["1,", "2"]]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--protocol=contig7"], "protocol 'contig7' is unknown; choose one of contig6"),
        (["--protocol=contig6", "--fold=7"], "contig6 has the folds 1 to 6, not 7"),
        (["--protocol=crema5"], "crema5 is a protocol of CREMA-D"),
        (["--protocol=table"], "no clip has a column 'split'"),
        (
            ["--protocol=table", "--column=gender"],
            "column 'gender' says 'male' (36 clips), 'female' (36 clips); allowed",
        ),
        (["--protocol=table", "--file=gone.csv"], "split.file gone.csv cannot be read"),
        (["--protocol=table", "--column=part"], "with split.file (mmer split: --column, --file)"),
        (["--protocol=loso", "--fold=1", "--output=x"], "--output writes every fold of a protocol; leave --fold out"),
        (["--protocol=loso", f"--output={__file__}"], "test_cli_split.py is a file; name a folder"),
        (["--protocol=speakers", "--test=1", "--validation=1"], "speakers 1 are both in validation and in test"),
    ],
)
def test_what_cannot_be_is_refused_on_one_line(
    manifest: Path, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    assert said in refused(capsys, manifest, *args)


def test_a_table_that_is_missing_or_empty_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read: No such file" in refused(capsys, tmp_path / "gone.csv", "--protocol=loso")
    (tmp_path / "empty.csv").write_text("key,text\n")
    assert "empty.csv has no clips; give one that lists some" in refused(
        capsys, tmp_path / "empty.csv", "--protocol=loso"
    )


def test_rows_that_are_no_clips_are_left_out_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some.csv").write_text("key,text,speaker\na,x,1\nb,x,2\nc,x,3\nd,,3\n")
    assert split(tmp_path / "some.csv", "--protocol=loso") == 0
    out, err = capsys.readouterr()
    assert out.startswith("3 clips, loso")
    assert err == "left out: clip d: the row (line 5) names no video, no audio and no text\n"


LEAKY = "key,text,speaker,split\na,x,Joey,train\nb,x,Joey,test\n"


def test_a_leak_is_refused_by_name_and_marked_where_it_is_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "meld.csv").write_text(LEAKY)
    assert "speakers Joey are both in train and in test" in refused(capsys, tmp_path / "meld.csv", "--protocol=table")
    assert split(tmp_path / "meld.csv", "--protocol=table", "--allow-leak", f"--output={tmp_path / 'out'}") == 0
    assert "      LEAKY: speakers Joey are both in train and in test\n" in capsys.readouterr().out
    (fold,) = json.loads((tmp_path / "out/folds.json").read_text())["folds"]
    assert fold["leaks"] == ["speakers Joey are both in train and in test"]


def test_a_leak_is_red_on_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    (tmp_path / "meld.csv").write_text(LEAKY)
    assert split(tmp_path / "meld.csv", "--protocol=table", "--allow-leak") == 0
    assert "\x1b[1;31m      LEAKY: speakers Joey" in capsys.readouterr().out


def test_clips_at_random_are_marked_in_every_fold(manifest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert split(manifest, "--protocol=random_leaky", "--seed=1") == 0
    assert capsys.readouterr().out.count("LEAKY: clips were dealt at random") == 6


def test_dropped_duplicates_and_unknown_speakers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "some.csv"
    table.write_text("key,text,split,sound\na,x,train,f00\nb,x,test,f00\nc,x,test,\n")
    assert "1 sounds are each there under several keys: a = b" in refused(capsys, table, "--protocol=table")
    assert split(table, "--protocol=table", "--duplicates=drop") == 0
    out = capsys.readouterr().out
    assert "note: 1 clips are left out, for their sound is that of another, to the sample: a = b\n" in out
    assert "note: the speakers of 3 clips are unknown" in out
    assert ["1", "test", "1", "-", "1", "-"] in [line.split() for line in out.splitlines()]


def test_too_many_classes_for_a_line_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"k{i},x,{'train' if i else 'test'},label{i}" for i in range(13)]
    (tmp_path / "some.csv").write_text("\n".join(["key,text,split,label", *lines]))
    assert split(tmp_path / "some.csv", "--protocol=table") == 0
    assert capsys.readouterr().out.endswith("13 classes: --format json counts them\n")
