"""Sound of any kind to 16 kHz mono on the clock of the picture."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from mmer.errors import ClipError
from mmer.media.audio import find_audio, read_audio
from mmer.media.container import Source
from mmer.media.video import read_video

Tone = Callable[..., NDArray[np.float32]]
RATE = 16_000


def read(path: Path, sample_rate: int = RATE) -> NDArray[np.float32]:
    return read_audio(Source("the key", path), sample_rate)


def pitch(samples: NDArray[np.float32], rate: int = RATE) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def level(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.square(samples[len(samples) // 4 : -len(samples) // 4]).mean()))


def write_pcm(path: Path, channels: list[NDArray[np.float32]], rate: int, width: int = 2) -> Path:
    """Write a PCM wav file of any width and channel count with the standard library."""
    full = 2 ** (8 * width - 1) - 1
    numbers = np.stack(channels, axis=1).ravel() * full
    data = b"".join(int(number).to_bytes(width, "little", signed=True) for number in numbers.round())
    with wave.open(str(path), "wb") as file:
        file.setnchannels(len(channels))
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(data)
    return path


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_rate_keeps_its_length_pitch_and_level(rate: int, tmp_path: Path, tone: Tone) -> None:
    samples = read(write_pcm(tmp_path / "clip.wav", [tone(1, rate)], rate))
    assert samples.dtype == np.float32 and samples.ndim == 1
    assert abs(len(samples) - RATE) <= 1
    assert abs(pitch(samples) - 440) <= 1
    assert level(samples) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


@pytest.mark.parametrize("channels", [2, 6])
def test_same_voice_on_all_channels_is_as_loud_as_mono(channels: int, tmp_path: Path, tone: Tone) -> None:
    mono = read(write_pcm(tmp_path / "mono.wav", [tone(0.5, RATE)], RATE))
    many = read(write_pcm(tmp_path / "many.wav", [tone(0.5, RATE)] * channels, RATE))
    np.testing.assert_allclose(many, mono, atol=1e-3)


def test_voice_on_one_channel_is_heard(tmp_path: Path, tone: Tone) -> None:
    silence = np.zeros(RATE // 2, np.float32)
    left = read(write_pcm(tmp_path / "clip.wav", [tone(0.5, RATE), silence], RATE))
    right = read(write_pcm(tmp_path / "clip.wav", [silence, tone(0.5, RATE)], RATE))
    np.testing.assert_allclose(left, tone(0.5, RATE) / 2, atol=1e-3)
    np.testing.assert_allclose(left, right, atol=1e-3)


def test_24_bit_keeps_what_16_bit_would_lose(tmp_path: Path, tone: Tone) -> None:
    whisper = tone(0.5, RATE) * 2e-5  # less than one step of 16 bit
    samples = read(write_pcm(tmp_path / "clip.wav", [whisper], RATE, width=3))
    np.testing.assert_allclose(samples, whisper, atol=2e-7)


@pytest.mark.parametrize(
    ("name", "codec", "error"),
    [("clip.wav", "pcm_f32le", 1e-6), ("clip.flac", "flac", 1e-3), ("clip.mp3", "libmp3lame", 0.05)],
)
def test_other_codings_give_the_same_waveform(
    name: str, codec: str, error: float, make_clip: Callable[..., Path], tone: Tone
) -> None:
    samples = read(make_clip(name, samples=tone(0.5, RATE), sample_rate=RATE, audio_codec=codec))
    np.testing.assert_allclose(samples[800:7200], tone(0.5, RATE)[800:7200], atol=error)


def test_sound_of_two_tenths_of_a_second_is_read(make_clip: Callable[..., Path], tone: Tone) -> None:
    path = make_clip("clip.wav", samples=tone(0.2, 48_000), audio_codec="pcm_s16le")
    assert abs(len(read(path)) - 0.2 * RATE) <= 1


@pytest.mark.parametrize(("name", "codec"), [("clip.mp4", "aac"), ("clip.mkv", "aac"), ("clip.mov", "pcm_s16le")])
def test_sound_and_picture_share_a_clock(name: str, codec: str, make_clip: Callable[..., Path]) -> None:
    frames = [np.zeros((32, 48, 3), np.uint8)] * 40
    frames[25:28] = [np.full((32, 48, 3), 255, np.uint8)] * 3
    samples = np.zeros(int(1.6 * 48_000), np.float32)
    samples[48_000:52_800] = 0.8
    path = make_clip(name, frames, samples=samples, audio_codec=codec)
    flash = next(frame.time for frame in read_video(Source("the key", path)) if frame.image.mean() > 128)
    click = int(np.argmax(read(path) > 0.3)) / RATE
    assert flash == pytest.approx(1.0, abs=2e-3)
    assert click == pytest.approx(1.0, abs=2e-3)


@pytest.mark.parametrize("late", ["sound", "picture"])
def test_stream_that_starts_late_keeps_its_place(
    late: str, tmp_path: Path, make_clip: Callable[..., Path], tone: Tone
) -> None:
    whole = make_clip("whole.mp4", [np.zeros((32, 48, 3), np.uint8)] * 25, samples=tone(1, 48_000))
    path = delay(whole, tmp_path / "late.mp4", "audio" if late == "sound" else "video", 0.5)
    samples, times = read(path), [frame.time for frame in read_video(Source("the key", path))]
    if late == "sound":
        assert times[0] == pytest.approx(0, abs=0.03)
        assert not samples[:7500].any() and level(samples[8500:]) > 0.3
    else:
        assert times[0] == pytest.approx(0.5, abs=0.03)
        assert level(samples[:7500]) > 0.3


def delay(path: Path, target: Path, kind: str, seconds: float) -> Path:
    with av.open(str(path)) as source, av.open(str(target), "w") as container:
        streams = [container.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == kind:
                shift = round(seconds / packet.time_base)
                packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = streams[packet.stream.index]
            container.mux(packet)
    return target


def test_video_without_sound_says_so(odd_media: dict[str, Path]) -> None:
    path = odd_media["no sound.mp4"]
    assert find_audio(Source("the key", path), 16_000) is None
    with pytest.raises(ClipError) as caught:
        read(path)
    assert caught.value.message == f"clip the key ({path}): it has no audio stream"


def test_samples_that_are_no_numbers_are_refused(bad_media: dict[str, Path]) -> None:
    with pytest.raises(ClipError, match=r"1 of 16000 audio samples are not finite numbers"):
        read(bad_media["nan.wav"])


def test_too_long_a_sound_is_refused(make_clip: Callable[..., Path], tone: Tone) -> None:
    path = make_clip("clip.wav", samples=tone(3, 8_000), sample_rate=8_000, audio_codec="pcm_s16le")
    with pytest.raises(ClipError, match=r"it lasts 3 s and a clip may last 2 s; cut it into clips"):
        read_audio(Source("the key", path, max_seconds=2), RATE)


def test_an_hour_of_sound_is_refused_at_once(tmp_path: Path) -> None:
    path = write_pcm(tmp_path / "hour.wav", [np.zeros(3600 * 8, np.float32)], rate=8)  # 8 Hz: an hour in 58 kB
    with pytest.raises(ClipError, match=r"it lasts 3600 s"):
        read(path)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("suffix", "codec"), [("wav", "pcm_s16le"), ("wav", "pcm_s24le"), ("flac", "flac"), ("m4a", "aac")]
)
def test_truncated_anywhere_is_never_a_shorter_sound(
    share: float, suffix: str, codec: str, make_clip: Callable[..., Path], tone: Tone
) -> None:
    whole = make_clip(f"whole.{suffix}", samples=tone(2, 48_000), audio_codec=codec)
    data = whole.read_bytes()
    cut = whole.with_stem("cut")
    cut.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ClipError):
        read(cut)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_wav_whose_size_was_not_known_when_it_was_begun_is_read(size: int, tmp_path: Path, tone: Tone) -> None:
    path = write_pcm(tmp_path / "clip.wav", [tone(0.5, RATE)], RATE)
    data = bytearray(path.read_bytes())
    data[4:8] = data[40:44] = size.to_bytes(4, "little")
    path.write_bytes(data)
    assert len(read(path)) == RATE // 2


def test_real_voices_are_read(real_data: Path) -> None:
    paths = sorted(real_data.glob("ravdess/*/03-*.flac"))[::150]
    if not paths:
        pytest.skip("no RAVDESS audio")
    for path in paths:
        samples = read(path)
        assert 2 < len(samples) / RATE < 6
        assert 0.001 < np.abs(samples).max() <= 1


def test_a_recording_that_changes_its_form_midway_is_read_whole(make_clip: Callable[..., Path], tone: Tone) -> None:
    parts = [make_clip(f"{rate}.aac", samples=tone(1, rate), sample_rate=rate) for rate in (44_100, 48_000)]
    joined = parts[0].with_name("joined.aac")
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert len(read_audio(Source("joined", joined), 16_000)) == pytest.approx(2 * 16_000, rel=0.1)
