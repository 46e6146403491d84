"""Eyes for PushT: an image encoder whose vector says where the block is, how it lies, and where the agent is.

In the benchmark's papers a network of millions of weights, begun with the web's images, learns to see from the
demonstrations. A small one on a CPU doesn't get that far in hours. As in the cell (`kinema.training.grounding`) it is
taught beforehand, from pictures with the simulator's truth; whoever learns to act then begins with what it has learned,
and never sees the truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kinema.policies.image_encoder import Encoders, EncodersConfig, ImageEncoderConfig
from kinema.policies.pictures import signal
from kinema.policies.text import WordsConfig

STAGE = "ground"
TOLD = 6  # numbers of the vector
EYES = EncodersConfig(  # benchmarks/pusht/*.yaml have the same image encoder
    image=ImageEncoderConfig(
        stem=24, channels=(48, 64), strides=(1, 2), blocks=1, reading="whole", maps=24, features=TOLD, inner=192
    ),
    text=WordsConfig(),
)

_MIDDLE, _UNIT = 256.0, 100.0  # [px] of the window
_SHARE = 0.05  # of the pictures, held out
_PORTION = 256


@dataclass(frozen=True, eq=False, slots=True)
class Pictures:
    """images (n, height, width, 3) uint8 RGB; block (n, 3) x, y [px], angle [rad]; agent (n, 2) [px]."""

    images: NDArray[np.uint8]
    block: NDArray[np.float64]
    agent: NDArray[np.float64]

    def of(self, rows: slice | NDArray[np.int64]) -> "Pictures":
        """Some of them."""
        return Pictures(self.images[rows], self.block[rows], self.agent[rows])

    def split(self) -> tuple["Pictures", "Pictures"]:
        """To learn from, and those of the end, to measure with."""
        at = len(self.images) - round(_SHARE * len(self.images))
        return self.of(slice(at)), self.of(slice(at, None))

    def draw(self, batch: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
        """Images and what is to be told of them, of a step: a function of seed and step."""
        some = self.of(np.random.default_rng([seed, step, 4]).integers(0, len(self.images), batch))
        return torch.from_numpy(some.images), torch.from_numpy(some.told()).float()

    def told(self) -> NDArray[np.float64]:
        """(n, TOLD) what the eyes' vector should be."""
        angle = self.block[:, 2:]
        places = [(self.block[:, :2] - _MIDDLE) / _UNIT, (self.agent - _MIDDLE) / _UNIT]
        return np.concatenate([places[0], np.cos(angle), np.sin(angle), places[1]], axis=1)


class Eyes(nn.Module):
    """Encoders of one camera, with what their training needs."""

    def __init__(self, image_size: tuple[int, int]) -> None:
        """`image_size` width, height [px]."""
        super().__init__()
        self.look = Encoders(EYES, 1, image_size)

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        return [{"params": list(self.look.views.parameters())}]

    def loss(self, batch: tuple[Tensor, Tensor], stage: str) -> dict[str, Tensor]:
        """How far off what is told is, as a distance: squares would let a few pictures that it takes wrong rule."""
        images, told = batch
        missed = (self(images) - told).unflatten(1, (3, 2))
        return {"missed": torch.linalg.vector_norm(missed, dim=2).mean()}

    def forward(self, images: Tensor) -> Tensor:
        """(b, TOLD) of images (b, height, width, 3) uint8."""
        (view,) = self.look.views
        return view(signal(images))


@torch.no_grad()
def measured(model: Eyes, pictures: Pictures) -> Mapping[str, float]:
    """Medians and 90 % of how far off block [px], its angle [deg] and agent [px] are."""
    portions = [
        torch.from_numpy(some) for some in np.array_split(pictures.images, -(-len(pictures.images) // _PORTION))
    ]
    told, true = np.concatenate([model(some).float().cpu().numpy() for some in portions]), pictures.told()
    off = _UNIT * np.linalg.norm((told - true)[:, [[0, 1], [4, 5]]], axis=2)
    turned = np.arctan2(told[:, 3], told[:, 2]) - pictures.block[:, 2]
    turned = np.degrees(np.abs(np.arctan2(np.sin(turned), np.cos(turned))))
    values = {"block_px": off[:, 0], "angle_deg": turned, "agent_px": off[:, 1]}
    return {
        f"{name}{end}": float(np.percentile(some, q))
        for name, some in values.items()
        for end, q in (("", 50), ("_90", 90))
    }
