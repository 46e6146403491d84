"""Contact in the virtual cell with everything on: joint friction, 10 % payload error, sensor noise, wrench delay."""

import numpy as np
import pytest

from kinema.control.messages import Jog, State
from kinema.control.settings import ControlSettings, Limits
from kinema.devices.ur import Lead, Servo
from kinema.geometry import pose_error
from kinema.interfaces import ArmCommand, CommandKind

ARMS = ("virtual_ur5e", "virtual_xarm7")
KINDS = (CommandKind.TORQUE, CommandKind.POSITION)
STIFFNESS = np.repeat(ControlSettings().impedance.stiffness, 3)
BLUNT = Limits(workspace=((0.0, -0.8, -0.2), (1.0, 0.8, 1.0)), force=400.0, torque=100.0)
PUSH = np.repeat([30.0, 4.0], 3)  # [N, N m]: 50 mm, 0.1 rad


def lean(cell, wrench) -> None:
    """Push with this wrench from now on: a hand, not a hammer."""
    for share in np.linspace(0.02, 1.0, 50):
        cell.push(share * wrench)
        cell.run(0.006)


@pytest.mark.parametrize("robot", ARMS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_a_known_wrench_moves_the_arm_by_f_over_k_on_all_six_axes(rig, robot: str, kind: CommandKind) -> None:
    cell = rig(robot, kind)
    assert cell.world.noise.arm.force > 0 and cell.world.noise.arm.wrench_delay > 0
    assert cell.world.model.dof_frictionloss[: cell.world.arm.dof].min() > 0
    cell.enable()
    cell.run(1.5)
    rest = cell.pose()
    for axis in range(6):
        wrench = np.zeros(6)
        wrench[axis] = PUSH[axis] * (1 if axis % 2 else -1)
        lean(cell, wrench)
        cell.run(2.0)
        yielded = pose_error(rest, cell.pose())
        expected = wrench / STIFFNESS
        assert yielded[axis] == pytest.approx(expected[axis], rel=0.10), (axis, cell.said("safety"))
        across = np.delete(np.abs(yielded) / (PUSH / STIFFNESS), axis)
        assert across.max() < 0.10, (axis, yielded)
        cell.push(np.zeros(6))
        cell.run(2.0)
        returned = np.abs(pose_error(rest, cell.pose())) / (PUSH / STIFFNESS)
        assert returned.max() < 0.05, (axis, returned)
    assert cell.core.state is State.READY and not cell.said("clamped")


def press(cell) -> None:
    """Down onto the table until the equilibrium lies 40 mm inside it."""
    cell.enable()
    height = cell.pose().position[2]
    cell.run((height - 0.02) / 0.1 + 0.5, Jog(np.array([0, 0, -0.1, 0, 0, 0]), (height - 0.02) / 0.1))
    speed = 0.02
    deep = cell.last.T_base_goal.position[2] + 0.04 - 0.008  # the finger tips reach 8 mm below the TCP
    cell.run(deep / speed, Jog(np.array([0, 0, -speed, 0, 0, 0]), deep / speed))


@pytest.mark.parametrize("robot", ARMS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name.lower())
def test_pressed_against_a_stiff_wall_it_settles(rig, robot: str, kind: CommandKind) -> None:
    cell = rig(robot, kind, ControlSettings(limits=BLUNT), task="open_drawer")
    press(cell)
    forces, heights = [], []
    for _ in range(2000):
        cell.tick()
        forces.append(cell.world._external_wrench()[2])  # the sensor's, without its noise
        heights.append(cell.pose().position[2])
    seconds = np.array(forces).reshape(4, 500).std(axis=1)
    pressing = np.mean(forces[-500:])
    inside = cell.last.T_base_goal.position[2] - np.mean(heights[-500:])
    assert pressing == pytest.approx(-STIFFNESS[2] * inside, rel=0.15)
    assert pressing > 15.0
    assert seconds[-1] < 0.1 * pressing  # no more than the wrench's noise moves
    assert seconds[-1] < 1.5 * seconds[1] + 0.05  # and it doesn't grow
    assert np.ptp(heights[-500:]) < 2e-4
    assert cell.core.state is State.READY, cell.said()


@pytest.mark.parametrize("robot", ARMS)
@pytest.mark.parametrize("late", [0, 2])
def test_a_position_arm_that_lands_on_a_stiff_table_stays_there(rig, robot: str, late: int) -> None:
    """At 0.1 m/s, its targets `late` ticks late. A mass-spring-damper alone is thrown back, and comes again, harder."""
    cell = rig(robot, CommandKind.POSITION, ControlSettings(limits=BLUNT), task="open_drawer")
    step, waiting = cell.world.step, []

    def step_late(command: ArmCommand) -> ArmCommand:
        waiting.append(command)
        return step(waiting.pop(0) if len(waiting) > late else waiting[0])

    cell.world.step = step_late
    cell.enable()
    fall = (cell.pose().position[2] + 0.01) / 0.1
    cell.tick(Jog(np.array([0, 0, -0.1, 0, 0, 0]), fall))
    cell.run(fall - 0.2)
    forces = []
    for _ in range(700):
        cell.tick()
        forces.append(np.linalg.norm(cell.world._external_wrench()[:3]))
    assert max(forces) < 200.0, "of the impact itself; thrown back it comes to 280 to 460"
    assert np.mean(forces[-250:]) == pytest.approx(11.0, abs=2.0) and np.std(forces[-250:]) < 5.0
    assert cell.core.state is State.READY, cell.said()


@pytest.mark.parametrize("robot", ARMS)
def test_a_position_arm_pushes_along_what_gives_way(rig, robot: str) -> None:
    cell = rig(robot, CommandKind.POSITION, ControlSettings(limits=BLUNT), task="open_drawer")
    cell.enable()
    lean(cell, np.array([0.0, -25.0, 0.0, 0.0, 0.0, 0.0]))
    cell.run(1.0)
    begun = cell.pose().position[1]
    cell.run(2.0, Jog(np.array([0, 0.08, 0, 0, 0, 0]), 1.0))
    assert cell.pose().position[1] - begun == pytest.approx(0.08, abs=0.008)


class Servoj:
    """Between core and world: targets reach the arm two cycles late, smoothed as by a UR's servoj."""

    def __init__(self, cell, lead: float) -> None:
        self._step, self._ahead = cell.world.step, Lead(lead, cell.world.period)
        self._share = cell.world.period / Servo().lookahead
        self._servoed = cell.world.arm_state().q
        self._late = [self._servoed] * 2
        self._cell, cell.world.step = cell, self.step

    def step(self, command: ArmCommand) -> ArmCommand:
        if command.kind is not CommandKind.POSITION:
            return self._step(command)
        self._late.append(self._ahead.ahead(self._cell.world.k, command.values))
        self._servoed = self._servoed + self._share * (self._late.pop(0) - self._servoed)
        return self._step(ArmCommand(CommandKind.POSITION, self._servoed))


@pytest.mark.parametrize(("lead", "settles"), [(Servo().lead, True), (0.0, False)])
def test_behind_a_servo_that_lags_it_settles_where_targets_lead_and_only_there(rig, lead: float, settles: bool) -> None:
    cell = rig("virtual_ur5e", CommandKind.POSITION, ControlSettings(limits=BLUNT), task="open_drawer")
    Servoj(cell, lead)
    press(cell)
    heights = []
    for _ in range(1000):
        cell.tick()
        heights.append(cell.pose().position[2])
    settled = cell.core.state is State.READY and float(np.ptp(heights[-500:])) < 2e-4
    assert settled is settles, cell.said()
