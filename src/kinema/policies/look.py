"""What a small policy sees: where in every view the things are that the text names, and what surrounds them.

A few queries read the words, each the ones that matter to it (attention, Vaswani et al. 2017): one finds the thing to
be taken, one where it goes. A network for each camera, which knows nothing of the text, gives every place of its image
a vector; the inner product of query and place says how well they match. So a word that was learned on one thing is
understood on others, and one image teaches all the things in it (Shridhar et al. 2022, "CLIPort", for the idea).
Where a query matches is read as an expected position (Finn et al. 2016, "Deep Spatial Autoencoders"), together with
what is seen there. More such points, that no text asks for, and a coarse map tell of the rest.

Where the matches belong can be learned by itself, from pictures of scenes (`kinema.training.grounding`): that stands in
the place of the web's images and captions, which networks of the full size begin with.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.errors import ConfigError
from kinema.policies import tool_state
from kinema.policies.image_encoder import Encoders, EncodersConfig, norm
from kinema.policies.text import SIGNS, signs, split
from kinema.policies.tool_state import ToolState

QUERIES = ("thing", "goal")  # what the first is to find: what is taken or opened; the second: where it goes

_ROUGH = (6, 8)  # cells of the coarse map


@dataclass(frozen=True, slots=True)
class EyeConfig:
    """Channels of one camera's network: `stem` at half the image's size, `fine` at a quarter, `coarse` at an eighth.

    shrink  how many times smaller the image is made first
    """

    stem: int
    fine: int
    coarse: int
    shrink: int = 1


@dataclass(frozen=True, slots=True)
class LookConfig:
    """`eyes` of the cameras in their order; `width` of words, queries and places; `points` that no text asks for.

    told      of what is seen where a query matches, so many numbers are kept; `rough` channels of the coarse map
    features  length of the vector that comes out
    state     whether the tool's pose and opening are known besides the images
    longest   text in words
    """

    kind: Literal["look"] = "look"
    eyes: tuple[EyeConfig, ...] = (EyeConfig(24, 40, 80), EyeConfig(16, 32, 48, 2), EyeConfig(16, 32, 48, 2))
    width: int = 64
    points: int = 12
    told: int = 24
    rough: int = 4
    features: int = 256
    state: bool = True
    longest: int = 24


def grounded(seeing: nn.Module) -> list[nn.Parameter]:
    """What `kinema.training.grounding` teaches: the eyes, the reader, and what compares them."""
    if not isinstance(seeing, Look):
        return []
    return [seeing.sharpness, *seeing.eyes.parameters(), *seeing.reader.parameters()]


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
        self.shrink = config.shrink
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
        if self.shrink > 1:
            image = functional.avg_pool2d(image, self.shrink)
        fine = self.fine(self.stem(image))
        coarse = functional.interpolate(self.coarse(fine), size=fine.shape[-2:])
        return self.join(torch.cat([fine, coarse], dim=1))


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


class Look(nn.Module):
    """Images, a text and the tool's state as one vector, and where the text's things are in every view."""

    def __init__(self, config: LookConfig, cameras: int, image_size: tuple[int, int]) -> None:
        """`image_size` width, height [px] of every image; raises ConfigError for a number of cameras without eyes."""
        super().__init__()
        if cameras != len(config.eyes):
            raise ConfigError(f"look.eyes: {len(config.eyes)} of them, for {cameras} cameras")
        self.config, self.features = config, config.features
        self.text = len(QUERIES) * config.width
        self.reader = _Reader(config.width, config.longest)
        self.eyes = nn.ModuleList(_Eye(eye, config.width) for eye in config.eyes)
        self.sharpness = nn.Parameter(torch.tensor(0.3))
        self.points = nn.ModuleList(nn.Conv2d(config.width, config.points, 1) for _ in config.eyes)
        self.rough = nn.ModuleList(nn.Conv2d(config.width, config.rough, 1) for _ in config.eyes)
        self.told = nn.Linear(config.width, config.told)
        self.position = _Points()
        view = len(QUERIES) * (3 + config.told) + 2 * config.points + config.rough * math.prod(_ROUGH)
        self.views = nn.ModuleList(nn.Linear(view, config.width) for _ in config.eyes)
        width = cameras * config.width + self.text + (tool_state.WIDTH if config.state else 0)
        self.join = nn.Sequential(
            nn.Linear(width, config.features), nn.SiLU(), nn.Linear(config.features, config.features), nn.SiLU(),
            nn.Linear(config.features, config.features),
        )  # fmt: skip
        self.state = ToolState() if config.state else None

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

    def forward(self, images: Tensor, told: Tensor, state: Tensor) -> Tensor:
        """(b, features) of images (b, cameras, 3, height, width), -1 to 1, read texts, states (b, 10) of the tool."""
        places = self.places(images)
        matches = self.matches(places, told)
        seen = [self._view(i, place, match) for i, (place, match) in enumerate(zip(places, matches, strict=True))]
        if self.state is not None:
            seen.append(self.state(state))
        return self.join(torch.cat([*seen, told.flatten(1)], dim=1))

    def _view(self, camera: int, place: Tensor, match: Tensor) -> Tensor:
        shares = match.exp()
        told = self.told(torch.einsum("bqhw,bchw->bqc", shares, place.float()))
        points = self.points[camera](place).float()
        points = self.position(points.flatten(2).log_softmax(dim=2).unflatten(2, points.shape[2:]))
        rough = functional.adaptive_avg_pool2d(self.rough[camera](place).float(), _ROUGH)
        sure = shares.flatten(2).amax(dim=2)
        parts = (self.position(match), sure, told, points, rough)
        return self.views[camera](torch.cat([part.flatten(1) for part in parts], dim=1))
