"""Measure ``train.py`` against a bare PyTorch loop: the same model, the same step, the batch already in memory.

    python benchmarks/train_step.py                                  # what this machine has, a GPU or its processor
    python benchmarks/train_step.py --accelerator cpu --threads 2 --json cpu.json
    python benchmarks/train_step.py --accelerator gpu --batch 8 16 32 64

The corpus is made of the six 720p clips of MMER_DATA, or of drawn faces. In turns, in one process: ``train.py fit`` as
users start it, with its loader, augmentation, logs and checks, between two of its steps; and a loop of forward, loss,
backward, clipping and optimiser over one batch that is on the device. The ratio is the median over the rounds. What
should be reached on a processor is 0.95, with a core left for whoever reads clips: both loops get one thread less than
there are cores, or so many --threads.

On a GPU, for MViTv2-S on 16 frames of 224 pixels: first the batch with which the bare loop is fastest; then a row for
each setting of precision, compilation, layout and loader, with clips a second, peak memory, and the share of the limit
that the model's own arithmetic reaches (MFU). The limit is measured in the same run: a product of two bf16 matrices of
8192 x 8192. Arithmetic is counted by ``torch.utils.flop_counter`` in a forward and a backward pass in float32.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from loader import make_corpus
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mmer.batch import Batch
from mmer.config import PrepareConfig
from mmer.training import cli
from mmer.training.classifier import EmotionClassifier
from mmer.training.devices import count_cores
from mmer.training.optim import build_optimizer

TARGET = 0.95
WARM = 5
CONFIGS = Path(__file__).parents[1] / "configs"
BF16 = ["--trainer.precision=bf16-mixed"]
ROWS: dict[str, list[str]] = {
    "float32": [],
    "TF32": ["--model.compute.matmul=high"],
    "bf16": BF16,
    "bf16, channels last": [*BF16, "--model.compute.channels_last=true"],
    "bf16, compiled": [*BF16, "--model.compute.compile=default"],
    "bf16, both": [*BF16, "--model.compute.channels_last=true", "--model.compute.compile=default"],
    "bf16, activations anew": [*BF16, "--model.compute.activation_checkpointing=true"],
    "bf16, 0 workers": [*BF16, "--data.workers=0"],
    "bf16, 4 workers": [*BF16, "--data.workers=4"],
    "bf16, 15 workers": [*BF16, "--data.workers=15"],
    "bf16, 8 workers 4 ahead": [*BF16, "--data.workers=8", "--data.prefetch=4"],
}
"""What is measured on a GPU."""


@dataclass(frozen=True, slots=True)
class Row:
    """One setting: clips a second of both and their ratios, medians over the rounds, and what else a GPU tells."""

    name: str
    batch: int
    trained: float
    bare: float
    ratio: float
    ratios: tuple[float, ...]
    memory_gb: float | None = None
    mfu: float | None = None


@dataclass
class Setting:
    """What is trained: a config, the corpus, the batch and flags."""

    config: Path
    root: Path
    batch: int
    flags: Sequence[str]
    accelerator: str
    steps: int

    def args(self, folder: Path) -> list[str]:
        """Return the command line of ``train.py``."""
        return [
            "fit",
            f"--config={self.config}",
            f"--data.root={self.root}",
            f"--data.batch_size={self.batch}",
            f"--trainer.default_root_dir={folder}",
            f"--trainer.accelerator={self.accelerator}",
            "--trainer.devices=1",
            f"--trainer.max_steps={WARM + self.steps}",
            "--trainer.max_epochs=-1",
            "--trainer.enable_progress_bar=false",
            "--trainer.enable_model_summary=false",
            "--trainer.limit_val_batches=0",
            "--data.split={protocol: speakers, test: [], validation: []}",
            *self.flags,
        ]


def wait(accelerator: str) -> None:
    """Wait until the GPU has done what it was told."""
    if accelerator == "gpu":
        torch.cuda.synchronize()


@contextmanager
def hooked(name: str, hook: Callable[..., Any]) -> Iterator[None]:
    """Let the module call something at one of Lightning's hooks."""
    before = getattr(EmotionClassifier, name)
    setattr(EmotionClassifier, name, hook)
    try:
        yield
    finally:
        setattr(EmotionClassifier, name, before)


def train(setting: Setting) -> float:
    """Return the clips a second of ``train.py``, between the warm-up and the last step."""
    marks: list[float] = []

    def mark(self: EmotionClassifier, outputs: Any, batch: Batch, number: int) -> None:
        if self.global_step in (WARM, WARM + setting.steps):
            wait(setting.accelerator)
            marks.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as name, hooked("on_train_batch_end", mark):
        code = cli.main(setting.args(Path(name) / "run"))
    if code != 0:
        raise SystemExit(f"train.py ended with exit code {code}")
    gc.collect()
    return setting.steps * setting.batch / (marks[1] - marks[0])


class Kept(Exception):
    """What ``train.py`` had built when its first step came."""

    def __init__(self, module: EmotionClassifier, batch: Batch) -> None:
        self.module = module
        self.batch = batch


def build(setting: Setting) -> tuple[nn.Module, Callable[[], Tensor], Batch]:
    """Let ``train.py`` build its model and read its first batch, and return them with the loss of a step."""

    def keep(self: EmotionClassifier, batch: Batch, number: int) -> None:
        raise Kept(self, batch)

    try:
        with tempfile.TemporaryDirectory() as name, hooked("training_step", keep):
            cli.main(setting.args(Path(name) / "run"))
        raise SystemExit("train.py has not come to its first step")
    except Kept as kept:
        module, batch = kept.module, kept.batch
    device = "cuda" if setting.accelerator == "gpu" else "cpu"
    module.to(device)
    batch, bf16 = batch.to(device), any("bf16" in flag for flag in setting.flags)

    def loss() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            return module.loss(module.model(batch), batch)

    return module, loss, batch


def loop(setting: Setting) -> float:
    """Return the clips a second of the bare loop."""
    module, loss, _ = build(setting)
    assert isinstance(module, EmotionClassifier)
    optimizer = build_optimizer(module.model, module.optim)
    clip = float(yaml.safe_load(setting.config.read_text(encoding="utf-8"))["trainer"].get("gradient_clip_val") or 0)
    module.train()
    start = 0.0
    for step in range(WARM + setting.steps):
        if step == WARM:
            wait(setting.accelerator)
            start = time.perf_counter()
        optimizer.zero_grad()
        loss().backward()
        if clip:
            nn.utils.clip_grad_norm_(module.model.parameters(), clip)
        optimizer.step()
    wait(setting.accelerator)
    return setting.steps * setting.batch / (time.perf_counter() - start)


def compare(name: str, setting: Setting, rounds: int) -> Row:
    """Let both take turns."""
    gpu = setting.accelerator == "gpu"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    pairs = [(train(setting), loop(setting)) for _ in range(rounds)]
    ratios = tuple(trained / bare for trained, bare in pairs)
    trained, bare = (statistics.median(each) for each in zip(*pairs, strict=True))
    peak = torch.cuda.max_memory_allocated() / 1e9 if gpu else None
    return Row(name, setting.batch, trained, bare, statistics.median(ratios), ratios, peak)


def count_flops(setting: Setting) -> float:
    """Return the floating-point operations of a clip, forward and backward, in float32."""
    _, loss, batch = build(replace(setting, flags=()))
    with FlopCounterMode(display=False) as counter:
        loss().backward()
    return counter.get_total_flops() / len(batch)


def measure_limit() -> float:
    """Return the operations a second of a large product of bf16 matrices."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    for _ in range(10):
        a @ b
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(50):
        a @ b
    torch.cuda.synchronize()
    return 50 * 2 * 8192**3 / (time.perf_counter() - start)


def best_batch(setting: Setting, batches: Sequence[int]) -> int:
    """Return the batch with which the bare loop is fastest, of those that fit."""
    found: dict[int, float] = {}
    for batch in batches:
        try:
            found[batch] = loop(replace(setting, batch=batch))
        except torch.OutOfMemoryError:
            print(f"batch {batch}: does not fit")
            break
        print(f"batch {batch}: {found[batch]:.0f} clips/s")
        torch.cuda.empty_cache()
    return max(found, key=found.__getitem__)


def show(row: Row) -> None:
    """Print a line of the table."""
    memory = "" if row.memory_gb is None else f"  {row.memory_gb:6.1f}"
    mfu = "" if row.mfu is None else f"  {row.mfu:5.1%}"
    verdict = "PASS" if row.ratio >= TARGET else "below"
    span = f"{min(row.ratios):4.2f} to {max(row.ratios):4.2f} "
    speeds = f"{row.trained:9.1f}  {row.bare:9.1f}  {row.ratio:5.2f}  {span}"
    print(f"{row.name:<26} {row.batch:5d}  {speeds}{memory}{mfu}  {verdict}", flush=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), help="a GPU where there is one")
    parser.add_argument("--config", type=Path, help="configs/demo.yaml on a processor, configs/mvit_v2.yaml on a GPU")
    parser.add_argument("--batch", type=int, nargs="+", help="clips in a batch; on a GPU the fastest of several")
    parser.add_argument("--clips", type=int, help="clips of the corpus; as many as are timed, so that no epoch ends")
    parser.add_argument("--steps", type=int, default=40, help="steps that are timed")
    parser.add_argument("--rounds", type=int, default=5, help="how often both take turns")
    parser.add_argument("--threads", type=int, help="of the model on a processor; one less than cores")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), help="these settings of a GPU alone")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    accelerator = args.accelerator or ("gpu" if torch.cuda.is_available() else "cpu")
    gpu = accelerator == "gpu"
    if not gpu:
        torch.set_num_threads(args.threads or max(1, count_cores() - 1))  # whoever reads has a core, as beside a GPU
    config = args.config or CONFIGS / ("mvit_v2.yaml" if gpu else "demo.yaml")
    batches = args.batch or ([8, 16, 32, 64, 128] if gpu else [8])
    clips = args.clips or max(batches) * (WARM + args.steps + 1)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "data"
        print(f"preparing {clips} clips", file=sys.stderr)
        make_corpus(root, clips, PrepareConfig(size=224 if gpu else 96))
        weights = ["--model.config.streams.face.weights=null", "--model.optim.layer_decay=1"] if gpu else []
        setting = Setting(config, root, batches[0], weights, accelerator, args.steps)
        rows, facts = [], {"torch": torch.__version__, "threads": torch.get_num_threads(), "cores": os.cpu_count()}
        if gpu:
            limit, flops = measure_limit(), count_flops(setting)
            setting.batch = best_batch(replace(setting, flags=[*weights, *BF16]), batches)
            facts |= {"device": torch.cuda.get_device_name(), "limit_tflops": limit / 1e12, "gflops": flops / 1e9}
        print(json.dumps(facts))
        print(
            f"{'setting':<26} batch   train.py       bare  ratio  of all rounds" + ("  GB peak    MFU" if gpu else "")
        )
        ours = {config.stem: [], f"{config.stem}, 1 worker": ["--data.workers=1"]}
        for title, flags in (ROWS if gpu else ours).items():
            if args.rows and gpu and title not in args.rows:
                continue
            row = compare(title, replace(setting, flags=[*weights, *flags]), args.rounds)
            rows.append(replace(row, mfu=row.trained * flops / limit) if gpu else row)
            show(rows[-1])
        if not gpu:
            print("the GPU columns are missing: there is no GPU here")
    if args.json:
        args.json.write_text(json.dumps({"target": TARGET, **facts, "rows": [asdict(row) for row in rows]}, indent=2))


if __name__ == "__main__":
    main()
