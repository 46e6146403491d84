"""How late a device is, from motion: what it measured against what was commanded, or measured by another. Pure.

Two streams of one motion, each with its own stamps: `measured` follows `reference` by a lag,

    measured(t) = A reference(t - lag) + b

A is any matrix: units, gains, axes and mounts need not be known, so where a board is in a camera's frame fits where an
arm carries it. Increments over a tenth of a second are compared instead of places: a tracker's drift drops out, and its
jump spoils only the increments that it falls into. The whole range of lags is searched by the part that is left
unexplained, as cross-correlation does (Knapp and Carter, "The generalized correlation method for estimation of time
delay", 1976); the best is then refined between samples by least squares on a spline of the reference.
"""

import datetime
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from kinema import __version__
from kinema.calibration.files import Latencies, Latency, Provenance
from kinema.calibration.fit import fit
from kinema.errors import CalibrationError
from kinema.geometry import Array

WINDOW = (-0.1, 0.5)  # [s] in which a lag is looked for; a stamp that is corrected too much gives a negative one
UNSURE = 0.002  # [s] standard deviation that a lag may have

_INCREMENT = 0.1  # [s] over which motion is compared
_LONGEST = 1.5  # times that: across a gap nothing is compared
_STEP = 0.002  # [s] of the search
_SAMPLES = 40
_SPAN = 2.0  # [s] that both have to cover, at least
_SPEED = 0.25  # [m/s] of a hand or an arm, for what a latency means
_UNEXPLAINED = 0.2  # [-] of the measured increments' squares
_MOVES = 0.02  # [-] of the motion along the widest direction: less is none
_RIVAL = 0.05  # [s] away from the best lag: another dip of the curve
_REMEDY = "move fast and unevenly, in several directions, to and fro, for ten seconds or more"


@dataclass(frozen=True, eq=False, slots=True)
class Motion:
    """One stream of a motion: `times` (n,) [s], rising; `values` (n, d) in any unit."""

    times: Array
    values: Array

    @staticmethod
    def of(what: str, times: ArrayLike, values: ArrayLike) -> "Motion":
        """Checked; values (n,) count as (n, 1). Raises CalibrationError naming `what`."""
        t, v = np.asarray(times, float), np.asarray(values, float)
        v = v.reshape(len(v), -1)
        if t.shape != (len(v),) or len(t) < _SAMPLES:
            raise CalibrationError(f"{what}: {len(t)} times, {len(v)} values, needed are {_SAMPLES} of both; {_REMEDY}")
        if not (np.isfinite(t).all() and np.isfinite(v).all()):
            raise CalibrationError(f"{what}: a time or a value is not a number")
        if not (np.diff(t) > 0.0).all():
            raise CalibrationError(f"{what}: times do not rise; they are stamps of acquisition, one a sample, in order")
        return Motion(t, v)


@dataclass(frozen=True, eq=False, slots=True)
class LagResult:
    """`seconds` by which the measured motion comes after the reference, and how sure that is.

    std          [s]
    unexplained  [-] part of the measured increments' squares
    rms          of the increments' residuals, in the measured stream's unit
    samples      increments that were used; outliers: stamps [s] at the ends of those that were not
    plain        [s] by cross-correlation of the speeds on the slower stream's grid; of a clock, the mean difference
    """

    seconds: float
    std: float
    unexplained: float
    rms: float
    samples: int
    outliers: tuple[float, ...]
    plain: float

    def millimetres(self, speed: float) -> float:
        """What the uncertainty means at a speed [m/s]."""
        return 1e3 * self.std * speed

    def report(self) -> str:
        """Some lines for a person."""
        lines = [
            f"{1e3 * self.seconds:.2f} ms, deviation {1e3 * self.std:.2f} ms: {self.millimetres(_SPEED):.2f} mm at "
            f"{_SPEED:g} m/s",
            f"{self.samples} samples, residual {self.rms:.3g} in the measured unit, "
            f"{100 * self.unexplained:.2f} % of the motion unexplained",
            f"plain: {1e3 * self.plain:.2f} ms",
        ]
        if self.outliers:
            lines.append(f"left out: {len(self.outliers)} samples, from {self.outliers[0]:.2f} s on")
        return "\n".join(lines)


def _increments(motion: Motion) -> tuple[np.ndarray, np.ndarray]:
    """Indices (m,) of each increment's two ends, about _INCREMENT apart."""
    ends = np.searchsorted(motion.times, motion.times + _INCREMENT - 1e-9)
    begins = np.flatnonzero(ends < len(motion.times))
    ends = ends[begins]
    kept = motion.times[ends] - motion.times[begins] < _LONGEST * _INCREMENT
    return begins[kept], ends[kept]


def _directions(reference: Motion) -> Array:
    """(n, k) the values along the principal directions in which they move; an arm's other axes hold but noise."""
    begins, ends = _increments(reference)
    _, singular, axes = np.linalg.svd(reference.values[ends] - reference.values[begins], full_matrices=False)
    return reference.values @ axes[singular > _MOVES * singular[0]].T


class _Comparison:
    """The measured increments (m, d_y), and the reference's at any lag."""

    def __init__(self, reference: Motion, measured: Motion, window: tuple[float, float]) -> None:
        self._spline = CubicSpline(reference.times, _directions(reference))
        begins, ends = _increments(measured)
        t0, t1 = measured.times[begins], measured.times[ends]
        inside = (t0 - window[1] >= reference.times[0]) & (t1 - window[0] <= reference.times[-1])
        self.begin, self.end = t0[inside], t1[inside]
        self.values = (measured.values[ends] - measured.values[begins])[inside]
        if len(self.end) < _SAMPLES or self.end[-1] - self.begin[0] < _SPAN:
            raise CalibrationError(
                f"the two streams overlap in {len(self.end)} increments, needed are {_SAMPLES} over {_SPAN:g} s and "
                f"{window[1] - window[0]:g} s of the reference around them; {_REMEDY}"
            )

    def reference(self, lag: float) -> Array:
        """(m, d_x)"""
        return self._spline(self.end - lag) - self._spline(self.begin - lag)

    def jacobian(self, x: Array) -> Array:
        """(m d_y, 1 + d_y d_x) of `reference @ A` by lag and gains."""
        rate = self._spline(self.begin - x[0], 1) - self._spline(self.end - x[0], 1)
        width = self.values.shape[1]
        by_lag = rate @ x[1:].reshape(width, -1).T
        by_gain = np.kron(self.reference(x[0]), np.eye(width)).reshape(len(rate), width, -1, width).swapaxes(2, 3)
        return np.hstack([by_lag.reshape(-1, 1), by_gain.reshape(len(rate) * width, -1)])

    def gain(self, lag: float) -> Array:
        """A (d_y, d_x) of that lag."""
        return np.linalg.lstsq(self.reference(lag), self.values, rcond=None)[0].T

    def unexplained(self, lag: float) -> float:
        """[-] of the measured increments' squares."""
        residuals = self.values - self.reference(lag) @ self.gain(lag).T
        return float((residuals**2).sum() / (self.values**2).sum())


def _plain(reference: Motion, measured: Motion, window: tuple[float, float]) -> float:
    """The peak of the cross-correlation of the two speeds on the slower one's grid."""
    step = max(float(np.median(np.diff(motion.times))) for motion in (reference, measured))
    begin, end = max(reference.times[0], measured.times[0]), min(reference.times[-1], measured.times[-1])
    grid = np.arange(begin, end, step)
    speeds = []
    for motion in (reference, measured):
        values = np.stack([np.interp(grid, motion.times, column) for column in motion.values.T], axis=1)
        speed = np.linalg.norm(np.gradient(values, axis=0), axis=1)
        speeds.append(speed - speed.mean())
    curve = np.correlate(speeds[1], speeds[0], "full")
    lags = (np.arange(len(curve)) - len(grid) + 1) * step
    inside = (lags >= window[0]) & (lags <= window[1])
    return float(lags[inside][np.argmax(curve[inside])])


def _std(jacobian: Array, residuals: Array, width: int) -> float:
    """[s] of the lag, column 0 of the Jacobian (N, p) of residuals (N,), `width` of them an increment.

    Neighbouring increments share their errors: the sum of the scores' autocovariances stands for their variance (Newey
    and West, "A simple, positive semi-definite, heteroskedasticity and autocorrelation consistent covariance matrix",
    1987).
    """
    lag_column, others = jacobian[:, 0], jacobian[:, 1:]
    own = lag_column - others @ np.linalg.lstsq(others, lag_column, rcond=None)[0]  # what no gain can imitate
    scores = (own * residuals).reshape(-1, width).sum(1)
    depth = max(1, round(len(scores) ** 0.5))
    variance = float(scores @ scores)
    for shift in range(1, depth):
        variance += 2.0 * (1.0 - shift / depth) * float(scores[shift:] @ scores[:-shift])
    return math.sqrt(max(variance, float(scores @ scores))) / float(own @ own)


def _search(comparison: _Comparison, window: tuple[float, float]) -> float:
    """The lag that explains most, if it stands alone."""
    lags = np.arange(window[0], window[1] + _STEP / 2, _STEP)
    left = np.array([comparison.unexplained(lag) for lag in lags])
    best = int(np.argmin(left))
    if left[best] > _UNEXPLAINED:
        raise CalibrationError(
            f"the measured motion does not follow the reference: at the best lag, {1e3 * lags[best]:.0f} ms, "
            f"{100 * left[best]:.0f} % of it stay unexplained, allowed are {100 * _UNEXPLAINED:.0f} %; are these the "
            f"two streams of one motion? {_REMEDY}"
        )
    if best in (0, len(lags) - 1):
        raise CalibrationError(
            f"the best lag lies at the end of the search, {1e3 * lags[best]:.0f} ms; look after the stamps' clocks"
        )
    dips = np.flatnonzero((left[1:-1] <= left[:-2]) & (left[1:-1] <= left[2:])) + 1
    for dip in dips:
        if abs(lags[dip] - lags[best]) > _RIVAL and left[dip] < 2.0 * left[best] + 0.01:
            raise CalibrationError(
                f"lags of {1e3 * lags[best]:.0f} and of {1e3 * lags[dip]:.0f} ms explain the motion alike: it repeats "
                f"itself; {_REMEDY}"
            )
    return float(lags[best])


def lag(reference: Motion, measured: Motion, window: tuple[float, float] = WINDOW) -> LagResult:
    """By how much `measured` comes after `reference`, looked for within `window` [s].

    Raises CalibrationError where motion is missing, unlike, or says nothing of time.
    """
    for what, motion in (("the reference", reference), ("the measured stream", measured)):
        if not np.ptp(motion.values, axis=0).any():
            raise CalibrationError(f"{what} does not move; {_REMEDY}")
    comparison = _Comparison(reference, measured, window)
    first = _search(comparison, window)
    width, count = comparison.values.shape[1], comparison.reference(first).shape[1]

    def residuals(x: Array) -> Array:
        return (comparison.reference(x[0]) @ x[1:].reshape(width, count).T - comparison.values).ravel()

    names = ["lag", *(f"gain {row}, {column}" for row in range(width) for column in range(count))]
    owner = np.repeat(np.arange(len(comparison.values)), width)
    start = np.concatenate([[first], comparison.gain(first).ravel()])
    found = fit(residuals, start, owner, names, floor=1e-9, advice=_REMEDY)
    left_out = np.array(found.outliers, int)
    used = np.delete(np.arange(len(comparison.values)), left_out)
    left = residuals(found.parameters).reshape(-1, width)[used]
    std = _std(comparison.jacobian(found.parameters)[np.isin(owner, used)], left.ravel(), width)
    if std > UNSURE:
        raise CalibrationError(
            f"the lag comes out as {1e3 * found.parameters[0]:.1f} ms with a deviation of {1e3 * std:.1f} ms, allowed "
            f"are {1e3 * UNSURE:g} ms; {_REMEDY}"
        )
    return LagResult(
        seconds=float(found.parameters[0]),
        std=std,
        unexplained=float((left**2).sum() / (comparison.values[used] ** 2).sum()),
        rms=found.rms,
        samples=len(used),
        outliers=tuple(comparison.end[left_out].tolist()),
        plain=_plain(reference, measured, window),
    )


def displayed_clock(stamps: ArrayLike, shown: ArrayLike, period: float, display: float = 0.0) -> LagResult:
    """A camera's lag from pictures of a display that shows Kinema time: `stamps` and times read off (n,), both [s].

    period   [s] of the display's refresh: what it shows is between nothing and that much old
    display  [s] from the display's refresh to its light, of its data sheet or a photodiode

    Raises CalibrationError where pictures are few, or don't meet the display at all moments of its refresh alike.
    """
    late = np.asarray(stamps, float) - np.asarray(shown, float)
    if len(late) < _SAMPLES or not np.isfinite(late).all():
        raise CalibrationError(f"{len(late)} pictures of the clock, needed are {_SAMPLES}, with times that are numbers")
    off = np.abs(late - np.median(late)) > 1.1 * period
    if off.mean() > 1 / 3:
        raise CalibrationError(
            f"the shown times spread by more than one refresh of {1e3 * period:.1f} ms: the display skips, or its "
            "clock is not Kinema time"
        )
    if not WINDOW[0] < float(np.median(late)) - display < WINDOW[1]:
        raise CalibrationError(
            f"the pictures show times {1e3 * float(np.median(late)):.0f} ms before their stamps, allowed are "
            f"{1e3 * WINDOW[0]:.0f} to {1e3 * WINDOW[1]:.0f} ms: the screen's clock is not this machine's Kinema time"
        )
    good = late[~off]
    # what is shown is 0..period old: the lag is at most the smallest difference, at least the largest less a period
    least, most = float(good.max()) - period, float(good.min())
    std = abs(most - least) / math.sqrt(12)
    if std > UNSURE:
        raise CalibrationError(
            f"the pictures meet the display within {1e3 * np.ptp(good):.1f} ms of its refresh of {1e3 * period:.1f} "
            "ms: the two run in step; take pictures for longer, or change the camera's rate a little"
        )
    return LagResult(
        seconds=(least + most) / 2 - display,
        std=std,
        unexplained=0.0,
        rms=float(good.std()),
        samples=len(good),
        outliers=tuple(np.asarray(stamps, float)[off].tolist()),
        plain=float(late.mean()),
    )


def updated(
    file: Latencies | None, device: str, serial: str, found: LagResult, date: datetime.date, cell: str
) -> Latencies:
    """The latency file with a device's row measured anew, on top of what its driver takes off the stamps already.

    `cell` names the cell of a new file. The file is as old as its oldest row, and measured if all of it is.
    """
    rows = dict(file.devices) if file else {}
    before = rows[device].seconds if device in rows and rows[device].serial == serial else 0.0
    seconds = before + found.seconds
    if seconds < -UNSURE:
        raise CalibrationError(
            f"{device} would be {1e3 * seconds:.1f} ms early, allowed are 0 ms and more: another device's latency, or "
            "the clock that it is compared with, is wrong"
        )
    rows[device] = Latency(serial=serial, seconds=round(max(seconds, 0.0), 6), std=round(found.std, 6), date=date)
    oldest = min(row.date or (file.provenance.date if file else date) for row in rows.values())
    return Latencies(
        devices=rows,
        provenance=Provenance(
            serial=file.provenance.serial if file else cell,
            date=oldest,
            origin=file.provenance.origin if file else "measured",
            software_version=__version__,
            samples=found.samples,
            rms=max(row.std for row in rows.values()),
        ),
    )
