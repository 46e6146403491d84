"""Work spread over processes: as many as there are cores, a thread each, and none that outlives who asked for it."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

import cv2

Result = TypeVar("Result")


def _begin() -> None:
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed leaves its workers waiting for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@contextlib.contextmanager
def workers(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """`jobs` fresh processes; what has not begun when the context ends never does."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # they inherit it; more threads than cores would stand in each other's way
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def on_all_cores(function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]], jobs: int) -> Iterator[Result]:
    """What the function makes of each tuple of arguments, as it comes."""
    with workers(jobs) as pool:
        for future in concurrent.futures.as_completed([pool.submit(function, *row) for row in arguments]):
            yield future.result()
