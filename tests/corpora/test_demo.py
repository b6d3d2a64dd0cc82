import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from mmer.corpora.demo import Take, plan_takes, synthesize
from mmer.corpora.demo.corpus import FPS, make_clip
from mmer.corpora.demo.face import draw_clip
from mmer.corpora.demo.look import cast_look
from mmer.corpora.demo.script import EMOTIONS, UNITS, Performance, cast_speaker, direct_face, direct_voice
from mmer.corpora.demo.voice import SAMPLE_RATE, speak
from mmer.errors import ConfigError
from mmer.media.write import write_clip


def render(take, seed=0, every=8):
    """Draw every eighth picture of a take."""
    speech = speak(take.statement, direct_voice(take, seed), cast_speaker(take.actor, seed), take.rng(seed, 5), FPS)
    acted = direct_face(take, seed, speech.opening, speech.rounding, FPS)
    fewer = {name: getattr(acted, name)[::every] for name in ("units", "head", "gaze", "blink")}
    return list(draw_clip(cast_look(take.actor, seed), replace(acted, **fewer), take.rng(seed, 7))), speech


def clip_bytes(directory, seed, take):
    (directory / take.name).parent.mkdir(parents=True, exist_ok=True)
    make_clip(directory, seed, take)
    return (directory / take.name).read_bytes()


def contents(directory):
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.mp4")}


# --- the plan


def test_eight_takes_are_the_sixty_clips_of_a_ravdess_actor():
    takes = plan_takes(actors=1, takes=8)
    assert len({take.name for take in takes}) == 60
    assert Counter(take.emotion for take in takes) == {1: 4} | dict.fromkeys(range(2, 9), 8)


def test_all_actors_and_takes_are_the_1440_clips_of_ravdess():
    assert len({take.name for take in plan_takes(actors=24, takes=8)}) == 1440


def test_takes_are_added_in_a_fixed_order():
    calm = [(t.intensity, t.statement, t.repetition) for t in plan_takes(1, 3) if t.emotion == 2]
    neutral = [(t.intensity, t.statement, t.repetition) for t in plan_takes(1, 3) if t.emotion == 1]
    assert calm == [(1, 1, 1), (2, 2, 1), (1, 2, 2)]
    assert neutral == [(1, 1, 1), (1, 2, 2), (1, 2, 1)]


def test_names_are_those_of_ravdess():
    take = Take(actor=7, emotion=5, intensity=2, statement=1, repetition=2)
    assert take.name == "Actor_07/01-01-05-02-01-02-07.mp4"


# --- the clips


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """One actor, one take, drawn in this process."""
    directory = tmp_path_factory.mktemp("demo")
    synthesize(directory, actors=1, takes=1, progress=False)
    return directory


def test_the_corpus_says_that_it_is_synthetic(corpus):
    card = json.loads((corpus / "corpus.json").read_text())
    assert card["synthetic"] is True
    assert (card["name"], card["actors"], card["takes"], card["seed"]) == ("demo", 1, 1, 0)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(corpus, tmp_path):
    take = Take(1, 3, 1, 1, 1)
    assert clip_bytes(tmp_path / "same", 0, take) == (corpus / take.name).read_bytes()
    assert clip_bytes(tmp_path / "other", 1, take) != (corpus / take.name).read_bytes()


def test_clips_do_not_depend_on_takes_or_workers(corpus, tmp_path):
    card = json.loads((corpus / "corpus.json").read_text())
    (tmp_path / "Actor_01").mkdir()
    kept = [take.name for take in plan_takes(1, 2)][2:]  # only two clips are left to draw
    for name in kept:
        (tmp_path / name).touch()
    (tmp_path / "corpus.json").write_text(json.dumps(card | {"takes": 2}))
    synthesize(tmp_path, actors=1, takes=2, workers=2, progress=False)
    first = Take(1, 1, 1, 1, 1).name
    assert contents(tmp_path)[first] == contents(corpus)[first]


def test_a_restart_makes_only_what_is_missing(corpus):
    before = contents(corpus)
    assert len(before) == 8
    stamps = {name: (corpus / name).stat().st_mtime_ns for name in before}
    lost = Take(1, 4, 1, 1, 1).name
    (corpus / lost).unlink()
    synthesize(corpus, actors=1, takes=1, progress=False)
    assert contents(corpus) == before
    changed = {name for name in before if (corpus / name).stat().st_mtime_ns != stamps[name]}
    assert changed == {lost}


def test_sound_and_picture_last_equally_long(corpus):
    for path in corpus.rglob("*.mp4"):
        with av.open(str(path)) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert (video.width, video.height, video.average_rate) == (320, 240, FPS)
            assert (audio.rate, audio.codec_context.layout.name) == (SAMPLE_RATE, "mono")
            lengths = [float(stream.duration * stream.time_base) for stream in (video, audio)]
        assert abs(lengths[0] - lengths[1]) <= 1 / FPS
        assert 1.5 < lengths[0] < 3.5


@pytest.mark.parametrize(("actor", "emotion"), [(1, 1), (2, 3), (1, 4), (3, 6), (2, 7)])
def test_every_face_is_found_once(actor, emotion):
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")
    frames, _ = render(Take(actor, emotion, 1, 1, 1), every=25)
    found = [len(detector.detectMultiScale(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), 1.1, 5)) for f in frames]
    assert found == [1] * len(frames)


def test_actors_and_emotions_look_and_sound_different():
    happy, loud = render(Take(1, 3, 2, 1, 1), every=60)
    _, quiet = render(Take(1, 4, 2, 1, 1), every=60)
    other, _ = render(Take(2, 3, 2, 1, 1), every=60)
    assert np.abs(happy[0].astype(int) - other[0]).mean() > 10
    assert loud.samples.std() > 2 * quiet.samples.std()
    assert loud.samples.dtype == np.float32
    assert np.abs(loud.samples).max() < 1


def test_extreme_action_units_can_be_drawn():
    steps = 2 * len(UNITS)
    units = np.concatenate([np.eye(len(UNITS)), 1 - np.eye(len(UNITS))]) * 1.2
    acted = Performance(units, np.zeros((steps, 6)), np.full((steps, 2), 0.7), np.ones(steps))
    frames = list(draw_clip(cast_look(5, 0), acted, np.random.default_rng(0)))
    assert {frame.shape for frame in frames} == {(240, 320, 3)}


def test_every_emotion_is_played():
    assert set(EMOTIONS) == {take.emotion for take in plan_takes(1, 1)}


# --- one test per error message


@pytest.mark.parametrize(
    ("name", "value"), [("actors", 0), ("actors", 25), ("takes", 0), ("takes", 9), ("seed", -1), ("workers", 0)]
)
def test_a_value_out_of_range_is_refused(tmp_path, name, value):
    with pytest.raises(ConfigError, match=rf"^{name} = {value}: the demo corpus takes \d+ to \d+; choose"):
        synthesize(tmp_path / "new", **{name: value}, progress=False)
    assert not (tmp_path / "new").exists()


def test_a_folder_with_other_settings_is_refused(corpus):
    with pytest.raises(ConfigError, match=r"another corpus \(takes = 1; asked for takes = 2\); give another folder"):
        synthesize(corpus, actors=1, takes=2, progress=False)


@pytest.mark.parametrize(("text", "said"), [("{", "is not JSON; give another folder"), ("[]", "no settings")])
def test_a_strange_corpus_json_is_refused(tmp_path, text, said):
    (tmp_path / "corpus.json").write_text(text)
    with pytest.raises(ConfigError, match=said):
        synthesize(tmp_path, progress=False)


# --- writing media


FRAME = np.full((32, 48, 3), (200, 40, 20), np.uint8)
TONE = (0.3 * np.sin(np.arange(4800) * 0.06)).astype(np.float32)


def test_writing_leaves_nothing_behind_when_the_frames_fail(tmp_path):
    def broken():
        yield from [FRAME] * 3
        raise RuntimeError("the camera fell")

    (tmp_path / "clip.mp4").write_bytes(b"what was there before")
    with pytest.raises(RuntimeError, match="the camera fell"):
        write_clip(tmp_path / "clip.mp4", broken(), samples=TONE)
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    assert (tmp_path / "clip.mp4").read_bytes() == b"what was there before"


def test_the_same_frames_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    walls = np.kron(rng.integers(60, 200, (15, 20, 3)), np.ones((8, 8, 1)))
    frames = [(np.roll(walls, i, 1) + rng.normal(0, 3, walls.shape)).clip(0, 255).astype(np.uint8) for i in range(30)]
    seen = set()
    for index in range(4):
        path = tmp_path / f"{index}.mp4"
        write_clip(path, (frame.copy() for frame in frames), samples=TONE)
        seen.add(path.read_bytes())
    assert len(seen) == 1


@pytest.mark.parametrize(("codec", "tolerance"), [("pcm_s16le", 2**-15), ("pcm_s24le", 2**-23), ("pcm_f32le", 0.0)])
def test_wav_keeps_every_sample(tmp_path, codec, tolerance):
    write_clip(tmp_path / "tone.wav", None, samples=TONE, sample_rate=16_000, audio_codec=codec)
    with av.open(str(tmp_path / "tone.wav")) as container:
        assert container.streams.audio[0].codec_context.name == codec
        to_float = av.AudioResampler(format="fltp", layout="mono")
        read = np.concatenate(
            [f.to_ndarray()[0] for frame in container.decode(audio=0) for f in to_float.resample(frame)]
        )
    np.testing.assert_allclose(read, TONE, atol=tolerance)


def test_colours_survive(tmp_path):
    write_clip(tmp_path / "red.mp4", [FRAME] * 5)
    with av.open(str(tmp_path / "red.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert not container.streams.audio
    assert len(frames) == 5
    assert np.abs(frames[2].astype(int) - FRAME).max() < 12


@pytest.mark.parametrize(
    ("name", "frames", "settings", "said"),
    [
        ("a.mp4", None, {}, "neither frames nor samples"),
        ("a.mp4", [], {}, "an empty sequence of frames"),
        ("a.mp4", [FRAME[:31]], {}, r"shape \[31, 48, 3\] was given; give uint8 frames"),
        ("a.mp4", [FRAME, FRAME[:30]], {}, r"shape \[30, 48, 3\] was given; give uint8 frames"),
        ("a.mp4", [FRAME.astype(float)], {}, "a float64 frame"),
        ("a.mp4", None, {"samples": TONE[:0]}, "give finite float32 samples"),
        ("a.mp4", None, {"samples": np.full(9, np.nan, np.float32)}, "give finite float32 samples"),
        ("a.nothing", [FRAME], {}, "no container has the suffix '.nothing'; use .mp4"),
        ("a.mp4", [FRAME], {"video_codec": "nothing"}, "codec 'nothing' cannot be written to mp4"),
        ("a.wav", [FRAME], {}, "codec 'libx264' cannot be written to wav"),
    ],
)
def test_what_cannot_be_written_is_refused(tmp_path, name, frames, settings, said):
    with pytest.raises(ConfigError, match=said):
        write_clip(tmp_path / name, frames, **settings)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(ConfigError, match="exists and is no demo corpus; choose an empty or a new folder"):
        synthesize(tmp_path, actors=1, takes=1, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]
