"""Which clips a checkpoint is scored on: of another split than its own nobody whom it knows, or it is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmer.checkpoint import Card
from mmer.config import ClipConfig, ModelConfig, PrepareConfig, ResNet3DConfig, SplitConfig, WaveCNNConfig
from mmer.corpora.manifest import Row
from mmer.corpora.splits import AT_RANDOM, make_split
from mmer.data.store import PreparedCorpus
from mmer.errors import ConfigError, SplitError
from mmer.evaluation.select import Selection, select_clips

VOICE = ModelConfig({"voice": WaveCNNConfig("wave_cnn", variant="tiny")}, labels=("no", "yes"))
BOTH = replace(
    VOICE, streams={**VOICE.streams, "face": ResNet3DConfig("resnet3d", variant="tiny")}, clip=ClipConfig(frames=8)
)
HOME = [Row(f"clip{i}", "home", str(i % 6), ("no", "yes")[i % 2], audio=Path("a.npz")) for i in range(12)]
AWAY = [Row(f"far{i}", "away", str(i % 3), ("no", "yes")[i % 2], audio=Path("a.npz")) for i in range(6)]
LEARNED = SplitConfig("speakers", test=(1, 4), validation=(2,))
"""Speakers 0, 3 and 5 were learned from, 2 chose the checkpoint."""


def trained(rows: Sequence[Row] = HOME, split: SplitConfig = LEARNED, model: ModelConfig = VOICE) -> Card:
    return Card.of_split(make_split(rows, split), rows, model=model, prepare=PrepareConfig(), split=split, root="home")


def select(
    rows: Sequence[Row], card: Card, part: Any = "test", split: SplitConfig | None = None, root: Path = Path("data")
) -> Selection:
    return select_clips(PreparedCorpus(root, tuple(rows), PrepareConfig()), card, part, split)


def keys(selection: Selection) -> list[str]:
    return [row.key for row in selection.rows]


def test_a_note_that_two_splits_give_is_given_once() -> None:
    twice = replace(HOME[0], key="again", extra={"sound": "same"})
    rows = [replace(HOME[0], extra={"sound": "same"}), *HOME[1:], twice]
    split = replace(LEARNED, duplicates="drop")
    chosen = select(rows, trained(rows, split), split=split)
    assert [note.partition(",")[0] for note in chosen.notes] == ["1 clips are left out"]


# --- another split


def test_another_split_is_scored_where_the_checkpoint_knows_nobody_of_it() -> None:
    found = select(HOME, trained(), split=SplitConfig("speakers", test=(1,), train=(2,)))
    assert (keys(found), found.protocol, found.part) == (["clip1", "clip7"], "speakers", "test")
    assert (found.leaks, found.notes) == ((), ())


def test_any_part_of_another_split_is_a_test_where_nobody_is_known() -> None:
    found = select(HOME, trained(), "train", SplitConfig("speakers", train=(4,), test=(1,)))
    assert (keys(found), found.protocol, found.part) == (["clip4", "clip10"], "speakers, its train part", "test")


@pytest.mark.parametrize(("test", "named"), [((0, 1), "0"), ((2, 4), "2"), ((3, 4, 5), "3, 5")])
def test_speakers_of_another_split_who_are_known_are_refused_by_name(test: tuple[int, ...], named: str) -> None:
    with pytest.raises(SplitError) as raised:
        select(HOME, trained(), split=SplitConfig("speakers", test=test))
    assert str(raised.value) == (
        f"speakers: the checkpoint has learned from speakers {named} or was chosen on them; score others, or "
        "--allow-leak scores them and marks the result"
    )


def test_an_allowed_leak_is_scored_and_marked() -> None:
    found = select(HOME, trained(), split=SplitConfig("speakers", test=(0, 1), allow_leak=True))
    assert keys(found) == ["clip0", "clip1", "clip6", "clip7"]
    assert found.leaks == ("the checkpoint has learned from speakers 0 or was chosen on them",)


def test_a_split_that_leaks_in_itself_is_marked_too() -> None:
    found = select(HOME, trained(), split=SplitConfig("random_leaky", allow_leak=True))
    assert found.leaks[0] == AT_RANDOM


def test_where_the_training_dropped_repeats_another_split_drops_them_too() -> None:
    rows = [replace(row, extra={"sound": "f00"}) if i in (1, 7) else row for i, row in enumerate(HOME)]
    split = SplitConfig("speakers", test=(1,))
    with pytest.raises(SplitError, match="1 sounds are each there under several keys: clip1 = clip7"):
        select(rows, trained(), split=split)
    found = select(rows, trained(rows, replace(LEARNED, duplicates="drop")), split=split)
    assert keys(found) == ["clip1"]
    assert found.leaks == ()


def test_a_known_speaker_is_known_in_clips_that_are_new_and_in_any_spelling_of_the_corpus() -> None:
    new = [Row("new", "HOME", "3", "no", audio=Path("a.npz")), Row("newer", "HOME", "9", "no", audio=Path("a.npz"))]
    with pytest.raises(SplitError, match="learned from speakers 3 or was chosen"):
        select(new, trained(), split=SplitConfig("speakers", test=(3,)))
    assert keys(select(new, trained(), split=SplitConfig("speakers", test=(9,)))) == ["newer"]


def test_clips_of_nobody_are_refused_by_their_keys() -> None:
    rows = [replace(row, speaker=None, extra={"split": ("train", "test")[i > 7]}) for i, row in enumerate(HOME)]
    card = trained(rows, SplitConfig("table"))
    moved = [replace(row, extra={"split": ("test", "train")[i > 8]}) for i, row in enumerate(rows)]
    with pytest.raises(SplitError, match=r"learned from clips clip0, clip1, .* and 3 more \(8 in all\) or was chosen"):
        select(moved, card, split=SplitConfig("table"))
    assert keys(select(moved, card, "train", SplitConfig("table"))) == ["clip9", "clip10", "clip11"]


def test_clips_that_only_have_other_names_are_refused_by_these() -> None:
    card = trained([replace(row, extra={"sound": f"s{i}"}) for i, row in enumerate(HOME)])
    again = [
        replace(row, key=f"new{i}", corpus="renamed", speaker=f"who{i % 6}", extra={"sound": f"s{i}"})
        for i, row in enumerate(HOME)
    ]
    with pytest.raises(SplitError, match="learned from clips new0, new6 or was chosen on them"):
        select(again, card, split=SplitConfig("speakers", test=("who0", "who1")))
    assert keys(select(again, card, split=SplitConfig("speakers", test=("who1",)))) == ["new1", "new7"]


def test_people_of_several_corpora_are_known_by_corpus_and_name() -> None:
    card = trained([*HOME, *AWAY], SplitConfig("speakers", test=("home:1", "away:2")))
    with pytest.raises(SplitError, match="learned from speakers away:1 or was chosen"):
        select([*HOME, *AWAY], card, split=SplitConfig("speakers", test=("home:1", "away:1")))
    found = select([*HOME, *AWAY], card, split=SplitConfig("speakers", test=("home:1",)))
    assert keys(found) == ["clip1", "clip7"]


def test_namesakes_of_another_corpus_are_told_in_another_split_too() -> None:
    found = select(AWAY, trained(), split=SplitConfig("speakers", test=(0, 1)))
    assert found.notes == (
        "speakers 0 are called as speakers whom the checkpoint has learned from; if they are the same people, the "
        "scores are too high",
    )


# --- labels, modalities and what is left out


def test_labels_that_the_checkpoint_does_not_know_are_refused_with_those_that_it_has() -> None:
    rows = [*HOME[:-1], replace(HOME[-1], label="perhaps", speaker="1"), replace(HOME[1], key="more", label="maybe")]
    with pytest.raises(ConfigError) as raised:
        select(rows, trained())
    assert str(raised.value) == (
        "data has the labels 'maybe', 'perhaps', and the checkpoint's are no, yes; score a corpus that has its labels"
    )


def test_labels_that_a_set_leaves_out_are_told_with_them() -> None:
    card = trained([replace(row, label="calm") for row in HOME], model=replace(VOICE, labels="no_calm7"))
    rows = [replace(row, label="hungry") for row in HOME]
    with pytest.raises(ConfigError, match=r"the labels 'hungry', and .*surprised \(and leaves out calm\); score a cor"):
        select(rows, card)


def test_clips_that_cannot_be_used_are_counted_by_reason(tmp_path: Path) -> None:
    rows = [replace(row, label="happy") for row in HOME]
    rows[1] = replace(rows[1], label="calm")
    rows[4] = replace(rows[4], audio=None)
    card = trained(rows, model=replace(VOICE, labels="no_calm7"))
    reasons = ["no face in any of 6 frames", "no face in any of 9 frames", *(f"fault {'x' * i}" for i in range(1, 9))]
    lines = ["key,path,reason", *(f"k{i},,{reason}" for i, reason in enumerate(reasons))]
    (tmp_path / "skipped.csv").write_text("\n".join(lines))
    left_out = select([*rows, *AWAY], card, root=tmp_path).left_out
    assert left_out == {
        "broken, of the whole corpus: no face in any of ... frames": 2,
        **{f"broken, of the whole corpus: fault {'x' * i}": 1 for i in range(1, 8)},
        "broken, of the whole corpus: for other reasons": 1,
        "of a corpus that the checkpoint was not trained on": 6,
        "without audio": 1,
        "with a label that no_calm7 leaves out": 1,
    }


def test_clips_without_a_modality_are_scored_without_it_and_counted() -> None:
    rows = [replace(row, video=Path("a.npz")) if i < 3 else row for i, row in enumerate(HOME)]
    found = select(rows, trained(rows, model=BOTH))
    assert keys(found) == ["clip1", "clip4", "clip7", "clip10"]
    assert found.notes == ("3 of 4 clips have no video: they are scored without it",)


def test_a_corpus_without_one_of_the_modalities_is_scored_without_it_and_says_so() -> None:
    found = select(HOME, trained(model=BOTH))
    assert len(found.rows) == 4
    assert found.notes == ("no clip has video, which the model reads: all are scored without it",)


def test_a_corpus_with_nothing_that_the_model_reads_is_refused() -> None:
    silent = [replace(row, audio=None, text="Kids are talking by the door.") for row in HOME]
    with pytest.raises(SplitError) as raised:
        select(silent, trained(model=BOTH))
    assert str(raised.value) == (
        "speakers: the test part has no clip that the model can use, with audio or video and one of its labels; name "
        "another corpus (--data.root) or --data.part"
    )
