"""Where cameras and tracker are, against the virtual cell's truth, beside plain OpenCV: rows of `calibration.py`.

Corners have the noise table's noise, the arm's joints err by 0.02 degrees, the tracker drifts and jumps. In `spoiled`
samples the arm or the board had not come to rest. Errors are the median and the worst of several draws. Wanted: stereo
0.5 mm, 0.05 degrees; hand-eye and eye-on-base with 15 poses 1 mm, 0.1 degrees; the tracker's mount 1 mm, 0.2 degrees.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from rich.table import Table

from kinema.calibration import hand_eye, stereo, tool_mount
from kinema.calibration.estimate import Estimate
from kinema.calibration.files import Transform
from kinema.errors import CalibrationError
from kinema.geometry import Pose, distance
from kinema.virtual.board_samples import BOARD, SIZE, arm_samples, pair_samples, tracker_samples
from kinema.virtual.cameras import camera, simulator_truth
from kinema.virtual.handheld import T_TCP_TRACKER

COUNTS = (25, 15, 10, 6)
DRAWS = 3
JOINT_NOISE = math.radians(0.02)

_NUDGE = Pose.from_rotvec([0.006, -0.004, 0.003], [0.0, 0.02, 0.0])  # of an arm that has not come to rest
_LATE = np.array([2.0, -3.0])  # [px] that the board went on between two pictures


def _off(errors: Sequence[tuple[float, float]]) -> list[str]:
    moved, turned = np.array(errors).T
    return [
        f"{1e3 * np.median(moved):.2f}, {1e3 * moved.max():.2f}",
        f"{np.degrees(np.median(turned)):.3f}, {np.degrees(turned.max()):.3f}",
    ]


def _table(truth: Pose, solve: Callable[[int, int, int], Estimate], spoiled: int) -> Table:
    """`solve(count, spoiled, seed)` draws the samples and solves."""
    table = Table()
    for column in ("samples", "spoiled", "mm: median, worst", "deg", "claimed mm", "at 1 m mm", "left out"):
        table.add_column(column, justify="right")
    rows = [(count, 0) for count in COUNTS] + ([(15, spoiled)] if spoiled else [])
    for place, (count, bad) in enumerate(rows):
        found, refused = [], ""
        for seed in range(DRAWS):
            try:
                found.append(solve(count, bad, seed))
            except CalibrationError as error:
                refused = str(error)
        if not found:
            table.add_row(str(count), str(bad), f"refused: {refused[:60]}")
            continue
        if place == 0:
            for method in found[0].plain:
                table.add_column(f"OpenCV {method}: mm", justify="right")
        claimed = np.median([1e3 * float(np.linalg.norm(one.std[:3])) for one in found])
        at_one_metre = np.median([one.at_one_metre for one in found])
        left_out = "; ".join(",".join(map(str, one.outliers)) for one in found if one.outliers)
        plain = [_off([distance(truth, one.plain[name].T) for one in found])[0] for name in found[0].plain]
        own = _off([distance(truth, one.T) for one in found])
        few = "" if len(found) == DRAWS else f" ({DRAWS - len(found)} of {DRAWS} refused)"
        table.add_row(f"{count}{few}", str(bad), *own, f"{claimed:.2f}", f"{at_one_metre:.2f}", left_out, *plain)
    return table


def stereo_cameras() -> Table:
    infos = camera("left").info(SIZE), camera("right").info(SIZE)
    truth = camera("left").T_mount_camera.inverse() @ camera("right").T_mount_camera

    def solve(count: int, spoiled: int, seed: int) -> Estimate:
        samples = pair_samples("left", "right", count, seed)
        for k in range(spoiled):
            samples[k] = samples[k][0], replace(samples[k][1], pixels=samples[k][1].pixels + _LATE)
        return stereo.calibrate(samples, *infos, BOARD, apart=0.66, second_is_right=True)

    return _table(truth, solve, 2)


def _arm(name: str, mount: hand_eye.Mount) -> Table:
    row = camera(name)

    def solve(count: int, spoiled: int, seed: int) -> Estimate:
        samples = arm_samples(name, count, seed, joint_noise=JOINT_NOISE)
        for k in range(spoiled):
            samples[k] = replace(samples[k], T_base_tcp=samples[k].T_base_tcp @ _NUDGE)
        return hand_eye.calibrate(samples, row.info(SIZE), BOARD, mount).camera

    return _table(row.T_mount_camera, solve, 2)


def hand_eye_camera() -> Table:
    return _arm("gripper", "tcp")


def eye_on_base() -> Table:
    return _arm("left", "base_link")


def trackers_mount() -> Table:
    row = camera("gripper")
    mount = Transform.of("tcp", row.frame_id, row.T_mount_camera, simulator_truth(row.serial))

    def solve(count: int, spoiled: int, seed: int) -> Estimate:
        return tool_mount.tool_mount(tracker_samples(count, seed), row.info(SIZE), BOARD, mount).tcp

    return _table(T_TCP_TRACKER.inverse(), solve, 0)


ROWS: dict[str, Callable[[], Table]] = {
    "stereo": stereo_cameras,
    "hand_eye": hand_eye_camera,
    "eye_on_base": eye_on_base,
    "tool_mount": trackers_mount,
}
