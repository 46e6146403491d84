"""Running a launch file: one queue of things to do, worked off in order, until nothing is left."""

import asyncio
import signal
import tempfile
import traceback
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from ros2_standin.errors import LaunchError
from ros2_standin.launching import events, log
from ros2_standin.launching.actions import IncludeLaunchDescription
from ros2_standin.launching.entities import Context, Entity, visit
from ros2_standin.launching.guardian import Guardian


def launch(path: str, arguments: dict[str, str]) -> int:
    """Run a launch file until everything that it started has ended; 1 if something went wrong, else 0."""
    log.info("launch", f"All log files can be found below {log.folder()}")
    argv = [f"{name}:={value}" for name, value in arguments.items()]
    with tempfile.TemporaryDirectory(prefix="launch_params_") as scratch, Guardian() as guardian:
        context = Context(Path(scratch), argv)
        context.enrol, context.dismiss = guardian.enrol, guardian.dismiss
        include = IncludeLaunchDescription(path, launch_arguments=arguments.items())
        return asyncio.run(_Service(context).run(include))


class _Service:
    def __init__(self, context: Context) -> None:
        self._context = context
        self._queue: asyncio.Queue[Callable[[], None]] = asyncio.Queue()
        self._tasks: set[asyncio.Task] = set()
        self._failed = False
        context.post, context.begin, context.emit_event_sync = self._queue.put_nowait, self._begin, self._emit

    async def run(self, entity: Entity) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._interrupt, number)
        self._context.post(partial(visit, self._context, entity))
        while True:
            if self._queue.empty() and not self._tasks:
                if self._context.is_shutdown:
                    return int(self._failed)
                self._emit(events.Shutdown(reason="idle"))
            step = await self._queue.get()
            try:
                step()
            except Exception as error:
                self._fail(error)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        self._context.post(partial(self._fail, error) if error else lambda: None)

    def _emit(self, event: events.Event) -> None:
        if isinstance(event, events.Shutdown):
            if self._context.is_shutdown:
                return
            self._context.is_shutdown = True  # from now on nothing new starts
        self._context.post(partial(self._dispatch, event))

    def _dispatch(self, event: events.Event) -> None:
        for handler in list(self._context.handlers):
            if handler.matches(event):
                try:
                    self._react(handler, event)
                except Exception as error:  # the others still hear of it: a process that should stop does
                    self._fail(error)

    def _react(self, handler: events.Handler, event: events.Event) -> None:
        with self._context.kept_locals():
            self._context.extend_locals({"event": event})
            visit(self._context, handler.handle(event, self._context))

    def _interrupt(self, number: signal.Signals) -> None:
        how = {signal.SIGINT: "user interrupted with ctrl-c (SIGINT)"}.get(number, f"received {number.name}")
        log.warning("launch", f"{how} again, ignoring..." if self._context.is_shutdown else how)
        self._emit(events.Shutdown(reason=how, due_to_sigint=number == signal.SIGINT))

    def _fail(self, error: BaseException) -> None:
        self._failed = True
        if not isinstance(error, LaunchError):
            log.error("launch", "".join(traceback.format_exception(error)).rstrip())
        log.error("launch", f"Caught exception in launch: {error}")
        self._emit(events.Shutdown(reason=str(error)))
