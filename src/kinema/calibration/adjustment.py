"""Bundle adjustment of rigid poses: corners of boards and poses that devices measured, fitted together. Pure.

Unknown poses have numbers. What was measured is a chain of them: `(k, ~j)` is pose k times the inverse of pose j. The
loss is robust; samples that still don't fit the others are left out and named. How large each kind of error is follows
from the residuals themselves, so arm and camera are weighed as they deserve and the covariance needs no assumption.

Sources
- Triggs et al. 2000, "Bundle Adjustment: A Modern Synthesis".
- Variance components from the redundancy of each group: Foerstner 1979; here with medians, which outliers don't move.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares
from scipy.sparse import csr_matrix

from kinema.calibration.files import CameraInfo
from kinema.errors import CalibrationError
from kinema.geometry import Array, Pose, so3_exp, so3_log

Chain = tuple[int, ...]  # numbers of poses from left to right; ~k is the inverse of pose k

_LOOSE = 2.0  # deviations beyond which a residual counts less
_FAR = 4.0  # times the usual deviation, root mean square over a sample, beyond which it is an outlier
_MOST_OUT = 0.3  # [-] of the samples that may be outliers
_ROUNDS = 3  # of fitting and weighing anew
_STEP = 1e-5  # [-] of a point's distance, by which the lens is differentiated
_SAME = 0.05  # [-] by which a kind's deviation may still change
_LEAST = 1e-9  # deviation where nothing is said
_MEDIAN = 0.6745  # of |x|, x normal


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """Corners in a picture: the chain is `T_camera_board`, `points` (m, 3) [m] on the board, `pixels` (m, 2)."""

    sample: int
    chain: Chain
    camera: CameraInfo
    points: Array
    pixels: Array
    deviation: float = 0.1  # [px] to begin with


@dataclass(frozen=True, eq=False, slots=True)
class Said:
    """A pose that a device measured, of the chain; its errors are of one kind `what` with all others of that name.

    deviations  [m, rad]
    known       the deviations are what they are; otherwise they are where the estimate begins
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
    deviations    what each kind of error turned out to be: 'corners' [px]; '<what> position' [m], '<what> rotation' [rad]
    scale         of the board to what it was said to be, and its standard deviation; 1 and 0 where it was not asked
    """

    poses: tuple[Pose, ...]
    covariances: dict[int, Array]
    outliers: tuple[int, ...]
    deviations: dict[str, float]
    scale: tuple[float, float]


@dataclass(frozen=True, eq=False, slots=True)
class _Group:
    """Rows of one term that share a kind of error."""

    sample: int | None
    kind: str
    known: bool
    rows: slice


def _hat(v: Array) -> Array:
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def _adjoint(T: Pose) -> Array:
    """(6, 6) that takes a twist, linear part first, through T."""
    m = np.zeros((6, 6))
    m[:3, :3] = m[3:, 3:] = T.rotation
    m[:3, 3:] = _hat(T.position) @ T.rotation
    return m


def _left_jacobian(rotvec: Array) -> Array:
    """(3, 3): a change of the rotation vector as a rotation from the left (Barfoot 2017, equation 7.77)."""
    angle = float(np.linalg.norm(rotvec))
    if angle < 1e-6:
        return np.eye(3) + 0.5 * _hat(rotvec)
    k = _hat(rotvec / angle)
    a, b = (1.0 - math.cos(angle)) / angle, 1.0 - math.sin(angle) / angle
    return np.asarray(np.eye(3) + a * k + b * (k @ k), float)


def _twist(T: Pose, rotvec: Array) -> Array:
    """(6, 6): a change of a pose's six numbers as a twist from the left."""
    m = np.eye(6)
    m[3:, 3:] = _left_jacobian(rotvec)
    m[:3, 3:] = _hat(T.position) @ m[3:, 3:]
    return m


class _Problem:
    """Residuals in standard deviations, and their derivatives by the poses that the terms speak of."""

    def __init__(self, start: Sequence[Pose], terms: Sequence[Term], deviations: dict[str, float], scaled: bool):
        self.start, self.terms, self.scaled = start, terms, scaled
        self.free = sorted({k if k >= 0 else ~k for term in terms for k in term.chain})
        self.column = {k: 6 * i for i, k in enumerate(self.free)}
        self.groups: list[_Group] = []
        row, sigmas = 0, []
        for term in terms:
            for kind, known, deviation, count in _kinds(term):
                self.groups.append(_Group(term.sample, kind, known, slice(row, row + count)))
                sigmas.append(np.full(count, deviations.get(kind, deviation)))
                row += count
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

    def still(self, scale: float) -> Array:
        """The parameters at which the poses are where they start."""
        x = np.zeros(self.size)
        if self.scaled:
            x[-1] = scale
        return x

    def fit(self, scale: float) -> Array:
        found = least_squares(
            self.residuals,
            self.still(scale),
            self.jacobian,
            loss="soft_l1",
            f_scale=_LOOSE,
            x_scale="jac",
            tr_solver="lsmr",
            tr_options={"maxiter": 4 * self.size, "atol": 1e-10, "btol": 1e-10},
            max_nfev=60,
        )
        return np.asarray(found.x, float)


def _kinds(term: Term) -> list[tuple[str, bool, float, int]]:
    """Kind of error, whether it is known, its deviation and how many residuals it has, in the residuals' order."""
    if isinstance(term, Seen):
        return [("corners", False, term.deviation, 2 * len(term.points))]
    position, rotation = term.deviations
    return [(f"{term.what} position", term.known, position, 3), (f"{term.what} rotation", term.known, rotation, 3)]


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
        rows[:3, 3:] = -_hat(T.position)
        return rows, np.zeros(6)
    points = T.apply(scale * term.points)
    step = _STEP * np.linalg.norm(points, axis=-1)
    around = np.stack([points + sign * step[:, None] * axis for axis in np.eye(3) for sign in (1.0, -1.0)])
    pixels = term.camera.project(around)
    by_point = np.stack([(pixels[2 * i] - pixels[2 * i + 1]) / (2 * step[:, None]) for i in range(3)], axis=-1)
    motion = np.concatenate([np.tile(np.eye(3), (len(points), 1, 1)), -np.array([_hat(p) for p in points])], axis=-1)
    by_scale = np.einsum("mij,mj->mi", by_point, term.points @ T.rotation.T)
    return (by_point @ motion).reshape(-1, 6), by_scale.ravel()


def _cofactors(problem: _Problem, x: Array) -> tuple[Array, csr_matrix]:
    """The inverse of the normal matrix, and the Jacobian, both with each residual's robust weight."""
    away, jacobian = problem.residuals(x), problem.jacobian(x)
    weight = 1.0 / np.sqrt(1.0 + (away / _LOOSE) ** 2)
    weighted = csr_matrix(jacobian.multiply(np.sqrt(weight)[:, None]))
    normal = (weighted.T @ weighted).toarray()
    size = np.sqrt(np.diag(normal))
    size[size == 0.0] = 1.0
    return np.linalg.pinv(normal / np.outer(size, size), hermitian=True) / np.outer(size, size), weighted


def _weighed(problem: _Problem, x: Array, floors: dict[str, float]) -> dict[str, float]:
    """How large each kind of error is: the residuals' median over what their redundancy leaves of it."""
    away = problem.residuals(x)
    cofactors, weighted = _cofactors(problem, x)
    taken = ((weighted @ cofactors) * weighted.toarray()).sum(axis=1)  # of each residual, by the unknowns
    found: dict[str, float] = {}
    for kind in {group.kind: None for group in problem.groups}:
        rows = np.concatenate([np.r_[group.rows] for group in problem.groups if group.kind == kind])
        sigma = float(problem.sigma[rows[0]])
        if next(group.known for group in problem.groups if group.kind == kind):
            found[kind] = sigma
            continue
        left = max(1.0 - float(taken[rows].mean()), 0.05)
        usual = sigma * float(np.median(np.abs(away[rows]))) / (_MEDIAN * math.sqrt(left))
        found[kind] = max(usual, floors.get(kind, _LEAST))
    return found


def _far(problem: _Problem, x: Array) -> set[int]:
    """Samples whose residuals of one kind are too large for their kind."""
    away = problem.residuals(x)
    return {
        group.sample
        for group in problem.groups
        if group.sample is not None and math.sqrt(float((away[group.rows] ** 2).mean())) > _FAR
    }


def _settled(
    start: Sequence[Pose], terms: Sequence[Term], deviations: dict[str, float], floors: dict[str, float], scaled: bool
) -> tuple[_Problem, Array, dict[str, float]]:
    """Fitted and weighed anew until the weights stay; the problem starts at its solution."""
    poses, scale = list(start), 1.0
    for _ in range(_ROUNDS):
        problem = _Problem(poses, terms, deviations, scaled)
        x = problem.fit(scale)
        poses, scale = problem.poses(x), float(x[-1]) if scaled else 1.0
        before, deviations = deviations, _weighed(problem, x, floors)
        if all(abs(value / before.get(kind, math.inf) - 1.0) < _SAME for kind, value in deviations.items()):
            break
    problem = _Problem(poses, terms, deviations, scaled)
    return problem, problem.still(scale), deviations


def adjust(
    start: Sequence[Pose],
    terms: Sequence[Term],
    *,
    scaled: bool = False,
    floors: dict[str, float] | None = None,
    advice: str = "",
) -> Adjusted:
    """The poses that the terms speak of, from where they `start`; `scaled` frees the size of the board as well.

    `floors` says by kind of error which deviation is the least that is believed. Raises CalibrationError naming the
    samples, and ending in `advice`, when too many of them don't fit the others.
    """
    samples = {term.sample for term in terms if term.sample is not None}
    outliers: set[int] = set()
    deviations: dict[str, float] = {}
    while True:
        kept = [term for term in terms if term.sample not in outliers]
        problem, x, deviations = _settled(start, kept, deviations, floors or {}, scaled)
        far = _far(problem, x)
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
    return Adjusted(tuple(problem.poses(x)), covariances, tuple(sorted(outliers)), deviations, scale)
