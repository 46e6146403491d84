"""gym-pusht from Kinema's side: starts the process of `server.py` with the interpreter of its own environment."""

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kinema import paths
from kinema.chunk import Image
from kinema.errors import BenchmarkError
from kinema.geometry import Array
from kinema.pusht import server

VERSION = "0.1.8"  # of gym-pusht: scores of another are another benchmark's

_START = 60.0  # [s] that pygame, pymunk and shapely may take to be imported
_ANSWER = 60.0  # [s] that an answer may take
_END = 3.0  # [s] that the process may take to end
_VARIABLE = "KINEMA_PUSHT_PYTHON"
_REMEDY = f"`make pusht` makes it, or name an interpreter that has gym-pusht {VERSION} in ${_VARIABLE}"


@dataclass(frozen=True, slots=True)
class Look:
    """What the environment is painted like; as published, where nothing is said. `objects` lie on the background."""

    background: tuple[int, int, int] = server.WHITE
    goal: tuple[int, int, int] = server.GREEN
    objects: int = 0


PLAIN = Look()


@dataclass(frozen=True, eq=False, slots=True)
class Moment:
    """What is there after a reset or a step.

    image     (96, 96, 3) uint8 RGB
    agent     (2,) where the pusher is [px], x to the right, y down; velocity (2,) [px/s]
    coverage  [-] of the goal by the block
    over      whether the episode has ended: covered by more than 95 %, or STEPS steps done
    block     (3,) x, y [px], angle [rad]: the environment's truth, for an expert alone
    """

    image: Image
    agent: Array
    velocity: Array
    coverage: float
    over: bool
    block: Array


def python() -> str:
    """The interpreter that has gym-pusht; raises BenchmarkError saying how to get one."""
    found = os.environ.get(_VARIABLE) or str(paths.root() / ".venv-pusht/bin/python")
    if not Path(found).exists():
        raise BenchmarkError(f"{found} is not there, the environment that gym-pusht runs in: {_REMEDY}")
    return found


def _environment() -> dict[str, str]:
    """This process's, less what leads an interpreter to packages of another."""
    leading = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if name not in leading}


class PushT:
    """One environment; a context that ends its process."""

    def __init__(self) -> None:
        """Raises BenchmarkError when the environment is absent, of another version, or doesn't start."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            self._process = subprocess.Popen(
                [python(), "-I", server.__file__, str(its.fileno())],
                env=_environment(),
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._channel = ours
        self._ready, self._running = False, False
        try:
            ours.settimeout(_START)
            self.versions = _text(self._receive(server.READY)).split()
            if self.versions[0] != VERSION:
                raise BenchmarkError(f"{python()}: has gym-pusht {self.versions[0]}, wanted is {VERSION}; {_REMEDY}")
            ours.settimeout(_ANSWER)
            self._ready = True
        except BenchmarkError:
            self.close()
            raise

    def __enter__(self) -> "PushT":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        self._channel.close()
        try:
            self._process.wait(_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def reset(self, seed: int, look: Look = PLAIN) -> Moment:
        """Begin the episode that the environment draws by a seed."""
        record = server.RESET_RECORD.pack(server.RESET, seed, *look.background, *look.goal, look.objects)
        moment = _moment(self._ask(record, server.MOMENT))
        self._running = not moment.over
        return moment

    def step(self, target: Array) -> Moment:
        """A tenth of a second in which the agent is drawn to a target (2,) [px]."""
        self._check_running()
        x, y = (float(value) for value in target)
        moment = _moment(self._ask(server.STEP_RECORD.pack(server.STEP, x, y), server.MOMENT))
        self._running = not moment.over
        return moment

    def tried(self, targets: Array) -> Moment:
        """The moment that steps to targets (n, 2) [px] would lead to, or that at which they end the episode.

        The very one, but for coverage's last digits; the episode stays where it is.
        """
        self._check_running()
        rows = np.ascontiguousarray(targets, np.float64).reshape(-1, 2)
        return _moment(self._ask(server.TRY_RECORD.pack(server.TRY, len(rows)) + rows.tobytes(), server.MOMENT))

    def pushed(self, block: Array, pushes: Array, looks: int, between: int) -> Array:
        """What would come of pushes: poses (n, looks, 3) of the block, on a world beside, whose state is set.

        block    (3,) it begins at
        pushes   (n, 4): where the agent begins [px], and its way in one physics step of 0.01 s [px]
        between  physics steps from one look to the next
        """
        rows = np.ascontiguousarray(pushes, np.float64).reshape(-1, 4)
        fits = min((server.LARGEST - 64) // (looks * 24), 4096)
        found = []
        for some in np.split(rows, range(fits, len(rows), fits)):
            head = server.PUSH_RECORD.pack(server.PUSH, len(some), looks, between, *(float(value) for value in block))
            answer = self._ask(head + some.tobytes(), server.PUSHED)
            found.append(np.frombuffer(answer, np.float64, offset=server.PUSHED_RECORD.size).reshape(-1, looks, 3))
        return np.concatenate(found)

    def _check_running(self) -> None:
        if not self._running:
            raise BenchmarkError("PushT: the episode is over, or none has begun; reset first")

    def _ask(self, record: bytes, kind: int) -> bytes:
        try:
            self._channel.send(record)
        except OSError:
            raise self._gone() from None
        return self._receive(kind)

    def _receive(self, kind: int) -> bytes:
        try:
            record = self._channel.recv(server.LARGEST)
        except TimeoutError:
            raise BenchmarkError(f"PushT: its process is silent for {self._channel.gettimeout():g} s") from None
        except OSError:
            record = b""
        if not record:
            raise self._gone()
        if record[0] == server.FAILED:
            raise BenchmarkError(f"PushT: {_text(record)}{f'; {_REMEDY}' if kind == server.READY else ''}")
        if record[0] != kind:
            raise BenchmarkError(f"PushT: a record of kind {record[0]}, wanted is {kind}: client and server differ")
        return record

    def _gone(self) -> BenchmarkError:
        self._running = False
        try:
            status = self._process.wait(_END)
        except subprocess.TimeoutExpired:
            return BenchmarkError("PushT: its process no longer listens")
        if not self._ready:
            return BenchmarkError(f"{python()}: ended with status {status} before PushT was there; {_REMEDY}")
        return BenchmarkError(f"PushT: its process ended with status {status}; begin anew")


def _text(record: bytes) -> str:
    return server.WORDS.unpack(record)[1].rstrip(b"\0").decode(errors="replace")


def _moment(record: bytes) -> Moment:
    _, over, coverage, *numbers = server.MOMENT_RECORD.unpack_from(record)
    image = np.frombuffer(record, np.uint8, offset=server.MOMENT_RECORD.size).reshape(server.SIZE, server.SIZE, 3)
    agent, velocity, block = np.split(np.array(numbers), (2, 4))
    return Moment(image, agent, velocity, float(coverage), bool(over), block)
