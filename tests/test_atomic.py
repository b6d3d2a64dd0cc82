from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mmer.atomic import replacing


def test_a_file_appears_whole_and_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (tmp_path, ".csv")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_by_the_file_that_does_not_fit(tmp_path: Path) -> None:
    for raised, named in ((OSError(errno.ENOSPC, "No space left on device"), "scores.csv"), (OSError(5, "?"), None)):
        with pytest.raises(OSError) as error, replacing(tmp_path / "scores.csv"):
            raise raised
        assert error.value.filename == (named and str(tmp_path / named))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_file_is_untouched_and_nothing_else_is_left(
    tmp_path: Path, error: type[BaseException]
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:
        temporary.write_text("ne")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
