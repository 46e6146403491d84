"""Scoop particles from a full bowl into an empty one ("Dreamitate", section 4.3)."""

import math
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.geometry import Array, Pose, distance, so3_exp
from kinema.virtual import catalogue, held, layout, objects
from kinema.virtual.judging import HAND, UPRIGHT, Judge, Moment, Verdict, moving
from kinema.virtual.layout import Placed, Region, Scenario
from kinema.virtual.objects import ContainerKind, Pool
from kinema.virtual.scripting import UP, Stage, Style, Until, top_down

_BOWLS = Region((0.36, 0.54), (-0.24, 0.24), (0.40, 0.56))
_ROOM = 0.095  # [m] around each bowl
_LOW = 0.088  # [m] of what else stands there: the scoop is longer than that
_RING, _LAYER = 0.017, 0.0165  # [m] radius of a ring of particles, height of a layer

# the scoop's lip: how far its nose points down [rad]; where it is ahead of the bowl's middle and above its floor [m]
_DIG = (
    (math.radians(50), -0.030, 0.002),
    (math.radians(25), 0.000, 0.002),
    (math.radians(10), 0.024, 0.002),
    (math.radians(0), 0.033, 0.003),
    (math.radians(-10), 0.039, 0.008),
    (math.radians(-25), 0.047, 0.020),
)
_LEVEL, _POUR = math.radians(-25), math.radians(65)
_ABOVE = 0.045  # [m] of the lip over a rim


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    low = [kind for kind in pool.objects if objects.OBJECTS[kind].size[2] < _LOW]
    kinds = layout.drawn(rng, low, int(rng.integers(0, 3)))
    rooms = [(_BOWLS, _ROOM), (_BOWLS, _ROOM), *((layout.CLUTTER, objects.OBJECTS[kind].radius) for kind in kinds)]
    full_at, empty_at, *others = layout.spread(rng, rooms)
    bowls = []
    colour_of_grains, *colours = layout.colours(rng, pool, 3)
    for colour, at in zip(colours, (full_at, empty_at), strict=True):
        kind = layout.drawn(rng, pool.side(catalogue.TO_SCOOP), 1)[0]
        shade = objects.COLOURS[colour]
        bowls.append(Placed(f"{colour}_bowl", kind, shade, shade, at, float(rng.uniform(-math.pi, math.pi))))
    grain = layout.drawn(rng, pool.side(catalogue.GRAINS), 1)[0]
    shade, turn = objects.COLOURS[colour_of_grains], float(rng.uniform(-math.pi, math.pi))
    bowl = catalogue.THINGS[bowls[0].kind]
    assert isinstance(bowl, ContainerKind)
    spots = [(0.0, 0.0, 0.0), *((_RING, k * math.pi / 3, 0.0) for k in range(6))]
    spots += [(0.6 * _RING, (k + 0.5) * math.pi / 2, _LAYER) for k in range(4)]
    particles = []
    for i, (radius, angle, above) in enumerate(spots):
        at = full_at[0] + radius * math.cos(angle + turn), full_at[1] + radius * math.sin(angle + turn)
        particles.append(Placed(f"{grain}_{i}", grain, shade, shade, at, 0.0, height=bowl.floor + above + 0.001))
    full, empty = (bowl.name.replace("_", " ") for bowl in bowls)
    return {
        "text": f"scoop {colour_of_grains} {grain}s from the {full} into the {empty}",
        "target": bowls[0],
        "container": bowls[1],
        "distractors": tuple(layout.place(rng, kind, pool, at) for kind, at in zip(kinds, others, strict=True)),
        "particles": tuple(particles),
        "tool": "scoop",
    }


def judge(scenario: Scenario) -> Judge:
    """Any particle in the bowl that was empty, let go and at rest."""
    container = scenario.container
    assert container is not None
    vessel = catalogue.THINGS[container.kind]
    assert isinstance(vessel, ContainerKind)
    names, bowl = [placed.name for placed in scenario.particles], container.name.replace("_", " ")

    def look(moment: Moment) -> Verdict:
        P, Q = moment.pose(container.name)
        places = {name: Q.T @ (moment.pose(name)[0] - P) for name in names}
        radius = vessel.opening[0] / 2
        inside = [name for name, at in places.items() if math.hypot(*at[:2]) < radius and 0 < at[2] < vessel.rim]
        resting = [name for name in inside if not (moving(moment, name) or moment.touching(name, HAND))]
        if Q[2, 2] < UPRIGHT:
            missing = f"the {bowl} has been tipped over"
        elif not inside:
            missing = f"no particle is in the {bowl}"
        elif not resting:
            missing = f"what is in the {bowl} still moves or touches the scoop"
        else:
            missing = ""
        return Verdict(missing, {"inside": len(inside)})

    return look


class Scoop:
    """Nose down into the full bowl, through it to the other side and up, over to the empty one, nose down again.

    The nose points across the way to the base, so that the hand, which leans with it, is neither folded nor stretched.
    """

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._start, self._style, self._rest = tcp, style, rest
        facts = truth.facts
        self._full: str = facts["target"]
        self._empty: str = facts["container"]
        tool = facts["tool"]
        self._lip = np.array([0.0, tool["thick"] / 2, tool["depth"]])
        self._bodies = facts["bodies"]
        self._particles = [name for name, body in self._bodies.items() if body["role"] == "particle"]
        self._side = (1.0, -1.0)[attempt % 2] if attempt else self._best(truth)
        self._sway = rng.normal(0.0, 1.0, 3) * style.waypoint_spread
        self._full_at, self._empty_at = (truth.poses[name].position for name in (self._full, self._empty))

    def _best(self, truth: Truth) -> float:
        """To which side the tool turns less."""
        at = truth.poses[self._full].position
        return min((1.0, -1.0), key=lambda side: distance(self._tool(at, 0.0, 0.0, 0.2, side), self._rest)[1])

    def _tool(self, bowl: Array, nose: float, ahead: float, height: float, side: float) -> Pose:
        """`T_base_tcp` with the lip `ahead` of a bowl's middle at a height above the table, its nose down [rad]."""
        a = side * np.array([-bowl[1], bowl[0], 0.0]) / math.hypot(bowl[0], bowl[1])
        level = top_down(np.zeros(3), math.atan2(a[0], -a[1]))
        rotation = so3_exp(nose * np.cross(a, -UP)) @ level.rotation
        lip = np.array([bowl[0], bowl[1], 0.0]) + ahead * a + height * UP
        return Pose(lip - rotation @ self._lip, rotation)

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        width = held.WIDTH
        full, empty = self._bodies[self._full], self._bodies[self._empty]

        def at_full(nose: float, ahead: float, height: float) -> Pose:
            return self._tool(self._full_at, nose, ahead, height, self._side)

        def at_empty(nose: float, height: float) -> Pose:
            return self._tool(self._empty_at, nose, 0.0, empty["rim"] + height, self._side)

        dig = [at_full(nose, ahead, full["floor"] + above) for nose, ahead, above in _DIG]
        nose, ahead, _ = _DIG[0]
        above = at_full(nose, ahead, full["rim"] + _ABOVE)
        lifted = at_full(_LEVEL, _DIG[-1][1], full["rim"] + 2 * _ABOVE)
        rise = Pose(self._start.position + self._sway, self._start.rotation)
        return (
            Stage("rise", rise, width, Until.PASSED),
            Stage("above", above, width, Until.REACHED),
            Stage("near", at_full(nose, ahead, full["rim"]), width, Until.PASSED, pace=0.4),
            Stage("descend", dig[0], width, Until.ARRIVED, pace=0.4),
            *(Stage("scoop", pose, width, Until.PASSED, pace=0.4) for pose in dig[1:-1]),
            Stage("scoop", dig[-1], width, Until.REACHED, pace=0.4),
            Stage("lift", lifted, width, Until.REACHED, pace=0.4),
            Stage("carry", at_empty(_LEVEL, 2 * _ABOVE), width, Until.REACHED, pace=0.6),
            Stage("lower", at_empty(_LEVEL, 1.5 * _ABOVE), width, Until.REACHED, pace=0.5),
            Stage("pour", at_empty(_POUR, 0.5 * _ABOVE), width, Until.ARRIVED, pace=0.6),
            Stage("retreat", at_empty(0.0, 2 * _ABOVE), width, Until.ARRIVED, pace=0.6),
            Stage("rest", at_empty(0.0, 2 * _ABOVE), width, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        """The scoop is always in the hand."""

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        return False

    def done(self, truth: Truth) -> bool:
        bowl, facts = truth.poses[self._empty], self._bodies[self._empty]
        places = [bowl.inverse().apply(truth.poses[name].position) for name in self._particles]
        return any(math.hypot(*at[:2]) < facts["opening"][0] / 2 and at[2] < facts["rim"] for at in places)
