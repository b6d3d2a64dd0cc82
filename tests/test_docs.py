"""The documents say what the code does: commands are understood, folds and names are the real ones."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from mmer import cli
from mmer.corpora.catalogue import CORPORA
from mmer.corpora.protocols import PUBLISHED
from mmer.emotions import LabelSetName

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> Iterator[str]:
    """Yield every ``mmer`` and ``evaluate.py`` command in a block of the documents."""
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
            lines = block.replace("\\\n", " ").splitlines()
            yield from (line for line in lines if line.startswith(("mmer ", "python evaluate.py ")))


def table_rows(page: str) -> dict[str, list[str]]:
    """Return the cells behind each name in a document's tables."""
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {name: row[1:] for row in cells for name in re.findall(r"`([^`]+)`", row[0])}


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_a_documented_command_is_understood(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "run", lambda parser, args: 0)
    program, *args = shlex.split(command, comments=True)
    assert (cli.main(args) if program == "mmer" else cli.evaluate(args[1:])) == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_documented_folds_are_those_of_the_code(name: str) -> None:
    _, count, folds = table_rows("protocols.md")[name]
    tested = tuple(tuple(numbers(fold)) for fold in folds.split(";"))
    assert (int(count), tested) == (len(PUBLISHED[name].test), PUBLISHED[name].test)


def numbers(text: str) -> Iterator[str]:
    for piece in text.split():
        first, _, last = piece.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


def test_every_corpus_and_label_set_is_documented() -> None:
    rows = table_rows("corpora.md")
    assert {corpus.name for corpus in CORPORA} | set(get_args(LabelSetName)) <= set(rows)


@pytest.mark.parametrize("corpus", [corpus for corpus in CORPORA if corpus.clips is not None], ids=lambda c: c.name)
def test_documented_counts_are_those_of_the_adapters(corpus: object) -> None:
    cells = table_rows("corpora.md")[corpus.name]
    clips = sum(int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", cells[1]))
    assert clips == corpus.clips
    assert corpus.speakers is None or re.findall(r"\d+", cells[2]) == [str(corpus.speakers)]
    assert str(len(corpus.classes)) in cells[3]
