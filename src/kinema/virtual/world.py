"""The physics of the virtual cell: an arm with a gripper, a scenario, and the sensors that look at them.

`World` is a pure function of its arguments and of the commands it gets: the same ones give the same numbers, bit for
bit. It reads no clock. Everything that it measures carries the noise of `noise.yaml`; only `truth`, `snapshot` and
`outcome` are exact.
"""

import logging
from collections import deque
from dataclasses import replace
from typing import Any

import mujoco
import numpy as np

from kinema import robots
from kinema.chunk import Truth
from kinema.errors import ConfigError, SimulationError
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmCommand, ArmMode, ArmState, CommandKind, ForceSample, GripperState
from kinema.virtual import noise as noise_table, scene
from kinema.virtual.ground_truth import GroundTruth, Outcome
from kinema.virtual.noise import NoiseTable
from kinema.virtual.scenario import Scenario

_log = logging.getLogger(__name__)
mujoco.set_mju_user_warning(_log.warning)  # instead of a MUJOCO_LOG.TXT wherever the process stands

_SERVO = (3600.0, 120.0)  # [1/s^2, 1/s] gains of the arm's own joint controller: 60 rad/s, critically damped
_BRAKE_DECELERATION = 12.0  # [rad/s^2] of every joint; a UR5e at full speed stops in a quarter of a second
_ACCELERATION = 10.0  # [rad/s^2] of the position controller's reference
_WILD = 200.0  # [rad/s or m/s] no velocity of a sane cell comes near
_TARE_SAMPLES = 20


class World:
    """One arm in one scenario.

    command_kind  what `step` takes: torques [N m], or positions [rad] that the arm's own controller follows
    seed          of the sensors' noise
    origin_ns     Kinema time of the first state
    period        [s] of the arm's control cycle
    payload_error [-] by which the gripper really is heavier than the table says
    q             (dof,) joint positions to begin with; the arm's home where None
    """

    def __init__(
        self,
        scenario: Scenario,
        robot: str,
        *,
        command_kind: CommandKind = CommandKind.TORQUE,
        seed: int = 0,
        origin_ns: int = 0,
        period: float = scene.TIMESTEP,
        noise: NoiseTable | None = None,
        payload_error: float = 0.0,
        q: Array | None = None,
    ) -> None:
        if command_kind not in (CommandKind.TORQUE, CommandKind.POSITION):
            raise ConfigError(f"command_kind {command_kind!r}: allowed are TORQUE and POSITION")
        self._substeps = round(period / scene.TIMESTEP)
        if self._substeps < 1 or abs(self._substeps * scene.TIMESTEP - period) > 1e-12:
            raise ConfigError(f"period {period} s: allowed are whole multiples of the physics' {scene.TIMESTEP} s")
        self.scenario, self.robot, self.command_kind = scenario, robot, command_kind
        self.arm = robots.arm(robot)
        self.gripper = robots.GRIPPER
        self.period = period
        self.origin_ns = origin_ns
        self.k = 0
        self.noise = noise or noise_table.load()
        self._rng = np.random.default_rng(seed)

        self.model = scene.build(scenario, robot, payload_error=payload_error)
        self.data = mujoco.MjData(self.model)
        n = self.arm.dof
        self._dof = slice(0, n)  # the arm's joints come first in qpos, qvel and ctrl
        self._jaw = self.model.actuator(scene.JAW).id
        self._fingers = np.array([self.model.joint(name).qposadr[0] for name in scene.FINGERS])
        self._finger_dofs = np.array([self.model.joint(name).dofadr[0] for name in scene.FINGERS])
        self._sensor = {
            self.model.sensor(i).name: slice(int(a), int(a + d))
            for i, (a, d) in enumerate(zip(self.model.sensor_adr, self.model.sensor_dim, strict=True))
        }
        self._tcp = self.model.site("tcp").id
        self._torque = self.arm.limits("torque")
        self._lower, self._upper = self.arm.limits("lower"), self.arm.limits("upper")
        self._speed = self.arm.limits("speed")
        self._mass_matrix = np.zeros((self.model.nv, self.model.nv))
        self._ground = GroundTruth(scenario, self.model, self.data, period)

        self.data.qpos[self._dof] = self.arm.home if q is None else q
        self.data.qpos[self._fingers] = self.gripper.stroke / 2
        self._jaw_target = self._jaw_goal = self.gripper.stroke
        self._jaw_speed, self._jaw_force = self.gripper.speed, self.gripper.force
        self._command: ArmCommand | None = None
        self._hold = self.data.qpos[self._dof].copy()
        self._hold_speed = np.zeros(n)
        self._mode = ArmMode.RUNNING
        self._fault = ""
        self._load_offset = float(self._rng.normal(0.0, self.noise.load_cell.offset))
        self._tare: float | None = None
        delay = max(1, round(self.noise.arm.wrench_delay / period))
        self._wrenches: deque[Array] = deque([np.zeros(6)] * delay, maxlen=delay)
        mujoco.mj_forward(self.model, self.data)
        self._loads: deque[float] = deque(maxlen=_TARE_SAMPLES)
        self._state: ArmState
        self._jaw_record: GripperState
        self._measure()

    # ---- time

    @property
    def t_ns(self) -> int:
        """World time [ns, Kinema time]."""
        return self.origin_ns + round(self.k * self.period * 1e9)

    # ---- the arm

    def arm_state(self) -> ArmState:
        """The arm's record of now. After a divergence the last finite one, with mode DIVERGED."""
        return self._state

    def step(self, command: ArmCommand | None) -> ArmCommand:
        """Apply a command for one period and return what was applied; None holds the last one.

        Before the first command, and after `reset_arm` until the next, the arm holds its position by itself. BRAKE
        stops it within its own deceleration and latches. Raises SimulationError when the physics diverged, again at
        every call: nothing is reset (F28).
        """
        if self._fault:
            raise SimulationError(self._fault)
        if self._mode is ArmMode.BRAKED:
            pass
        elif command is not None and command.kind is CommandKind.BRAKE:
            self._brake(ArmMode.BRAKED)
        elif command is not None:
            self._check(command)
            self._command = command
        applied = self._step_physics()
        self.k += 1
        self._measure()
        self._ground.look(self.k)
        return applied

    def reset_arm(self) -> None:
        """Clear a latched brake; the arm holds its measured position until the next command."""
        self._brake(ArmMode.RUNNING)
        self._measure()

    def adopt(self, old: "World") -> None:
        """Take over arm and jaw as they are in another world, so that only the scenario changes."""
        if old.robot != self.robot:
            raise ConfigError(f"a world with {self.robot} cannot adopt the arm of one with {old.robot}")
        if old._fault:
            raise ConfigError(f"the arm of a diverged world cannot be adopted: {old._fault}")
        n = self.arm.dof + 2  # the two fingers follow the arm's joints
        self.data.qpos[:n], self.data.qvel[:n] = old.data.qpos[:n], old.data.qvel[:n]
        for name in (
            "_jaw_target",
            "_jaw_goal",
            "_jaw_speed",
            "_jaw_force",
            "_command",
            "_mode",
            "_load_offset",
            "_tare",
        ):
            setattr(self, name, getattr(old, name))
        for name in ("_hold", "_hold_speed"):
            setattr(self, name, getattr(old, name).copy())
        self.k = old.k
        self.origin_ns = old.origin_ns
        mujoco.mj_forward(self.model, self.data)
        self._measure()

    def external_wrench(self, body: str, wrench: Array) -> None:
        """Push a body with a force [N] and torque [N m] (6,) at its centre of mass, in world axes, until changed."""
        self.data.xfrc_applied[self.model.body(body).id] = wrench

    def push(self, wrench: Array) -> None:
        """From now on a force [N] and torque [N m] (6,) act on the flange at the TCP, in base_link axes."""
        com = self.data.xipos[self.model.body("flange").id]
        at_com = np.array(wrench, float)
        at_com[3:] += np.cross(self.T_base_tcp().position - com, at_com[:3])
        self.external_wrench("flange", at_com)

    # ---- the gripper

    def command_jaw(self, width: float, speed: float, force: float) -> float:
        """Ask for a jaw opening [m] at a speed [m/s] with at most a force [N]; returns the width that was applied.

        A width below that of what is held squeezes it: the drive's stiffness turns the difference into force.
        """
        if not np.isfinite((width, speed, force)).all():
            raise ConfigError(f"jaw command ({width}, {speed}, {force}) is not finite")
        self._jaw_goal, self._jaw_speed, self._jaw_force = self.gripper.clip(width, speed, force)
        return self._jaw_goal

    def jaw_state(self) -> GripperState:
        """Opening, speed and the drive's own force estimate (closing positive)."""
        return self._jaw_record

    # ---- the load cell

    def load_cell(self) -> ForceSample:
        """What the load cell in the right finger reads now."""
        cell = self.noise.load_cell
        saturated = self._loads[-1] >= cell.range
        return ForceSample(self.t_ns, self._loads[-1] - (self._tare or 0.0), saturated, self._tare is not None)

    def tare(self) -> float:
        """Take the mean of the last samples for zero; returns that offset [N]."""
        self._tare = float(np.mean(self._loads))
        return self._tare

    # ---- what only a simulator knows

    def truth(self) -> Truth:
        """Exact poses in base_link, joint positions and the scenario's facts."""
        return self._ground.truth(self.t_ns)

    def T_base_tcp(self) -> Pose:
        """The exact pose of the tool."""
        return self._ground.T_base_tcp()

    def snapshot(self) -> Array:
        """All that rendering needs: `scene.apply_snapshot` takes it."""
        return scene.snapshot(self.data)

    def outcome(self) -> Outcome:
        """Success as the task defines it, after release and a second of rest; otherwise what is missing."""
        return self._ground.outcome()

    # ---- inside

    def _check(self, command: ArmCommand) -> None:
        if command.kind is not self.command_kind:
            raise ConfigError(f"command of kind {command.kind.name}: this arm takes {self.command_kind.name} and BRAKE")
        if command.values.shape != (self.arm.dof,):
            raise ConfigError(f"command of shape {command.values.shape}: {self.arm.name} takes ({self.arm.dof},)")
        if not np.isfinite(command.values).all():
            raise ConfigError(f"command of kind {command.kind.name} is not finite: {command.values}")

    def _brake(self, mode: ArmMode) -> None:
        self._mode = mode
        self._command = None
        self._hold = self.data.qpos[self._dof].copy()
        self._hold_speed = self.data.qvel[self._dof].copy()

    def _step_physics(self) -> ArmCommand:
        applied = ArmCommand(CommandKind.BRAKE, np.zeros(0))
        command = self._command
        goal = None
        if command is not None and command.kind is CommandKind.TORQUE:
            torque = np.clip(command.values, -self._torque, self._torque)
            applied = ArmCommand(CommandKind.TORQUE, torque)
            self.data.ctrl[self._dof] = torque
        elif command is not None:
            goal = np.clip(command.values, self._lower, self._upper)
        dt = self.model.opt.timestep
        force_range = self.model.actuator_forcerange[self._jaw]
        force_range[:] = -self._jaw_force, self._jaw_force
        for _ in range(self._substeps):
            step = self._jaw_speed * dt
            self._jaw_target += min(max(self._jaw_goal - self._jaw_target, -step), step)
            self.data.ctrl[self._jaw] = self._jaw_target
            if goal is not None:
                self._follow(goal, dt)
            elif command is None:
                self._decelerate(dt)
            mujoco.mj_step(self.model, self.data)
            self._watch()
        if goal is not None:
            applied = ArmCommand(CommandKind.POSITION, self._hold.copy())
        return applied

    def _follow(self, goal: Array, dt: float) -> None:
        """The arm's own position controller: its reference nears the goal within speed and acceleration limits."""
        left = goal - self._hold
        distance = np.abs(left)
        wanted = np.sign(left) * np.minimum(
            np.minimum(distance / dt, self._speed), np.sqrt(2 * _ACCELERATION * distance)
        )
        step = _ACCELERATION * dt
        self._hold_speed = self._hold_speed + np.clip(wanted - self._hold_speed, -step, step)
        self._hold = self._hold + self._hold_speed * dt
        self._servo(self._hold, self._hold_speed)

    def _decelerate(self, dt: float) -> None:
        slower = np.maximum(np.abs(self._hold_speed) - _BRAKE_DECELERATION * dt, 0.0)
        self._hold_speed = np.sign(self._hold_speed) * slower
        self._hold = self._hold + self._hold_speed * dt
        self._servo(self._hold, self._hold_speed)

    def _servo(self, q: Array, dq: Array) -> None:
        """Computed torque: M (kp e + kd de) + bias, clipped to the joints' torques."""
        data = self.data
        mujoco.mj_fullM(self.model, data, self._mass_matrix)
        mass = self._mass_matrix[self._dof, self._dof]
        kp, kd = _SERVO
        acceleration = kp * (q - data.qpos[self._dof]) + kd * (dq - data.qvel[self._dof])
        torque = mass @ acceleration + data.qfrc_bias[self._dof] - data.qfrc_passive[self._dof]
        data.ctrl[self._dof] = np.clip(torque, -self._torque, self._torque)

    def _watch(self) -> None:
        """Divergence is a fault (F28)."""
        data = self.data
        speed = np.abs(data.qvel).max()
        if speed < _WILD and np.isfinite(data.qpos.sum()):  # NaN compares false
            return
        worst = int(np.argmax(np.where(np.isfinite(data.qvel), np.abs(data.qvel), np.inf)))
        body = self.model.body(self.model.dof_bodyid[worst]).name
        self._fault = (
            f"the physics diverged in tick {self.k}: body {body!r} moves at {data.qvel[worst]:.3g}, "
            f"allowed is {_WILD:g} rad/s or m/s; reset the scenario"
        )
        self._mode = ArmMode.DIVERGED
        self._state = replace(self._state, mode=ArmMode.DIVERGED)
        raise SimulationError(self._fault)

    def _measure(self) -> None:
        """All sensors of this tick, once: so the noise does not depend on who asks how often."""
        n, data, noise = self.arm.dof, self.data, self.noise
        draw = self._rng.standard_normal(3 * n + 8)
        wrench = self._external_wrench()
        wrench[:3] += noise.arm.force * draw[3 * n : 3 * n + 3]
        wrench[3:] += noise.arm.wrench_torque * draw[3 * n + 3 : 3 * n + 6]
        delayed = self._wrenches[0]
        self._wrenches.append(wrench)
        self._state = ArmState(
            self.k,
            self.t_ns,
            data.qpos[:n] + noise.arm.position * draw[:n],
            data.qvel[:n] + noise.arm.velocity * draw[n : 2 * n],
            data.actuator_force[:n] + noise.arm.torque * draw[2 * n : 3 * n],
            delayed,
            self._mode,
        )
        load = data.sensordata[self._sensor["load_cell"]][0] + self._load_offset
        self._loads.append(float(min(load + noise.load_cell.force * draw[-2], noise.load_cell.range)))
        width = float(data.qpos[self._fingers].sum() + noise.jaw.position * draw[-1])
        speed = float(data.qvel[self._finger_dofs].sum())
        self._jaw_record = GripperState(self.t_ns, width, speed, max(-float(data.actuator_force[self._jaw]), 0.0))

    def _external_wrench(self) -> Array:
        """What a force-torque sensor at the flange says of the world outside, in base_link axes at the TCP.

        The sensor reads the force between arm and gripper; weight and inertia of the gripper as the table has it are
        taken off by means of an accelerometer and a gyroscope in its middle.
        """
        values, sensor, gripper = self.data.sensordata, self._sensor, self.gripper
        inertia = np.array(gripper.inertia)
        acceleration, rate = values[sensor["gripper_acceleration"]], values[sensor["gripper_rate"]]
        R = self.data.site_xmat[self._tcp].reshape(3, 3)
        spin = R.T @ values[sensor["gripper_spin"]]
        own_force = gripper.mass * acceleration
        own_torque = inertia * spin + _cross(rate, inertia * rate) + _cross((0.0, 0.0, gripper.com), own_force)
        # Newton for the gripper: what the arm does to it (the sensor) and the outside together move it.
        force = own_force - values[sensor["flange_force"]]
        torque = own_torque - values[sensor["flange_torque"]]
        at_tcp = torque - _cross((0.0, 0.0, gripper.tcp), force)
        return np.concatenate([R @ force, R @ at_tcp])


def _cross(a: Any, b: Any) -> Array:
    """numpy's cross product of two (3,), without its overhead."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]])
