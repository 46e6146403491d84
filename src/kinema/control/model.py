"""The rigid-body model of one arm with its gripper, made from the robot table, evaluated with pinocchio.

`update` evaluates everything that a control cycle needs once; the attributes hold the results until the next call.
Small symmetric problems go to Eigen (eigenpy): with cold caches LAPACK behind numpy takes three times as long.
"""

import math

import coal
import eigenpy
import numpy as np
import pinocchio as pin

from kinema import robots
from kinema.geometry import Array, Pose
from kinema.robots import GRIPPER, ArmModel, Capsule, GripperModel

LENGTH = 0.3  # [m] characteristic length that makes angular rows comparable with linear ones
SCALE = np.repeat([1.0, LENGTH], 3)
_ROWS = SCALE[:, None]
_DAMPING = 1e-3  # of damped least squares, in units of the scaled Jacobian
_NEIGHBOURS = 0.01  # [m] capsules that are this close at home touch by construction


def _se3(T: Pose) -> pin.SE3:
    return pin.SE3(T.rotation, T.position)


def _build(arm: ArmModel, gripper: GripperModel) -> tuple[pin.Model, pin.SE3]:
    """Joints, inertias and rotor inertias of the table; returns the placement of the flange on the last joint too."""
    model = pin.Model()
    T, parent = Pose.from_rotvec(np.zeros(3), np.array([0.0, 0.0, arm.base_yaw])), 0
    for joint in arm.joints:
        parent = model.addJoint(parent, pin.JointModelRZ(), _se3(T), joint.name)
        inertia = pin.Inertia(joint.mass, robots.link_com(joint), robots.link_inertia(joint))
        model.appendBodyToJoint(parent, inertia, pin.SE3.Identity())
        T = robots.link_transform(joint)
    flange = _se3(T)
    payload = pin.Inertia(gripper.mass, np.array([0.0, 0.0, gripper.com]), np.diag(gripper.inertia))
    model.appendBodyToJoint(parent, payload, flange)
    model.addFrame(pin.Frame("tcp", parent, 0, flange * _se3(gripper.T_flange_tcp), pin.FrameType.OP_FRAME))
    model.armature = arm.limits("rotor")
    return model, flange


def _placement(capsule: Capsule) -> tuple[pin.SE3, float]:
    """Where a capsule's middle and z axis lie, and its length [m]."""
    start, end = np.array(capsule.start), np.array(capsule.end)
    along = end - start
    length = float(np.linalg.norm(along))
    turn = pin.Quaternion.FromTwoVectors(np.array([0.0, 0.0, 1.0]), along if length > 0 else np.array([0.0, 0.0, 1.0]))
    return pin.SE3(turn.toRotationMatrix(), (start + end) / 2), length


def _shapes(arm: ArmModel, gripper: GripperModel, flange: pin.SE3) -> tuple[pin.GeometryModel, list[Capsule]]:
    shapes, capsules = pin.GeometryModel(), list(robots.capsules(arm, gripper))
    for i, capsule in enumerate(capsules):
        placement, length = _placement(capsule)
        if capsule.link == arm.dof:
            placement = flange * placement
        joint = min(capsule.link + 1, arm.dof)
        geometry = coal.Capsule(capsule.radius, length)
        shapes.addGeometryObject(pin.GeometryObject(f"capsule{i}", joint, placement, geometry))
    table = coal.Halfspace(np.array([0.0, 0.0, 1.0]), 0.0)
    shapes.addGeometryObject(pin.GeometryObject("table", 0, pin.SE3.Identity(), table))
    return shapes, capsules


class Eigen:
    """Eigenvalues of symmetric (n, n) matrices."""

    def __init__(self, n: int):
        self._solver = eigenpy.SelfAdjointEigenSolver(n)

    def solve(self, matrix: Array) -> tuple[Array, Array]:
        """Eigenvalues (n,) in ascending order and eigenvectors, the columns of an (n, n)."""
        solver = self._solver.compute(matrix)
        return solver.eigenvalues(), solver.eigenvectors()


class RobotModel:
    """Forward kinematics, Jacobian, dynamics and clearance of one arm; arrays are valid until the next `update`.

    T_base_tcp  measured pose of the tool
    J           (6, n) Jacobian of the TCP in base_link axes, linear rows first
    J_scaled    the same with its angular rows times LENGTH
    M, Minv     (n, n) joint-space inertia with rotors, and its inverse [kg m^2]
    bias        (n,) gravity, Coriolis and centrifugal torques [N m], gripper included
    """

    def __init__(self, arm: ArmModel, gripper: GripperModel = GRIPPER):
        self.arm = arm
        self._model, flange = _build(arm, gripper)
        self._data, self._ahead = self._model.createData(), self._model.createData()
        self._tcp = self._model.getFrameId("tcp")
        self._shapes, capsules = _shapes(arm, gripper, flange)
        self.pairs = self._add_pairs(capsules)
        self._shapes_data = self._shapes.createData()
        self._reach = _reach(arm, capsules)
        self._found: tuple[float, Array] = -math.inf, np.array(arm.home)
        self._eigen = Eigen(6)
        self.update(np.array(arm.home), np.zeros(arm.dof))

    def _add_pairs(self, capsules: list[Capsule]) -> list[str]:
        """Which capsules may meet: links that are not neighbours, and all beyond the first link with the table.

        The fingers are let down to the table: the workspace box keeps their tip off it.
        """
        names, dof = [_name(self.arm, capsule) for capsule in capsules], self.arm.dof
        wanted = [
            (i, j)
            for i, one in enumerate(capsules)
            for j, other in enumerate(capsules[:i])
            if abs(one.link - other.link) > 1 and not (one.link == dof and other.link == dof)
        ]
        for i, j in wanted:
            self._shapes.addCollisionPair(pin.CollisionPair(j, i))
        data = self._shapes.createData()
        pin.computeDistances(self._model, self._data, self._shapes, data, np.array(self.arm.home))
        apart = [pair for pair, d in zip(wanted, data.distanceResults, strict=True) if d.min_distance > _NEIGHBOURS]
        self._shapes.removeAllCollisionPairs()
        fingers = len(capsules) - 2
        apart += [(len(capsules), i) for i, c in enumerate(capsules) if c.link >= 1 and i < fingers]
        for i, j in apart:
            self._shapes.addCollisionPair(pin.CollisionPair(j, i))
        return [f"{names[j]} and {names[i] if i < len(names) else 'table'}" for i, j in apart]

    def update(self, q: Array, dq: Array) -> None:
        """Evaluate the model at joint positions and velocities (n,) [rad, rad/s]."""
        model, data = self._model, self._data
        pin.computeAllTerms(model, data, q, dq)
        placement = pin.updateFramePlacement(model, data, self._tcp)
        self.T_base_tcp = Pose(placement.translation.copy(), placement.rotation.copy())
        self.J = pin.getFrameJacobian(model, data, self._tcp, pin.LOCAL_WORLD_ALIGNED)
        self.J_scaled = _ROWS * self.J
        self._spread: tuple[Array, Array] | None = None
        self.M, self.bias = data.M, data.nle
        self._q = q
        self._Minv: Array | None = None

    @property
    def Minv(self) -> Array:
        if self._Minv is None:
            self._Minv = pin.computeMinverse(self._model, self._data, self._q)
        return self._Minv

    def fk(self, q: Array) -> Pose:
        """`T_base_tcp` at q; leaves the results of `update` alone."""
        pin.forwardKinematics(self._model, self._ahead, q)
        placement = pin.updateFramePlacement(self._model, self._ahead, self._tcp)
        return Pose(placement.translation.copy(), placement.rotation.copy())

    def jacobian(self, q: Array) -> Array:
        """The TCP Jacobian (6, n) at q; leaves the results of `update` alone."""
        return pin.computeFrameJacobian(self._model, self._ahead, q, self._tcp, pin.LOCAL_WORLD_ALIGNED)

    def joint_speed(self, twist: Array) -> Array:
        """(n,) [rad/s] that a twist (6,) of the TCP asks of the joints, by damped least squares."""
        squares, axes = self._spectrum()
        return self.J_scaled.T @ (axes @ ((axes.T @ (SCALE * twist)) / (squares + _DAMPING**2)))

    def min_singular_value(self) -> float:
        """The smallest singular value of J_scaled: 0 at a singularity."""
        return math.sqrt(max(float(self._spectrum()[0][0]), 0.0))

    def min_singular_value_at(self, q: Array) -> float:
        return float(np.linalg.svd(_ROWS * self.jacobian(q), compute_uv=False)[-1])

    def _spectrum(self) -> tuple[Array, Array]:
        """Squared singular values of J_scaled in ascending order, and their axes in the task space."""
        if self._spread is None:
            self._spread = self._eigen.solve(self.J_scaled @ self.J_scaled.T)
        return self._spread

    def clearance(self, q: Array) -> tuple[float, str]:
        """The smallest distance [m] of the arm from table and itself at q, and between what."""
        nearest = pin.computeDistances(self._model, self._ahead, self._shapes, self._shapes_data, q)
        return self._shapes_data.distanceResults[nearest].min_distance, self.pairs[nearest]

    def clears(self, q: Array, least: float) -> bool:
        """Whether the clearance at q is at least `least` [m].

        What was found at one q holds around it: a point moves no further than joints turn times their reach.
        """
        found, at = self._found
        if found - float(self._reach @ np.abs(q - at)) >= least:
            return True
        found, _ = self.clearance(q)
        self._found = found, q
        return found >= least


def _reach(arm: ArmModel, capsules: list[Capsule]) -> Array:
    """(n,) [m] no point of the arm beyond a joint is further from that joint's origin."""
    links = [float(np.linalg.norm(robots.link_transform(joint).position)) for joint in arm.joints]
    extent = max(np.linalg.norm(end) + c.radius for c in capsules for end in (c.start, c.end))
    return np.cumsum(links[::-1])[::-1] + extent


def _name(arm: ArmModel, capsule: Capsule) -> str:
    if capsule.link < 0:
        return "base"
    return "gripper" if capsule.link == arm.dof else f"link {arm.joints[capsule.link].name}"
