"""The handheld gripper's jaw opening, seen by its tags in the gripper camera's images; and its calibration.

To calibrate: close the jaw fully, open it fully, call `~/calibrate_jaw`. It uses the images of the last seconds, so the
answer is there at once, and needs no jaw file to begin with.
"""

import datetime
import time
from collections import deque

from sensor_msgs.msg import Image as ImageMsg
from std_srvs.srv import Trigger

from kinema import cell_file
from kinema.calibration.bundle import GRIPPER_CAMERA, JAW, load_bundle
from kinema.calibration.files import Jaw, load, save
from kinema.calibration.jaw import JawDesign, Sighting, calibrate
from kinema.clock import to_ns
from kinema.errors import CalibrationError
from kinema.perception.jaw import JawReading, JawTracker, TagFinder
from kinema.robots import GRIPPER
from kinema.streams import Health, Level
from kinema.topics import topic
from kinema_ros.convert import image, jaw_reading_msg, time_ns
from kinema_ros.node import Node, Parameter, spin
from kinema_ros.parameters import CALIBRATION_OVERRIDE

_IMAGES = f"{GRIPPER_CAMERA}/image_raw"
_UNSEEN = 0.5  # [s] without a valid reading after which it is an error


class JawTrackerNode(Node):
    """Publishes a reading for every image; what is not valid says so."""

    PARAMETERS = (
        Parameter("cell", "launch/cells/virtual.yaml", "the cell file"),
        CALIBRATION_OVERRIDE,
        Parameter("dictionary", "DICT_4X4_50", "ArUco dictionary of the finger tags, for calibrating"),
        Parameter("tag_size", 0.016, "[m] edge of the tags' black square as printed, for calibrating", 0.005, 0.1),
        Parameter("calibration_time", 20.0, "[s] of images before the call that calibrate_jaw uses", 2.0, 120.0),
    )

    def configure(self) -> None:
        cell = cell_file.load(self.value("cell"))
        self._serial = cell.devices.gripper.serial
        self._path = cell.calibration_folder / JAW.file
        self._override = bool(self.value("calibration_override"))
        serials = {GRIPPER_CAMERA: cell.devices.cameras.gripper.serial}
        bundle = load_bundle(cell.calibration_folder, serials, override=self._override)
        self._camera = bundle.camera(GRIPPER_CAMERA).scaled(cell.image_size)
        self._T_tcp_camera = bundle.T_tcp_camera()
        self._finder = TagFinder(self.value("dictionary"), self._camera)
        count = round(self.value("calibration_time") * topic(_IMAGES).rate)
        self._sightings: deque[Sighting] = deque(maxlen=count)
        self._last: JawReading | None = None
        self._valid_at = time.monotonic_ns()
        self._tracker, self._lacks = self._load()
        self._state = self.outlet("jaw/state")
        self.listen(_IMAGES, self._measure)
        self.serve(Trigger, "~/calibrate_jaw", self._calibrate)
        self.watch("opening", self._health)

    def _load(self) -> tuple[JawTracker | None, str]:
        """A tracker by the file in force, or what it lacks."""
        try:
            jaw = load(self._path, Jaw, serial=self._serial, remedy=JAW.remedy, override=self._override)
            if jaw.dictionary != self.value("dictionary"):
                raise CalibrationError(
                    f"{self._path}: dictionary is {jaw.dictionary}, the parameter dictionary says "
                    f"{self.value('dictionary')}; {JAW.remedy}"
                )
        except CalibrationError as error:
            self.get_logger().error(str(error))
            return None, str(error)
        return JawTracker(jaw, self._camera, self._T_tcp_camera), ""

    def _measure(self, message: ImageMsg) -> None:
        stamp_ns = time_ns(message.header.stamp)
        found = self._finder.find(image(message))
        self._sightings.append(found)
        if self._tracker is None:
            reading = JawReading(stamp_ns, float("nan"), False, 0, self._lacks)
        else:
            reading = self._tracker.read(stamp_ns, found)
        if reading.valid:
            self._valid_at = time.monotonic_ns()
        self._last = reading
        self._state.publish(jaw_reading_msg(reading))

    def _calibrate(self, request: Trigger.Request, response: Trigger.Response) -> str:
        design = JawDesign(self.value("dictionary"), self.value("tag_size"), GRIPPER.stroke)
        today = datetime.datetime.now(datetime.UTC).date()
        jaw = calibrate(self._sightings, self._camera, self._T_tcp_camera, design, self._serial, today)
        save(self._path, jaw)
        self._sightings.clear()  # the next time begins anew
        self._tracker, self._lacks = self._load()
        return (
            f"{self._path} is written: {jaw.provenance.samples} images, the tags agree within "
            f"{1e3 * jaw.provenance.rms:.2f} mm (RMS), their edge is {1e3 * jaw.left.size:.2f} mm"
        )

    def _health(self, monotonic_ns: int) -> Health:
        last = self._last
        if last is None:
            return Health(Level.STALE, "no image has arrived")
        values = {"width": f"{last.width:.4f}", "tags": str(last.tags)}
        if last.valid:
            return Health(Level.OK, "valid", values)
        blind = monotonic_ns - self._valid_at > to_ns(_UNSEEN) or self._tracker is None
        return Health(Level.ERROR if blind else Level.WARN, last.reason, values)


def main() -> None:
    spin(lambda: JawTrackerNode("jaw_tracker"))
