"""All calibration of one cell, loaded at once, so that activation refuses before anything moves (FAULTS F23)."""

import contextlib
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kinema import __version__
from kinema.calibration.files import (
    CameraInfo,
    File,
    ForceScale,
    Jaw,
    Latencies,
    Latency,
    Payload,
    Provenance,
    TagMap,
    Transform,
    load,
    save,
    set_aside,
)
from kinema.errors import CalibrationError
from kinema.geometry import Pose

SIDE_CAMERAS = ("left", "right")
_STUCK = "no override lets it pass; where the device was replaced, `kinema calibration retire` takes it out of force"
GRIPPER_CAMERA = "gripper"

CalibrationFile = CameraInfo | Transform | Jaw | ForceScale | Latencies | Payload | TagMap


@dataclass(frozen=True, slots=True)
class Kind:
    """One calibration file: its schema, the device that it belongs to (or two), and the service that makes it."""

    file: str
    schema: type[CalibrationFile]
    device: str
    service: str

    @property
    def remedy(self) -> str:
        return (
            f"make it with the service {self.service}, "
            "for the virtual cell with python -m kinema.apps.export_virtual_calibration"
        )

    def serial(self, serials: Mapping[str, str]) -> str | None:
        """What stands in the file, by the devices' serial numbers; None where one of them has none."""
        found = [serials[device] for device in self.device.split() if device in serials]
        return " ".join(found) if len(found) == len(self.device.split()) else None


def _session(what: str) -> str:
    return f"stereo_calibration/start_session (what: {what})"


JAW = Kind("jaw.yaml", Jaw, "jaw", "jaw_tracker/calibrate_jaw, the jaw closed and opened fully just before")
KINDS = (
    Kind("gripper.yaml", CameraInfo, "gripper", _session("fisheye")),
    Kind("left.yaml", CameraInfo, "left", _session("intrinsics")),
    Kind("right.yaml", CameraInfo, "right", _session("intrinsics")),
    Kind("T_tcp_gripper.yaml", Transform, "gripper", _session("hand_eye")),
    Kind("T_base_left.yaml", Transform, "left", _session("eye_on_base")),
    Kind("T_base_right.yaml", Transform, "right", _session("eye_on_base")),
    JAW,
    Kind("T_tracker_tcp.yaml", Transform, "tracker", _session("tool_mount")),
    Kind("T_base_world.yaml", Transform, "tracker", _session("tracker_world")),
    Kind("T_base_dock.yaml", Transform, "tracker", _session("dock")),
)
LATENCY = Kind("latency.yaml", Latencies, "cell", _session("latency"))
LOAD_CELL = Kind("load_cell.yaml", ForceScale, "load_cell", "load_cell/calibrate")  # of backends that read a bridge
PAYLOAD = Kind("payload.yaml", Payload, "arm", _session("payload"))  # what the cell file and the controller are told
STEREO = Kind("T_left_right.yaml", Transform, " ".join(SIDE_CAMERAS), _session("stereo"))  # the side cameras' check
ALL = {kind.file: kind for kind in (*KINDS, LATENCY, LOAD_CELL, PAYLOAD, STEREO)}
FRAMES = {
    "T_tcp_gripper.yaml": ("tcp", "gripper_optical_frame"),
    "T_base_left.yaml": ("base_link", "left_optical_frame"),
    "T_base_right.yaml": ("base_link", "right_optical_frame"),
    "T_tracker_tcp.yaml": ("tracker", "tcp"),
    "T_base_world.yaml": ("base_link", "world"),
    "T_base_dock.yaml": ("base_link", "dock"),
    "T_left_right.yaml": ("left_optical_frame", "right_optical_frame"),
}


@dataclass(frozen=True, slots=True)
class Bundle:
    """The calibration of the devices that were asked for; what was not asked for raises CalibrationError.

    `missing` names files that are not there, which only an override lets pass; no latency is then 0.
    """

    folder: Path
    files: Mapping[str, CalibrationFile]
    latencies: Latencies
    missing: tuple[str, ...] = ()

    def _get(self, file: str, kind: type[File]) -> File:
        value = self.files.get(file)
        if file in self.missing:
            remedy = next(row.remedy for row in KINDS if row.file == file)
            raise CalibrationError(f"{self.folder / file}: is missing, and no override stands in for it; {remedy}")
        if not isinstance(value, kind):
            raise CalibrationError(
                f"{self.folder / file}: was not loaded, its device is not in this cell; loaded: {', '.join(self.files)}"
            )
        return value

    def camera(self, name: str) -> CameraInfo:
        return self._get(f"{name}.yaml", CameraInfo)

    def T_base_camera(self, name: str) -> Pose:
        """Pose of a side camera's optical frame in base_link."""
        return self._get(f"T_base_{name}.yaml", Transform).pose

    def T_tcp_camera(self, name: str = GRIPPER_CAMERA) -> Pose:
        """Pose of the gripper camera's optical frame in tcp: the hand-eye transform."""
        return self._get(f"T_tcp_{name}.yaml", Transform).pose

    @property
    def T_tracker_tcp(self) -> Pose:
        """The tracker's mount on the handheld gripper."""
        return self._get("T_tracker_tcp.yaml", Transform).pose

    @property
    def T_base_world(self) -> Pose:
        """Where the tracker's world stands to the arm's base."""
        return self._get("T_base_world.yaml", Transform).pose

    @property
    def T_base_dock(self) -> Pose:
        """The TCP's pose while the handheld gripper rests in its dock."""
        return self._get("T_base_dock.yaml", Transform).pose

    @property
    def jaw(self) -> Jaw:
        return self._get("jaw.yaml", Jaw)

    def latency(self, device: str) -> float:
        """[s]; raises CalibrationError for a device that the file does not hold."""
        row = self.latencies.devices.get(device)
        if row is None:
            raise CalibrationError(
                f"{self.folder / LATENCY.file}: devices.{device} is missing; "
                f"there are: {', '.join(self.latencies.devices)}; {LATENCY.remedy}"
            )
        return row.seconds


def _checked(
    folder: Path, kind: Kind, serial: str | None, today: datetime.date | None, override: bool
) -> CalibrationFile:
    """One device's file, of its frames and its camera."""
    value = load(folder / kind.file, kind.schema, serial=serial, remedy=kind.remedy, today=today, override=override)
    if isinstance(value, Transform) and (value.parent, value.child) != FRAMES[kind.file]:
        raise CalibrationError(
            f"{folder / kind.file}: parent, child are {value.parent}, {value.child}; "
            f"allowed are {', '.join(FRAMES[kind.file])}; {kind.remedy}"
        )
    if isinstance(value, CameraInfo) and value.camera_name != kind.device:
        raise CalibrationError(
            f"{folder / kind.file}: camera_name is {value.camera_name!r}, allowed is {kind.device!r}; {kind.remedy}"
        )
    return value


def _latencies(
    path: Path, serials: Mapping[str, str], today: datetime.date | None, override: bool
) -> tuple[Latencies, tuple[str, ...]]:
    """With a row for each device; where that may lack, which ones lacked."""
    if override and not path.exists():
        nobody = Provenance(serial="none", date=datetime.date.min, origin="measured", software_version=__version__)
        known = Latencies(devices={}, provenance=nobody)
    else:
        known = load(path, Latencies, remedy=LATENCY.remedy, today=today, override=override)
    devices = dict(known.devices)
    for device, serial in serials.items():
        row = devices.get(device)
        if row is None and override:
            devices[device] = Latency(serial=serial, seconds=0.0)
        elif row is None:
            raise CalibrationError(f"{path}: devices.{device} is missing; {LATENCY.remedy}")
        elif row.serial != serial:
            raise CalibrationError(
                f"{path}: devices.{device}.serial is {row.serial!r}, the device's is {serial!r}; {LATENCY.remedy}"
            )
    lacks = (path.name,) if devices.keys() != known.devices.keys() else ()
    return known.model_copy(update={"devices": devices}), lacks


def load_bundle(
    folder: Path, serials: Mapping[str, str], *, today: datetime.date | None = None, override: bool = False
) -> Bundle:
    """What the named devices need, each file for the serial number given, and the latencies.

    `serials` maps devices ('gripper', 'left', 'right' the cameras; 'jaw', 'tracker'; others have no file but a
    latency) to serial numbers. With `override` files may be missing, old, or have a residual above their threshold;
    what is broken, or belongs to another device, is refused nonetheless. Raises CalibrationError naming the file and
    the service that makes it.
    """
    folder = Path(folder)
    files: dict[str, CalibrationFile] = {}
    missing: list[str] = []
    for kind in KINDS:
        if kind.device not in serials:
            continue
        if override and not (folder / kind.file).exists():
            missing.append(kind.file)
        else:
            files[kind.file] = _checked(folder, kind, serials[kind.device], today, override)
    latencies, lacking = _latencies(folder / LATENCY.file, serials, today, override)
    return Bundle(folder, MappingProxyType(files), latencies, (*missing, *lacking))


def fault(
    folder: Path, kind: Kind, serials: Mapping[str, str], *, today: datetime.date | None = None, override: bool = False
) -> str:
    """What keeps one file from being used, '' when nothing does; a device without a serial number has any."""
    reason = _refusal(folder, kind, serials, today, override)
    return f"{reason}; {_STUCK}" if reason and stuck(folder, kind, serials) else reason


def stuck(folder: Path, kind: Kind, serials: Mapping[str, str]) -> bool:
    """Whether a file is refused with an override, too: it is broken, or of another device."""
    return bool(_refusal(folder, kind, serials, None, override=True))


def _refusal(folder: Path, kind: Kind, serials: Mapping[str, str], today: datetime.date | None, override: bool) -> str:
    if override and not (folder / kind.file).exists():
        return ""
    try:
        if kind is LATENCY:
            _latencies(folder / kind.file, serials, today, override)
        else:
            _checked(folder, kind, kind.serial(serials), today, override)
    except CalibrationError as error:
        return str(error)
    return ""


def retire(folder: Path, kind: Kind, serials: Mapping[str, str]) -> None:
    """Take a `stuck` file out of force, so that an override lets its device begin anew; it stays as a previous one.

    Of the latencies only the rows of replaced devices go.
    """
    path = folder / kind.file
    if kind is LATENCY:
        with contextlib.suppress(CalibrationError):  # broken: all of it goes
            known = load(path, Latencies, remedy=kind.remedy, override=True)
            own = {name: row for name, row in known.devices.items() if serials.get(name, row.serial) == row.serial}
            save(path, known.model_copy(update={"devices": own}))
            return
    set_aside(path)


def faults(
    folder: Path,
    serials: Mapping[str, str],
    *,
    bridge: str = "",
    today: datetime.date | None = None,
    override: bool = False,
) -> tuple[str, ...]:
    """Everything that keeps `load_bundle` from taking these devices' files, a sentence each.

    `bridge` is the serial number of a load cell whose force scale is looked at, too.
    """
    kinds = [kind for kind in KINDS if kind.device in serials] + [LATENCY]
    found = [fault(Path(folder), kind, serials, today=today, override=override) for kind in kinds]
    if bridge:
        found.append(fault(Path(folder), LOAD_CELL, {LOAD_CELL.device: bridge}, today=today, override=override))
    return tuple(reason for reason in found if reason)


def load_force_scale(
    folder: Path, serial: str, *, today: datetime.date | None = None, override: bool = False
) -> ForceScale:
    """What a load cell's amplifier reads, as force: for backends that read a bridge; others say newtons themselves."""
    return load(
        Path(folder) / LOAD_CELL.file,
        ForceScale,
        serial=serial,
        remedy=LOAD_CELL.remedy,
        today=today,
        override=override,
    )
