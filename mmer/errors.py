"""Errors a user can act on.

Each message says what was given, what is allowed and what to do next, on one line. The ``mmer`` command, ``train.py``
and ``evaluate.py`` catch :class:`MmerError` at the top, print the line and exit with code 2.
"""

from __future__ import annotations

import os


class MmerError(Exception):
    """The base of every error that is the user's to mend, not ours."""


class ConfigError(MmerError):
    """A setting, a flag or a combination of them that cannot work."""


class CorpusError(MmerError):
    """A corpus, a table or a prepared folder that is not what it should be."""


class SplitError(MmerError):
    """A split that would leak or that leaves a part empty."""


class CheckpointError(MmerError):
    """A checkpoint or a weights file that cannot be read or does not fit."""


class PredictionsError(MmerError):
    """A file of predictions that cannot be scored, or systems that cannot be compared."""


class CrossvalError(MmerError):
    """A cross-validation that cannot go on: a training failed, a fold is missing, a folder holds another one."""


class SweepError(MmerError):
    """A sweep that cannot go on: its study is another's, its trainings all fail, its storage is out of reach."""


class ClipError(MmerError):
    """One clip that cannot be read.

    Args:
        key: The clip's key in its manifest, or the file's name where there is no manifest.
        path: The file at fault; None when the row names none.
        reason: What is wrong with it, without the key and the path.
        message: The whole of it, instead of the three. A data loader's worker can only hand over text, and does it in
            this way, to an error class that has a ``message``; the error's own line is the text's last.
    """

    def __init__(
        self, key: str = "", path: str | os.PathLike[str] | None = None, reason: str = "", message: str = ""
    ) -> None:
        self.key = key
        self.path = None if path is None else os.fspath(path)
        self.reason = " ".join(reason.split())
        self._message = message.strip().rpartition("ClipError: ")[2]
        super().__init__(key, self.path, self.reason, self._message)  # the arguments, so that the error can be pickled

    @property
    def message(self) -> str:
        """The error in one line."""
        where = "" if self.path in (None, self.key) else f" ({self.path})"
        return self._message or f"clip {self.key}{where}: {self.reason}"

    def __str__(self) -> str:
        return self.message
