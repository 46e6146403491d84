"""The two laws that make an arm yield to forces: impedance in torques, admittance in joint positions.

Both render, at the TCP and in base_link axes, K (x_goal - x) + D (v_goal - v) + inertia + f_external = 0.

- Torque arms: Cartesian impedance control (Hogan 1985; Albu-Schaeffer, Ott, Frese, Hirzinger, ICRA 2003) with the arm's
  own task inertia (Khatib 1987), damping D = z (A K^1/2 + K^1/2 A) with A = Lambda^1/2 designed anew every cycle, and
  posture control in the dynamically consistent null space.
- Position arms: a virtual mass-spring-damper driven by the measured wrench, followed by damped least squares; a slow
  integral makes up for the servos' own give, which would come on top.

Joint friction would leave the torque arm short of F / K by friction / K, because it sticks before it gets there. A
disturbance observer on the joints (Le Tien, Albu-Schaeffer, De Luca, Hirzinger, IROS 2008) estimates the torque that
neither the model nor the measured wrench explains and takes it off. It acts also at rest, needs no velocity sign and
therefore no dither; its authority is bounded by the table's friction: a wrong wrench can do no more than friction does.
"""

import enum
from typing import Protocol

import eigenpy
import numpy as np

from kinema.control.model import LENGTH, SCALE, Eigen, RobotModel
from kinema.control.motion import Equilibrium, advance, difference, sizes
from kinema.control.settings import Impedance
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmState, CommandKind
from kinema.robots import ArmModel

_LIGHTEST = 1 / 60  # [1/kg] least mobility that damping is designed for: bounds it near singularities
_FORGET = 0.2  # [s] in which the friction estimate fades where it isn't used
_DAMPING = 1e-3  # of damped least squares, in units of the scaled Jacobian
_DROOP_RATE, _DROOP = 5.0, 0.08  # [1/s, rad] how the give of the arm's own servos is made up for, and the most of it
_CONTACT, _CREEP = 12.0, 0.02  # [N, m/s] of a contact; how fast a position arm goes on into it, or off it
_GIVES = 1.2  # [-] of the measured speed that it may go on with: what is pushed along gives way
_NO_YIELD = Pose.identity()
_CATCH_UP = 0.5  # [rad/s] joint speed at which the least squares may remove what is left of the error


class Compliance(enum.Enum):
    STIFF = "not enabled: hold"
    SOFT = "enabled: the configured impedance"
    FREE = "freedrive: damping only"


class Law(Protocol):
    """From the commanded equilibrium to what the arm is told."""

    def start(self, state: ArmState) -> None:
        """Begin at the measured state, with no memory of anything before."""
        ...

    def stand(self, q: Array) -> None:
        """The equilibrium was put at the measured pose, joints q (n,): what had been yielded is in it now."""
        ...

    def command(
        self,
        model: RobotModel,
        state: ArmState,
        goal: Equilibrium,
        posture: Array | None,
        compliance: Compliance,
        dt: float,
    ) -> Array:
        """(n,) joint torques [N m] or positions [rad] for this cycle, dt [s] after the last.

        posture  (n,) [rad] for the joints, as far as the goal leaves them a choice; None: none
        """
        ...


def law(kind: CommandKind, arm: ArmModel, settings: Impedance) -> Law:
    """The law for what an arm takes."""
    return ImpedanceLaw(arm, settings) if kind == CommandKind.TORQUE else AdmittanceLaw(arm, settings)


def _six(pair: tuple[float, float]) -> Array:
    return np.repeat(np.array(pair, float), 3)


_UNSCALE = _six((1.0, 1 / LENGTH))


class ImpedanceLaw:
    """Cartesian impedance for an arm that takes torques."""

    def __init__(self, arm: ArmModel, settings: Impedance):
        self._settings = settings
        self._torque, self._friction = arm.limits("torque"), settings.friction_bound * arm.limits("friction")
        self._viscous = settings.friction_bound * arm.limits("damping")
        stiffness = _six(settings.stiffness)
        self._stiffness = {
            compliance: (factor * stiffness, np.sqrt(factor * stiffness) * _UNSCALE)
            for compliance, factor in ((Compliance.STIFF, settings.idle_stiffness), (Compliance.SOFT, 1.0))
        }
        self._free_damping = _six(settings.free_damping)
        self._eigen = Eigen(6)
        self._last: Array | None = None
        self._friction_torque = np.zeros(arm.dof)
        self._dq = np.zeros(arm.dof)

    def start(self, state: ArmState) -> None:
        self._last = None
        self._friction_torque = np.zeros(len(state.q))
        self._dq = state.dq

    def stand(self, q: Array) -> None:
        pass

    def command(
        self,
        model: RobotModel,
        state: ArmState,
        goal: Equilibrium,
        posture: Array | None,
        compliance: Compliance,
        dt: float,
    ) -> Array:
        J, dq = model.J, state.dq
        # Lambda^-1, in scaled rows: eigenvalues and axes
        J_scaled = model.J_scaled
        mobility, axes = self._eigen.solve(J_scaled @ model.Minv @ J_scaled.T)
        mobility = np.maximum(mobility, _LIGHTEST)
        if compliance is Compliance.FREE:
            force = -self._free_damping * (J @ dq)
        else:
            stiffness, k = self._stiffness[compliance]
            error = SCALE * (goal.twist - J @ dq)
            root = axes / np.sqrt(mobility) @ axes.T  # Lambda^1/2
            damped = self._settings.damping_ratio * (root @ (k * error) + k * (root @ error))
            inertial = root @ (root @ (SCALE * goal.acceleration))
            force = stiffness * difference(model.T_base_tcp, goal.pose) + SCALE * (damped + inertial)
        law_torque = J.T @ force
        if posture is not None:
            law_torque += self._posture(model, J_scaled, mobility, axes, posture - state.q, dq)
        self._observe(model, state, compliance, dt)
        torque = law_torque + model.bias - self._friction_torque
        if self._last is not None:
            most = self._settings.torque_rate * dt
            torque = np.minimum(np.maximum(torque, self._last - most), self._last + most)
        self._last = np.minimum(np.maximum(torque, -self._torque), self._torque)
        return self._last

    def _posture(self, model: RobotModel, J: Array, mobility: Array, axes: Array, error: Array, dq: Array) -> Array:
        stiffness = self._settings.nullspace_stiffness
        torque = stiffness * error - 2 * np.sqrt(stiffness * model.M.diagonal()) * dq
        task = axes @ ((axes.T @ (J @ (model.Minv @ torque))) / mobility)
        return torque - J.T @ task

    def _observe(self, model: RobotModel, state: ArmState, compliance: Compliance, dt: float) -> None:
        """First-order filter on what model, command and measured wrench leave unexplained, within friction's bounds."""
        bandwidth = self._settings.friction_observer
        if compliance is not Compliance.SOFT or self._last is None:
            self._friction_torque *= max(0.0, 1 - dt / _FORGET)
        else:
            explained = self._last - model.bias + model.J.T @ state.wrench
            unexplained = model.M @ (state.dq - self._dq) - dt * explained
            estimate = self._friction_torque + bandwidth * (unexplained - dt * self._friction_torque)
            most = self._friction + self._viscous * np.abs(state.dq)
            self._friction_torque = np.minimum(np.maximum(estimate, -most), most)
        self._dq = state.dq


class AdmittanceLaw:
    """The same behaviour for an arm that takes joint positions: the equilibrium plus a yield driven by the wrench."""

    def __init__(self, arm: ArmModel, settings: Impedance):
        self._settings = settings
        self._mass = _six((settings.virtual_mass, settings.virtual_inertia))
        self._stiffness = _six(settings.stiffness)
        self._damping = 2 * settings.virtual_damping_ratio * np.sqrt(self._mass * self._stiffness)
        self._free_damping = np.maximum(_six(settings.free_damping), self._damping / 4)
        self._speed = arm.limits("speed").tolist()
        self._still = np.zeros(arm.dof)
        self._squares = eigenpy.LDLT(6)
        self._q, self._droop = np.zeros(arm.dof), np.zeros(arm.dof)
        self._yield, self._yield_twist = _NO_YIELD, np.zeros(6)

    def start(self, state: ArmState) -> None:
        self.stand(state.q)

    def stand(self, q: Array) -> None:
        self._q, self._droop = q.copy(), np.zeros(len(q))
        self._yield, self._yield_twist = _NO_YIELD, np.zeros(6)

    def command(
        self,
        model: RobotModel,
        state: ArmState,
        goal: Equilibrium,
        posture: Array | None,
        compliance: Compliance,
        dt: float,
    ) -> Array:
        if compliance is not Compliance.STIFF:
            self._give_way(self._felt(state.wrench), goal.twist[:3], (model.J @ state.dq)[:3], compliance, dt)
        elif self._yield_twist.any():
            self._yield_twist = np.zeros(6)
        given = self._yield
        wanted = Pose(goal.pose.position + given.position, given.rotation @ goal.pose.rotation)
        self._q = self._follow(model, wanted, posture, dt)
        droop = self._droop + _DROOP_RATE * dt * (self._q - state.q)
        self._droop = np.minimum(np.maximum(droop, -_DROOP), _DROOP)
        return self._q + self._droop

    def _felt(self, wrench: Array) -> Array:
        """The wrench without what is below the deadband; continuous, and whole from twice the deadband on."""
        felt = np.empty(6)
        halves = (slice(0, 3), slice(3, 6))
        for half, size, least in zip(halves, sizes(wrench), self._settings.wrench_deadband, strict=True):
            felt[half] = wrench[half] * min(max(size / least - 1.0, 0.0), 1.0) if least > 0 else wrench[half]
        return felt

    def _give_way(self, felt: Array, moving: Array, moves: Array, compliance: Compliance, dt: float) -> None:
        """Virtual mass-spring-damper, stepped semi-implicitly: stable for any damping.

        moving, moves  [m/s] (3,) of the goal, and of the arm as measured
        """
        free = compliance is Compliance.FREE
        damping = self._free_damping if free else self._damping
        spring = np.zeros(6) if free else self._stiffness * difference(self._yield, _NO_YIELD)
        self._yield_twist = (self._mass * self._yield_twist + dt * (felt + spring)) / (self._mass + dt * damping)
        if not free:
            self._land(felt[:3], moving, moves)
        self._yield = advance(self._yield, self._yield_twist, dt)

    def _land(self, force: Array, moving: Array, moves: Array) -> None:
        """Where the goal moves into what doesn't give way, neither go on into it nor bounce off: a plastic impact.

        The wrench comes some milliseconds late, and a stiff table has thrown the arm back by then, again and again.
        Taking the virtual mass' speed instead of waiting for forces to do so can't make contact unstable.
        """
        size = float(np.linalg.norm(force))
        if size <= _CONTACT or force @ moving >= 0.0:
            return
        away = force / size
        speed, into = float(away @ (moving + self._yield_twist[:3])), max(_CREEP, -_GIVES * float(away @ moves))
        self._yield_twist[:3] += (min(max(speed, -into), _CREEP) - speed) * away

    def _follow(self, model: RobotModel, wanted: Pose, posture: Array | None, dt: float) -> Array:
        """One step of damped least squares from the commanded joints to the wanted pose, within the joints' speed."""
        J = SCALE[:, None] * model.jacobian(self._q)
        error = SCALE * difference(model.fk(self._q), wanted)
        gram = J @ J.T
        gram.flat[::7] += _DAMPING**2
        drift = self._still
        if posture is not None:
            drift = _CATCH_UP * dt * np.minimum(np.maximum(posture - self._q, -1.0), 1.0)
            error -= J @ drift
        step = drift + J.T @ self._squares.compute(gram).solve(error)
        most = max(abs(moved) / speed for moved, speed in zip(step.tolist(), self._speed, strict=True)) / dt
        return self._q + step / max(most, 1.0)
