"""UVA as a model of the world: which of several chunks leads where it should, and what was done in a video.

"Unified Video Action Model", sections VII and VIII.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.chunk import ActionChunk, Image, Observation
from kinema.episodes.state import absolute
from kinema.errors import ConfigError, EpisodeError
from kinema.geometry import Array
from kinema.policies import sampling
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.batch import Batch
from kinema.policies.uva.model import UvaModel
from kinema.policies.uva.policy import ImaginingUva

Reward = Callable[[Mapping[str, Image]], float]  # of a video (camera -> frames), the first frame at t0; more is better

_PORTION = 16  # moments of a video at a time


@dataclass(frozen=True, slots=True)
class Choice:
    """The chunk that was chosen, which of the candidates it is, and what each of them is worth."""

    chunk: ActionChunk
    index: int
    rewards: tuple[float, ...]


def choose(
    policy: ImaginingUva,
    observation: Observation,
    candidates: Sequence[ActionChunk],
    reward: Reward,
    passes: int | None = None,
) -> Choice:
    """The candidate, of whatever policy, whose imagined outcome is worth most; of equals the first.

    Raises ConfigError where there is none or a reward is not finite, ChunkError for a candidate that ends before what
    is imagined does, ObservationError as `Uva.predict`.
    """
    if not candidates:
        raise ConfigError("there is no candidate to choose from; at least one is needed")
    space = policy.checkpoint.action
    rows = torch.from_numpy(np.stack([space.rows(chunk, observation) for chunk in candidates]))
    rewards = tuple(float(reward(video)) for video in policy.foresee(observation, rows, passes))
    if not np.isfinite(rewards).all():
        raise ConfigError(f"the reward of candidate {int(np.argmin(np.isfinite(rewards)))} is not finite")
    index = int(np.argmax(rewards))
    return Choice(candidates[index], index, rewards)


@torch.no_grad()
def infer(model: UvaModel, space: ActionSpace, images: Image, text: str, seed: int = 0) -> Array:
    """The states (n, 11) that the tool went through in a video (n, cameras, height, width, 3), as seen from the first.

    n images `space.dt` apart. Position [m] and rotation are in the tool's own frame at the first image, the opening [m]
    is its change since then; the force [N] at the first image is taken for that at the second. Every chunk is read from
    the images around its beginning and followed to its end, where the next one begins.
    Raises EpisodeError for a video without a second image.
    """
    if len(images) < 2:
        raise EpisodeError(f"a video of {len(images)} images tells of no action; at least two are needed")
    begins = np.arange(0, len(images) - 1, model.horizon)
    generator, frames = sampling.generator(seed), torch.from_numpy(images)
    chunks = []
    for some in np.array_split(begins, -(-len(begins) // _PORTION)):
        found = model.act(_moments(model, frames, some, text), generator, task="inverse")
        chunks.append(found.float().cpu().numpy())
    return _followed(space.denormalise(np.concatenate(chunks)))[: len(images)]


def _moments(model: UvaModel, images: Tensor, begins: NDArray[np.int64], text: str) -> Batch:
    """Images around the moments `begins`; before and after the video there are its first and its last."""
    ahead = model.stride * np.arange(1 - model.history, model.frames + 1)
    steps = np.clip(begins[:, None] + ahead, 0, len(images) - 1)
    cut = images[torch.from_numpy(steps)].to(model.scale.device)
    before = model.history - 1
    return Batch(
        now=cut[:, before],
        state=None,
        future=cut[:, before + 1 :].transpose(1, 2),
        text=(text,) * len(begins),
        actions=None,
        prefix=torch.zeros(len(begins), dtype=torch.int64, device=cut.device),
        past=cut[:, :before].transpose(1, 2),
    )


def _followed(chunks: Array) -> Array:
    """The states (1 + k n, 11) on the way along k chunks (k, n, 11), each of which begins where the one before ends."""
    here = np.zeros((1, WIDTH))
    here[0, [3, 7]] = 1.0  # the first two columns of no rotation
    here[0, -1] = chunks[0, 0, -1]
    states = [here]
    for rows in chunks:
        states.append(absolute(states[-1][-1:], rows))
    return np.concatenate(states)
