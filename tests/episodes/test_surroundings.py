"""What the recorder knows of its surroundings, from serialised messages alone."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from kinema.clock import NS
from kinema.episodes.messages import JawSample, Picture, TaskText, Transforms, encode, typestore
from kinema.episodes.quality_monitor import HANDHELD, ODOMETRY
from kinema.episodes.session import Conditions
from kinema.episodes.surroundings import Surroundings
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import TOPICS

STORE = typestore()
T_BASE_WORLD = Pose(np.array([0.2, -0.4, 0.3]), np.eye(3))


@dataclass
class Told:
    """Surroundings, and who tells them; time goes on by 5 ms a message."""

    seen: Surroundings = field(default_factory=lambda: Surroundings(HANDHELD))
    now_ns: int = 1_000 * NS

    def tell(self, topic: str, value, late: float = 0.0) -> None:
        """`late`: [s] from its stamp to its arrival."""
        self.now_ns += 5_000_000
        self.seen.take(TOPICS[topic], self.now_ns + round(late * NS), encode(STORE, value))

    def track(self, jumped: bool = False, confidence: int = 3) -> None:
        self.tell(ODOMETRY, TrackedPose(self.now_ns, Pose.identity(), confidence, jumped))

    def anchor(self, late: float = 0.0) -> None:
        self.tell("/tf_static", Transforms(self.now_ns, (("base_link", "world", T_BASE_WORLD),)), late)

    @property
    def conditions(self) -> Conditions:
        return self.seen.conditions(calibration="", silent={}, room="")


@pytest.fixture
def told() -> Told:
    return Told()


def test_before_anything_was_heard_nothing_is_known(told):
    c = told.conditions
    assert (c.text, c.tared, c.saturated, c.confidence, c.anchored, c.jumped) == ("", None, None, None, False, False)


def test_the_newest_of_each_is_what_counts(told):
    told.tell("task", TaskText(told.now_ns, "open the drawer"))
    for tared, saturated in ((False, False), (True, True)):
        told.tell("load_cell/force", ForceSample(told.now_ns, 1.0, saturated, tared))
    told.track(confidence=1)
    told.tell("gripper/image_raw", Picture(told.now_ns, "", np.zeros((48, 64, 3), np.uint8)))
    c = told.conditions
    assert (c.text, c.tared, c.saturated, c.confidence) == ("open the drawer", True, True, 1)
    assert told.seen.image_size == (64, 48)


def test_f12_a_jump_makes_the_anchor_worthless_until_the_next_one(told):
    told.track()
    told.anchor()
    assert told.conditions.anchored and not told.conditions.jumped
    told.track(jumped=True)
    told.track()
    assert told.conditions.jumped
    told.anchor()
    assert not told.conditions.jumped


def test_f12_an_anchor_from_before_the_recorder_came_up_is_none(told):
    told.track()
    told.anchor(late=60.0)
    assert not told.conditions.anchored, "the tracker may have jumped since, and nobody has seen it"
    told.anchor(late=0.5)
    assert told.conditions.anchored


def test_a_gesture_is_told_once_and_not_by_readings_that_are_not_valid(told):
    squeezes = 0.06 - 0.018 * (1 - np.cos(np.linspace(0, 4 * np.pi, 22)))
    for valid in (False, True):
        for width in (*[0.06] * 15, *squeezes, *[0.06] * 15):
            told.now_ns += NS // 30
            told.tell("jaw/state", JawSample(told.now_ns, width, valid, 2))
        assert (told.seen.gesture() is not None) == valid
        assert told.seen.gesture() is None
        told.now_ns += 2 * NS


def test_a_recording_takes_the_moments_before_it_and_the_next_begins_anew(told):
    for _ in range(4000):
        told.track()
    told.seen.forget()
    before = told.now_ns
    for _ in range(400):
        told.track()
    report = told.seen.hand_over().report(before - 2 * NS, before + 2 * NS)
    assert report.streams[ODOMETRY].count == pytest.approx(800, abs=2)
    assert told.seen.monitor.live().rates[ODOMETRY] == 0.0
