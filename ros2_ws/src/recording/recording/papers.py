"""What goes into an episode beside its streams: the calibration in force, and the facts of `episode.yaml`."""

from dataclasses import dataclass
from pathlib import Path

from kinema.calibration.bundle import Bundle, faults, load_bundle
from kinema.cell_file import Cell
from kinema.episodes.facts import Facts, ImageFacts, ScenarioFacts, WorldFacts
from kinema.episodes.pipeline import Encoding
from kinema.episodes.provenance import calibration_origin, versions
from kinema.episodes.surroundings import Surroundings
from kinema.errors import CalibrationError
from kinema.geometry import distance

_SAME = 1e-9  # [m, rad] between equal transforms


@dataclass(frozen=True, slots=True)
class Setting:
    """What stays the same from one episode to the next; `robot` '' for the handheld gripper.

    `override` says why calibration that is missing, old or bad is taken nonetheless, '': it is not.
    """

    cell: Cell
    robot: str
    operator: str
    encoding: Encoding
    by_policy: bool
    override: str = ""

    @property
    def tracker(self) -> str:
        """The backend of what a hand is followed by; '' where the cell has none."""
        return "" if self.cell.devices.tracker is None else self.cell.devices.tracker.backend


class Papers:
    """Raises ConfigError for a cell that lacks a device."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._serials = setting.cell.serials(handheld=not setting.by_policy)
        self._files: list[tuple[Path, int]] | None = None
        self._bundle: Bundle | None = None
        self._unusable = ""
        self._overridden = ""

    @property
    def calibration(self) -> Path:
        """The folder of the files in force."""
        return self._setting.cell.calibration_folder

    def files(self) -> list[tuple[Path, int]]:
        """The files in force, each with the time [ns] of its last change."""
        return [(file, file.stat().st_mtime_ns) for file in sorted(self.calibration.glob("*.yaml"))]

    def unusable(self) -> str:
        """Why the calibration cannot be used, '' if it can; read again when a file has changed."""
        files = self.files()
        if files != self._files:
            self._files, self._bundle, self._unusable = files, None, ""
            why, bridge = self._setting.override, self._setting.cell.bridge
            wrong = faults(self.calibration, self._serials, bridge=bridge) if why else ()
            self._overridden = "; ".join((why, *wrong)) if why else ""
            try:
                self._bundle = load_bundle(self.calibration, self._serials, override=bool(why))
            except CalibrationError as error:
                self._unusable = str(error)
        return self._unusable

    def facts(self, seen: Surroundings, began_ns: int) -> Facts:
        """Of an episode that begins now."""
        setting, status = self._setting, seen.status
        width, height = seen.image_size
        compression = setting.encoding.compression
        return Facts(
            source="deployment" if setting.by_policy else "handheld",
            text=seen.text,
            task=status.task if status else "",
            operator=setting.operator,
            scenario=ScenarioFacts(task=status.task, split=status.split, seed=int(status.seed)) if status else None,
            robot=setting.robot or None,
            began_ns=began_ns,
            simulated=setting.cell.world is not None,
            images=ImageFacts(
                compression=compression,
                quality=setting.encoding.quality if compression == "jpeg" else 0,
                width=width,
                height=height,
            ),
            calibration_origin=calibration_origin(self._bundle) if self._bundle else "",
            calibration_override=self._overridden,
            tracker="" if setting.by_policy else setting.tracker,
            T_base_world=self._world(seen),
            versions=versions("rosbags", "opencv-contrib-python"),
        )

    def _world(self, seen: Surroundings) -> WorldFacts | None:
        T_base_world = seen.T_base_world
        if self._setting.by_policy or T_base_world is None or self._bundle is None:
            return None
        if "T_base_world.yaml" in self._bundle.missing:
            return WorldFacts.of(T_base_world, "dock")
        from_file = max(distance(T_base_world, self._bundle.T_base_world)) < _SAME
        return WorldFacts.of(T_base_world, "file" if from_file else "dock")
