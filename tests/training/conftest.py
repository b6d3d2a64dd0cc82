"""A small prepared corpus of noise, a model that trains on it in seconds, and processes that do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from mmer.config import PrepareConfig
from mmer.corpora.manifest import Row, write_manifest
from mmer.data.clip import PreparedClip
from mmer.data.store import clip_path, write_settings
from mmer.emotions import RAVDESS8
from mmer.errors import ConfigError
from mmer.media.jpeg import encode_jpeg

RATE = 16_000


def noise_clip(rng: np.random.Generator, video: bool, audio: bool, size: int) -> PreparedClip:
    images = [encode_jpeg(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), 80) for _ in range(9 if video else 0)]
    return PreparedClip(
        times=np.arange(len(images)) / 25,
        sizes=np.array([len(image) for image in images], np.int64),
        jpeg=np.concatenate([np.zeros(0, np.uint8), *images]),
        audio=rng.normal(0, 0.1, RATE // 2).astype(np.float32) if audio else None,
        sample_rate=RATE,
    )


FEATURES = {
    "mfcc": (20, 13),
    "tone": (1, 4),
    "descriptors": (7, 39),
    "action_units": (1, 36),
    "face_posteriors": (12, 7),
    "speech_embedding": (1, 1024),
}
"""Streams of the described corpus: steps and width of each."""


def write_corpus(
    root: Path,
    speakers: range,
    takes: int,
    *,
    missing: bool = False,
    size: int = 32,
    corpus: str = "noise",
    described: bool = False,
) -> Path:
    """Write a prepared folder; with ``missing``, every third clip lacks its video and every fourth its audio.

    With ``described``, each clip also has words, precomputed features and a part of a split.
    """
    (root / "clips").mkdir(parents=True)
    write_settings(root, PrepareConfig(size=size, features=tuple(FEATURES) if described else ()))
    rng, rows = np.random.default_rng(0), []
    for speaker in speakers:
        for take in range(takes):
            number = len(rows)
            video, audio = not (missing and number % 3 == 0), not (missing and number % 4 == 1)
            row = Row(f"{speaker:02d}-{take}", corpus, str(speaker), RAVDESS8[number % 8])
            path = clip_path(root, row.key)
            clip = noise_clip(rng, video, audio, size)
            row = replace(row, video=path if video else None, audio=path if audio else None)
            if described:
                streams = {name: rng.normal(3, 2, shape).astype(np.float32) for name, shape in FEATURES.items()}
                clip = replace(clip, features=streams, text=f"speaker {speaker} says number {number}")
                part = ("test", "validation", "train")[min(speaker - speakers[0], 2)]
                row = replace(row, text=clip.text, extra={"features": " ".join(FEATURES), "split": part})
            clip.save(path)
            rows.append(row)
    write_manifest(root / "manifest.csv", rows)
    return root


@pytest.fixture(scope="session")
def noise_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("noise") / "data", range(1, 25), 1, corpus="ravdess")  # its actors


@pytest.fixture(scope="session")
def described_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The noise corpus with words and features as well."""
    root = tmp_path_factory.mktemp("described") / "data"
    return write_corpus(root, range(1, 25), 1, corpus="ravdess", described=True)


@pytest.fixture(scope="session")
def patchy_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("patchy") / "data", range(1, 7), 5, missing=True)


def quick_data(root: Path) -> dict[str, object]:
    """A data module's settings: one actor validates, one is tested, the others train."""
    return {
        "root": str(root),
        "split": {"protocol": "speakers", "validation": [23], "test": [24]},
        "batch_size": 8,
        "workers": 0,
    }


def quick_trainer(folder: Path) -> dict[str, object]:
    """A trainer's settings: two epochs on the processor, nothing printed, all it writes in a folder."""
    return {
        "max_epochs": 2,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": str(folder),
    }


def tiny_settings(corpus: Path, folder: Path) -> dict[str, object]:
    """Settings of a very small model on the patchy corpus: 4 speakers train, 1 validates, 1 is tested."""
    return {
        "seed_everything": 1,
        "model": {
            "config": {
                "streams": {
                    "face": {"encoder": "resnet3d", "variant": "tiny"},
                    "voice": {"encoder": "wave_cnn", "variant": "tiny"},
                },
                "clip": {"seconds": 0.5, "frames": 8},
                "fusion": {"dim": 16, "depth": 1, "heads": 2, "max_tokens": 32},
                "modality_dropout": 0.3,
            },
            "optim": {"lr": 0.001},
        },
        "data": {
            "root": str(corpus),
            "split": {"protocol": "speakers", "validation": [5], "test": ["06"]},
            "batch_size": 4,
            "workers": 0,
        },
        "trainer": quick_trainer(folder),
    }


@pytest.fixture
def tiny_config(tmp_path: Path, patchy_corpus: Path) -> Path:
    """A YAML of the tiny settings, whose run goes to ``run``."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings(patchy_corpus, tmp_path / "run")))
    return path


@pytest.fixture(scope="module")
def tiny_run_config(tmp_path_factory: pytest.TempPathFactory, patchy_corpus: Path) -> Path:
    """The same for a run that the tests of a file share."""
    folder = tmp_path_factory.mktemp("tiny")
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings(patchy_corpus, folder / "run")))
    return path


@pytest.fixture
def voice_config(tiny_config: Path) -> Path:
    """The tiny YAML without the face, which trains in a second."""
    config = yaml.safe_load(tiny_config.read_text())
    del config["model"]["config"]["streams"]["face"]
    config["model"]["config"]["modality_dropout"] = 0.0
    tiny_config.write_text(yaml.safe_dump(config))
    return tiny_config


NURSERY = """
import contextlib, io, json, os, signal, sys
from mmer.checkpoint import Card
from mmer.config.plain import adapter
from mmer.training import cli
import mmer.build, torch
torch.set_num_threads(1)
adapter(Card)
signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background find it ignored
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):  # what a parser finds once, it keeps
    cli.main(["fit", "--data.root=x", "--model.config.streams={a: {encoder: wave_cnn}}", "--print_config"])

for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        print(os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1]), flush=True)
        continue
    child = os.fork()
    if child:
        print(child, flush=True)
        continue
    code = 99
    try:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0), os.dup2(log, 1), os.dup2(log, 2)
        os.environ.update(order["env"])
        exec(order["before"], {"cli": cli})
        code = cli.main(order["args"])
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
"""


@dataclass(frozen=True)
class Run:
    """A training in a process of its own.

    Args:
        nursery: Where it was born.
        pid: Its number.
        log: What it has said.
    """

    nursery: Nursery
    pid: int
    log: Path

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Return its exit code, or minus the signal that has ended it."""
        code = self.nursery.ask({"wait": self.pid})
        self.nursery.running.discard(self.pid)
        return code

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def errors(self) -> list[str]:
        return [line for line in self.said().splitlines() if line.startswith("train.py: ")]


FORKED = """
import os, sys
os.chdir({folder!r})
sys.path.insert(0, {here!r})
import forked
raise SystemExit(forked.mmer({args!r}, {killed!r}))
"""


class Nursery:
    """Starts trainings without the seconds that a new interpreter takes to import PyTorch and Lightning."""

    def __init__(self) -> None:
        self.running: set[int] = set()
        """Trainings that nobody has waited for."""
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )

    def ask(self, order: Mapping[str, object]) -> int:
        assert self.process.stdin is not None and self.process.stdout is not None
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def start(self, args: Sequence[str], log: Path, env: Mapping[str, str] | None = None, before: str = "") -> Run:
        """Begin a training; ``before`` is Python that it runs first, with ``cli`` in its hands."""
        log.touch()  # it may be read before the child has opened it
        order = {"args": [str(arg) for arg in args], "log": str(log), "env": dict(env or {}), "before": before}
        run = Run(self, self.ask(order), log)
        self.running.add(run.pid)
        return run

    def start_mmer(self, folder: Path, args: Sequence[str], log: Path, killed: int | None = None) -> Run:
        """Begin ``mmer`` in a working folder, with trainings that are forked from it; the trial ``killed`` is once."""
        before = FORKED.format(folder=str(folder), here=str(Path(__file__).parent), args=list(args), killed=killed)
        return self.start([], log, before=before)

    def end_all(self) -> None:
        """Kill the trainings that nobody has waited for."""
        for pid in self.running:
            os.kill(pid, signal.SIGKILL)
        for pid in list(self.running):
            Run(self, pid, Path(os.devnull)).wait()

    def start_all(
        self, count: int, args: Sequence[str], log: Path, before: str = "", strategy: str = "ddp"
    ) -> list[Run]:
        """Begin a training of several processes, as torchrun does."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "test"}
        shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0"}
        return [
            self.start(
                [*args, f"--trainer.strategy={strategy}", f"--trainer.devices={count}"],
                log.with_name(f"{log.name}.{rank}"),
                {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                before,
            )
            for rank in range(count)
        ]


@pytest.fixture
def read_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let settings that are compared be read in this process, by the real parser."""
    from mmer.training import settings
    from mmer.training.understand import read_line

    def read(lines: Sequence[Sequence[str]]) -> list[Any]:
        try:
            return [read_line(line) for line in lines]
        except SystemExit as ended:
            raise ConfigError("standard error says what") from ended

    monkeypatch.setattr(settings, "read_several", read)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    started = Nursery()
    yield started
    with suppress(BrokenPipeError), started.process:  # which closes what it reads from and writes to
        for pid in started.running:
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(autouse=True)
def no_orphans(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave no training behind of a test that has failed: its peers would wait for one another for half an hour."""
    nursery = request.getfixturevalue("nursery") if "nursery" in request.fixturenames else None
    yield
    if nursery is not None:
        nursery.end_all()
