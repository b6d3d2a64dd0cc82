"""Corpora are joined without losing a clip, a corpus or the reason for a clip that is left out."""

from __future__ import annotations

from mmer.corpora.join import join
from mmer.corpora.manifest import Manifest, Row
from mmer.errors import ClipError


def test_rows_keep_their_corpus_in_order() -> None:
    joined = join([Manifest((Row("b", "one"), Row("a", "one"))), Manifest((Row("c", "two"),))])
    assert [(row.key, row.corpus) for row in joined.rows] == [("b", "one"), ("a", "one"), ("c", "two")]


def test_shared_key_gets_the_corpus_in_front() -> None:
    joined = join([Manifest((Row("a", "one", "7"), Row("b", "one"))), Manifest((Row("a", "two", "7"),))])
    assert [row.key for row in joined.rows] == ["one/a", "b", "two/a"]
    assert joined.broken == ()
    assert joined.rows[0] == Row("one/a", "one", "7"), "nothing else changes"


def test_key_that_one_corpus_has_twice_is_left_out() -> None:
    joined = join([Manifest((Row("a", "one"),)), Manifest((Row("a", "one"), Row("b", "one")))])
    assert [row.key for row in joined.rows] == ["b"]
    assert [str(error) for error in joined.broken] == [
        "clip a: the key is used 2 times (corpus one, corpus one); keys must be unique"
    ]


def test_broken_clips_and_notes_are_kept() -> None:
    one, two = ClipError("x", None, "it is broken"), ClipError("y", None, "it is too")
    joined = join([Manifest((), (one,), ("first",)), Manifest((), (two,), ("second",))])
    assert joined == Manifest((), (one, two), ("first", "second"))
