"""An episode as rows, one a step: what every data set is made of. Which episodes are fit for that is decided here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kinema.calibration.files import Latencies
from kinema.episodes import facts as facts_file
from kinema.episodes.aligned import Aligned, align_episode
from kinema.episodes.facts import Facts
from kinema.episodes.reader import Episode
from kinema.episodes.state import STATE
from kinema.errors import KinemaError
from kinema.geometry import rotation_6d

RATE = 30  # [Hz]

_SHORTEST = 1.0  # [s] of what is worth exporting
LOST = 0.02  # [-] of an episode's steps that may be lost
_FARTHEST = 2.75  # [-] periods from one step to the next: one between them is lost, and both jitter


class LeftOutError(KinemaError):
    """An episode that doesn't go into a data set; the message is the reason."""


@dataclass(frozen=True, eq=False, slots=True)
class Rows:
    """What any format gets of one episode, one row a step at `rate` [Hz].

    state      (n, 11) float32: T_base_tcp as position [m] and the first two columns of the rotation, jaw opening [m],
               grasp force [N]; columns in the order of STATE
    stamps_ns  (n,) acquisition of the reference camera's images [ns, Kinema time]
    lost       how many steps are missing between these, each alone
    frames     camera name -> (n,) which of the episode's images belongs to each step
    """

    name: str
    facts: Facts
    rate: int
    state: NDArray[np.float32]
    stamps_ns: NDArray[np.int64]
    lost: int
    frames: Mapping[str, NDArray[np.int64]]
    episode: Episode


def apart(aligned: Aligned) -> str:
    """Where more than one step in a row is lost, '' when none are."""
    periods = np.diff(aligned.stamps_ns) * 1e-9 * aligned.rate
    if not len(periods) or periods.max() <= _FARTHEST:
        return ""
    worst, rate = int(periods.argmax()), aligned.rate
    return (
        f"two steps are {periods[worst] / rate * 1e3:.0f} ms apart at {aligned.stamps_ns[worst]}; "
        f"at {rate:g} Hz they are {1e3 / rate:.0f} ms apart, and one between two may be lost"
    )


def _steps(aligned: Aligned, rate: int) -> None:
    """Refuse what can't be rows of even steps, but for a few that are lost one at a time."""
    count, lost = len(aligned.stamps_ns), len(aligned.rejected)
    if count < _SHORTEST * rate:
        why = f"; the first that can't be aligned: {aligned.rejected[0][1]}" if lost else ""
        raise LeftOutError(f"has {count} steps, wanted are at least {_SHORTEST * rate:.0f}{why}")
    if len(np.unique(aligned.segment)) > 1:
        raise LeftOutError("the tracker jumped: what came before and after do not belong together")
    if lost > LOST * count:
        stamp_ns, reason = aligned.rejected[0]
        raise LeftOutError(
            f"{lost} of {count + lost} steps can't be aligned, allowed are {LOST:.0%}; "
            f"the first is at {stamp_ns}: {reason}"
        )
    if hole := apart(aligned):
        raise LeftOutError(hole)


def _state(aligned: Aligned) -> NDArray[np.float32]:
    T = aligned.T_base_tcp
    columns = (T[:, :3, 3], rotation_6d(T[:, :3, :3]), aligned.width[:, None], aligned.force[:, None])
    state = np.concatenate(columns, axis=1).astype(np.float32)
    if not np.isfinite(state).all():
        row, column = np.argwhere(~np.isfinite(state))[0]
        raise LeftOutError(f"{STATE[column]} is not finite at {aligned.stamps_ns[row]}")
    return state


def read_rows(name: str, folder: Path, rate: int = RATE, latencies: Latencies | None = None) -> Rows:
    """The rows of one episode; raises LeftOutError, saying why, for one that doesn't belong into a data set."""
    facts = facts_file.load(folder)
    if not facts.finished:
        raise LeftOutError("is not finished: `kinema episodes recover` it first")
    if facts.rejected:
        raise LeftOutError(facts.rejected)
    if facts.success is False:
        raise LeftOutError("the demonstration failed")
    episode = Episode.open(folder)
    aligned = align_episode(episode, rate=rate, latencies=latencies)
    _steps(aligned, rate)
    return Rows(name, facts, rate, _state(aligned), aligned.stamps_ns, len(aligned.rejected), aligned.frames, episode)
