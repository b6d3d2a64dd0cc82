"""FER2013 from its table and from folders of pictures; faces that are broken are left out by row."""

from __future__ import annotations

import tarfile
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmer.corpora.fer2013 import COUNTS, LABELS, read_fer2013
from mmer.corpora.manifest import Row
from mmer.emotions import label_set
from mmer.errors import CorpusError
from mmer.media.container import Source
from mmer.media.video import read_video

PIXELS = " ".join(["7"] * 48 * 48)


def table(folder: Path, *lines: str, name: str = "fer2013.csv", header: str = "emotion,pixels,Usage") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines, ""]))
    return path


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), np.full((48, 48), 7, np.uint8))
    return folder


def test_table_is_read_row_by_row(tmp_path: Path) -> None:
    path = table(tmp_path, f"0,{PIXELS},Training", f"6,{PIXELS},PublicTest", f"3,{PIXELS},PrivateTest")
    manifest = read_fer2013(path)
    assert manifest.broken == ()
    assert manifest.rows == (
        Row("Training-00001", "fer2013", label="angry", video=path / "1", extra={"split": "train"}),
        Row("PublicTest-00002", "fer2013", label="neutral", video=path / "2", extra={"split": "validation"}),
        Row("PrivateTest-00003", "fer2013", label="happy", video=path / "3", extra={"split": "test"}),
    )


def test_row_can_be_seen(tmp_path: Path) -> None:
    (row,) = read_fer2013(table(tmp_path, f"0,{PIXELS},Training")).rows
    assert row.video is not None
    (frame,) = read_video(Source(row.key, row.video))
    np.testing.assert_array_equal(frame.image, np.full((48, 48, 3), 7, np.uint8))


@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv"])
def test_table_is_found_in_its_folder(name: str, tmp_path: Path) -> None:
    table(tmp_path, f"0,Training,{PIXELS}", name=name, header="emotion, Usage, pixels")
    pictures(tmp_path, "train/happy/1.png")
    (row,) = read_fer2013(tmp_path).rows
    assert row.video == tmp_path / name / "1", "the table goes before the pictures"


@pytest.mark.parametrize(
    ("line", "key", "reason"),
    [
        (f"7,{PIXELS},Training", "Training-00001", "row 1 has the emotion '7'; the codes are 0 to 6"),
        (f"happy,{PIXELS},Training", "Training-00001", "row 1 has the emotion 'happy'; the codes are 0 to 6"),
        ("0,1 2 3,Training", "Training-00001", "row 1 has 3 pixels, not 2304"),
        (
            f"0,{PIXELS},Test",
            "Test-00001",
            "row 1 has the Usage 'Test'; it is one of Training, PublicTest, PrivateTest",
        ),
        ("0", "row-00001", "row 1 has the Usage ''; it is one of Training, PublicTest, PrivateTest"),
    ],
)
def test_wrong_row_is_left_out_and_the_others_stay(line: str, key: str, reason: str, tmp_path: Path) -> None:
    path = table(tmp_path, line, f"1,{PIXELS},Training")
    manifest = read_fer2013(path)
    assert [row.label for row in manifest.rows] == ["disgust"]
    assert [str(error) for error in manifest.broken] == [f"clip {key} ({path / '1'}): {reason}"]


def test_table_of_other_columns_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "1", header="key,pixels")
    with pytest.raises(CorpusError) as caught:
        read_fer2013(path)
    columns = "it has the columns key, pixels; it needs emotion, pixels, Usage"
    assert str(caught.value) == f"the table {path} cannot be read: {columns}; give FER2013's own table"


def test_folders_are_classes_and_parts(tmp_path: Path) -> None:
    names = ["train/angry/Training_1.jpg", "test/fear/PublicTest_2.jpg", "test/sad/PrivateTest_3.jpg", "test/sad/4.png"]
    pictures(tmp_path, *names)
    (tmp_path / "train/angry/readme.txt").touch()
    manifest = read_fer2013(tmp_path)
    assert manifest.broken == ()
    assert [(row.key, row.label, row.extra["split"]) for row in manifest.rows] == [
        ("train/angry/Training_1", "angry", "train"),
        ("test/fear/PublicTest_2", "fear", "validation"),
        ("test/sad/4", "sad", "test"),
        ("test/sad/PrivateTest_3", "sad", "test"),
    ]
    assert {(row.corpus, row.speaker, row.audio, row.text) for row in manifest.rows} == {("fer2013", None, None, None)}


def test_folders_may_be_called_as_in_the_table(tmp_path: Path) -> None:
    pictures(tmp_path, "Training/happy/1.png", "PublicTest/happy/1.png", "PrivateTest/happy/1.png")
    splits = {row.key: row.extra["split"] for row in read_fer2013(tmp_path).rows}
    assert splits == {"Training/happy/1": "train", "PublicTest/happy/1": "validation", "PrivateTest/happy/1": "test"}


@pytest.mark.parametrize("name", ["train/contempt/1.png", "train/1.png"])
def test_folder_that_is_no_class_is_left_out(name: str, tmp_path: Path) -> None:
    pictures(tmp_path, name, "train/happy/2.png")
    manifest = read_fer2013(tmp_path)
    assert len(manifest) == 1
    (error,) = manifest.broken
    folder = name.split("/")[1]
    assert error.reason == f"its folder '{folder}' is no class of FER2013; the classes are {', '.join(LABELS)}"


def test_two_pictures_of_one_name_are_left_out(tmp_path: Path) -> None:
    pictures(tmp_path, "train/happy/1.png", "train/happy/1.jpg", "train/happy/2.jpg")
    manifest = read_fer2013(tmp_path)
    assert [row.key for row in manifest.rows] == ["train/happy/2"]
    (error,) = manifest.broken
    assert error.key == "train/happy/1" and "the key is used 2 times" in error.reason


def test_place_without_fer2013_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds neither fer2013.csv nor folders train/<class> and test/<class>"):
        read_fer2013(tmp_path)
    with pytest.raises(CorpusError, match=r"nowhere does not exist; give fer2013.csv, or the folder that holds it"):
        read_fer2013(tmp_path / "nowhere")
    (tmp_path / "fer2013.tar").touch()
    with pytest.raises(CorpusError, match=r"fer2013.tar is no CSV table; unpack an archive first"):
        read_fer2013(tmp_path / "fer2013.tar")


def test_faces_are_counted(tmp_path: Path) -> None:
    assert sum(COUNTS.values()) == 35_887
    lines = [f"0,{PIXELS},Training"] * 3 + [f"0,{PIXELS},PrivateTest"]
    assert read_fer2013(table(tmp_path, *lines)).notes == (
        "4 of 35,887 faces: train 3 of 28,709, validation 0 of 3,589, test 1 of 3,589",
    )


def test_whole_corpus_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmer.corpora.fer2013.COUNTS", {"train": 1, "validation": 1, "test": 1})
    path = table(tmp_path, *(f"0,{PIXELS},{usage}" for usage in ("Training", "PublicTest", "PrivateTest")))
    assert read_fer2013(path).notes == ("complete: 3 faces",)


def test_every_class_is_in_the_label_sets() -> None:
    label_set("ekman7").check(LABELS)
    assert [label_set("fer7").index(label) for label in LABELS] == list(range(7))


def test_real_pictures_are_read(real_data: Path, tmp_path: Path) -> None:
    archive = real_data / "fer2013.tar"
    if not archive.is_file():
        pytest.skip("no FER2013")
    with tarfile.open(archive) as file:
        members = [member for _, member in zip(range(40), file, strict=False)]
        file.extractall(tmp_path, members, filter="data")
    manifest = read_fer2013(tmp_path / "fer2013")
    assert manifest.broken == () and len(manifest) >= 30
    assert Counter(row.label for row in manifest.rows) == {"angry": len(manifest)}
    for row in manifest.rows:
        assert row.video is not None
        (frame,) = read_video(Source(row.key, row.video))
        assert frame.image.shape == (48, 48, 3)
        assert row.extra["split"] == ("test" if "PrivateTest" in row.key else "validation")
