"""What a small policy sees: how far off the things are that the text names, and how they lie.

A few queries read the words, each the ones that matter to it (attention, Vaswani et al. 2017): one finds the thing to
be taken, one where it goes. A network for each camera, which knows nothing of the text, gives every place of its image
a vector; the inner product of query and place says how well they match. So a word that was learned on one thing is
understood on others, and one image teaches all the things in it (Shridhar et al. 2022, "CLIPort", for the idea).
Where a query matches is read as an expected position (Finn et al. 2016, "Deep Spatial Autoencoders"), together with
what is seen there. From all cameras' positions, from what is seen and from the tool's state follows how far off the
thing and the goal are, in the tool's frame, and how the thing lies: that takes no calibration, it is learned with the
rest. That is the glimpse, all of it. A few hundred demonstrations show a few hundred scenes: of what else there is to
see in them a policy learns each by heart, and where it sees another one it corrects half of what it should.

Where the matches belong is learned by itself, from pictures of scenes (`kinema.training.grounding`): that stands in the
place of the web's images and captions, which networks of the full size begin with. The glimpse then is the same
whatever a policy learns; so a training may take every moment's once and keep it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.errors import ConfigError
from kinema.policies import tool_state
from kinema.policies.batch import Batch
from kinema.policies.image_encoder import Encoders, EncodersConfig, norm
from kinema.policies.pictures import signal
from kinema.policies.text import SIGNS, signs, split
from kinema.policies.tool_state import ToolState

UNIT = 0.1  # [m] of offsets
QUERIES = ("thing", "goal")  # what the first is to find: what is taken or opened; the second: where it goes

_QUIET = 0.02  # spread of noise on what is glimpsed, in training, where its own is about 1
_LOUD = 2.0  # factor on what is glimpsed, beside words and state
_BESIDE = 0.3  # [UNIT] of an offset, by which what is near is told finely
_LYING = 256  # width of the layer that tells how things lie
_THERE = 0.5  # factor on what is seen somewhere, beside positions
_SHARP = 3.0  # power of a match that is read as a position, so that a second best hardly draws it away


@dataclass(frozen=True, slots=True)
class EyeConfig:
    """Channels of one camera's network: `stem` at half the image's size, `fine` at a quarter, `coarse` at an eighth."""

    stem: int
    fine: int
    coarse: int


@dataclass(frozen=True, slots=True)
class LookConfig:
    """`eyes` of the cameras in their order; `width` of words, queries and places.

    inner     width of the layers that join what all cameras saw; features: length of the vector that comes out
    locating  widths of the layers that tell from all cameras' positions how far off things are
    state     whether the tool's pose and opening are known besides the images
    longest   text in words
    """

    kind: Literal["look"] = "look"
    eyes: tuple[EyeConfig, ...] = (EyeConfig(24, 40, 80), EyeConfig(16, 32, 48), EyeConfig(16, 32, 48))
    width: int = 64
    inner: int = 512
    features: int = 256
    locating: tuple[int, ...] = (384, 384, 384)
    state: bool = True
    longest: int = 24


def grounded(seeing: nn.Module) -> list[nn.Parameter]:
    """What may have been learned before: of a `Look` what `kinema.training.grounding` teaches, the eyes, the reader,
    what compares them and what locates; of encoders those of the images."""
    if isinstance(seeing, Encoders):
        return list(seeing.views.parameters())
    if not isinstance(seeing, Look):
        return []
    parts = (seeing.eyes, seeing.reader, seeing.locate, seeing.lie)
    return [seeing.sharpness, *(value for part in parts for value in part.parameters())]


def beside(parameters: Iterable[nn.Parameter], grounded: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Those parameters that are none of the grounded ones."""
    known = {id(value) for value in grounded}
    return [value for value in parameters if id(value) not in known]


def eyes(config: LookConfig | EncodersConfig, cameras: int, image_size: tuple[int, int]) -> "Look | Encoders":
    """What sees for a policy; `image_size` width, height [px]. Its `forward` says what it takes."""
    kind = Look if isinstance(config, LookConfig) else Encoders
    return kind(cast(Any, config), cameras, image_size)


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            norm(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            norm(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.inner(x) + self.skip(x))


class _Eye(nn.Module):
    """Every place of an image, a quarter of its size, as a vector."""

    def __init__(self, config: EyeConfig, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, config.stem, 5, 2, 2, bias=False), norm(config.stem), nn.ReLU())
        self.fine = nn.Sequential(_Residual(config.stem, config.fine, 2), _Residual(config.fine, config.fine))
        self.coarse = nn.Sequential(_Residual(config.fine, config.coarse, 2), _Residual(config.coarse, config.coarse))
        self.join = nn.Sequential(
            nn.Conv2d(config.fine + config.coarse, width, 1, bias=False),
            norm(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(self.stem(image))
        coarse = functional.interpolate(self.coarse(fine), size=fine.shape[-2:])
        return self.join(torch.cat([fine, coarse], dim=1))


def _perceptron(inputs: int, inner: Sequence[int], outputs: int) -> nn.Sequential:
    widths = (inputs, *inner)
    layers = [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


class _Reader(nn.Module):
    """Queries (b, queries, width) of b texts, each read from the words that it attends to."""

    def __init__(self, width: int, longest: int) -> None:
        super().__init__()
        self.longest = longest
        self.word = nn.Linear(SIGNS, width)
        self.place = nn.Parameter(0.1 * torch.randn(longest, width))
        self.beside = nn.Conv1d(width, width, 3, padding=1)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.query = nn.Parameter(torch.randn(len(QUERIES), width) / 2)
        self.more = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, texts: Sequence[str]) -> Tensor:
        words = [split(text, self.longest) for text in texts]
        table = nn.utils.rnn.pad_sequence([torch.stack([signs(word) for word in some]) for some in words], True)
        lengths = torch.tensor([len(some) for some in words], device=self.place.device)
        vectors = self.word(table.to(self.place))
        count = vectors.shape[1]
        beyond = torch.arange(count, device=lengths.device) >= lengths[:, None]
        keys = (vectors + self.place[:count]).masked_fill(beyond[..., None], 0.0)  # as if nothing came after a text
        keys = keys + functional.silu(self.beside(keys.transpose(1, 2)).transpose(1, 2))
        scores = self.query @ self.key(keys).transpose(1, 2) / math.sqrt(self.query.shape[1])
        read = scores.masked_fill(beyond[:, None], -torch.inf).softmax(dim=-1) @ self.value(vectors)
        return read + self.more(read)


class _Points(nn.Module):
    """Expected positions (b, n, 2), from -1 to 1, x and y, of logarithms of probabilities (b, n, h, w)."""

    def forward(self, logarithms: Tensor) -> Tensor:
        height, width = logarithms.shape[-2:]
        across, down = (
            (torch.arange(n, device=logarithms.device, dtype=logarithms.dtype) + 0.5) / n * 2 - 1
            for n in (width, height)
        )
        share = logarithms.exp()
        return torch.stack([(share.sum(dim=-2) * across).sum(dim=-1), (share.sum(dim=-1) * down).sum(dim=-1)], dim=-1)


def _glimpse(offsets: Tensor, turn: Tensor) -> Tensor:
    """(b, length) of offsets (b, queries, 3) in `UNIT`, and how the thing lies (b, 2)."""
    near = offsets / (torch.linalg.vector_norm(offsets, dim=2, keepdim=True) + _BESIDE)
    return torch.cat([part.flatten(1) for part in (offsets, near, turn)], dim=1)


def away(glimpse: Tensor) -> Tensor:
    """How far off the things of glimpses (b, length) are [m], (b, queries, 3), in the tool's frame."""
    return UNIT * glimpse[:, : 3 * len(QUERIES)].unflatten(1, (len(QUERIES), 3))


def moved(glimpse: Tensor, way: Tensor) -> Tensor:
    """Glimpses (b, length) as they would be, had the tool moved a way (b, 3) [m] in its own frame."""
    return _glimpse((away(glimpse) - way[:, None]) / UNIT, glimpse[:, 6 * len(QUERIES) :])


class Look(nn.Module):
    """Images, a text and the tool's state as one vector, and where the text's things are in every view."""

    centre: Tensor
    spread: Tensor

    def __init__(self, config: LookConfig, cameras: int, image_size: tuple[int, int]) -> None:
        """`image_size` width, height [px] of every image; raises ConfigError for a number of cameras without eyes."""
        super().__init__()
        if cameras != len(config.eyes):
            raise ConfigError(f"look.eyes: {len(config.eyes)} of them, for {cameras} cameras")
        self.config, self.features = config, config.features
        self.reader = _Reader(config.width, config.longest)
        self.eyes = nn.ModuleList(_Eye(eye, config.width) for eye in config.eyes)
        self.sharpness = nn.Parameter(torch.tensor(0.3))
        self.position = _Points()
        queries = len(QUERIES)
        glimpsed = 2 * 3 * queries + 2  # offsets, the same told finely, and a turn
        self.register_buffer("centre", torch.zeros(glimpsed))
        self.register_buffer("spread", torch.ones(glimpsed))
        self.state = ToolState() if config.state else None
        known = tool_state.WIDTH if config.state else 0
        self.locate = _perceptron(cameras * (3 + config.width) + known, config.locating, 3)
        self.lie = _perceptron(cameras * config.width + known, (_LYING,), 2)
        width = glimpsed + queries * config.width + known
        self.join = _perceptron(width, (config.inner,) * 2, config.features)

    @torch.no_grad()
    def fit(self, glimpses: Tensor) -> None:
        """Take the mean and spread of glimpses (n, length) for those that are expected."""
        self.centre.copy_(glimpses.mean(dim=0))
        self.spread.copy_(glimpses.std(dim=0).clamp(min=1e-2))

    def read(self, texts: Sequence[str]) -> Tensor:
        """The queries (b, queries, width) of b texts; raises ObservationError for a text that is empty or too long."""
        return self.reader(texts)

    def places(self, images: Tensor) -> list[Tensor]:
        """Of each camera (b, width, h, w), of images (b, cameras, 3, height, width) from -1 to 1."""
        return [eye(images[:, i]) for i, eye in enumerate(self.eyes)]

    def matches(self, places: Sequence[Tensor], queries: Tensor) -> list[Tensor]:
        """Of each camera logarithms of probabilities (b, queries, h, w) that sum to 1 over the image."""
        found = []
        with torch.autocast(queries.device.type, enabled=False):  # in 16 bits, neighbours of a large thing match alike
            for place in places:
                score = self.sharpness * torch.einsum("bchw,bqc->bqhw", place.float(), queries.float())
                found.append(score.flatten(2).log_softmax(dim=2).unflatten(2, score.shape[2:]))
        return found

    def read_off(self, place: Tensor, match: Tensor) -> Tensor:
        """Of a camera's places (b, width, h, w) by n matches (b, n, h, w): (b, n, 3 + width).

        x and y, from -1 to 1, how sure that is, and what is seen there.
        """
        sharp = (_SHARP * match).flatten(2).log_softmax(dim=2).unflatten(2, match.shape[2:])
        sure = match.flatten(2).amax(dim=2, keepdim=True).exp()
        there = torch.einsum("bqhw,bchw->bqc", match.exp(), place.float())
        return torch.cat([self.position(sharp), sure, there], dim=2)

    def offsets(self, seen: Sequence[Tensor], state: Tensor) -> Tensor:
        """How far off what was read off every camera's places is, (b, n, 3), from the tool and in its frame, in `UNIT`.

        Where cameras contradict each other, as when one takes something else for what an arm hides from it, what is
        seen tells which of them is right.
        """
        parts = [part for one in seen for part in (one[..., :3], _THERE * one[..., 3:])]
        with torch.autocast(state.device.type, enabled=False):  # 16 bits tell metres to no millimetre
            return self.locate(self._known(torch.cat(parts, dim=2), state))

    def turns(self, seen: Sequence[Tensor], state: Tensor) -> Tensor:
        """How things lie, (b, n, 2), by what was read off every camera's places.

        Cosine and sine of twice the angle of the longer side about the tool's z; 0 for what is round.
        """
        return self.lie(self._known(torch.cat([one[..., 3:] for one in seen], dim=2), state))

    def _known(self, seen: Tensor, state: Tensor) -> Tensor:
        """What is seen (b, n, length), with the state (b, 10) where that is known."""
        if self.state is None:
            return seen
        return torch.cat([seen, self.state(state)[:, None].expand(-1, seen.shape[1], -1)], dim=2)

    def glimpse(self, images: Tensor, told: Tensor, state: Tensor) -> Tensor:
        """What there is to see, (b, length), in images (b, cameras, 3, height, width), -1 to 1, by read texts."""
        places = self.places(images)
        read = [self.read_off(*both) for both in zip(places, self.matches(places, told), strict=True)]
        return _glimpse(self.offsets(read, state), self.turns([one[:, :1] for one in read], state))

    def tell(self, glimpse: Tensor, told: Tensor, state: Tensor) -> Tensor:
        """(b, features) of a glimpse, read texts (b, queries, width), and states (b, 10) of the tool."""
        seen = (glimpse - self.centre) / self.spread
        if self.training:
            seen = seen + _QUIET * torch.randn_like(seen)
        known = [_LOUD * seen, functional.normalize(told, dim=2).flatten(1)]
        return self.join(torch.cat([*known, *([self.state(state)] if self.state is not None else [])], dim=1))

    def forward(self, images: Tensor, told: Tensor, state: Tensor) -> Tensor:
        """(b, features) of images (b, cameras, 3, height, width), -1 to 1, read texts, states (b, 10) of the tool."""
        return self.tell(self.glimpse(images, told, state), told, state)


class Looking(nn.Module):
    """A network that may have a look, under `look`."""

    look: Any
    config: Any

    @property
    def still(self) -> bool:
        """Whether what its look sees of a moment stays the same while it learns."""
        return self.look is not None and not self.config.grounded_rate

    @torch.no_grad()
    def glimpse(self, batch: Batch) -> Tensor:
        """(b, length) of moments to learn from; only where there is a look, and the tool's state is known."""
        assert self.look is not None and batch.state is not None
        return self.look.glimpse(signal(batch.now), self.look.read(batch.text), batch.state).float()

    def acquaint(self, batches: Sequence[Batch]) -> None:
        """Fit what the look expects to see, from moments with the tool's state; without it nothing is done."""
        if isinstance(self.look, Look) and all(batch.state is not None for batch in batches):
            self.look.fit(torch.cat([self.glimpse(batch) for batch in batches]))
