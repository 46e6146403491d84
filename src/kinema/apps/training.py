"""What commands that train have in common: a progress bar, and an end when somebody asks for it."""

import signal
from collections.abc import Mapping
from types import FrameType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinema.training.loop import Watcher
from kinema.training.plan import Plan

STOPPED = 3  # exit status of a training that was ended before its end


class Stop:
    """Becomes true at the first SIGINT or SIGTERM within; a second one does what it does elsewhere."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> "Stop":
        self._asked = False
        self._usual = {number: signal.signal(number, self._ask) for number in self._SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, self._usual[signal.Signals(number)])


class Bar(Watcher):
    """A progress bar over another watcher."""

    def __init__(self, watcher: Watcher, progress: Progress, plan: Plan) -> None:
        self._watcher, self._progress = watcher, progress
        self._bar = progress.add_task(plan.stage, total=1.0, told="")

    def reported(self, step: int, progress: float, rate: float, losses: Mapping[str, float]) -> None:
        self._watcher.reported(step, progress, rate, losses)
        told = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
        self._progress.update(self._bar, completed=progress, told=f"step {step}, {told}")

    def looked(self, step: int, model: Any) -> None:
        self._watcher.looked(step, model)


def bars(console: Console) -> Progress:
    """Where a `Bar` is shown."""
    return Progress(
        *(TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[told]}")),
        *(TimeElapsedColumn(), TimeRemainingColumn()),
        console=console,
    )
