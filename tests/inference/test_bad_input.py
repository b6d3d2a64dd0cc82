"""``mmer predict``: a bad file is one line and exit code 2, an odd one is answered."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmer.cli import main


def predict(checkpoint: Path, *files: Path | str, options: tuple[str, ...] = ()) -> int:
    names = [str(file) for file in files]
    return main(["predict", *names, "--checkpoint", str(checkpoint), "--device", "cpu", "--format", "json", *options])


def test_bad_file_is_one_line_and_exit_code_2(
    bad_medium: tuple[Path, str], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path, reason = bad_medium
    assert predict(checkpoint, path) == 2
    output = capfd.readouterr()
    (line,) = output.err.splitlines()
    assert line.startswith(f"mmer: error: clip {path}: ")
    assert reason in line
    assert output.out == ""


def test_every_odd_file_is_answered(
    odd_media: dict[str, Path], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert predict(checkpoint, *odd_media.values()) == 0
    output = capfd.readouterr()
    assert output.err == ""
    answers = json.loads(output.out)
    assert [answer["file"] for answer in answers] == [str(path) for path in odd_media.values()]
    for answer in answers:
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-3)
    read = {Path(answer["file"]).name: answer["modalities"] for answer in answers}
    assert read["a face.mp4"] == ["video", "audio"]
    assert read["no sound.mp4"] == read["portrait.mp4"] == ["video"]
    assert read["sound only.m4a"] == read["24 bit.wav"] == ["audio"]


def test_good_file_beside_bad_ones_is_answered(
    odd_media: dict[str, Path], bad_media: dict[str, Path], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = odd_media["a face.mp4"]
    assert predict(checkpoint, bad_media["zero bytes.mp4"], good, bad_media["nan.wav"]) == 2
    output = capfd.readouterr()
    assert [answer["file"] for answer in json.loads(output.out)] == [str(good)]
    assert ["zero bytes.mp4" in output.err, "nan.wav" in output.err] == [True, True]
    assert len(output.err.splitlines()) == 2


def test_sound_of_a_faceless_film_can_be_asked_for(
    odd_media: dict[str, Path], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert predict(checkpoint, odd_media["a face.mp4"], options=("--modalities", "audio")) == 0
    (answer,) = json.loads(capfd.readouterr().out)
    assert answer["modalities"] == ["audio"]


def test_sound_file_whose_face_is_asked_for_is_refused(
    odd_media: dict[str, Path], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert predict(checkpoint, odd_media["float.wav"], options=("--modalities", "video")) == 2
    assert capfd.readouterr().err.endswith("float.wav: it has no video stream\n")


def test_modality_that_the_model_does_not_read_is_one_line(
    odd_media: dict[str, Path], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for asked in (("--modalities", "text"), ("--text", "I am happy")):
        assert predict(checkpoint, odd_media["float.wav"], options=asked) == 2
        assert capfd.readouterr().err == "mmer: error: the model does not read text; it reads video, audio\n"


def test_device_that_is_not_there_is_one_line(
    odd_media: dict[str, Path], checkpoint: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert predict(checkpoint, odd_media["float.wav"], options=("--device", "abacus")) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("mmer: error: device 'abacus' is not available (")
    assert line.endswith("choose cpu, cuda or auto")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "does not exist"), (b"", "cannot be read"), (b"no weights at all", "cannot be read")]
)
def test_bad_checkpoint_is_one_line(
    content: bytes | None,
    reason: str,
    tmp_path: Path,
    odd_media: dict[str, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "model.ckpt"
    if content is not None:
        path.write_bytes(content)
    assert predict(path, odd_media["float.wav"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"mmer: error: checkpoint {path} {reason}")
