"""What goes into a policy and what comes out: ObservationSpec, Observation, ActionChunk, Prediction.

Target i of a chunk is `T_base_tcp(t0) @ T_rel[i]`, jaw width `width_t0 + width_change[i]`, grasp force `force[i]`; it
is due at `t0 + offset + i * dt`. ("Video Generators are Robot Policies", appendix A.4: relative gripper pose,
relative jaw position, absolute grasping force; 24 of 32 steps executed.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinema.errors import ChunkError, NonFiniteChunkError
from kinema.geometry import Array, Pose

Image = NDArray[np.uint8]

_ROTATION_TOLERANCE = 1e-3  # departure of T_rel's rotation part from an orthonormal matrix


@dataclass(frozen=True, slots=True)
class ObservationSpec:
    """What a policy needs to see. The inference node assembles exactly this, or rejects the moment with a reason.

    cameras           names, the first is the reference camera whose stamp is the observation's
    image_size        width, height [px] of every image
    images            False: only the reference camera's stamps matter, nothing is looked at
    history           how many moments, the newest last, `history_dt` [s] apart
    executed_actions  how many of the last executed steps are wanted, `executed_dt` [s] apart
    committed_prefix  how many already committed steps the policy continues from
    max_skew          [s] the farthest another camera's stamp may lie from the reference's
    simulator_truth   only the demonstrator may ask for it
    """

    cameras: tuple[str, ...] = ("gripper", "left", "right")
    image_size: tuple[int, int] = (320, 240)
    images: bool = True
    history: int = 1
    history_dt: float = 1 / 30
    executed_actions: int = 0
    executed_dt: float = 1 / 30
    committed_prefix: int = 0
    goal_image: bool = False
    force: bool = True
    text: bool = True
    max_skew: float = 0.020
    simulator_truth: bool = False


@dataclass(frozen=True, slots=True)
class Truth:
    """What only the simulator knows; reaches the demonstrator and nobody else.

    `poses` holds T_base_object of every body by name, `joints` scalar joint positions by name (a drawer's travel [m]),
    `facts` the scenario: which object, which container, sizes, as plain numbers and strings.
    """

    stamp_ns: int
    poses: Mapping[str, Pose]
    joints: Mapping[str, float]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Observation:
    """The aligned view of one moment; every sequence runs oldest to newest and has the spec's `history` entries.

    stamp_ns          acquisition of the newest reference image [ns, Kinema time]
    images            camera name -> (history, height, width, 3) uint8 RGB
    T_base_tcp        poses of the tool at those moments; measured, interpolated
    width             (history,) jaw opening [m]
    force             (history,) grasp force [N], or None where the load cell is stale
    text              the task in words
    executed_actions  the last executed steps as a chunk, or None
    committed         the not yet executed steps that will be played whatever the policy says, or None
    goal_image        (height, width, 3) uint8 RGB, or None
    truth             the simulator's truth, or None
    """

    stamp_ns: int
    images: Mapping[str, Image]
    T_base_tcp: tuple[Pose, ...]
    width: Array
    force: Array | None
    text: str
    executed_actions: "ActionChunk | None" = None
    committed: "ActionChunk | None" = None
    goal_image: Image | None = None
    truth: Truth | None = None


@dataclass(frozen=True, eq=False, slots=True)
class ActionChunk:
    """A sequence of n relative targets anchored at the observation; see the module's text for their meaning.

    id            counts up within one policy's life
    policy        name of the policy that made it
    t0_ns         stamp of the observation [ns, Kinema time]
    T_base_tcp_t0 measured tool pose at t0
    width_t0      measured jaw opening at t0 [m]
    dt, offset    [s] between steps; from t0 to step 0
    T_rel         (n, 4, 4) relative poses
    width_change  (n,) [m], or None: the jaw stays
    force         (n,) [N], or None: no force correction
    executable    how many steps, from the first, may be played
    """

    id: int
    policy: str
    t0_ns: int
    T_base_tcp_t0: Pose
    width_t0: float
    dt: float
    offset: float
    T_rel: Array
    width_change: Array | None
    force: Array | None
    executable: int

    def __len__(self) -> int:
        return len(self.T_rel)

    def target(self, i: int) -> Pose:
        """`T_base_tcp` of step i."""
        return self.T_base_tcp_t0 @ Pose.from_matrix(self.T_rel[i])

    def due_ns(self, i: int) -> int:
        """When step i is due [ns, Kinema time], actuation latency not taken off."""
        return self.t0_ns + round((self.offset + i * self.dt) * 1e9)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What `Policy.predict` returns: the chunk, the imagined video if there is one, and where the time went.

    video    camera name -> (frames, height, width, 3) uint8 RGB, or None
    video_dt [s] between the video's frames, the first at t0
    timing   stage -> [s]
    """

    chunk: ActionChunk
    video: Mapping[str, Image] | None = None
    video_dt: float = 0.0
    timing: Mapping[str, float] = field(default_factory=dict)


def check_chunk(chunk: ActionChunk) -> None:
    """Refuse a chunk that is not finite (F01) or whose parts disagree in length (F02).

    Raises ChunkError, for F01 NonFiniteChunkError, naming the field, what it holds and what is allowed. Never pads or
    truncates.
    """
    for name in ("T_rel", "width_change", "force"):
        values = getattr(chunk, name)
        if values is not None and not np.isfinite(values).all():
            step = int(np.argwhere(~np.isfinite(values))[0][0])
            raise NonFiniteChunkError(f"chunk {chunk.id} of {chunk.policy}: {name}[{step}] is not finite")
    scalars = np.array([chunk.width_t0, chunk.dt, chunk.offset])
    if not (np.isfinite(scalars).all() and chunk.T_base_tcp_t0.isfinite()):
        raise NonFiniteChunkError(f"chunk {chunk.id} of {chunk.policy}: anchor, width_t0, dt or offset is not finite")
    n = len(chunk.T_rel)
    if chunk.T_rel.shape != (n, 4, 4) or n == 0:
        raise ChunkError(f"chunk {chunk.id} of {chunk.policy}: T_rel has shape {chunk.T_rel.shape}, not (n >= 1, 4, 4)")
    for name in ("width_change", "force"):
        values = getattr(chunk, name)
        if values is not None and values.shape != (n,):
            raise ChunkError(
                f"chunk {chunk.id} of {chunk.policy}: {name} has shape {values.shape}, T_rel has {n} steps"
            )
    if not 1 <= chunk.executable <= n:
        raise ChunkError(f"chunk {chunk.id} of {chunk.policy}: executable is {chunk.executable}, allowed is 1..{n}")
    if not 1e-3 <= chunk.dt <= 10.0:
        raise ChunkError(f"chunk {chunk.id} of {chunk.policy}: dt is {chunk.dt} s, allowed is 0.001..10 s")
    rotations = chunk.T_rel[:, :3, :3]
    residual = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max()
    if residual > _ROTATION_TOLERANCE or (np.linalg.det(rotations) < 0).any():
        raise ChunkError(
            f"chunk {chunk.id} of {chunk.policy}: a rotation of T_rel departs from orthonormal by {residual:.1e}, "
            f"allowed is {_ROTATION_TOLERANCE:.0e}"
        )
