"""What the monitor's pages show of a calibration session while it is open. Knows no ROS."""

from collections.abc import Mapping
from dataclasses import dataclass

from kinema.apps.monitor_parts import card
from kinema.calibration.session import Phase
from kinema.chunk import Image

_LOOKS = {
    Phase.COLLECTING: ("#1c6fb5", "samples are collected"),
    Phase.SOLVING: ("#5c6370", "the solver is at work; cancel ends it"),
    Phase.SOLVED: ("#2b8a3e", "solved: accept it, capture more, or cancel"),
}


@dataclass(frozen=True, eq=False, slots=True)
class Calibration:
    """An open session, as in kinema_interfaces/CalibrationState.

    auto      samples are taken by themselves; of the arm's own `poses` it is at number `pose`, 0 of 0: it takes none
    pictures  camera name -> (height, width, 3) uint8 RGB: what it sees with corners, coverage and ring drawn in
    """

    phase: Phase
    what: str
    devices: tuple[str, ...]
    samples: int
    auto: bool
    pose: int
    poses: int
    show_next: str
    message: str
    pictures: Mapping[str, Image]


def panel(c: Calibration) -> str:
    """A card with where the session stands; all texts are escaped."""
    colour, meaning = _LOOKS[c.phase]
    counted = f"{c.samples}, taken by themselves" if c.auto else f"{c.samples}"
    rows = {"Samples": f"{counted}, the arm is at pose {c.pose} of {c.poses}" if c.poses else counted}
    if c.show_next:
        rows["Show next"] = c.show_next
    rows["Last"] = c.message or "-"
    refused = ("Last",) if c.message.startswith("REFUSED") else ()
    return card(colour, f"{c.what} of {', '.join(c.devices)}", meaning, rows, refused)
