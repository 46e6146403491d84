"""Bundle adjustment of rigid poses: corners of boards and poses that devices measured, fitted together. Pure.

Unknown poses have numbers. What was measured is a chain of them: `(k, ~j)` is pose k times the inverse of pose j. The
loss is robust; samples that still don't fit the others are left out and named. How large each kind of error is follows
from the residuals themselves, so arm and camera are weighed as they deserve and the covariance needs no assumption.

Sources
- Triggs et al. 2000, "Bundle Adjustment: A Modern Synthesis".
- How large each kind of error is, from its residuals and their redundancy: Foerstner 1979; here the median
  over the terms, which outliers don't move.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.sparse import csr_matrix

from kinema.calibration.files import CameraInfo
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, hat, so3_exp, so3_log

Chain = tuple[int, ...]  # numbers of poses from left to right; ~k is the inverse of pose k

_LOOSE = 3.0  # deviations beyond which a residual counts less
_FAR = 4.0  # times the usual deviation, root mean square over a sample, beyond which it is an outlier
_MOST_OUT = 0.3  # [-] of the samples that may be outliers
_ROUNDS = 6  # of fitting and weighing anew
_STEP = 1e-5  # [-] of a point's distance, by which the lens is differentiated
_SAME = 0.05  # [-] by which a kind's deviation may still change
_LEAST = 0.05  # times what was said, that a kind of error may turn out to be
_REDUNDANT = 0.1  # [-] of a term's residuals that the unknowns must leave: with less, nothing is learned of it


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """Corners in a picture: the chain is `T_camera_board`, `points` (m, 3) [m] on the board, `pixels` (m, 2)."""

    sample: int
    chain: Chain
    camera: CameraInfo
    points: Array
    pixels: Array
    deviation: float = 0.1  # [px], as a guess


@dataclass(frozen=True, eq=False, slots=True)
class Said:
    """A pose that a device measured, of the chain; its errors are of one kind `what` with all others of that name.

    deviations  [m, rad]
    known       the deviations are what they are; otherwise a guess, right up to a factor
    sample      None for what holds between samples: never left out
    """

    sample: int | None
    chain: Chain
    pose: Pose
    what: str
    deviations: tuple[float, float]
    known: bool = False


Term = Seen | Said


@dataclass(frozen=True, eq=False, slots=True)
class Adjusted:
    """poses         all of them, those that nothing speaks of as they began
    covariances   (6, 6) of each that was fitted: position [m], then rotation vector [rad], in its left frame's axes
    outliers      numbers of the samples that were left out
    factors       how many times larger each kind of error ('corners', or what was `Said`) is than was guessed
    rms           [px] of the corners of the samples that were used
    scale         of the board to what it was said to be, and its standard deviation; 1 and 0 where it was not asked
    """

    poses: tuple[Pose, ...]
    covariances: dict[int, Array]
    outliers: tuple[int, ...]
    factors: dict[str, float]
    rms: float
    scale: tuple[float, float]


@dataclass(frozen=True, eq=False, slots=True)
class _Group:
    """The residuals of one term."""

    sample: int | None
    kind: str
    known: bool
    begin: int
    count: int

    @property
    def rows(self) -> slice:
        return slice(self.begin, self.begin + self.count)


def _adjoint(T: Pose) -> Array:
    """(6, 6) that takes a twist, linear part first, through T."""
    m = np.zeros((6, 6))
    m[:3, :3] = m[3:, 3:] = T.rotation
    m[:3, 3:] = hat(T.position) @ T.rotation
    return m


def _left_jacobian(rotvec: Array) -> Array:
    """(3, 3): a change of the rotation vector as a rotation from the left (Barfoot 2017, equation 7.77)."""
    angle = float(np.linalg.norm(rotvec))
    if angle < 1e-6:
        return np.eye(3) + 0.5 * hat(rotvec)
    k = hat(rotvec / angle)
    a, b = (1.0 - math.cos(angle)) / angle, 1.0 - math.sin(angle) / angle
    return np.asarray(np.eye(3) + a * k + b * (k @ k), float)


def _twist(T: Pose, rotvec: Array) -> Array:
    """(6, 6): a change of a pose's six numbers as a twist from the left."""
    m = np.eye(6)
    m[3:, 3:] = _left_jacobian(rotvec)
    m[:3, 3:] = hat(T.position) @ m[3:, 3:]
    return m


class _Problem:
    """Residuals in standard deviations, and their derivatives by the poses that the terms speak of."""

    def __init__(self, start: Sequence[Pose], terms: Sequence[Term], factors: dict[str, float], scaled: bool):
        self.start, self.terms, self.scaled = start, terms, scaled
        self.free = sorted({k if k >= 0 else ~k for term in terms for k in term.chain})
        self.column = {k: 6 * i for i, k in enumerate(self.free)}
        self.groups: list[_Group] = []
        row, sigmas = 0, []
        for term in terms:
            kind, sigma = _errors(term)
            self.groups.append(_Group(term.sample, kind, isinstance(term, Said) and term.known, row, len(sigma)))
            sigmas.append(factors.get(kind, 1.0) * sigma)
            row += len(sigma)
        self.sigma = np.concatenate(sigmas)

    @property
    def size(self) -> int:
        return 6 * len(self.free) + self.scaled

    def poses(self, x: Array) -> list[Pose]:
        poses = list(self.start)
        for k, column in self.column.items():
            begin, move = self.start[k], x[column : column + 6]
            poses[k] = Pose(begin.position + move[:3], so3_exp(move[3:]) @ begin.rotation)
        return poses

    def residuals(self, x: Array) -> Array:
        poses, scale = self.poses(x), x[-1] if self.scaled else 1.0
        return np.concatenate([_away(term, _along(term.chain, poses)[-1], scale) for term in self.terms]) / self.sigma

    def jacobian(self, x: Array) -> csr_matrix:
        poses, scale = self.poses(x), x[-1] if self.scaled else 1.0
        twists = {k: _twist(poses[k], x[c + 3 : c + 6]) for k, c in self.column.items()}
        values, rows, columns, row = [], [], [], 0
        for term in self.terms:
            ends = _along(term.chain, poses)
            by_twist, by_scale = _slopes(term, ends[-1], scale)
            here = np.arange(row, row + len(by_twist))
            for place, link in enumerate(term.chain):
                k = link if link >= 0 else ~link
                through = _adjoint(ends[place]) if link >= 0 else -_adjoint(ends[place + 1])
                values.append((by_twist @ through @ twists[k]).ravel())
                rows.append(np.repeat(here, 6))
                columns.append(np.tile(np.arange(self.column[k], self.column[k] + 6), len(here)))
            if self.scaled:
                values.append(by_scale)
                rows.append(here)
                columns.append(np.full(len(here), self.size - 1))
            row += len(by_twist)
        index = np.concatenate(rows)
        return csr_matrix(
            (np.concatenate(values) / self.sigma[index], (index, np.concatenate(columns))), shape=(row, self.size)
        )

    def rows(self, kind: str) -> NDArray[np.int64]:
        """Which residuals are of that kind."""
        return np.concatenate([np.r_[group.rows] for group in self.groups if group.kind == kind])

    def still(self, scale: float) -> Array:
        """The parameters at which the poses are where they start."""
        x = np.zeros(self.size)
        if self.scaled:
            x[-1] = scale
        return x

    def fit(self, scale: float, loss: str) -> Array:
        found = least_squares(
            self.residuals,
            self.still(scale),
            self.jacobian,
            loss=loss,
            f_scale=_LOOSE,
            x_scale="jac",
            tr_solver="lsmr",
            tr_options={"maxiter": 4 * self.size, "atol": 1e-10, "btol": 1e-10},
            max_nfev=60,
        )
        return np.asarray(found.x, float)


def _errors(term: Term) -> tuple[str, Array]:
    """The kind of a term's errors, and their guessed deviations, in its residuals' order."""
    if isinstance(term, Seen):
        return "corners", np.full(2 * len(term.points), term.deviation)
    return term.what, np.repeat(term.deviations, 3)


def _along(chain: Chain, poses: Sequence[Pose]) -> list[Pose]:
    """The chain's products: of none of its poses, of the first, of the first two, ... of all."""
    ends = [Pose.identity()]
    for link in chain:
        ends.append(ends[-1] @ (poses[link] if link >= 0 else poses[~link].inverse()))
    return ends


def _away(term: Term, T: Pose, scale: float) -> Array:
    if isinstance(term, Seen):
        return np.asarray(term.camera.project(T.apply(scale * term.points)) - term.pixels, float).ravel()
    return np.concatenate([T.position - term.pose.position, so3_log(T.rotation @ term.pose.rotation.T)])


def _slopes(term: Term, T: Pose, scale: float) -> tuple[Array, Array]:
    """Derivatives (n, 6) by a twist of the chain's product from the left, and (n,) by the board's scale."""
    if isinstance(term, Said):
        rows = np.eye(6)
        rows[:3, 3:] = -hat(T.position)
        return rows, np.zeros(6)
    points = T.apply(scale * term.points)
    step = _STEP * np.linalg.norm(points, axis=-1)
    around = np.stack([points + sign * step[:, None] * axis for axis in np.eye(3) for sign in (1.0, -1.0)])
    pixels = term.camera.project(around)
    by_point = np.stack([(pixels[2 * i] - pixels[2 * i + 1]) / (2 * step[:, None]) for i in range(3)], axis=-1)
    motion = np.concatenate([np.tile(np.eye(3), (len(points), 1, 1)), -hat(points)], axis=-1)
    by_scale = np.einsum("mij,mj->mi", by_point, term.points @ T.rotation.T)
    return (by_point @ motion).reshape(-1, 6), by_scale.ravel()


def _cofactors(problem: _Problem, x: Array) -> tuple[Array, csr_matrix]:
    """The inverse of the normal matrix, and the Jacobian, both with each residual's robust weight."""
    away, jacobian = problem.residuals(x), problem.jacobian(x)
    weight = 1.0 / (1.0 + (away / _LOOSE) ** 2)
    weighted = csr_matrix(jacobian.multiply(np.sqrt(weight)[:, None]))
    normal = (weighted.T @ weighted).toarray()
    size = np.sqrt(np.diag(normal))
    size[size == 0.0] = 1.0
    return np.linalg.pinv(normal / np.outer(size, size), hermitian=True) / np.outer(size, size), weighted


def _weighed(problem: _Problem, x: Array, factors: dict[str, float]) -> dict[str, float]:
    """By which factor each kind of error is larger than was guessed: the median over its terms."""
    away = problem.residuals(x)
    cofactors, weighted = _cofactors(problem, x)
    taken = ((weighted @ cofactors) * weighted.toarray()).sum(axis=1)  # of each residual, by the unknowns
    found: dict[str, float] = {}
    for kind, known in {group.kind: group.known for group in problem.groups}.items():
        squares = []
        for group in problem.groups:
            left = group.count - float(taken[group.rows].sum())
            if group.kind == kind and left > _REDUNDANT * group.count:
                usual = (
                    left * max(1.0 - 2.0 / (9.0 * left), 0.1) ** 3
                )  # the median of chi squared (Wilson and Hilferty)
                squares.append(float((away[group.rows] ** 2).sum()) / usual)
        better = math.sqrt(float(np.median(squares))) if squares and not known else 1.0
        found[kind] = max(factors.get(kind, 1.0) * better, _LEAST)
    return found


def _far(problem: _Problem, x: Array, factors: dict[str, float]) -> set[int]:
    """Samples whose residuals of one kind are too large, where that kind is larger by these factors."""
    away = problem.residuals(x) * problem.sigma
    return {
        group.sample
        for group, term in zip(problem.groups, problem.terms, strict=True)
        if group.sample is not None
        and math.sqrt(float(((away[group.rows] / _errors(term)[1]) ** 2).mean())) > _FAR * factors[group.kind]
    }


def _settled(
    start: Sequence[Pose], terms: Sequence[Term], factors: dict[str, float], scale: float | None
) -> tuple[_Problem, Array, dict[str, float]]:
    """Fitted and weighed anew until the weights stay or an outlier shows; the problem starts at its solution.

    The loss that begins is convex, lest it miss the solution; the one that goes on lets outliers go.
    """
    poses, scaled = list(start), scale is not None
    for turn in range(_ROUNDS):
        problem = _Problem(poses, terms, factors, scaled)
        x = problem.fit(scale or 1.0, "cauchy" if turn else "soft_l1")
        poses, scale = problem.poses(x), float(x[-1]) if scaled else None
        before, factors = factors, _weighed(problem, x, factors)
        steady = all(abs(value / before.get(kind, 1.0) - 1.0) < _SAME for kind, value in factors.items())
        if (turn and steady) or _far(problem, x, factors):
            break
    problem = _Problem(poses, terms, factors, scaled)
    return problem, problem.still(scale or 1.0), factors


def adjust(
    start: Sequence[Pose],
    terms: Sequence[Term],
    *,
    scaled: bool = False,
    factors: dict[str, float] | None = None,
    advice: str = "",
) -> Adjusted:
    """The poses that the terms speak of, from where they `start`; `scaled` frees the size of the board as well.

    `factors` are those of an adjustment before, to begin with. Raises CalibrationError naming the samples, and ending
    in `advice`, when too many of them don't fit the others.
    """
    samples = {term.sample for term in terms if term.sample is not None}
    outliers: set[int] = set()
    sizes = dict(factors or {})
    while True:
        kept = [term for term in terms if term.sample not in outliers]
        problem, x, sizes = _settled(start, kept, sizes, 1.0 if scaled else None)
        far = _far(problem, x, sizes)
        if not far:
            break
        outliers |= far
        if len(outliers) > _MOST_OUT * len(samples):
            raise CalibrationError(
                f"samples {', '.join(map(str, sorted(outliers)))} of {len(samples)} don't fit the others; {advice}"
            )
    cofactors, _ = _cofactors(problem, x)
    covariances = {k: cofactors[column : column + 6, column : column + 6] for k, column in problem.column.items()}
    scale = (float(x[-1]), math.sqrt(cofactors[-1, -1])) if scaled else (1.0, 0.0)
    away = (problem.residuals(x) * problem.sigma)[problem.rows("corners")]
    rms = math.sqrt(2.0 * float((away**2).mean()))
    return Adjusted(tuple(problem.poses(x)), covariances, tuple(sorted(outliers)), sizes, rms, scale)
