"""What only a simulator knows of a world in one scenario: exact poses, and whether the task is done."""

from dataclasses import dataclass, field
from typing import Any

import mujoco
import numpy as np

from kinema.chunk import Truth
from kinema.geometry import Array, Pose
from kinema.virtual import facts, judging, objects, tasks
from kinema.virtual.scenario import Scenario

_JUDGE_EVERY = 0.02  # [s]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`success` is decided by the physics; `text` says how it was reached or what is missing."""

    success: bool
    text: str
    detail: dict[str, Any] = field(default_factory=dict)


class Physics:
    """`judging.Moment` of a model's data as they are when they are asked."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._trees: dict[str, tuple[int, ...]] = {judging.TABLE: (0,)}

    def pose(self, body: str) -> tuple[Array, Array]:
        row = self._model.body(body).id
        return self._data.xpos[row], self._data.xmat[row].reshape(3, 3)

    def speed(self, body: str) -> tuple[float, float]:
        at = self._model.jnt_dofadr[self._model.body(body).jntadr[0]]
        velocity = self._data.qvel[at : at + 6]
        return float(np.linalg.norm(velocity[:3])), float(np.linalg.norm(velocity[3:]))

    def joint(self, name: str) -> tuple[float, float]:
        joint = self._model.joint(name)
        return float(self._data.qpos[joint.qposadr[0]]), float(self._data.qvel[joint.dofadr[0]])

    def touching(self, first: str, second: str) -> bool:
        if self._data.ncon == 0:
            return False
        bodies = self._model.geom_bodyid[self._data.contact.geom]
        a, b = np.isin(bodies, self._tree(first)), np.isin(bodies, self._tree(second))
        return bool(((a[:, 0] & b[:, 1]) | (a[:, 1] & b[:, 0])).any())

    def _tree(self, body: str) -> tuple[int, ...]:
        """A body and everything that hangs on it; of the world only what stands still in it."""
        if body not in self._trees:
            members = [self._model.body(body).id]
            for row in range(members[0] + 1, self._model.nbody):
                if int(self._model.body_parentid[row]) in members:
                    members.append(row)
            self._trees[body] = tuple(members)
        return self._trees[body]


class GroundTruth:
    """Looks at `data`, which somebody else steps by `period` [s], and changes nothing in it."""

    def __init__(self, scenario: Scenario, model: mujoco.MjModel, data: mujoco.MjData, period: float) -> None:
        self._scenario, self._model, self._data = scenario, model, data
        self._every = max(1, round(_JUDGE_EVERY / period))
        self._interval = self._every * period
        self._judge = tasks.task(scenario.task).judge(scenario)
        self._moment = Physics(model, data)
        self._facts = facts.facts(scenario)
        self._now = mujoco.MjData(model)
        drawers = [] if scenario.cabinet is None else list(objects.CABINETS[scenario.cabinet.kind].drawers)
        cabinet = [] if scenario.cabinet is None else [scenario.cabinet.name]
        names = [*self._facts["bodies"], *cabinet, *(f"{part}_{d}" for d in drawers for part in ("drawer", "handle"))]
        names += ["tool"] if scenario.tool else []
        self._bodies = {name: model.body(name).id for name in names}
        self._joints = {f"drawer_{d}": int(model.joint(f"drawer_{d}").qposadr[0]) for d in drawers}
        self._tcp = model.site("tcp").id
        self._rested = 0.0
        self._verdict = judging.Verdict("the episode has just begun")

    def look(self, k: int) -> None:
        """Judge the moment after step `k`, where one is due."""
        if k % self._every:
            return
        before = self._verdict.missing
        self._verdict = self._judge(self._moment)
        if self._verdict.missing or before:
            self._rested = 0.0
        else:
            self._rested += self._interval

    def outcome(self) -> Outcome:
        """Success as the task defines it, after release and a second of rest; otherwise what is missing."""
        if self._verdict.missing:
            return Outcome(False, self._verdict.missing, self._verdict.detail)
        detail = self._verdict.detail | {"rested": self._rested}
        if self._rested < judging.REST:
            return Outcome(False, f"at rest for {self._rested:.1f} s, wanted is {judging.REST:.1f} s", detail)
        return Outcome(True, tasks.task(self._scenario.task).done.format(**detail), detail)

    def truth(self, t_ns: int) -> Truth:
        """Exact poses in base_link, joint positions and the scenario's facts."""
        data = self._kinematics()
        poses = {name: Pose(data.xpos[i].copy(), data.xmat[i].reshape(3, 3).copy()) for name, i in self._bodies.items()}
        joints = {name: float(data.qpos[at]) for name, at in self._joints.items()}
        return Truth(t_ns, poses, joints, self._facts)

    def T_base_tcp(self) -> Pose:
        """The exact pose of the tool."""
        data = self._kinematics()
        return Pose(data.site_xpos[self._tcp].copy(), data.site_xmat[self._tcp].reshape(3, 3).copy())

    def _kinematics(self) -> mujoco.MjData:
        """Positions of all bodies now: the stepping data's own lag half a step behind its qpos."""
        self._now.qpos[:] = self._data.qpos
        mujoco.mj_kinematics(self._model, self._now)
        return self._now
