"""``mmer explain``: pictures and numbers for every file that can be read, and one line for those that cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from mmer.calibration import Calibration
from mmer.checkpoint import CARD, read_checkpoint, write_calibration
from mmer.cli import main


def explain(checkpoint: Path, output: Path, *files: Path, options: tuple[str, ...] = ()) -> int:
    names = [str(file) for file in files]
    return main(["explain", *names, f"--checkpoint={checkpoint}", f"--output={output}", "--device=cpu", *options])


@pytest.mark.slow
def test_each_file_has_pictures_numbers_and_lines(
    odd_media: dict[str, Path], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film, voice = odd_media["a face.mp4"], odd_media["float.wav"]
    assert explain(checkpoint, tmp_path / "why", film, voice) == 0
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == [
        f"{name}.{suffix}" for name in ("a face", "float") for suffix in ("json", "png", "svg")
    ]
    with Image.open(tmp_path / "why/a face.png") as picture:
        assert picture.width > 600
    assert (tmp_path / "why/float.svg").read_text().rstrip().endswith("</svg>")
    found = json.loads((tmp_path / "why/a face.json").read_text())
    assert (found["key"], found["label"], set(found["modalities"])) == (str(film), None, {"video", "audio"})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{film}: {found['predicted']} (video, audio; 0.4 s)"
    share = 100 * found["probabilities"][found["predicted"]]
    assert lines[1] == f"  mattered to {found['predicted']}, in points of its {share:.1f}%:"
    assert [line.split()[0] for line in lines[2:4]] == ["video", "audio"]
    assert float(lines[2].split()[1].rstrip(",")) == pytest.approx(100 * found["modalities"]["video"], abs=0.05)
    assert lines[4] == f"  picture: {tmp_path / 'why/a face.png'}"


@pytest.mark.slow
def test_a_bad_file_loses_no_other(
    odd_media: dict[str, Path],
    bad_media: dict[str, Path],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [bad_media["zero bytes.mp4"], odd_media["8 kHz.wav"], bad_media["no face.mp4"]]
    assert explain(checkpoint, tmp_path, *files, options=("--format", "json")) == 2
    shown = capsys.readouterr()
    assert [each["file"] for each in json.loads(shown.out)] == [str(files[1])]
    first, second = shown.err.splitlines()
    assert first.startswith(f"mmer: error: clip {files[0]}: the file is empty")
    assert second.startswith(f"mmer: error: clip {files[2]}: no face") and "--modalities audio" in second
    assert {path.stem for path in tmp_path.iterdir()} == {"8 kHz"}


def test_the_answer_is_that_of_predict_and_the_window_is_told(
    checkpoint: Path, tmp_path: Path, tone: object, make_clip: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sound of three windows."""
    voice = make_clip("long.wav", samples=tone(10.8, 16_000), sample_rate=16_000, audio_codec="pcm_s16le")
    assert main(["predict", str(voice), f"--checkpoint={checkpoint}", "--device=cpu", "--format=json"]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert explain(checkpoint, tmp_path / "why", voice, options=("--format=json",)) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["predicted"], found["probabilities"]) == (answer["predicted"], answer["probabilities"])
    assert (found["windows"], found["abstains"]) == (3, False)
    start = found["explained"]["start"]
    assert start in (0.0, pytest.approx(3.6), pytest.approx(7.2))
    assert explain(checkpoint, tmp_path / "why", voice) == 0
    assert f"  the window from {start:.1f} to {start + 3.6:.1f} s speaks for it most: " in capsys.readouterr().out


def test_an_explanation_is_calibrated_as_the_answer_is_and_says_when_it_is_unsure(
    odd_media: dict[str, Path], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated = tmp_path / "calibrated.ckpt"
    write_calibration(checkpoint, Calibration("temperature", (3.0,), threshold=0.99), calibrated)
    voice = odd_media["8 kHz.wav"]
    assert explain(calibrated, tmp_path / "why", voice, options=("--format=json",)) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["explained"]["probabilities"] == pytest.approx(found["probabilities"], rel=1e-4)
    assert found["abstains"] is True
    assert explain(calibrated, tmp_path / "why", voice) == 0
    assert f"{voice}: unsure: " in capsys.readouterr().out


def test_the_voice_of_a_film_can_be_explained_alone(
    odd_media: dict[str, Path], checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    film = odd_media["a face.mp4"]
    assert explain(checkpoint, tmp_path, film, options=("--modalities", "audio")) == 0
    assert set(json.loads((tmp_path / "a face.json").read_text())["modalities"]) == {"audio"}


def test_files_of_one_name_do_not_overwrite_each_other(
    odd_media: dict[str, Path], checkpoint: Path, tmp_path: Path
) -> None:
    voice = odd_media["8 kHz.wav"]
    assert explain(checkpoint, tmp_path, voice, voice) == 0
    assert {path.name for path in tmp_path.glob("*.json")} == {"8 kHz.json", "8 kHz-2.json"}


@pytest.mark.parametrize(
    ("changes", "warned", "drawn"),
    [
        ({"corpora": ["demo"]}, "trained on drawn faces", "SYNTHETIC DEMO: says nothing about people"),
        ({"leaks": ["a leak"]}, "chosen under a leaky split", "LEAKY SPLIT: worse than its scores"),
    ],
)
def test_what_must_be_known_of_a_checkpoint_is_in_the_picture(
    changes: dict[str, list[str]],
    warned: str,
    drawn: str,
    odd_media: dict[str, Path],
    checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = torch.load(checkpoint, weights_only=True)
    card = replace(read_checkpoint(checkpoint)[1], **changes)
    torch.save({**data, CARD: card.to_plain()}, tmp_path / "marked.ckpt")
    assert explain(tmp_path / "marked.ckpt", tmp_path, odd_media["8 kHz.wav"]) == 0
    assert warned in capsys.readouterr().err
    assert drawn in (tmp_path / "8 kHz.svg").read_text()


def test_an_output_that_is_a_file_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert explain(tmp_path / "none.ckpt", tmp_path / "file", tmp_path / "film.mp4") == 2
    assert capsys.readouterr().err == f"mmer: error: --output {tmp_path / 'file'} is a file; name a folder\n"
