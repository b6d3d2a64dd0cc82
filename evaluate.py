"""Evaluate a checkpoint: ``python evaluate.py --checkpoint runs/demo/fit/checkpoints/best.ckpt --output report``."""

from mmer.cli import evaluate

if __name__ == "__main__":
    raise SystemExit(evaluate())
