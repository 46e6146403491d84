"""What differs between two calibration files of one kind, and what that means where the robot works. Pure."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from kinema.calibration.estimate import at_one_metre
from kinema.calibration.files import CameraInfo, ForceScale, Jaw, Latencies, Payload, TagMap, Transform
from kinema.geometry import Array, distance

_RIM = math.tan(math.radians(70.0))  # of a fisheye: beyond it a pixel shows nothing
_GRID = 9  # points each way over an image
_DERIVED = ("provenance", "projection_matrix", "rectification_matrix")  # says nothing of its own


def numbers(value: Any, name: str = "") -> dict[str, float | str]:
    """Every number and word of a file by its place in it, as `left.position.0`; provenance apart."""
    if isinstance(value, Mapping):
        rows = [numbers(v, f"{name}.{k}" if name else str(k)) for k, v in value.items() if name or k not in _DERIVED]
    elif isinstance(value, list | tuple):
        rows = [numbers(v, f"{name}.{k}") for k, v in enumerate(value)]
    else:
        return {name: value if isinstance(value, float | int) else str(value)}
    return {key: row[key] for row in rows for key in row}


def changes(before: Any, after: Any) -> dict[str, tuple[float | str | None, float | str | None]]:
    """What stands differently in two files, by its place; None where it doesn't stand."""
    old, new = numbers(before.model_dump(mode="json")), numbers(after.model_dump(mode="json"))
    return {key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)}


def _rays(camera: CameraInfo) -> Array:
    """(n, 3) of a grid over the image, where it shows something."""
    width, height = camera.size
    grid = np.stack(np.meshgrid(np.linspace(0, width - 1, _GRID), np.linspace(0, height - 1, _GRID)), -1).reshape(-1, 2)
    rays = camera.rays(grid)
    return rays[np.hypot(rays[:, 0], rays[:, 1]) < _RIM]


def _cameras(before: CameraInfo, after: CameraInfo) -> str:
    if before.size != after.size:
        return f"another image size: {before.size}, {after.size} px"
    rays = _rays(before)
    off = np.linalg.norm(after.project(rays) - before.project(rays), axis=1)
    metres = off.max() / before.matrix[0, 0]
    return f"pixels move by {off.mean():.2f} px, at most {off.max():.2f} px: {1e3 * metres:.1f} mm at 1 m"


def _transforms(before: Transform, after: Transform) -> str:
    moved, turned = distance(before.pose, after.pose)
    return (
        f"moved by {1e3 * moved:.2f} mm, turned by {math.degrees(turned):.3f} deg: "
        f"up to {1e3 * (moved + turned):.2f} mm at 1 m"
    )


def _jaws(before: Jaw, after: Jaw) -> str:
    pairs = ((before.left, after.left), (before.right, after.right))
    moved = [np.linalg.norm(np.subtract(old.position, new.position)) for old, new in pairs]
    return f"tags moved by {1e3 * moved[0]:.2f} and {1e3 * moved[1]:.2f} mm"


def _forces(before: ForceScale, after: ForceScale) -> str:
    if before.unit != after.unit:
        return f"another unit: {before.unit}, {after.unit}"
    half = before.capacity / 2
    more = after.force(before.reading(half)) - after.force(before.zero) - half
    return f"half of the capacity reads {more:+.3f} N more; the zero has moved by {after.force(before.zero):+.3f} N"


def _payloads(before: Payload, after: Payload) -> str:
    moved = np.linalg.norm(np.subtract(before.centre, after.centre))
    return f"{1e3 * (after.mass - before.mass):+.0f} g, the centre moved by {1e3 * moved:.1f} mm"


def _latencies(before: Latencies, after: Latencies) -> str:
    both = before.devices.keys() & after.devices.keys()
    rows = {name: 1e3 * (after.devices[name].seconds - before.devices[name].seconds) for name in sorted(both)}
    moved = ", ".join(f"{name} {value:+.2f} ms" for name, value in rows.items() if value) or "none is another"
    lone = sorted(before.devices.keys() ^ after.devices.keys())
    return moved + (f"; only in one of them: {', '.join(lone)}" if lone else "")


def _maps(before: TagMap, after: TagMap) -> str:
    old, new = ({tag.id: tag.corners for tag in tags.tags} for tags in (before, after))
    moved = [float(np.linalg.norm(old[number] - new[number], axis=1).max()) for number in old.keys() & new.keys()]
    lone = sorted(old.keys() ^ new.keys())
    return f"corners moved by up to {1e3 * max(moved, default=0.0):.1f} mm" + (
        f"; tags in one only: {lone}" if lone else ""
    )


_MEANINGS: dict[type, Callable[[Any, Any], str]] = {
    CameraInfo: _cameras,
    Transform: _transforms,
    Jaw: _jaws,
    ForceScale: _forces,
    Payload: _payloads,
    Latencies: _latencies,
    TagMap: _maps,
}


def meaning(before: Any, after: Any) -> str:
    """In one sentence, for two files of the same kind."""
    return _MEANINGS[type(before)](before, after)


def uncertainty(value: Any) -> str:
    """What a file's residual and covariance mean, in words; '' where it holds neither."""
    provenance = value.provenance
    if isinstance(value, CameraInfo) and provenance.rms:
        return f"{provenance.rms:.3f} px: {1e3 * provenance.rms / value.matrix[0, 0]:.2f} mm at 1 m"
    if isinstance(value, Transform) and provenance.covariance and len(provenance.covariance) == 36:
        covariance = np.reshape(provenance.covariance, (6, 6))
        std = np.sqrt(np.maximum(np.diag(covariance), 0.0))
        place, turn = float(np.linalg.norm(std[:3])), float(np.linalg.norm(std[3:]))
        ahead = at_one_metre(value.pose, covariance)
        return f"deviation {1e3 * place:.2f} mm, {math.degrees(turn):.3f} deg: {ahead:.2f} mm at 1 m"
    if isinstance(value, Payload) and provenance.covariance and len(provenance.covariance) == 100:
        std = np.sqrt(np.maximum(np.diag(np.reshape(provenance.covariance, (10, 10))), 0.0))
        return f"deviation {1e3 * std[0]:.1f} g, {1e3 * float(np.linalg.norm(std[1:4])):.1f} mm"
    if isinstance(value, Latencies):
        rows = {name: row.std for name, row in value.devices.items() if row.std}
        return ", ".join(f"{name} {1e3 * std:.2f} ms" for name, std in rows.items())
    return ""
