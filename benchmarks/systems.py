"""Train and test every system at its tiny size on the demo corpus, and print their table.

    make demo                                          # makes runs/demo/data
    python benchmarks/systems.py                       # every configs/tiny/*.yaml, one after the other
    python benchmarks/systems.py mel_cnn early         # only these
    python benchmarks/systems.py --table               # the table of what was measured before

Parameters and GFLOPs are those of the system's own size (configs/NAME.yaml) and of the tiny one: one clip, forwards, a
multiplication and an addition as two operations, counted by PyTorch's FlopCounterMode on tensors that hold nothing.
What has no entry there, such as norms and activations, is not counted. Seconds are those of ``train.py fit`` as it is
called, imports included. The score is that of best.ckpt, chosen on two actors, on four more that nothing was chosen on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
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
from mmer.model import EmotionModel, build_model

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs"
PUBLISHED = "# Published: "


@dataclass(frozen=True, slots=True)
class Measured:
    """What one system is and does.

    Args:
        name: Its config.
        published: The published result that it corresponds to, or none.
        parameters: Of its own size.
        gflops: Of its own size, for one clip.
        tiny_parameters: Of its tiny size.
        tiny_gflops: Of its tiny size.
        seconds: How long the tiny one's training took.
        accuracy: The tiny one's on the demo corpus's test actors.
        low: Lower end of its 95% interval.
        high: Upper end.
        chance: Accuracy of a guess.
    """

    name: str
    published: str
    parameters: int
    gflops: float
    tiny_parameters: int
    tiny_gflops: float
    seconds: float
    accuracy: float
    low: float
    high: float
    chance: float


def main() -> int:
    """Measure the systems and print their table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = sorted(path.stem for path in (CONFIGS / "tiny").glob("*.yaml"))
    parser.add_argument("systems", nargs="*", metavar="SYSTEM", help=f"some of: {', '.join(names)}; all without a name")
    parser.add_argument("--root", type=Path, default=Path("runs/demo/data"), help="the prepared demo corpus")
    parser.add_argument("--output", type=Path, default=Path("runs/systems"), help="where the runs go")
    parser.add_argument("--table", action="store_true", help="train nothing; print what is there")
    args = parser.parse_args()
    if wrong := sorted(set(args.systems) - set(names)):
        parser.error(f"there is no system {wrong[0]!r}; choose from {', '.join(names)}")
    if not args.table:
        for name in tqdm(args.systems or names, unit="system"):
            measured = measure(name, args.root, args.output)
            with replacing(args.output / f"{name}.json") as temporary:
                temporary.write_text(json.dumps(asdict(measured), indent=2) + "\n", encoding="utf-8")
    found = [Measured(**json.loads(path.read_text())) for path in sorted(args.output.glob("*.json"))]
    print(table(found))
    return 0


def measure(name: str, root: Path, output: Path) -> Measured:
    """Train and test a system at its tiny size, and count what its own size costs."""
    own, tiny = CONFIGS / f"{name}.yaml", CONFIGS / "tiny" / f"{name}.yaml"
    folder = output / name
    began = time.perf_counter()
    call("train.py", "fit", "--config", tiny, "--data.root", root, "--trainer.default_root_dir", folder, "--overwrite")
    seconds = time.perf_counter() - began
    call("evaluate.py", "--checkpoint", folder / "checkpoints" / "best.ckpt", "--output", folder / "report")
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    accuracy = metrics["systems"][0]["scores"]["accuracy"]
    return Measured(
        name,
        published(own),
        *count(own),
        *count(tiny),
        round(seconds, 1),
        accuracy["value"],
        accuracy["low"],
        accuracy["high"],
        metrics["chance"],
    )


def call(script: str, *args: object) -> None:
    """Run one of the project's scripts; stop with what it said where it fails."""
    done = subprocess.run([sys.executable, script, *map(str, args)], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(map(str, args))}\n{done.stderr}")


def read_model(config: Path) -> ModelConfig:
    """Return the model of a system's YAML."""
    return from_plain(ModelConfig, yaml.safe_load(config.read_text(encoding="utf-8"))["model"]["config"])


def published(config: Path) -> str:
    """Return the published result that a YAML says it corresponds to."""
    lines = config.read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix(PUBLISHED) for line in lines if line.startswith(PUBLISHED))


def count(path: Path) -> tuple[int, float]:
    """Return a system's parameters and its GFLOPs for one clip."""
    config = read_model(path)
    model = build_model(config, load=False, tokenizer=build_tokenizer(config, [" ".join(map(str, range(99)))])).eval()
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
            f"{each.gflops:.3g}",
            in_short(each.tiny_parameters),
            f"{each.tiny_gflops:.2g}",
            f"{each.seconds:.0f}",
            f"{100 * each.accuracy:.1f} ({100 * each.low:.1f} to {100 * each.high:.1f})",
            each.published,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def in_short(number: int) -> str:
    """Return a number as ``34.5 M`` or ``72 k``."""
    return f"{number / 1e6:.1f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


if __name__ == "__main__":
    raise SystemExit(main())
