"""What imagines: present images and words in, a clip of what all cameras will see out.

A clip is one padding frame, which shows the first camera's present image, and then the coming frames of each view, one
view after the other ("Video Generators are Robot Policies", appendix A.1); each frame is conditioned on its own
camera's present image. With two cameras and twelve frames of each that is the clip of "Dreamitate" (appendix A): 13
frames of the first view, of which the first repeats the input, and 12 of the second.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinema.errors import ConfigError
from kinema.policies import codec, sampling, text as words
from kinema.policies.batch import Batch
from kinema.policies.engines.graph import Tensors
from kinema.policies.pictures import signal
from kinema.policies.video_policy import unet
from kinema.policies.video_policy.config import VideoConfig

_PORTION = 48  # images that are encoded at a time: a processor's caches hold no more


class VideoModel(nn.Module):
    """Codec, text encoder and video U-Net of a clip."""

    config: VideoConfig
    scale: Tensor
    _view: Tensor

    def __init__(self, config: VideoConfig, cameras: int, image_size: tuple[int, int], beside: int = 0) -> None:
        """For so many cameras with images of `image_size` width, height [px]; `beside`: channels that condition besides
        the present images."""
        super().__init__()
        self.config, self.cameras, self.image_size = config, cameras, image_size
        self.frames, self.stride, self.clip = config.frames, config.stride, 1 + cameras * config.frames
        self.codec = codec.codec(config.codec)
        self.text = words.encoder(config.text)
        self.unet = unet.unet(
            config.unet,
            self.codec.predicted + self.codec.shown + beside,
            self.codec.predicted,
            config.text.width,
            self.clip,
        )
        multiple = self.codec.factor * self.unet.multiple
        if any(side % multiple for side in image_size):
            raise ConfigError(
                f"images of {image_size[0]} x {image_size[1]} px: both sides must be multiples of {multiple}"
            )
        self.latent = (self.codec.predicted, image_size[1] // self.codec.factor, image_size[0] // self.codec.factor)
        self.register_buffer("scale", torch.ones(()))  # of the latents that are denoised
        view = [0, *(camera for camera in range(cameras) for _ in range(config.frames))]
        self.register_buffer("_view", torch.tensor(view), persistent=False)

    def load_pretrained(self) -> None:
        """Begin with the published weights of Stable Video Diffusion and CLIP; raises CheckpointError without them."""
        for part in (self.codec, self.text, self.unet):
            if isinstance(part, codec.Vae | words.Clip | unet.SvdUNet):
                part.load_pretrained()

    @torch.no_grad()
    def fit(self, images: Tensor, batches: Sequence[Batch]) -> None:
        """The codec to images (n, height, width, 3) uint8, the latents' scale to moments with their future."""
        self.codec.fit(signal(images).to(self._view.device))
        if self.config.change and self.stride:  # in a video of the present nothing changes
            changes = [self._encode(batch.now, batch.future)[:, 1:] for batch in batches]
            self.scale.copy_(self.scale * torch.cat(changes).std())

    def clip_noise(self, count: int, generator: torch.Generator) -> Tensor:
        """Of `count` clips, drawn on the generator's device."""
        noise = torch.randn(count, self.clip, *self.latent, generator=generator, device=generator.device)
        return noise.to(self._view.device)

    # ---- parts

    def _shown(self, images: Tensor, stain: float = 0.0) -> Tensor:
        """Latents (b, clip, c, h, w) that condition each frame, of present images (b, cameras, 3, height, width)."""
        stained = images + stain * torch.randn_like(images) if stain else images
        return self.codec.show(stained.flatten(0, 1)).unflatten(0, images.shape[:2])[:, self._view]

    def _video(self, scaled: Tensor, sigma: Tensor, shown: Tensor, text: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Velocity and features of videos already scaled by c_in, at levels (b,)."""
        return self.unet(torch.cat([scaled, shown], dim=2), sampling.scalings(sigma).label, text)

    def _decode(self, latents: Tensor, now: Tensor) -> Tensors:
        """Images (b, cameras, frames, 3, height, width), -1 to 1."""
        views = (self.scale * latents + self._base(now))[:, 1:].unflatten(1, (self.cameras, self.frames)).flatten(0, 1)
        images = torch.stack([self.codec.decode(view) for view in views]).unflatten(0, (len(latents), self.cameras))
        if not self.config.change:
            return (images,)
        still = codec.left_out(self.codec, signal(now.flatten(0, 1)))  # that goes on as it is
        return (images + still.unflatten(0, now.shape[:2])[:, :, None],)

    def _encode(self, now: Tensor, future: Tensor | None) -> Tensor:
        """The clip's latents (b, clip, c, h, w); zeros where the future isn't given."""
        if future is None:
            return torch.zeros(len(now), self.clip, *self.latent, device=now.device)
        images = torch.cat([now[:, :1], future.flatten(1, 2)], dim=1)
        some = images.flatten(0, 1).split(_PORTION)
        latents = torch.cat([self.codec.encode(signal(part)) for part in some]).unflatten(0, images.shape[:2])
        return (latents - self._base(now)) / self.scale

    def _base(self, now: Tensor) -> Tensor:
        """What the denoised latents are relative to, (b, clip, c, h, w) or 0."""
        if not self.config.change:
            return self.scale.new_zeros(())
        return self.codec.encode(signal(now.flatten(0, 1))).unflatten(0, now.shape[:2])[:, self._view]
