"""What `episode.yaml` says of the recording beside it: what was done, by whom, how it went, and whether to use it."""

import re
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pydantic

from kinema import yaml_file
from kinema.episodes.quality import Quality
from kinema.errors import EpisodeError
from kinema.geometry import Pose

FILE = "episode.yaml"
FORMAT: Literal[1] = 1
CALIBRATION = "calibration"  # the folder beside it with copies of the calibration files in force

_SLUG_LENGTH = 60


class ScenarioFacts(pydantic.BaseModel):
    """The scenario of the virtual cell, which can be set up again from these three."""

    model_config = yaml_file.STRICT

    task: str
    split: str
    seed: int


class ImageFacts(pydantic.BaseModel):
    """How images are kept; `quality` is JPEG's (0: not JPEG), width and height [px] of every camera (0: none seen)."""

    model_config = yaml_file.STRICT

    compression: Literal["none", "jpeg", "png"]
    quality: int = pydantic.Field(default=0, ge=0, le=100)
    width: int = pydantic.Field(default=0, ge=0)
    height: int = pydantic.Field(default=0, ge=0)


class WorldFacts(pydantic.BaseModel):
    """`T_base_world` in this episode: position [m], quaternion x, y, z, w; from the calibration file or the dock."""

    model_config = yaml_file.STRICT

    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    source: Literal["file", "dock"]

    @staticmethod
    def of(T_base_world: Pose, source: Literal["file", "dock"]) -> "WorldFacts":
        x, y, z = T_base_world.position.tolist()
        qx, qy, qz, qw = T_base_world.quaternion.tolist()
        return WorldFacts(position=(x, y, z), quaternion=(qx, qy, qz, qw), source=source)

    @property
    def pose(self) -> Pose:
        return Pose.from_quaternion(self.position, self.quaternion)


class Facts(pydantic.BaseModel):
    """One episode.

    source      who acted: a person with the handheld gripper, or the robot
    finished    the bag was closed in order (or repaired); false while it is being recorded
    text        the task in words; `task` its short name where it is one of the known tasks
    scenario    None outside of the virtual cell; robot None when handheld
    began_ns, ended_ns  the useful interval [ns, Kinema time]: without the gestures that started and stopped it;
                ended_ns is 0 while it is being recorded
    ended       how it ended, in words
    success     None: nobody judged it
    calibration_origin  of the files in force, the weakest of them
    calibration_override  why calibration that is missing, old or bad was taken nonetheless, and what was wrong with it
    tracker             the cell file's backend of the tracker in use, '' where there is none
    T_base_world        None where no tracker is in use
    versions    of what recorded it
    messages, dropped   how many of each topic are in the bag, and how many more had come and were not written
    disk_free   [bytes] when it ended; None: nobody looked
    quality     the quality report of the useful interval, as `kinema episodes check` has it
    rejected    why the episode must not be used, empty: it may be
    """

    model_config = yaml_file.STRICT

    format: Literal[1] = FORMAT
    source: Literal["handheld", "deployment"]
    finished: bool = False
    text: str
    task: str = ""
    operator: str = ""
    scenario: ScenarioFacts | None = None
    robot: str | None = None
    began_ns: int = pydantic.Field(ge=0)
    ended_ns: int = pydantic.Field(default=0, ge=0)
    ended: str = ""
    success: bool | None = None
    simulated: bool
    images: ImageFacts
    calibration_origin: Literal["simulator truth", "measured", ""] = ""
    calibration_override: str = ""
    tracker: str = ""
    T_base_world: WorldFacts | None = None
    versions: dict[str, str] = {}
    messages: dict[str, int] = {}
    dropped: dict[str, int] = {}
    disk_free: int | None = None
    quality: Quality | None = None
    rejected: str = ""

    def replace(self, **changes: Any) -> "Facts":
        """The same facts but for these; checked like new ones."""
        return Facts(**{name: getattr(self, name) for name in type(self).model_fields} | changes)


def load(folder: Path) -> Facts:
    """The facts of the episode in `folder`; raises EpisodeError."""
    return yaml_file.read(folder / FILE, Facts, EpisodeError)


def save(folder: Path, facts: Facts) -> None:
    """Replace episode.yaml; cut short at any moment, the file before or the new one stands there whole."""
    yaml_file.write(folder / FILE, facts)


def slug(text: str) -> str:
    """A task's words as the name of a folder: lower-case ASCII letters, digits and hyphens; 'task' if none is left."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")
    return words[:_SLUG_LENGTH].rstrip("-") or "task"
