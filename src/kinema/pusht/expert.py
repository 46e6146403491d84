"""An expert for PushT that reads the environment's truth: pushes chosen by trying them out beside.

The block stops as soon as nobody pushes it, so what a push does depends on where the agent has gone, hardly on how
fast. From many places around the block many straight pushes are tried on a second world, whose state is set; the one
is taken after which the block's corners are nearest to where they belong, for the way that it takes to get there. The
agent goes around the block to where the push begins, pushes, and thinks again.
"""

import heapq
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import numpy as np

from kinema.geometry import Array
from kinema.pusht import block
from kinema.pusht.client import Moment

# what would come of pushes, as `PushT.pushed`: block (3,), pushes (n, 4), looks, between -> (n, looks, 3)
Trial = Callable[[Array, Array, int, int], Array]

_SPACING = 12.0  # [px] from one place to push at to the next
_SLANTS = (-0.55, 0.0, 0.55)  # [rad] of a push against the block's side
_GAP = 5.0  # [px] from agent to block where a push begins
_CLEAR = block.RADIUS + 4.0  # [px] from the block that the agent keeps on its way, at least
_WIDE = block.RADIUS + 20.0  # [px] that it goes around corners by
_DEAR = 40.0  # [px] of detour that coming a pixel too near the block for 4 px is worth
_GOING, _PUSHING = 18.0, 12.0  # [px] the target moves in a step
_LOOKS, _BETWEEN = 20, 3  # at a push, and physics steps from one look to the next
_LONG, _SHORT = 2.4, 0.6  # [px] of a trial push in a physics step: 144 and 36 px in all
_NEAR = 14.0  # [px] off by which short pushes are tried
_FAIR = 0.35  # [px] that a step is worth
_THERE = 3.0  # [px] that the agent may be from where a push begins
_STILL = 1.5  # [px] from its target at which the agent has arrived
_SETTLE = 8  # steps that it may take to


@dataclass(frozen=True, eq=False, slots=True)
class Push:
    """From `start` (2,) [px] straight to `end`; `left`: how far off the block then will be [px]."""

    start: Array
    end: Array
    left: float


def candidates(pose: Array) -> tuple[Array, Array]:
    """Where pushes may begin (n, 2) around a block at a pose, and where they lead (n, 2), of unit length."""
    points, normals = block.contacts(_SPACING)
    starts = block.to_world(pose, points + normals * (block.RADIUS + _GAP))
    inwards = -block.to_world((0.0, 0.0, pose[2]), normals)
    turned = [block.to_world((0.0, 0.0, slant), inwards) for slant in _SLANTS]
    ways, starts = np.concatenate(turned), np.tile(starts, (len(_SLANTS), 1))
    low, high = block.INSIDE
    fits = ((starts > low) & (starts < high)).all(axis=1) & (block.distance(pose, starts) > block.RADIUS + 1.0)
    return starts[fits], ways[fits]


def best(pose: Array, agent: Array, trial: Trial) -> Push | None:
    """The push to make next; None where none brings the block nearer."""
    now = float(block.off(pose))
    starts, ways = candidates(pose)
    step = _SHORT if now < _NEAR else _LONG
    after = block.off(trial(pose, np.concatenate([starts, step * ways], axis=1), _LOOKS, _BETWEEN))  # (n, looks)
    lengths = step * _BETWEEN * np.arange(1, _LOOKS + 1)
    ends = starts[:, None] + lengths[:, None] * ways[:, None]
    low, high = block.INSIDE
    within = ((ends > low - block.RADIUS) & (ends < high + block.RADIUS)).all(axis=2)
    walked = np.linalg.norm(starts - agent, axis=1)[:, None] / _GOING + lengths / _PUSHING
    worth = np.where(within & (after < now - 0.3), after + min(_FAIR, 0.02 * now) * walked, np.inf)
    i, k = np.unravel_index(worth.argmin(), worth.shape)
    if not math.isfinite(worth[i, k]):
        return None
    return Push(starts[i], ends[i, k], float(after[i, k]))


def around(pose: Array, begin: Array, end: Array) -> Array:
    """The shortest way (n, 2) from `begin` to `end` by the block's corners; without `begin` itself."""
    corners = block.OUTLINE[block.CONVEX] + _WIDE / math.sqrt(2) * block.AROUND
    low, high = block.INSIDE
    nodes = np.concatenate([[begin, end], np.clip(block.to_world(pose, corners), low - 12, high + 12)])
    costs, queue, before = {0: 0.0}, [(0.0, 0)], {}
    while queue:
        cost, i = heapq.heappop(queue)
        if i == 1:
            break
        if cost > costs[i]:
            continue
        for j in range(1, len(nodes)):
            further = cost + float(np.linalg.norm(nodes[j] - nodes[i])) + _cost(pose, nodes[i], nodes[j])
            if further < costs.get(j, math.inf):
                costs[j], before[j] = further, i
                heapq.heappush(queue, (further, j))
    way, i = [], 1
    while i:
        way.append(nodes[i])
        i = before[i]
    return np.array(way[::-1])


def off_block(pose: Array, agent: Array) -> Array:
    """Where the agent is no longer at the block: straight away from it."""
    gap = float(block.distance(pose, agent[None])[0])
    if gap > _CLEAR:
        return agent
    nudge = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    right, left, down, up = block.distance(pose, agent + nudge)
    slope = np.array([right - left, down - up])
    return agent + (_WIDE - gap) * slope / max(float(np.linalg.norm(slope)), 1e-9)


def _cost(pose: Array, begin: Array, end: Array) -> float:
    """What coming too near the block costs on a straight way; its ends may be near."""
    count = max(int(np.linalg.norm(end - begin) / 4.0), 2)
    shares = np.linspace(0.0, 1.0, count)[:, None]
    gaps = block.distance(pose, begin + shares * (end - begin))
    allowed = min(_CLEAR, float(gaps[0]), float(gaps[-1]))
    return _DEAR * float(np.maximum(allowed - gaps, 0.0).sum())


def along(begin: Array, way: Array, speed: float) -> Iterator[Array]:
    """Targets (2,), `speed` [px] apart on each leg, from `begin` along a way (n, 2) to its end; nodes are passed by."""
    at = begin
    for node in way:
        while (left := float(np.linalg.norm(node - at))) > speed:
            at = at + (node - at) * (speed / left)
            yield at
        at = node
    yield at


def targets(first: Moment, trial: Trial) -> Generator[Array, Moment]:
    """Targets (2,) [px], one a step, as long as there is something to do; send the moment that came of each."""
    moment, at = first, first.agent
    while (push := best(moment.block, moment.agent, trial)) is not None:
        free = off_block(moment.block, moment.agent)
        going = np.array([free, *around(moment.block, free, push.start)])
        slowly = _PUSHING if push.left > _NEAR else 0.5 * _PUSHING
        for way, speed, arrived in ((going, _GOING, _THERE), (push.end[None], slowly, _STILL)):
            for target in along(at, way, speed):
                moment = yield target
            at = way[-1]
            for _ in range(_SETTLE):
                if np.linalg.norm(moment.agent - at) < arrived:
                    break
                moment = yield at
