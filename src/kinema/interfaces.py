"""The seams: protocols of every device and of the policy, the values that cross them, and nothing else.

Whoever implements one of these is a backend; nobody else needs to know which. Stamps are Kinema time [ns] and mean the
moment of acquisition. A command returns what was really applied.
"""

import enum
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec, Prediction
from kinema.geometry import Array, Pose


@dataclass(frozen=True, slots=True)
class Frame:
    """One image: RGB uint8 (height, width, 3); `sequence` counts what the sensor took, so gaps are drops."""

    camera: str
    sequence: int
    stamp_ns: int
    image: Image


class Camera(Protocol):
    name: str
    serial: str

    def read(self, timeout: float) -> Frame | None:
        """The next frame not yet read, waiting at most `timeout` [s]; None when none came."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class TrackedPose:
    """`T_world_tracker` with the tracker's own confidence, 0 (lost) to 3 (high), and a mark where it jumped."""

    stamp_ns: int
    T_world_tracker: Pose
    confidence: int
    jumped: bool


class PoseTracker(Protocol):
    serial: str

    def read(self, timeout: float) -> TrackedPose | None: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class ForceSample:
    """Grasp force [N], tared, closing positive; `saturated` when the cell is at the end of its range."""

    stamp_ns: int
    force: float
    saturated: bool
    tared: bool


class LoadCell(Protocol):
    serial: str

    def read(self, timeout: float) -> ForceSample | None: ...

    def tare(self) -> float:
        """Take the present load for zero; returns the offset [N] that was taken."""
        ...

    def close(self) -> None: ...


class ArmMode(enum.IntEnum):
    """What the arm's own controller says of itself."""

    RUNNING = 0
    BRAKED = 1  # its watchdog stopped it; latched until reset
    PROTECTIVE_STOP = 2
    DIVERGED = 3  # only a simulator can say so (F28)


class CommandKind(enum.IntEnum):
    BRAKE = 0  # stop by the arm's own means and stay; latched
    TORQUE = 1
    POSITION = 2


@dataclass(frozen=True, eq=False, slots=True)
class ArmState:
    """The arm's record of tick k: joint positions, velocities, measured torques (n,), and the external wrench.

    k       counts the arm's own control periods; a gap is a missed tick
    t_ns    the arm's own time, mapped to Kinema time: the only time that control knows
    wrench  (6,) external force [N] and torque [N m] at the TCP, in base_link axes, payload already subtracted
    """

    k: int
    t_ns: int
    q: Array
    dq: Array
    tau: Array
    wrench: Array
    mode: ArmMode


@dataclass(frozen=True, eq=False, slots=True)
class ArmCommand:
    """Joint torques [N m] or joint positions [rad], (n,); `values` of BRAKE is empty."""

    kind: CommandKind
    values: Array


class Arm(Protocol):
    """The arm owns control time: `read` blocks for its next record, `write` answers it.

    `has_wrench` says whether ArmState.wrench is measured: an arm that takes positions can't yield without it.
    """

    name: str
    command_kind: CommandKind
    period: float
    has_wrench: bool

    def read(self, timeout: float) -> ArmState | None:
        """The next record; None when none came within `timeout` [s]. Raises DeviceError when the link is lost."""
        ...

    def write(self, k: int, command: ArmCommand) -> ArmCommand:
        """Answer record k; returns what was applied (clipped to the arm's limits)."""
        ...

    def reset(self) -> None:
        """Clear a latched stop of the arm; it holds its measured pose afterwards. May take seconds.

        Raises DeviceError saying what a person has to do first.
        """
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class GripperState:
    """Jaw opening [m], its speed [m/s], and the motor's own force estimate [N] (0 where there is none)."""

    stamp_ns: int
    width: float
    speed: float
    force: float


@dataclass(frozen=True, slots=True)
class JawCommand:
    """What a gripper took of a command: width [m], speed [m/s], and the force [N] that it may reach."""

    width: float
    speed: float
    force: float


class Gripper(Protocol):
    def read(self, timeout: float) -> GripperState | None:
        """The newest state, waiting at most `timeout` [s] for one; raises DeviceError when the link is lost."""
        ...

    def command(self, width: float, speed: float, force: float) -> JawCommand:
        """Ask for a width [m] at a speed [m/s] with at most a force [N]; returns what was applied of each.

        Raises DeviceError for what is not finite, and when the gripper can't be reached or reports a fault.
        """
        ...

    def close(self) -> None: ...


class Policy(Protocol):
    """Everything that turns an observation into a chunk. `predict` may take as long as it takes."""

    name: str
    spec: ObservationSpec

    def reset(self, seed: int | None = None) -> None:
        """Forget the last episode; what is drawn in the next follows from `seed`, None: from the one before."""
        ...

    def predict(self, observation: Observation) -> Prediction: ...


@runtime_checkable
class ImaginingPolicy(Policy, Protocol):
    """A policy that can show afterwards what it expects to see."""

    def imagine(self, observation: Observation, prediction: Prediction) -> Prediction:
        """The same prediction, with its video. May be called while another thread calls `predict` or `reset`.

        Takes its time. Raises ObservationError for a prediction of before `reset`.
        """
        ...


@runtime_checkable
class ProposingPolicy(Policy, Protocol):
    """A policy that can answer a moment with several chunks at once."""

    def propose(self, observation: Observation, count: int) -> tuple[ActionChunk, ...]:
        """The chunks that `predict` would answer with, were it asked so often in turn."""
        ...
