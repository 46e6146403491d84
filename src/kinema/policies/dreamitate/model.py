"""The stereo video generator: `VideoModel` for two cameras that stand still, and a goal where the task has one.

"Dreamitate", section 3.2 and appendix A. Its published network takes an image's vector from CLIP where this one takes
the words' vector, as the video policy does; each frame sees its own camera's present image by its latents.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.errors import ConfigError
from kinema.policies import sampling
from kinema.policies.batch import Batch
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.engines.graph import Part, Run, Tensors, running
from kinema.policies.pictures import signal
from kinema.policies.video_policy import sampler
from kinema.policies.video_policy.sampler import Sight
from kinema.policies.video_policy.video import VideoModel

STAGES = ("video",)
VIEWS = 2

_FITTED = 512  # images that the codec is fitted to


class DreamitateModel(VideoModel):
    """Everything that is learned, and what is fitted or frozen beside it; a checkpoint holds all of its tensors."""

    stages = STAGES
    history, prefix = 1, 0
    horizon = 0  # it speaks no normalised actions: the space in its checkpoint is the data's
    executable = 1  # of a chunk before another begins: so it is always played in stop and go
    narrow = ("unet",)
    config: DreamitateConfig

    def __init__(self, config: DreamitateConfig, cameras: int, image_size: tuple[int, int]) -> None:
        """For images of `image_size` width, height [px]; raises ConfigError for another number of cameras than two."""
        if cameras != VIEWS:
            raise ConfigError(f"a tool's place takes {VIEWS} cameras that stand still, there are {cameras}")
        super().__init__(config, cameras, image_size, beside=int(config.goal))
        self.latency, self.opening, self.goal = config.latency, config.opening, config.goal
        goal = ("goal",) if config.goal else ()
        self.parts = {
            "see": Part(DreamitateModel._see, ("now", *goal), ("shown",), narrow=False),
            "video": Part(DreamitateModel._velocity, ("scaled", "sigma", "shown", "text"), ("velocity",)),
            "decode": Part(DreamitateModel._decode, ("latents", "now"), ("images",), narrow=False),
        }

    # ---- training

    @torch.no_grad()
    def prepare(self, batches: Sequence[Batch], texts: Sequence[str]) -> None:
        """Fit what is not learned, from moments of the data set, the tool among what they show."""
        shares = -(-_FITTED // len(batches))
        images = torch.cat([_some(batch, shares) for batch in batches])
        self.fit(images, batches)

    def acquaint(self, batches: Sequence[Batch]) -> None:
        """Nothing: a training that goes on from another leaves what is fitted as it is."""

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        """AdamW's groups. Of the published network the paper tunes all but the codec, which is frozen here, too."""
        return [{"params": [p for part in (self.unet, self.text) for p in part.parameters() if p.requires_grad]}]

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Equation 2, at a noise level drawn for each moment. Draws come from torch's global generator."""
        config, count, device = self.config, len(batch), batch.now.device
        sight = self.see(batch.now, batch.text, batch.goal, config.stain)
        sigma = sampling.log_normal(torch.randn(count, device=device), *config.video_noise)
        clean = self._encode(batch.now, batch.future)
        scaled, velocity = sampling.diffuse(clean, torch.randn_like(clean), sigma)
        answer, _ = self._video(scaled, sigma, sight.shown, sight.text)
        return {"video": nn.functional.mse_loss(answer, velocity)}

    # ---- imagining

    def read(self, texts: Sequence[str]) -> Tensor:
        """(b, n) of b texts; raises ObservationError for one that is empty or too long."""
        return self.text(texts)

    def see(self, now: Tensor, texts: Sequence[str], goal: Tensor | None = None, stain: float = 0.0) -> Sight:
        """Encode present images (b, cameras, height, width, 3) uint8, texts, and masks (b, cameras, height, width)."""
        text = self.read(texts)
        (shown,) = self._see(now, goal, stain)
        return Sight(shown, text, text[:, :0])

    @torch.no_grad()
    def imagine(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Images (b, cameras, frames, height, width, 3) uint8 of what is going to happen, in the first mode's steps."""
        run, sight = running(self), self.see(batch.now, batch.text, batch.goal)
        steps = sampler.steps_of(next(iter(self.latency)))
        return sampler.decode(run, self.draw(run, sight, self.clip_noise(len(batch), generator), steps), batch.now)

    def draw(self, run: Run, sight: Sight, noise: Tensor, steps: int) -> Tensor:
        """Latents of clips, from unit noise (b, clip, c, h, w) in so many steps; `run` runs its parts."""
        return sampler.draw(run, sight, noise, steps, self.config.lowest)

    # ---- parts

    def _see(self, now: Tensor, goal: Tensor | None = None, stain: float = 0.0) -> Tensors:
        """Latents that condition each frame; a goal's mask is one channel more, its share of each place."""
        if (goal is not None) != self.config.goal:
            raise ConfigError(f"goal masks are {'needed' if self.config.goal else 'not what this network takes'}")
        shown = self._shown(signal(now), stain)
        if goal is None:
            return (shown,)
        small = functional.avg_pool2d(goal.to(shown), self.codec.factor)
        return (torch.cat([shown, small[:, self._view, None]], dim=2),)

    def _velocity(self, scaled: Tensor, sigma: Tensor, shown: Tensor, text: Tensor) -> Tensors:
        return (self._video(scaled, sigma, shown, text)[0],)


def _some(batch: Batch, count: int) -> Tensor:
    """About `count` images (n, height, width, 3), evenly from all that the moments show."""
    assert batch.future is not None
    images = torch.cat([batch.now[:, :, None], batch.future], dim=2).flatten(0, 2)
    return images[:: max(len(images) // count, 1)]
