"""The least squares that every solver ends with: robust, with outliers named and left out, with covariance. Pure.

Residuals belong to samples (a capture, a pose). A sample whose residuals are far larger than the others' is an
outlier: it is found under a loss that does not follow it (soft L1; Triggs et al., "Bundle adjustment - a modern
synthesis", 2000, section 4.3), named, and the fit is repeated without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import least_squares

from kinema.errors import CalibrationError
from kinema.geometry import Array

_FAR = 4.0  # times the median misfit of a sample: beyond it is an outlier
_MOST = 1 / 3  # [-] of the samples that may be outliers
_SINGULAR = 1e-9  # of the normalised Jacobian's smallest singular value to its largest


@dataclass(frozen=True, eq=False, slots=True)
class Fit:
    """What came of a fit of p parameters to n samples.

    parameters  (p,), in the solver's units
    covariance  (p, p), from the Jacobian and the residuals of the samples that were used
    misfits     by sample's number (0 for a number that is none): RMS of its residuals, in their unit; of outliers too
    outliers    numbers of the samples that were left out
    rms         of all residuals that were used
    """

    parameters: Array
    covariance: Array
    misfits: Array
    outliers: tuple[int, ...]
    rms: float

    @property
    def std(self) -> Array:
        """Standard deviation (p,) of every parameter."""
        return np.sqrt(np.diag(self.covariance))


def _misfits(residuals: Array, owner: Array, count: int) -> Array:
    squares = np.bincount(owner, weights=residuals**2, minlength=count)
    return np.sqrt(squares / np.maximum(np.bincount(owner, minlength=count), 1))


def _covariance(jacobian: Array, residuals: Array, names: Sequence[str]) -> Array:
    rows, columns = jacobian.shape
    if rows <= columns:
        raise CalibrationError(f"{rows} measured numbers for {columns} unknown ones; take more samples")
    length = np.linalg.norm(jacobian, axis=0)
    if not length.all():
        raise CalibrationError(
            f"the samples say nothing of: {names[int(np.argmin(length))]}; take more, and other ones"
        )
    _, singular, axes = np.linalg.svd(jacobian / length, full_matrices=False)
    if singular[-1] < _SINGULAR * singular[0]:
        free = [name for name, share in zip(names, axes[-1], strict=True) if abs(share) > 0.1]
        raise CalibrationError(f"the samples leave open: {', '.join(free)}; take more of them, and other ones")
    whitened = axes / singular[:, None] / length
    return (residuals @ residuals) / (rows - columns) * whitened.T @ whitened


def fit(
    residuals: Callable[[Array], Array],
    start: ArrayLike,
    owner: ArrayLike,
    names: Sequence[str],
    *,
    floor: float,
    advice: str = "",
    jacobian: Callable[[Array], Array] | None = None,
    own: ArrayLike | None = None,
) -> Fit:
    """Parameters (p,) that make `residuals(parameters)` (N,) small; `owner` (N,) is the number of each one's sample.

    floor     what a residual may be at least, in their unit: a smaller misfit never makes an outlier
    names     of the parameters, for refusals; `advice` ends the refusal of too many outliers
    jacobian  (N, p) of the residuals; None: by differences
    own       (p,) number of the sample that a parameter belongs to alone, as a pose of its board; -1 for the others.
              Those of an outlier stay as the robust fit left them, and their covariance is 0

    Raises CalibrationError where more than a third of the samples are outliers, or a parameter stays open.
    """
    owner = np.asarray(owner, int)
    count = int(owner.max()) + 1
    begin = np.asarray(start, float)

    belongs = np.full(len(begin), -1) if own is None else np.asarray(own, int)
    slope = "2-point" if jacobian is None else jacobian

    x = begin
    for _ in range(2):
        scale = max(floor, 1.5 * float(np.median(np.abs(residuals(x)))))
        x = least_squares(residuals, x, slope, x_scale="jac", loss="soft_l1", f_scale=scale).x
    misfits = _misfits(residuals(x), owner, count)
    present = np.bincount(owner, minlength=count) > 0
    outlying = misfits > np.maximum(_FAR * np.median(misfits[present]), floor)
    if outlying.sum() > _MOST * present.sum():
        listed = ", ".join(str(k) for k in np.flatnonzero(outlying))
        raise CalibrationError(
            f"samples {listed} contradict the others: more than a third of them; {advice}".rstrip("; ")
        )
    used, free = ~outlying[owner], (belongs < 0) | ~outlying[belongs]

    def whole(part: Array) -> Array:
        full = x.copy()
        full[free] = part
        return full

    done = least_squares(
        lambda part: residuals(whole(part))[used],
        x[free],
        "2-point" if jacobian is None else lambda part: jacobian(whole(part))[np.ix_(used, free)],
        x_scale="jac",
    )
    last = residuals(whole(done.x))
    covariance = np.zeros((len(x), len(x)))
    covariance[np.ix_(free, free)] = _covariance(
        done.jac, done.fun, [name for name, kept in zip(names, free, strict=True) if kept]
    )
    return Fit(
        parameters=whole(done.x),
        covariance=covariance,
        misfits=_misfits(last, owner, count),
        outliers=tuple(int(k) for k in np.flatnonzero(outlying)),
        rms=float(np.sqrt((last[used] ** 2).mean())),
    )
