from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from mmer import errors
from mmer.errors import ClipError, MmerError

ERROR = ClipError("01-02", Path("films/01-02.mp4"), "it is\n  truncated")
LINE = "clip 01-02 (films/01-02.mp4): it is truncated"


class Broken(Dataset[None]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise ERROR


def test_every_error_of_ours_can_be_caught_as_one() -> None:
    ours = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(ours) >= 6
    assert all(issubclass(kind, MmerError) for kind in ours)


def test_a_clip_error_is_one_line_with_key_path_and_reason() -> None:
    assert str(ERROR) == ERROR.message == LINE
    assert (ERROR.key, ERROR.path, ERROR.reason) == ("01-02", "films/01-02.mp4", "it is truncated")


@pytest.mark.parametrize("path", [None, "a.mp4"])
def test_a_clip_error_does_not_repeat_the_key_as_path(path: str | None) -> None:
    assert str(ClipError("a.mp4", path, "it is empty")) == "clip a.mp4: it is empty"


def test_a_clip_error_survives_pickling() -> None:
    copy = pickle.loads(pickle.dumps(ERROR))
    assert type(copy) is ClipError
    assert (copy.key, copy.path, copy.reason, str(copy)) == (ERROR.key, ERROR.path, ERROR.reason, LINE)


def test_a_clip_error_survives_a_data_loader_s_worker_as_the_same_line() -> None:
    clips = iter(DataLoader(Broken(), num_workers=1))
    with pytest.raises(ClipError) as caught:
        next(clips)
    clips._shutdown_workers()  # the traceback keeps it alive until the garbage collector waits 5 s for the worker
    assert str(caught.value) == LINE
