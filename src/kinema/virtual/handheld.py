"""The handheld gripper: moved by a hand through a scenario, with the signals of its T265, tags and load cell.

The hand is a mocap body that a soft weld ties the gripper to; fingers, pads and contacts are the robot's. Magnitudes of
the errors are in `noise.yaml`.

Sources: the T265's frame is x right, y up, z back (Intel RealSense T265 documentation); its world is gravity-aligned
and starts wherever it was switched on; relocalisations are reported by the device (librealsense,
RS2_NOTIFICATION_CATEGORY_POSE_RELOCALIZATION).
"""

import math

import mujoco
import numpy as np

from kinema.chunk import Truth
from kinema.errors import ConfigError, SimulationError
from kinema.geometry import Array, Pose, so3_exp
from kinema.interfaces import ForceSample, TrackedPose
from kinema.robots import GRIPPER
from kinema.virtual import noise as noise_table, scene
from kinema.virtual.cameras import CAMERAS, SIZES, TAGS
from kinema.virtual.ground_truth import GroundTruth, Outcome
from kinema.virtual.noise import NoiseTable, TrackerNoise
from kinema.virtual.scenario import Scenario

TRACKER_SERIAL = "VIRTUAL-TRACKER"
TRACKER_RATE = 200.0  # [Hz]
T_TCP_TRACKER = Pose(np.array([0.0, 0.055, -0.150]), np.diag([1.0, -1.0, -1.0]) @ so3_exp(np.array([0.21, 0.0, 0.0])))
T_BASE_WORLD = Pose.from_rotvec([0.22, -0.38, 0.31], [0.0, 0.0, math.radians(35)])
T_BASE_TCP_START = Pose(np.array([0.40, 0.0, 0.30]), np.diag([1.0, -1.0, -1.0]))  # where the scene has the gripper

_HIGH, _LOW = 3, 1  # confidence, as librealsense counts it
_DOUBT = 0.2  # [s] of low confidence after a jump
_DRIFT_TURNS = 0.2  # [m] of way over which the drift's direction lasts
_TARE_SAMPLES = 20
_WILD = 200.0  # [m/s or rad/s] no velocity of a sane scene comes near


class TrackerSignal:
    """A T265: `T_world_tracker` with white noise, drift in proportion to the way, and jumps that stay."""

    def __init__(self, noise: TrackerNoise, seed: int) -> None:
        self._noise = noise
        self._rng = np.random.default_rng([seed, 1])
        self._offset = Pose.identity()  # drift and jumps so far: true world to the tracker's
        self._direction = self._unit()
        self._last: tuple[int, Array] | None = None
        self._doubt_until_ns = 0

    def sample(self, t_ns: int, T_base_tcp: Pose) -> TrackedPose:
        """What the tracker says at a moment later than the last; `jumped` marks a relocalisation."""
        true = T_BASE_WORLD.inverse() @ T_base_tcp @ T_TCP_TRACKER
        jumped = False
        if self._last is not None:
            last_ns, position = self._last
            self._drift(float(np.linalg.norm(true.position - position)))
            jumped = self._rng.random() < self._noise.jump_rate * (t_ns - last_ns) * 1e-9
        if jumped:
            self._jump()
            self._doubt_until_ns = t_ns + round(_DOUBT * 1e9)
        self._last = t_ns, true.position
        seen = self._offset @ true
        position = seen.position + self._noise.position * self._rng.standard_normal(3)
        rotation = seen.rotation @ so3_exp(self._noise.rotation * self._rng.standard_normal(3))
        confidence = _LOW if t_ns < self._doubt_until_ns else _HIGH
        return TrackedPose(t_ns, Pose(position, rotation), confidence, jumped)

    def _unit(self) -> Array:
        vector = self._rng.standard_normal(3)
        return vector / np.linalg.norm(vector)

    def _drift(self, way: float) -> None:
        if self._rng.random() < way / _DRIFT_TURNS:
            self._direction = self._unit()
        moved = self._offset.position + self._noise.drift * way * self._direction
        self._offset = Pose(moved, self._offset.rotation)

    def _jump(self) -> None:
        by = self._noise.jump_position * self._rng.standard_normal(3)
        turn = so3_exp(self._noise.jump_rotation * self._rng.standard_normal(3))
        self._offset = Pose(self._offset.position + by, turn @ self._offset.rotation)


class HandheldWorld:
    """The handheld gripper in one scenario: a pure function of its arguments and of where the hand goes."""

    def __init__(
        self, scenario: Scenario, *, seed: int = 0, origin_ns: int = 0, noise: NoiseTable | None = None
    ) -> None:
        self.scenario, self.origin_ns, self.k = scenario, origin_ns, 0
        self.period = scene.TIMESTEP
        self.noise = noise or noise_table.load()
        self.model = scene.build(scenario, None, handheld=True)
        self.data = mujoco.MjData(self.model)
        self._ground = GroundTruth(scenario, self.model, self.data, self.period)
        self._rng = np.random.default_rng([seed, 2])
        self._tracker = TrackerSignal(self.noise.tracker, seed)
        self._tracked: TrackedPose | None = None
        self._tracker_due = 0
        self._jaw = self.model.actuator(scene.JAW).id
        self._fingers = [self.model.joint(name).qposadr[0] for name in scene.FINGERS]
        self._load_cell = int(self.model.sensor("load_cell").adr[0])
        self._load_offset = float(self._rng.normal(0.0, self.noise.load_cell.offset))
        self._loads: list[float] = []
        self._tare: float | None = None
        self.data.qpos[self._fingers] = GRIPPER.stroke / 2
        scene.hand(self.data, T_BASE_TCP_START)
        mujoco.mj_forward(self.model, self.data)
        self._measure()

    @property
    def t_ns(self) -> int:
        """World time [ns, Kinema time]."""
        return self.origin_ns + round(self.k * self.period * 1e9)

    def step(self, T_base_tcp: Pose, width: float) -> None:
        """One period with the hand drawing the TCP to a pose and squeezing towards a width [m].

        A width below what the object leaves becomes force, as with the robot's jaw. Raises SimulationError when the
        physics diverged (F28), ConfigError when the goal is not finite.
        """
        if not (T_base_tcp.isfinite() and math.isfinite(width)):
            raise ConfigError(f"hand's goal {T_base_tcp} with width {width} is not finite")
        scene.hand(self.data, T_base_tcp)
        self.data.ctrl[self._jaw] = np.clip(width, -GRIPPER.stroke, GRIPPER.stroke)
        mujoco.mj_step(self.model, self.data)
        if not np.abs(self.data.qvel).max() < _WILD:
            raise SimulationError(f"the physics diverged at {self.data.time:.3f} s of world time; reset the scenario")
        self.k += 1
        self._ground.look(self.k)
        self._measure()

    def adopt(self, old: "HandheldWorld") -> None:
        """Take over gripper, tracker, load cell and time as they are in another world: only the scenario changes."""
        positions, speeds = slice(0, 9), slice(0, 8)  # the hand's free joint and the two fingers come first
        self.data.qpos[positions], self.data.qvel[speeds] = old.data.qpos[positions], old.data.qvel[speeds]
        self.data.mocap_pos[:], self.data.mocap_quat[:] = old.data.mocap_pos, old.data.mocap_quat
        self.data.ctrl[self._jaw] = old.data.ctrl[old._jaw]
        for name in ("k", "origin_ns", "_tracker", "_tracker_due", "_load_offset", "_loads", "_tare"):
            setattr(self, name, getattr(old, name))
        mujoco.mj_forward(self.model, self.data)
        self._measure()

    def T_base_tcp(self) -> Pose:
        """The exact pose of the tool."""
        return self._ground.T_base_tcp()

    def width(self) -> float:
        """The exact opening [m]."""
        return float(self.data.qpos[self._fingers].sum())

    def tracked(self) -> TrackedPose | None:
        """The tracker's pose of this step; None between its samples (200 Hz)."""
        return self._tracked

    def load_cell(self) -> ForceSample:
        """What the load cell in the right finger reads now."""
        saturated = self._loads[-1] >= self.noise.load_cell.range
        return ForceSample(self.t_ns, self._loads[-1] - (self._tare or 0.0), saturated, self._tare is not None)

    def tare(self) -> float:
        """Take the mean of the last samples for zero; returns that offset [N]."""
        self._tare = float(np.mean(self._loads))
        return self._tare

    def tag_corners(self) -> dict[int, Array]:
        """Corners (4, 2) [px] by tag id in the gripper camera at 640 x 480, as a detector would find them.

        Clockwise from the top left, as cv2.aruco has them.
        """
        row = CAMERAS["gripper"]
        info, T_camera_tcp = row.info(max(SIZES)), row.T_mount_camera.inverse()
        corners = {}
        for tag in TAGS:
            half = tag.size / 2
            square = np.array([[-half, half, 0.0], [half, half, 0.0], [half, -half, 0.0], [-half, -half, 0.0]])
            pixels = info.project((T_camera_tcp @ tag.T_tcp_tag(self.width())).apply(square))
            corners[tag.id] = pixels + self.noise.camera.corner * self._rng.standard_normal((4, 2))
        return corners

    def truth(self) -> Truth:
        """Exact poses in base_link, joint positions and the scenario's facts."""
        return self._ground.truth(self.t_ns)

    def outcome(self) -> Outcome:
        """Success as the task defines it, after release and a second of rest; otherwise what is missing."""
        return self._ground.outcome()

    def snapshot(self) -> Array:
        """All that rendering needs: `scene.apply_snapshot` takes it."""
        return scene.snapshot(self.data)

    def _measure(self) -> None:
        cell = self.noise.load_cell
        load = self.data.sensordata[self._load_cell] + self._load_offset + cell.force * self._rng.standard_normal()
        self._loads = [*self._loads[1 - _TARE_SAMPLES :], float(min(load, cell.range))]
        self._tracked = None
        if self.k * self.period * TRACKER_RATE >= self._tracker_due - 1e-9:
            self._tracker_due += 1
            self._tracked = self._tracker.sample(self.t_ns, self.T_base_tcp())
