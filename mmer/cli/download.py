"""``mmer download``: corpora from their owners."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from mmer.corpora.catalogue import CORPORA, find_corpus
from mmer.errors import CorpusError


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    kinds = parser.add_subparsers(required=True, metavar="CORPUS", dest="corpus")
    ravdess = kinds.add_parser("ravdess", help="RAVDESS, from Zenodo")
    ravdess.add_argument(
        "--actors", type=_numbers, default="1-24", help="whose videos, as 1-3,7; the audio file holds all actors"
    )
    ravdess.add_argument(
        "--modalities",
        type=_modalities,
        default="video,audio",
        help="video: one file an actor, with sound; audio: the studio recordings; or both, with a comma",
    )
    ravdess.add_argument("--channel", choices=("speech", "song", "both"), default="speech", help="spoken or sung")
    _add_common(ravdess, "ravdess")
    _add_common(kinds.add_parser("tess", help="TESS, from Borealis"), "tess")
    for corpus in CORPORA:
        if corpus.clips is not None and corpus.name not in kinds.choices:  # not the user's own
            elsewhere = kinds.add_parser(corpus.name, help="where to get it")
            elsewhere.add_argument("destination", nargs="?", type=Path, metavar="DST", help=argparse.SUPPRESS)
            elsewhere.set_defaults(run=_refuse)


def _add_common(parser: argparse.ArgumentParser, corpus: str) -> None:
    parser.add_argument(
        "destination",
        nargs="?",
        type=Path,
        default=Path("data", corpus),
        metavar="DST",
        help="folder to fill; a download that was interrupted goes on",
    )
    parser.add_argument("--from", dest="record", metavar="URL", help="another record of the same files, as of a mirror")
    parser.add_argument("--dry-run", action="store_true", help="list the files and their sizes, fetch nothing")
    parser.set_defaults(run=_download)


def _download(args: argparse.Namespace) -> int:
    from mmer.corpora.download import download, list_ravdess, list_tess, readable

    source, option = {} if args.record is None else {"record": args.record}, ""
    if args.corpus == "ravdess":
        option = "" if args.channel == "speech" else f" --channel {args.channel}"
        channels = ("speech", "song") if args.channel == "both" else (args.channel,)
        files = list_ravdess(args.actors, args.modalities, channels, **source)
        if "audio" in args.modalities and len(args.actors) < 24:
            print(
                "the audio file holds all 24 actors and is fetched whole; --modalities video leaves it out, "
                "and videos have sound too",
                file=sys.stderr,
            )
    else:
        files = list_tess(**source)
    total = readable(sum(file.size for file in files))
    if args.dry_run:
        for file in files:
            print(f"{readable(file.size):>10}  {file.name}  {file.checksum}")
        print(f"{total:>10}  {len(files)} files")
        return 0
    fetched = download(files, args.destination)
    print(
        f"{len(files)} files in {args.destination}, {total}, all as their owner published them; {len(fetched)} are new"
    )
    print(f"next: mmer prepare {args.corpus} {args.destination} DST{option}")
    return 0


def _refuse(args: argparse.Namespace) -> int:
    raise CorpusError(f"{args.corpus} is not for mmer to fetch; get it here: {find_corpus(args.corpus).source}")


def _modalities(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if not set(names) <= {"video", "audio"}:
        raise argparse.ArgumentTypeError(f"{text!r} is not video, audio or video,audio")
    return names


def _numbers(text: str) -> list[int]:
    """Read numbers and ranges of them, as ``1-3,7``."""
    numbers: set[int] = set()
    for piece in text.split(","):
        found = re.fullmatch(r"(\d{1,3})(?:-(\d{1,3}))?", piece.strip())
        if found is None or int(found[2] or found[1]) < int(found[1]):
            raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers and ranges, such as 1-3,7")
        numbers.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return sorted(numbers)
