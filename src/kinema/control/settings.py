"""Every number the control core obeys, with its unit; the cell file's `control` section is exactly these classes."""

from dataclasses import dataclass, field
from typing import Literal

from kinema.control.messages import Mode


@dataclass(frozen=True, slots=True)
class Impedance:
    """Stiffness [N/m, N m/rad], damping ratio [-] of the operational space, null-space stiffness [N m/rad].

    `torque_rate` [N m/s] limits how fast a joint torque may change. `idle_stiffness` [-] multiplies the stiffness while
    the arm isn't enabled; `free_damping` [N s/m, N m s/rad] is all that freedrive leaves. `friction_observer` [rad/s]
    is the bandwidth of the friction observer, `friction_bound` [-] of the table's friction the most it compensates.
    `virtual_mass` [kg], `virtual_inertia` [kg m^2] and `virtual_damping_ratio` [-] are those of the admittance that
    position arms get; `wrench_deadband` [N, N m] what it ignores.
    """

    stiffness: tuple[float, float] = (600.0, 40.0)
    damping_ratio: float = 1.0
    nullspace_stiffness: float = 10.0
    torque_rate: float = 2000.0
    idle_stiffness: float = 3.0
    free_damping: tuple[float, float] = (25.0, 1.5)
    friction_observer: float = 20.0
    friction_bound: float = 2.0
    virtual_mass: float = 8.0
    virtual_inertia: float = 0.4
    virtual_damping_ratio: float = 2.0
    wrench_deadband: tuple[float, float] = (1.5, 0.15)


@dataclass(frozen=True, slots=True)
class Limits:
    """What the safety chain lets pass, for the TCP in base_link.

    workspace  lower and upper corner [m]; planes: (nx, ny, nz, d) keep n . p >= d [m]
    joint_margin [rad] kept from the joints' ends; joint_speed [-] of the table's speed
    speed, acceleration, jerk: linear [m/s, m/s^2, m/s^3] and angular [rad/s, ...]
    deceleration of a stop: linear [m/s^2], angular [rad/s^2]
    min_singular_value [-] of the TCP Jacobian (angular rows in 1/rad scaled by 0.3 m)
    force, torque [N, N m] contact ceiling of the arm; jaw_force [N] ceiling of the jaw
    clearance [m] kept between arm and table and between links
    on_workspace 'clamp' | 'refuse' what happens to a target outside
    """

    workspace: tuple[tuple[float, float, float], tuple[float, float, float]] = ((0.15, -0.6, 0.005), (0.85, 0.6, 0.8))
    planes: tuple[tuple[float, float, float, float], ...] = ()
    joint_margin: float = 0.05
    joint_speed: float = 0.8
    speed: tuple[float, float] = (0.6, 2.0)
    acceleration: tuple[float, float] = (4.0, 15.0)
    jerk: tuple[float, float] = (200.0, 800.0)
    deceleration: tuple[float, float] = (4.0, 15.0)
    min_singular_value: float = 0.02
    force: float = 60.0
    torque: float = 10.0
    jaw_force: float = 50.0
    clearance: float = 0.0
    on_workspace: Literal["clamp", "refuse"] = "clamp"


@dataclass(frozen=True, slots=True)
class Execution:
    """How chunks are played; DESIGN, "Execution modes".

    lead              [s] between a stop-and-go chunk's arrival and its first step
    settle_speed      [m/s, rad/s] below which the arm is at rest; settle_time [s] for how long
    max_drift         [m, rad] of the pose since t0 in stop-and-go; max_age [s] of its observation
    min_steps         fewer usable steps than this: decelerate and hold (overlap)
    replan_steps      a new observation is asked for when so many steps of the newest chunk have been played (overlap)
    chunk_timeout     [s] of waiting for a chunk before WARN becomes ERROR (F05)
    max_stretch       [-] the most a chunk is slowed down before it is refused (F03)
    max_join          [m, rad] how far a chunk's path may lie from the commanded equilibrium where it joins (F03)
    max_gap           [s] between two arm records, longer is a fault; max_missed ticks in a row before ERROR (F19)
    home_speed        [rad/s] of the fastest joint on the way home
    arm_latency, jaw_latency [s] actuation latencies, applied once, here
    """

    mode: Mode = Mode.OVERLAP
    lead: float = 0.10
    settle_speed: tuple[float, float] = (0.004, 0.02)
    settle_time: float = 0.15
    max_drift: tuple[float, float] = (0.002, 0.0175)
    max_age: float = 15.0
    min_steps: int = 4
    replan_steps: int = 8
    chunk_timeout: float = 3.0
    max_stretch: float = 2.0
    max_join: tuple[float, float] = (0.10, 0.6)
    max_gap: float = 0.1
    max_missed: int = 5
    home_speed: float = 0.5
    arm_latency: float = 0.0
    jaw_latency: float = 0.0


@dataclass(frozen=True, slots=True)
class ForceCorrection:
    """DESIGN, "Gripper force correction"; the gap in grams is the paper's (appendix A.4)."""

    force_gap_grams: float = 300.0
    step: float = 0.0005
    interval: float = 0.100
    limit: float = 0.005
    stale_after: float = 0.250
    reset_opening: float = 0.002
    reset_speed: float = 0.02


@dataclass(frozen=True, slots=True)
class ControlSettings:
    impedance: Impedance = field(default_factory=Impedance)
    limits: Limits = field(default_factory=Limits)
    execution: Execution = field(default_factory=Execution)
    force: ForceCorrection = field(default_factory=ForceCorrection)
