"""Moments of recorded episodes as batches: which ones, in what order, how they are varied.

What a step of training sees is a pure function of the seed and the step's number, so that a run that was interrupted
goes on with the very batches it would have seen. Random numbers are drawn for the whole batch, whoever computes which
part of it, so that they are the same for any number of processes.
"""

import concurrent.futures
import functools
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.episodes.shards import ShardDataset
from kinema.episodes.state import STATE
from kinema.errors import EpisodeError
from kinema.geometry import rotation_from_6d
from kinema.policies import look, tool_state
from kinema.policies.actions import ActionSpace
from kinema.policies.batch import Batch

Rows = NDArray[np.int64]

_CLOSED = 0.012  # [m] that a jaw closes by, or opens by again, that means to
_PRESSED = 2.0  # [N] with less it holds nothing
_AHEAD = 2.4  # [s] before a jaw closes on nothing from which nothing is learned: what a chunk reaches
_SHARE = 0.25  # [-] of the memory that is free, for decoded images
_SIDES = (1.0, 1.0, 0.4)  # of how far astray a tool is, in its frame: less towards what it is about to take
_FREE = 0.04  # [m] that a thing is off at least when the tool may be aside of it; nearer, it is between the fingers
_BACK = 0.6  # [s] in which a tool that has gone astray is led back


@dataclass(frozen=True, slots=True)
class Framing:
    """What belongs to a moment.

    cameras  in the order of the batch's images
    frames   of the future, of each camera; 0: only the images at t
    stride   steps from one frame to the next
    history  moments of images, the newest at t, as far apart as frames; with more than one come the steps since then
    shift    [px] a camera's images are moved by up to so much, all alike, in each direction; the border goes on
    prefix   up to so many first steps of a chunk are committed already, in every second moment
    astray   [m] spread of how far aside the tool is taken to be, in every second moment in which it is free and a
             glimpse says what is seen; the chunk then leads back to where it was
    opening  only so many moments from an episode's beginning on; 0: all
    goal     masks of where the thing is to lie belong to it
    """

    cameras: tuple[str, ...] = ("gripper", "left", "right")
    frames: int = 0
    stride: int = 4
    shift: int = 0
    prefix: int = 0
    history: int = 1
    astray: float = 0.0
    opening: int = 0
    goal: bool = False

    @property
    def done(self) -> int:
        """How many of the steps before a moment belong to it."""
        return self.history * self.stride if self.history > 1 else 0

    @property
    def present(self) -> bool:
        """Whether the images at t are all that belongs to a moment."""
        return self.frames == 0 and self.history == 1


@dataclass(frozen=True, slots=True)
class Draw:
    """Which moments: rows (b,) of the windows; how varied: shift (b, cameras, 2) [px] down and right, prefix (b,), how
    far astray (b, 3) [m] in the tool's own frame."""

    rows: Rows
    shift: Rows
    prefix: Rows
    astray: NDArray[np.float32]

    def part(self, process: int, processes: int) -> "Draw":
        """What one of several processes takes of it."""
        mine = slice(process, None, processes)
        return Draw(self.rows[mine], self.shift[mine], self.prefix[mine], self.astray[mine])

    def portions(self, size: int) -> Iterator["Draw"]:
        """All of it, up to `size` moments at a time."""
        count = -(-len(self.rows) // size)
        return (self.part(portion, count) for portion in range(count))


def draw(moments: int, framing: Framing, batch: int, seed: int, step: int) -> Draw:
    """The batch of a step: every moment comes once before any comes again."""
    rows = np.array(
        [_order(moments, seed, at // moments)[at % moments] for at in range(step * batch, (step + 1) * batch)]
    )
    random = np.random.default_rng((seed, step, 1))
    shift = random.integers(-framing.shift, framing.shift, (batch, len(framing.cameras), 2), endpoint=True)
    prefix = random.integers(0, 2, batch) * random.integers(0, framing.prefix, batch, endpoint=True)
    astray = random.integers(0, 2, (batch, 1)) * framing.astray * _SIDES * random.standard_normal((batch, 3))
    return Draw(rows, shift, prefix, astray.astype(np.float32))


@functools.lru_cache(maxsize=2)
def _order(moments: int, seed: int, epoch: int) -> Rows:
    return np.random.default_rng((seed, epoch, 0)).permutation(moments)


def spread(moments: int, count: int, framing: Framing) -> Draw:
    """Up to `count` moments evenly over all, as they are: for measuring."""
    rows = np.unique(np.linspace(0, moments - 1, min(count, moments)).round().astype(np.int64))
    return Draw(rows, *_plain(len(rows), framing))


def _plain(count: int, framing: Framing) -> tuple[Rows, Rows, NDArray[np.float32]]:
    """No shift, no prefix, not astray."""
    shift = np.zeros((count, len(framing.cameras), 2), np.int64)
    return shift, np.zeros(count, np.int64), np.zeros((count, 3), np.float32)


def split(data: ShardDataset, share: float) -> tuple[list[int], list[int]]:
    """Episodes to train on, and the share [-] of episodes held out, at least one: by their names, whatever the seed."""
    held_out = max(1, round(share * len(data)))
    if held_out >= len(data):
        raise EpisodeError(
            f"{data.folder}: has {len(data)} episodes; with {held_out} held out none is left to learn from"
        )
    mixed = sorted(range(len(data)), key=lambda episode: hashlib.sha256(data.name(episode).encode()).digest())
    return sorted(mixed[held_out:]), sorted(mixed[:held_out])


# ---- images


@dataclass(frozen=True, slots=True)
class _Source:
    """The images of some episodes: step i of all is step `i - first` of the last episode whose `first` is not above."""

    episodes: tuple[tuple[ShardDataset, int], ...]
    cameras: tuple[str, ...]
    first: Rows

    def decode(self, steps: Rows) -> Tensor:
        """(k, cameras, height, width, 3) uint8."""
        with concurrent.futures.ThreadPoolExecutor(torch.get_num_threads()) as pool:
            return torch.from_numpy(np.stack(list(pool.map(self._moment, steps.tolist()))))

    def _moment(self, step: int) -> NDArray[np.uint8]:
        place = int(np.searchsorted(self.first, step, "right")) - 1
        data, episode = self.episodes[place]
        return np.concatenate(
            [data.images(episode, camera, [step - int(self.first[place])]) for camera in self.cameras]
        )


def _cut(images: Tensor, steps: Tensor, shift: Tensor) -> Tensor:
    """Images (b, f, cameras, height, width, 3) at steps (b, f) of all (n, cameras, ...), by a shift (b, cameras, 2)."""
    cameras, height, width, numbers = images.shape[1:]
    rows = (torch.arange(height, device=images.device) + shift[..., :1]).clamp(0, height - 1)  # (b, cameras, height)
    columns = (torch.arange(width, device=images.device) + shift[..., 1:]).clamp(0, width - 1)
    cut = torch.empty(*steps.shape, cameras, height, width, numbers, dtype=images.dtype, device=images.device)
    for moment, wanted in enumerate(steps):
        for camera in range(cameras):  # one after the other: rows are copied whole
            moved = images[wanted, camera].index_select(1, rows[moment, camera])
            torch.index_select(moved, 2, columns[moment, camera], out=cut[moment, :, camera])
    return cut


# ---- windows


class Windows:
    """The moments of some episodes to learn from: of videos all but each episode's last, which nothing comes after."""

    def __init__(
        self,
        episodes: Sequence[tuple[ShardDataset, int]],
        framing: Framing,
        space: ActionSpace | None,
        device: torch.device | str = "cpu",
        memory: float | None = None,
    ) -> None:
        """`space`: how actions are meant, or None for video alone; `memory` [GB] on the device for decoded images, by
        default a quarter of what is free.

        Raises EpisodeError when the episodes' images are not of one size, or a camera is missing.
        """
        self.framing, self.size, self._device = framing, _size(episodes, framing.cameras), torch.device(device)
        lengths = np.array([data.frames(episode) for data, episode in episodes])
        first = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        self._source = _Source(tuple(episodes), framing.cameras, first)
        states = [] if space is None else [data.state(episode) for data, episode in episodes]
        kept = (
            [np.arange(n - 1) for n in lengths]
            if space is None
            else [sound(state, data.rate) for state, (data, _) in zip(states, episodes, strict=True)]
        )
        if framing.opening:
            kept = [rows[rows < framing.opening] for rows in kept]
        counts = [len(rows) for rows in kept]
        self._steps = np.concatenate([begin + rows for begin, rows in zip(first, kept, strict=True)])
        self._first, self._last = np.repeat(first, counts), np.repeat(first + lengths - 1, counts)
        self._texts = [
            data.text(episode) for (data, episode), n in zip(episodes, counts, strict=True) for _ in range(n)
        ]
        self._space = space
        self._state = None if space is None else _states(states, kept).to(self._device)
        self._actions = None if space is None else _actions(states, kept, space).to(self._device)
        self._done: Tensor | None = None
        if space is not None and framing.done:
            rows = [space.done(state, some, framing.done) for state, some in zip(states, kept, strict=True)]
            self._done = torch.from_numpy(np.concatenate(rows)).to(self._device)
        width, height = self.size
        needed = int(lengths.sum()) * len(framing.cameras) * width * height * 3
        self._images: Tensor | None = None
        if needed <= (_SHARE * _free(self._device) if memory is None else 1e9 * memory):
            self._images = self._decode_all(int(lengths.sum()))

        self._glimpses: Tensor | None = None
        self._goals = _goals(episodes, framing.cameras).to(self._device) if framing.goal else None
        self._episode = np.repeat(np.arange(len(counts)), counts)

    def __len__(self) -> int:
        return len(self._steps)

    def glimpse(self, see: Callable[[Batch], Tensor]) -> None:
        """Have `see` look at every moment once; batches have what it saw, and no image that nobody needs."""
        rows = (
            Draw(np.arange(some.start, some.stop), *_plain(len(some), self.framing)) for some in _chunks(len(self), 64)
        )
        self._glimpses = torch.cat([see(self.batch(drawn)) for drawn in rows])
        if self.framing.present:
            self._images = None

    def batch(self, drawn: Draw) -> Batch:
        """The moments drawn, on the device."""
        rows, mine = drawn.rows, torch.from_numpy(drawn.rows).to(self._device)
        seen, before = self._glimpses is not None and self.framing.present, self.framing.history - 1
        cut = torch.empty(len(rows), 1, 0, dtype=torch.uint8, device=self._device) if seen else self._shown(drawn)
        batch = Batch(
            now=cut[:, before],
            state=None if self._state is None else self._state[mine],
            future=cut[:, before + 1 :].transpose(1, 2) if self.framing.frames else None,
            text=tuple(self._texts[row] for row in rows),
            actions=None if self._actions is None else self._actions[mine],
            prefix=torch.from_numpy(drawn.prefix).to(self._device),
            glimpse=None if self._glimpses is None else self._glimpses[mine],
            past=cut[:, :before].transpose(1, 2) if before else None,
            done=None if self._done is None else self._done[mine],
            goal=None if self._goals is None else self._goal(self._goals, drawn),
        )
        if batch.glimpse is None or self._space is None or not drawn.astray.any():
            return batch
        return _astray(batch, torch.from_numpy(drawn.astray).to(self._device), self._space)

    def _shown(self, drawn: Draw) -> Tensor:
        """Images (b, history + frames, cameras, height, width, 3) of the moments drawn, before and after them.

        Before an episode's beginning there is its first image, after its end its last.
        """
        framing, rows = self.framing, drawn.rows
        ahead = framing.stride * np.arange(1 - framing.history, framing.frames + 1)
        steps = np.clip(self._steps[rows, None] + ahead, self._first[rows, None], self._last[rows, None])
        images = self._images
        if images is None:
            needed, steps = np.unique(steps, return_inverse=True)
            images = self._source.decode(needed).to(self._device)
        return _cut(images, *(torch.from_numpy(part).to(self._device) for part in (steps, drawn.shift)))

    def _goal(self, goals: Tensor, drawn: Draw) -> Tensor:
        """(b, cameras, height, width): shifted as the images are."""
        episode, shift = (torch.from_numpy(part).to(self._device) for part in (self._episode[drawn.rows], drawn.shift))
        return _cut(goals[..., None], episode[:, None], shift)[:, 0, ..., 0]

    def _decode_all(self, steps: int) -> Tensor:
        width, height = self.size
        shape = (steps, len(self.framing.cameras), height, width, 3)
        images = torch.empty(shape, dtype=torch.uint8, device=self._device)
        for some in _chunks(steps, 1024):
            images[some.start : some.stop] = self._source.decode(np.arange(some.start, some.stop))
        return images


def _astray(batch: Batch, way: Tensor, space: ActionSpace) -> Batch:
    """Moments as they would be, had the tool been aside by a way (b, 3) [m] in its own frame; the chunk leads back.

    So a policy is shown what it does when it comes down beside a thing, which hardly a demonstration shows (Zhou et al.
    2023, "NeRF in the Palm of Your Hand", where images are rendered anew; a glimpse needs none). Images stay as they
    are: what is read from them beside a glimpse has to be coarser than the way. Where the thing is between the fingers
    nothing is changed.
    """
    glimpse, state, actions = batch.glimpse, batch.state, batch.actions
    assert glimpse is not None and state is not None and actions is not None
    free = torch.linalg.vector_norm(look.away(glimpse)[:, 0], dim=1) > _FREE
    way = way * free[:, None]
    R_base_tcp = torch.from_numpy(rotation_from_6d(state[:, 3:9].cpu())).to(state)
    aside = torch.cat([state[:, :3] + torch.einsum("bij,bj->bi", R_base_tcp, way), state[:, 3:]], dim=1)
    passed = (space.dt * torch.arange(1, space.horizon + 1, device=way.device) / _BACK).clamp(max=1.0)
    back = (passed**2 * (3 - 2 * passed))[:, None] * way[:, None] / torch.tensor(space.std[:3], device=way.device)
    led = torch.cat([actions[..., :3] - back, actions[..., 3:]], dim=2)
    return replace(batch, glimpse=look.moved(glimpse, way), state=aside, actions=led.to(actions))


def _free(device: torch.device) -> int:
    """[bytes] of the device's memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    (available,) = re.findall(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
    return int(available) * 1024


def _chunks(count: int, size: int) -> Iterator[range]:
    return (range(begin, min(begin + size, count)) for begin in range(0, count, size))


def sound(state: NDArray[np.floating], rate: int) -> Rows:
    """The moments of an episode to learn from: all but its last, and those that a grasp of nothing is in front of.

    state  (n, 11) as recorded, `rate` [1/s] of them

    Whoever closes the jaw beside a thing, and then begins anew, shows how to begin anew; not how to miss. Where nothing
    is ever pressed, as with a tool bolted to the gripper, the jaw's movements mean nothing.
    """
    opening, force = (state[:-1, STATE.index(name)] for name in ("width", "force"))
    learned = np.ones(len(opening), bool)
    ahead = round(_AHEAD * rate)
    began, widest, narrowest = -1, opening[0], opening[0]
    for k, width in enumerate(opening):
        if began < 0:
            widest = max(widest, width)
            if width < widest - _CLOSED:
                began, narrowest = k, width
        elif width > narrowest + _CLOSED:
            closing = slice(began, k)
            if force[closing].max() < _PRESSED <= force[k:].max():
                shut = began + int(opening[closing].argmin())
                learned[max(began - ahead, 0) : shut] = False
            began, widest = -1, width
        else:
            narrowest = min(narrowest, width)
    return np.flatnonzero(learned)


def _states(states: Sequence[NDArray[np.floating]], kept: Sequence[Rows]) -> Tensor:
    """(moments, 10) float32."""
    rows = [tool_state.recorded(state[some]) for state, some in zip(states, kept, strict=True)]
    return torch.from_numpy(np.concatenate(rows))


def _actions(states: Sequence[NDArray[np.floating]], kept: Sequence[Rows], space: ActionSpace) -> Tensor:
    """(moments, horizon, 11) float32, normalised."""
    rows = [space.normalise(space.relative(state, some)) for state, some in zip(states, kept, strict=True)]
    return torch.from_numpy(np.concatenate(rows))


def _goals(episodes: Sequence[tuple[ShardDataset, int]], cameras: Sequence[str]) -> Tensor:
    """(episodes, cameras, height, width) uint8; raises EpisodeError for an episode without them."""
    masks = [np.stack([data.goal(episode, camera) for camera in cameras]) for data, episode in episodes]
    return torch.from_numpy(np.stack(masks))


def _size(episodes: Sequence[tuple[ShardDataset, int]], cameras: Sequence[str]) -> tuple[int, int]:
    """Width, height [px] of all images; their steps must be equally far apart, too."""
    found = {
        (data.size(episode, camera), data.rate): f"{data.folder}, {camera}"
        for data, episode in episodes
        for camera in cameras
    }
    if len(found) != 1:
        told = (f"{where}: {width} x {height} px, {rate} Hz" for ((width, height), rate), where in found.items())
        raise EpisodeError(
            f"images are not all of one size and rate; {'; '.join(told)}; export them with --size, --rate"
        )
    ((size, _),) = found
    return size
