"""The virtual arm, gripper and sensors: repeatable bit for bit, limited as a real arm is, honest when they break."""

import numpy as np
import pytest

from kinema import robots
from kinema.errors import ConfigError, SimulationError
from kinema.interfaces import ArmCommand, ArmMode, CommandKind
from kinema.virtual import noise, scenario
from kinema.virtual.world import World

ROBOTS = pytest.mark.parametrize("robot", ["virtual_ur5e", "virtual_xarm7"])
BRAKE = ArmCommand(CommandKind.BRAKE, np.zeros(0))


def _world(robot: str = "virtual_ur5e", **more: object) -> World:
    return World(scenario.draw("pick_and_place", "train", 1), robot, **more)  # type: ignore[arg-type]


def _torque(values: np.ndarray) -> ArmCommand:
    return ArmCommand(CommandKind.TORQUE, values)


def _position(values: np.ndarray) -> ArmCommand:
    return ArmCommand(CommandKind.POSITION, values)


def _run(world: World, seconds: float, command: ArmCommand | None = None) -> None:
    for _ in range(round(seconds / world.period)):
        world.step(command)


# ---- repeatability and time


def test_the_same_seed_and_commands_give_the_same_numbers_bit_for_bit() -> None:
    worlds = _world(seed=5), _world(seed=5)
    rng = np.random.default_rng(0)
    bias = worlds[0].data.qfrc_bias[:6].copy()
    for k in range(400):
        command = _torque(bias + rng.normal(0, 3, 6)) if k % 7 else None
        for world in worlds:
            world.step(command)
            if k == 100:
                world.command_jaw(0.02, 0.1, 30.0)
        worlds[1].arm_state(), worlds[1].truth(), worlds[1].load_cell()  # looking changes nothing
    a, b = worlds
    assert np.array_equal(a.snapshot(), b.snapshot())
    for field in ("q", "dq", "tau", "wrench"):
        assert np.array_equal(getattr(a.arm_state(), field), getattr(b.arm_state(), field))
    assert a.load_cell() == b.load_cell() and a.jaw_state() == b.jaw_state()
    other = _world(seed=6)
    assert not np.array_equal(other.arm_state().q, _world(seed=5).arm_state().q)


def test_world_time_counts_ticks_from_its_origin() -> None:
    world = _world(origin_ns=1_000, period=0.004)
    _run(world, 0.4)
    state = world.arm_state()
    assert (state.k, state.t_ns) == (100, 1_000 + 400_000_000)
    assert world.data.time == pytest.approx(0.4)
    assert world.jaw_state().stamp_ns == world.load_cell().stamp_ns == world.truth().stamp_ns == state.t_ns


def test_a_period_that_is_no_multiple_of_the_physics_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"period 0.003 s: allowed are whole multiples of the physics' 0.002 s"):
        _world(period=0.003)


# ---- the arm


@ROBOTS
def test_before_the_first_command_the_arm_holds_its_pose(robot: str) -> None:
    world = _world(robot)
    _run(world, 1.0)
    assert world.data.qpos[: world.arm.dof] == pytest.approx(world.arm.home, abs=1e-4)
    assert world.arm_state().mode is ArmMode.RUNNING


@ROBOTS
def test_torques_are_clipped_to_the_table_and_held_when_no_command_comes(robot: str) -> None:
    world = _world(robot)
    limit = robots.arm(robot).limits("torque")
    applied = world.step(_torque(np.full(world.arm.dof, 1e4)))
    assert np.array_equal(applied.values, limit)
    gravity = world.data.qfrc_bias[: world.arm.dof].copy()
    world.step(_torque(gravity))
    applied = world.step(None)
    assert applied.kind is CommandKind.TORQUE and np.array_equal(applied.values, gravity)


@ROBOTS
def test_the_position_controller_follows_and_keeps_to_the_joints_speeds(robot: str) -> None:
    world = _world(robot, command_kind=CommandKind.POSITION)
    goal = np.array(world.arm.home) + 0.3
    fastest, steps = 0.0, 0
    for _ in range(500):
        steps += np.abs(world.data.qpos[: world.arm.dof] - goal).max() > 2e-3
        world.step(_position(goal))
        fastest = max(fastest, np.abs(world.data.qvel[: world.arm.dof]).max())
    assert fastest < 1.25 * world.arm.joints[0].speed
    assert steps >= 0.3 / world.arm.joints[0].speed / world.period
    assert world.data.qpos[: world.arm.dof] == pytest.approx(goal, abs=1e-3)


@ROBOTS
def test_a_brake_stops_within_its_deceleration_and_latches_until_reset(robot: str) -> None:
    world = _world(robot, command_kind=CommandKind.POSITION)
    n, home = world.arm.dof, np.array(world.arm.home)
    for k in range(250):
        world.step(_position(home + np.eye(n)[0] * 1.5 * k * world.period))
    assert world.data.qvel[0] == pytest.approx(1.5, rel=0.05)
    began = world.data.qpos[0]
    assert world.step(BRAKE).kind is CommandKind.BRAKE
    _run(world, 0.5, _position(home))  # ignored
    assert world.arm_state().mode is ArmMode.BRAKED
    assert np.abs(world.data.qvel[:n]).max() < 1e-3
    assert world.data.qpos[0] - began == pytest.approx(1.5**2 / 2 / 12.0, rel=0.2)
    stopped = world.data.qpos[:n].copy()
    world.reset_arm()
    assert world.arm_state().mode is ArmMode.RUNNING
    _run(world, 0.3)
    assert world.data.qpos[:n] == pytest.approx(stopped, abs=1e-3)
    assert world.step(_position(stopped)).kind is CommandKind.POSITION


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (_position(np.zeros(6)), "of kind POSITION: this arm takes TORQUE and BRAKE"),
        (_torque(np.zeros(7)), r"of shape \(7,\): ur5e takes \(6,\)"),
        (_torque(np.array([0, 0, np.nan, 0, 0, 0])), "not finite"),
    ],
)
def test_commands_that_do_not_fit_are_refused_and_move_nothing(command: ArmCommand, says: str) -> None:
    world = _world()
    before = world.snapshot()
    with pytest.raises(ConfigError, match=says):
        world.step(command)
    assert world.k == 0 and np.array_equal(world.snapshot(), before)


# ---- sensors


def test_noise_is_as_large_as_the_table_says() -> None:
    world = _world()
    _run(world, 1.0)
    states = []
    for _ in range(2000):
        world.step(None)
        states.append(world.arm_state())
    table = noise.load().arm
    for field, sd in (("q", table.position), ("dq", table.velocity), ("tau", table.torque)):
        values = np.array([getattr(state, field) for state in states])
        assert values.std(axis=0) == pytest.approx(np.full(6, sd), rel=0.1)
    wrench = np.array([state.wrench for state in states])
    assert wrench[:, :3].std(axis=0) == pytest.approx(np.full(3, table.force), rel=0.1)
    assert wrench[:, 3:].std(axis=0) == pytest.approx(np.full(3, table.wrench_torque), rel=0.1)


@ROBOTS
def test_the_wrench_is_what_pushes_from_outside_with_the_payload_taken_off(robot: str) -> None:
    world = _world(robot)
    force = np.array([12.0, -7.0, 4.0])
    _run(world, 0.5)

    def mean_wrench(world: World) -> np.ndarray:
        values = []
        for _ in range(500):
            world.step(None)
            values.append(world.arm_state().wrench)
        return np.mean(values, axis=0)

    assert mean_wrench(world) == pytest.approx(np.zeros(6), abs=0.25)
    world.external_wrench("flange", np.r_[force, 0, 0, 0])
    _run(world, 0.5)
    lever = world.data.body("flange").xipos - world.T_base_tcp().position
    measured = mean_wrench(world)
    assert measured[:3] == pytest.approx(force, abs=0.25)
    assert measured[3:] == pytest.approx(np.cross(lever, force), abs=0.05)

    heavier = _world(robot, payload_error=0.10)
    _run(heavier, 0.5)
    assert mean_wrench(heavier)[2] == pytest.approx(-0.10 * robots.GRIPPER.mass * 9.81, abs=0.25)


def test_while_the_arm_swings_the_gripper_s_inertia_does_not_show_as_a_wrench() -> None:
    world = _world(command_kind=CommandKind.POSITION)
    home, seen = np.array(world.arm.home), []
    for k in range(1000):
        t = k * world.period
        world.step(_position(home + 0.25 * (1 - np.cos(2 * np.pi * t)) * np.array([1, 0.3, 0.3, 1, 1, 1])))
        seen.append(world.arm_state().wrench)
    smooth = np.apply_along_axis(lambda v: np.convolve(v, np.ones(25) / 25, "valid"), 0, np.array(seen))
    assert np.abs(smooth[:, :3]).max() < 1.5
    assert np.abs(smooth[:, 3:]).max() < 0.25


# ---- gripper and load cell


def test_the_jaw_moves_no_faster_than_asked_and_reaches_its_width() -> None:
    world = _world()
    _run(world, 0.2)
    assert world.command_jaw(0.02, 0.05, 60.0) == 0.02
    _run(world, 1.0)
    assert world.jaw_state().width == pytest.approx(0.085 - 0.05, abs=0.003)
    assert world.jaw_state().speed == pytest.approx(-0.05, rel=0.1)
    _run(world, 1.0)
    assert world.jaw_state().width == pytest.approx(0.02, abs=0.001)
    left, right = (world.data.joint(name).qpos[0] for name in ("finger_left", "finger_right"))
    assert left == pytest.approx(right, abs=2e-4)


def test_closing_further_squeezes_harder_up_to_the_force_allowed() -> None:
    world = _world()
    _run(world, 0.2)
    untared = world.load_cell()
    assert not untared.tared and untared.force == pytest.approx(world.tare(), abs=0.1)
    assert world.load_cell().tared and world.load_cell().force == pytest.approx(0.0, abs=0.1)
    forces = []
    for beyond in (0.004, 0.008, 0.012):  # the jaws close on each other
        world.command_jaw(-beyond, 0.15, 60.0)
        _run(world, 1.0)
        forces.append(world.load_cell().force)
    assert np.diff(forces) == pytest.approx([6.0, 6.0], rel=0.15)  # stiffness 1500 N/m times 4 mm
    assert world.jaw_state().force == pytest.approx(forces[-1], rel=0.15)
    world.command_jaw(-0.04, 0.15, 10.0)
    _run(world, 1.0)
    assert world.load_cell().force == pytest.approx(10.0, rel=0.1)
    world.command_jaw(0.05, 0.15, 60.0)
    _run(world, 0.5)
    assert world.load_cell().force == pytest.approx(0.0, abs=0.1)


def test_a_jaw_command_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="not finite"):
        _world().command_jaw(float("nan"), 0.1, 10.0)


# ---- scenario changes and faults


def test_a_new_scenario_takes_over_the_standing_arm_and_its_time() -> None:
    old = _world(command_kind=CommandKind.POSITION, origin_ns=7)
    goal = np.array(old.arm.home) + 0.1
    old.command_jaw(0.03, 0.15, 60.0)
    _run(old, 0.5, _position(goal))
    new = World(scenario.draw("open_drawer", "train", 2), old.robot, command_kind=CommandKind.POSITION, seed=1)
    new.adopt(old)
    assert new.t_ns == old.t_ns
    assert np.array_equal(new.data.qpos[:8], old.data.qpos[:8])
    _run(new, 0.3)
    assert new.data.qpos[:6] == pytest.approx(goal, abs=1e-3)
    assert new.jaw_state().width == pytest.approx(0.03, abs=1e-3)
    with pytest.raises(ConfigError, match="cannot adopt"):
        _world("virtual_xarm7").adopt(old)


@pytest.mark.parametrize("body", ["flange", "target"])
def test_f28_diverging_physics_is_a_fault_with_its_reason_and_never_a_silent_reset(body: str) -> None:
    world = _world()
    _run(world, 0.1)
    assert world.scenario.target is not None
    world.external_wrench(world.scenario.target.name if body == "target" else body, np.full(6, 1e9))
    with pytest.raises(SimulationError, match=r"diverged in tick 5\d: body .* reset the scenario"):
        _run(world, 0.01)
    tick = world.k
    state = world.arm_state()
    assert state.mode is ArmMode.DIVERGED
    assert np.isfinite(np.r_[state.q, state.dq, state.tau, state.wrench]).all()
    world.external_wrench("flange", np.zeros(6))
    with pytest.raises(SimulationError, match="diverged"):
        world.step(None)
    assert world.k == tick and not world.outcome().success
    with pytest.raises(ConfigError, match="diverged world cannot be adopted"):
        _world().adopt(world)
