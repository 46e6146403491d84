"""What a solver says of a transform: how good it is, which samples were left out, what OpenCV alone finds. Pure."""

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kinema import __version__
from kinema.calibration.files import Provenance, Transform
from kinema.geometry import Array, Pose, distance, hat

_AXES = ("x", "y", "z")


def measured(
    parent: str,
    child: str,
    T_parent_child: Pose,
    serial: str,
    date: datetime.date,
    board: str | None,
    samples: int,
    rms: float,
    covariance: Array | None,
) -> Transform:
    """A transform's file that was made from so many samples, with their residual [m]."""
    provenance = Provenance(
        serial=serial,
        date=date,
        origin="measured",
        software_version=__version__,
        samples=samples,
        rms=round(rms, 9),
        board=board,
        covariance=None if covariance is None else tuple(float(f"{value:.6g}") for value in covariance.ravel()),
    )
    return Transform.of(parent, child, T_parent_child, provenance)


def carried(covariance: Array, way: Array) -> Array:
    """A transform's covariance (6, 6) as it is for a point `way` (3,) [m] from its origin, all in the same axes.

    A turn moves that point: its place changes by d_position + rotvec x way.
    """
    lever = np.eye(6)
    lever[:3, 3:] = -hat(way)
    return np.asarray(lever @ covariance @ lever.T)


def at_one_metre(T_a_b: Pose, covariance: Array) -> float:
    """[mm] standard deviation, over all directions together, of where a point 1 m ahead (b's z) lies in a."""
    variance = float(np.trace(carried(covariance, T_a_b.rotation[:, 2])[:3, :3]))
    return 1e3 * math.sqrt(max(variance, 0.0))  # what stands in a file need be no covariance


@dataclass(frozen=True, eq=False, slots=True)
class Plain:
    """OpenCV's own result on the same samples, unrefined: `T_a_b`, and its closure [m], RMS over all of them."""

    T: Pose
    closure: float


@dataclass(frozen=True, eq=False, slots=True)
class Estimate:
    """A transform `T_a_b`. Samples count from 1; residuals are those of all samples, outliers too.

    covariance  (6, 6): position [m], then rotation vector [rad], in a's axes
    rms         [px] of the corners of the samples that were used
    closure     (n, 2) [m, rad]: how far the board is from where the others have it, by each sample
    plain       by OpenCV's name for the method
    """

    T: Pose
    covariance: Array
    rms: float
    closure: Array
    outliers: tuple[int, ...]
    plain: Mapping[str, Plain]

    @property
    def std(self) -> Array:
        """(6,) standard deviations: position [m], rotation vector [rad]."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def at_one_metre(self) -> float:
        """[mm] as the function of that name has it."""
        return at_one_metre(self.T, self.covariance)

    @property
    def used(self) -> Array:
        """(m,) indices, from 0, of the samples that were used."""
        return np.setdiff1d(np.arange(len(self.closure)), np.array(self.outliers, int) - 1)

    @property
    def closure_rms(self) -> float:
        """[m] over the samples that were used."""
        return math.sqrt(float((self.closure[self.used, 0] ** 2).mean()))

    def transform(self, parent: str, child: str, serial: str, date: datetime.date, board: str | None) -> Transform:
        """The file's content; its residual is the closure."""
        return measured(parent, child, self.T, serial, date, board, len(self.used), self.closure_rms, self.covariance)

    def report(self) -> str:
        """Some lines for a person."""
        spread, turn = 1e3 * self.std[:3], np.degrees(self.std[3:])
        lines = [
            f"{len(self.used)} of {len(self.closure)} samples, corners {self.rms:.3f} px, "
            f"closure {1e3 * self.closure_rms:.2f} mm",
            "standard deviations "
            + ", ".join(f"{axis} {value:.2f} mm" for axis, value in zip(_AXES, spread, strict=True))
            + ", "
            + ", ".join(f"{axis} {value:.3f} deg" for axis, value in zip(_AXES, turn, strict=True)),
            f"at 1 m: {self.at_one_metre:.2f} mm",
        ]
        if self.outliers:
            listed = ", ".join(f"{k} ({1e3 * self.closure[k - 1, 0]:.1f} mm)" for k in self.outliers)
            lines.append(f"left out: samples {listed}")
        for name, plain in self.plain.items():
            moved, turned = distance(self.T, plain.T)
            lines.append(
                f"OpenCV {name}: closure {1e3 * plain.closure:.2f} mm; {1e3 * moved:.2f} mm, "
                f"{math.degrees(turned):.3f} deg from this"
            )
        return "\n".join(lines)
