"""The scripted expert of the virtual cell. It reads the simulator's truth, and says so in its name and its spec.

`Demonstrator` implements `kinema.interfaces.Policy`. Its task's script (`kinema.virtual.tasks`) says what to do; a
reference runs through the script's stages (`scripting`); a chunk is the reference's next 32 steps, and the next one
starts from the state in which the last one left the reference. Everything is planned for the TCP, so that the same
expert drives an arm and a free-flying handheld gripper.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from kinema.chunk import ActionChunk, Observation, ObservationSpec, Prediction, Truth
from kinema.geometry import Pose, distance
from kinema.robots import GRIPPER
from kinema.virtual import tasks
from kinema.virtual.scripting import DT, Reference, Script, Stage, Style, Until, advance, near

STEPS = 32
EXECUTABLE = 24

_ARRIVED = (0.012, 0.10)  # [m, rad] measured tool at the goal
_ON_PLAN = (0.08, 0.5)  # [m, rad] measured tool that still follows the reference
_PATIENCE = 1.5  # [s] after which a stage that waits for a measurement ends without it
_SQUEEZE_TIME = 0.25  # [s] the jaw is given to press
_EMPTY = 0.002  # [m] a jaw that closed to within this holds nothing
_RETRIES = 3


class Demonstrator:
    """Scripted expert that reads the simulator's truth; deterministic for a seed and a sequence of observations.

    After `reset` it begins a new episode with the style's next draw, with a seed's first where one is given. `stage`
    names what it is at.
    """

    name = "demonstrator"

    def __init__(
        self, seed: int = 0, cameras: tuple[str, ...] = ("gripper", "left", "right"), style: Style | None = None
    ):
        self.spec = ObservationSpec(cameras=cameras, committed_prefix=EXECUTABLE, simulator_truth=True)
        self._style_drawn_from = style or Style()
        self._rng = np.random.default_rng(seed)
        self._chunks = 0
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        self._rng = self._rng if seed is None else np.random.default_rng(seed)
        drawn = self._style_drawn_from
        pace = float(np.clip(self._rng.normal(1.0, drawn.speed_spread), 0.6, 1.4))
        self._style = replace(drawn, speed=drawn.speed * pace, turn=drawn.turn * pace)
        self._script: Script | None = None
        self._facts: Mapping[str, Any] = {}
        self._attempt = 0
        self._rest: Pose | None = None
        self._plan: tuple[Reference, ...] = ()  # at t0, then at every step
        self._plan_t0_ns = 0
        self._stage = ""
        self._since_ns = 0

    @property
    def stage(self) -> str:
        return self._stage

    def _begin(self, tcp: Pose, truth: Truth) -> None:
        script = tasks.task(truth.facts["task"]).script
        self._rest, self._facts = self._rest or tcp, truth.facts
        self._script = script(tcp, truth, self._rest, self._style, self._rng, self._attempt)

    def _resume(self, observation: Observation, stages: Sequence[Stage]) -> Reference:
        """The reference at t0: on the last plan while the tool follows it, else at rest where the tool is."""
        tcp = observation.T_base_tcp[-1]
        if not self._plan:
            return Reference.at_rest(tcp, float(observation.width[-1]))
        age = (observation.stamp_ns - self._plan_t0_ns) * 1e-9 / DT
        committed = observation.committed
        if committed is not None and committed.t0_ns == self._plan_t0_ns:
            age = min(age, committed.offset / DT)  # a stretched chunk is behind its plan
        played, rest = divmod(min(max(age, 0.0), EXECUTABLE), 1.0)
        planned = advance(self._plan[int(played)], stages, self._style, rest * DT)
        if age <= EXECUTABLE + 1 and near(tcp, planned.T_base_tcp, _ON_PLAN):
            return planned
        if not near(tcp, planned.T_base_tcp, _ON_PLAN):
            gaps = [distance(tcp, past.T_base_tcp)[0] for past in self._plan[: int(played) + 1]]
            planned = self._plan[int(np.argmin(gaps))]
        return Reference.at_rest(tcp, planned.width, planned.stage)

    def _judge(self, reference: Reference, observation: Observation, stages: Sequence[Stage]) -> Reference | None:
        """The reference with its stage moved on where the observation allows it; None where the attempt has failed."""
        assert self._script is not None and observation.truth is not None
        tcp, width = observation.T_base_tcp[-1], float(observation.width[-1])
        force = None if observation.force is None else float(observation.force[-1])
        stage = stages[reference.stage]
        if stage.name != self._stage or not reference.reached(stage):
            self._stage, self._since_ns = stage.name, observation.stamp_ns
        waited = (observation.stamp_ns - self._since_ns) * 1e-9
        if stage.squeeze and self._script.lost(tcp, observation.truth):
            return None
        onward = replace(reference, stage=reference.stage + 1)
        match stage.until:
            case Until.ARRIVED if reference.reached(stage):
                return onward if near(tcp, stage.T_base_tcp, _ARRIVED) or waited > _PATIENCE else reference
            case Until.GRIPPED if waited > _SQUEEZE_TIME and reference.width <= stage.width:
                if width < stage.width + _EMPTY and waited > _PATIENCE:
                    return None
                if waited > _PATIENCE or (force is not None and force > 0.5 * stage.squeeze):
                    self._script.gripped(tcp, observation.truth)
                    return onward
            case Until.OPENED if width > stage.width - 0.004 or waited > _PATIENCE:
                return onward
            case Until.NEVER if waited > _PATIENCE and not self._script.done(observation.truth):
                return None
        return reference

    def predict(self, observation: Observation) -> Prediction:
        """The next steps of the demonstration as a chunk; raises ValueError without the simulator's truth."""
        truth, tcp, width = observation.truth, observation.T_base_tcp[-1], float(observation.width[-1])
        if truth is None:
            raise ValueError("the demonstrator needs the simulator's truth; only the virtual cell has it")
        if self._script is not None and truth.facts != self._facts:
            self.reset()  # another scenario is on the table
        if self._script is None:
            self._begin(tcp, truth)
        assert self._script is not None
        stages = self._script.stages(truth)
        reference = self._resume(observation, stages)
        judged = self._judge(reference, observation, stages)
        if judged is None and self._attempt < _RETRIES:
            self._attempt += 1
            self._begin(reference.T_base_tcp, truth)
            judged = replace(reference, target=reference.T_base_tcp, stage=0)
        stages = self._script.stages(truth)
        plan = [judged or reference]
        for _ in range(STEPS):
            plan.append(advance(plan[-1], stages, self._style, DT))
        self._plan, self._plan_t0_ns = tuple(plan), observation.stamp_ns
        self._chunks += 1
        T_tcp_base = tcp.inverse()
        return Prediction(
            ActionChunk(
                id=self._chunks,
                policy=self.name,
                t0_ns=observation.stamp_ns,
                T_base_tcp_t0=tcp,
                width_t0=width,
                dt=DT,
                offset=DT,
                T_rel=np.stack([(T_tcp_base @ step.T_base_tcp).matrix for step in plan[1:]]),
                width_change=np.array([step.width for step in plan[1:]]) - width,
                force=np.array([_force(step, stages[step.stage]) for step in plan[1:]]),
                executable=EXECUTABLE,
            )
        )


def _force(reference: Reference, stage: Stage) -> float:
    """The grasp force [N] to expect: it builds up over the last stretch of closing, as the drive is pushed back."""
    return min(max(stage.squeeze - GRIPPER.stiffness * (reference.width - stage.width), 0.0), stage.squeeze)
