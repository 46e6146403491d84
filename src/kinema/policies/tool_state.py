"""What a policy may know of the tool besides images: its pose in base_link and its opening, as they are measured."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from kinema.chunk import Observation
from kinema.geometry import rotation_6d

WIDTH = 10  # numbers: position [m], rotation (6), opening [m]; the first columns of `kinema.episodes.state.STATE`

_CENTRE = (0.4, 0.0, 0.2, *(0.0,) * 6, 0.04)  # of the work space, and the state's spread there
_SPREAD = (0.15, 0.15, 0.15, *(0.7,) * 6, 0.03)
_JITTER = (*(0.004,) * 3, *(0.02,) * 6, 0.001)  # added in training: what a tracker's pose may be off by


def of(observation: Observation) -> NDArray[np.float32]:
    """(WIDTH,) at the observation's moment."""
    pose = observation.T_base_tcp[-1]
    return recorded([*pose.position, *rotation_6d(pose.rotation), observation.width[-1]])


def recorded(rows: ArrayLike) -> NDArray[np.float32]:
    """(..., WIDTH) of recorded states, which may have more columns."""
    return np.asarray(rows, np.float32)[..., :WIDTH]


def fixed() -> Tensor:
    """(WIDTH,) of a tool that points down in front of the arm, open."""
    return torch.tensor([0.4, 0.0, 0.3, 1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.08])


class ToolState(nn.Module):
    """States (b, WIDTH) in numbers around 0; varied a little in training, by torch's global generator."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in (("centre", _CENTRE), ("spread", _SPREAD), ("jitter", _JITTER)):
            self.register_buffer(name, torch.tensor(values), persistent=False)

    def forward(self, state: Tensor) -> Tensor:
        if self.training:
            state = state + self.get_buffer("jitter") * torch.randn_like(state)
        return (state - self.get_buffer("centre")) / self.get_buffer("spread")
