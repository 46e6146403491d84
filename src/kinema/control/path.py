"""The path of one chunk: its targets joined smoothly in time, with jaw width and grasp force beside them.

Position and rotation are cubic Hermite pieces with the tangents of a parabola through three neighbours (Bessel), so
every target is hit and the twist is continuous. Rotations are interpolated in exponential coordinates about the piece's
beginning. Path time is in seconds of the stretched chunk; 0 is the observation in overlap mode.
"""

from bisect import bisect_right

import numpy as np
import pinocchio as pin

from kinema.chunk import ActionChunk
from kinema.control.motion import Reference
from kinema.geometry import Array, Pose


def speeds(times: Array, positions: Array, rotations: Array) -> tuple[Array, Array]:
    """Linear and angular speed [m/s, rad/s] from knot to knot."""
    spans = np.diff(times)
    turned = np.einsum("nij,nij->n", rotations[1:], rotations[:-1])
    angles = np.arccos(np.clip((turned - 1) / 2, -1.0, 1.0))
    return np.linalg.norm(np.diff(positions, axis=0), axis=1) / spans, angles / spans


def first_gap(chunk: ActionChunk) -> float:
    """[s] from the anchor to step 0."""
    return chunk.offset if chunk.offset > 0 else chunk.dt


def knots(chunk: ActionChunk) -> tuple[Array, Array]:
    """Positions (n + 1, 3) and rotations (n + 1, 3, 3) of the anchor and the executable steps, in base_link."""
    anchor, n = chunk.T_base_tcp_t0, chunk.executable
    positions, rotations = np.empty((n + 1, 3)), np.empty((n + 1, 3, 3))
    positions[0], rotations[0] = anchor.position, anchor.rotation
    positions[1:] = chunk.T_rel[:n, :3, 3] @ anchor.rotation.T + anchor.position
    rotations[1:] = anchor.rotation @ chunk.T_rel[:n, :3, :3]
    return positions, rotations


class Path:
    """Knots at `times`; `begin` is the step of the first, -1 for the anchor.

    from_rest  the path begins without speed (stop-and-go) instead of at the first piece's
    """

    def __init__(
        self,
        times: Array,
        positions: Array,
        rotations: Array,
        widths: Array,
        forces: Array,
        from_rest: bool,
        begin: int = -1,
    ):
        self._begin = begin
        self.times, self._widths, self._forces = times.tolist(), widths.tolist(), forces.tolist()
        self._rotations = rotations
        self._pieces = _pieces(times, positions, rotations, from_rest)

    @property
    def end(self) -> float:
        return self.times[-1]

    def step(self, s: float) -> int:
        """The last step that is due at path time s, -1 for none; before the path it is the one before its first."""
        return max(bisect_right(self.times, s + 1e-9) - 1 + self._begin, -1)

    def reference(self, s: float, rate: float, rate_change: float) -> Reference:
        """At path time s [s], while path time runs at `rate` [s/s] and that changes at `rate_change` [1/s]."""
        k, s, inside = self._piece(s)
        t = s - self.times[k]
        if not inside:
            rate = rate_change = 0.0
        x, twist, acceleration = self._pieces[k] @ np.array((1.0, t, t * t, t * t * t))
        turn = x[3:]
        jacobian = pin.Jexp3(-turn)  # the left Jacobian: rates of exponential coordinates to angular velocity
        twist[3:], acceleration[3:] = jacobian @ twist[3:], jacobian @ acceleration[3:]
        pose = Pose(x[:3], pin.exp3(turn) @ self._rotations[k])
        if rate == 1.0 and rate_change == 0.0:
            return Reference(pose, twist, acceleration)
        return Reference(pose, rate * twist, rate * rate * acceleration + rate_change * twist)

    def width(self, s: float) -> float:
        return self._between(self._widths, s)

    def force(self, s: float) -> float:
        return self._between(self._forces, s)

    def _piece(self, s: float) -> tuple[int, float, bool]:
        held = min(max(s, self.times[0]), self.times[-1])
        return min(max(bisect_right(self.times, held) - 1, 0), len(self.times) - 2), held, held == s

    def _between(self, values: list[float], s: float) -> float:
        k, s, _ = self._piece(s)
        u = (s - self.times[k]) / (self.times[k + 1] - self.times[k])
        return values[k] + u * (values[k + 1] - values[k])


def _pieces(times: Array, positions: Array, rotations: Array, from_rest: bool) -> Array:
    """Coefficients (pieces, 3, 6, 4) of 1, t, t^2, t^3 for position and exponential coordinates, and their first two
    derivatives; t [s] from the beginning of the piece."""
    h = np.diff(times)[:, None]
    change = np.empty((len(h), 6))
    change[:, :3] = np.diff(positions, axis=0)
    for k in range(len(h)):
        change[k, 3:] = pin.log3(rotations[k + 1] @ rotations[k].T)
    slopes = change / h
    tangents = np.empty((len(times), 6))
    tangents[1:-1] = (h[1:] * slopes[:-1] + h[:-1] * slopes[1:]) / (h[:-1] + h[1:])
    tangents[0], tangents[-1] = (0.0 if from_rest else slopes[0]), slopes[-1]
    leave, arrive = h * tangents[:-1], h * tangents[1:]
    for k, turn in enumerate(change[:, 3:]):
        arrive[k, 3:] = pin.Jlog3(pin.exp3(-turn)) @ arrive[k, 3:]  # inverse left Jacobian
    pieces = np.zeros((len(h), 3, 6, 4))
    pieces[:, 0, :3, 0] = positions[:-1]
    pieces[:, 0, :, 1] = leave / h
    pieces[:, 0, :, 2] = (3 * change - 2 * leave - arrive) / h**2
    pieces[:, 0, :, 3] = (leave + arrive - 2 * change) / h**3
    pieces[:, 1, :, :3] = pieces[:, 0, :, 1:] * [1.0, 2.0, 3.0]
    pieces[:, 2, :, :2] = pieces[:, 1, :, 1:3] * [1.0, 2.0]
    return pieces


def slowed(speed: tuple[Array, Array], most: tuple[float, float]) -> float:
    """How many times slower a chunk must be played for its speeds to keep the limits (1: as it is)."""
    return max(1.0, float(speed[0].max()) / most[0], float(speed[1].max()) / most[1])
