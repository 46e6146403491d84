"""An estimator in its own process: what goes over the wire, and what happens when the other end misbehaves."""

import sys
import textwrap

import numpy as np
import pytest

from kinema.calibration.files import CameraInfo
from kinema.errors import TrackingError
from kinema.geometry import Pose
from kinema.perception.external_tracker import ExternalTracker
from kinema.perception.tool_tracker import Start
from kinema.virtual.cameras import CAMERAS, simulator_truth

LEFT = CAMERAS["left"].info((320, 240))
LENS = CameraInfo.of("bent", (320, 240), LEFT.matrix, "plumb_bob", [-0.3, 0.1, 0.0, 0.0, 0.0], simulator_truth("x"))

# Answers with what it got: the pose that it was told, the middle of the brightest pixels as the last frame's place.
PROGRAM = """
import sys
import numpy as np

print("a library greets", flush=True)
print("ready standin 1.0", flush=True)
for line in sys.stdin:
    word, request, answer = line.split()
    with np.load(request) as given:
        frames, K, vertices, triangles = (given[k] for k in ("frames", "K", "vertices", "triangles"))
        T = np.tile(given["T_camera_tool"], (len(frames), 1, 1))
        assert given["box"].tolist() == [1, 2, 30, 40] and given["background"].shape == frames.shape[1:]
    assert word == "track" and triangles.max() == len(vertices) - 1
    print("working on it", flush=True)
    rows, columns = np.nonzero(frames[-1].sum(axis=-1) > 600)
    at = np.linalg.inv(K) @ [columns.mean(), rows.mean(), 1.0]
    T[-1, :3, 3] = at * T[-1, 2, 3]
    T[0] = np.nan
    {tamper}
    np.savez(answer, T_camera_tool=T, scores=scores, reasons=["hidden"] + [""] * (len(frames) - 1))
    print({word!r}, flush=True)
"""


def command(tmp_path, word="done", tamper="scores = np.full(len(frames), 0.9)", program=PROGRAM):
    script = tmp_path / "estimator.py"
    script.write_text(textwrap.dedent(program).replace("{tamper}", tamper).replace("{word!r}", repr(word)))
    return [sys.executable, "-I", str(script)]


def frames(count=3):
    """A white square that the lens shows around a ray that leads aside."""
    dark = np.zeros((240, 320, 3), np.uint8)
    u, v = np.rint(LENS.project([0.35, -0.2, 1.0])).astype(int)
    bright = dark.copy()
    bright[v - 4 : v + 5, u - 4 : u + 5] = 255
    return dark, [dark] * (count - 1) + [bright]


KNOWN = Pose.from_rotvec([0.0, 0.0, 0.8], [0.1, 0.2, 0.3])


def start(background):
    return Start(background, T_camera_tool=KNOWN, box=(1, 2, 30, 40))


def test_poses_come_back_from_pictures_without_the_lens_distortion(tmp_path, brush):
    background, clip = frames()
    with ExternalTracker(command(tmp_path)) as tracker:
        assert tracker.name == "standin 1.0"
        for _ in range(2):  # one program serves many clips
            found = tracker.track(clip, LENS, brush.tracking("head"), start(background))
    assert found[0].T_camera_tool is None and found[0].reason == "hidden"
    assert found[1].T_camera_tool.matrix == pytest.approx(KNOWN.matrix) and found[1].score == 0.9
    ray = found[2].T_camera_tool.position / 0.8
    assert ray == pytest.approx([0.35, -0.2, 1.0], abs=0.003)
    assert tracker.track([], LENS, brush, start(background)) == []


@pytest.mark.parametrize(
    ("word", "tamper", "says"),
    [
        ("failed out of memory", "scores = np.zeros(3)", "'standin 1.0': out of memory"),
        ("done", "scores = np.zeros(2)", r"scores \(2,\), 3 reasons; allowed are \(3, 4, 4\), \(3,\), 3"),
        ("done", "scores = np.full(3, 1.5)", "score of frame 0 is 1.5, allowed are 0 to 1"),
        ("done", "scores = np.zeros(3); T[1] *= 1.1", "pose of frame 1 is none before the camera"),
        ("done", "scores = np.zeros(3); T[1, 2, 3] = -1", "pose of frame 1 is none before the camera"),
        ("done", "answer = answer + 'x'; scores = 0", "answer can't be read"),
        ("done", "raise SystemExit('the weights are gone')", "has ended; its last words: the weights are gone"),
    ],
)
def test_nonsense_and_failures_are_told_apart_by_name(tmp_path, brush, word, tamper, says):
    background, clip = frames()
    with ExternalTracker(command(tmp_path, word, tamper)) as tracker, pytest.raises(TrackingError, match=says):
        tracker.track(clip, LENS, brush, start(background))


def test_a_program_that_never_gets_ready_or_falls_silent_is_ended(tmp_path, brush):
    background, clip = frames()
    sleeps = "import time\ntime.sleep(60)"
    with pytest.raises(TrackingError, match=r"said nothing for 0.2 s while being loaded"):
        ExternalTracker(command(tmp_path, program=sleeps), loading=0.2)
    tracker = ExternalTracker(command(tmp_path, tamper="import time; time.sleep(60)"), per_frame=0.2)
    with pytest.raises(TrackingError, match=r"said nothing for 0\.6 s while tracking"):
        tracker.track(clip, LENS, brush, start(background))
    tracker.close()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("import nothing_like_it", "has ended; its last words:.*No module named 'nothing_like_it'"),
        ("print('failed no GPU')", "could not be loaded: no GPU"),
    ],
)
def test_a_program_that_can_t_be_loaded_says_why(tmp_path, program, says):
    with pytest.raises(TrackingError, match=f"(?s){says}"):
        ExternalTracker(command(tmp_path, program=program))
    with pytest.raises(TrackingError, match="'/nowhere/python' can't be started"):
        ExternalTracker(["/nowhere/python"])
