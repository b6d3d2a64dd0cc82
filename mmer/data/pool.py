"""Many clips in several processes: results as they come, memory that does not grow, no worker outliving its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from multiprocessing.connection import wait as wait_for
from typing import TypeVar

import cv2

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 8  # tasks that wait for each worker: enough to keep it busy, few enough to hold in memory


def run_all(function: Callable[[T], R], tasks: Iterable[T], workers: int) -> Iterator[R]:
    """Yield the result of every task, in any order.

    Args:
        function: What to do, importable by name; one process runs it here.
        tasks: What to do it with; they are taken as they are needed.
        workers: How many processes.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    context = multiprocessing.get_context("spawn")  # a forked decoder thread would hang
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker) as pool:
        todo = iter(tasks)
        pending: set[Future[R]] = set()
        try:
            while True:
                pending |= {pool.submit(function, task) for task in islice(todo, _AHEAD * workers - len(pending))}
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """Prepare a worker process: one thread each, and the end of its parent is its own."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent tells it to stop, and prints one line instead of many
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """Stop this process as soon as its parent is gone, even killed, so that no two preparers write at a time."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a worker calls this"
    wait_for([parent.sentinel])
    os._exit(1)
