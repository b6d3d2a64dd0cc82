"""``mmer baseline``: classical systems, under the same protocols and with the same results as networks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mmer.cli.parser import add_device, add_results, add_seeds, add_workers, check_folder, check_tables, labels
from mmer.cli.scores import add_resamples, add_scores_format, show
from mmer.cli.split import add_protocol, split_config
from mmer.corpora.protocols import LATE_FOREST_PROTOCOLS, PROTOCOLS
from mmer.errors import ConfigError

if TYPE_CHECKING:  # they load scikit-learn, and --help is quick
    from mmer.baselines.ranking import Ranked
    from mmer.baselines.run import Baseline, Work

_KINDS = {
    "svm": "support vector machine, linear or RBF by a grid search",
    "forest": "random forest",
    "logistic": "logistic regression",
}
_TOP = 10  # descriptors that are printed; descriptors.csv has all


def add(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments: a sub-command for every system."""
    kinds = parser.add_subparsers(required=True, metavar="KIND", dest="kind")
    for name, title in _KINDS.items():
        kind = kinds.add_parser(name, help=title, description=f"A {title}, on what describes each clip as a whole.")
        _add_folder(kind)
        kind.add_argument(
            "--features",
            nargs="+",
            default=["voice"],
            metavar="NAME",
            help="what it reads: voice, the descriptors of the sound, and prepared streams by their names, averaged "
            "over their steps",
        )
        _add_others(kind)
    title = "random forest of the voice's machine and a face's posteriors"
    both = kinds.add_parser(
        "late_forest",
        help=title,
        description=f"A {title}, trained on other speakers than the machine: those of the protocol mitseas, or the "
        "validation speakers of any other.",
    )
    _add_folder(both, LATE_FOREST_PROTOCOLS)
    both.add_argument(
        "--face",
        required=True,
        metavar="NAME|FILE",
        help="the face's posteriors: a prepared stream, averaged over its steps; a checkpoint that has learned from "
        "another corpus; or a table of answers of a system that has learned from none of these clips",
    )
    _add_others(both)
    add_device(both)


def _add_folder(parser: argparse.ArgumentParser, protocols: str = PROTOCOLS) -> None:
    parser.add_argument("data", type=Path, metavar="DATA", help="prepared folder")
    add_results(parser)
    add_protocol(parser, protocols)


def _add_others(parser: argparse.ArgumentParser) -> None:
    add_seeds(parser, "of searches and forests")
    parser.add_argument("--labels", default="ravdess8", help="label set, or class names with commas")
    parser.add_argument(
        "--cache", type=Path, metavar="FILE", help="descriptors of the sounds; without this DATA.voice.npz, beside DATA"
    )
    add_resamples(parser)
    add_scores_format(parser)
    add_workers(parser)
    parser.set_defaults(run=_baseline)


def _baseline(args: argparse.Namespace) -> int:
    from mmer.baselines.extra import check_extra

    check_extra("librosa", "sklearn")
    check_folder(args.output)
    if args.cache is not None and (args.cache.is_dir() or not args.cache.absolute().parent.is_dir()):
        raise ConfigError(f"--cache {args.cache} cannot be written; name a file in a folder that exists")
    if args.kind == "late_forest":
        check_tables("--face", [Path(args.face)], args.output)
    work = _work(args)
    metrics, ranked = _run(args, work).write(args.output, work, command=args.command, resamples=args.resamples)
    if args.format == "table":
        _print_ranking(ranked, args.output)
    show(metrics, args.output, args.format)
    return 0


def _work(args: argparse.Namespace) -> Work:
    from mmer.baselines.run import Work

    return Work(
        labels(args.labels),
        split_config(args),
        fold=args.fold,
        seeds=tuple(dict.fromkeys(args.seeds)),
        cache=args.cache,
        workers=args.workers,
    )


def _run(args: argparse.Namespace, work: Work) -> Baseline:
    from mmer.baselines.run import run_classifier, run_forest_of_both
    from mmer.data.store import PreparedCorpus

    corpus = PreparedCorpus.open(args.data)
    if args.kind != "late_forest":
        return run_classifier(corpus, args.kind, args.features, work)
    from mmer.inference.predictor import choose_device

    return run_forest_of_both(corpus, args.face, work, choose_device(args.device))


def _print_ranking(ranked: list[Ranked], output: Path) -> None:
    """Print the descriptors that tell the classes apart best."""
    print(f"{'descriptor':<36}{'F':>9}{'information':>14}   (training speakers)")
    for each in ranked[:_TOP]:
        print(f"{each.name:<36}{each.f:>9.1f}{each.information:>14.3f}")
    print(f"all {len(ranked)}: {output / 'descriptors.csv'}; picture: {output / 'components.png'}")
