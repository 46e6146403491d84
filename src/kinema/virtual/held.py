"""Tools that the hand holds in the tasks of "Dreamitate": their shapes.

A tool's frame is the TCP's: z out of the gripper, its shaft between the fingers, bolted to the gripper. The files by
which it is tracked are made by `kinema.virtual.tool_files`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kinema.errors import ConfigError
from kinema.virtual.objects import Rgb, Shape

WIDTH = 0.022  # [m] between the fingers that hold a shaft

_WOOD: Rgb = (0.78, 0.58, 0.34)
_BLACK: Rgb = (0.12, 0.12, 0.13)
_STEEL: Rgb = (0.70, 0.71, 0.74)


@dataclass(frozen=True, slots=True)
class Held:
    """parts    boxes and cylinders by the part's name, in the TCP's frame; none of the gripper's own
    tracked  of these ("Dreamitate", appendix D: what neither a hand nor particles hide)
    mass     [kg]
    width    [m] of the part that works, across (x); depth: [m] how far it reaches beyond the TCP; thick: [m] along y
    sleeved  in the rubber of the fingers' pads
    """

    name: str
    parts: Mapping[str, tuple[Shape, ...]]
    tracked: tuple[str, ...]
    mass: float
    width: float
    depth: float
    thick: float
    sleeved: bool = False


def _shaft(length: float, colour: Rgb) -> Shape:
    """From the palm to `length` [m] beyond the TCP."""
    start = -0.065
    return Shape("cylinder", (0.008, (length - start) / 2), (0.0, 0.0, (length + start) / 2), colour=colour)


def _brush() -> Held:
    head = Shape("box", (0.050, 0.010, 0.014), (0.0, 0.0, 0.064), colour=_WOOD)
    bristles = Shape("box", (0.048, 0.007, 0.013), (0.0, 0.0, 0.087), colour=_BLACK)
    return Held(
        "brush", {"handle": (_shaft(0.052, _WOOD),), "head": (head, bristles)}, ("head",), 0.05, 0.096, 0.1, 0.014
    )


def _pusher() -> Held:
    plate = Shape("box", (0.050, 0.005, 0.024), (0.0, 0.0, 0.076), colour=(0.20, 0.45, 0.75))
    rib = Shape("box", (0.010, 0.012, 0.006), (0.0, 0.0, 0.054), colour=(0.20, 0.45, 0.75))
    return Held(
        "pusher", {"handle": (_shaft(0.050, _STEEL),), "plate": (plate, rib)}, ("plate",), 0.05, 0.1, 0.1, 0.010
    )


def _scoop() -> Held:
    """A pocket that is open at the top and at the front (y)."""
    wide, deep, high, low, thin = 0.027, 0.024, 0.014, 0.112, 0.001
    floor = Shape("box", (wide, deep, thin), (0.0, 0.0, low - thin), colour=_STEEL)
    back = Shape("box", (wide, thin, high), (0.0, -deep + thin, low - high), colour=_STEEL)
    sides = tuple(
        Shape("box", (thin, deep, 0.7 * high), (s * (wide - thin), 0.0, low - 0.7 * high), colour=_STEEL)
        for s in (-1, 1)
    )
    arm = Shape("box", (0.004, 0.010, 0.010), (0.0, -deep + 0.010, low - 2 * high), colour=_STEEL)
    pocket = (floor, back, *sides)
    return Held("scoop", {"handle": (_shaft(low - 2 * high - 0.006, _BLACK), arm), "pocket": pocket}, ("handle",), 0.04,
                2 * wide, low, 2 * deep)  # fmt: skip


def _fork() -> Held:
    """Two prongs that come down on both sides of a thing. A flag beside one of them tells a half turn.

    Black and steel as the gripper: a tracker that goes by colours takes no thing that has been moved for it.
    """
    reach, thick, start, end = 0.040, 0.012, 0.032, 0.120
    bridge = Shape("box", (reach + thick / 2, 0.010, 0.007), (0.0, 0.0, start - 0.007), colour=_BLACK)
    flag = Shape("box", (0.010, 0.004, 0.026), (reach + thick / 2 + 0.010, 0.0, start + 0.012), colour=_BLACK)
    prongs = tuple(
        Shape("capsule", (thick / 2, (end - start - thick) / 2), (s * reach, 0.0, (start + end) / 2), colour=_STEEL)
        for s in (-1, 1)
    )
    parts = {"handle": (_shaft(start - 0.014, _STEEL),), "bridge": (bridge, flag), "prongs": prongs}
    return Held("fork", parts, ("bridge",), 0.05, 2 * reach + thick, end, thick, sleeved=True)


TOOLS: dict[str, Held] = {row.name: row for row in (_brush(), _pusher(), _scoop(), _fork())}


def tool(name: str) -> Held:
    """One row; raises ConfigError naming the tools there are."""
    row = TOOLS.get(name)
    if row is None:
        raise ConfigError(f"tool {name!r} is not known; allowed: {', '.join(TOOLS)}")
    return row
