"""What ``train.py`` makes of several command lines, in one process: it takes seconds to start.

``python -m mmer.training.understand`` reads a JSON list of command lines from standard input and prints a list of the
settings of each; at the first that is a mistake it ends as ``train.py`` does.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import yaml

from mmer.training.cli import main


def read_line(line: Sequence[str]) -> Any:
    """Return the settings of a command line; None where a flag of it prints something else.

    Raises:
        SystemExit: It is a mistake, which is on standard error.
    """
    shown = io.StringIO()
    try:
        with redirect_stdout(shown):
            code = main([*line, "--print_config"])
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    if code != 0:
        raise SystemExit(code)
    try:
        return yaml.safe_load(shown.getvalue())
    except yaml.YAMLError:  # a help
        return None


if __name__ == "__main__":
    print(json.dumps([read_line(line) for line in json.load(sys.stdin)]))
