from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmer

PACKAGE = Path(mmer.__file__).parent

FLOORS = (
    ("emotions", "batch", "config", "errors", "atomic", "cache", "calibration", "tokenizer"),
    ("encoders", "fusion", "temporal", "missing", "media"),
    ("model", "build", "checkpoint", "data", "corpora"),
    ("evaluation", "inference", "baselines"),
    ("training",),
    ("cli", "doctor", "app"),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}

STRANGERS = {("data", "encoders"), ("encoders", "data")}
"""Who must not import whom although the floors would allow it: a batch is their whole contract."""


def modules() -> Iterator[tuple[str, set[str]]]:
    """Yield every module of the package with all that it imports, also inside functions."""
    for path in sorted(PACKAGE.rglob("*.py")):
        found = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} has a relative import"
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
        yield path.relative_to(PACKAGE).with_suffix("").as_posix(), found


IMPORTS = dict(modules())


def part(imported: str) -> str | None:
    """Return the part of the package that an import names, or None where it is another package's or mmer's own name."""
    package, _, rest = imported.partition(".")
    name = rest.split(".")[0]
    return name if package == "mmer" and name in FLOOR else None


def test_every_module_has_a_floor() -> None:
    assert {name.split("/")[0] for name in IMPORTS} - {"__init__", "__main__"} <= set(FLOOR)


@pytest.mark.parametrize("module", IMPORTS)
def test_a_module_imports_only_downwards(module: str) -> None:
    own = module.split("/")[0]
    below = {name for name in map(part, IMPORTS[module]) if name is not None}
    assert {name for name in below if FLOOR[name] > FLOOR.get(own, -1)} == set()
    assert {name for name in below if (own, name) in STRANGERS} == set()


def test_only_media_opens_media() -> None:
    outside = {module for module, names in IMPORTS.items() if imports(names, "av") and not module.startswith("media/")}
    assert outside == {"doctor"}  # which looks for codecs and opens nothing


@pytest.mark.parametrize("library", ["lightning", "pytorch_lightning", "wandb", "jsonargparse", "optuna"])
def test_only_training_knows_its_trainer(library: str) -> None:
    assert {m for m, names in IMPORTS.items() if imports(names, library) and not m.startswith("training/")} == set()


def imports(names: set[str], library: str) -> bool:
    return any(name.split(".")[0] == library for name in names)


def loaded_after(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after a statement."""
    command = f"{statement}; import sys; print(*{{name.split('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout.split()
    )


@pytest.mark.slow
def test_inference_and_evaluation_load_no_trainer() -> None:
    loaded = loaded_after("import mmer.inference.predictor, mmer.evaluation.evaluate")
    assert "torch" in loaded
    assert loaded & {"lightning", "lightning_fabric", "pytorch_lightning", "wandb", "jsonargparse", "optuna"} == set()


def test_configs_load_no_torch() -> None:
    assert not any(imports(names, "torch") for module, names in IMPORTS.items() if module.startswith("config/"))
    assert "torch" not in loaded_after("import mmer.config, mmer.cli, mmer.doctor")


def test_tables_of_answers_are_scored_without_torch() -> None:
    loaded = loaded_after("import mmer.evaluation.results, mmer.evaluation.measure")
    assert {"numpy", "matplotlib"} <= loaded
    assert loaded & {"torch", "torchmetrics", "torchvision"} == set()
