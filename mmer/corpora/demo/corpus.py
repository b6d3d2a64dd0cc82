"""Write the demo corpus to disk: clips under RAVDESS's names, and a file that says what they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
from tqdm import tqdm

from mmer.atomic import replacing
from mmer.corpora.demo.face import draw_clip
from mmer.corpora.demo.geometry import HEIGHT, WIDTH
from mmer.corpora.demo.look import cast_look
from mmer.corpora.demo.script import Take, cast_speaker, direct_face, direct_voice, plan_takes
from mmer.corpora.demo.voice import SAMPLE_RATE, speak
from mmer.errors import ConfigError
from mmer.media.write import write_clip

FPS = 25
"""Frames per second of every clip."""

_VERSION = 1  # raised whenever the same settings would give other clips
_DESCRIPTION = (
    "Synthetic talking faces and voices, drawn and spoken by mmer under RAVDESS's file names. A test bed: scores on "
    "it say that the system works and nothing about people."
)


def synthesize(
    directory: Path, *, actors: int = 8, takes: int = 2, seed: int = 0, workers: int = 1, progress: bool = True
) -> None:
    """Write a demo corpus, or finish one that was begun with the same settings.

    A clip depends on the seed and on its own name alone, so a larger corpus contains the smaller one.

    Args:
        directory: The corpus's folder; clips go to ``Actor_01/01-01-05-02-01-02-01.mp4`` and so on.
        actors: How many actors play, 1 to 24; odd ones are male and even ones female.
        takes: Clips of each emotion by each actor, 1 to 8; neutral, which has no strong intensity, gets at most 4.
        seed: Another seed gives other actors and other clips; 0 or more.
        workers: Processes that draw at the same time.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: A value out of range, or the folder holds a corpus with other settings.
    """
    _check("actors", actors, 1, 24)
    _check("takes", takes, 1, 8)
    _check("seed", seed, 0, 2**31 - 1)
    _check("workers", workers, 1, 4096)
    _claim(directory, {"seed": seed, "actors": actors, "takes": takes})
    missing = [take for take in plan_takes(actors, takes) if not (directory / take.name).exists()]
    for take in missing:
        (directory / take.name).parent.mkdir(exist_ok=True)
    done = _make_all(partial(make_clip, directory, seed), missing, min(workers, len(missing)))
    for _ in tqdm(done, total=len(missing), desc="demo corpus", unit="clip", disable=not progress or not missing):
        pass


def make_clip(directory: Path, seed: int, take: Take) -> None:
    """Draw, speak and write one clip.

    Args:
        directory: The corpus's folder; the actor's folder in it must exist.
        seed: The corpus's seed.
        take: Which clip.
    """
    speech = speak(take.statement, direct_voice(take, seed), cast_speaker(take.actor, seed), take.rng(seed, 5), FPS)
    performance = direct_face(take, seed, speech.opening, speech.rounding, FPS)
    frames = draw_clip(cast_look(take.actor, seed), performance, take.rng(seed, 7))
    write_clip(directory / take.name, frames, fps=FPS, samples=speech.samples, sample_rate=SAMPLE_RATE)


def _check(name: str, value: int, low: int, high: int) -> None:
    """Refuse a whole number out of range."""
    if not low <= value <= high:
        raise ConfigError(f"{name} = {value}: the demo corpus takes {low} to {high}; choose a value in that range")


def _claim(directory: Path, settings: dict[str, int]) -> None:
    """Write ``corpus.json``, or check that the one that is there describes the same corpus."""
    card = {
        "name": "demo",
        "synthetic": True,
        "description": _DESCRIPTION,
        "licence": "CC0-1.0",
        "version": _VERSION,
        **settings,
        "fps": FPS,
        "width": WIDTH,
        "height": HEIGHT,
        "sample_rate": SAMPLE_RATE,
    }
    path = directory / "corpus.json"
    if path.exists():
        _compare(path, card)
        return
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ConfigError(f"{directory} exists and is no demo corpus; choose an empty or a new folder")
    directory.mkdir(parents=True, exist_ok=True)
    with replacing(path) as part:
        part.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def _compare(path: Path, card: dict[str, object]) -> None:
    """Refuse a folder whose corpus was made with other settings."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise ConfigError(f"{path} is not JSON; give another folder, or delete it to start afresh") from None
    others = [key for key in card if not isinstance(found, dict) or found.get(key) != card[key]]
    if others:
        given = ", ".join(f"{key} = {card[key]!r}" for key in others)
        there = ", ".join(f"{key} = {found.get(key)!r}" for key in others) if isinstance(found, dict) else "no settings"
        raise ConfigError(
            f"{path} describes another corpus ({there}; asked for {given}); give another folder or those settings"
        )


def _make_all(make: partial[None], takes: list[Take], workers: int) -> Iterator[None]:
    """Make clips in this process or in several, yielding as each is done."""
    if workers <= 1:
        yield from map(make, takes)
        return
    spawn = get_context("spawn")  # a fork may copy locks that another thread of the caller holds
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(make, takes)
