"""Catalogue of what stands free on the table: the things and containers of `objects`, and what single tasks add.

Sides of the split are held out as in `objects`: `Pool.side` says which of two lists a scenario draws from.
"""

import math
from dataclasses import replace

from kinema.virtual import letters, objects
from kinema.virtual.objects import ContainerKind, Grasp, ObjectKind, Shape, upright, wall_ring

_QUARTER = math.pi / 2

Kind = ObjectKind | ContainerKind


# ---- to set upright ("Video Generators are Robot Policies": 6 objects)


def _flask() -> ObjectKind:
    kind = upright("flask", ((0.027, 0.0, 0.105),), 0.18, (0.060, 0.054))
    cap = Shape("cylinder", (0.022, 0.009), (0, 0, 0.114), colour="accent")
    return replace(kind, shapes=(*kind.shapes, cap), size=(0.054, 0.054, 0.123))


def _shaker() -> ObjectKind:
    kind = upright("shaker", ((0.024, 0.0, 0.070), (0.026, 0.070, 0.100)), 0.12, (0.055, 0.048))
    lid = Shape("cylinder", (0.0262, 0.0006), (0, 0, 0.1003), colour="accent", solid=False)
    return replace(kind, shapes=(*kind.shapes, lid))


def _carton() -> ObjectKind:
    body = Shape("box", (0.026, 0.026, 0.050), (0, 0, 0.050))
    seam = Shape("box", (0.0262, 0.004, 0.008), (0, 0, 0.108), colour="accent")
    band = Shape("box", (0.0263, 0.0263, 0.010), (0, 0, 0.045), colour=(0.95, 0.94, 0.90), solid=False)
    return ObjectKind("carton", (body, seam, band), (0.052, 0.052, 0.116), 0.15, (Grasp((0, 0, 0.05), 0.052, 0.0),), 2)


def _skittle() -> ObjectKind:
    parts = ((0.026, 0.0, 0.050), (0.019, 0.050, 0.090), (0.014, 0.090, 0.120))
    return upright("skittle", parts, 0.15, (0.030, 0.052))


_TUBE = upright("tube", ((0.023, 0.0, 0.130),), 0.14, (0.065, 0.046))

TO_SET_UPRIGHT = ("bottle", "can", "cup", "flask", "shaker", "carton"), ("jar", "skittle", "tube")


# ---- cups that stack, and sweets


def _cup(name: str, radii: tuple[float, float], height: float, mass: float) -> ContainerKind:
    """A thin cup that widens upwards, so that another one goes into it; `radii` [m] are the inner ones."""
    wall, floor = 0.0025, 0.006
    bottom, top = radii
    profile = (
        *((0.0, 0.0), (bottom + wall, 0.0), (top + wall, height), (top, height)),
        *((bottom, floor), (0.0, floor)),
    )
    skin = Shape("lathe", solid=False, profile=profile)
    base = Shape("cylinder", (bottom + wall, floor / 2), (0, 0, floor / 2), visible=False)
    shapes = (skin, base, *wall_ring(radii, floor, height, wall))
    across = 2 * (top + wall)
    grasp = Grasp((0.0, 0.0, height - 0.012), across)
    return ContainerKind(
        name, shapes, (across, across, height), mass, True, (2 * top, 2 * top), floor, height, (grasp,)
    )


_CUPS = (
    _cup("stacking cup", (0.0200, 0.0315), 0.080, 0.050),
    _cup("tall stacking cup", (0.0200, 0.0320), 0.090, 0.055),
    _cup("low stacking cup", (0.0210, 0.0315), 0.070, 0.045),
)
_CUPS_UNSEEN = (
    _cup("wide stacking cup", (0.0220, 0.0325), 0.078, 0.055),
    _cup("slim stacking cup", (0.0190, 0.0310), 0.086, 0.045),
)
CUPS = tuple(kind.name for kind in _CUPS), tuple(kind.name for kind in _CUPS_UNSEEN)


def _sweet(name: str, radius: float, height: float) -> ObjectKind:
    """A sugar-coated lens."""
    body = Shape("ellipsoid", (radius, radius, height / 2), (0, 0, height / 2))
    grasp = Grasp((0, 0, height / 2), 2 * radius)
    return ObjectKind(name, (body,), (2 * radius, 2 * radius, height), 0.008, (grasp,), rolls=True, firm=True)


_SWEETS = _sweet("sweet", 0.0080, 0.0110), _sweet("drop", 0.0075, 0.0130)
SWEETS = ("sweet",), ("drop",)


# ---- particles ("Dreamitate": beans), and what else is turned


def _particle(name: str, shape: Shape, size: tuple[float, float, float]) -> ObjectKind:
    return ObjectKind(name, (shape,), size, 0.006, (), 1, rolls=True, firm=True)


_PARTICLES = (
    _particle("bean", Shape("ellipsoid", (0.010, 0.0075, 0.0065), (0, 0, 0.0065)), (0.020, 0.015, 0.013)),
    _particle("chip", Shape("cylinder", (0.009, 0.004), (0, 0, 0.004)), (0.018, 0.018, 0.008)),
    _particle("cube", Shape("box", (0.006, 0.006, 0.006), (0, 0, 0.006)), (0.012, 0.012, 0.012)),
    _particle("pea", Shape("sphere", (0.007,), (0, 0, 0.007)), (0.014, 0.014, 0.014)),
    _particle("pebble", Shape("ellipsoid", (0.009, 0.009, 0.006), (0, 0, 0.006)), (0.018, 0.018, 0.012)),
    _particle("tile", Shape("box", (0.008, 0.006, 0.004), (0, 0, 0.004)), (0.016, 0.012, 0.008)),
    _particle("pearl", Shape("sphere", (0.006,), (0, 0, 0.006)), (0.012, 0.012, 0.012)),
)
CRUMBS = ("bean", "chip", "cube"), ("pebble", "tile")
GRAINS = ("pea",), ("pearl",)


_VESSELS = (
    objects.round_vessel("wide bowl", (0.046, 0.072), 0.045, 0.45),
    objects.round_vessel("soup bowl", (0.048, 0.066), 0.050, 0.45),
    objects.round_vessel("porringer", (0.050, 0.070), 0.048, 0.50),
)
TO_SCOOP = ("wide bowl", "soup bowl"), ("porringer",)


def _bar(name: str, size: tuple[float, float, float], mass: float) -> ObjectKind:
    x, y, z = size
    shape = Shape("box", (x / 2, y / 2, z / 2), (0.0, 0.0, z / 2))
    return ObjectKind(name, (shape,), size, mass, (Grasp((0, 0, max(z / 2, 0.012)), y, _QUARTER),), 2)


def _hammer() -> ObjectKind:
    handle = Shape("box", (0.065, 0.010, 0.010), (-0.015, 0.0, 0.012), colour=(0.78, 0.58, 0.34))
    head = Shape("box", (0.014, 0.040, 0.012), (0.064, 0.0, 0.012))
    return ObjectKind(
        "hammer", (handle, head), (0.160, 0.080, 0.024), 0.15, (Grasp((-0.005, 0, 0.012), 0.02, _QUARTER),), 1
    )


_TURNED = (_bar("plank", (0.140, 0.036, 0.024), 0.10), _hammer(), _bar("ruler", (0.180, 0.030, 0.018), 0.08))
TO_TURN = ("brick", "marker", "carrot", "banana", "plank", "hammer"), ("duck", "corner block", "ruler")


THINGS: dict[str, Kind] = (
    objects.OBJECTS
    | objects.CONTAINERS
    | {kind.name: kind for kind in (_flask(), _shaker(), _carton(), _skittle(), _TUBE)}
    | {kind.name: kind for kind in (*_CUPS, *_CUPS_UNSEEN, *_SWEETS, *_PARTICLES, *_VESSELS, *_TURNED)}
    | {name: letters.kind(name) for name in letters.FIGURES}
)
