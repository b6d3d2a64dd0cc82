"""What a split must not share: people, performances, sounds. And how to know a clip under another name."""

from __future__ import annotations

import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations

from mmer.corpora.manifest import DEMO_CORPUS, Row, listed, person_name
from mmer.corpora.protocols import Part

_NAMED = 5  # how many names a sentence gives

# RAVDESS's names, whatever is put around them: the modality, then the take, whose six fields have few values.
_TAKE = re.compile(r"(?<!\d)(?<!\d-)(?:0[1-3]-)?(0[12]-0[1-8](?:-0[12]){3}-(?:0[1-9]|1\d|2[0-4]))(?!-?\d)")

_MARK = 6  # bytes of a hash: of 100,000 clips and 10,000 others three in a million runs would mistake one


def find_leaks(parts: Mapping[Part, Sequence[Row]], corpora: Collection[str]) -> tuple[str, ...]:
    """Return what the parts of a split share, a sentence for each kind and pair of parts.

    Args:
        parts: The clips of each part.
        corpora: The corpora that are dealt together.
    """
    every = [row for rows in parts.values() for row in rows]
    return (
        *_shared("speakers", parts, lambda row: person_name(row, corpora)),
        *_shared("takes", parts, take_name),
        *_copies(same_sounds(every)),
    )


def take_name(row: Row) -> str | None:
    """Return which performance a clip shows, or None where nobody says.

    A table may list the video and the voice of one RAVDESS take as two clips; their names differ in the modality alone.
    """
    take = row.extra.get("take")
    if found := _TAKE.search(f"{take or ''} {row.key}"):
        return f"{DEMO_CORPUS}:{found[1]}" if row.corpus == DEMO_CORPUS else found[1]
    return f"{row.corpus}:{take}" if take else None


def one_spelling(name: str) -> str:
    """Return a name without what people are careless of: case, spaces, the way an accent is encoded."""
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def same_sounds(rows: Iterable[Row]) -> list[list[str]]:
    """Return the keys of clips whose prepared sound is the same to the sample; of each sound the first row's first.

    Digital silence is nobody's: clips without sound have no hash.
    """
    first: dict[str, str] = {}
    copies: dict[str, list[str]] = {}
    for row in rows:
        if sound := row.extra.get("sound"):
            key = first.setdefault(sound, row.key)
            if key != row.key:
                copies.setdefault(sound, [key]).append(row.key)
    return list(copies.values())


def name_copies(copies: Sequence[Sequence[str]]) -> str:
    """Return keys of the same sound for a message, as ``a = b, c = d = e``."""
    named = ", ".join(" = ".join(keys) for keys in copies[:_NAMED])
    return named if len(copies) <= _NAMED else f"{named} and {len(copies) - _NAMED} more"


def mark_clips(rows: Iterable[Row]) -> str:
    """Return by what clips are known again under other names, in letters: see :func:`find_marked`."""
    return _written({mark for row in rows for mark in _marks(row)})


def join_marks(*marks: str) -> str:
    """Return what :func:`mark_clips` would have returned of all the clips together."""
    return _written(set().union(*map(_read, marks)))


def find_marked(rows: Iterable[Row], marks: str, *, files: bool) -> list[Row]:
    """Return the clips that are among those that were marked, whatever they and their corpus are called now.

    The same sound and the same performance are the same clip. Words alone are common to many: they are the same clip
    where the key is the same too.

    Args:
        rows: The clips.
        marks: What :func:`mark_clips` returned.
        files: Whether the same video file is the same clip too. Owners' own parts may hold a picture twice, as
            FER2013's do, and are scored whole all the same.
    """
    known = _read(marks)
    return [row for row in rows if not known.isdisjoint(_marks(row, files))]


def _written(marks: set[bytes]) -> str:
    return b64encode(b"".join(sorted(marks))).decode()


def _read(marks: str) -> set[bytes]:
    data = b64decode(marks)
    return {data[start : start + _MARK] for start in range(0, len(data), _MARK)}


def _marks(row: Row, files: bool = True) -> list[bytes]:
    """Return the hashes by which a clip is known again."""
    found = [row.extra.get("sound"), take_name(row)]
    if files:
        found += [part for part in row.extra.get("source", "").split() if part.startswith("video:")]
    if row.video is None and row.audio is None:
        found.append(f"{row.key}\n{row.text}")
    return [blake2b(each.encode(), digest_size=_MARK).digest() for each in found if each]


def _shared(kind: str, parts: Mapping[Part, Sequence[Row]], name: Callable[[Row], str | None]) -> Iterator[str]:
    """Yield a sentence for each two parts that share something, however carelessly it is spelt."""
    held = {
        part: {one_spelling(found): found for found in {name(row) for row in rows} if found is not None}
        for part, rows in parts.items()
    }
    for first, second in combinations(held, 2):
        if shared := held[first].keys() & held[second].keys():
            spelt = (dict.fromkeys((held[first][each], held[second][each])) for each in shared)
            yield f"{kind} {listed(map(' = '.join, spelt), _NAMED)} are both in {first} and in {second}"


def _copies(copies: Sequence[Sequence[str]]) -> Iterator[str]:
    if copies:
        yield f"{len(copies)} sounds are each there under several keys: {name_copies(copies)}"
