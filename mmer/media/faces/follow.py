"""Follow every face through a clip in one pass, and choose the one that the clip is about."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from mmer.media.faces.boxes import Box
from mmer.media.faces.look import SAME_FACE
from mmer.media.video import Frame

T = TypeVar("T")

_PATIENCE = 15  # frames without a face that are bridged, half a second
_MOST_FACES = 4  # that are remembered at once
_TRUSTED = 3  # looks that make a face worth waiting for
_BACK = 0.75  # sides of its box within which a face comes back
_RESIZED = 1.6  # how much larger or smaller it may have become

Look = Callable[[Frame, Sequence[Box], Sequence[Box]], list[Box]]
"""Finds faces in a frame, given those that are followed and those that rest."""


class Face(Generic[T]):
    """One face through a clip.

    It remembers two looks: the settled one, up to which its boxes are known, and perhaps a later one, which is
    smoothed as soon as its other neighbour is known.

    Args:
        index: The frame that first shows it.
        box: Its box there.
    """

    def __init__(self, index: int, box: Box) -> None:
        self.kept: dict[int, tuple[Box, T]] = {}
        self.score = 0.0
        self.looks = 0
        self.live = True
        self.settled = index
        self._smooth = self._raw = box
        self._pending: tuple[int, Box] | None = None
        self._pace = (0.0, 0.0)

    @property
    def place(self) -> Box:
        """Where it was seen last."""
        return self._last[1]

    @property
    def _last(self) -> tuple[int, Box]:
        return (self.settled, self._raw) if self._pending is None else self._pending

    def expected(self, index: int) -> Box:
        """Return where it is at a frame if it goes on as it went between its last two looks."""
        seen, box = self._last
        return box.moved(self._pace[0] * (index - seen), self._pace[1] * (index - seen))

    def count(self, weight: float) -> None:
        """Note that a look saw it."""
        self.score += weight
        self.looks += 1

    def see(self, index: int, box: Box) -> Iterator[tuple[int, Box]]:
        """Take a new look, and yield the boxes up to the look before, which it settles."""
        since, last = self._last
        self._pace = (box.x - last.x) / (index - since), (box.y - last.y) / (index - since)
        pending, self._pending = self._pending, (index, box)
        if pending is not None:
            middle, seen = pending
            between = self._raw.blend(box, (middle - self.settled) / (index - self.settled))
            yield from self._settle(middle, seen, between.blend(seen, 0.5))

    def flush(self) -> Iterator[tuple[int, Box]]:
        """Yield the boxes up to the last look, which no other follows."""
        if self._pending is not None:
            (index, box), self._pending = self._pending, None
            yield from self._settle(index, box, box)

    def resume(self, index: int, box: Box) -> None:
        """Go on elsewhere: what lies between is not bridged."""
        self.live, self.settled, self._smooth, self._raw, self._pace = True, index, box, box, (0.0, 0.0)

    def rest_of(self, end: int) -> Iterator[tuple[int, Box]]:
        """Yield the box of the last look for the frames behind it."""
        yield from ((index, self._smooth) for index in range(self.settled + 1, end + 1))

    def _settle(self, index: int, raw: Box, smooth: Box) -> Iterator[tuple[int, Box]]:
        """Yield the boxes on the way from the settled look to another one."""
        before, count = self._smooth, index - self.settled
        yield from ((self.settled + step, before.blend(smooth, step / count)) for step in range(1, count + 1))
        self.settled, self._raw, self._smooth = index, raw, smooth


class Follower(Generic[T]):
    """Follows all faces of a clip.

    Between two looks that find a face its box is interpolated. Each look is smoothed with its two neighbours, so that
    the box neither trembles nor lags: of a face that moves evenly every box is exact. Only the frames since the look
    before the last are held, so a long clip needs no more memory than a short one.

    Args:
        look: Finds faces.
        every: Look at every k-th frame.
        make: What to make of a frame and a box, as a JPEG of the face; it is kept in place of the frame.
    """

    def __init__(self, look: Look, every: int, make: Callable[[Frame, Box], T]) -> None:
        self._look = look
        self._every = every
        self._make = make
        self._faces: list[Face[T]] = []
        self._waiting: dict[int, Frame] = {}

    def follow(self, frames: Iterable[Frame]) -> dict[int, tuple[Box, T]]:
        """Return the boxes of the clip's main face, and what was made of them, by the number of the frame.

        The main face is large, central, and there for long; frames that do not show it are absent.
        """
        index = -1
        for index, frame in enumerate(frames):
            self._waiting[index] = frame
            if index % self._every == 0:
                self._see(index, frame)
            self._forget()
        for face in self._faces:
            self._keep(face, face.flush())
            if face.live and index - face.settled < self._every:  # the last look saw it
                self._keep(face, face.rest_of(index))
        best = max(self._faces, key=lambda face: face.score, default=None)
        return {} if best is None else best.kept

    def _see(self, index: int, frame: Frame) -> None:
        live = [face for face in self._faces if face.live]
        resting = [face for face in self._faces if not face.live and face.looks >= _TRUSTED]
        boxes = self._look(frame, [face.place for face in live], [face.place for face in resting])
        pairs = _pair(live, index, boxes)
        for face in live:
            if face in pairs:
                self._keep(face, face.see(index, boxes[pairs[face]]))
                face.count(_weight(face.place, frame))
            else:
                self._keep(face, face.flush())
                face.live = index + self._every - face.settled <= _PATIENCE
        for number, box in enumerate(boxes):
            if number not in pairs.values():
                self._begin(index, box, frame)

    def _begin(self, index: int, box: Box, frame: Frame) -> None:
        """Go on with a resting face that has come back, or start a new one."""
        weight = _weight(box, frame)
        back = [face for face in self._faces if not face.live and _is_back(face.place, box)]
        if back:
            face = min(back, key=lambda face: face.place.distance(box))
            face.resume(index, box)
        elif self._has_room(weight, frame):
            face = Face(index, box)
            self._faces.append(face)
        else:
            return
        face.count(weight)
        self._keep(face, [(index, box)])

    def _has_room(self, weight: float, frame: Frame) -> bool:
        """Make room for a new face, unless even the least of the others is there and weighs more."""
        if len(self._faces) < _MOST_FACES:
            return True
        least = min(self._faces, key=lambda face: face.score)
        if least.live and _weight(least.place, frame) >= weight:
            return False
        self._faces.remove(least)
        return True

    def _keep(self, face: Face[T], placed: Iterable[tuple[int, Box]]) -> None:
        for index, box in placed:
            face.kept[index] = (box, self._make(self._waiting[index], box))

    def _forget(self) -> None:
        """Let go of the frames that no face waits for."""
        oldest = min((face.settled for face in self._faces if face.live), default=math.inf)
        for index in [index for index in self._waiting if index <= oldest]:
            del self._waiting[index]


def _pair(faces: Sequence[Face[T]], index: int, boxes: Sequence[Box]) -> dict[Face[T], int]:
    """Give each face the number of its box: that which overlaps it most where it is expected, or else the nearest.

    No box goes to two. Of two people who cross each keeps his way, and a head that moved on a sudden is no new one.
    """
    ranked = []
    for i, face in enumerate(faces):
        expected = face.expected(index)
        for j, box in enumerate(boxes):
            overlap = expected.overlap(box)
            if overlap > SAME_FACE:
                ranked.append((-overlap, i, j))
            elif _is_back(face.place, box):
                ranked.append((face.place.distance(box), i, j))  # behind all that overlap
    pairs: dict[Face[T], int] = {}
    for _, i, j in sorted(ranked):
        if faces[i] not in pairs and j not in pairs.values():
            pairs[faces[i]] = j
    return pairs


def _is_back(place: Box, box: Box) -> bool:
    ratio = max(place.side, box.side) / min(place.side, box.side)
    return ratio < _RESIZED and place.distance(box) < _BACK * place.side


def _weight(box: Box, frame: Frame) -> float:
    """Return how much a face at one look speaks for being the clip's: its side, less towards the corners."""
    return box.side * (1 - math.hypot(box.x / frame.width - 0.5, box.y / frame.height - 0.5))
