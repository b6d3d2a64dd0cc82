"""The page as a whole: what it shows, what it must say, and that it needs nothing from outside."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import pytest
from jinja2 import UndefinedError

from mmer.evaluation.report import page
from mmer.evaluation.report.confusion import draw_confusion
from mmer.evaluation.report.figures import Picture
from mmer.evaluation.report.words import SCORES, interval, number
from mmer.evaluation.system import System

REPORTS = ("one", "two", "unknown")
VOID = ("meta", "br", "link", "img")


class Tags(HTMLParser):
    """The tags of a page, each of which must be closed; its links and identifiers; its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.identifiers: list[str] = []
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._read(attributes)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self._read(attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def _read(self, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href", "xlink:href")]
        self.identifiers += [value or "" for name, value in attributes if name == "id"]


@pytest.fixture(params=REPORTS)
def report(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


def text(report: Any) -> str:
    return " ".join(" ".join(Tags(report.page).text).split())


def test_every_tag_is_closed_and_every_identifier_is_there_once(report: Any) -> None:
    tags = Tags(report.page)
    assert tags.open == []
    assert [name for name, count in Counter(tags.identifiers).items() if count > 1] == []


def test_the_page_needs_no_network(report: Any) -> None:
    tags = Tags(report.page)
    assert "://" not in report.page
    assert "<script" not in report.page
    inside = {f"#{name}" for name in tags.identifiers}
    for link in tags.links:
        assert link in inside or link.startswith("data:image/png;base64,") or (report.folder / link).is_file(), link
    assert set(re.findall(r"url\((.*?)\)", report.page)) <= inside


def test_every_figure_of_the_page_is_a_file_twice_and_there_are_no_others(report: Any) -> None:
    shown = {link.removeprefix("figures/") for link in Tags(report.page).links if link.startswith("figures/")}
    assert shown == {path.name for path in (report.folder / "figures").iterdir()}
    assert {Path(name).stem + ".png" for name in shown} | {Path(name).stem + ".svg" for name in shown} == shown
    assert report.page.count('<svg role="img" aria-label="') == len(shown) / 2
    for name in shown:
        path = report.folder / "figures" / name
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            assert cv2.imread(str(path)).shape[1] >= 600


def test_everything_that_is_known_has_its_figure(one: Any) -> None:
    assert {path.stem for path in (one.folder / "figures").iterdir()} == {
        *("classes", "confusion", "degraded-audio_noise", "explanation-1", "folds", "groups", "modalities"),
        *("pr", "reliability", "roc", "speakers", "training"),
    }


def test_where_nothing_is_known_only_what_follows_from_the_answers_is_drawn(unknown: Any) -> None:
    shown = {path.stem for path in (unknown.folder / "figures").iterdir()}
    assert shown == {"classes", "confusion", "pr", "reliability", "roc"}
    assert 'href="#folds"' not in unknown.page
    assert 'href="#groups"' not in unknown.page
    assert "resamples of clips, for nobody knows several speakers" in text(unknown)


def test_every_score_of_the_metrics_is_on_the_page_with_its_interval(report: Any) -> None:
    for system in report.metrics["systems"]:
        for name in SCORES:
            found = system["scores"][name]
            shown = f"{number(name, found['value'])}<small>{interval(name, found)}</small>"
            assert re.search(rf"<td[^>]*>{re.escape(shown)}</td>", report.page), name


def test_chance_and_the_largest_class_stand_beside_the_scores(one: Any) -> None:
    assert re.search(r'<th scope="row">chance</th><td></td><td>33\.3%</td><td>33\.3%</td>', one.page)
    assert re.search(r'<th scope="row">largest class</th><td></td><td>33\.3%</td><td>33\.3%</td>', one.page)


def test_the_oracle_is_said_to_be_no_honest_choice(one: Any, two: Any) -> None:
    value = number("uar", one.metrics["systems"][0]["oracle"]["scores"]["uar"]["value"])
    words = "best epoch on the test itself: not an honest choice"
    assert re.search(rf"mvit, oracle<small[^>]*>{words}</small></th><td>144</td><td>{value}", one.page)
    assert "oracle" not in text(two)


def test_folds_and_seeds_are_shown_with_their_speakers_and_their_mean(one: Any) -> None:
    folds = one.metrics["systems"][0]["folds"]
    assert '<td class="text">1, 2</td>' in one.page
    mean, sd = (100 * folds["mean"]["uar"][key] for key in ("value", "sd"))
    assert f"{mean:.1f} ± {sd:.1f}" in one.page
    assert "72 clips, each for 2 seeds" in text(one)
    assert "Seeds of mvit" in text(one)


def test_the_report_says_who_was_scored_and_by_what(one: Any) -> None:
    said = text(one)
    for words in (
        *("contig6 fold 1", "trained on speakers 9, 10", "checkpoint chosen by speakers 8", "ab" * 32, "epoch 2"),
        *("ravdess: licence CC BY-NC-SA 4.0", "3: no face in any frame", "12,345", "face: mvit, voice: wave_cnn"),
        *("trained with torch 2.12", "evaluate.py --checkpoint runs/best.ckpt", "2 sounds are scored under several"),
    ):
        assert words in said
    for name, version in one.metrics["versions"].items():
        assert f"{name} {version}" in said


def test_calibration_is_shown_before_and_after(one: Any) -> None:
    assert re.search(r"before its calibration</th><td>23\.5%</td><td>0\.600</td><td>1\.250</td>", one.page)
    abstention = one.metrics["systems"][0]["abstention"]
    said = text(one)
    assert "temperature scaling with a temperature of 2.000, fitted on 12 clips of speakers 8." in said
    assert f"Below 50.0% it abstains. On these clips it answers {100 * abstention['coverage']:.1f}%" in said
    assert f"{100 * abstention['precision']:.1f}% are right; 90.0% were wanted." in said


def test_every_subset_and_level_has_a_row(one: Any) -> None:
    for subset, first, second in (("video+audio", "●", "●"), ("video", "●", "○"), ("audio", "○", "●")):
        scores = one.metrics["systems"][0]["modalities"][subset]
        row = rf'<th scope="row">{first}</th><td>{second}</td><td>{scores["n"]}</td><td[^>]*>'
        assert re.search(row + number("uar", scores["uar"]["value"]), one.page)
    for level in ("none", "10", "0"):
        assert f'<th scope="row">audio noise</th><td>{level}</td>' in one.page


def test_tests_between_systems_are_shown(two: Any) -> None:
    (pair,) = two.metrics["comparison"]["pairs"]
    said = text(two)
    assert f"{100 * pair['differences']['uar']['value']:+.1f}" in said
    assert f"{pair['mcnemar']['only_a']}, {pair['mcnemar']['only_b']}" in said
    first = two.metrics["comparison"]["disagreements"][0]
    assert f'<th scope="row">{first["key"]}</th>' in two.page


def test_warnings_stand_over_the_page_and_in_every_picture_that_they_are_about(two: Any, one: Any) -> None:
    short = ("LEAKY SPLIT: these scores are too high", "SYNTHETIC DEMO: says nothing about people")
    short += ("NOT A TEST: train clips",)
    assert two.page.count('<p class="banner" role="alert">') == 3
    assert "leaky: The parts of this split are not apart, so the scores are too high: takes are shared." in text(two)
    assert "<title>LEAKY SPLIT" in two.page
    for path in (two.folder / "figures").glob("*.svg"):
        assert [words in path.read_text(encoding="utf-8") for words in short] == [not path.stem.endswith("i-a-i-b")] * 3
    assert 'class="banner"' not in one.page


def test_names_are_text_and_never_markup(two: Any) -> None:
    assert "<i>a</i>" not in two.page
    assert "<b>happy</b>" not in two.page
    for name in ('<i>a</i> & "b"', "<b>happy</b>", 'sad & "low"'):
        assert name in two.page.replace(escape(name, quote=False), name) or escape(name) in two.page
        assert name in text(two)


def test_a_page_prints_its_warnings_in_red_on_white_whatever_the_screen(one: Any) -> None:
    assert "@media screen and (prefers-color-scheme: dark)" in one.page
    assert re.search(r"@media print \{.*\.banner \{[^}]*print-color-adjust: exact", one.page, flags=re.DOTALL)


def test_the_same_to_the_byte_each_time(unknown: Any, tmp_path: Path, write: Any, answers: Any) -> None:
    again = write(tmp_path, [System("answers", answers(known=False), {})])
    for path in unknown.folder.rglob("*.*"):
        assert path.read_bytes() == (again.folder / path.relative_to(unknown.folder)).read_bytes(), path.name


def empty_report(folder: Path, metrics: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a report without its figures, which take longest."""
    monkeypatch.setattr(page, "draw_figures", lambda *_: iter(()))
    page.write_report(folder, metrics, [])


def test_figures_of_an_earlier_report_go_and_what_is_the_user_s_stays(
    unknown: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(unknown.folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "figures" / "mine.png").touch()
    (tmp_path / "notes.svg").touch()
    before = (tmp_path / "index.html").read_text(encoding="utf-8")
    (tmp_path / "index.html").write_text(before + '<a href="figures/../notes.svg">', encoding="utf-8")
    empty_report(tmp_path, unknown.metrics, monkeypatch)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"mine.png"}
    assert (tmp_path / "notes.svg").exists()


def test_a_page_of_another_program_names_no_figures_to_remove(
    unknown: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "kept.svg").touch()
    (tmp_path / "index.html").write_text('<a href="figures/kept.svg">')
    empty_report(tmp_path, unknown.metrics, monkeypatch)
    assert (tmp_path / "figures" / "kept.svg").exists()


def test_a_number_that_is_missing_is_a_mistake_and_not_a_gap(
    unknown: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = {name: value for name, value in unknown.metrics.items() if name != "versions"}
    with pytest.raises(UndefinedError, match="versions"):
        empty_report(tmp_path, metrics, monkeypatch)
    assert not (tmp_path / "index.html").exists()


def test_a_calibration_of_each_fold_has_no_temperature_to_name(
    one: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = one.metrics["systems"][0]
    folds = {**system, "calibration": {**system["calibration"], "scale": []}}
    empty_report(tmp_path, {**one.metrics, "systems": [folds]}, monkeypatch)
    said = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert "Corrected by temperature scaling, one for each fold, fitted on 12 clips of speakers 8." in said


def test_a_figure_that_needs_more_room_takes_the_whole_width(
    unknown: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [draw_confusion([[1] * count] * count, [str(i) for i in range(count)]) for count in (2, 14)]
    pictures = [Picture("confusion", f"x{i}", "x", figure, []) for i, figure in enumerate(figures)]
    monkeypatch.setattr(page, "draw_figures", lambda *_: iter(pictures))
    page.write_report(tmp_path, unknown.metrics, [])
    said = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert re.findall("<figure.*?>", said) == ["<figure>", '<figure class="wide">']
