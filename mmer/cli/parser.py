"""What the commands share: a strict parser, exit codes, common flags."""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mmer.config import ShardConfig
from mmer.emotions import LabelSet, label_set
from mmer.errors import ConfigError, MmerError
from mmer.training.devices import count_cores


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Help that gives defaults where there are any."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        nothing = action.default is None or action.default is False
        return action.help if nothing else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviations and explains a mistake on one line."""

    rest: str | None = None
    """What the words behind ``--`` are called; argparse loses them behind other arguments that have no flag."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(allow_abbrev=False, formatter_class=_Help, **kwargs)

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse what stands before ``--``, where the rest has a name of its own."""
        words = list(sys.argv[1:] if args is None else args)
        if self.rest is None or "--" not in words:
            return super().parse_known_args(words, namespace)
        end = words.index("--")
        found, strange = super().parse_known_args(words[:end], namespace)
        setattr(found, self.rest, words[end + 1 :])
        return found, strange

    def error(self, message: str) -> NoReturn:
        """Print the mistake and exit with code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


class Terminated(KeyboardInterrupt):
    """A request to end, as a cluster sends it."""


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Take a request to end for a Ctrl-C: no child is left behind. :func:`run` says that the same command goes on."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise Terminated

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Run the chosen command; the user's mistakes become one line and exit code 2."""
    try:
        return int(args.run(args))
    except MmerError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except BrokenProcessPool:
        print(
            f"{parser.prog}: error: a worker died, most likely of too little memory; try --workers 1",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, a folder that may not be written to
        print(f"{parser.prog}: error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except Terminated:
        print(f"{parser.prog}: ended by SIGTERM; the same command goes on", file=sys.stderr)
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT


def positive(text: str) -> int:
    """Read a positive whole number."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


def natural(text: str) -> int:
    """Read a whole number that is not negative."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def folder(text: str) -> Path:
    """Read a folder of this machine."""
    if re.match(r"[A-Za-z][A-Za-z0-9+]*://", text):
        raise argparse.ArgumentTypeError(f"{text!r} is a URL; name a folder, and copy that with the store's own tool")
    return Path(text)


def names(text: str) -> tuple[str, ...]:
    """Read names with commas between them."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def labels(text: str) -> LabelSet:
    """Read a label set: its name, or class names with commas between them.

    Raises:
        ConfigError: No label set is called so, or the class names are not a set.
    """
    return label_set(names(text) if "," in text else text)


def named_path(form: str, example: str) -> Callable[[str], tuple[str, Path]]:
    """Return what reads a name and a path with an equals sign between them.

    Args:
        form: What the user calls the two, as ``NAME=PATH``.
        example: One of them, for the message.
    """

    def read(text: str) -> tuple[str, Path]:
        name, equals, path = text.partition("=")
        if not (name and equals and path):
            raise argparse.ArgumentTypeError(f"{text!r} is not {form}, as {example}")
        return name, Path(path)

    return read


def red(text: str, stream: TextIO) -> str:
    """Return a text as a terminal shows it in red; as it is where the stream is no terminal, or NO_COLOR is set."""
    return f"\x1b[1;31m{text}\x1b[0m" if stream.isatty() and not os.environ.get("NO_COLOR") else text


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ..., or auto: a GPU where there is one")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add ``--workers``."""
    parser.add_argument("--workers", type=positive, default=count_cores(), help="processes")


def add_inference(parser: argparse._ActionsContainer) -> None:
    """Add how a checkpoint answers for a prepared folder: ``--batch-size``, ``--workers`` and ``--device``."""
    parser.add_argument("--batch-size", type=positive, default=16, help="clips in a batch")
    parser.add_argument("--workers", type=natural, default=0, help="processes that read clips")
    add_device(parser)


def add_copies(parser: argparse._ActionsContainer) -> None:
    """Add where copies of an object store's shards go: ``--data.shards.cache`` and ``--data.shards.cache_gb``."""
    parser.add_argument("--data.shards.cache", dest="cache", metavar="DIR", help="folder for copies of a URL's shards")
    parser.add_argument(
        "--data.shards.cache_gb", dest="cache_gb", type=float, default=ShardConfig.cache_gb, help="how much stays there"
    )


def shard_config(args: argparse.Namespace) -> ShardConfig:
    """Return what :func:`add_copies` was told.

    Raises:
        ConfigError: A cache has no size.
    """
    return ShardConfig(cache=args.cache, cache_gb=args.cache_gb)


def add_seeds(parser: argparse._ActionsContainer, text: str) -> None:
    """Add ``--seeds``, which are there of what the text says."""
    parser.add_argument("--seeds", type=natural, nargs="+", default=[0], metavar="SEED", help=text)


def add_strict(parser: argparse._ActionsContainer) -> None:
    """Add ``--strict``."""
    parser.add_argument("--strict", action="store_true", help="exit with code 3 where a clip is left out")


def add_format(parser: argparse._ActionsContainer, what: str) -> None:
    """Add ``--format`` of what is printed for people or as JSON."""
    parser.add_argument("--format", choices=("table", "json"), default="table", help=f"how to print {what}")


def add_results(parser: argparse._ActionsContainer, text: str = "folder for the results") -> None:
    """Add ``--output``, a folder."""
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help=text)


def check_folder(output: Path) -> None:
    """Refuse an ``--output`` that cannot be a folder, before anything is read.

    Raises:
        ConfigError: It is a file, or lies in one, or in a folder that may not be written to.
    """
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output} is a file; name a folder")
    above = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not (above.is_dir() and os.access(above, os.W_OK)):
        raise ConfigError(
            f"--output {output} cannot be made: {above} is no folder that may be written to; name another"
        )


def check_tables(flag: str, tables: Iterable[Path], output: Path) -> None:
    """Refuse tables of answers where a report writes and removes its own.

    Args:
        flag: What names them.
        tables: The tables.
        output: The report's folder.

    Raises:
        ConfigError: One lies there; what is not understood of it would be lost.
    """
    own = output.resolve() / "predictions"
    for path in tables:
        if own in (path.resolve().parent, path.resolve().with_suffix("")):
            raise ConfigError(f"{flag} {path} lies where the report writes its answers; name another --output")


def add_degrade(parser: argparse._ActionsContainer) -> None:
    """Add ``--degrade``."""
    parser.add_argument(
        "--degrade",
        nargs="+",
        action="extend",
        metavar="KIND",
        help="score clips that are made worse as well: all, or some of audio_noise, face_black, face_blur, "
        "face_occluded, frames_dropped, words_missing",
    )
