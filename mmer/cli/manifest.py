"""``mmer manifest``: one table of the clips of one corpus or of several."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmer.cli.parser import add_format, add_strict, labels, named_path
from mmer.corpora.catalogue import CORPORA, Corpus, find_corpus
from mmer.corpora.join import join
from mmer.corpora.manifest import Manifest, Row, reading_order, write_manifest
from mmer.errors import ClipError, ConfigError, CorpusError

_NAMED = 30  # speakers whose clips are counted one by one
_SHOWN = 20  # clips left out that are named on the screen; --format json names all


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    kinds = ", ".join(corpus.name for corpus in CORPORA)
    parser.add_argument(
        "sources",
        nargs="+",
        type=named_path("KIND=SRC", "ravdess=RAVDESS_FOLDER"),
        metavar="KIND=SRC",
        help=f"a corpus and where it lies, as ravdess=RAVDESS_FOLDER; KIND is one of {kinds}",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="CSV", help="the table to write")
    parser.add_argument(
        "--option",
        type=_option,
        action="append",
        default=[],
        metavar="KIND.NAME=VALUE",
        help="an option of a corpus, as ravdess.channel=both; mmer corpora lists them; may be repeated",
    )
    parser.add_argument("--labels", help="label set, or class names with commas, that must know every label")
    add_strict(parser)
    add_format(parser, "the counts")
    parser.set_defaults(run=_manifest)


def _option(text: str) -> tuple[str, str, str]:
    place, equals, value = text.partition("=")
    kind, dot, name = place.partition(".")
    if not (kind and dot and name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND.NAME=VALUE, as ravdess.channel=both")
    return kind, name.replace("-", "_"), value


def _manifest(args: argparse.Namespace) -> int:
    sources = [(find_corpus(kind), path) for kind, path in args.sources]
    _check_sources(args.sources)
    options = _options(args.option, [corpus for corpus, _ in sources])
    _check_output(args.output, [path for _, path in sources])
    read = [corpus.read(path, **options[corpus.name]) for corpus, path in sources]
    manifest = join(read)
    if not manifest.rows:
        reason = str(manifest.broken[0]) if manifest.broken else "the corpus is empty"
        raise CorpusError(f"not one of {len(manifest.broken)} clips can be used; {reason}")
    if args.labels is not None:
        labels(args.labels).check(Counter(row.label for row in manifest.rows if row.label is not None))
    args.output.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(args.output, manifest.rows)
    if args.format == "json":
        print(json.dumps({"manifest": str(args.output), **_summary(manifest)}, indent=2, ensure_ascii=False))
    else:
        _print_summary(manifest, args.output)
    _warn(manifest.broken)
    return 3 if manifest.broken and args.strict else 0


def _check_sources(sources: Iterable[tuple[str, Path]]) -> None:
    """Refuse a source that is given twice, for each of its clips would be."""
    (kind, path), count = Counter((kind, path.resolve()) for kind, path in sources).most_common(1)[0]
    if count > 1:
        raise ConfigError(f"{kind}={path} is given {count} times; give each source once")


def _check_output(output: Path, sources: Iterable[Path]) -> None:
    """Refuse to write over a folder, or over what may be the owner's."""
    if output.is_dir():
        raise ConfigError(f"--output {output} is a folder; name a file, as {output / 'clips.csv'}")
    place = output.resolve()
    for source in (path.resolve() for path in sources):
        if place.exists() and source in (place, *place.parents):
            raise ConfigError(
                f"--output {output} exists and belongs to the source {source}; name a new file, or remove it"
            )


def _options(given: Iterable[tuple[str, str, str]], corpora: Sequence[Corpus]) -> Mapping[str, dict[str, str]]:
    """Return the options of every corpus, checked against what it offers."""
    known = {corpus.name: corpus.options for corpus in corpora}
    chosen: dict[str, dict[str, str]] = defaultdict(dict)
    for kind, name, value in given:
        if kind not in known:
            raise ConfigError(f"--option {kind}.{name}: no source is of kind {kind!r}; there are {', '.join(known)}")
        if name not in known[kind]:
            raise ConfigError(f"--option {kind}.{name}: {kind} has the options {', '.join(known[kind]) or 'none'}")
        if value not in known[kind][name]:
            allowed = ", ".join(known[kind][name])
            raise ConfigError(f"--option {kind}.{name}={value}: the value is unknown; choose one of {allowed}")
        chosen[kind][name] = value
    return chosen


def _summary(manifest: Manifest) -> dict[str, Any]:
    """Return the counts of every corpus as plain data."""
    corpora: dict[str, list[Row]] = defaultdict(list)
    for row in manifest.rows:
        corpora[row.corpus].append(row)
    return {
        "clips": len(manifest.rows),
        "corpora": {name: _counts(rows) for name, rows in corpora.items()},
        "notes": list(manifest.notes),
        "broken": [{"key": error.key, "path": error.path, "reason": error.reason} for error in manifest.broken],
    }


def _counts(rows: Sequence[Row]) -> dict[str, Any]:
    labels = Counter(row.label or "none" for row in rows)
    speakers = Counter(row.speaker or "unknown" for row in rows)
    return {
        "clips": len(rows),
        "holds": {name: sum(getattr(row, name) is not None for row in rows) for name in ("video", "audio", "text")},
        "labels": dict(labels.most_common()),
        "speakers": {name: speakers[name] for name in sorted(speakers, key=reading_order)},
    }


def _print_summary(manifest: Manifest, output: Path) -> None:
    summary = _summary(manifest)
    for name, counts in summary["corpora"].items():
        holds = ", ".join(f"{count:,} with {kind}" for kind, count in counts["holds"].items() if count)
        print(f"{name}: {counts['clips']:,} clips, {holds}")
        print(f"  labels: {_listed(counts['labels'])}")
        print(f"  speakers: {_listed(counts['speakers'])}")
    for note in summary["notes"]:
        print(f"note: {note}")
    print(f"{summary['clips']:,} clips in {output}; next: mmer prepare table {output} DST")


def _listed(counts: Mapping[str, int]) -> str:
    if len(counts) > _NAMED:
        return f"{len(counts)}, with {min(counts.values()):,} to {max(counts.values()):,} clips each"
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _warn(broken: Sequence[ClipError]) -> None:
    for error in broken[:_SHOWN]:
        print(f"left out: {error}", file=sys.stderr)
    if broken:
        more = f"; {len(broken) - _SHOWN} more are named by --format json" if len(broken) > _SHOWN else ""
        print(f"mmer: warning: {len(broken)} clips were left out{more}", file=sys.stderr)
