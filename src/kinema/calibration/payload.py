"""What an arm carries: mass, centre of mass and the wrench sensor's bias, from wrenches at rest in several poses. Pure.

At rest a force-torque sensor feels the payload's weight and its own bias. With u the gravity in the TCP's axes,

    force = m u + b_force        torque = c x m u + b_torque

(Kubus, Kroeger, Wahl, "On-line estimation of inertial parameters using a recursive total least-squares approach", IROS
2008, for an arm that stands still). Turning about the vertical changes u by nothing: only poses that tilt the tool
differently tell mass from bias.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kinema import __version__
from kinema.calibration.files import Payload, Provenance
from kinema.calibration.fit import Fit, fit
from kinema.calibration.load_cell import GRAVITY
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, hat

NAMES = (
    "mass",
    *(f"centre_{axis}" for axis in "xyz"),
    *(f"force_bias_{axis}" for axis in "xyz"),
    *(f"torque_bias_{axis}" for axis in "xyz"),
)

_POSES = 6
_TILT = 0.17  # [-] standard deviation of gravity's direction in the tool, along its second widest axis: ten degrees
_LEVER = 0.05  # [m] torques count as forces at it: wrist sensors are so much better at torques
_FLOOR = 0.1  # [N] of a misfit that is none
_UNSURE = 0.02  # [kg] standard deviation of the mass; the controllers' own tolerance is 0.05
_REMEDY = (
    "let the arm rest in at least six poses that tilt the tool differently: pointing down, to all four sides, and up "
    "as far as it can, touching nothing"
)


@dataclass(frozen=True, eq=False, slots=True)
class WrenchSample:
    """The mean wrench of a pose at rest: (6,) force [N] and torque [N m] at the TCP, in base_link axes."""

    T_base_tcp: Pose
    wrench: Array


@dataclass(frozen=True, eq=False, slots=True)
class PayloadResult:
    """`fit` has mass [kg], centre (3,) [m] in the TCP's frame, biases (3,) [N] and (3,) [N m] in its axes, by NAMES.

    payload  the file: the same with the centre in the flange's frame
    plain    (10,) ordinary least squares on all samples, outliers too
    """

    payload: Payload
    fit: Fit
    plain: Array

    @property
    def outliers(self) -> tuple[int, ...]:
        """Numbers, from 1, of the samples that were left out."""
        return self.fit.outliers

    def sag(self, stiffness: float) -> float:
        """[m] by which an impedance of that translational stiffness [N/m] gives way to the weight's uncertainty."""
        return float(self.fit.std[0]) * GRAVITY / stiffness

    def report(self) -> str:
        """Some lines for a person."""
        x, std, used = self.fit.parameters, self.fit.std, self.payload.provenance.samples
        centre = ", ".join(f"{1e3 * value:.1f}" for value in self.payload.centre)
        lines = [
            f"{used} of {used + len(self.fit.outliers)} poses, residual {self.fit.rms:.3f} N",
            f"{x[0]:.3f} kg, deviation {1e3 * std[0]:.1f} g; centre ({centre}) mm from the flange, deviation "
            f"{1e3 * float(np.linalg.norm(std[1:4])):.1f} mm",
            f"bias {float(np.linalg.norm(x[4:7])):.2f} N, {float(np.linalg.norm(x[7:])):.3f} N m, deviation "
            f"{float(np.linalg.norm(std[4:7])):.2f} N, {float(np.linalg.norm(std[7:])):.3f} N m",
            f"ordinary least squares on all poses: {self.plain[0]:.3f} kg",
        ]
        if self.fit.outliers:
            lines.append(f"left out: samples {', '.join(str(number) for number in self.fit.outliers)}")
        return "\n".join(lines)


def _gravity(samples: Sequence[WrenchSample]) -> Array:
    """(n, 3) [m/s^2] gravity in the TCP's axes; base_link's z points up."""
    return np.array([sample.T_base_tcp.rotation.T @ [0.0, 0.0, -GRAVITY] for sample in samples])


def _check(samples: Sequence[WrenchSample], gravity: Array) -> None:
    if len(samples) < _POSES:
        raise CalibrationError(f"{len(samples)} poses, needed are {_POSES}; {_REMEDY}")
    for number, sample in enumerate(samples, 1):
        if np.shape(sample.wrench) != (6,) or not np.isfinite(sample.wrench).all() or not sample.T_base_tcp.isfinite():
            raise CalibrationError(f"sample {number}: its wrench or its pose is not made of numbers; take it again")
    spread = np.linalg.svd((gravity - gravity.mean(0)) / GRAVITY / np.sqrt(len(gravity)), compute_uv=False)
    if spread[1] < _TILT:
        raise CalibrationError(
            f"one-sided: gravity's direction in the tool spreads by {spread[0]:.2f} and {spread[1]:.2f} only, needed "
            f"are {_TILT} both ways; {_REMEDY}"
        )


def _plain(wrenches: Array, gravity: Array) -> Array:
    """Linear in mass, first moment and biases; (10,) by NAMES."""
    n, eye = len(gravity), np.eye(3)
    A = np.zeros((n, 6, 10))
    A[:, :3, 0], A[:, :3, 4:7] = gravity, eye
    A[:, 3:, 1:4], A[:, 3:, 7:] = -hat(gravity), eye
    A[:, 3:] /= _LEVER
    b = wrenches / [1, 1, 1, _LEVER, _LEVER, _LEVER]
    x: Array = np.linalg.lstsq(A.reshape(-1, 10), b.ravel(), rcond=None)[0].astype(float)
    if x[0] <= 0.0:
        raise CalibrationError(
            f"the mass comes out as {x[0]:.3f} kg: forces have the wrong sign, or the arm has subtracted a payload "
            "that was not told"
        )
    x[1:4] /= x[0]
    return x


def calibrate(
    samples: Sequence[WrenchSample],
    T_flange_tcp: Pose,
    serial: str,
    date: datetime.date,
    carried: tuple[float, Sequence[float]] = (0.0, (0.0, 0.0, 0.0)),
) -> PayloadResult:
    """What the arm with that serial number carries.

    carried  mass [kg] and centre (3,) [m] in the flange's frame of what the arm's controller has subtracted already

    Raises CalibrationError saying what the samples lack.
    """
    gravity = _gravity(samples)
    _check(samples, gravity)
    weight = carried[0] * gravity
    moment = np.cross(T_flange_tcp.inverse().apply(carried[1]), weight)
    felt = np.array([(sample.wrench.reshape(2, 3) @ sample.T_base_tcp.rotation).ravel() for sample in samples])
    wrenches = felt + np.hstack([weight, moment])
    plain = _plain(wrenches, gravity)

    def residuals(x: Array) -> Array:
        load = x[0] * gravity
        torque = np.cross(x[1:4], load) + x[7:]
        return np.hstack([load + x[4:7] - wrenches[:, :3], (torque - wrenches[:, 3:]) / _LEVER]).ravel()

    owner = np.repeat(np.arange(1, len(samples) + 1), 6)
    found = fit(residuals, plain, owner, NAMES, floor=_FLOOR, advice=_REMEDY)
    used = np.delete(np.arange(len(samples)), np.array(found.outliers, int) - 1)
    _check([samples[k] for k in used.tolist()], gravity[used])
    x = found.parameters
    if x[0] <= 0.0 or found.std[0] > _UNSURE:
        raise CalibrationError(
            f"the mass comes out as {x[0]:.3f} kg with a deviation of {found.std[0]:.3f} kg, allowed are {_UNSURE} kg; "
            f"wait longer in each pose, and: {_REMEDY}"
        )
    bias = x[4:].round(9).tolist()
    cx, cy, cz = T_flange_tcp.apply(x[1:4]).round(9).tolist()
    payload = Payload(
        mass=round(float(x[0]), 9),
        centre=(cx, cy, cz),
        force_bias=tuple(bias[:3]),
        torque_bias=tuple(bias[3:]),
        provenance=Provenance(
            serial=serial,
            date=date,
            origin="measured",
            software_version=__version__,
            samples=len(used),
            rms=round(found.rms, 9),
            covariance=tuple(_in_flange(found.covariance, T_flange_tcp).ravel().tolist()),
        ),
    )
    if reason := payload.unusable():
        raise CalibrationError(f"{reason}; something touches the tool, or the arm has not been at rest; {_REMEDY}")
    return PayloadResult(payload, found, plain)


def _in_flange(covariance: Array, T_flange_tcp: Pose) -> Array:
    """The same with the centre in the flange's axes."""
    turn = np.eye(len(NAMES))
    turn[1:4, 1:4] = T_flange_tcp.rotation
    return turn @ covariance @ turn.T
