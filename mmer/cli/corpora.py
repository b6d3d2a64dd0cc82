"""``mmer corpora``: which corpora can be read, where to get them, what must lie where."""

from __future__ import annotations

import argparse
import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from mmer.cli.parser import add_format
from mmer.corpora.catalogue import CORPORA, Corpus, find_corpus

_INDENT = 12  # columns before what is said of a corpus
_COLUMNS = ("name", "holds", "clips", "speakers", "classes", "title")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="tell of these alone")
    add_format(parser, "them")
    parser.set_defaults(run=_corpora)


def _corpora(args: argparse.Namespace) -> int:
    chosen = [find_corpus(name) for name in args.names] or CORPORA
    if args.format == "json":
        print(json.dumps([_plain(corpus) for corpus in chosen], indent=2))
        return 0
    _print_table(chosen)
    width = min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)
    for corpus in chosen:
        print(f"\n{corpus.name}: {corpus.title}")
        for name, text in _facts(corpus):
            print(_wrapped(name, text, width))
    return 0


def _print_table(corpora: Sequence[Corpus]) -> None:
    """Print a line for each; a number that is up to the user, or that nobody knows, is a dash."""
    lines: list[Sequence[str]] = [_COLUMNS]
    for corpus in corpora:
        numbers = (corpus.clips, corpus.speakers, len(corpus.classes) or None)
        shown = ("-" if number is None else f"{number:,}" for number in numbers)
        lines.append((corpus.name, " ".join(corpus.modalities), *shown, corpus.title))
    for name, holds, clips, speakers, classes, title in lines:
        print(f"{name:<11}{holds:<18}{clips:>7}{speakers:>10}{classes:>9}  {title}".rstrip())


def _facts(corpus: Corpus) -> list[tuple[str, str]]:
    facts = [
        ("classes", ", ".join(corpus.classes) or "yours"),
        ("licence", corpus.licence),
        ("from", corpus.source),
        ("layout", corpus.layout),
    ]
    for name, values in corpus.options.items():
        facts.append(("option", f"{name}: {', '.join((f'{values[0]} (default)', *values[1:]))}"))
    if corpus.prepare:
        facts.append(("prepared", "with " + ", ".join(f"{name} {value}" for name, value in corpus.prepare.items())))
    return facts


def _wrapped(name: str, text: str, width: int) -> str:
    """Return a fact under its name; an address is never broken, for it is copied."""
    lines = [
        part
        for line in text.splitlines()
        for part in textwrap.wrap(line, width - _INDENT, break_long_words=False, break_on_hyphens=False)
    ]
    return "\n".join([f"  {name:<{_INDENT - 2}}{lines[0]}", *(" " * _INDENT + line for line in lines[1:])])


def _plain(corpus: Corpus) -> dict[str, Any]:
    """Return what is said of a corpus as plain data; its adapter is none."""
    return {field.name: getattr(corpus, field.name) for field in fields(corpus) if field.name != "read"}
