"""The safety chain: its order, and each check by itself."""

import math
from dataclasses import replace

import numpy as np
import pytest

from kinema import robots
from kinema.control import safety
from kinema.control.model import RobotModel
from kinema.control.motion import Equilibrium, advance
from kinema.control.player import RefusalError
from kinema.control.safety import Bounds, Motion, Reaction, Verdict, judge
from kinema.control.settings import Execution, Limits
from kinema.geometry import Pose
from kinema.interfaces import ArmMode, ArmState, CommandKind

ARM = robots.arm("ur5e")
HOME = np.array(ARM.home)


def bounds(kind: CommandKind = CommandKind.TORQUE, **limits: object) -> Bounds:
    return Bounds(ARM, replace(Limits(), **limits), Execution(), kind)


def motion(q: np.ndarray = HOME, twist: tuple = (0, 0, 0, 0, 0, 0), at: Pose | None = None, **state: object) -> Motion:
    """One cycle at q whose equilibrium moves on by `twist`, beginning at the tool or at `at`."""
    model = RobotModel(ARM)
    model.update(q, np.zeros(6))
    record = ArmState(1, 0, q, np.zeros(6), np.zeros(6), np.zeros(6), ArmMode.RUNNING)
    goal = Equilibrium(Limits())
    goal.place(at or model.T_base_tcp)
    goal.twist = np.array(twist, float)
    made = Motion(replace(record, **state), model, goal, 0.002)
    made.begin(0.002)
    goal.pose = advance(goal.pose, goal.twist, 0.002)
    made.values = np.zeros(6)
    return made


def verdicts(made: Motion, limits: Bounds | None = None) -> dict[str, Verdict]:
    return dict(judge(safety.CHAIN, made, limits or bounds()))


def test_the_chain_is_one_list_in_this_order() -> None:
    assert [check.__name__ for check in safety.CHAIN] == [
        "measured_finite",
        "measured_dimension",
        "arm_mode",
        "fresh",
        "contact",
        "overspeed",
        "goal_finite",
        "workspace",
        "joint_range",
        "joint_speed",
        "cartesian",
        "singularity",
        "clearance",
        "values_finite",
        "values_dimension",
        "values_range",
    ]


def test_a_sane_motion_passes_all_of_it() -> None:
    assert verdicts(motion()) == {}
    assert verdicts(motion(twist=(0.1, -0.1, 0.05, 0.2, 0.0, 0.3)), bounds(acceleration=(1e3, 1e3))) == {}


def test_the_first_grave_verdict_ends_the_chain_and_clamps_do_not() -> None:
    broken = motion(q=np.full(6, np.nan), wrench=np.full(6, 1e3), mode=ArmMode.BRAKED)
    assert list(verdicts(broken)) == ["measured_finite"]
    both = motion(twist=(0.0, 0.0, 0.1, 0, 0, 0), at=Pose(np.array([0.5, 0.0, 0.79995]), np.eye(3)))
    both.values = np.full(6, 200.0)
    assert list(verdicts(both, bounds(acceleration=(1e3, 1e3)))) == ["workspace", "values_range"]


@pytest.mark.parametrize("name", ["q", "dq", "wrench"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_f28_a_record_that_is_not_finite_is_a_fault(name: str, value: float) -> None:
    values = np.zeros(6)
    values[2] = value
    verdict = safety.measured_finite(motion(**{name: values} if name != "q" else {"q": values}), bounds())
    assert verdict.reaction is Reaction.FAULT
    assert f"{name}[2]" in verdict.text


def test_wrong_dimensions_name_both_numbers() -> None:
    made = motion(wrench=np.zeros(3))
    assert "3 values of wrench, ur5e has 6" in safety.measured_dimension(made, bounds()).text
    made.values = np.zeros(7)
    assert "(7,)" in safety.values_dimension(made, bounds()).text


@pytest.mark.parametrize(
    ("mode", "fault"), [(ArmMode.BRAKED, "F16"), (ArmMode.PROTECTIVE_STOP, "F18"), (ArmMode.DIVERGED, "F28")]
)
def test_an_arm_that_stopped_by_itself_is_a_fault(mode: ArmMode, fault: str) -> None:
    verdict = safety.arm_mode(motion(mode=mode), bounds())
    assert (verdict.reaction, verdict.fault) == (Reaction.FAULT, fault)
    assert mode.name in verdict.text


@pytest.mark.parametrize("gap", [0.0, -0.002, 0.11])
def test_a_stale_record_stops(gap: float) -> None:
    made = motion()
    made.gap = gap
    assert safety.fresh(made, bounds()).reaction is Reaction.STOP


def test_f15_the_contact_ceiling_names_axis_and_value() -> None:
    assert safety.contact(motion(wrench=np.array([0, -59.0, 0, 0, 9.0, 0])), bounds()) is None
    force = safety.contact(motion(wrench=np.array([10, -60.0, 0, 0, 0, 0])), bounds())
    assert (force.reaction, force.fault, force.data["axis"]) == (Reaction.STOP, "F15", "y")
    assert "60.8 N" in force.text
    torque = safety.contact(motion(wrench=np.array([0, 0, 0, 0, 0, -10.5])), bounds())
    assert (torque.fault, torque.data["axis"]) == ("F15", "z") and "10.5 N m" in torque.text


def test_joint_overspeed_stops() -> None:
    verdict = safety.overspeed(motion(dq=np.array([0, 0, -3.2, 0, 0, 0.0])), bounds())
    assert verdict.reaction is Reaction.STOP and "elbow_joint" in verdict.text and "-3.2" in verdict.text


# ---- the equilibrium


@pytest.mark.parametrize(
    ("axis", "edge", "way"), [(0, 0.15, -1), (0, 0.85, 1), (1, -0.6, -1), (1, 0.6, 1), (2, 0.005, -1), (2, 0.8, 1)]
)
def test_f29_the_box_clamps_or_refuses_with_axis_and_value(axis: int, edge: float, way: int) -> None:
    position, twist = np.array([0.5, 0.0, 0.3]), np.zeros(6)
    position[axis], twist[axis] = edge - way * 1e-5, way * 0.1
    for kind, reaction in (("clamp", Reaction.CLAMP), ("refuse", Reaction.HOLD)):
        made = motion(twist=tuple(twist), at=Pose(position, np.eye(3)))
        outside = made.goal.pose.position[axis]
        verdict = safety.workspace(made, bounds(on_workspace=kind))
        assert (verdict.reaction, verdict.fault) == (reaction, "F29")
        assert f"{'xyz'[axis]} = {outside:.3f} m" in verdict.text
        assert made.goal.pose.position[axis] == pytest.approx(edge if kind == "clamp" else outside)


def test_f29_a_plane_clamps() -> None:
    plane = bounds(planes=((0.0, 2.0, 0.0, 0.2),))  # y >= 0.1
    made = motion(twist=(0, -0.1, 0, 0, 0, 0), at=Pose(np.array([0.5, 0.1, 0.3]), np.eye(3)))
    assert safety.workspace(made, plane).reaction is Reaction.CLAMP
    assert made.goal.pose.position[1] == pytest.approx(0.1)


def test_from_outside_the_box_one_may_only_come_back() -> None:
    outside = Pose(np.array([0.5, 0.7, 0.3]), np.eye(3))
    assert safety.workspace(motion(twist=(0, -0.1, 0, 0, 0, 0), at=outside), bounds()) is None
    further = motion(twist=(0, 0.1, 0, 0, 0, 0), at=outside)
    assert safety.workspace(further, bounds()).reaction is Reaction.CLAMP
    assert further.goal.pose.position[1] == pytest.approx(0.7)


def test_chunk_targets_are_clamped_or_refused_before_they_are_played() -> None:
    positions = np.array([[0.5, 0.9, 0.3], [0.5, 0.5, 0.3], [0.5, 0.62, 0.3], [0.5, 0.5, -0.1]])
    allowed, text = bounds().targets(positions)
    np.testing.assert_allclose(allowed, [[0.5, 0.9, 0.3], [0.5, 0.5, 0.3], [0.5, 0.6, 0.3], [0.5, 0.5, 0.005]])
    assert "z = -0.100 m" in text  # the worst; the anchor is where the arm was and stays
    with pytest.raises(RefusalError, match=r"z = -0\.100 m"):
        bounds(on_workspace="refuse").targets(positions)


def test_f29_joint_range() -> None:
    q = HOME.copy()
    q[5] = math.radians(360) - 0.051
    verdict = safety.joint_range(motion(q=q, twist=(0, 0, 0, 0, 0, -1.0)), bounds())
    assert verdict.reaction is Reaction.HOLD and "wrist_3_joint" in verdict.text
    assert safety.joint_range(motion(q=q, twist=(0, 0, 0, 0, 0, 1.0)), bounds()) is None  # away from the end


def test_joint_speed_slows_the_equilibrium_down() -> None:
    made = motion(twist=(0, 0, 0, 0, 0, 2.0))
    start = made.before[0]
    verdict = safety.joint_speed(made, bounds(joint_speed=0.25))
    assert verdict.reaction is Reaction.CLAMP and verdict.fault == "F29"
    assert np.abs(made.joint_speed()).max() == pytest.approx(0.25 * math.pi, rel=1e-3)
    assert made.goal.pose.rotation[0, 0] != start.rotation[0, 0]


@pytest.mark.parametrize(
    ("twist", "name"),
    [((0.7, 0, 0, 0, 0, 0), "speed [m/s]"), ((0, 0, 0, 0, 2.4, 0), "speed [rad/s]"), ((0.1, 0, 0, 0, 0, 0), "m/s^2")],
)
def test_f03_cartesian_speed_and_acceleration(twist: tuple, name: str) -> None:
    made = motion(twist=twist)
    if "s^2" in name:
        made.before = (made.before[0], np.zeros(6))  # from rest to 0.1 m/s in one cycle
    verdict = safety.cartesian(made, bounds())
    assert verdict.reaction is Reaction.HOLD and name in verdict.text


def test_cartesian_catches_a_pose_that_leaps_without_a_twist() -> None:
    made = motion()
    made.goal.pose = Pose(made.goal.pose.position + np.array([0.01, 0, 0]), made.goal.pose.rotation)
    assert "5.00, allowed is 0.6" in safety.cartesian(made, bounds()).text


def test_f29_singularity_refuses_the_way_in_and_allows_the_way_out() -> None:
    q = HOME.copy()
    q[2] = 0.05  # the elbow nearly straight
    inwards = RobotModel(ARM)
    inwards.update(q, np.zeros(6))
    straighter = inwards.J @ np.array([0, 0, -1.0, 0, 0, 0])
    verdict = safety.singularity(motion(q=q, twist=tuple(0.1 * straighter)), bounds())
    assert verdict.reaction is Reaction.HOLD and "singular" in verdict.text
    assert safety.singularity(motion(q=q, twist=tuple(-0.1 * straighter)), bounds()) is None
    assert safety.singularity(motion(q=q), bounds()) is None  # standing


def test_clearance_of_table_and_of_the_arm_itself() -> None:
    q = np.radians([0, -50, 110, -60, -90, 0])  # the wrist 9 mm above the table
    model = RobotModel(ARM)
    distance, between = model.clearance(q)
    assert distance == pytest.approx(0.0087, abs=1e-4) and between == "link wrist_2_joint and table"
    low = motion(q=q, twist=(0, 0, -0.3, 0, 0, 0))
    verdict = safety.clearance(low, bounds())
    assert verdict.reaction is Reaction.HOLD and between in verdict.text
    assert safety.clearance(motion(q=q, twist=(0, 0, 0.3, 0, 0, 0)), bounds(clearance=distance + 0.1)) is None
    folded = np.radians([0, -90, 158, -90, -90, 0])
    assert model.clearance(folded)[0] < 0.0 and "table" not in model.clearance(folded)[1]


# ---- the numbers for the arm


def test_values_that_are_not_finite_never_go_out() -> None:
    made = motion()
    made.values[3] = math.nan
    assert safety.values_finite(made, bounds()).reaction is Reaction.FAULT


@pytest.mark.parametrize("kind", [CommandKind.TORQUE, CommandKind.POSITION])
def test_values_are_cut_to_the_joints_range(kind: CommandKind) -> None:
    made = motion()
    made.values = np.full(6, 40.0)
    verdict = safety.values_range(made, bounds(kind))
    assert verdict.reaction is Reaction.CLAMP and verdict.data["value"] == 40.0
    most = ARM.limits("torque") if kind == CommandKind.TORQUE else ARM.limits("upper") - Limits().joint_margin
    np.testing.assert_allclose(made.values, np.minimum(40.0, most))
