"""``mmer explain``: why a checkpoint answers so, drawn over the frames and the waveform."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmer.cli.parser import add_device, add_format, check_folder
from mmer.cli.predict import add_modalities, complain, describe, warn_of
from mmer.errors import ClipError

if TYPE_CHECKING:
    from mmer.checkpoint import Card
    from mmer.evaluation.explanation import Explanation
    from mmer.inference.predictor import Prediction, Predictor


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="video or sound files")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint that train.py wrote")
    parser.add_argument("--output", type=Path, required=True, help="folder for the pictures and numbers of each file")
    add_format(parser, "the numbers")
    add_modalities(parser)
    add_device(parser)
    parser.set_defaults(run=_explain)


def _explain(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from mmer.inference.predictor import Predictor

    check_folder(args.output)
    predictor = Predictor.from_checkpoint(args.checkpoint, args.device)
    warn_of(predictor.card)
    found, failed = [], False
    for file, name in zip(tqdm(args.files, desc="explain", unit="file", disable=None), _names(args.files), strict=True):
        try:
            answer, explanation = _explain_file(predictor, file, args.modalities)
        except ClipError as error:
            failed = True
            complain(error)
            continue
        _write(explanation, args.output, name, _warnings(predictor.card))
        found.append((answer, explanation, args.output / f"{name}.png"))
    if args.format == "json":
        print(json.dumps([_plain(*each) for each in found], indent=2))
    else:
        for each in found:
            _print(*each)
    return 2 if failed else 0


def _explain_file(predictor: Predictor, file: str, modalities: Sequence[str] | None) -> tuple[Prediction, Explanation]:
    from mmer.evaluation.explain import explain_prepared

    prepared, card = predictor.prepare(file, modalities), predictor.card
    answer = predictor.predict_clip(file, prepared)
    return answer, explain_prepared(
        predictor.model,
        predictor.layout,
        prepared,
        file,
        calibration=card.calibration,
        device=predictor.device,
    )


def _names(files: Sequence[str]) -> Iterator[str]:
    """Yield a name for the results of each file: its own without its ending, with a number where that is taken."""
    taken = set()
    for file in files:
        stem = Path(file).stem
        name = next(name for i in count(1) if (name := stem if i == 1 else f"{stem}-{i}") not in taken)
        taken.add(name)
        yield name


def _warnings(card: Card) -> list[str]:
    """Return what a picture must say of the checkpoint, for it leaves the screen behind."""
    from mmer.corpora.manifest import DEMO_CORPUS

    found = ["LEAKY SPLIT: worse than its scores"] if card.leaks else []
    found += ["SYNTHETIC DEMO: says nothing about people"] if DEMO_CORPUS in card.corpora else []
    return found


def _write(explanation: Explanation, folder: Path, name: str, warnings: Sequence[str]) -> None:
    from mmer.atomic import replacing
    from mmer.evaluation.report.explanations import draw_explanation
    from mmer.evaluation.report.style import draw_png, draw_svg, mark

    folder.mkdir(parents=True, exist_ok=True)
    figure = draw_explanation(explanation)
    if warnings:
        mark(figure, warnings)
    contents = {
        "png": draw_png(figure),
        "svg": draw_svg(figure, name).encode(),
        "json": f"{json.dumps(explanation.to_plain(), indent=2)}\n".encode(),
    }
    for suffix, content in contents.items():
        with replacing(folder / f"{name}.{suffix}") as temporary:
            temporary.write_bytes(content)


def _plain(answer: Prediction, explanation: Explanation, picture: Path) -> dict[str, Any]:
    whole = {"predicted": answer.label, "abstains": answer.abstains, "probabilities": answer.probabilities}
    explained = {"windows": answer.views, "explained": explanation.to_plain(), "picture": str(picture)}
    return {"file": answer.key, **whole, **explained}


def _print(answer: Prediction, explanation: Explanation, picture: Path) -> None:
    print(describe(answer))
    name, end = explanation.predicted, explanation.start + explanation.seconds
    share = 100 * explanation.probabilities[name]
    if answer.views > 1:
        print(f"  the window from {explanation.start:.1f} to {end:.1f} s speaks for it most: {name} {share:.1f}%")
    print(f"  mattered to {name}, in points of its {share:.1f}%:")
    for modality, value in explanation.modalities.items():
        print(f"    {modality:<8}{100 * value:>+7.1f}{_strongest(explanation, modality)}")
    print(f"  picture: {picture}")


def _strongest(explanation: Explanation, modality: str) -> str:
    """Say at which moment a modality spoke most for the answer."""
    values = explanation.moments.get(modality)
    if values is None or values.max() <= 0:
        return ""
    best, length = int(values.argmax()), explanation.seconds / len(values)
    first = explanation.start + best * length
    return f", most from {first:.1f} to {first + length:.1f} s ({100 * values[best]:+.1f})"
