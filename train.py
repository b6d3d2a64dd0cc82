"""Train a model: ``python train.py fit --config configs/demo.yaml``. ``fit --help`` lists every setting."""

from mmer.training.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
