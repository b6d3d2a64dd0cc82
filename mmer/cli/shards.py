"""``mmer shards``: a prepared folder as a few large files, for object stores and disks that many machines share."""

from __future__ import annotations

import argparse
import json
import re

from mmer.cli.parser import add_format, folder

_UNITS = {"": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("data", type=folder, metavar="DATA", help="prepared folder")
    parser.add_argument("output", type=folder, metavar="OUTPUT", help="folder of shards, new or interrupted")
    parser.add_argument(
        "--shard-size", type=_bytes, default="64MB", metavar="SIZE", help="how long a shard may become: 64MB, 1GB, ..."
    )
    add_format(parser, "the summary")
    parser.set_defaults(run=_shards)


def _bytes(text: str) -> int:
    """Read a number of bytes with a unit."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]?B?)", text.strip().upper())
    size = 0 if found is None or found[2] not in _UNITS else round(float(found[1]) * _UNITS[found[2]])
    if size < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size, as 64MB or 1GB")
    return size


def _shards(args: argparse.Namespace) -> int:
    from mmer.data.write_shards import write_shards

    done = write_shards(args.data, args.output, args.shard_size)
    size = sum(shard.bytes for shard in done.shards)
    if args.format == "json":
        about = {"folder": str(args.output), "clips": done.clips, "shards": len(done.shards), "kept": done.kept}
        print(json.dumps({**about, "bytes": size}, indent=2))
        return 0
    kept = f", {done.kept} of them there already" if done.kept else ""
    print(f"{done.clips} clips in {len(done.shards)} shards of {size / 1e6:,.1f} MB{kept}: {args.output}")
    print(f"train with: --data.root {args.output}, or with the URL of a copy, as s3://BUCKET/FOLDER")
    return 0
