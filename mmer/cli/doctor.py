"""``mmer doctor``: what this machine has."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from mmer.cli.parser import add_format


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="where runs will be written")
    add_format(parser, "the findings")
    parser.set_defaults(run=_doctor)


def _doctor(args: argparse.Namespace) -> int:
    from mmer.doctor import examine

    checks = list(examine(args.folder))
    if args.format == "json":
        print(json.dumps([check.to_plain() for check in checks], indent=2))
    else:
        for check in checks:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.found}")
            if not check.ok:
                print(f"     mend it with: {check.remedy}")
    return 0 if all(check.ok for check in checks) else 1
