"""Preparation finishes whatever it is given, names what it leaves out, and never does or mixes work twice."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mmer.cli import main
from mmer.config import PrepareConfig
from mmer.corpora.manifest import Manifest, Row
from mmer.data.clip import PreparedClip
from mmer.data.prepare import prepare_clip, prepare_corpus
from mmer.data.store import PreparedCorpus, clip_path
from mmer.errors import ClipError, ConfigError, CorpusError
from mmer.media.faces import build_detector
from mmer.media.video import Image

SMALL = PrepareConfig(size=64)
COLUMNS = ("key", "video", "audio", "text", "label", "speaker")
SOUNDS = (".wav", ".flac", ".m4a")


def media_row(path: Path, key: str = "the key") -> Row:
    if path.suffix in SOUNDS:
        return Row(key, "test", audio=path)
    return Row(key, "test", video=path)


def write_table(path: Path, lines: Sequence[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(lines)
    return path


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(root: Path) -> dict[str, bytes]:
    """The bytes of every file of a prepared folder, hidden ones included."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


# --- one clip


def test_bad_medium_is_a_clip_error_with_key_path_and_reason(bad_medium: tuple[Path, str]) -> None:
    path, reason = bad_medium
    with pytest.raises(ClipError) as caught:
        prepare_clip(media_row(path), SMALL)
    assert caught.value.key == "the key"
    assert caught.value.path == str(path)
    assert reason in caught.value.reason
    assert "\n" not in str(caught.value)


def test_sound_only_file_is_a_voice_and_no_video(odd_media: dict[str, Path]) -> None:
    path = odd_media["sound only.m4a"]
    clip = prepare_clip(Row("the key", "test", audio=path), SMALL)
    assert clip.audio is not None and not clip.has_video
    assert clip.seconds == pytest.approx(0.4, abs=0.05)
    with pytest.raises(ClipError, match="it has no video stream"):
        prepare_clip(Row("the key", "test", video=path), SMALL)


def test_video_without_sound_is_a_face_and_no_voice(odd_media: dict[str, Path]) -> None:
    path = odd_media["no sound.mp4"]
    clip = prepare_clip(Row("the key", "test", video=path), SMALL)
    assert clip.has_video and clip.audio is None
    with pytest.raises(ClipError, match="it has no audio stream"):
        prepare_clip(Row("the key", "test", video=path, audio=path), SMALL)


def test_audio_of_the_row_goes_before_the_sound_of_the_video(odd_media: dict[str, Path]) -> None:
    row = Row("the key", "test", video=odd_media["a face.mp4"], audio=odd_media["8 kHz.wav"])
    clip = prepare_clip(row, SMALL)
    assert clip.audio is not None and len(clip.audio) == pytest.approx(16_000, abs=1)


def test_row_with_nothing_to_read_is_refused() -> None:
    with pytest.raises(ClipError, match="clip a: there is no video and no audio and no text to read"):
        prepare_clip(Row("a", "test"), SMALL)
    with pytest.raises(ClipError, match="clip a: there is no video to read"):
        prepare_clip(Row("a", "test", text="words alone"), SMALL, ["video"])


def test_frames_without_a_face_are_stored_empty(odd_media: dict[str, Path]) -> None:
    clip = prepare_clip(media_row(odd_media["face at times.mp4"]), SMALL)
    assert len(clip.times) == 31
    assert (clip.sizes[:6] > 0).all()
    assert (clip.sizes[-20:] == 0).all()
    assert 0 < clip.face_share < 0.5


def test_one_of_two_faces_is_cut_out(odd_media: dict[str, Path], face: Image) -> None:
    alone = prepare_clip(media_row(odd_media["a face.mp4"]), PrepareConfig()).frames_at(np.zeros(1))[0]
    of_two = prepare_clip(media_row(odd_media["two faces.mp4"]), PrepareConfig()).frames_at(np.zeros(1))[0]
    detect = build_detector(PrepareConfig())
    assert detect is not None and len(detect(cv2.cvtColor(of_two, cv2.COLOR_RGB2GRAY), smallest=60)) == 1
    assert np.abs(of_two.astype(float) - alone).mean() < 12


def test_portrait_video_with_a_rotation_flag_is_upright(odd_media: dict[str, Path]) -> None:
    level = prepare_clip(media_row(odd_media["a face.mp4"]), SMALL).frames_at(np.zeros(1))[0]
    turned = prepare_clip(media_row(odd_media["portrait.mp4"]), SMALL).frames_at(np.zeros(1))[0]
    assert np.abs(turned.astype(float) - level).mean() < 12


def test_variable_frame_rate_keeps_its_times(odd_media: dict[str, Path]) -> None:
    clip = prepare_clip(media_row(odd_media["variable rate.mp4"]), SMALL)
    np.testing.assert_allclose(clip.times, [0.0, 0.04, 0.08, 0.12, 1.0, 1.5], atol=1e-3)


def test_clips_that_are_faces_already_are_only_scaled(make_clip: Callable[..., Path]) -> None:
    grey, black = np.full((48, 64, 3), 100, np.uint8), np.zeros((48, 64, 3), np.uint8)
    config = PrepareConfig(detector="none", size=32)
    clip = prepare_clip(media_row(make_clip("clip.mp4", [grey, grey, grey, black])), config)
    assert list(clip.sizes > 0) == [True, True, True, False], "black padding is no face"
    assert clip.frames_at(np.zeros(1)).shape == (1, 32, 32, 3)
    with pytest.raises(ClipError, match="no face in any of 2 frames; every frame is black"):
        prepare_clip(media_row(make_clip("black.mp4", [black] * 2)), config)


def test_faceless_clip_is_told_how_it_could_be_kept(bad_media: dict[str, Path]) -> None:
    with pytest.raises(ClipError, match=r"no face in any of 6 frames; clips that are faces .* prepare --detector none"):
        prepare_clip(media_row(bad_media["no face.mp4"]), SMALL)


def test_real_face_crops_are_read_without_a_search(real_data: Path) -> None:
    paths = [next(iter(sorted(folder.glob("*.avi"))), None) for folder in sorted(real_data.glob("ravdess_faces/*"))]
    if not paths:
        pytest.skip("no face crops")
    for path in paths:
        clip = prepare_clip(Row("the key", "ravdess", video=path), PrepareConfig(detector="none"))
        assert clip.face_share > 0.5 and clip.frames_at(np.zeros(1)).shape == (1, 224, 224, 3)


# --- a whole table


def test_every_bad_clip_is_left_out_by_name_and_every_good_one_kept(
    tmp_path: Path,
    bad_media: dict[str, Path],
    odd_media: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    from_here = {name: os.path.relpath(path, tmp_path) for name, path in (bad_media | odd_media).items()}
    lines: list[dict[str, object]] = []
    for name, path in from_here.items():
        column = "audio" if name.endswith(SOUNDS) else "video"
        lines.append({"key": name, column: path, "label": "happy", "speaker": 1})
    good = {"video": from_here["a face.mp4"], "label": "happy", "speaker": 1}
    lines += [
        {"key": "sound as video", "video": from_here["sound only.m4a"], "label": "happy"},
        {"key": "unknown label", **good, "label": "hungry"},
        {"key": "no label", **good, "label": ""},
        {"key": "twice", **good},
        {"key": "twice", **good},
        {"key": "", **good},
        {"key": "names nothing", "label": "happy"},
        {"key": "a sentence in the wrong column", "video": "Kids are talking by the door. " * 20, "label": "happy"},
    ]
    table, root = write_table(tmp_path / "films.csv", lines), tmp_path / "prepared"

    code = main(["prepare", "table", str(table), str(root), "--labels", "ravdess8", "--size", "64", "--workers", "1"])

    output = capfd.readouterr()
    assert code == 0
    assert "Traceback" not in output.err
    skipped = {line["key"]: line for line in read_csv(root / "skipped.csv")}
    for name in bad_media:
        assert skipped[name]["path"].endswith(Path(name).name)
    reasons = {
        "sound as video": "it has no video stream",
        "unknown label": "label 'hungry' is not in the label set ravdess8",
        "no label": "label '' is not in the label set ravdess8",
        "twice": "the key is used 2 times (line 34, line 35); keys must be unique",
        "at line 36": "the row has no key",
        "names nothing": "the row (line 37) names no video, no audio and no text",
        "a sentence in the wrong column": "File name too long",
    }
    assert set(skipped) == set(bad_media) | set(reasons)
    for key, reason in reasons.items():
        assert reason in skipped[key]["reason"]
    assert [row.key for row in PreparedCorpus.open(root).rows] == list(odd_media)
    assert f"{len(odd_media)} of {len(odd_media) + len(skipped)} clips" in output.out
    for key in skipped:
        assert f"left out: clip {key}" in output.err
    assert PreparedCorpus.open(root).skipped() == [row["reason"] for row in skipped.values()]


def test_prepared_manifest_says_what_each_clip_has(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    rows = tuple(
        Row(name, "test", "7", "happy", video=odd_media[name], text="words", extra={"gender": "male"})
        for name in ("a face.mp4", "no sound.mp4")
    )
    rows += (Row("voice", "test", "7", "happy", audio=odd_media["float.wav"]),)
    prepare_corpus(Manifest(rows), tmp_path / "prepared", SMALL, progress=False)
    both, silent, voice = PreparedCorpus.open(tmp_path / "prepared").rows
    assert (bool(both.video), bool(both.audio)) == (True, True)
    assert (bool(silent.video), bool(silent.audio)) == (True, False)
    assert (bool(voice.video), bool(voice.audio)) == (False, True)
    assert (both.speaker, both.label, both.text, both.corpus) == ("7", "happy", "words", "test")
    assert both.extra.keys() == {"gender", "seconds", "face_share", "face_size", "face_jitter", "sound", "source"}
    assert (both.extra["gender"], both.extra["face_share"]) == ("male", "1.000")
    assert float(both.extra["seconds"]) == pytest.approx(0.4, abs=0.05)
    assert voice.extra["seconds"] == "1.000"


def test_corpus_of_voices_alone_is_prepared(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    rows = tuple(media_row(path, name) for name, path in odd_media.items() if path.suffix == ".wav")
    done = prepare_corpus(Manifest(rows), tmp_path / "prepared", SMALL, progress=False)
    assert len(done.rows) == len(rows) and done.skipped == ()


def test_not_one_good_clip_is_one_line(
    tmp_path: Path, bad_media: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "films.csv", [{"key": "a", "video": bad_media["text.mp4"]}])
    assert main(["prepare", "table", str(table), str(tmp_path / "prepared"), "--workers", "1"]) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("mmer: error: not one of 1 clips could be prepared; clip a (")
    assert [line["key"] for line in read_csv(tmp_path / "prepared" / "skipped.csv")] == ["a"]
    assert not (tmp_path / "prepared" / "manifest.csv").exists()


def test_empty_corpus_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="not one of 0 clips could be prepared; the corpus is empty"):
        prepare_corpus(Manifest(()), tmp_path / "prepared", SMALL, progress=False)


def test_path_that_is_not_utf8_is_one_line(
    tmp_path: Path, odd_media: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    shutil.copy(odd_media["float.wav"], folder / "03-01-03-01-01-01-01.wav")
    try:
        Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.wav")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    assert main(["prepare", "ravdess", str(folder), str(tmp_path / "prepared"), "--workers", "1"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(".wav: its name is not UTF-8, so that no table can name it; rename it")
    assert not (tmp_path / "prepared").exists()


# --- again


@pytest.fixture
def corpus(tmp_path: Path, odd_media: dict[str, Path]) -> Manifest:
    """A face and a voice, in files of their own."""
    paths = [tmp_path / "face.mp4", tmp_path / "voice.wav"]
    shutil.copy(odd_media["a face.mp4"], paths[0])
    shutil.copy(odd_media["8 kHz.wav"], paths[1])
    return Manifest(tuple(media_row(path, path.stem) for path in paths))


def test_restart_does_no_work_and_changes_no_byte(
    corpus: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "prepared"
    first = prepare_corpus(corpus, root, SMALL, progress=False)
    before = contents(root)
    monkeypatch.setattr("mmer.data.prepare.prepare_clip", lambda *_: pytest.fail("a clip was prepared twice"))
    assert prepare_corpus(corpus, root, SMALL, progress=False) == first
    assert contents(root) == before


def test_two_preparations_are_byte_identical(corpus: Manifest, tmp_path: Path) -> None:
    for name in ("one", "two"):
        prepare_corpus(corpus, tmp_path / name, SMALL, progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_new_clips_and_new_labels_are_taken_up(corpus: Manifest, tmp_path: Path) -> None:
    root = tmp_path / "prepared"
    prepare_corpus(Manifest(corpus.rows[:1]), root, SMALL, progress=False)
    stamp = clip_path(root, "face").stat().st_mtime_ns
    labelled = Row("face", "test", "3", "sad", video=corpus.rows[0].video)
    prepare_corpus(Manifest((labelled, corpus.rows[1])), root, SMALL, progress=False)
    rows = PreparedCorpus.open(root).rows
    assert [(row.key, row.label) for row in rows] == [("face", "sad"), ("voice", None)]
    assert clip_path(root, "face").stat().st_mtime_ns == stamp


def test_changed_source_is_prepared_anew_and_the_others_are_not(
    corpus: Manifest, tmp_path: Path, odd_media: dict[str, Path]
) -> None:
    root = tmp_path / "prepared"
    prepare_corpus(corpus, root, SMALL, progress=False)
    before = contents(root)
    shutil.copy(odd_media["44.1 kHz stereo.wav"], tmp_path / "voice.wav")
    prepare_corpus(corpus, root, SMALL, progress=False)
    after = contents(root)
    assert after["clips/face.npz"] == before["clips/face.npz"]
    assert after["clips/voice.npz"] != before["clips/voice.npz"]


def test_source_that_broke_since_is_left_out(corpus: Manifest, tmp_path: Path) -> None:
    root = tmp_path / "prepared"
    prepare_corpus(corpus, root, SMALL, progress=False)
    (tmp_path / "voice.wav").write_bytes(b"")
    done = prepare_corpus(corpus, root, SMALL, progress=False)
    assert [error.key for error in done.skipped] == ["voice"]
    assert [row.key for row in PreparedCorpus.open(root).rows] == ["face"]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "overwritten", "flipped"])
def test_damaged_cache_file_is_made_again(damage: str, corpus: Manifest, tmp_path: Path) -> None:
    root = tmp_path / "prepared"
    prepare_corpus(corpus, root, SMALL, progress=False)
    before = contents(root)
    path, data = clip_path(root, "face"), before["clips/face.npz"]
    flipped = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :]
    damaged = {"truncated": data[: len(data) // 2], "emptied": b"", "overwritten": b"not a clip", "flipped": flipped}
    path.write_bytes(damaged[damage])
    prepare_corpus(corpus, root, SMALL, progress=False)
    assert contents(root) == before


def test_other_settings_are_refused_in_one_line_that_names_them(
    corpus: Manifest, tmp_path: Path, odd_media: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "prepared"
    table = write_table(tmp_path / "films.csv", [{"key": "a", "audio": odd_media["float.wav"]}])
    arguments = ["prepare", "table", str(table), str(root), "--workers", "1"]
    assert main([*arguments, "--size", "64"]) == 0
    before = contents(root)
    capfd.readouterr()
    assert main([*arguments, "--size", "96", "--detector", "none"]) == 2
    message = (
        f"{root} was prepared with detector=haar (now none), size=64 (now 96); use the same settings, or another folder"
    )
    assert capfd.readouterr().err == f"mmer: error: {message}\n"
    assert contents(root) == before


def test_folder_of_other_things_is_not_written_to(corpus: Manifest, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    (tmp_path / "notes").touch()
    for name in ("photos", "notes"):
        with pytest.raises(CorpusError, match="exists and is not a prepared folder; choose an empty or a new one"):
            prepare_corpus(corpus, tmp_path / name, SMALL, progress=False)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_preparation_killed_before_its_settings_were_written_can_be_begun_again(
    corpus: Manifest, tmp_path: Path
) -> None:
    root = tmp_path / "prepared"
    root.mkdir()
    (root / ".prepare.123.json").write_text('{"form')
    assert len(prepare_corpus(corpus, root, SMALL, progress=False).rows) == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--size", "3"], "size=3 must be at least 16 pixels"),
        (["--margin", "-1"], "margin=-1.0 must lie in [0, 2]"),
        (["--detect-every", "0"], "detect_every=0 must be at least 1"),
        (["--quality", "101"], "quality=101 must lie in 1 to 100"),
        (["--sample-rate", "0"], "sample_rate=0 must be positive, in Hz"),
        (["--max-seconds", "0"], "max_seconds=0.0 must be positive"),
        (["--labels", "emotions"], "label set 'emotions' is unknown; choose one of ravdess8, no_neutral7"),
    ],
)
def test_impossible_setting_is_one_line(
    option: list[str], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path / "films.csv", [])
    assert main(["prepare", "table", str(table), str(tmp_path / "prepared"), *option]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "prepared").exists()


def test_label_names_can_be_listed(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    sound = odd_media["float.wav"]
    lines = [{"key": label, "audio": sound, "label": label} for label in ("bored", "excited", "happy")]
    table, root = write_table(tmp_path / "films.csv", lines), tmp_path / "prepared"
    assert main(["prepare", "table", str(table), str(root), "--labels", "bored, excited", "--workers", "1"]) == 0
    assert [row.key for row in PreparedCorpus.open(root).rows] == ["bored", "excited"]
    assert [line["key"] for line in read_csv(root / "skipped.csv")] == ["happy"]


@pytest.mark.slow
def test_several_processes_prepare_the_same_as_one(
    tmp_path: Path, corpus: Manifest, bad_media: dict[str, Path]
) -> None:
    rows = (*corpus.rows, media_row(bad_media["text.mp4"], "text"))
    for workers in (1, 2):
        done = prepare_corpus(Manifest(rows), tmp_path / str(workers), SMALL, workers=workers, progress=False)
        assert [str(error.key) for error in done.skipped] == ["text"]
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


def test_rows_of_words_alone_are_kept_without_a_file(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    rows = (Row("words", "test", text="so sad", label="sad"), media_row(odd_media["8 kHz.wav"], "voice"))
    root = tmp_path / "prepared"
    prepare_corpus(Manifest(rows), root, SMALL, progress=False)
    words, voice = PreparedCorpus.open(root).rows
    assert (words.text, words.video, words.audio) == ("so sad", None, None)
    assert words.extra == {"source": f"text:{hashlib.sha256(b'so sad').hexdigest()}"}
    assert voice.text is None
    assert [path.name for path in (root / "clips").iterdir()] == ["voice.npz"]
    assert not (root / "faces.png").exists(), "there was no face to show"


def test_words_are_stored_and_new_words_make_the_clip_again(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    root = tmp_path / "prepared"
    for text in ("old words", "new words"):
        row = Row("a", "test", audio=odd_media["8 kHz.wav"], text=text)
        prepare_corpus(Manifest((row,)), root, SMALL, progress=False)
        assert PreparedClip.load(clip_path(root, "a"), "a").text == text
        assert PreparedCorpus.open(root).rows[0].text == text


def test_changed_sidecar_makes_the_clip_again(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    shutil.copy(odd_media["8 kHz.wav"], tmp_path / "a.wav")
    rows = (Row("a", "test", audio=tmp_path / "a.wav", text="of the corpus"),)
    config = PrepareConfig(transcripts="sidecar")
    for text in (None, "one", "two"):
        if text is not None:
            (tmp_path / "a.txt").write_text(text)
        (row,) = prepare_corpus(Manifest(rows), tmp_path / "prepared", config, progress=False).rows
        assert row.text == text


def test_source_is_the_checksum_of_the_content(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    film, voice = odd_media["a face.mp4"], odd_media["8 kHz.wav"]
    rows = (Row("a", "test", video=film, audio=voice), Row("b", "test", video=film))
    a, b = prepare_corpus(Manifest(rows), tmp_path / "prepared", SMALL, progress=False).rows
    of_film, of_voice = (hashlib.sha256(path.read_bytes()).hexdigest() for path in (film, voice))
    assert a.extra["source"] == f"video:{of_film} audio:{of_voice}"
    assert b.extra["source"] == f"video:{of_film}"
    assert PreparedClip.load(clip_path(tmp_path / "prepared", "a"), "a").source == a.extra["source"]


def test_same_files_elsewhere_make_the_same_folder(corpus: Manifest, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    copies = []
    for row in corpus.rows:
        path = row.video or row.audio
        assert path is not None
        copies.append(media_row(Path(shutil.copyfile(path, tmp_path / "elsewhere" / path.name)), row.key))
        os.utime(tmp_path / "elsewhere" / path.name, (0, 0))
    prepare_corpus(corpus, tmp_path / "one", SMALL, progress=False)
    prepare_corpus(Manifest(tuple(copies)), tmp_path / "two", SMALL, progress=False)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_same_sound_under_two_keys_is_told_and_silence_is_not(
    tmp_path: Path, odd_media: dict[str, Path], make_clip: Callable[..., Path]
) -> None:
    silence = make_clip("silence.wav", None, samples=np.zeros(8_000, np.float32), sample_rate=16_000)
    names = ("one", "two", "three", "four")
    rows = [*(media_row(odd_media["8 kHz.wav"], name) for name in names), media_row(odd_media["float.wav"], "other")]
    rows += [media_row(silence, "silence"), media_row(silence, "another")]
    done = prepare_corpus(Manifest(tuple(rows)), tmp_path / "prepared", SMALL, progress=False)
    assert done.warnings == (
        "1 sounds are each there under several keys, the same to the sample: one = two = three = four; "
        "training keeps the first of each with split.duplicates=drop",
    )
    sounds = {row.key: row.extra.get("sound") for row in done.rows}
    clip = PreparedClip.load(clip_path(tmp_path / "prepared", "one"), "one")
    assert clip.audio is not None
    assert sounds["one"] == sounds["four"] == hashlib.sha256(clip.audio.tobytes()).hexdigest()[:32]
    assert sounds["other"] != sounds["one"] and sounds["silence"] is None


def test_features_are_joined_stored_and_part_of_the_source(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    rows = (media_row(odd_media["8 kHz.wav"], "a"), media_row(odd_media["float.wav"], "b"), Row("c", "test"))
    config, table, root = PrepareConfig(features=("au",)), tmp_path / "au.npz", tmp_path / "prepared"
    before = None
    for factor in (1, 1, 2):
        np.savez(table, a=factor * np.ones((4, 3)), c=factor * np.ones(3))
        done = prepare_corpus(Manifest(rows), root, config, features={"au": table}, progress=False)
        assert [row.extra.get("features") for row in done.rows] == ["au", None, "au"]
        clip = PreparedClip.load(clip_path(root, "a"), "a")
        np.testing.assert_array_equal(clip.features["au"], np.full((4, 3), factor, np.float32))
        assert PreparedClip.load(clip_path(root, "c"), "c").features["au"].shape == (1, 3)
        assert PreparedClip.load(clip_path(root, "b"), "b").features == {}
        assert (before == contents(root)) is (before is not None and factor == 1)
        before = contents(root)


def test_broken_features_leave_a_clip_out_by_name(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    rows = (media_row(odd_media["8 kHz.wav"], "a"), media_row(odd_media["float.wav"], "b"))
    np.savez(tmp_path / "au.npz", a=np.full(3, np.nan), b=np.ones(3))
    config, features = PrepareConfig(features=("au",)), {"au": tmp_path / "au.npz"}
    done = prepare_corpus(Manifest(rows), tmp_path / "prepared", config, features=features, progress=False)
    assert [str(error.key) for error in done.skipped] == ["a"]
    assert "features au: 3 of its 3 values are not finite numbers" in str(done.skipped[0])


def test_features_and_settings_must_agree(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name the feature streams au, pose and files are given for none; give one"):
        prepare_corpus(Manifest(()), tmp_path / "prepared", PrepareConfig(features=("au", "pose")), progress=False)
    assert not (tmp_path / "prepared").exists()


def test_sound_is_resampled_to_the_rate_asked_for(odd_media: dict[str, Path]) -> None:
    clip = prepare_clip(media_row(odd_media["float.wav"]), PrepareConfig(sample_rate=8_000))
    samples: NDArray[np.float32] | None = clip.audio
    assert clip.sample_rate == 8_000 and samples is not None and len(samples) == 8_000


def test_another_corpus_does_not_take_over_a_prepared_folder(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    config = PrepareConfig()
    one, two = (Manifest((Row(key, "c", audio=odd_media["8 kHz.wav"]),)) for key in ("one", "two"))
    prepare_corpus(one, tmp_path / "data", config, progress=False)
    with pytest.raises(CorpusError, match="holds 1 clips that the source does not name, 'one' the first; use another"):
        prepare_corpus(two, tmp_path / "data", config, progress=False)
    more = Manifest((*one.rows, *two.rows))
    assert len(prepare_corpus(more, tmp_path / "data", config, progress=False).rows) == 2


def test_a_key_of_any_length_is_a_file(tmp_path: Path, odd_media: dict[str, Path]) -> None:
    keys = ("a/" * 95, "a/" * 95 + "b", "k" * 300)
    manifest = Manifest(tuple(Row(key, "c", audio=odd_media["8 kHz.wav"]) for key in keys))
    assert len(prepare_corpus(manifest, tmp_path / "data", PrepareConfig(), progress=False).rows) == 3
    assert len(list((tmp_path / "data/clips").iterdir())) == 3
