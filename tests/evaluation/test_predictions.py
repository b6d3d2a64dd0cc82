from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmer.errors import ConfigError, PredictionsError
from mmer.evaluation.predictions import Predictions

ANSWERS = Predictions(
    names=("no", "perhaps", "yes"),
    key=("a", "b", "c"),
    speaker=("1", "2", ""),
    label=np.array([0, 2, 1]),
    probabilities=np.array([[0.5, 0.2, 0.3], [0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]),
)

FULL = replace(
    ANSWERS,
    probabilities=np.array([[1 / 3, 1 / 3, 1 / 3], [1e-30, 1 - 2e-7, 2e-7], [0.1, 0.2, 0.7]]),
    given=np.array([1, 1, 2]),
    fold=("1", "2", "1"),
    seed=("0", "0", "7"),
    groups={"corpus": ("ravdess",) * 3, "gender": ("female", "male", "")},
    leaky=True,
)

GOOD = "key,speaker,label,no,yes\na,1,no,0.75,0.25\nb,2,yes,0.5,0.5\n"


def table(folder: Path, text: str, name: str = "answers.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path, names: Sequence[str] | None = None) -> str:
    with pytest.raises(PredictionsError) as caught:
        Predictions.read(path, names)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "FILE")


def same(a: Predictions, b: Predictions) -> bool:
    arrays = [np.array_equal(x, y) for x, y in ((a.label, b.label), (a.probabilities, b.probabilities))]
    given = np.array_equal(a.predicted, b.predicted)
    rest = [(x.names, x.key, x.speaker, x.fold, x.seed, dict(x.groups), x.leaky) for x in (a, b)]
    return all(arrays) and given and rest[0] == rest[1]


def test_the_likeliest_class_is_predicted_and_the_first_of_equals() -> None:
    assert ANSWERS.predicted.tolist() == [0, 0, 2]


def test_where_keeps_all_that_belongs_to_a_clip() -> None:
    kept = FULL.where(np.array([False, True, True]))
    assert (len(kept), kept.key, kept.speaker, kept.label.tolist()) == (2, ("b", "c"), ("2", ""), [2, 1])
    assert (kept.fold, kept.seed, kept.groups["gender"]) == (("2", "1"), ("0", "7"), ("male", ""))
    assert np.array_equal(kept.probabilities, FULL.probabilities[1:])
    assert len(ANSWERS.where(np.zeros(3, bool))) == 0


def test_classes_in_another_order_are_the_same_answers() -> None:
    turned = FULL.renamed(("yes", "no", "perhaps"))
    for x, y in ((FULL.label, turned.label), (FULL.predicted, turned.predicted)):
        assert [FULL.names[i] for i in x] == [turned.names[i] for i in y]
    np.testing.assert_array_equal(turned.probabilities, FULL.probabilities[:, [2, 0, 1]])


# --- files


def test_the_table_names_the_classes_and_has_a_line_a_clip(tmp_path: Path) -> None:
    ANSWERS.write(tmp_path / "predictions.csv")
    with (tmp_path / "predictions.csv").open(newline="", encoding="utf-8") as file:
        lines = list(csv.reader(file))
    assert lines[0] == ["key", "speaker", "label", "predicted", "no", "perhaps", "yes"]
    assert lines[2] == ["b", "2", "yes", "no", "0.4", "0.4", "0.2"]
    assert len(lines) == 4


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("answers", [ANSWERS, FULL], ids=["little", "everything"])
def test_what_is_written_is_read_again_to_the_last_bit(answers: Predictions, suffix: str, tmp_path: Path) -> None:
    first, again = tmp_path / f"first{suffix}", tmp_path / f"again{suffix}"
    answers.write(first)
    found = Predictions.read(first)
    assert same(found, answers)
    assert found.notes == ()
    found.write(again)
    assert first.read_bytes() == again.read_bytes()


def test_a_table_of_other_programs_is_read(tmp_path: Path) -> None:
    """With a byte order mark, spaces, columns in another order, rounded numbers, speakers as numbers of any kind."""
    text = "﻿yes, no ,label,key,speaker,age\n0.667,0.3330,yes,a, 7.0,31\n1,0, no ,b,07,\n"
    found = Predictions.read(table(tmp_path, text))
    assert (found.names, found.key, found.speaker) == (("yes", "no"), ("a", "b"), ("7", "7"))
    assert found.label.tolist() == [0, 1]
    assert found.given is None
    np.testing.assert_allclose(found.probabilities, [[0.667, 0.333], [1, 0]])
    assert found.notes == ("columns of answers.csv that are no classes are left out: age",)


def test_a_sum_that_is_off_by_rounding_is_mended(tmp_path: Path) -> None:
    found = Predictions.read(table(tmp_path, "key,label,x,y,z\na,x,0.3333,0.3333,0.3333\n"))
    np.testing.assert_allclose(found.probabilities, 1 / 3, rtol=1e-15)


def test_a_class_may_be_neither_true_nor_predicted(tmp_path: Path) -> None:
    found = Predictions.read(table(tmp_path, "key,label,happy,sad,calm\na,happy,0.5,0.5,0\n"))
    assert found.names == ("happy", "sad", "calm")


def test_the_class_names_can_be_said(tmp_path: Path) -> None:
    path = table(tmp_path, "key,label,happy,sad,correct\na,happy,0.5,0.5,1\n")
    assert "add up to 2 instead of 1 (line 2)" in refusal(path)
    found = Predictions.read(path, ("sad", "happy"))
    assert (found.names, found.label.tolist()) == (("sad", "happy"), [1])
    assert refusal(path, ("happy", "glad")) == (
        "FILE has no column for the labels glad; its columns: happy, sad, correct"
    )


def test_predicted_may_differ_from_the_likeliest(tmp_path: Path) -> None:
    path = table(tmp_path, "key,label,predicted,no,yes\na,no,yes,0.75,0.25\n")
    assert Predictions.read(path).predicted.tolist() == [1]


def test_speakers_of_several_corpora_are_told_apart(tmp_path: Path) -> None:
    text = "key,speaker,corpus,fold,label,no,yes\n"
    text += "a,1,ravdess,1,no,1,0\nb,1,emodb,2,no,1,0\nc,emodb:01,emodb,2,no,1,0\nd,,emodb,2,no,1,0\ne,1,,3,no,1,0\n"
    assert Predictions.read(table(tmp_path, text)).speaker == ("ravdess:1", "emodb:1", "emodb:1", "", "1")


def test_a_column_without_a_name_is_said_to_be_one(tmp_path: Path) -> None:
    found = Predictions.read(table(tmp_path, ",key,label,no\n7,a,no,1\n"))
    assert found.notes == ("columns of answers.csv that are no classes are left out: one without a name",)


@pytest.mark.parametrize(("value", "leaky"), [("yes", True), ("no", False), ("True", True), ("", False)])
def test_a_leaky_split_is_known_from_its_column(value: str, leaky: bool, tmp_path: Path) -> None:
    assert Predictions.read(table(tmp_path, f"key,label,x,leaky\na,x,1,{value}\n")).leaky is leaky


def test_100_000_lines_are_read(tmp_path: Path) -> None:
    clips = 100_000
    lines = "".join(f"clip-{i},{i % 200},no,0.25,0.75\n" for i in range(clips))
    found = Predictions.read(table(tmp_path, f"key,speaker,label,no,yes\n{lines}"))
    assert (len(found), len(set(found.speaker))) == (clips, 200)


# --- what cannot be scored

FAULTS = {
    "no key": (
        "clip,speaker,label,no,yes\na,1,no,1,0\n",
        "FILE has no column key (its columns: clip, speaker, label, no, yes); it needs key, label and a column of "
        "probabilities for each class, separated by commas",
    ),
    "semicolons": (
        GOOD.replace(",", ";"),
        "FILE has no column key and label (its columns: key;speaker;label;no;yes); it needs key, label and a column of "
        "probabilities for each class, separated by commas",
    ),
    "empty": (
        "",
        "FILE has no column key and label (its columns: none); it needs key, label and a column of probabilities for "
        "each class, separated by commas",
    ),
    "no clips": ("key,label,x\n", "FILE has a header and no clips; give a line for each clip"),
    "no class": (
        "key,label,predicted\na,x,x\n",
        "FILE has no column of probabilities; give one for each class, named as it",
    ),
    "column twice": ("key,label,x,x\na,x,1,0\n", "FILE has more than one column x; leave one of each"),
    "ragged": (
        "key,label,x\na,x,1\nb,x\n\nc,x,1,1\n",
        "FILE: not the 3 cells of the header on lines 3, 5; mend the table",
    ),
    "empty key": (GOOD.replace("a,1", ",1"), "FILE: line 2 without a key; give one to every line"),
    "empty label": (GOOD.replace("2,yes", "2,"), "FILE: line 3 without a label; give one to every line"),
    "label without column": (
        GOOD.replace("2,yes", "2,maybe"),
        "FILE: label 'maybe' (line 3) is no class; the classes are no, yes: each needs a column of probabilities",
    ),
    "predicted without column": (
        "key,label,predicted,x\na,x,y,1\nb,x,,1\n",
        "FILE: predicted 'y' (line 2) and 1 more are no class; the classes are x: each needs a column of probabilities",
    ),
    "no number": (
        GOOD.replace("0.75", "much"),
        "FILE: 'much' in column no is no probability (line 2); give numbers from 0 to 1",
    ),
    "missing number": (
        GOOD.replace("0.75", ""),
        "FILE: '' in column no is no probability (line 2); give numbers from 0 to 1",
    ),
    "nan": (
        GOOD.replace("0.75", "nan"),
        "FILE: 'nan' in column no is no probability (line 2); give numbers from 0 to 1",
    ),
    "negative": (
        GOOD.replace("0.75", "-0.25"),
        "FILE: '-0.25' in column no is no probability (line 2); give numbers from 0 to 1",
    ),
    "percent": (
        GOOD.replace("0.75", "75"),
        "FILE: '75' in column no is no probability (line 2); give numbers from 0 to 1",
    ),
    "sum": (
        GOOD.replace("0.75", "0.5"),
        "FILE: the probabilities of no, yes add up to 0.75 instead of 1 (line 2); mend them, or say with --labels "
        "which columns are classes",
    ),
    "repeated key": (
        GOOD + "a,1,no,1,0\nb,2,yes,1,0\n",
        "FILE: key a is on lines 2, 4, and 1 more keys are repeated; give a clip one line, or one for each seed with a "
        "column seed",
    ),
    "repeated key of a seed": (
        "key,label,x,seed\na,x,1,0\na,x,1,1\na,x,1,0\n",
        "FILE: key a is on lines 2, 4; give a clip one line, or one for each seed with a column seed",
    ),
    "fold here and there": (
        "key,label,x,fold\na,x,1,1\nb,x,1,\nc,x,1,\n",
        "FILE: lines 3, 4 without a fold; give one to every line",
    ),
    "seed here and there": (
        "key,label,x,seed\na,x,1,1\nb,x,1,\n",
        "FILE: line 3 without a seed; give one to every line",
    ),
    "two labels": (
        "key,label,x,y,seed\na,x,1,0,0\na,y,1,0,1\n",
        "FILE: clips with another label for another seed: a; mend them",
    ),
    "two speakers": (
        "key,label,x,seed,speaker\na,x,1,0,1\na,x,1,1,2\n",
        "FILE: clips with another speaker for another seed: a; mend them",
    ),
    "leaky folds": (
        "key,label,x,fold,speaker\na,x,1,1,1\nb,x,1,2,1\n",
        "FILE: speakers in several folds: 1; whoever is tested in one fold was learned from in the others: deal folds "
        "by speaker, or add a column leaky that says yes",
    ),
    "leaky of another word": (
        "key,label,x,leaky\na,x,1,perhaps\n",
        "FILE: column leaky says perhaps; it may say yes or no",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_table_that_cannot_be_scored_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    text, message = FAULTS[name]
    assert refusal(table(tmp_path, text)) == message


def test_many_faults_are_counted_and_a_few_named(tmp_path: Path) -> None:
    lines = "".join(f"clip-{i},x,0.5\n" for i in range(1440))
    assert refusal(table(tmp_path, f"key,label,x\n{lines}")).endswith(
        "instead of 1 (lines 2, 3, 4, 5, 6 and 1435 more (1440 in all)); mend them, or say with --labels which columns "
        "are classes"
    )


def test_a_speaker_in_two_folds_passes_where_the_file_says_that_it_leaks(tmp_path: Path) -> None:
    text = "key,label,x,fold,speaker,leaky\na,x,1,1,1,yes\nb,x,1,2,1,yes\n"
    assert Predictions.read(table(tmp_path, text)).leaky


def test_a_speaker_may_be_in_another_fold_of_another_seed(tmp_path: Path) -> None:
    text = "key,label,x,fold,speaker,seed\na,x,1,1,1,0\na,x,1,2,1,1\n"
    assert Predictions.read(table(tmp_path, text)).fold == ("1", "2")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    advice = "; give a UTF-8 CSV file with a header, or a Parquet file"
    assert refusal(tmp_path / "none.csv") == f"the predictions FILE cannot be read: No such file or directory{advice}"
    latin = tmp_path / "latin.csv"
    latin.write_bytes(GOOD.replace("a,1", "ä,1").encode("latin-1"))
    assert refusal(latin).startswith("the predictions FILE cannot be read: 'utf-8' codec can't decode byte")
    parquet = table(tmp_path, GOOD, "text.parquet")
    assert refusal(parquet).startswith("the predictions FILE cannot be read: it is no whole Parquet file;")


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "answers.xlsx"
    message = "answers.xlsx: the name must end in .csv or .parquet; rename it or export it so"
    for act in (lambda: Predictions.read(path), lambda: ANSWERS.write(path)):
        with pytest.raises(ConfigError, match=message):
            act()
    assert list(tmp_path.iterdir()) == []


def test_parquet_without_its_library_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (lambda: Predictions.read(tmp_path / "a.parquet"), lambda: ANSWERS.write(tmp_path / "a.parquet")):
        with pytest.raises(ConfigError) as caught:
            act()
        assert str(caught.value) == "Parquet files need pyarrow: pip install 'mmer[parquet]', or use CSV"
    assert list(tmp_path.iterdir()) == []
