"""Descriptors find their clips, and what does not fit is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmer.data.features import open_features
from mmer.errors import ClipError, CorpusError

KEY = "01-06-01-02-01-12"
VALUES = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])


def write_csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("form", ["npy", "npz", "csv", "archive", "table"])
def test_every_form_gives_the_same_numbers(form: str, tmp_path: Path) -> None:
    lines = [",".join(map(str, row)) for row in VALUES]
    match form:
        case "npy":
            np.save(tmp_path / "a.npy", VALUES.astype(np.float16))
        case "npz":
            np.savez(tmp_path / "a.npz", anything=VALUES)
        case "csv":
            write_csv(tmp_path / "a.csv", "\n".join(["frame, AU1, AU2, AU3", f"0,{lines[0]}", f"1,{lines[1]}"]))
        case "archive":
            np.savez(tmp_path / "all.npz", a=VALUES)
        case "table":
            write_csv(tmp_path / "all.csv", "\n".join(["key,AU1,AU2,AU3", f"a,{lines[0]}", f"b,0,0,0\na,{lines[1]}"]))
    path = {"archive": tmp_path / "all.npz", "table": tmp_path / "all.csv"}.get(form, tmp_path)
    values = open_features("au", path).read("a")
    assert values is not None and values.dtype == np.float32
    np.testing.assert_array_equal(values, VALUES)


def test_one_vector_a_clip_is_one_step(tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", a=np.arange(4))
    values = open_features("au", tmp_path / "all.npz").read("a")
    assert values is not None and values.shape == (1, 4)


def test_clip_without_an_entry_has_no_stream(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    assert open_features("au", tmp_path).read("b") is None


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_table_says_what_it_took_and_takes_no_answer(separator: str, tmp_path: Path) -> None:
    table = "AU1_r; AU2_c;emotion;Name;path;index;\n0.5;1;3;a.mp4;films/a.mp4;0;7\n1.5;;4;b.mp4;films/b.mp4;0;8\n"
    path = write_csv(tmp_path / "au.csv", table.replace(";", separator).replace("Name", "name"))
    stream = open_features("au", path)
    assert stream.notes == ("features au: 2 columns, without emotion, path, index",)
    np.testing.assert_array_equal(stream.read("a"), [[0.5, 1.0]])
    with pytest.raises(ClipError, match=r"clip b .*: features au: 1 of its 2 values are not finite numbers"):
        stream.read("b")


@pytest.mark.parametrize("entry", [f"01-{KEY}", f"03-{KEY}.wav", f"{KEY}_openface", f"02-{KEY}_au.mp4", KEY])
def test_ravdess_entries_match_their_take(entry: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", **{entry: VALUES, "01-06-01-02-01-13": VALUES, "01-01-06-01-02-01-14": VALUES})
    stream = open_features("au", tmp_path / "all.npz")
    np.testing.assert_array_equal(stream.read(KEY), VALUES)
    assert stream.read("01-06-01-02-01-15") is None


def test_two_entries_of_a_take_are_refused_unless_one_is_named_like_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", **{f"01-{KEY}": VALUES, f"03-{KEY}": VALUES})
    with pytest.raises(ClipError, match=rf"it has several entries: '01-{KEY}', '03-{KEY}'; keep one"):
        open_features("au", tmp_path / "two.npz").read(KEY)
    np.savez(tmp_path / "three.npz", **{f"01-{KEY}": VALUES, KEY: 2 * VALUES})
    np.testing.assert_array_equal(open_features("au", tmp_path / "three.npz").read(KEY), 2 * VALUES)


def test_keys_with_folders_are_files_in_folders(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    np.save(tmp_path / "happy" / "clip.1.npy", VALUES)
    np.testing.assert_array_equal(open_features("au", tmp_path).read("happy/clip.1"), VALUES)


def test_stream_that_fits_no_clip_shows_both_keys(tmp_path: Path) -> None:
    np.save(tmp_path / "ab.npy", VALUES)
    stream = open_features("au", tmp_path)
    with pytest.raises(CorpusError) as caught:
        stream.check(["x", "y"])
    assert str(caught.value) == (
        f"features au of {tmp_path} fit none of 2 clips: an entry is called 'ab' and a clip 'x'; "
        "name the entries like the clips"
    )
    stream.check(["x", "ab"])
    stream.check([])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.array([[1.0, np.nan]]), "1 of its 2 values are not finite numbers"),
        (np.array([[1.0, 1e39]]), "1 of its 2 values are not finite numbers"),
        (np.zeros((0, 3)), r"it is float64 \[0, 3\]; give numbers"),
        (np.zeros((2, 3, 4)), r"it is float64 \[2, 3, 4\]; give numbers \[f\] or \[t f\]"),
        (np.array([["a", "b"]]), r"it is <U1 \[1, 2\]; give numbers"),
        (np.zeros((2, 4)), "it is 4 wide and that of 'a' 3; all must be as wide"),
    ],
)
def test_what_is_no_stream_is_refused_by_name(values: np.ndarray, reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "all.npz", a=VALUES, b=values)
    stream = open_features("au", tmp_path / "all.npz")
    stream.read("a")
    with pytest.raises(ClipError, match=rf"clip b \(.*all\.npz\): features au: {reason}"):
        stream.read("b")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("b.npy", b"no array", "unreadable"),
        ("b.csv", b"AU1,AU2\n", "it has a header and no lines"),
        ("b.csv", b"", "it is empty"),
        ("b.csv", b"AU1,AU2\n1\n", "line 2 has 1 cells and the header 2"),
    ],
)
def test_damaged_file_of_one_clip_is_refused_by_name(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ClipError, match=rf"clip b .*features au: its entry 'b' is unreadable: .*{reason}|{reason}"):
        open_features("au", tmp_path).read("b")


def test_npz_of_one_clip_holds_one_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=VALUES, y=VALUES)
    with pytest.raises(ClipError, match="it holds 2 arrays and not one"):
        open_features("au", tmp_path).read("a")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("all.csv", b"who,AU1\na,1\n", "it has no column key or name or filename or file"),
        ("all.csv", b"key,path\na,b\n", "it has no column of numbers"),
        ("all.csv", b"key,AU1\na,1,2\n", "line 2 has 3 cells and the header 2"),
        ("all.csv", b"\xff\xfe", "codec can't decode"),
        ("all.npz", b"no archive", "cannot be read"),
        ("missing.csv", None, "No such file or directory"),
    ],
)
def test_file_that_holds_no_features_is_one_line(name: str, data: bytes | None, reason: str, tmp_path: Path) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CorpusError, match=reason) as caught:
        open_features("au", tmp_path / name)
    assert "give a folder of .npy, .npz or .csv files, an .npz file, or a CSV table" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folder_without_features_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"features au: .* holds no \.npy, \.npz or \.csv file"):
        open_features("au", tmp_path)


@pytest.mark.parametrize(
    ("name", "width"), [("openface_au_mean.csv", 36), ("face_posteriors.npz", 7), ("wav2vec2_embeddings.npz", 1024)]
)
def test_real_features_fit_their_clips(name: str, width: int, real_data: Path) -> None:
    path = real_data / "ravdess_features" / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    stream = open_features("stream", path)
    for key in ("01-01-01-01-01-01", "01-08-02-02-02-20"):
        values = stream.read(key)
        assert values is not None and values.shape[1] == width
