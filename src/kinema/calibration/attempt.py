"""A solver at work in a thread, so that whoever asked for it goes on meanwhile."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from kinema.errors import CalibrationError, KinemaError

Result = TypeVar("Result")


class Attempt(Generic[Result]):
    """`job` runs at once. Nothing waits for it: neither who forgets this, nor the process at its end."""

    def __init__(self, job: Callable[[], Result]) -> None:
        self._job = job
        self._found: list[Result] = []
        self._failed: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="solver", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found.append(self._job())
        except Exception as error:
            self._failed = error

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def result(self) -> Result:
        """What the job has returned, waiting for it; its KinemaError, or any other failure as CalibrationError."""
        self._thread.join()
        if isinstance(self._failed, KinemaError):
            raise self._failed
        if self._failed is not None:
            what = f"{type(self._failed).__name__}: {self._failed}"
            raise CalibrationError(f"the solver has failed ({what})") from self._failed
        return self._found[0]
