"""On which clips a checkpoint may be scored: on nobody whom it has learned from, or it is said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmer.checkpoint import Card
from mmer.config import SplitConfig
from mmer.corpora.leaks import find_marked, name_copies, one_spelling, same_sounds
from mmer.corpora.manifest import Row, listed, person_name
from mmer.corpora.splits import Part, make_split
from mmer.data.dataset import usable_rows
from mmer.data.store import PreparedCorpus
from mmer.data.summary import kind_of_fault
from mmer.errors import ConfigError, SplitError

BROKEN = "broken, of the whole corpus"
"""How the reasons begin for which clips are left out whatever the part."""

_NAMED = 5  # how many names a note gives
_REASONS = 8  # how many kinds of broken clips are told apart


@dataclass(frozen=True, slots=True)
class Selection:
    """The clips on which a checkpoint is scored.

    Args:
        rows: The clips, with their speakers named as the checkpoint names people.
        protocol: How they were chosen, in words.
        part: Which part of the split they are; ``test`` also where the checkpoint knows none of them.
        leaks: Why the scores are too high, a sentence each.
        notes: What else is to be known of them, a sentence each.
        left_out: How many clips are not scored, by reason.
    """

    rows: list[Row]
    protocol: str
    part: Part
    leaks: tuple[str, ...]
    notes: tuple[str, ...]
    left_out: dict[str, int]


def select_clips(corpus: PreparedCorpus, card: Card, part: Part, split: SplitConfig | None = None) -> Selection:
    """Choose what to score a checkpoint on.

    The card says whose clips a part is, or which, so that nobody who was trained on can be scored as a test. A folder
    of corpora that the checkpoint has never seen is a test as a whole, but for the clips that only have other names
    there.

    Args:
        corpus: The prepared folder.
        card: What the checkpoint says of itself.
        part: Which part of the split to score.
        split: Another split than the checkpoint's own; where it allows a leak, what is shared is scored and said.

    Raises:
        SplitError: The part is empty, or the other split's part has speakers or clips that the checkpoint knows.
        ConfigError: A clip has a label of which the checkpoint knows nothing.
    """
    found = _own(corpus.rows, card, part) if split is None else _dealt_anew(corpus.rows, card, part, split)
    _check_labels(corpus, found.rows, card)
    rows = usable_rows(found.rows, card.model)
    if not rows:
        reads = " or ".join(card.model.reads)
        also = f" ({'; '.join(found.notes)})" if found.notes else ""
        raise SplitError(
            f"{found.protocol}: the {part} part has no clip that the model can use, with {reads} and one of its "
            f"labels{also}; name another corpus (--data.root) or --data.part"
        )
    left_out = {**_broken(corpus), **found.left_out, **_unusable(found.rows, rows, card)}
    notes = tuple(dict.fromkeys([*card.notes, *found.notes, *_lacking(rows, card)]))  # splits of the same clips agree
    return replace(
        found,
        rows=_named(rows, card),
        leaks=(*card.leaks, *found.leaks),
        notes=notes,
        left_out={reason: clips for reason, clips in left_out.items() if clips},
    )


def _check_labels(corpus: PreparedCorpus, rows: Sequence[Row], card: Card) -> None:
    """Refuse clips whose labels the checkpoint neither has nor leaves out."""
    known = card.model.label_set
    if strangers := known.strangers(row.label for row in rows if row.label is not None):
        dropped = f" (and leaves out {listed(known.dropped)})" if known.dropped else ""
        raise ConfigError(
            f"{corpus.name} has the labels {listed(map(repr, strangers))}, and the checkpoint's are "
            f"{', '.join(known.names)}{dropped}; score a corpus that has its labels"
        )


def _own(rows: Sequence[Row], card: Card, part: Part) -> Selection:
    """Choose a part of the checkpoint's own split, or all of a corpus that it has never seen."""
    own = {one_spelling(name) for name in card.corpora}
    if part == "test" and all(one_spelling(row.corpus) not in own for row in rows):
        unseen, notes = _unseen(rows, card, files=True)
        notes += _namesakes(unseen, card)
        protocol, strangers = "all of a corpus that was not trained on", 0
    else:
        unseen, notes = card.dealt.rows(rows, part), []
        protocol, strangers = card.protocol, sum(row.corpus not in card.corpora for row in rows)
        if part == "test" and not card.leaks:
            unseen, notes = _unseen(unseen, card, files=False)
    return Selection(
        unseen, protocol, part, (), tuple(notes), {"of a corpus that the checkpoint was not trained on": strangers}
    )


def _dealt_anew(rows: Sequence[Row], card: Card, part: Part, config: SplitConfig) -> Selection:
    """Choose a part of another split than the checkpoint's own; what it dropped as a repeat is dropped here too."""
    drops = "drop" in (config.duplicates, card.split.duplicates)
    split = make_split(rows, replace(config, duplicates="drop") if drops else config)
    chosen = split.rows(rows, part)
    known = tuple(f"the checkpoint {each}" for each in learned_from(chosen, card))
    protocol = split.protocol if part == "test" else f"{split.protocol}, its {part} part"
    if known and not config.allow_leak:
        raise SplitError(
            f"{protocol}: {'; '.join(known)}; score others, or --allow-leak scores them and marks the result"
        )
    notes = () if known else tuple(_namesakes(chosen, card))
    return Selection(chosen, protocol, "test", (*split.leaks, *known), (*split.notes, *notes), {})


def learned_from(rows: Sequence[Row], card: Card) -> Iterator[str]:
    """Say of which speakers and clips among some a checkpoint knows: a sentence each, without its subject."""
    spelt = {one_spelling(name): name for name in card.corpora}
    own = [replace(row, corpus=spelt[one_spelling(row.corpus)]) for row in rows if one_spelling(row.corpus) in spelt]
    learned = {*card.speakers.get("train", ()), *card.speakers.get("validation", ())}
    people = learned & {person_name(row, card.corpora) or "" for row in own}
    if people:
        yield f"has learned from speakers {listed(people, _NAMED)} or was chosen on them"
    parts = card.dealt.parts(own)
    keys = {row.key for row in (*parts["train"], *parts["validation"])}
    keys |= {row.key for row in find_marked(rows, card.marks, files=not own)}
    keys -= {row.key for row in own if person_name(row, card.corpora) in people}
    if keys:
        yield f"has learned from clips {listed(keys, _NAMED)} or was chosen on them"


def _unseen(rows: Sequence[Row], card: Card, *, files: bool) -> tuple[list[Row], list[str]]:
    """Return the rows without those that the checkpoint was trained on, whatever they were called, and say so."""
    seen = {row.key for row in find_marked(rows, card.marks, files=files)}
    rest = [row for row in rows if row.key not in seen]
    notes = []
    if seen:
        named = listed(seen, _NAMED)
        notes.append(
            f"{len(seen)} clips are left out, for the checkpoint has learned from them or their takes: {named}"
        )
    if copies := same_sounds(rest):
        notes.append(f"{len(copies)} sounds are scored under several keys: {name_copies(copies)}")
    return rest, notes


def _namesakes(rows: Sequence[Row], card: Card) -> list[str]:
    """Say which speakers of another corpus are called as some who were learned from."""
    people = [*card.speakers.get("train", ()), *card.speakers.get("validation", ())]
    learned = {one_spelling(name.rpartition(":")[2] if len(card.corpora) > 1 else name) for name in people}
    own = {one_spelling(name) for name in card.corpora}
    others = [row for row in rows if one_spelling(row.corpus) not in own]
    same = {row.speaker for row in others if row.speaker and one_spelling(row.speaker) in learned}
    if not same:
        return []
    return [
        f"speakers {listed(same, _NAMED)} are called as speakers whom the checkpoint has learned from; if they are the "
        "same people, the scores are too high"
    ]


def _named(rows: Sequence[Row], card: Card) -> list[Row]:
    """Name people as the card does; of several corpora that it does not know, say whose they are."""
    found = {row.corpus for row in rows}
    corpora = card.corpora if found <= set(card.corpora) else found
    return [replace(row, speaker=person_name(row, corpora)) for row in rows]


def _lacking(rows: Sequence[Row], card: Card) -> Iterator[str]:
    """Say how many clips lack what the model reads."""
    for modality in card.model.reads:
        lacking = sum(not row.has(modality) for row in rows)
        if lacking == len(rows):
            yield f"no clip has {modality}, which the model reads: all are scored without it"
        elif lacking:
            yield f"{lacking} of {len(rows)} clips have no {modality}: they are scored without it"


def _broken(corpus: PreparedCorpus) -> dict[str, int]:
    """Count the clips that the preparation left out, by the kind of fault; rare kinds together."""
    counts = Counter(kind_of_fault(reason) for reason in corpus.skipped()).most_common()
    named = {f"{BROKEN}: {reason}": clips for reason, clips in counts[:_REASONS]}
    rest = sum(clips for _, clips in counts[_REASONS:])
    return {**named, f"{BROKEN}: for other reasons": rest}


def _unusable(rows: Sequence[Row], kept: Sequence[Row], card: Card) -> dict[str, int]:
    """Count the clips of the part that the model cannot use, by reason."""
    left = len(rows) - len(kept)
    silent = sum(not any(row.has(each) for each in card.model.reads) for row in rows)
    return {
        f"without {' and '.join(card.model.reads)}": silent,
        f"with a label that {card.model.label_set.name} leaves out": left - silent,
    }
