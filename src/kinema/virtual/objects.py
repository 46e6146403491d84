"""Catalogue of what stands on the table: things to grasp, containers, cabinets; colours and backgrounds.

Every kind is a compound of primitives. A body's frame has z up and its origin on the table below the thing's middle.
Kinds, colours and backgrounds are split into those of training and those held out, as in table 4 of "Video Generators
are Robot Policies": unseen objects differ in shape or colour, unseen backgrounds are black, red or blue instead of
white.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from scipy.spatial.transform import Rotation

Vector = tuple[float, float, float]
Rgb = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Shape:
    """A primitive: MuJoCo type, size and position [m], rotation vector [rad], in the body's frame.

    type     'lathe' is a surface of revolution about z, looks only: `profile` holds its (radius, z) pairs
    colour   'main', 'accent' or its own
    solid    takes part in contacts; visible: is drawn
    """

    type: Literal["box", "cylinder", "capsule", "sphere", "ellipsoid", "lathe"]
    size: tuple[float, ...] = ()
    position: Vector = (0.0, 0.0, 0.0)
    rotvec: Vector = (0.0, 0.0, 0.0)
    colour: str | Rgb = "main"
    solid: bool = True
    visible: bool = True
    profile: tuple[tuple[float, float], ...] = ()

    @property
    def volume(self) -> float:
        """[m^3]"""
        s = self.size
        match self.type:
            case "box":
                return 8 * s[0] * s[1] * s[2]
            case "cylinder":
                return 2 * math.pi * s[0] ** 2 * s[1]
            case "capsule":
                return math.pi * s[0] ** 2 * (2 * s[1] + 4 / 3 * s[0])
            case "sphere":
                return 4 / 3 * math.pi * s[0] ** 3
            case "ellipsoid":
                return 4 / 3 * math.pi * s[0] * s[1] * s[2]
            case _:
                return 0.0


@dataclass(frozen=True, slots=True)
class Grasp:
    """A way to take a thing from above: the point between the pads and the yaw of the closing axis in the body's frame.

    width [m] is what lies between the pads there; `yaw` None means that any will do.
    """

    position: Vector
    width: float
    yaw: float | None = None


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """Something to grasp.

    size      full extents [m] of the body's bounding box; mass [kg]
    symmetry  in how many yaws about z it looks the same; 0: any
    rolls     needs rolling friction to come to rest
    colour    its natural colour, or None: takes one of the palette, which then is part of its name
    firm      so light that the pads' rubber would swallow it: its own contacts decide
    """

    name: str
    shapes: tuple[Shape, ...]
    size: Vector
    mass: float
    grasps: tuple[Grasp, ...]
    symmetry: int = 0
    rolls: bool = False
    colour: Rgb | None = None
    firm: bool = False

    @property
    def radius(self) -> float:
        """Of the circle around its footprint [m]."""
        return math.hypot(self.size[0], self.size[1]) / 2 if self.symmetry else self.size[0] / 2


@dataclass(frozen=True, slots=True)
class ContainerKind:
    """Something to put things into: `opening` full inner extents at the rim, `floor` and `rim` heights, all [m].

    `grasps` of those that are themselves taken.
    """

    name: str
    shapes: tuple[Shape, ...]
    size: Vector
    mass: float
    round: bool
    opening: tuple[float, float]
    floor: float
    rim: float
    grasps: tuple[Grasp, ...] = ()

    @property
    def radius(self) -> float:
        """Of the circle around its footprint [m]."""
        return self.size[0] / 2 if self.round else math.hypot(self.size[0], self.size[1]) / 2


@dataclass(frozen=True, slots=True)
class CabinetKind:
    """A stepped chest of two drawers. Its frame: origin on the table below the middle of its upper front, x inwards.

    size     full depth, width, height [m]
    drawers  name -> height [m] of the drawer's middle
    travel   [m] of a drawer; friction [N] of its slides
    bar      full extents [m] of the handle's bar in its own frame, y along the bar
    step     [m] by which the lower drawer stands out before the upper one, so that a hand reaches it from above
    front    thickness [m] of a drawer's front, which stands out from the chest
    gap      [m] from the front to the middle of the bar
    """

    name: str
    handle: tuple[Shape, ...]
    bar: Vector
    size: Vector = (0.24, 0.30, 0.283)
    drawers: Mapping[str, float] = field(default_factory=lambda: {"lower": 0.100, "upper": 0.218})
    travel: float = 0.18
    friction: float = 3.0
    step: float = 0.06
    front: float = 0.016
    gap: float = 0.040


@dataclass(frozen=True, slots=True)
class Background:
    """Looks of the cell around the things.

    table    colour and pattern of the table's top
    wall, floor  colours
    light    position [m] of the main lamp; `warmth` and `brightness` of it; `ambient` share
    """

    name: str
    table: Rgb
    pattern: Literal["plain", "wood", "cloth"]
    wall: Rgb
    floor: Rgb
    light: Vector
    brightness: float
    warmth: float
    ambient: float


# ---- things to grasp


def _box(name: str, size: Vector, mass: float, **more: object) -> ObjectKind:
    x, y, z = size
    height = max(z / 2, 0.012)
    grasps = tuple(
        Grasp((0.0, 0.0, height), width, yaw) for width, yaw in ((x, 0.0), (y, math.pi / 2)) if width <= 0.070
    )
    shape = Shape("box", (x / 2, y / 2, z / 2), (0.0, 0.0, z / 2))
    kind = ObjectKind(name, (shape,), size, mass, grasps, symmetry=4 if x == y else 2)
    return replace(kind, **more)  # type: ignore[arg-type]


def upright(
    name: str, parts: tuple[tuple[float, float, float], ...], mass: float, grasp: tuple[float, float]
) -> ObjectKind:
    """A stack of cylinders (radius, from z, to z) under one lathed skin; `grasp` holds height and width [m]."""
    solids = tuple(
        Shape("cylinder", (r, (top - low) / 2), (0.0, 0.0, (top + low) / 2), visible=False) for r, low, top in parts
    )
    profile = ((0.0, 0.0), *(point for r, low, top in parts for point in ((r, low), (r, top))), (0.0, parts[-1][2]))
    widest = 2 * max(r for r, _, _ in parts)
    height = parts[-1][2]
    skin = Shape("lathe", profile=profile, solid=False)
    return ObjectKind(name, (skin, *solids), (widest, widest, height), mass, (Grasp((0, 0, grasp[0]), grasp[1]),))


def _chain(points: tuple[Vector, ...], radii: tuple[float, ...], colour: str | Rgb = "main") -> tuple[Shape, ...]:
    """Capsules from point to point."""
    shapes = []
    for a, b, r in zip(points[:-1], points[1:], radii, strict=True):
        along = np.subtract(b, a)
        length = float(np.linalg.norm(along))
        turn, _ = Rotation.align_vectors([along / length], [[0.0, 0.0, 1.0]])
        middle = tuple(float(v) for v in np.add(a, b) / 2)
        rotvec = tuple(float(v) for v in turn.as_rotvec())
        shapes.append(Shape("capsule", (r, length / 2), middle, rotvec, colour))  # type: ignore[arg-type]
    return tuple(shapes)


_QUARTER = math.pi / 2
_DARK: Rgb = (0.13, 0.12, 0.12)
_METAL: Rgb = (0.72, 0.73, 0.75)
_STEM: Rgb = (0.36, 0.25, 0.13)


def _can() -> ObjectKind:
    kind = upright("can", ((0.031, 0.0, 0.095),), 0.20, (0.055, 0.062))
    ends = tuple(Shape("cylinder", (0.0295, 0.001), (0, 0, z), colour=_METAL, solid=False) for z in (0.0005, 0.0955))
    band = Shape("cylinder", (0.0314, 0.014), (0, 0, 0.052), colour=(0.95, 0.94, 0.90), solid=False)
    return replace(kind, shapes=(*kind.shapes, *ends, band))


def _mug() -> ObjectKind:
    body = Shape("cylinder", (0.034, 0.0425), (0, 0, 0.0425), visible=False)
    skin = Shape(
        "lathe", solid=False, profile=((0, 0), (0.033, 0), (0.034, 0.085), (0.031, 0.085), (0.030, 0.074), (0, 0.074))
    )
    drink = Shape("cylinder", (0.0303, 0.0004), (0, 0, 0.0745), colour=(0.16, 0.09, 0.05), solid=False)
    arc = tuple((0.034 + 0.022 * math.sin(a), 0.0, 0.043 + 0.024 * math.cos(a)) for a in np.linspace(0, math.pi, 5))
    handle = _chain(arc, (0.0055,) * 4)
    return ObjectKind(
        "mug", (body, skin, drink, *handle), (0.130, 0.068, 0.085), 0.22, (Grasp((0, 0, 0.055), 0.068, _QUARTER),), 1
    )


def _bottle() -> ObjectKind:
    kind = upright(
        "bottle",
        ((0.029, 0.0, 0.092), (0.022, 0.092, 0.104), (0.0125, 0.104, 0.126)),
        0.16,
        (0.060, 0.058),
    )
    cap = Shape("cylinder", (0.014, 0.009), (0, 0, 0.134), colour="accent")
    label = Shape("cylinder", (0.0293, 0.022), (0, 0, 0.05), colour=(0.95, 0.94, 0.90), solid=False)
    return replace(kind, shapes=(*kind.shapes, cap, label), size=(0.058, 0.058, 0.143))


def _cup() -> ObjectKind:
    kind = upright("cup", ((0.027, 0.0, 0.03), (0.030, 0.03, 0.06), (0.033, 0.06, 0.09)), 0.07, (0.055, 0.066))
    skin = Shape(
        "lathe", solid=False, profile=((0, 0), (0.026, 0), (0.0335, 0.09), (0.0315, 0.09), (0.030, 0.075), (0, 0.075))
    )
    inside = Shape("cylinder", (0.0303, 0.0004), (0, 0, 0.0757), colour=(0.93, 0.92, 0.88), solid=False)
    return replace(kind, shapes=(skin, inside, *kind.shapes[1:]))


def _banana() -> ObjectKind:
    r, bend = 0.0165, 0.085
    angles = np.linspace(-0.85, 0.85, 6)
    points = tuple((bend * math.sin(a), bend * (1 - math.cos(a)) - 0.008, r) for a in angles)
    shapes = (*_chain(points, (0.013, 0.016, r, 0.016, 0.013)),)
    tip = (points[-1], (points[-1][0] + 0.012, points[-1][1] + 0.014, r))
    return ObjectKind(
        "banana",
        (*shapes, *_chain(tip, (0.006,), _STEM)),
        (0.170, 0.062, 0.033),
        0.12,
        (Grasp((0.0, -0.008, 0.014), 0.033, _QUARTER),),
        1,
        colour=(0.95, 0.80, 0.16),
    )


def _carrot() -> ObjectKind:
    points = ((-0.055, 0, 0.017), (-0.018, 0, 0.016), (0.02, 0, 0.014), (0.06, 0, 0.010))
    leaf = _chain(
        ((-0.066, 0, 0.017), (-0.085, 0.006, 0.017), (-0.098, 0.002, 0.014)), (0.008, 0.006), (0.2, 0.5, 0.15)
    )
    return ObjectKind(
        "carrot",
        (*_chain(points, (0.017, 0.0155, 0.0125)), *leaf),
        (0.175, 0.034, 0.034),
        0.09,
        (Grasp((-0.02, 0, 0.014), 0.033, _QUARTER),),
        1,
        rolls=True,
        colour=(0.93, 0.45, 0.10),
    )


def _marker() -> ObjectKind:
    flat = (0.0, _QUARTER, 0.0)
    return ObjectKind(
        "marker",
        (
            Shape("cylinder", (0.0125, 0.045), (-0.018, 0, 0.0125), flat, (0.94, 0.94, 0.92)),
            Shape("cylinder", (0.0125, 0.020), (0.045, 0, 0.0125), flat),
        ),
        (0.130, 0.025, 0.025),
        0.05,
        (Grasp((0, 0, 0.0125), 0.025, _QUARTER),),
        2,
        rolls=True,
    )


def _fruit(name: str, radii: Vector, mass: float, colour: Rgb) -> ObjectKind:
    a, b, c = radii
    stem = Shape("capsule", (0.0022, 0.006), (0, 0, 2 * c + 0.003), (0.2, 0.1, 0), _STEM, solid=False)
    grasp = Grasp((0, 0, c), 2 * b, None if a == b else _QUARTER)
    body = Shape("ellipsoid", radii, (0, 0, c)) if a != c else Shape("sphere", (a,), (0, 0, c))
    shapes = (body, stem) if a == b else (body,)
    return ObjectKind(name, shapes, (2 * a, 2 * b, 2 * c), mass, (grasp,), 0 if a == b else 2, True, colour)


def _duck() -> ObjectKind:
    return ObjectKind(
        "duck",
        (
            Shape("ellipsoid", (0.042, 0.028, 0.024), (0, 0, 0.025)),
            Shape("cylinder", (0.020, 0.004), (0, 0, 0.004)),
            Shape("sphere", (0.020,), (0.024, 0, 0.058)),
            Shape("capsule", (0.006, 0.006), (0.046, 0, 0.056), (0, _QUARTER, 0), (0.95, 0.45, 0.1)),
            Shape("ellipsoid", (0.014, 0.006, 0.010), (-0.040, 0, 0.036), (0, 0.6, 0)),
            *(
                Shape("sphere", (0.003,), (0.039, s * 0.010, 0.066), colour=(0.05, 0.05, 0.05), solid=False)
                for s in (-1, 1)
            ),
        ),
        (0.110, 0.056, 0.078),
        0.08,
        (Grasp((-0.004, 0, 0.025), 0.056, _QUARTER),),
        1,
    )


def _pear() -> ObjectKind:
    return ObjectKind(
        "pear",
        (
            Shape("ellipsoid", (0.031, 0.031, 0.031), (0, 0, 0.030)),
            Shape("cylinder", (0.018, 0.003), (0, 0, 0.003)),
            Shape("ellipsoid", (0.020, 0.020, 0.028), (0, 0, 0.060)),
            Shape("capsule", (0.0025, 0.008), (0, 0, 0.094), (0.25, 0, 0), _STEM, solid=False),
        ),
        (0.062, 0.062, 0.088),
        0.11,
        (Grasp((0, 0, 0.032), 0.062),),
        colour=(0.66, 0.74, 0.22),
    )


def _jar() -> ObjectKind:
    kind = upright("jar", ((0.032, 0.0, 0.062), (0.028, 0.062, 0.066), (0.0325, 0.066, 0.082)), 0.20, (0.040, 0.065))
    lid = Shape("cylinder", (0.0328, 0.0085), (0, 0, 0.0742), colour="accent", solid=False)
    label = Shape("cylinder", (0.0323, 0.015), (0, 0, 0.034), colour=(0.95, 0.94, 0.90), solid=False)
    return replace(kind, shapes=(*kind.shapes, lid, label))


def _die() -> ObjectKind:
    kind = _box("die", (0.038, 0.038, 0.038), 0.07)
    spots = [(0.0, 0.0, 0.038), *((s * 0.0095, t * 0.0095, 0.038) for s in (-1, 1) for t in (-1, 1))]
    pips = [Shape("cylinder", (0.0036, 0.0004), p, colour=(0.97, 0.97, 0.95), solid=False) for p in spots]
    for side in (-1, 1):
        pips += [
            Shape("cylinder", (0.0036, 0.0004), (side * 0.019, t * 0.0095, 0.019 + t * 0.0095), (0, _QUARTER, 0),
                  (0.97, 0.97, 0.95), solid=False)
            for t in (-1, 0, 1)
        ]  # fmt: skip
    return replace(kind, shapes=(*kind.shapes, *pips))


def _spool() -> ObjectKind:
    parts = ((0.030, 0.0, 0.008), (0.022, 0.008, 0.052), (0.030, 0.052, 0.060))
    kind = upright("spool", parts, 0.07, (0.030, 0.060))
    thread = Shape("cylinder", (0.0235, 0.020), (0, 0, 0.030), colour="accent", solid=False)
    return replace(kind, shapes=(*kind.shapes, thread))


def _corner() -> ObjectKind:
    return ObjectKind(
        "corner block",
        (
            Shape("box", (0.040, 0.017, 0.017), (0.0, 0.0, 0.017)),
            Shape("box", (0.017, 0.017, 0.017), (0.023, 0.0, 0.051)),
        ),
        (0.080, 0.034, 0.068),
        0.11,
        (Grasp((0.004, 0, 0.020), 0.034, _QUARTER),),
        1,
    )


_OBJECTS_TRAIN = (
    _box("block", (0.044, 0.044, 0.044), 0.09),
    _box("brick", (0.090, 0.042, 0.036), 0.14),
    _can(),
    ObjectKind(
        "ball",
        (Shape("sphere", (0.030,), (0, 0, 0.03)),),
        (0.06, 0.06, 0.06),
        0.06,
        (Grasp((0, 0, 0.03), 0.06),),
        0,
        True,
    ),
    _mug(),
    _bottle(),
    _cup(),
    _banana(),
    _carrot(),
    _fruit("lemon", (0.037, 0.027, 0.027), 0.09, (0.97, 0.87, 0.20)),
    _fruit("apple", (0.033, 0.033, 0.033), 0.14, (0.76, 0.13, 0.12)),
    _marker(),
)
_OBJECTS_UNSEEN = (_duck(), _pear(), _jar(), _die(), _spool(), _corner())


# ---- containers


def wall_ring(radii: tuple[float, float], low: float, high: float, thickness: float, n: int = 12) -> tuple[Shape, ...]:
    """A tapered ring of n boxes whose inner faces are at the given radii at `low` and `high`."""
    bottom, top = radii
    tilt = math.atan2(top - bottom, high - low)
    half = math.hypot(top - bottom, high - low) / 2
    middle = (bottom + top) / 2 + thickness / 2
    chord = (max(radii) + thickness) * math.tan(math.pi / n)
    shapes = []
    for phi in np.arange(n) * 2 * math.pi / n:
        turn = Rotation.from_euler("z", phi) * Rotation.from_euler("y", tilt)
        rotvec = tuple(float(v) for v in turn.as_rotvec())
        at = (middle * math.cos(phi), middle * math.sin(phi), (low + high) / 2)
        shapes.append(Shape("box", (thickness / 2, chord, half), at, rotvec, visible=False))  # type: ignore[arg-type]
    return tuple(shapes)


def round_vessel(
    name: str, radii: tuple[float, float], height: float, mass: float, *extras: Shape, n: int = 12, size: float = 0.0
) -> ContainerKind:
    """A round vessel; `radii` are the inner ones at floor and rim."""
    wall, floor = 0.005, 0.010
    bottom, top = radii
    skin = Shape(
        "lathe",
        solid=False,
        profile=(
            (0.0, 0.0),
            (bottom + wall, 0.0),
            (top + wall, height),
            (top, height),
            (bottom, floor),
            (0.0, floor),
        ),
    )
    base = Shape("cylinder", (bottom + wall, floor / 2), (0, 0, floor / 2), visible=False)
    ring = wall_ring(radii, floor, height, wall, n)
    across = max(2 * (max(radii) + wall), size)
    return ContainerKind(
        name, (skin, base, *ring, *extras), (across, across, height), mass, True, (2 * top, 2 * top), floor, height
    )


def _rectangular(
    name: str, inner: tuple[float, float], height: float, mass: float, *extras: Shape, slats: bool = False
) -> ContainerKind:
    """A rectangular vessel of full inner extents [m]; with `slats` its walls are boards with gaps."""
    wall, floor = 0.006, 0.010
    x, y = inner[0] / 2, inner[1] / 2
    bands = [(floor, height)]
    if slats:
        step = (height - floor) / 3
        bands = [(floor + k * step + (0.004 if k else 0.0), floor + (k + 1) * step) for k in range(3)]
    shapes = [Shape("box", (x + wall, y + wall, floor / 2), (0, 0, floor / 2))]
    for low, high in bands:
        z, half = (low + high) / 2, (high - low) / 2
        for s in (-1, 1):
            shapes.append(Shape("box", (wall / 2, y + wall, half), (s * (x + wall / 2), 0, z), solid=not slats))
            shapes.append(Shape("box", (x, wall / 2, half), (0, s * (y + wall / 2), z), solid=not slats))
    if slats:
        z, half = (floor + height) / 2, (height - floor) / 2
        for s in (-1, 1):
            shapes.append(Shape("box", (wall / 2, y + wall, half), (s * (x + wall / 2), 0, z), visible=False))
            shapes.append(Shape("box", (x, wall / 2, half), (0, s * (y + wall / 2), z), visible=False))
            shapes += [
                Shape(
                    "box", (0.006, 0.006, height / 2), (s * (x - 0.004), t * (y - 0.004), height / 2), colour="accent"
                )
                for t in (-1, 1)
            ]
    size = (inner[0] + 2 * wall, inner[1] + 2 * wall, height)
    return ContainerKind(name, (*shapes, *extras), size, mass, False, inner, floor, height)


def _side_handles(radius: float, height: float) -> tuple[Shape, ...]:
    ears: list[Shape] = []
    for s in (-1, 1):
        points = tuple(
            (s * (radius + 0.020 * math.sin(a)), 0.026 * math.cos(a), height) for a in np.linspace(0.0, math.pi, 4)
        )
        ears += _chain(points, (0.005,) * 3, _DARK)
    return tuple(ears)


def _bands(radii: tuple[float, float], height: float, count: int) -> tuple[Shape, ...]:
    """Rings of another shade around a vessel, looks only."""
    rings = []
    for k in range(count):
        low, high = (height * (2 * k + f) / (2 * count) for f in (0.5, 1.3))
        r = [radii[0] + (radii[1] - radii[0]) * z / height + 0.0065 for z in (low, high)]
        profile = ((r[0] - 0.003, low), (r[0], low), (r[1], high), (r[1] - 0.003, high))
        rings.append(Shape("lathe", profile=profile, solid=False, colour="accent"))
    return tuple(rings)


def _pan() -> ContainerKind:
    grip = Shape("capsule", (0.009, 0.050), (0.165, 0, 0.033), (0, _QUARTER, 0), _DARK)
    return replace(round_vessel("pan", (0.080, 0.092), 0.038, 0.7, grip), size=(0.42, 0.42, 0.042))


_CONTAINERS_TRAIN = (
    round_vessel("bowl", (0.050, 0.082), 0.055, 0.45),
    round_vessel("deep bowl", (0.055, 0.078), 0.075, 0.55),
    round_vessel("plate", (0.072, 0.100), 0.018, 0.50),
    round_vessel("basket", (0.070, 0.080), 0.080, 0.40, *_bands((0.070, 0.080), 0.080, 4)),
    round_vessel("pot", (0.078, 0.078), 0.070, 0.90, *_side_handles(0.083, 0.055), size=0.22),
    round_vessel("bucket", (0.062, 0.076), 0.095, 0.45, *_bands((0.062, 0.076), 0.095, 1)),
    _rectangular("bin", (0.140, 0.140), 0.080, 0.50),
    _rectangular("tray", (0.190, 0.140), 0.030, 0.45),
    _rectangular("box", (0.160, 0.120), 0.060, 0.35),
    _rectangular("crate", (0.170, 0.130), 0.066, 0.45, slats=True),
)
_CONTAINERS_UNSEEN = (
    _pan(),
    round_vessel("planter", (0.068, 0.086), 0.085, 0.80, *_bands((0.083, 0.086), 0.085, 1)[-1:]),
    round_vessel("dish", (0.085, 0.085), 0.045, 0.60),
    _rectangular(
        "drawer box", (0.150, 0.150), 0.050, 0.45, Shape("box", (0.002, 0.02, 0.008), (0.082, 0, 0.03), colour=_DARK)
    ),
)


# ---- cabinets


def _posts(half: float, gap: float = 0.040) -> tuple[Shape, ...]:
    """What holds a bar in front of a drawer; x of the bar's frame points to the drawer."""
    return tuple(Shape("box", (gap / 2, 0.005, 0.005), (gap / 2, s * half, 0), colour="accent") for s in (-1, 1))


def _cabinet(name: str, bar: Vector, form: Literal["box", "capsule", "cylinder"], posts: float) -> CabinetKind:
    """`bar` full extents [m], y along the bar; its posts stand `posts` [m] to either side of the middle."""
    thick, long, high = (extent / 2 for extent in bar)
    if form == "box":
        shape = Shape("box", (thick, long, high), colour="accent")
    else:
        half = long - thick if form == "capsule" else long
        shape = Shape(form, (thick, half), rotvec=(_QUARTER, 0.0, 0.0), colour="accent")
    return CabinetKind(name, (shape, *_posts(posts)), bar)


_CABINETS_TRAIN = (
    _cabinet("bar", (0.014, 0.124, 0.014), "capsule", 0.050),
    _cabinet("square bar", (0.012, 0.120, 0.014), "box", 0.050),
    _cabinet("short bar", (0.016, 0.080, 0.016), "cylinder", 0.032),
)
_CABINETS_UNSEEN = (
    _cabinet("rail", (0.010, 0.200, 0.020), "box", 0.090),
    _cabinet("thick bar", (0.024, 0.114, 0.024), "capsule", 0.042),
)


# ---- colours and backgrounds

_COLOURS_TRAIN: dict[str, Rgb] = {
    "red": (0.77, 0.13, 0.11),
    "green": (0.17, 0.52, 0.24),
    "blue": (0.13, 0.30, 0.66),
    "yellow": (0.93, 0.75, 0.14),
    "orange": (0.90, 0.43, 0.10),
    "purple": (0.42, 0.22, 0.56),
}
_COLOURS_UNSEEN: dict[str, Rgb] = {
    "pink": (0.91, 0.45, 0.60),
    "turquoise": (0.12, 0.63, 0.62),
    "brown": (0.45, 0.28, 0.16),
    "lime": (0.62, 0.80, 0.20),
}
_OVERHEAD: Vector = (0.2, -0.5, 1.9)
_ASIDE: Vector = (0.1, 0.8, 1.7)
_BACKGROUNDS_TRAIN = (
    Background(
        "white", (0.90, 0.90, 0.89), "plain", (0.78, 0.80, 0.82), (0.45, 0.46, 0.47), _OVERHEAD, 0.50, 0.00, 0.36
    ),
    Background(
        "ivory", (0.88, 0.85, 0.78), "plain", (0.72, 0.76, 0.78), (0.42, 0.41, 0.40), _OVERHEAD, 0.47, 0.04, 0.38
    ),
    Background(
        "grey", (0.76, 0.77, 0.78), "plain", (0.83, 0.82, 0.80), (0.50, 0.50, 0.50), _OVERHEAD, 0.54, 0.00, 0.37
    ),
    Background(
        "birch", (0.80, 0.71, 0.57), "wood", (0.79, 0.80, 0.79), (0.44, 0.45, 0.46), _OVERHEAD, 0.50, 0.02, 0.36
    ),
)
_BACKGROUNDS_UNSEEN = (
    Background("black", (0.09, 0.09, 0.10), "plain", (0.62, 0.60, 0.57), (0.33, 0.33, 0.34), _ASIDE, 0.52, 0.08, 0.38),
    Background("red", (0.60, 0.12, 0.12), "cloth", (0.55, 0.60, 0.66), (0.38, 0.36, 0.35), _ASIDE, 0.50, 0.05, 0.38),
    Background("blue", (0.13, 0.26, 0.56), "cloth", (0.80, 0.77, 0.70), (0.36, 0.34, 0.31), _ASIDE, 0.50, -0.05, 0.38),
)


def _by_name(*rows: tuple) -> dict:
    return {row.name: row for group in rows for row in group}


OBJECTS: dict[str, ObjectKind] = _by_name(_OBJECTS_TRAIN, _OBJECTS_UNSEEN)
CONTAINERS: dict[str, ContainerKind] = _by_name(_CONTAINERS_TRAIN, _CONTAINERS_UNSEEN)
CABINETS: dict[str, CabinetKind] = _by_name(_CABINETS_TRAIN, _CABINETS_UNSEEN)
COLOURS: dict[str, Rgb] = _COLOURS_TRAIN | _COLOURS_UNSEEN
BACKGROUNDS: dict[str, Background] = _by_name(_BACKGROUNDS_TRAIN, _BACKGROUNDS_UNSEEN)


@dataclass(frozen=True, slots=True)
class Pool:
    """Names from which one side of the split draws."""

    objects: tuple[str, ...]
    containers: tuple[str, ...]
    cabinets: tuple[str, ...]
    colours: tuple[str, ...]
    backgrounds: tuple[str, ...]

    def side(self, kinds: tuple[tuple[str, ...], tuple[str, ...]]) -> tuple[str, ...]:
        """Of what is seen in training and what is held out that which belongs to this side's objects."""
        return kinds[not set(self.objects) <= set(SEEN.objects)]


SEEN = Pool(
    tuple(kind.name for kind in _OBJECTS_TRAIN),
    tuple(kind.name for kind in _CONTAINERS_TRAIN),
    tuple(kind.name for kind in _CABINETS_TRAIN),
    tuple(_COLOURS_TRAIN),
    tuple(row.name for row in _BACKGROUNDS_TRAIN),
)
UNSEEN = Pool(
    tuple(kind.name for kind in _OBJECTS_UNSEEN),
    tuple(kind.name for kind in _CONTAINERS_UNSEEN),
    tuple(kind.name for kind in _CABINETS_UNSEEN),
    tuple(_COLOURS_UNSEEN),
    tuple(row.name for row in _BACKGROUNDS_UNSEEN),
)
_PLAIN = Pool(("block", "lemon", "can", "bottle", "cup"), ("bowl", "tray"), ("bar",), ("red", "blue"), ("grey",))
SPLITS: dict[str, Pool] = {
    "train": SEEN,
    "unseen_objects": replace(UNSEEN, backgrounds=SEEN.backgrounds),
    "unseen_background": replace(SEEN, backgrounds=UNSEEN.backgrounds),
    "plain": _PLAIN,  # one table and few things: what a small network can learn to draw
}
