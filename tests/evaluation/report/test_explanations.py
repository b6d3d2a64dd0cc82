from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mmer.evaluation.explanation import Explanation
from mmer.evaluation.report.explanations import draw_explanation
from mmer.evaluation.report.style import COLOURS, draw_png, draw_svg, inline_svg

RNG = np.random.default_rng(0)
FACE = np.zeros((5, 5))
FACE[1, 3], FACE[4, 0] = 0.2, -0.1
BOTH = Explanation(
    key="01-01-06-02-02-02-05",
    label="sad",
    probabilities={"angry": 0.7, "sad": 0.2, "calm": 0.1},
    modalities={"video": 0.3, "audio": -0.05},
    seconds=3.2,
    moments={"video": np.linspace(0, 0.1, 8), "audio": np.linspace(0.02, -0.05, 8)},
    face=FACE,
    attention={"face": np.full(4, 0.05), "voice": np.full(40, 0.01)},
    frames=RNG.integers(0, 256, (6, 224, 224, 3), dtype=np.uint8),
    audio=RNG.normal(0, 0.1, 51_200).astype(np.float32),
    sample_rate=16_000,
    start=1.5,
)
VOICE = replace(
    BOTH, modalities={"audio": 0.4}, moments={"audio": BOTH.moments["audio"]}, face=None, frames=None, attention={}
)
SILENT = replace(BOTH, modalities={"video": 0.4}, moments={"video": BOTH.moments["video"]}, audio=None)
PICTURE = replace(SILENT, seconds=0.0, frames=BOTH.frames[:1], moments={"video": np.array([0.2])}, label=None)
INDIFFERENT = replace(
    BOTH, modalities={"video": 0.0, "audio": 0.0}, moments={"video": np.zeros(8), "audio": np.zeros(8)}, face=0 * FACE
)
KINDS = {"both": BOTH, "voice": VOICE, "silent": SILENT, "picture": PICTURE, "indifferent": INDIFFERENT}


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_a_clip_has_is_drawn_and_no_more(kind: str) -> None:
    figure = draw_explanation(KINDS[kind])
    assert draw_png(figure).startswith(b"\x89PNG")
    rows = [title.partition(",")[0] for title in titles(figure)]
    assert (
        rows
        == {
            "both": ["face", "hidden", "video", "audio", "attention"],
            "voice": ["hidden", "audio"],
            "silent": ["face", "hidden", "video", "attention"],
            "picture": ["face", "hidden", "video", "attention"],
            "indifferent": ["face", "hidden", "video", "audio", "attention"],
        }[kind]
    )


def test_the_answer_the_truth_and_the_clip_are_named() -> None:
    assert draw_explanation(BOTH)._suptitle.get_text().splitlines()[:2] == [
        "angry 70.0% (wrong: it is sad)",
        "01-01-06-02-02-02-05",
    ]
    right = draw_explanation(replace(BOTH, label="angry"))
    assert right._suptitle.get_text().startswith("angry 70.0% (right)\n")
    assert draw_explanation(PICTURE)._suptitle.get_text().startswith("angry 70.0%\n")


def test_a_long_name_keeps_its_end() -> None:
    figure = draw_explanation(replace(BOTH, key="a/very/long/path/" * 9 + "film.mp4"))
    line = figure._suptitle.get_text().splitlines()[1]
    assert line.startswith("…") and line.endswith("/film.mp4") and len(line) == 44


def test_the_peaks_are_said_in_points() -> None:
    assert titles(draw_explanation(BOTH)) == [
        "face, peak +20.0",
        "hidden, angry falls by (points)",
        "video, peak +10.0",
        "audio, peak -5.0",
        "attention",
    ]


def test_what_speaks_for_an_answer_is_orange_and_what_speaks_against_it_blue() -> None:
    figure = draw_explanation(BOTH)
    cells = {
        (round(5 * patch.get_y()), round(5 * patch.get_x())): patch.get_facecolor()
        for patch in figure.axes[0].patches
        if isinstance(patch, Rectangle)
    }
    assert len(cells) == 25
    orange, blue = (tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)) for colour in (COLOURS[1], COLOURS[0]))
    assert cells[1, 3] == (*orange, pytest.approx(0.85))
    assert cells[4, 0] == (*blue, pytest.approx(0.85 / 2))
    assert all(colour[3] == 0 for place, colour in cells.items() if place not in ((1, 3), (4, 0)))


def test_next_to_nothing_is_not_drawn_as_if_it_were_much() -> None:
    figure = draw_explanation(replace(BOTH, face=FACE / 1000))
    assert max(patch.get_facecolor()[3] for patch in figure.axes[0].patches) < 0.03


def test_time_is_that_of_the_clip() -> None:
    figure = draw_explanation(BOTH)
    for axes in figure.axes[2:]:
        assert axes.get_xlim() == (1.5, pytest.approx(4.7))
    assert figure.axes[-1].get_xlabel() == "seconds"


def test_it_is_the_same_to_the_byte_and_small_enough_for_a_report_of_many() -> None:
    first, second = (draw_svg(draw_explanation(BOTH), "x") for _ in range(2))
    assert first == second
    assert len(first) < 250_000  # of noise, which no PNG makes small
    assert "currentColor" in inline_svg(first, "why")


@pytest.mark.parametrize("key", ["spaces ünd 顔.mp4", "100$ and $x_1$.mp4", "_hidden", "two\nlines"])
def test_any_name_can_be_drawn(key: str) -> None:
    named = replace(BOTH, key=key, label=key, probabilities={key: 0.6, "sad": 0.4}, attention={key: np.full(3, 0.1)})
    figure = draw_explanation(named)
    draw_svg(figure, "x")
    draw_png(figure)
