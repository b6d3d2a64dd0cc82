"""``python -m mmer.training``: the same as ``python train.py``, wherever the package is installed."""

from mmer.training.child import follow_parent
from mmer.training.cli import main

if __name__ == "__main__":
    follow_parent()
    raise SystemExit(main())
