"""Sweep a particle to a star with a brush, past what stands in the way ("Dreamitate", section 4.4)."""

import math
from typing import Any

import numpy as np

from kinema.chunk import Truth
from kinema.errors import ConfigError
from kinema.geometry import Array, Pose, distance
from kinema.virtual import catalogue, held, layout, objects
from kinema.virtual.judging import HAND, Judge, Moment, Verdict, moving
from kinema.virtual.layout import Placed, Region, Scenario
from kinema.virtual.objects import Pool
from kinema.virtual.scripting import MARGIN, Stage, Style, Until, aside, at_height, top_down

NEAR = 0.050  # [m] of the star's middle

_FIELD = Region((0.32, 0.58), (-0.26, 0.26), (0.36, 0.60))
_LOW = 0.088  # [m] of what stands there: the brush is longer than that, so the gripper passes above
_FAR = 0.12  # [m] from any particle to the star, at least
_BEHIND = 0.035  # [m] from the brush to the particle when it comes down
_OFF = 0.003  # [m] of the brush above the table
_CLEAR = 0.010  # [m] that it keeps from what stands there
_MANY = 4  # obstacles


def _free(particle: Array, star: Array, obstacles: list[tuple[Array, float]]) -> float:
    """How much room [m] the brush has beside its way with a particle to the star; negative: it would strike."""
    ahead = (star - particle) / max(float(np.linalg.norm(star - particle)), 1e-9)
    start = particle - (_BEHIND + 0.02) * ahead
    length, room = float((star - start) @ ahead), math.inf
    for at, radius in obstacles:
        along = min(max(float((at - start) @ ahead), 0.0), length)
        room = min(room, float(np.linalg.norm(at - start - along * ahead)) - radius)
    return room - held.tool("brush").width / 2 - _CLEAR


def draw(rng: layout.Rng, pool: Pool) -> dict[str, Any]:
    low = [kind for kind in pool.objects if objects.OBJECTS[kind].size[2] < _LOW]
    kinds = layout.drawn(rng, low, _MANY)
    crumb = layout.drawn(rng, pool.side(catalogue.CRUMBS), 1)[0]
    count = int(rng.integers(2, 5))
    for _ in range(layout.TRIES):
        rooms = [(_FIELD, 0.04), *[(_FIELD, 0.03)] * count]
        rooms += [(layout.CLUTTER, objects.OBJECTS[kind].radius) for kind in kinds]
        star, *spots = layout.spread(rng, rooms)
        stand = [(np.array(at), objects.OBJECTS[k].radius) for at, k in zip(spots[count:], kinds, strict=True)]
        crumbs = [np.array(at) for at in spots[:count]]
        if min(math.dist(at, star) for at in crumbs) < _FAR:
            continue
        if max(_free(at, np.array(star), stand) for at in crumbs) > 0.0:
            break
    else:
        raise ConfigError(f"no particle can be swept to the star in {layout.TRIES} tries")
    colour = layout.drawn(rng, pool.colours, 1)[0]
    shade = objects.COLOURS[colour]
    particles = tuple(
        Placed(f"{colour}_{crumb}_{i}", crumb, shade, shade, at, float(rng.uniform(-math.pi, math.pi)))
        for i, at in enumerate(spots[:count])
    )
    gold = (0.86, 0.62, 0.10)
    things = tuple(layout.place(rng, kind, pool, at) for kind, at in zip(kinds, spots[count:], strict=True))
    return {
        "text": f"sweep a {colour} {crumb} to the star",
        "particles": particles,
        "distractors": things,
        "mark": Placed("star", "star", gold, gold, star, float(rng.uniform(-math.pi, math.pi))),
        "tool": "brush",
    }


def judge(scenario: Scenario) -> Judge:
    """Any particle at the star, let go and at rest."""
    assert scenario.mark is not None
    star, names = np.array(scenario.mark.position), [placed.name for placed in scenario.particles]

    def look(moment: Moment) -> Verdict:
        gaps = {name: float(np.linalg.norm(moment.pose(name)[0][:2] - star)) for name in names}
        nearest = min(gaps, key=lambda name: gaps[name])
        gap, touched = gaps[nearest], moment.touching(nearest, HAND)
        if gap > NEAR:
            missing = f"the nearest particle is {1e3 * gap:.0f} mm from the star, wanted are {1e3 * NEAR:.0f}"
        elif touched:
            missing = "the brush still touches the particle"
        elif moving(moment, nearest):
            missing = "the particle still moves"
        else:
            missing = ""
        return Verdict(missing, {"distance": gap, "held": touched})

    return look


class Sweep:
    """Bring the brush down behind the particle with the freest way, push it to the star, back off, rise."""

    def __init__(self, tcp: Pose, truth: Truth, rest: Pose, style: Style, rng: np.random.Generator, attempt: int):
        self._start, self._style = tcp, style
        facts = truth.facts
        self._depth, self._thick = facts["tool"]["depth"], facts["tool"]["thick"]
        self._star = np.array(facts["mark"]["position"])
        bodies = facts["bodies"]
        self._particles = [name for name, body in bodies.items() if body["role"] == "particle"]
        others = {name: body for name, body in bodies.items() if body["role"] == "distractor"}
        stand = [(truth.poses[name].position[:2], math.hypot(*body["size"][:2]) / 2) for name, body in others.items()]
        self._top = max((body["size"][2] for body in others.values()), default=0.0)
        sway = rng.normal(0.0, 1.0, 3) * style.waypoint_spread
        self._aim = aside(style, rng)
        places = {name: truth.poses[name].position[:2] for name in self._particles}
        room = {name: min(_free(at, self._star, stand), 0.03) for name, at in places.items()}
        ranked = sorted(places, key=lambda name: 0.1 * math.dist(places[name], self._star) - room[name])
        particle = places[ranked[attempt % len(ranked)]]
        self._ahead = (self._star - particle) / max(math.dist(self._star, particle), 1e-9)
        size = max(bodies[ranked[0]]["size"][:2])
        low = self._depth + _OFF
        begin, end = particle - _BEHIND * self._ahead, self._star - (self._thick + size) / 2 * self._ahead
        yaw = math.atan2(self._ahead[1], self._ahead[0]) + math.pi / 2
        tools = [top_down(np.array([*begin, low]), yaw + flip) for flip in (0.0, math.pi)]
        self._down = min(tools, key=lambda tool: distance(tool, rest)[1])
        self._goal = Pose(np.array([*end, low]), self._down.rotation)
        self._back = Pose(np.array([*(end - 0.03 * self._ahead), low]), self._down.rotation)
        self._sway = sway

    def stages(self, truth: Truth) -> tuple[Stage, ...]:
        fly = self._depth + self._top + MARGIN
        width = held.WIDTH
        return (
            Stage(
                "rise",
                at_height(self._start, max(fly, float(self._start.position[2])), self._sway),
                width,
                Until.PASSED,
            ),
            Stage("above", at_height(self._down, fly) @ self._aim[0], width, Until.REACHED),
            Stage("near", at_height(self._down, self._depth + 0.03) @ self._aim[1], width, Until.PASSED, pace=0.5),
            Stage("descend", self._down, width, Until.ARRIVED, pace=0.5),
            Stage("sweep", self._goal, width, Until.ARRIVED, pace=0.5),
            Stage("back off", self._back, width, Until.REACHED, pace=0.5),
            Stage("retreat", at_height(self._back, fly), width, Until.ARRIVED),
            Stage("rest", at_height(self._back, fly), width, Until.NEVER),
        )

    def gripped(self, tcp: Pose, truth: Truth) -> None:
        """The brush is always in the hand."""

    def lost(self, tcp: Pose, truth: Truth) -> bool:
        return False

    def done(self, truth: Truth) -> bool:
        return min(math.dist(truth.poses[name].position[:2], self._star) for name in self._particles) < NEAR
