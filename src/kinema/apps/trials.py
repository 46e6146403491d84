"""What is evaluated and what came of it: settings, scenarios, and rollouts as lines of JSON.

A file holds the rollouts of one checkpoint, a line each, in the order in which they ended. Whoever was interrupted
reads what stands there and does the rest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from kinema.apps import lines
from kinema.control.messages import Mode

Images = Literal["normal", "blanked", "shuffled", "veiled"]

# name -> split of the scenarios ("Video Generators are Robot Policies", table 4: object location, objects, background)
LISTS = {
    "seen": "train",
    "unseen_objects": "unseen_objects",
    "unseen_background": "unseen_background",
    "plain": "plain",
}

# First seed of each purpose. Demonstrations have lower ones: no list holds a scenario that anybody was shown.
PURPOSES = {"report": 1_000_000, "choose": 2_000_000}

RESULTS = "models/results"  # folder of the checkout
TIME_LIMIT = 30.0  # [s] of simulated time, as usual
ROBOT = "virtual_ur5e"  # as usual


@dataclass(frozen=True, slots=True)
class Setting:
    """Everything that decides how a policy acts; a rollout is this in one scenario.

    policy      name; checkpoint: the hash of what it was loaded from, '' where there is nothing to load
    inference   the policy's own mode (`single`, `paper`, ...), '' where it has but one
    executed    steps between one observation and the next; 0: as policy and cell file have it
    images      what becomes of the images before the policy sees them; veiled: the goal shows in the side cameras'
    execution, latency  of the control core; [s] from observation to chunk, declared
    time_limit  [s] of simulated time
    """

    policy: str
    checkpoint: str
    inference: str
    executed: int
    images: Images
    execution: Mode
    latency: float
    robot: str
    time_limit: float

    @property
    def label(self) -> str:
        """Short, for people: policy, beginning of the hash, and what is not as usual."""
        words = [self.policy, self.checkpoint[:8], self.inference]
        words += [f"{self.executed} steps" if self.executed else "", "" if self.images == "normal" else self.images]
        words += ["" if self.robot == ROBOT else self.robot]
        words += ["" if self.time_limit == TIME_LIMIT else f"within {self.time_limit:g} s"]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Scene:
    """One scenario: `list` is a key of LISTS."""

    task: str
    list: str
    seed: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """What came of a setting in a scenario; all but `cpu` [s of a processor] follows from the two.

    duration  [s] of simulated time; chunks, refused: how many were played, how many the core would not play
    digest    SHA-256 of the world's positions, as `lockstep.EpisodeResult` has it
    """

    setting: Setting
    scene: Scene
    success: bool
    outcome: str
    duration: float
    chunks: int
    refused: int
    digest: str
    cpu: float


def scenes(tasks: Sequence[str], lists: Sequence[str], purpose: str, count: int) -> list[Scene]:
    """The first `count` scenarios of each list and task, the same for every policy; in turn, lest one come last."""
    pairs = [(task, name) for task in tasks for name in lists]
    return [Scene(*pair, seed) for seed in range(PURPOSES[purpose], PURPOSES[purpose] + count) for pair in pairs]


def purpose(scene: Scene) -> str:
    """What a scenario is for."""
    return max((first, name) for name, first in PURPOSES.items() if first <= scene.seed)[1]


def results_file(folder: Path, setting: Setting) -> Path:
    """Where the rollouts of a policy stand: a file for each checkpoint."""
    return lines.of_policy(folder, setting.policy, setting.checkpoint)


def read(file: Path) -> list[Rollout]:
    """The rollouts of a file, none where there is none; raises ConfigError naming a line that is no rollout.

    A last line without its end was cut short, and does not count.
    """
    return lines.decode(file, Rollout, "rollout", f"; allowed: {Rollout.__doc__}")


def append(file: Path, rollout: Rollout) -> None:
    """Write one rollout behind the others, in place of a line that was cut short."""
    lines.append(file, msgspec.json.encode(rollout))
