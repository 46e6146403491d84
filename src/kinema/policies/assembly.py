"""From requests and streams to observations: waits for a complete moment, or says why there is none. Pure.

Callers bring the monotonic clock for patience; everything else is stamps. Alignment itself is `perception.align`.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec, Truth
from kinema.clock import to_ns
from kinema.errors import ConfigError
from kinema.perception.align import AlignmentError, Buffers, StampedBuffer, assemble, newest_moment

PATIENCE = 0.5  # [s] of waiting for a complete moment before the request is rejected with a reason


@dataclass(frozen=True, slots=True)
class Request:
    """One wish for a chunk; its moment must have been acquired at `not_before_ns` [Kinema time] or later.

    Images of the past, where the policy wants them, are those that there were.

    seed      of what the policy draws in this run
    approval  a person will look at the chunk, and at the video that goes with it, before it is played
    """

    id: int
    run: int
    not_before_ns: int
    text: str
    seed: int = 0
    approval: bool = False


def committed_steps(playing: ActionChunk, step: int, count: int) -> ActionChunk | None:
    """The next `count` executable steps after `step` of the chunk being played, as a slice with the same anchor and t0.

    None when nothing of it is left.
    """
    first, last = step + 1, min(step + 1 + count, playing.executable)
    if first >= last:
        return None
    kept = slice(first, last)
    return dataclasses.replace(
        playing,
        offset=playing.offset + first * playing.dt,
        T_rel=playing.T_rel[kept],
        width_change=None if playing.width_change is None else playing.width_change[kept],
        force=None if playing.force is None else playing.force[kept],
        executable=last - first,
    )


def _nearer(a: Truth, b: Truth, fraction: float) -> Truth:
    return a if fraction < 0.5 else b


class Assembler:
    """Holds the streams of one policy and at most one open request."""

    def __init__(self, spec: ObservationSpec, goal_image: Image | None = None) -> None:
        if spec.goal_image and goal_image is None:
            raise ConfigError("the policy needs a goal image and none was given; set the parameter goal_image")
        self.spec = spec
        self.buffers = Buffers(spec.cameras)
        self.truth: StampedBuffer[Truth] = StampedBuffer("simulator truth")
        self.request: Request | None = None
        self._goal_image = goal_image
        self._playing: tuple[ActionChunk, int] | None = None
        self._since_ns = 0

    def open(self, request: Request, now_ns: int) -> None:
        """Take a request; it replaces the one before."""
        self.request = request
        self._since_ns = now_ns

    def withdraw(self) -> None:
        self.request = None

    def plays(self, chunk: ActionChunk | None, step: int, steps_left: int) -> None:
        """What the executor plays at the moment, for the committed prefix: the step of a chunk, and how many follow."""
        self._playing = None if chunk is None else (dataclasses.replace(chunk, executable=step + 1 + steps_left), step)

    def observe(self, now_ns: int) -> Observation | None:
        """The observation that answers the open request, or None while its moment has not come.

        Raises AlignmentError with the reason once PATIENCE has passed; the request is closed then, whoever made it
        asks again.
        """
        request = self.request
        if request is None:
            return None
        first_ns = request.not_before_ns + to_ns(self.spec.max_skew)
        try:
            observation = self._assemble(newest_moment(self.spec, self.buffers, first_ns - 1), request.text)
        except AlignmentError:
            if now_ns - self._since_ns < to_ns(PATIENCE):
                return None
            self.request = None
            newest_ns = self.buffers.images[self.spec.cameras[0]].latest_ns()
            if newest_ns is not None and newest_ns >= first_ns:
                self._assemble(newest_ns, request.text)  # says which stream is at fault
            raise
        self.request = None
        return observation

    def skew(self, stamp_ns: int) -> float:
        """[s] the farthest that another camera's image lies from the reference's stamp."""
        images = self.buffers.images
        stamps = np.array([images[name].nearest(stamp_ns)[0] for name in self.spec.cameras])
        return float(np.abs(stamps - stamp_ns).max()) * 1e-9

    def _assemble(self, stamp_ns: int, text: str) -> Observation:
        committed = None
        if self.spec.committed_prefix and self._playing is not None:
            committed = committed_steps(*self._playing, self.spec.committed_prefix)
        truth = self.truth.at(stamp_ns, _nearer) if self.spec.simulator_truth else None
        return assemble(
            self.spec, self.buffers, stamp_ns, text=text, committed=committed, goal_image=self._goal_image, truth=truth
        )
