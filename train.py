"""Train a model: ``python train.py fit --config configs/demo.yaml``. ``fit --help`` lists every setting."""

import sys


def run() -> int:
    """Return the exit code; PyTorch takes seconds to import, and a Ctrl-C may come meanwhile."""
    try:
        from mmer.training.cli import main
    except KeyboardInterrupt:
        print("train.py: interrupted", file=sys.stderr)
        return 130
    return main()


if __name__ == "__main__":
    raise SystemExit(run())
