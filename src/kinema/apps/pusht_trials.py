"""What is evaluated on PushT, and the lines in which it stands: a file for each checkpoint, a line an episode."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from kinema.apps import lines
from kinema.pusht.client import PLAIN, Look

RESULTS = "models/results/pusht"  # folder of the checkout
FIRST_SEED = 100_000  # Chi et al. 2023, their published configuration; 50 seeds

# "Unified Video Action Model", figure 5: what is painted otherwise. The colours and objects are chosen here.
LOOKS = {
    "normal": PLAIN,
    "background": Look(background=(200, 220, 255)),
    "objects": Look(objects=4),
    "goal": Look(goal=(255, 160, 122)),
}


@dataclass(frozen=True, slots=True)
class Choosing:
    """Who chooses among how many chunks of a policy.

    by          as `kinema.apps.pusht_choice` has it
    candidates  at every moment
    checkpoint, inference  of who chooses, as in `kinema.apps.trials.Setting`
    """

    by: str
    candidates: int
    checkpoint: str = ""
    inference: str = ""

    @property
    def label(self) -> str:
        words = (f"of {self.candidates} by", self.by, self.checkpoint[:8], self.inference)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class PushTSetting:
    """Everything that decides how a policy acts.

    policy, checkpoint, inference  as in `kinema.apps.trials.Setting`
    executed  steps between one observation and the next; there is no latency: the environment waits
    look      key of LOOKS
    version   of gym-pusht
    choosing  who chooses among several chunks of the policy; None: there is one
    """

    policy: str
    checkpoint: str
    inference: str
    executed: int
    look: str
    version: str
    choosing: Choosing | None = None

    @property
    def label(self) -> str:
        words = [self.policy, self.checkpoint[:8], self.inference, f"{self.executed} steps" if self.executed else ""]
        words += [self.choosing.label] if self.choosing else []
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Episode:
    """What came of a seed. coverage: the largest [-]; score: that over 0.95, at most 1; steps: how many it took.

    still  the score of doing nothing: what the block covers at first
    cpu [s] of a processor, and policy [s] of the wall clock a chunk, are the machine's.
    """

    setting: PushTSetting
    seed: int
    score: float
    coverage: float
    still: float
    steps: int
    chunks: int
    cpu: float
    policy: float


def results_file(folder: Path, setting: PushTSetting) -> Path:
    return lines.of_policy(folder, setting.policy, setting.checkpoint)


def read(file: Path) -> list[Episode]:
    """The episodes of a file, none where there is none; raises ConfigError naming a line that is none."""
    return lines.decode(file, Episode, "episode of PushT")


def append(file: Path, episode: Episode) -> None:
    lines.append(file, msgspec.json.encode(episode))
