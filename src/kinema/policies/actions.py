"""What learned policies speak: an action chunk as normalised rows of eleven numbers, and the way there and back.

Row i is step i + 1 after the observation, as seen from it: position [m] and first two columns of the rotation of the
tool in its own pose at t0, change of the jaw's opening [m], grasp force [N] as it is ("Video Generators are Robot
Policies", appendix A.4). Normalised means: minus the data set's mean, over its standard deviation, column by column.
"""

import math
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pydantic
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation, Slerp

from kinema import yaml_file
from kinema.chunk import ActionChunk, Observation
from kinema.clock import to_seconds
from kinema.episodes.state import STATE, relative
from kinema.errors import ChunkError, EpisodeError, ObservationError
from kinema.geometry import Array, rotation_6d, rotation_from_6d
from kinema.robots import GRIPPER

WIDTH = len(STATE)  # numbers in a row
DONE = WIDTH - 1  # of a step that is over, as far as a policy knows of it: not its force

# What counts as no variation: [m], rotation, [m], [N]. Noise of a column that hardly moves isn't blown up to size 1.
_FLOOR = (*(0.005,) * 3, *(0.05,) * 6, 0.002, 0.2)


class ActionSpace(pydantic.BaseModel):
    """How a policy's numbers are meant; part of its checkpoint, never recomputed from data.

    horizon     steps of a chunk; executable: how many of them, from the first, may be played
    dt, offset  [s] between steps; from the observation to step 0
    mean, std   (11,) of the training data, in the columns' own units
    """

    model_config = yaml_file.STRICT

    horizon: int = pydantic.Field(ge=1)
    dt: float = pydantic.Field(ge=1e-3, le=10.0)
    offset: float = pydantic.Field(ge=0.0)
    executable: int = pydantic.Field(ge=1)
    mean: tuple[float, ...] = pydantic.Field(min_length=WIDTH, max_length=WIDTH)
    std: tuple[float, ...] = pydantic.Field(min_length=WIDTH, max_length=WIDTH)

    @pydantic.model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.executable > self.horizon:
            raise ValueError(f"executable is {self.executable}, the horizon is {self.horizon}")
        if min(self.std) <= 0:
            raise ValueError("every std must be above 0")
        return self

    @classmethod
    def of(cls, index: Mapping[str, Any], executable: int, horizon: int = 0) -> Self:
        """The space of a data set of shards, by its index (`kinema.episodes.shards`); `horizon` 0: as far as it goes.

        Raises EpisodeError for a horizon that its statistics don't reach.
        """
        if horizon > index["horizon"]:
            raise EpisodeError(f"chunks of {horizon} steps: the data set's statistics are of {index['horizon']}")
        found, dt = index["statistics"]["action"], 1.0 / index["rate"]
        std = np.maximum(found["std"], _FLOOR)
        return cls(
            horizon=horizon or index["horizon"],
            dt=dt,
            offset=dt,
            executable=executable,
            mean=tuple(map(float, found["mean"])),
            std=tuple(std.tolist()),
        )

    # ---- to the model

    def relative(self, state: ArrayLike, t: ArrayLike) -> Array:
        """The chunks (..., horizon, 11) that follow steps t (...) of an episode's states (n, 11), in their own units.

        Beyond the episode's end its last state goes on: the tool stays where it is, as the jaw does.
        """
        exact, now = np.asarray(state, np.float64), np.asarray(t)
        steps = np.minimum(now[..., None] + np.arange(1, self.horizon + 1), len(exact) - 1)
        return relative(exact[now][..., None, :], exact[steps])

    def done(self, state: ArrayLike, t: ArrayLike, count: int) -> NDArray[np.float32]:
        """The last `count` steps (..., count, DONE) up to steps t (...) of states (n, 11), as seen from there.

        Normalised. Before the episode's beginning all was as in its first state.
        """
        exact, now = np.asarray(state, np.float64), np.asarray(t)
        steps = np.maximum(now[..., None] + np.arange(1 - count, 1), 0)
        return self.normalise(relative(exact[now][..., None, :], exact[steps]))[..., :DONE]

    def executed(self, observation: Observation, count: int) -> NDArray[np.float32]:
        """The last `count` steps (count, DONE) that were executed, as `done` has them.

        Raises ObservationError for an observation that has fewer, or steps that lie otherwise in time.
        """
        chunk = observation.executed_actions
        if chunk is None or len(chunk) < count or not math.isclose(chunk.dt, self.dt, rel_tol=1e-3):
            there = "none" if chunk is None else f"{len(chunk)}, {chunk.dt:.3f} s apart"
            raise ObservationError(
                f"executed actions: the policy needs the last {count}, {self.dt:.3f} s apart; there are {there}"
            )
        rows = np.zeros((count, WIDTH))
        T_rel = chunk.T_rel[-count:]
        rows[:, :3], rows[:, 3:9] = T_rel[:, :3, 3], rotation_6d(T_rel[:, :3, :3])
        if chunk.width_change is not None:
            rows[:, 9] = chunk.width_change[-count:]
        return self.normalise(rows)[:, :DONE]

    def normalise(self, rows: ArrayLike) -> NDArray[np.float32]:
        return ((np.asarray(rows, np.float64) - self.mean) / self.std).astype(np.float32)

    def committed(self, latency: float) -> int:
        """How many steps of a chunk fall due before it is there, `latency` [s] after its observation."""
        return math.ceil(latency / self.dt - 1e-9)

    def prefix(self, observation: Observation) -> NDArray[np.float32]:
        """The first k steps (k, 11) of the next chunk that are committed already, normalised; k = 0 where none are.

        Between the observation and the last committed step the way is known; here it is cut at the new chunk's times.
        They lie between those of the committed steps, so that one step less is known than was committed.
        """
        if observation.committed is None:
            return np.zeros((0, WIDTH), np.float32)
        return self._known(observation.committed, observation)

    def rows(self, chunk: ActionChunk, observation: Observation) -> NDArray[np.float32]:
        """Another policy's chunk as this space's rows (horizon, 11), normalised, cut at this space's times.

        Raises ChunkError for one that ends before the horizon does.
        """
        known = self._known(chunk, observation)
        if len(known) < self.horizon:
            raise ChunkError(
                f"chunk {chunk.id} of {chunk.policy}: is {len(known)} steps of {self.dt:.3f} s long, needed are "
                f"{self.horizon}"
            )
        return known

    def _known(self, chunk: ActionChunk, observation: Observation) -> NDArray[np.float32]:
        """The first k steps (k, 11), normalised, that a chunk leads through after an observation."""
        due = np.array([to_seconds(chunk.due_ns(i) - observation.stamp_ns) for i in range(len(chunk))])
        if due[0] < 0.0:  # a stretched chunk is behind its time: its next step is half a step ahead, give or take
            due += 0.5 * chunk.dt - due[0]
        ahead = due > 0.0
        now = _row(observation, chunk)
        knots = np.concatenate([now, _rows(chunk)[ahead]])
        times = np.concatenate([[0.0], due[ahead]])
        wanted = self.offset + self.dt * np.arange(self.horizon)
        wanted = wanted[wanted <= times[-1] + 1e-6]
        return self.normalise(relative(now, _along(knots, times, np.minimum(wanted, times[-1]))))

    # ---- and back

    def denormalise(self, values: ArrayLike) -> Array:
        return np.asarray(values, np.float64) * self.std + self.mean

    def chunk(self, values: ArrayLike, observation: Observation, id: int, policy: str) -> ActionChunk:
        """The chunk that normalised values (horizon, 11) mean, anchored at the observation.

        Raises ChunkError for another shape, naming both (F02). What is not finite passes, for `check_chunk` to find.
        """
        rows = self.denormalise(values)
        if rows.shape != (self.horizon, WIDTH):
            raise ChunkError(f"chunk {id} of {policy}: values have shape {rows.shape}, not {(self.horizon, WIDTH)}")
        T_rel = np.tile(np.eye(4), (self.horizon, 1, 1))
        T_rel[:, :3, 3], T_rel[:, :3, :3] = rows[:, :3], rotation_from_6d(rows[:, 3:9])
        width, force = float(observation.width[-1]), rows[:, 10]
        return ActionChunk(
            id=id,
            policy=policy,
            t0_ns=observation.stamp_ns,
            T_base_tcp_t0=observation.T_base_tcp[-1],
            width_t0=width,
            dt=self.dt,
            offset=self.offset,
            T_rel=T_rel,
            width_change=GRIPPER.asked(width + rows[:, 9], force) - width,
            force=force,
            executable=self.executable,
        )


def _row(observation: Observation, chunk: ActionChunk) -> Array:
    """The observation's own state (1, 11); force is what is played first."""
    pose = observation.T_base_tcp[-1]
    force = 0.0 if chunk.force is None else chunk.force[0]
    return np.array([[*pose.position, *rotation_6d(pose.rotation), observation.width[-1], force]])


def _rows(chunk: ActionChunk) -> Array:
    """The states (n, 11) that a chunk leads through; the opening is that of a jaw which presses by its force."""
    targets = [chunk.target(i) for i in range(len(chunk))]
    still = np.zeros(len(chunk))
    force = still if chunk.force is None else chunk.force
    change = still if chunk.width_change is None else chunk.width_change
    return np.concatenate(
        [
            np.array([target.position for target in targets]),
            rotation_6d(np.array([target.rotation for target in targets])),
            (chunk.width_t0 + change + np.maximum(force, 0.0) / GRIPPER.stiffness)[:, None],
            force[:, None],
        ],
        axis=1,
    )


def _along(knots: Array, times: Array, wanted: Array) -> Array:
    """States (m, 11) at `wanted` (m,) [s] on the way through knots (n, 11) at `times` (n,) [s]."""
    rows = np.stack([np.interp(wanted, times, column) for column in knots.T], axis=1)
    if len(times) > 1:
        turned = Slerp(times, Rotation.from_matrix(rotation_from_6d(knots[:, 3:9])))(wanted)
        rows[:, 3:9] = rotation_6d(turned.as_matrix())
    return rows
