"""A training without a network, for sweeps: better and better over four epochs, best where the learning rate is 0.01.

In the sweep's folder, ``orders/NUMBER`` says how a trial ends before its end: ``die``, ``refuse``, ``nan``
or by losing a process; ``blind`` validates with no numbers.
"""

import math
import os
import signal
import sys
import time
from pathlib import Path

from mmer.training.child import follow_parent

EPOCHS = 4
LOSSES = {
    "reader": "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed.",
    "waited": "RuntimeError: DataLoader worker (pid(s) 7) exited unexpectedly",
    "peer": "train.py: error: process 1 of this training was ended by SIGKILL, and the others cannot go on without it",
    "gloo": "train.py: error: another process of this training is gone or does not answer (Connection closed by peer)",
    "port": "train.py: error: the processes of this training have not met (EADDRINUSE) with MASTER_ADDR=127.0.0.1",
}


def main() -> None:
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in sys.argv[2:])
    folder = Path(flags["trainer.default_root_dir"])
    order = folder.parents[1] / "orders" / folder.name
    orders = order.read_text().split() if order.exists() else os.environ.get("FAKE_ORDERS", "").split()
    if "refuse" in orders or os.environ.get("FAKE_REFUSED") == flags["model.optim.lr"]:
        raise SystemExit("train.py: error: no such thing")
    for name, complaint in LOSSES.items():
        if name in orders:
            raise SystemExit(complaint)
    if "nan" in orders:
        (folder / "nonfinite.json").touch()
        raise SystemExit("train.py: error: the loss is nan in epoch 1, batch 3")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "best.ckpt").touch()
    log = folder / "logs/version_0/metrics.csv"
    log.parent.mkdir(parents=True)
    lines = [f"epoch,step,{os.environ.get('FAKE_METRIC', 'val/uar')}"]
    best = math.exp(-abs(math.log10(float(flags["model.optim.lr"])) + 2))
    for epoch in range(EPOCHS):
        time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
        while "FAKE_UNTIL" in os.environ and not Path(os.environ["FAKE_UNTIL"]).exists():
            time.sleep(0.02)
        if "die" in orders and epoch == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        fallen = 0.5 if epoch == EPOCHS - 1 else 1.0  # the last epoch is not the best
        value = math.nan if "blind" in orders else fallen * (epoch + 1) / EPOCHS * best
        lines.append(f"{epoch},{epoch},{value!r}")
        log.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    follow_parent()
    main()
