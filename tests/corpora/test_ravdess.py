"""RAVDESS's names become rows; the three files of a take are one clip."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path

import pytest

from mmer.corpora.manifest import Manifest, Row
from mmer.corpora.ravdess import SONG_TAKES, SPEECH_TAKES, read_ravdess
from mmer.errors import ConfigError, CorpusError

TAKE = "01-05-02-01-02-13"


def lay_out(folder: Path, *names: str, read: bool = True) -> Manifest:
    """Make files, each with its own bytes, and read them."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return read_ravdess(folder) if read else Manifest(())


def pack(archive: Path, *names: str) -> Path:
    """Make a zip archive of such files, as the owner gives them."""
    with zipfile.ZipFile(archive, "w") as file:
        for name in names:
            file.writestr(name, name)
    return archive


def only(manifest: Manifest) -> Row:
    assert manifest.broken == ()
    (row,) = manifest.rows
    return row


def fault(manifest: Manifest) -> str:
    assert manifest.rows == ()
    (error,) = manifest.broken
    return str(error)


def test_name_is_read_field_by_field(tmp_path: Path) -> None:
    row = only(lay_out(tmp_path, f"Actor_13/01-{TAKE}.mp4"))
    assert (row.key, row.corpus, row.speaker, row.label) == (TAKE, "ravdess", "13", "angry")
    assert row.text == "Kids are talking by the door"
    assert row.extra == {
        "channel": "speech",
        "gender": "male",
        "intensity": "strong",
        "repetition": "2",
        "statement": "1",
        "take": TAKE,
    }


def test_every_emotion_has_its_code(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, *(f"03-01-{code:02d}-01-02-01-08.wav" for code in range(1, 9)))
    labels = [row.label for row in manifest.rows]
    assert labels == ["neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"]


def test_even_actors_are_female_and_statement_two_is_about_dogs(tmp_path: Path) -> None:
    lay_out(tmp_path, "03-02-03-01-02-01-08.wav", read=False)
    row = only(read_ravdess(tmp_path, "song"))
    assert (row.speaker, row.extra["gender"], row.extra["channel"]) == ("8", "female", "song")
    assert row.text == "Dogs are sitting by the door"


def test_three_files_of_a_take_are_one_row(tmp_path: Path) -> None:
    names = [f"Actor_13/01-{TAKE}.mp4", f"Actor_13/02-{TAKE}.mp4", f"Audio/Actor_13/03-{TAKE}.wav"]
    row = only(lay_out(tmp_path, *names))
    assert (row.video, row.audio) == (tmp_path / names[0], tmp_path / names[2])


@pytest.mark.parametrize(
    ("names", "video", "audio"),
    [
        ([f"01-{TAKE}.mp4"], f"01-{TAKE}.mp4", None),
        ([f"02-{TAKE}.mp4"], f"02-{TAKE}.mp4", None),
        ([f"03-{TAKE}.wav"], None, f"03-{TAKE}.wav"),
        ([f"03-{TAKE}.flac"], None, f"03-{TAKE}.flac"),
        ([f"02-{TAKE}.avi", f"03-{TAKE}.wav"], f"02-{TAKE}.avi", f"03-{TAKE}.wav"),
        ([f"01-{TAKE}.MP4"], f"01-{TAKE}.MP4", None),
        ([f"01-{TAKE}.avi", f"01-{TAKE}.mp4"], f"01-{TAKE}.mp4", None),
    ],
)
def test_face_and_voice_come_from_the_files_there_are(
    names: list[str], video: str | None, audio: str | None, tmp_path: Path
) -> None:
    row = only(lay_out(tmp_path, *names))
    assert row.video == (None if video is None else tmp_path / video)
    assert row.audio == (None if audio is None else tmp_path / audio)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    manifest = lay_out(tmp_path, f"01-{TAKE}.mp4", f"._01-{TAKE}.mp4", ".DS_Store", "readme.txt", f"01-{TAKE}.csv")
    assert only(manifest).key == TAKE


def test_rows_come_in_the_order_of_their_keys(tmp_path: Path) -> None:
    names = ["Z/03-01-03-01-01-01-01.wav", "A/03-01-05-01-01-01-01.wav", "B/03-01-04-01-01-01-01.wav"]
    keys = [row.key for row in lay_out(tmp_path, *names).rows]
    assert keys == sorted(keys)


@pytest.mark.parametrize("name", ["holiday.mp4", "01-01-05-02-01-02.mp4", "01-01-05-02-01-02-13-14.mp4", "1-1-5.wav"])
def test_other_name_is_left_out(name: str, tmp_path: Path) -> None:
    assert "the name is not RAVDESS's seven two-digit fields" in fault(lay_out(tmp_path, name))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("04-01-05-02-01-02-13.mp4", "modality 04 is unknown; the codes are 01 to 03"),
        ("01-03-05-02-01-02-13.mp4", "channel 03 is unknown; the codes are 01 to 02"),
        ("01-01-09-02-01-02-13.mp4", "emotion 09 is unknown; the codes are 01 to 08"),
        ("01-01-00-02-01-02-13.mp4", "emotion 00 is unknown; the codes are 01 to 08"),
        ("01-01-05-03-01-02-13.mp4", "intensity 03 is unknown; the codes are 01 to 02"),
        ("01-01-05-02-03-02-13.mp4", "statement 03 is unknown; the codes are 01 to 02"),
    ],
)
def test_unknown_code_is_left_out(name: str, reason: str, tmp_path: Path) -> None:
    assert fault(lay_out(tmp_path, name)) == f"clip {name[3:-4]} ({tmp_path / name}): {reason}"


def test_same_take_twice_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    names = [f"a/01-{TAKE}.mp4", f"b/01-{TAKE}.mp4", "a/01-01-03-01-01-01-13.mp4"]
    manifest = lay_out(tmp_path, *names)
    assert [row.label for row in manifest.rows] == ["happy"]
    (error,) = manifest.broken
    reason = f"another recording of the same name is at {tmp_path / names[1]}; keep one"
    assert str(error) == f"clip {TAKE} ({tmp_path / names[0]}): {reason}"


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        CorpusError, match=r"nowhere is no folder and no zip archive; give the one that holds the corpus"
    ):
        read_ravdess(tmp_path / "nowhere")


def test_folder_without_media_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds no file with one of the suffixes .mp4 .avi .wav .flac"):
        read_ravdess(tmp_path)


def test_demo_corpus_says_that_it_is_one(demo_corpus: Path) -> None:
    manifest = read_ravdess(demo_corpus)
    assert len(manifest) == 8 and manifest.broken == ()
    assert {row.corpus for row in manifest.rows} == {"demo"}
    assert manifest.notes == (), "nobody knows how many clips a demo corpus should have"


@pytest.mark.parametrize("note", ["{", "[]", "{}"])
def test_note_that_names_no_corpus_is_refused(note: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.json").write_text(note)
    with pytest.raises(CorpusError, match=r"corpus.json does not say the corpus's name; mend it, or delete it"):
        lay_out(tmp_path, f"01-{TAKE}.mp4")


def test_real_voices_pair_with_the_real_videos(real_data: Path) -> None:
    if not (real_data / "ravdess").is_dir():
        pytest.skip("no RAVDESS")
    manifest = read_ravdess(real_data / "ravdess")
    assert manifest.broken == ()
    videos = [row for row in manifest.rows if row.video is not None]
    assert videos and all(row.audio is not None for row in videos)


def test_real_speech_is_counted(real_data: Path) -> None:
    if not (real_data / "ravdess").is_dir():
        pytest.skip("no RAVDESS")
    manifest = read_ravdess(real_data / "ravdess")
    speakers = Counter(row.speaker for row in manifest.rows)
    actors = len(speakers)
    assert set(speakers.values()) == {60}
    labels = Counter(row.label for row in manifest.rows)
    assert labels.pop("neutral") == 4 * actors and set(labels.values()) == {8 * actors} and len(labels) == 7
    assert f"{60 * actors:,} " in manifest.notes[0]


# --- the owner's archives


def test_archives_are_read_in_place(tmp_path: Path) -> None:
    faces = pack(tmp_path / "Video_Speech_Actor_13.zip", f"Actor_13/01-{TAKE}.mp4", f"Actor_13/02-{TAKE}.mp4")
    voices = pack(tmp_path / "Audio_Speech_Actors_01-24.zip", f"Actor_13/03-{TAKE}.wav", "Actor_13/", "readme.txt")
    row = only(read_ravdess(tmp_path))
    assert row.video == faces / f"Actor_13/01-{TAKE}.mp4"
    assert row.audio == voices / f"Actor_13/03-{TAKE}.wav"


def test_one_archive_is_a_corpus(tmp_path: Path) -> None:
    archive = pack(tmp_path / "Video_Speech_Actor_13.zip", f"Actor_13/01-{TAKE}.mp4", f"__MACOSX/._01-{TAKE}.mp4")
    row = only(read_ravdess(archive))
    assert (row.video, row.audio) == (archive / f"Actor_13/01-{TAKE}.mp4", None)


def test_unpacked_file_goes_before_the_archives(tmp_path: Path) -> None:
    pack(tmp_path / "A.zip", f"Actor_13/01-{TAKE}.mp4", f"Actor_13/03-{TAKE}.wav")
    lay_out(tmp_path, f"Unpacked/Actor_13/01-{TAKE}.mp4", read=False)
    row = only(read_ravdess(tmp_path))
    assert row.video == tmp_path / f"Unpacked/Actor_13/01-{TAKE}.mp4"
    assert row.audio == tmp_path / f"A.zip/Actor_13/03-{TAKE}.wav"


def test_copies_of_the_same_bytes_are_read_once(tmp_path: Path) -> None:
    """A copy of RAVDESS that is passed around has every actor's folder twice."""
    for folder in ("Actor_13", "audio_speech_actors_01-24/Actor_13"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"03-{TAKE}.wav").write_bytes(b"the same voice")
    manifest = read_ravdess(tmp_path)
    assert only(manifest).audio == tmp_path / f"Actor_13/03-{TAKE}.wav"
    assert manifest.notes[-1] == "passed over as second copies of other files: 1"


def test_broken_archive_is_left_out_and_the_others_stay(tmp_path: Path) -> None:
    pack(tmp_path / "good.zip", f"Actor_13/01-{TAKE}.mp4")
    (tmp_path / "half.zip").write_bytes(b"PK and no more")
    manifest = read_ravdess(tmp_path)
    assert len(manifest) == 1
    (error,) = manifest.broken
    reason = "the archive half.zip cannot be unpacked: File is not a zip file; fetch it again"
    assert str(error) == f"clip half.zip ({tmp_path / 'half.zip'}): {reason}"


def test_broken_archive_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "half.zip").write_bytes(b"PK and no more")
    with pytest.raises(CorpusError, match=r"half.zip cannot be read: the archive half.zip cannot be unpacked"):
        read_ravdess(tmp_path / "half.zip")


# --- speech and song, and how many takes there are


def takes(channel: int, actors: range) -> list[str]:
    """Return the names of all takes of some actors."""
    return [
        f"03-{channel:02d}-{emotion:02d}-{intensity:02d}-{statement:02d}-{repetition:02d}-{actor:02d}.wav"
        for actor in actors
        for emotion in range(1, 9 if channel == 1 else 7)
        for intensity in ((1,) if emotion == 1 else (1, 2))
        for statement in (1, 2)
        for repetition in (1, 2)
    ]


def test_whole_corpus_is_complete_and_7356_files(tmp_path: Path) -> None:
    speech = takes(1, range(1, 25))
    song = [name for name in takes(2, range(1, 25)) if not name.endswith("-18.wav")]
    assert (len(speech), len(song)) == (SPEECH_TAKES, SONG_TAKES) == (1440, 1012)
    assert 3 * (SPEECH_TAKES + SONG_TAKES) == 7356
    archive = pack(tmp_path / "all.zip", *speech, *song)
    whole = read_ravdess(archive, "both")
    assert len(whole) == 2452
    assert whole.notes == ("complete: 1,440 speech takes of 24 actors", "complete: 1,012 song takes of 23 actors")
    spoken = read_ravdess(archive)
    assert {row.extra["channel"] for row in spoken.rows} == {"speech"}
    assert spoken.notes == (
        "complete: 1,440 speech takes of 24 actors",
        "1,012 song takes are passed over; channel both reads them",
    )


def test_missing_actors_and_takes_are_named(tmp_path: Path) -> None:
    names = takes(1, range(1, 21))
    manifest = read_ravdess(pack(tmp_path / "some.zip", *names))
    assert manifest.notes == ("1,200 of 1,440 speech takes: actors 21, 22, 23, 24 are missing",)
    manifest = read_ravdess(pack(tmp_path / "fewer.zip", *names[2:]))
    assert manifest.notes == ("1,198 of 1,440 speech takes: actors 21, 22, 23, 24 are missing; actor 1 lacks 2 of 60",)


def test_one_missing_actor_is_named(tmp_path: Path) -> None:
    manifest = read_ravdess(pack(tmp_path / "some.zip", *takes(1, range(1, 24))))
    assert manifest.notes == ("1,380 of 1,440 speech takes: actor 24 is missing",)


def test_many_missing_actors_are_a_range(tmp_path: Path) -> None:
    names = [*takes(1, range(1, 2)), *takes(1, range(3, 4)), *takes(1, range(20, 21))]
    missing = "actors 2, 4 to 19, 21, 22, 23, 24 are missing"
    assert read_ravdess(pack(tmp_path / "some.zip", *names)).notes == (f"180 of 1,440 speech takes: {missing}",)


def test_many_incomplete_actors_are_counted(tmp_path: Path) -> None:
    names = [name for name in takes(1, range(1, 25)) if "-08-" not in name[:9]]
    assert read_ravdess(pack(tmp_path / "a.zip", *names)).notes == (
        "1,248 of 1,440 speech takes: 24 actors lack 192 takes",
    )


def test_take_that_ravdess_does_not_have_is_told(tmp_path: Path) -> None:
    names = [*takes(1, range(1, 25)), "03-01-03-01-01-07-01.wav"]
    manifest = read_ravdess(pack(tmp_path / "a.zip", *names))
    assert len(manifest) == 1441
    assert manifest.notes == ("complete: 1,440 speech takes of 24 actors; takes that RAVDESS does not have: 1",)


def test_takes_with_a_film_are_counted(tmp_path: Path) -> None:
    names = [f"01-{TAKE}.mp4", "03-01-03-01-01-01-13.wav"]
    assert lay_out(tmp_path, *names).notes[1:] == (
        "1 of 2 takes have video files",
        "1 of 2 takes have audio files",
    )


def test_song_alone_asks_for_its_channel(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"holds song and no speech; ask for channel both"):
        lay_out(tmp_path, "03-02-03-01-02-01-08.wav")


def test_unknown_channel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"RAVDESS has no channel 'dance'; choose speech, song or both"):
        read_ravdess(tmp_path, "dance")  # type: ignore[arg-type]
