"""``mmer predict --frames``: an answer for every step of a file."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mmer.checkpoint import CARD, Card
from mmer.cli import main
from mmer.config import (
    ClipConfig,
    EarlyFusionConfig,
    Face48Config,
    LSTMConfig,
    MeanFusionConfig,
    MelCNNConfig,
    MelConfig,
    MelPatchesConfig,
    ModelConfig,
    PrepareConfig,
    SpeechConfig,
    SplitConfig,
    StreamConfig,
    WaveCNNConfig,
)
from mmer.data.clip import PreparedClip
from mmer.data.cut import cut, cut_at
from mmer.data.dataset import make_layout
from mmer.fusion.early import align
from mmer.inference.frames import predict_frames
from mmer.media.jpeg import encode_jpeg
from mmer.model import EmotionModel, build_model

CPU = torch.device("cpu")
FACE = Face48Config("face48")
VOICE = MelPatchesConfig("mel_patches", MelConfig(bins=16, normalise="none"), bins=16, steps=10, dim=8)
EARLY = EarlyFusionConfig("early", LSTMConfig("lstm", width=6), dim=4, steps=4)
CONFIG = ModelConfig({"face": FACE, "voice": VOICE}, clip=ClipConfig(seconds=0.4, frames=4), fusion=EARLY, head="frame")
CAUSAL = replace(CONFIG, fusion=replace(EARLY, temporal=LSTMConfig("lstm", width=6, causal=True)))
PREPARE = PrepareConfig(size=48)


def make(config: ModelConfig) -> EmotionModel:
    torch.manual_seed(0)
    return build_model(config).eval()


def recording(seconds: float, video: bool = True) -> PreparedClip:
    rng, count = np.random.default_rng(0), round(25 * seconds)
    images = [encode_jpeg(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8), 80) for _ in range(count if video else 0)]
    return PreparedClip(
        times=np.arange(len(images)) / 25,
        sizes=np.array([len(image) for image in images], np.int64),
        jpeg=np.concatenate([np.zeros(0, np.uint8), *images]),
        audio=rng.normal(0, 0.1, round(16_000 * seconds)).astype(np.float32),
        sample_rate=16_000,
    )


def read(config: ModelConfig, clip: PreparedClip):
    return predict_frames(make(config), make_layout(config, PREPARE), clip, "clip", device=CPU)


@pytest.mark.parametrize("config", [CONFIG, CAUSAL], ids=["both ways", "causal"])
def test_a_clip_as_long_as_the_window_has_the_model_s_own_answers(config: ModelConfig) -> None:
    clip, model = recording(0.4), make(config)
    found = read(config, clip)
    window = cut_at(clip, config.clip, "clip", start=0.0, length=0.4)
    with torch.no_grad():
        frames = model(make_layout(config, PREPARE).collate([window])).frames
    assert found.times == pytest.approx([0.05, 0.15, 0.25, 0.35])
    np.testing.assert_allclose(found.probabilities, frames.x[0].softmax(dim=1), rtol=1e-5)
    assert (found.modalities, found.seconds) == (("video", "audio"), 0.4)


def test_a_causal_model_reads_a_long_clip_once_in_steps_of_one_length() -> None:
    found = read(CAUSAL, recording(1.16))
    np.testing.assert_allclose(found.times, 0.05 + 0.1 * np.arange(11))  # what is left lasts no step
    longer = replace(CAUSAL, clip=ClipConfig(seconds=1.2, frames=12), fusion=replace(CAUSAL.fusion, steps=12))
    np.testing.assert_allclose(found.probabilities, read(longer, recording(1.16)).probabilities, rtol=1e-5)


def test_what_a_causal_model_has_answered_stays_when_the_clip_goes_on() -> None:
    whole = recording(1.2)
    beginning = replace(whole, audio=whole.audio[: 16_000 * 6 // 10], times=whole.times[:15], sizes=whole.sizes[:15])
    short, long = read(CAUSAL, beginning), read(CAUSAL, whole)
    assert len(short.times) == 6
    np.testing.assert_allclose(short.probabilities, long.probabilities[:6], rtol=1e-5)


@pytest.mark.parametrize("seconds", [0.2, 0.4, 0.5, 1.0])
def test_windows_cover_the_clip_and_each_moment_is_answered_once(seconds: float) -> None:
    times = np.array(read(CONFIG, recording(seconds)).times)
    assert (np.diff(times) > 0).all()
    assert times[0] <= 0.051
    assert times[-1] >= seconds - 0.051
    assert np.diff(times).max(initial=0) < 0.151


def test_steps_of_a_stream_that_ends_early_span_the_clip() -> None:
    config = replace(CONFIG, streams={"voice": VOICE}, fusion=MeanFusionConfig("mean", dim=8))
    assert read(config, recording(0.2, video=False)).times == pytest.approx([0.05, 0.15])


@pytest.mark.parametrize("config", [CONFIG, CAUSAL], ids=["both ways", "causal"])
@pytest.mark.parametrize(
    ("seconds", "heard"),
    [(0.4, {"both ways": "1100", "causal": "1100"}), (0.2, {"both ways": "1110", "causal": "0110"})],
)
def test_sound_that_ends_in_the_middle_of_the_picture_stays_in_its_place(
    config: ModelConfig, seconds: float, heard: dict[str, str]
) -> None:
    """Of a clip shorter than the window the clock's steps are shorter than the voice's tokens."""
    whole, model = recording(seconds), make(config)
    half = replace(whole, audio=whole.audio[: len(whole.audio) // 2])
    window = cut_at(half, config.clip, "clip", start=0.0, length=seconds)
    voice = model.encode(make_layout(config, PREPARE).collate([window]))["voice"]
    found = align(voice, voice.count(), 4, causal=config.causal).mask[0].int()
    assert "".join(map(str, found.tolist())) == heard["causal" if config.causal else "both ways"]


@pytest.mark.parametrize(
    "voice",
    [
        VOICE,
        MelCNNConfig("mel_cnn", MelConfig(bins=16), channels=(4,), dim=8),
        MelCNNConfig("mel_cnn", MelConfig(bins=16), channels=(4,), dim=8, window=0.1),
        WaveCNNConfig("wave_cnn", variant="tiny"),
        SpeechConfig("speech", variant="tiny", trainable="all"),
    ],
    ids=["patches", "mel", "windows", "wave", "speech"],
)
def test_sound_as_long_as_its_clip_is_at_every_step(voice: StreamConfig) -> None:
    config = replace(CONFIG, streams={"voice": voice}, clip=ClipConfig(seconds=1.2, frames=4))
    model, layout = make(config), make_layout(config, PREPARE)
    for seconds in (0.1, 0.23, 0.45, 0.5, 0.77, 1.0, 1.13, 1.2, 2.0):
        window = cut(recording(seconds, video=False), config.clip, "clip")
        tokens = model.encode(layout.collate([window]))["voice"]
        assert align(tokens, tokens.count(), 16, causal=False).mask.all(), seconds


def test_without_a_face_the_voice_answers() -> None:
    found = read(CAUSAL, recording(0.4, video=False))
    assert found.modalities == ("audio",)
    assert len(found.times) == 4


def test_a_clip_shorter_than_a_step_has_one() -> None:
    assert len(read(CAUSAL, recording(0.08)).times) == 1


# --- the command


@pytest.fixture(scope="module")
def framewise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    card = Card(CAUSAL, PREPARE, SplitConfig(), "nowhere", "untrained", {}, ["none"])
    weights = {f"model.{name}": value for name, value in make(CAUSAL).state_dict().items()}
    path = tmp_path_factory.mktemp("framewise") / "tiny.ckpt"
    torch.save({CARD: card.to_plain(), "state_dict": weights}, path)
    return path


def predict(checkpoint: Path, *files: Path, options: tuple[str, ...] = ()) -> int:
    return main(["predict", *map(str, files), "--frames", f"--checkpoint={checkpoint}", "--device=cpu", *options])


def test_every_step_is_a_row_with_its_time_and_all_labels(
    framewise: Path, odd_media: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    film = odd_media["a face.mp4"]
    assert predict(framewise, film, options=("--format=csv",)) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    labels = CAUSAL.label_set.names
    assert list(rows[0]) == ["file", "time", "predicted", *labels]
    assert [row["time"] for row in rows] == ["0.0500", "0.1500", "0.2500", "0.3500"]
    for row in rows:
        assert row["file"] == str(film)
        assert sum(float(row[name]) for name in labels) == pytest.approx(1, abs=1e-5)
        assert row["predicted"] == max(labels, key=lambda name: float(row[name]))
    assert predict(framewise, film, options=("--format=json",)) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert (answer["file"], answer["modalities"]) == (str(film), ["video", "audio"])
    assert answer["seconds"] == pytest.approx(0.4, abs=0.01)
    assert [step["predicted"] for step in answer["frames"]] == [row["predicted"] for row in rows]
    assert list(answer["frames"][0]["probabilities"]) == list(labels)
    assert predict(framewise, film) == 0
    title, names, *lines = capsys.readouterr().out.splitlines()
    assert title == f"{film} (video, audio; 0.4 s)"
    assert names.split() == ["time", "predicted", *labels]
    assert [line.split()[:2] for line in lines] == [[f"{float(r['time']):.2f}s", r["predicted"]] for r in rows]


def test_a_bad_file_loses_no_other(
    framewise: Path,
    odd_media: dict[str, Path],
    bad_media: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [bad_media["zero bytes.mp4"], odd_media["float.wav"]]
    assert predict(framewise, *files, options=("--format=json",)) == 2
    shown = capsys.readouterr()
    assert [each["file"] for each in json.loads(shown.out)] == [str(files[1])]
    assert shown.err.startswith(f"mmer: error: clip {files[0]}: the file is empty")
    assert shown.err.count("\n") == 1


def test_a_model_for_whole_clips_is_refused(
    checkpoint: Path, odd_media: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(checkpoint, odd_media["float.wav"]) == 2
    assert capsys.readouterr().err == (
        "mmer: error: the checkpoint answers for whole clips, not for their frames; train one with "
        "--model.config.head=frame\n"
    )


def test_frames_of_no_file_are_refused(framewise: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(framewise, options=("--text=hello",)) == 2
    assert capsys.readouterr().err == (
        "mmer: error: --frames answers for the steps of files and none is named; name some, or leave it out\n"
    )
