"""What a session still wants to be shown."""

import numpy as np
import pytest

from kinema.calibration.boards import DEFAULT, Corners
from kinema.calibration.files import CameraInfo, load
from kinema.calibration.progress import NONE, progress
from kinema.calibration.session import Sample, Session
from kinema.geometry import Pose
from kinema.paths import root

CAMERA = load(root() / "calibration/virtual/left.yaml", CameraInfo, remedy="")


def seen(x: float, tilt: float) -> Corners:
    pixels = CAMERA.project(Pose.from_rotvec([x - 0.13, -0.09, 0.5], [tilt, 0.0, 0.0]).apply(DEFAULT.points))
    return Corners(np.arange(len(pixels)), pixels, CAMERA.size)


def test_the_camera_that_has_seen_least_says_what_is_wanted():
    session = Session().start("stereo", ["left", "right"], DEFAULT.name, apart=0.66)
    assert progress(session).diversity == 0.0
    for k in range(3):
        session = session.capture(Sample(k, {"left": seen(0.0, 0.0), "right": seen(0.1 * k, 0.3 * k)}))
    found = progress(session)
    assert found.coverage.keys() == {"left", "right"}
    assert found.coverage["right"].share > found.coverage["left"].share > 0.0
    assert 0.0 <= found.diversity < 0.5 and found.show_next.startswith("left: ")


@pytest.mark.parametrize(("what", "devices"), [("payload", ["arm"]), ("latency", ["jaw"]), ("dock", ["tracker"])])
def test_without_pictures_a_person_is_told_what_to_do(what, devices):
    session = Session().start(what, devices, "")
    assert progress(session).show_next == session.kind.how and not progress(session).coverage


def test_nothing_runs_and_nothing_is_wanted():
    assert progress(Session()) is NONE
