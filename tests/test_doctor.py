from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmer import doctor
from mmer.cli import main


def test_everything_works_here(tmp_path: Path) -> None:
    checks = list(doctor.examine(tmp_path))
    assert [check.found for check in checks if not check.ok] == []
    assert {"python", "torch", "torchvision operators", "codec libx264 (write)", "face detector"} <= {
        check.name for check in checks
    }


def test_the_findings_are_also_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--folder", str(tmp_path), "--format", "json"]) == 0
    checks = json.loads(capsys.readouterr().out)
    assert all(check.keys() == {"name", "ok", "found", "remedy"} for check in checks)
    assert all(check["ok"] is True for check in checks)


def test_a_folder_that_is_not_there_yet_is_looked_for_above_and_not_made(tmp_path: Path) -> None:
    *_, write = doctor.examine(tmp_path / "runs" / "first")
    assert (write.ok, write.found) == (True, f"{tmp_path} is writable")
    assert list(tmp_path.iterdir()) == []


def test_what_fails_prints_its_remedy_and_exits_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> str:
        raise RuntimeError("operator torchvision::nms\ndoes not exist")

    monkeypatch.setattr(doctor, "_torchvision", fail)
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    assert main(["doctor", "--folder", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    failed = [i for i, line in enumerate(lines) if line.startswith("FAIL")]
    assert [lines[i] for i in failed] == [
        "FAIL no-such-package: not installed",
        "FAIL torchvision operators: RuntimeError: operator torchvision::nms does not exist",
    ]
    assert lines[failed[0] + 1] == "     mend it with: pip install no-such-package, or make setup"
    assert lines[failed[1] + 1].startswith("     mend it with: pip install --force-reinstall ")
    assert "ok   python: 3." in lines[0]


@pytest.mark.parametrize(
    ("name", "look"), [("torch devices", "_devices"), ("face detector", "_faces"), ("write access to runs", "_write")]
)
def test_every_check_that_fails_has_a_remedy(name: str, look: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise OSError("no")

    monkeypatch.setattr(doctor, look, fail)
    (check,) = (check for check in doctor.examine(Path("runs")) if not check.ok)
    assert (check.name, check.found) == (name, "OSError: no")
    assert check.remedy
