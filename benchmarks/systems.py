"""Train and test every system at its tiny size on the demo corpus, and print their table.

    make demo-features                                 # makes runs/demo/described
    python benchmarks/systems.py                       # every configs/*.yaml, one after the other
    python benchmarks/systems.py mel_cnn early         # only these
    python benchmarks/systems.py --again               # those too that were measured before
    python benchmarks/systems.py --table               # the table of what was measured before

What was measured stays in runs/systems, so that a run that was stopped goes on. A system that cannot be trained, as one
whose weights are on a hub that does not answer, has its reason in the table; the others follow, and the exit code is 1.
A system whose tiny size is another's (``# Tiny: NAME`` in its YAML) is counted and not trained.

Parameters and GFLOPs are those of the system's own size (configs/NAME.yaml) and of the tiny one: one clip, forwards, a
multiplication and an addition as two operations, counted by PyTorch's FlopCounterMode on tensors that hold nothing.
What has no entry there, such as norms and activations, is not counted. Seconds are those of ``train.py fit`` as it is
called, imports included. The score is that of best.ckpt, chosen on two actors, on four more that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from mmer.atomic import replacing
from mmer.batch import Batch, Tokens
from mmer.build import build_tokenizer
from mmer.config import FeaturesConfig, ModelConfig, from_plain
from mmer.errors import CheckpointError
from mmer.model import EmotionModel, build_model

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
PUBLISHED, TINY = "# Published: ", "# Tiny: "
"""How lines begin in which a YAML says what it corresponds to, and whose tiny size it shares."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one system is and does.

    Args:
        name: Its config.
        published: The published result that it corresponds to, or none.
        parameters: Of its own size; None where it cannot be built here.
        gflops: Of its own size, for one clip.
        tiny_parameters: Of its tiny size.
        tiny_gflops: Of its tiny size.
        seconds: How long the tiny one's training took; None where it was not trained.
        accuracy: The tiny one's on the demo corpus's test actors.
        low: Lower end of its 95% interval.
        high: Upper end.
        chance: Accuracy of a guess.
        tiny: The system whose tiny size it shares.
        failure: Why it was not trained.
    """

    name: str
    published: str
    parameters: int | None
    gflops: float | None
    tiny_parameters: int | None
    tiny_gflops: float | None
    seconds: float | None = None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    tiny: str | None = None
    failure: str | None = None


class FailedError(Exception):
    """A script failed; the message is its last line."""


def main() -> int:
    """Measure the systems and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "demo")
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"some of: {', '.join(names)}; all without a name")
    parser.add_argument("--root", type=Path, default=Path("runs/demo/described"), help="the prepared demo corpus")
    parser.add_argument("--output", type=Path, default=Path("runs/systems"), help="where the runs go")
    parser.add_argument("--again", action="store_true", help="measure those too that were measured before")
    parser.add_argument("--table", action="store_true", help="train nothing; print what is there")
    args = parser.parse_args()
    if wrong := sorted(set(args.systems) - set(names)):
        parser.error(f"there is no system {wrong[0]!r}; choose from {', '.join(names)}")
    before = {
        name
        for name, measured in read(args.output).items()
        if name in names and measured.failure is None and measured.tiny == said(CONFIGS / f"{name}.yaml", TINY)
    }
    asked = [] if args.table else [name for name in args.systems or names if args.again or name not in before]
    if asked:
        args.output.mkdir(parents=True, exist_ok=True)
    for name in tqdm(asked, unit="system", disable=not asked):
        with replacing(args.output / f"{name}.json") as temporary:
            measured = measure(name, args.root, args.output)
            temporary.write_text(json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8")
    found = read(args.output)
    print(table(list(found.values())))
    return int(any(found[name].failure is not None for name in asked))


def read(output: Path) -> dict[str, Measured]:
    """Return what was measured before, by name."""
    return {path.stem: Measured(**json.loads(path.read_text())) for path in sorted(output.glob("*.json"))}


def measure(name: str, root: Path, output: Path) -> Measured:
    """Count what a system costs at both sizes, and train and test it at its tiny one where that is its own."""
    own = CONFIGS / f"{name}.yaml"
    tiny = CONFIGS / "tiny" / f"{said(own, TINY) or name}.yaml"
    counted = Measured(name, said(own, PUBLISHED) or "", *count(own), *count(tiny))
    if tiny.stem != name:
        return replace(counted, tiny=tiny.stem)
    try:
        return replace(counted, **train(tiny, root, output / name))
    except FailedError as error:
        return replace(counted, failure=str(error))


def train(tiny: Path, root: Path, folder: Path) -> dict[str, float]:
    """Train and test a tiny system; return the numbers of a :class:`Measured`.

    Raises:
        FailedError: It could not be trained or tested.
    """
    began = time.perf_counter()
    call("train.py", "fit", "--config", tiny, "--data.root", root, "--trainer.default_root_dir", folder, "--overwrite")
    seconds = time.perf_counter() - began
    call("evaluate.py", "--checkpoint", folder / "checkpoints" / "best.ckpt", "--output", folder / "report")
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    accuracy = metrics["systems"][0]["scores"]["accuracy"]
    return {
        "seconds": round(seconds, 1),
        "accuracy": accuracy["value"],
        "low": accuracy["low"],
        "high": accuracy["high"],
        "chance": metrics["chance"],
    }


def call(script: str, *args: object) -> None:
    """Run one of the project's scripts.

    Raises:
        FailedError: It failed.
    """
    done = subprocess.run([sys.executable, script, *map(str, args)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise FailedError(lines[-1].removeprefix(f"{script}: error: "))


def read_model(config: Path) -> ModelConfig:
    """Return the model of a system's YAML."""
    return from_plain(ModelConfig, yaml.safe_load(config.read_text(encoding="utf-8"))["model"]["config"])


def said(config: Path, what: str) -> str | None:
    """Return what a YAML says of itself in a line of its head, as ``# Published: none``."""
    lines = config.read_text(encoding="utf-8").splitlines()
    return next((line.removeprefix(what) for line in lines if line.startswith(what)), None)


def count(path: Path) -> tuple[int, float] | tuple[None, None]:
    """Return a system's parameters and its GFLOPs for one clip; None where its network is described elsewhere."""
    config = read_model(path)
    try:
        tokenizer = build_tokenizer(config, [" ".join(map(str, range(99)))])
        model = build_model(config, load=False, tokenizer=tokenizer).eval()
    except CheckpointError:  # a hub that does not answer
        return None, None
    with FakeTensorMode(allow_non_fake_inputs=True):
        return sum(parameter.numel() for parameter in model.parameters()), flops(model) / 1e9


def flops(model: EmotionModel) -> int:
    """Return the operations of one clip, forwards; fused kernels are taken apart, so that none goes uncounted."""
    torch.backends.mha.set_fastpath_enabled(False)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False), sdpa_kernel(SDPBackend.MATH), counter:
        model(one_clip(model.config))
    return int(counter.get_total_flops())


def one_clip(config: ModelConfig) -> Batch:
    """Return a batch of one clip that has all that a model reads."""
    clip, found = config.clip, {}
    shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
        "video": ((1, clip.frames, 3, 224, 224), torch.uint8),
        "audio": ((1, round(clip.seconds * clip.sample_rate)), torch.float32),
        "text": ((1, clip.tokens), torch.int64),
    }
    for name, (shape, kind) in shapes.items():
        if name in config.reads:
            found |= {name: torch.zeros(shape, dtype=kind), f"{name}_mask": torch.ones(shape[:2], dtype=torch.bool)}
    features = {
        stream.features: Tokens(torch.zeros(1, 100, stream.width), torch.ones(1, 100, dtype=torch.bool))
        for stream in config.streams.values()
        if isinstance(stream, FeaturesConfig)
    }
    return Batch(("clip",), features=features, **found)


def table(found: list[Measured]) -> str:
    """Return the systems as Markdown."""
    head = (
        "| system | parameters | GFLOPs | tiny: parameters | GFLOPs | training, s | accuracy on the demo | published |"
    )
    lines = [head, "|---" * 8 + "|"]
    for each in found:
        cells: list[Any] = [
            f"[{each.name}](../configs/{each.name}.yaml)",
            in_short(each.parameters),
            "-" if each.gflops is None else f"{each.gflops:.3g}",
            in_short(each.tiny_parameters),
            "-" if each.tiny_gflops is None else f"{each.tiny_gflops:.2g}",
            "-" if each.seconds is None else f"{each.seconds:.0f}",
            result(each),
            each.published,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def result(measured: Measured) -> str:
    """Return a system's accuracy, or why it has none."""
    if measured.accuracy is None or measured.low is None or measured.high is None:
        reason = re.sub(r" \([^()]*\)", "", measured.failure or "").partition(";")[0]  # without causes and advice
        return f"not trained: {reason}" if reason else f"as {measured.tiny}"
    return f"{100 * measured.accuracy:.1f} ({100 * measured.low:.1f} to {100 * measured.high:.1f})"


def in_short(number: int | None) -> str:
    """Return a number as ``34.5 M`` or ``72 k``."""
    if number is None:
        return "-"
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


if __name__ == "__main__":
    raise SystemExit(main())
