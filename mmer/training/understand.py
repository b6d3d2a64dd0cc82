"""What ``train.py`` makes of several command lines, in one process: it takes seconds to start.

``python -m mmer.training.understand`` reads a JSON list of command lines from standard input and prints a list of the
settings of each; at the first that is a mistake it ends as ``train.py`` does.
"""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout

import yaml

from mmer.training.cli import main


def understand(lines: list[list[str]]) -> int:
    """Print the settings of command lines and return an exit code."""
    found = []
    for line in lines:
        shown = io.StringIO()
        try:
            with redirect_stdout(shown):
                code = main([*line, "--print_config"])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        if code != 0:
            return code
        found.append(yaml.safe_load(shown.getvalue()))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(understand(json.load(sys.stdin)))
