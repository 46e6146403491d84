"""The whole network: what is seen, the video U-Net, the adapter, the action U-Net; its losses, and its parts to act by.

"Video Generators are Robot Policies", section 3; what imagines is `VideoModel`. Two departures from the paper let one
pass of the U-Net be enough to act: actions have a noise level of their own, drawn apart from the video's, and a share
of the training moments shows a video of nothing but noise.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from kinema.policies import look, sampling
from kinema.policies.action_unet import ActionUNet, Answer, action_loss
from kinema.policies.actions import WIDTH
from kinema.policies.augmentation import varied, varied_clips
from kinema.policies.batch import Batch
from kinema.policies.engines.graph import Part, Tensors, running
from kinema.policies.look import Look, Looking
from kinema.policies.pictures import signal
from kinema.policies.text import Told
from kinema.policies.video_policy import adapter, sampler
from kinema.policies.video_policy.config import VideoPolicyConfig
from kinema.policies.video_policy.sampler import Noise, Sight
from kinema.policies.video_policy.video import VideoModel

STAGES = ("video", "action", "joint")


class VideoPolicyModel(VideoModel, Looking):
    """Everything that is learned, and what is fitted or frozen beside it; a checkpoint holds all of its tensors."""

    stages = STAGES
    history = 1
    executable = 24
    narrow = ("unet", "adapter", "head")
    config: VideoPolicyConfig

    def __init__(
        self, config: VideoPolicyConfig, cameras: int, image_size: tuple[int, int], width: int = WIDTH
    ) -> None:
        """For so many cameras with images of `image_size` width, height [px], and actions of `width` numbers."""
        super().__init__(config, cameras, image_size)
        self.width, self.prefix = width, config.prefix
        self.latency = config.latency
        self.horizon = config.steps
        taps = self.unet.taps((self.latent[1], self.latent[2]))
        self.adapter = adapter.adapter(config.adapter, taps, cameras, config.frames, self.unet.label)
        condition = self.adapter.features
        self.look: Look | None = None
        if config.look is not None:
            self.look = Look(config.look, cameras, image_size)
            condition += self.look.features
        self.head = ActionUNet(width, self.unet.label, condition, config.action)
        looks = ((), ()) if self.look is None else (("query", "state"), ("look",))
        self.parts = {
            "see": Part(VideoPolicyModel._see, ("now", *looks[0]), ("shown", *looks[1]), narrow=False),
            "video": Part(VideoPolicyModel._read, ("scaled", "sigma", "shown", "text"), ("velocity", "features")),
            "action": Part(VideoPolicyModel._act, ("scaled", "label", "condition", "known"), ("velocity",)),
            "decode": Part(VideoPolicyModel._decode, ("latents", "now"), ("images",), narrow=False),
        }

    # ---- training

    @torch.no_grad()
    def prepare(self, batches: Sequence[Batch], texts: Sequence[str]) -> None:
        """Fit what is not learned, from moments of the data set."""
        self.acquaint(batches)
        self.fit(torch.cat([batch.now.flatten(0, 1) for batch in batches]), batches)

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        """AdamW's groups of what a stage trains, each with a factor `scale` on the learning rate."""
        video = [p for part in (self.unet, self.text) for p in part.parameters() if p.requires_grad]
        parts = [self.adapter, self.head, *([self.look] if self.look is not None else [])]
        grounded = look.grounded(self.look) if self.look is not None else []
        action = look.beside((value for part in parts for value in part.parameters()), grounded)
        groups = [
            {"params": some, "scale": scale}
            for some, scale in zip((video, action, grounded), self.config.rates, strict=True)
        ]
        if not self.config.rates[2]:
            groups.pop()
        return {"video": groups[:1], "action": groups[1:], "joint": groups}[stage]

    @property
    def still(self) -> bool:
        """Whether what its look sees of a moment stays the same while it learns."""
        return self.look is not None and not self.config.rates[2]

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Losses to be added up; equations 4 and 5. Draws come from torch's global generator.

        Without `batch.future` every moment is one whose video is all noise: enough for the stage `action`.
        """
        config, count, device = self.config, len(batch), batch.now.device
        if config.varied and self.training:
            now, future = varied_clips(batch.now, batch.future, config.varied)
            batch = replace(batch, now=now, future=future)
        state = batch.state if stage != "video" else None
        sight = self.see(batch.now, batch.text, state, config.stain, batch.glimpse)
        sight = sight.where(torch.rand(count, device=device) >= config.drop)
        sigma = sampling.log_normal(torch.randn(count, device=device), *config.video_noise)
        read = torch.rand(count, device=device) < (config.read_share if batch.future is not None else 1.0)
        sigma = sigma.masked_fill(read, sampling.SIGMA_MAX)
        clean = self._clean(batch, read if stage == "action" else torch.zeros_like(read))
        scaled, velocity = sampling.diffuse(clean, torch.randn_like(clean), sigma)
        with torch.set_grad_enabled(stage != "action" and torch.is_grad_enabled()):
            answer, features = self._video(scaled, sigma, sight.shown, sight.text)
        losses = {}
        if stage != "action":
            losses["video"] = nn.functional.mse_loss(answer, velocity)
        if stage != "video":
            assert batch.actions is not None
            condition = torch.cat([self._adapted(features, sigma), sight.look], dim=1)
            drawn = (part.repeat_interleave(config.draws, dim=0) for part in (condition, batch.actions, batch.prefix))
            condition, actions, prefix = drawn
            losses["action"] = action_loss(self._answer(condition), actions, prefix, *config.action_noise)
        return losses

    # ---- acting

    def read(self, texts: Sequence[str]) -> Told:
        """Of b texts; raises ObservationError for one that is empty or too long."""
        return Told(self.text(texts), None if self.look is None else self.look.read(texts))

    def see(
        self,
        now: Tensor,
        texts: Sequence[str],
        state: Tensor | None,
        stain: float = 0.0,
        glimpse: Tensor | None = None,
    ) -> Sight:
        """Encode present images (b, cameras, height, width, 3) uint8 and texts.

        state  (b, 10) of the tool; None: for a video alone, nothing is looked at for the actions
        stain  noise on what conditions
        glimpse  (b, length) where it is known already what the look sees
        """
        text = self.text(texts)
        if self.look is None or state is None:
            (shown,) = self._see(now, stain=stain)
            return Sight(shown, text, text[:, :0])
        if glimpse is not None:
            (shown,) = self._see(now, stain=stain)
            return Sight(shown, text, self.look.tell(glimpse, self.look.read(texts), state))
        shown, looked = self._see(now, self.look.read(texts), state, stain)
        return Sight(shown, text, looked)

    def noise(self, count: int, generator: torch.Generator) -> Noise:
        """Drawn on the generator's device; the video's comes first, so that it can be drawn again without actions."""
        video = self.clip_noise(count, generator)
        actions = torch.randn(count, self.horizon, self.width, generator=generator, device=generator.device)
        return Noise(video, actions.to(video))

    @torch.no_grad()
    def act(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Actions (b, horizon, width) by a single pass, continuing the first `batch.prefix` of `batch.actions`."""
        noise = self.noise(len(batch), generator)
        given = torch.zeros_like(noise.actions) if batch.actions is None else batch.actions
        sight = self.see(batch.now, batch.text, batch.state)
        return sampler.single(running(self), self.config, sight, noise, given, batch.prefix)

    @torch.no_grad()
    def imagine(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Images (b, cameras, frames, height, width, 3) uint8 of what is going to happen."""
        run, sight = running(self), self.see(batch.now, batch.text, None)
        return sampler.decode(
            run, sampler.finish(run, self.config, sight, self.noise(len(batch), generator)), batch.now
        )

    # ---- parts

    def _see(
        self, now: Tensor, query: Tensor | None = None, state: Tensor | None = None, stain: float = 0.0
    ) -> Tensors:
        """Latents that condition, and what is looked for where a look is asked."""
        images = signal(now)
        shown = self._shown(images, stain)
        if self.look is None or query is None:
            return (shown,)
        return shown, self.look(varied(images) if self.training and not self.config.varied else images, query, state)

    def _clean(self, batch: Batch, read: Tensor) -> Tensor:
        """Latents of the moments' videos; zeros where one is `read` (b,) from noise alone, and so isn't needed."""
        clean = self._encode(batch.now, None)
        if batch.future is not None and not read.all():
            clean[~read] = self._encode(batch.now[~read], batch.future[~read])
        return clean

    def _adapted(self, features: list[Tensor], sigma: Tensor) -> Tensor:
        """The features as one vector."""
        label = self.unet.embed(sampling.scalings(sigma).label)
        if self.config.stop_gradient:
            features, label = [feature.detach() for feature in features], label.detach()
        return self.adapter(features, label)

    def _read(self, scaled: Tensor, sigma: Tensor, shown: Tensor, text: Tensor) -> Tensors:
        """Velocity of videos, and their features as one vector."""
        velocity, features = self._video(scaled, sigma, shown, text)
        return velocity, self._adapted(features, sigma)

    def _act(self, scaled: Tensor, label: Tensor, condition: Tensor, known: Tensor) -> Tensors:
        """Velocity of actions; levels are embedded as the video's."""
        embedded = self.unet.embed(label)
        return (self.head(scaled, embedded.detach() if self.config.stop_gradient else embedded, condition, known),)

    def _answer(self, condition: Tensor) -> Answer:
        """The action U-Net at a condition, as its loss calls it."""
        return lambda scaled, label, known: self._act(scaled, label, condition, known)[0]
