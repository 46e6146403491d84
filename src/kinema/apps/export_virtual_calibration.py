"""Write `calibration/virtual/` from the virtual cell's tables, labelled as simulator truth.

A file whose numbers are already right is left alone, so that running this twice changes nothing.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from kinema import paths
from kinema.calibration.bundle import FRAMES, LATENCY, LOAD_CELL, PAYLOAD, SIDE_CAMERAS, STEREO, CalibrationFile
from kinema.calibration.files import Jaw, JawTag, Latencies, Latency, Payload, Transform, load, save_all
from kinema.errors import CalibrationError
from kinema.robots import GRIPPER
from kinema.virtual import load_cell
from kinema.virtual.cameras import CAMERAS, SIZES, TAG_DICTIONARY, TAGS, simulator_truth
from kinema.virtual.handheld import T_BASE_TCP_START, T_BASE_WORLD, T_TCP_TRACKER, TRACKER_SERIAL

JAW_SERIAL = "VIRTUAL-JAW"
OTHER_SERIALS = {"arm": "VIRTUAL-ARM", "jaw": JAW_SERIAL, "load_cell": load_cell.SERIAL, "tracker": TRACKER_SERIAL}

_NATIVE_SIZE = max(SIZES)


def virtual_calibration() -> dict[str, CalibrationFile]:
    """Every calibration file of the virtual cell by its name."""
    files: dict[str, CalibrationFile] = {}
    for row in CAMERAS.values():
        mount = row.mount.removesuffix("_link")
        truth = simulator_truth(row.serial)
        files[f"{row.name}.yaml"] = row.info(_NATIVE_SIZE)
        files[f"T_{mount}_{row.name}.yaml"] = Transform.of(row.mount, row.frame_id, row.T_mount_camera, truth)
    left, right = (CAMERAS[name] for name in SIDE_CAMERAS)
    T_left_right = left.T_mount_camera.inverse() @ right.T_mount_camera
    both = simulator_truth(f"{left.serial} {right.serial}")
    files[STEREO.file] = Transform.of(*FRAMES[STEREO.file], T_left_right, both)
    tracker = simulator_truth(TRACKER_SERIAL)
    files["T_tracker_tcp.yaml"] = Transform.of("tracker", "tcp", T_TCP_TRACKER.inverse(), tracker)
    files["T_base_world.yaml"] = Transform.of("base_link", "world", T_BASE_WORLD, tracker)
    files["T_base_dock.yaml"] = Transform.of("base_link", "dock", T_BASE_TCP_START, tracker)
    left_tag, right_tag = (JawTag.of(tag.id, tag.size, tag.side, tag.T_tcp_tag(0.0)) for tag in TAGS)
    files["jaw.yaml"] = Jaw(
        dictionary=TAG_DICTIONARY,
        stroke=GRIPPER.stroke,
        left=left_tag,
        right=right_tag,
        provenance=simulator_truth(JAW_SERIAL),
    )
    files[PAYLOAD.file] = Payload(
        mass=GRIPPER.mass,
        centre=(0.0, 0.0, GRIPPER.com),
        force_bias=(0.0, 0.0, 0.0),
        torque_bias=(0.0, 0.0, 0.0),
        provenance=simulator_truth(OTHER_SERIALS["arm"]),
    )
    files[LOAD_CELL.file] = load_cell.SCALE
    devices = {row.name: Latency(serial=row.serial, seconds=row.latency) for row in CAMERAS.values()}
    devices |= {name: Latency(serial=serial, seconds=0.0) for name, serial in OTHER_SERIALS.items()}
    files[LATENCY.file] = Latencies(devices=devices, provenance=simulator_truth("VIRTUAL-CELL"))
    return files


def _up_to_date(path: Path, wanted: CalibrationFile) -> bool:
    try:
        return load(path, type(wanted), remedy="") == wanted
    except CalibrationError:
        return False


def export(folder: Path) -> Mapping[str, bool]:
    """Write what is not up to date; returns for each file whether it was written."""
    files = virtual_calibration()
    written = {name: not _up_to_date(folder / name, wanted) for name, wanted in files.items()}
    save_all(folder, {name: wanted for name, wanted in files.items() if written[name]})
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="default: calibration/virtual of the checkout")
    folder = parser.parse_args().folder or paths.root() / "calibration" / "virtual"
    for name, written in export(folder).items():
        print(f"{'written' if written else 'current'}  {folder / name}")


if __name__ == "__main__":
    main()
