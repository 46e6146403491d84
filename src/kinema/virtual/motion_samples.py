"""Streams of one motion as an arm, a tracker, a camera and a jaw tell them, and wrenches of a tool at rest.

With the noise table's errors and latencies that are known: what calibration by motion is tried on.
"""

from collections.abc import Sequence

import numpy as np

from kinema.calibration.latency import Motion
from kinema.calibration.load_cell import GRAVITY
from kinema.calibration.payload import WrenchSample
from kinema.geometry import Array, Pose
from kinema.virtual import noise

RECORDS = 250  # of a pose at rest: half a second at 500 Hz
TILTS = (  # rotation vectors [rad] of the TCP; at zero it points up
    *((np.pi, 0.0, 0.0), (2.2, 0.3, 0.0), (-2.2, 0.2, 0.5), (0.2, 2.3, 0.0)),
    *((0.3, -2.3, 0.4), (1.6, 0.2, 0.2), (0.1, 1.7, 1.0)),
)

_ARM, _TRACKER, _CAMERA, _JAW = 500.0, 200.0, 30.0, 60.0  # [Hz]
_JITTER = 0.001  # [s] of the stamps
_AROUND = 0.6  # [s] that the arm's stream is longer, before and after
_FOCAL, _AWAY = 600.0, 0.8  # [px], [m] of a camera before a board
_DEPTH = 10.0  # times as uncertain as across


def wave(seed: int, times: Array) -> Array:
    """(n, 3) [m] an uneven, smooth motion, the same for a seed."""
    rng = np.random.default_rng(seed)
    rates, phases = rng.uniform(0.2, 1.6, (6, 3)), rng.uniform(0.0, 2.0 * np.pi, (6, 3))  # [Hz], [rad]
    return (0.03 / rates * np.sin(2.0 * np.pi * rates * times[:, None, None] + phases)).sum(1)


def stamps(rate: float, seconds: float = 10.0, seed: int = 0, jitter: float = 0.0) -> Array:
    """(n,) [s] from 0 on."""
    times = np.arange(0.0, seconds, 1.0 / rate)
    return times + jitter * np.random.default_rng(seed).uniform(-1.0, 1.0, len(times))


def arm(seed: int, seconds: float = 10.0) -> Motion:
    """The arm's own measurement, in time."""
    times = stamps(_ARM, seconds + 2.0 * _AROUND) - _AROUND
    return Motion.of("the arm", times, wave(seed, times))


def _turn(rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.standard_normal((3, 3)))[0]


def tracker(seed: int, late: float, seconds: float = 10.0, jumps: float | None = None) -> Motion:
    """A T265's: turned, noisy, drifting, jumping by `jumps` [1/s]."""
    rng, sensor = np.random.default_rng(seed), noise.load().tracker
    times = stamps(_TRACKER, seconds, seed, _JITTER)
    places = wave(seed, times) @ _turn(rng).T
    way = np.cumsum(np.linalg.norm(np.diff(places, axis=0, prepend=places[:1]), axis=1))
    drift = sensor.drift * way[:, None] * rng.standard_normal(3) / np.sqrt(3.0)
    often = sensor.jump_rate if jumps is None else jumps
    leaps = (rng.random(len(times)) < often / _TRACKER)[:, None] * sensor.jump_position * rng.standard_normal(3)
    stream = places + drift + np.cumsum(leaps, axis=0) + sensor.position * rng.standard_normal(places.shape)
    return Motion.of("the tracker", times + late, stream)


def board(seed: int, late: float, seconds: float = 10.0) -> Motion:
    """Where a camera sees a board that the arm carries."""
    rng = np.random.default_rng(seed)
    times = stamps(_CAMERA, seconds, seed, _JITTER)
    across = noise.load().camera.corner * _AWAY / _FOCAL
    error = across * np.array([1.0, 1.0, _DEPTH]) * rng.standard_normal((len(times), 3))
    return Motion.of("the camera", times + late, wave(seed, times) @ _turn(rng).T + [0.1, 0.0, _AWAY] + error)


def jaw(seed: int, late: float, seconds: float = 10.0) -> tuple[Motion, Motion]:
    """What the jaw was told and where it was, (n, 1) [m] each."""
    told, times = stamps(_ARM, seconds + 2.0 * _AROUND) - _AROUND, stamps(_JAW, seconds, seed)
    error = noise.load().jaw.position * np.random.default_rng(seed).standard_normal((len(times), 1))
    opening = 0.04 + 0.3 * wave(seed, times)[:, :1]
    return Motion.of("commands", told, 0.3 * wave(seed, told)[:, 0]), Motion.of("jaw", times + late, opening + error)


def wrenches(
    mass: float,
    centre: Array,
    bias: Array,
    T_flange_tcp: Pose,
    *,
    tilts: Sequence[Sequence[float]] = TILTS,
    carried: tuple[float, Sequence[float]] = (0.0, (0.0, 0.0, 0.0)),
    seed: int | None = 0,
) -> list[WrenchSample]:
    """A payload [kg] with its centre (3,) [m] from the flange, felt with a bias (6,), `carried` of it subtracted.

    `seed` None: without noise.
    """
    rng, sensor = np.random.default_rng(seed), noise.load().arm
    deviation = np.repeat([sensor.force, sensor.wrench_torque], 3) / np.sqrt(RECORDS) * (seed is not None)
    found, down = [], np.array([0.0, 0.0, -GRAVITY])
    for tilt in tilts:
        T = Pose.from_rotvec([0.4, 0.1, 0.3], tilt)
        wrench = np.concatenate([T.rotation @ bias[:3], T.rotation @ bias[3:]])
        for kilograms, place in ((mass, centre), (-carried[0], carried[1])):
            lever = T.rotation @ T_flange_tcp.inverse().apply(place)
            wrench += kilograms * np.concatenate([down, np.cross(lever, down)])
        found.append(WrenchSample(T, wrench + deviation * rng.standard_normal(6)))
    return found
