"""Images to latents and back: published autoencoders, or principal components fitted to the data.

Latents to be denoised have about unit variance, as the noise levels assume; those that condition need not.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema.errors import CheckpointError, ConfigError

_VAE_SCALE = 0.18215  # makes the autoencoder's latents unit variance (Rombach et al. 2022, appendix G)
_LEAST_STD = 0.02  # of a component [pixels' range -1..1]; quieter ones are not blown up to size 1


@dataclass(frozen=True, slots=True)
class VaeConfig:
    """Stable Video Diffusion's autoencoder: 8 x 8 pixels to 4 numbers. `source`: a local folder or a hub id."""

    kind: Literal["vae"] = "vae"
    channels: tuple[int, ...] = (128, 256, 512, 512)
    source: str = "stabilityai/stable-video-diffusion-img2vid"


@dataclass(frozen=True, slots=True)
class KlConfig:
    """Latent diffusion's autoencoder kl-f16 (Rombach et al. 2022): 16 x 16 pixels to 16 numbers, image by image.

    source  a local folder as diffusers lays out an AutoencoderKL; scale: makes its latents unit variance (Li et al.
            2024, "Autoregressive Image Generation without Vector Quantization", whose autoencoder it is)
    """

    kind: Literal["kl"] = "kl"
    channels: tuple[int, ...] = (128, 128, 256, 256, 512)
    latent: int = 16
    scale: float = 0.2325
    source: str = "models/kl-f16"


@dataclass(frozen=True, slots=True)
class PatchesConfig:
    """Principal components of `patch` x `patch` pixels: `predicted` of them are denoised, `shown` condition."""

    kind: Literal["patches"] = "patches"
    patch: int = 8
    predicted: int = 48
    shown: int = 64


def codec(config: VaeConfig | KlConfig | PatchesConfig) -> "Vae | Kl | Patches":
    if isinstance(config, PatchesConfig):
        return Patches(config)
    return Kl(config) if isinstance(config, KlConfig) else Vae(config)


def left_out(codec: "Vae | Kl | Patches", images: Tensor) -> Tensor:
    """What the codec leaves out of images (n, 3, height, width), -1 to 1."""
    return images - codec.decode(codec.encode(images))


class Patches(nn.Module):
    """Each patch of pixels as its first principal components.

    What is denoised is whitened half-way, std to the power of 1/2, so that what is seen most weighs most; what
    conditions is whitened.
    """

    mean: Tensor
    basis: Tensor
    std: Tensor
    loudness: Tensor

    def __init__(self, config: PatchesConfig) -> None:
        super().__init__()
        self.factor, self.predicted, self.shown = config.patch, config.predicted, config.shown
        pixels, kept = 3 * config.patch**2, max(config.predicted, config.shown)
        if kept > pixels:
            raise ConfigError(f"codec: a patch of {config.patch} px has {pixels} components, asked for are {kept}")
        self.register_buffer("mean", torch.zeros(pixels))
        self.register_buffer("basis", torch.eye(pixels)[:, :kept].clone())
        self.register_buffer("std", torch.ones(kept))
        self.register_buffer("loudness", torch.ones(()))

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Take the components from images (n, 3, height, width), -1 to 1."""
        patches = functional.pixel_unshuffle(images, self.factor).movedim(1, -1).flatten(0, -2).double()
        kept = self.basis.shape[1]
        self.mean.copy_(patches.mean(dim=0))
        values, vectors = torch.linalg.eigh(patches.T.cov())
        vectors = vectors.flip(1)[:, :kept]
        vectors = vectors * vectors.sum(dim=0).sign()  # eigenvectors have no sign of their own
        self.basis.copy_(vectors)
        self.std.copy_(values.flip(0)[:kept].clamp(min=_LEAST_STD**2).sqrt())
        self.loudness.copy_(self.std[: self.predicted].mean().sqrt())

    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, predicted, h, w) to be denoised, of images (n, 3, height, width), -1 to 1."""
        return self._project(images, self.predicted) / self._weight(self.predicted)

    def show(self, images: Tensor) -> Tensor:
        """Latents (n, shown, h, w) that condition."""
        return self._project(images, self.shown) / self.std[: self.shown, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, height, width), -1 to 1, of latents (n, predicted, h, w)."""
        kept = latents * self._weight(self.predicted)
        with _exactly(kept):
            patches = torch.einsum("nchw,pc->nphw", kept.float(), self.basis[:, : self.predicted])
        patches = patches + self.mean[:, None, None]
        return functional.pixel_shuffle(patches, self.factor)

    def _project(self, images: Tensor, kept: int) -> Tensor:
        """As a convolution: a third of the time of cutting patches out."""
        basis = self.basis[:, :kept].T
        kernel = basis.unflatten(1, (3, self.factor, self.factor)).contiguous()
        with _exactly(images):
            return functional.conv2d(images.float(), kernel, -(basis @ self.mean), stride=self.factor)

    def _weight(self, kept: int) -> Tensor:
        return (self.std[:kept].sqrt() * self.loudness)[:, None, None]


def _exactly(values: Tensor) -> torch.autocast:
    """In 32 bits even where the networks around it compute in 16."""
    return torch.autocast(values.device.type, enabled=False)


class Vae(nn.Module):
    """Stable Video Diffusion's autoencoder; frozen. Its decoder smooths over time."""

    factor, predicted, shown = 8, 4, 4

    def __init__(self, config: VaeConfig) -> None:
        from diffusers import AutoencoderKLTemporalDecoder  # seconds to import

        super().__init__()
        self.config = config
        network: Any = AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * len(config.channels),
            block_out_channels=config.channels,
            layers_per_block=2,
            latent_channels=self.predicted,
            scaling_factor=_VAE_SCALE,
        )
        self.network = network.eval().requires_grad_(False)

    def load_pretrained(self) -> None:
        """Take the published weights; raises CheckpointError naming the files that are missing."""
        from diffusers import AutoencoderKLTemporalDecoder

        self.network.load_state_dict(
            published(AutoencoderKLTemporalDecoder, self.config.source, "vae", "codec.source").state_dict()
        )

    def fit(self, images: Tensor) -> None:
        """Nothing: the autoencoder comes trained."""

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, 4, h, w) to be denoised, of images (n, 3, height, width), -1 to 1."""
        return _VAE_SCALE * self.show(images)

    @torch.no_grad()
    def show(self, images: Tensor) -> Tensor:
        """Latents (n, 4, h, w) that condition: the encoder's mode, not scaled."""
        return self.network.encode(images).latent_dist.mode()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, height, width), -1 to 1, of latents (n, 4, h, w) of one video's n frames of one view."""
        return self.network.decode(latents / _VAE_SCALE, num_frames=len(latents)).sample


class Kl(nn.Module):
    """Latent diffusion's autoencoder; frozen."""

    def __init__(self, config: KlConfig) -> None:
        from diffusers import AutoencoderKL  # seconds to import

        super().__init__()
        self.config = config
        levels = len(config.channels)
        self.factor, self.predicted, self.shown = 2 ** (levels - 1), config.latent, config.latent
        network: Any = AutoencoderKL(
            down_block_types=(*("DownEncoderBlock2D",) * (levels - 1), "AttnDownEncoderBlock2D"),
            up_block_types=("AttnUpDecoderBlock2D", *("UpDecoderBlock2D",) * (levels - 1)),
            block_out_channels=config.channels,
            layers_per_block=2,
            latent_channels=config.latent,
        )
        self.network = network.eval().requires_grad_(False)

    def load_pretrained(self) -> None:
        """Take the published weights; raises CheckpointError naming the files that are missing."""
        from diffusers import AutoencoderKL

        try:
            found: Any = AutoencoderKL.from_pretrained(self.config.source, local_files_only=True)
        except OSError as error:
            raise CheckpointError(
                f"the autoencoder kl-f16 is not in {self.config.source!r}; put config.json and "
                "diffusion_pytorch_model.safetensors of it into a folder and name it as `codec.source`"
            ) from error
        self.network.load_state_dict(found.state_dict())

    def fit(self, images: Tensor) -> None:
        """Nothing: the autoencoder comes trained."""

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Latents (n, latent, h, w) of images (n, 3, height, width), -1 to 1: the encoder's mode."""
        return self.config.scale * self.network.encode(images).latent_dist.mode()

    def show(self, images: Tensor) -> Tensor:
        """Those that condition are the same."""
        return self.encode(images)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Images (n, 3, height, width), -1 to 1, of latents (n, latent, h, w)."""
        return self.network.decode(latents / self.config.scale).sample


def published(kind: Any, source: str, part: str, key: str) -> Any:
    """One part of Stable Video Diffusion, from a folder or the hub; raises CheckpointError naming what is missing."""
    for variant in (None, "fp16"):
        try:
            return kind.from_pretrained(source, subfolder=part, variant=variant)
        except OSError as error:
            missing = error
    raise CheckpointError(
        f"Stable Video Diffusion is not in {source!r} and cannot be fetched; put {part}/config.json and "
        f"{part}/diffusion_pytorch_model.safetensors of {VaeConfig().source} into a folder and name it as `{key}`"
    ) from missing
