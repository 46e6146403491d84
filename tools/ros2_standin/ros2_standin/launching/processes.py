"""ExecuteProcess: a child in its own process group, its output, its events, and its orderly end."""

import asyncio
import os
import shlex
import signal
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import IO

from ros2_standin.errors import LaunchError, UnsupportedError
from ros2_standin.launching import events, log
from ros2_standin.launching.entities import Action, Context, Text, perform, truth
from ros2_standin.launching.guardian import group_lives, signal_group
from ros2_standin.launching.substitutions import LaunchConfiguration

OUTPUTS = {"screen": (True, True), "both": (True, True), "log": (False, True)}  # is (stdout, stderr) on the screen?
DRAIN = 1.0  # [s] for the last output of a process that has ended
POLL = 0.1  # [s]
_numbers = count(1)


@dataclass(eq=False, kw_only=True)
class ExecuteProcess(Action):
    """Keywords as in the real API."""

    cmd: Iterable[Text]
    name: Text | None = None
    prefix: Text | None = None
    cwd: Text | None = None
    env: dict[Text, Text] | None = None
    additional_env: dict[Text, Text] | None = None
    shell: bool = False
    output: Text = "log"
    emulate_tty: bool = False
    log_cmd: bool = False
    sigterm_timeout: Text = field(default_factory=lambda: LaunchConfiguration("sigterm_timeout", default="5"))
    sigkill_timeout: Text = field(default_factory=lambda: LaunchConfiguration("sigkill_timeout", default="5"))
    respawn: bool | Text = False
    respawn_delay: float | None = None
    respawn_max_retries: int = -1
    on_exit: events.Reaction = None

    def __post_init__(self) -> None:
        if self.emulate_tty:
            raise UnsupportedError(f"{type(self).__name__}(emulate_tty=True)", ["emulate_tty=False"])
        self._label = ""
        self._process: subprocess.Popen | None = None
        self._group: int | None = None  # the process group as long as somebody lives in it
        self._stopping: asyncio.Event | None = None

    def argv(self, context: Context) -> list[str]:
        """The command with every substitution performed."""
        return [perform(context, part) for part in self.cmd]

    def execute(self, context: Context) -> None:
        if self._label:
            raise LaunchError(f"process '{self._label}': the same action was executed twice")
        command = self.argv(context)
        prefix = LaunchConfiguration("launch-prefix", default="") if self.prefix is None else self.prefix
        command = shlex.split(perform(context, prefix)) + command
        name = os.path.basename(command[0]) if self.name is None else perform(context, self.name)
        self._label = f"{name}-{next(_numbers)}"
        if context.is_shutdown:
            return
        self._stopping = asyncio.Event()
        self._patience = [_seconds(context, timeout) for timeout in (self.sigterm_timeout, self.sigkill_timeout)]
        self._screen = self._on_screen(context)
        again = self.respawn if isinstance(self.respawn, bool) else truth(context, self.respawn)
        details = (command, None if self.cwd is None else perform(context, self.cwd), self._environment(context))
        context.handlers.insert(0, events.OnShutdown(on_shutdown=lambda event, context: self._stop(context)))
        if self.on_exit is not None:
            context.handlers.insert(0, events.OnProcessExit(target_action=self, on_exit=self.on_exit))
        context.begin(self._run(context, details, again))

    @property
    def return_code(self) -> int | None:
        return None if self._process is None else self._process.returncode

    def _environment(self, context: Context) -> dict[str, str]:
        base = dict(os.environ) if self.env is None else {}
        own = {**(self.env or {}), **(self.additional_env or {})}
        return base | {perform(context, name): perform(context, value) for name, value in own.items()}

    def _on_screen(self, context: Context) -> tuple[bool, bool]:
        if isinstance(self.output, dict):
            raise UnsupportedError("output={…}", list(OUTPUTS))
        output = os.environ.get("OVERRIDE_LAUNCH_PROCESS_OUTPUT") or perform(context, self.output)
        if output not in OUTPUTS:
            raise UnsupportedError(f"output='{output}'", list(OUTPUTS))
        return OUTPUTS[output]

    async def _run(self, context: Context, details: tuple[list[str], str | None, dict[str, str]], again: bool) -> None:
        retries = 0
        while True:
            await self._run_once(context, *details)
            if not again or retries == self.respawn_max_retries:
                return
            retries += 1
            try:
                await asyncio.wait_for(self._stopping.wait(), self.respawn_delay or 0.001)
            except TimeoutError:
                continue
            return

    async def _run_once(self, context: Context, command: list[str], cwd: str | None, env: dict[str, str]) -> None:
        if self._stopping.is_set():
            return
        if self.log_cmd:
            log.info(self._label, f"process details: cmd='{' '.join(command)}', cwd='{cwd}'")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        what = " ".join(command) if self.shell else command
        try:  # the child leads a session and group of its own
            self._process = process = subprocess.Popen(
                what, **pipes, shell=self.shell, cwd=cwd, env=env, start_new_session=True, preexec_fn=context.enrol
            )
        except OSError as error:
            raise LaunchError(f"process '{self._label}' could not be started: {error}") from error
        self._group = process.pid
        log.info(self._label, f"process started with pid [{process.pid}]")
        facts = {"action": self, "name": self._label, "cmd": command, "cwd": cwd, "env": env, "pid": process.pid}
        context.emit_event_sync(events.ProcessStarted(**facts))

        streams = zip((process.stdout, process.stderr), self._screen, strict=True)
        copies = [asyncio.ensure_future(self._copy(stream, screen)) for stream, screen in streams]
        await _ended(process.pid)
        returncode = process.wait()
        _, unfinished = await asyncio.wait(copies, timeout=DRAIN)  # somebody else may hold the pipes open
        for copy in unfinished:
            copy.cancel()
        process.stdin.close()
        if returncode == 0:
            log.info(self._label, f"process has finished cleanly [pid {process.pid}]")
        else:
            log.error(
                self._label,
                f"process has died [pid {process.pid}, exit code {returncode}, cmd '{' '.join(command)}'].",
            )
        context.emit_event_sync(events.ProcessExited(**facts, returncode=returncode))
        if not group_lives(process.pid):
            context.dismiss(process.pid)
            self._group = None

    async def _copy(self, stream: IO[bytes], screen: bool) -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, stream)
        pending = b""
        try:
            while chunk := await reader.read(1 << 16):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    log.output(self._label, line.decode(errors="replace"), screen)
            if pending:
                log.output(self._label, pending.decode(errors="replace"), screen)
        finally:
            transport.close()

    def _stop(self, context: Context) -> None:
        if not self._stopping.is_set():
            self._stopping.set()
            context.begin(self._end())

    async def _end(self) -> None:
        """SIGINT, then SIGTERM, then SIGKILL, each to the whole group, with the patience asked for between them."""
        sigterm_timeout, sigkill_timeout = self._patience
        for number, patience in (
            (signal.SIGINT, sigterm_timeout),
            (signal.SIGTERM, sigkill_timeout),
            (signal.SIGKILL, 0.0),
        ):
            if self._group is None or not signal_group(self._group, number):
                return
            log.info(self._label, f"sending signal '{number.name}' to process[{self._label}]")
            until = asyncio.get_running_loop().time() + patience
            while asyncio.get_running_loop().time() < until:
                await asyncio.sleep(POLL)
                if self._group is None or not group_lives(self._group):
                    return
            if patience:
                log.error(self._label, f"process[{self._label}] still runs {patience} s after '{number.name}'")


async def _ended(pid: int) -> None:
    """Wait for a child's end without reaping it."""
    loop = asyncio.get_running_loop()
    end = loop.create_future()
    descriptor = os.pidfd_open(pid)
    loop.add_reader(descriptor, end.set_result, None)
    await end
    loop.remove_reader(descriptor)
    os.close(descriptor)


def _seconds(context: Context, text: Text | float) -> float:
    return float(text if isinstance(text, int | float) else perform(context, text))
