"""Moves a virtual arm between poses by its own position controller, for tests of the physics."""

import math
from collections.abc import Callable

import numpy as np
import pinocchio as pin
import pytest

from kinema import robots, urdf
from kinema.geometry import Array, Pose
from kinema.interfaces import ArmCommand, CommandKind
from kinema.virtual.world import World


class Kinematics:
    """Forward and inverse kinematics of the TCP from the URDF."""

    def __init__(self, robot: str) -> None:
        self.model = pin.buildModelFromXML(urdf.urdf(robot))
        self.data = self.model.createData()
        self.arm = robots.arm(robot)
        self._tcp = self.model.getFrameId("tcp")

    @staticmethod
    def looking_down(yaw: float) -> Array:
        """The tool's rotation pointing straight down, jaws closing along `yaw`."""
        c, s = math.cos(yaw), math.sin(yaw)
        return np.array([[c, s, 0.0], [s, -c, 0.0], [0.0, 0.0, -1.0]])

    def solve(self, T_base_tcp: Pose, q: Array) -> tuple[Array, float] | None:
        """Joint positions near q and the smallest singular value there (angular rows times 0.3 m), or None."""
        goal = pin.SE3(T_base_tcp.rotation, T_base_tcp.position)
        q, home = np.array(q, float), np.array(self.arm.home)
        lower, upper = self.arm.limits("lower") + 0.05, self.arm.limits("upper") - 0.05
        for _ in range(400):
            J = pin.computeFrameJacobian(self.model, self.data, q, self._tcp, pin.LOCAL_WORLD_ALIGNED)
            T = self.data.oMi[self.model.frames[self._tcp].parentJoint] * self.model.frames[self._tcp].placement
            error = np.r_[goal.translation - T.translation, pin.log3(goal.rotation @ T.rotation.T)]
            if np.abs(error).max() < 1e-4:
                scale = np.array([1, 1, 1, 0.3, 0.3, 0.3])
                return q, float(np.linalg.svd(J * scale[:, None], compute_uv=False)[-1])
            for part, most in ((slice(0, 3), 0.1), (slice(3, 6), 0.3)):
                error[part] *= min(1.0, most / max(np.linalg.norm(error[part]), 1e-9))
            step = J.T @ np.linalg.solve(J @ J.T + 1e-4 * np.eye(6), error)
            if len(q) > 6:
                step += (np.eye(len(q)) - np.linalg.pinv(J) @ J) @ (0.1 * (home - q))
            q = np.clip(q + step, lower, upper)
        return None


class Driver:
    """Drives a world that takes positions."""

    def __init__(self, world: World) -> None:
        self.world, self.kinematics = world, Kinematics(world.robot)
        self.q = world.data.qpos[: world.arm.dof].copy()

    def go(self, rotation: Array, position: Array, seconds: float) -> None:
        found = self.kinematics.solve(Pose(np.asarray(position, float), rotation), self.q)
        assert found is not None, f"{position} is out of reach"
        start, n = self.q, round(seconds / self.world.period)
        for i in range(1, n + 1):
            u = i / n
            q = start + u * u * (3 - 2 * u) * (found[0] - start)
            self.world.step(ArmCommand(CommandKind.POSITION, q))
        self.q = found[0]

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / self.world.period)):
            self.world.step(ArmCommand(CommandKind.POSITION, self.q))

    def jaw(self, width: float) -> None:
        self.world.command_jaw(width, 0.15, 60.0)
        self.wait(0.6)

    def nearest(self, choices: list[Array], position: Array) -> Array:
        """Of several equally good rotations that which turns the joints least."""
        found = [(self.kinematics.solve(Pose(np.asarray(position, float), R), self.q), R) for R in choices]
        return min((np.abs(s[0] - self.q).max(), i, R) for i, (s, R) in enumerate(found) if s is not None)[2]

    def grasp(self, squeeze: float = 0.012) -> Array:
        """Take the target from above by its first grasp; returns the tool's rotation."""
        truth = self.world.truth()
        target = truth.facts["target"]
        choice = truth.facts["bodies"][target]["grasps"][0]
        T = truth.poses[target]
        at = T.apply(choice["position"])
        axis = T.rotation @ [math.cos(choice["yaw"] or 0.0), math.sin(choice["yaw"] or 0.0), 0.0]
        yaw = math.atan2(axis[1], axis[0])
        above = at + np.array([0.0, 0.0, 0.12])
        rotation = self.nearest([self.kinematics.looking_down(yaw + turn) for turn in (0.0, math.pi)], above)
        self.go(rotation, above, 1.2)
        self.go(rotation, at, 0.8)
        self.jaw(choice["width"] - squeeze)
        return rotation


@pytest.fixture
def kinematics() -> Callable[[str], Kinematics]:
    return Kinematics


@pytest.fixture
def drive() -> Callable[[World], Driver]:
    return Driver
