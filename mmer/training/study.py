"""The study of a sweep on Optuna: its storage, how trials are drawn, and when they are ended early."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from mmer.errors import ConfigError, SweepError
from mmer.training.domains import Choice, Domain, Plain
from mmer.training.sampler import SeededSampler
from mmer.training.slots import SLOT
from mmer.training.sweep_file import Halving, Pruner, Sweep
from mmer.training.sweep_plan import SweepPlan

DEFINITION = "definition"
"""Attribute of a study: what all who work on it must agree on."""

WANTED = "trials"
"""Attribute of a study: how many trials are to finish."""

RETRIES = "retries"
"""Attribute of a study: how many times a trial that dies is tried again."""

HEARTBEAT = 15
"""Seconds between two signs of life in a database."""

GRACE = 60
"""Seconds without one, after which a trial is taken for dead."""

JOURNAL = "study.log"
"""Where a study is kept that names no database, in the sweep's folder."""

_RETRIES = 2  # where nothing is asked for
_STARTUP = 5  # trials that the median waits for
_ATTEMPTS = 5  # at tables that two processes make at once


class JournalLock(JournalFileOpenLock):
    """One writer to a journal at a time; a killed one keeps nobody out, and what he wrote by half is cut off.

    Optuna's own locks are files that a killed writer leaves behind, and others wait half a minute for him.

    Args:
        path: The journal.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._journal = path
        self._held = FileLock(path.with_name(f".{path.name}.lock"))

    def acquire(self) -> bool:
        """Wait until nobody else writes."""
        self._held.acquire()
        _cut_broken_line(self._journal)
        return True

    def release(self) -> None:
        """Let others write."""
        self._held.release()


class HalvingPruner(SuccessiveHalvingPruner):
    """Successive halving (Li et al., 2018) that counts a trial once that was tried again, and no trial that failed."""

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Tell whether a trial should end early."""
        return super().prune(cast(Study, _WithoutFailed(study)), trial)


class _WithoutFailed:
    """A study as if no trial of it had failed."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def get_trials(self, **how: Any) -> list[FrozenTrial]:
        """Return the others."""
        return [trial for trial in self._study.get_trials(**how) if trial.state is not TrialState.FAIL]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)


def name_storage(url: str | None) -> str:
    """Return where a study is kept, as a message may say it: without a password.

    Args:
        url: Address of a database; None is the journal of the folder.

    Raises:
        ConfigError: It is no address, or its driver is missing.
    """
    if url is None:
        return JOURNAL
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        address = make_url(url)
        driver = address.get_driver_name()
        address.get_dialect()
    except (SQLAlchemyError, ImportError) as error:
        raise ConfigError(
            f"--storage {re.sub('//[^@/]*@', '//***@', url)} is no address of a database that is known; give one as "
            "sqlite:///FILE or "
            "postgresql+psycopg://USER@HOST/DATABASE"
        ) from error
    if driver in ("psycopg", "psycopg2") and find_spec(driver) is None:
        hint = "pip install 'mmer[postgres]'"
        other = "" if driver == "psycopg" else ", and write postgresql+psycopg://"
        raise ConfigError(f"--storage {url.partition(':')[0]} needs {driver}: {hint}{other}")
    return str(address.render_as_string(hide_password=True))


def open_storage(url: str | None, folder: Path) -> BaseStorage:
    """Open where a study is kept: a database, or the journal of a folder.

    Raises:
        ConfigError: The address is none, or its driver is missing.
        SweepError: The database cannot be reached.
    """
    shown = name_storage(url)
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # what becomes of a trial is said by who trains it
    if url is None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / JOURNAL
        return JournalStorage(JournalFileBackend(str(path), JournalLock(path)))
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    for attempt in range(_ATTEMPTS):
        try:
            with quietly():
                return RDBStorage(
                    url, engine_kwargs={"pool_pre_ping": True}, heartbeat_interval=HEARTBEAT, grace_period=GRACE
                )
        except ImportError as error:
            raise ConfigError(f"--storage {shown} needs a driver that is not installed; see docs/sweeps.md") from error
        except (SQLAlchemyError, StorageInternalError) as error:
            refused = isinstance(error, OperationalError) and not url.startswith("sqlite")
            if refused or attempt == _ATTEMPTS - 1:
                raise SweepError(f"--storage {shown} cannot be used: {_first_line(error)}") from error
            sleep(1.0)  # another process is making the tables
    raise AssertionError


@contextmanager
def closing_storage(storage: BaseStorage) -> Iterator[BaseStorage]:
    """Let go of a database's connections at the end.

    Raises:
        SweepError: Meanwhile it could not be read or written to.
    """
    try:
        yield storage
    except StorageInternalError as error:
        raise SweepError(f"the study cannot be read or written to: {_first_line(error)[:200]}") from error
    finally:
        if isinstance(storage, RDBStorage):
            storage.remove_session()
            storage.engine.dispose()


def open_study(storage: BaseStorage, name: str, plan: SweepPlan) -> Study:
    """Begin the study of a sweep, or find the one of that name.

    Args:
        storage: Where.
        name: What it is called.
        plan: The sweep; all who work on it must agree on it.

    Raises:
        SweepError: It is another's.
    """
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction=plan.sweep.goal,
        sampler=SeededSampler(plan.sweep.method, plan.seed),
        pruner=make_pruner(plan.pruner, plan.sweep.halving, plan.epochs),
        load_if_exists=True,
    )
    if study.user_attrs.get(DEFINITION) is None:
        if study.get_trials(deepcopy=False):
            raise SweepError(f"study {name} is not of mmer sweep; give another --study")
        study.set_user_attr(DEFINITION, plan.definition())
    check_definition(study, plan)  # also of what was just written: another machine may have been quicker
    return study


def check_definition(study: Study, plan: SweepPlan) -> None:
    """Refuse a study that was begun with other settings.

    Raises:
        SweepError: It was.
    """
    if differences := plan.differences(study.user_attrs[DEFINITION]):
        raise SweepError(
            f"study {study.study_name} was begun with other settings: {differences}; give those, or another --study "
            "and --output"
        )


def load_study(storage: BaseStorage, name: str) -> Study:
    """Find a study.

    Raises:
        SweepError: There is none.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        raise SweepError(f"there is no study {name} here; begin it without --report") from error


def make_pruner(kind: Pruner, halving: Halving | None, epochs: int | None) -> BasePruner:
    """Return what says when a trial is ended early.

    Args:
        kind: How it does.
        halving: The moments that the file names.
        epochs: How long a trial lasts; None where nobody knows.
    """
    first, factor = (halving.epochs, halving.factor) if halving is not None else (1, 3)
    if kind == "median":
        return MedianPruner(n_startup_trials=_STARTUP, n_warmup_steps=first)
    if kind == "halving":
        return HalvingPruner(min_resource=first, reduction_factor=factor)
    if kind == "hyperband":
        longest = "auto" if epochs is None else max(epochs, first)
        return HyperbandPruner(min_resource=first, max_resource=longest, reduction_factor=factor)
    return NopPruner()


def distributions(sweep: Sweep) -> dict[str, BaseDistribution]:
    """Return a sweep's parameters as Optuna has them."""
    return {name: _distribution(domain) for name, domain in sweep.domains.items()}


def ask_for(study: Study, wanted: int, retries: int | None = None) -> None:
    """Tell all who work on a study what is wanted of it; the last who does counts.

    Args:
        study: The study.
        wanted: How many of its trials are to finish.
        retries: How many times a trial that dies is tried again; None leaves it as it is.
    """
    study.set_user_attr(WANTED, wanted)
    if retries is not None:
        study.set_user_attr(RETRIES, retries)


def retries_of(known: Mapping[str, Any]) -> int:
    """Return how many times a trial that dies is tried again, by the attributes of its study."""
    return int(known.get(RETRIES, _RETRIES))


def add_points(study: Study, points: Sequence[Mapping[str, Plain]]) -> None:
    """Put the points of a grid in the queue that are not in it yet; two processes may, for each is done once."""
    known = {trial.user_attrs.get(SLOT) for trial in study.get_trials(deepcopy=False)}
    for number, point in enumerate(points):
        if number not in known:
            study.enqueue_trial(dict(point), user_attrs={SLOT: number})


def unfinished(study: Study) -> list[FrozenTrial]:
    """Return the trials that somebody works on, or that whoever did has left."""
    return study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


@contextmanager
def quietly() -> Iterator[None]:
    """Use what Optuna calls experimental, and what it wants to be used in another loop than this one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")
        yield


def _distribution(domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.values)
    if domain.whole:
        return IntDistribution(int(domain.low), int(domain.last), log=domain.log, step=int(domain.step or 1))
    return FloatDistribution(domain.low, domain.last, log=domain.log, step=domain.step)


def _cut_broken_line(path: Path) -> None:
    """Cut off a last line that has no end, which would spoil the next."""
    with path.open("r+b") as file:
        end = file.seek(0, os.SEEK_END)
        if not end:
            return
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def _first_line(error: Exception) -> str:
    return str(error.__cause__ or error).strip().partition("\n")[0]
