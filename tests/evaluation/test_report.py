from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from jinja2 import UndefinedError

from mmer.evaluation.metrics import summarise
from mmer.evaluation.predictions import Predictions
from mmer.evaluation.report.page import draw_confusion, write_report

NAMES = ("happy", "sad", "<b>angry</b>")
PNG = b"\x89PNG\r\n\x1a\n"


def make_metrics(**changes: Any) -> dict[str, Any]:
    """Return metrics as an evaluation makes them."""
    label = np.array([0, 1, 2, 0, 1, 2])
    probabilities = np.eye(3)[[0, 1, 2, 0, 1, 0]]
    predictions = Predictions(NAMES, tuple("abcdef"), tuple("112233"), label, probabilities)
    scores = summarise(predictions)
    return {
        "checkpoint": {"path": "runs/best.ckpt", "sha256": "ab" * 32, "epoch": 4},
        "corpus": {
            "root": "data",
            "names": ["ravdess"],
            "synthetic": False,
            "left_out_by_prepare": 2,
            "left_out_by_labels_or_modality": 1,
            "left_out_as_another_corpus": 0,
        },
        "protocol": "contig6 fold 1",
        "leaks": [],
        "notes": [],
        "part": "test",
        "speakers": {"train": ["4", "5"], "validation": ["6"], "test": ["1", "2", "3"], "scored": ["1", "2", "3"]},
        "seed": 0,
        "versions": {"torch": "2.12"},
        "labels": list(NAMES),
        "chance": 1 / 3,
        "majority": 1 / 3,
        **scores,
        "modalities": {"video+audio": scores, "audio": scores},
        **changes,
    }


def write(folder: Path, **changes: Any) -> str:
    write_report(folder, make_metrics(**changes))
    return (folder / "index.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_report_is_one_page_that_needs_no_network(tmp_path: Path) -> None:
    tags = Tags(write(tmp_path))
    assert tags.open == []
    (picture,) = tags.sources
    data = base64.b64decode(picture.removeprefix("data:image/png;base64,"), validate=True)
    assert data == (tmp_path / "confusion.png").read_bytes()
    assert data.startswith(PNG)
    assert {path.name for path in tmp_path.iterdir()} == {"index.html", "confusion.png"}


def test_the_scores_are_shown_with_their_intervals_beside_chance(tmp_path: Path) -> None:
    page = write(tmp_path)
    metrics = make_metrics()
    low, high = metrics["interval"]["accuracy"]
    assert f"83.3% <small>{100 * low:.1f}% to {100 * high:.1f}%</small>" in page
    assert re.search(r"<td>chance</td><td></td><td>33\.3%", page)
    assert "95% bootstrap intervals over speakers" in page
    assert "<td>audio</td><td>6</td>" in page


def test_the_report_says_who_was_scored_and_by_what(tmp_path: Path) -> None:
    page = write(tmp_path)
    for text in ("contig6 fold 1", "<td>4, 5</td>", "<td>6</td>", "<td>1, 2, 3</td>", "ab" * 32, "torch 2.12"):
        assert text in page
    assert "2 of the corpus as broken, 1 of the part" in page
    assert "warning" not in page.partition("<body>")[2]


def test_a_synthetic_corpus_is_said_to_be_one(tmp_path: Path) -> None:
    corpus = {**make_metrics()["corpus"], "synthetic": True}
    assert "Synthetic demo corpus." in write(tmp_path, corpus=corpus)


def test_speakers_who_took_part_in_training_are_said_to_be_no_test(tmp_path: Path) -> None:
    assert "These are the validation speakers, who took part" in write(tmp_path, part="validation")


def test_without_validation_speakers_nobody_chose_the_checkpoint(tmp_path: Path) -> None:
    speakers = {**make_metrics()["speakers"], "validation": []}
    assert "nobody: the last epoch" in write(tmp_path, speakers=speakers)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    page = write(tmp_path)
    assert "<b>angry</b>" not in page
    assert "&lt;b&gt;angry&lt;/b&gt;" in page


def test_a_number_that_is_missing_is_a_mistake_and_not_a_gap(tmp_path: Path) -> None:
    metrics = make_metrics()
    del metrics["majority"]
    with pytest.raises(UndefinedError, match="majority"):
        write_report(tmp_path, metrics)
    assert list(tmp_path.iterdir()) == []


def test_the_confusion_is_drawn_also_with_a_class_without_clips() -> None:
    with_gap, without = draw_confusion([[3, 1], [0, 0]], ["a", "b"]), draw_confusion([[3, 1], [2, 2]], ["a", "b"])
    assert with_gap.startswith(PNG)
    assert with_gap != without
    assert with_gap == draw_confusion([[3, 1], [0, 0]], ["a", "b"])


def test_a_leak_is_told_in_red_on_top_and_in_the_table(tmp_path: Path) -> None:
    page = write(tmp_path, leaks=["speakers 3 are both in train and in test", "takes <7> too"])
    body = page.partition("<body>")[2]
    warning, table = body.partition("<table>")[0], body.partition("Who and what")[2]
    assert '<p class="warning"><strong>Leaky split: these scores are too high.</strong>' in warning
    for part in (warning, table):
        assert "speakers 3 are both in train and in test; takes &lt;7&gt; too" in part
    assert '<td class="leak">' in table
    assert re.search(r"\.warning {[^}]*#b3261e", page) and re.search(r"td\.leak {[^}]*#b3261e", page), "that is red"
    assert "<title>mmer: LEAKY: contig6 fold 1, test speakers</title>" in page


def test_without_a_leak_nothing_is_red(tmp_path: Path) -> None:
    body = write(tmp_path).partition("<body>")[2]
    assert "leak" not in body.lower()


def test_what_is_to_be_known_of_the_split_is_told(tmp_path: Path) -> None:
    assert "<td>to be known</td><td>2 clips are left out</td>" in write(tmp_path, notes=["2 clips are left out"])


def test_clips_of_nobody_are_called_clips(tmp_path: Path) -> None:
    page = write(tmp_path, speakers={"train": [], "validation": [], "test": [], "scored": []}, part="validation")
    assert "<h1>Emotion recognition on validation clips</h1>" in page
    assert "These are the validation clips, which took part in making the checkpoint." in page
    for who in ("trained on speakers", "checkpoint chosen by speakers", "scored speakers"):
        assert f"<td>{who}</td><td>unknown</td>" in page


def test_clips_of_a_corpus_that_was_not_trained_on_are_counted(tmp_path: Path) -> None:
    corpus = {**make_metrics()["corpus"], "left_out_as_another_corpus": 12}
    assert ", 12 of corpora that the checkpoint was not trained on</td>" in write(tmp_path, corpus=corpus)


def test_a_picture_of_a_leaky_split_says_so_without_its_report(tmp_path: Path) -> None:
    honest, leaky = (draw_confusion([[3, 1], [2, 2]], ["a", "b"], leaky=leaky) for leaky in (False, True))
    assert honest == draw_confusion([[3, 1], [2, 2]], ["a", "b"])
    image = cv2.imdecode(np.frombuffer(leaky, np.uint8), cv2.IMREAD_COLOR)
    red = (image == (0x1E, 0x26, 0xB3)).all(axis=-1)
    assert red.sum() > 100
    plain = cv2.imdecode(np.frombuffer(honest, np.uint8), cv2.IMREAD_COLOR)
    assert not (plain == (0x1E, 0x26, 0xB3)).all(axis=-1).any()
    write(tmp_path, leaks=["a leak"])
    assert (tmp_path / "confusion.png").read_bytes() != write_honest(tmp_path / "honest")


def write_honest(folder: Path) -> bytes:
    folder.mkdir()
    write(folder)
    return (folder / "confusion.png").read_bytes()
