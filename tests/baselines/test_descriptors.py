import numpy as np
import pytest

from mmer.baselines.descriptors import CLIP, SHORT_TERM, describe_clip, describe_steps

RATE = 16_000


def tone(hertz: float, seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def test_every_50_ms_are_described_each_25_ms() -> None:
    assert describe_steps(tone(440), RATE).shape == (39, len(SHORT_TERM))
    assert describe_steps(tone(440), RATE, "mfcc").shape == (39, 13)
    np.testing.assert_array_equal(describe_steps(tone(440), RATE, "mfcc"), describe_steps(tone(440), RATE)[:, -13:])


@pytest.mark.parametrize(("name", "value", "tolerance"), [("zero_crossing", 0.125, 0.005), ("centroid", 1000, 25)])
def test_descriptors_measure_what_they_are_called(name: str, value: float, tolerance: float) -> None:
    steps = describe_steps(tone(1000), RATE)[:, SHORT_TERM.index(name)]
    assert steps == pytest.approx(np.full(len(steps), value), abs=tolerance)


def test_energy_is_in_decibels() -> None:
    loud, soft = (describe_steps(gain * tone(1000), RATE)[:, SHORT_TERM.index("energy")] for gain in (1.0, 0.1))
    assert loud - soft == pytest.approx(np.full(len(loud), 20.0), abs=0.1)


def test_the_chroma_of_an_octave_is_the_same() -> None:
    first = [name.startswith("chroma") for name in SHORT_TERM]
    classes = {int(describe_steps(tone(hertz), RATE)[:, first].mean(axis=0).argmax()) for hertz in (440, 880, 1760)}
    assert classes == {9}  # a; chroma begins with c


def test_silence_before_and_behind_the_voice_does_not_matter() -> None:
    voice, silence = tone(700), np.zeros(RATE, np.float32)
    padded = np.concatenate([silence, voice, silence])
    name = CLIP.index("centroid mean")
    assert describe_clip(padded, RATE)[name] == pytest.approx(describe_clip(voice, RATE)[name], rel=0.02)


def test_a_mid_term_window_lasts_a_second() -> None:
    parts = [tone(hertz) for hertz in (500, 500, 2000)]
    mean, deviation = (CLIP.index(f"centroid {kind}") for kind in ("mean", "deviation"))
    found = describe_clip(np.concatenate(parts), RATE)
    assert found[mean] == pytest.approx(1000, rel=0.05)
    assert found[deviation] < 0.5 * np.std([500, 500, 2000])  # within windows, not between them


@pytest.mark.parametrize("rate", [4_000, 8_000, 16_000, 44_100])
@pytest.mark.parametrize("samples", [1, 100, 5_000])
def test_any_sound_has_finite_descriptors(rate: int, samples: int) -> None:
    for each in (np.zeros(samples, np.float32), np.random.default_rng(0).normal(0, 0.1, samples).astype(np.float32)):
        found = describe_clip(each, rate)
        assert found.shape == (len(CLIP),)
        assert np.isfinite(found).all()
