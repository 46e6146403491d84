"""What a video network and a video policy are made of: the full size, and sizes that need no published weights.

Image size and cameras are not here: they are the data set's, and stand in the checkpoint beside this.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import pydantic

from kinema import yaml_file
from kinema.policies.action_unet import ActionUNetConfig
from kinema.policies.codec import PatchesConfig, VaeConfig
from kinema.policies.look import LookConfig
from kinema.policies.sampling import SIGMA_MAX
from kinema.policies.text import ClipConfig, WordsConfig


@dataclass(frozen=True, slots=True)
class SvdConfig:
    """Stable Video Diffusion's U-Net (Blattmann et al. 2023). `source`: a local folder or a hub id.

    ids  that it is told of every clip: frames a second, motion bucket, noise on the condition
    """

    kind: Literal["svd"] = "svd"
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    heads: tuple[int, ...] = (5, 10, 20, 20)
    layers: int = 2
    ids: tuple[float, float, float] = (6.0, 100.0, 0.02)
    source: str = "stabilityai/stable-video-diffusion-img2vid"


@dataclass(frozen=True, slots=True)
class LeanConfig:
    """A U-Net of few operations: residual blocks within frames, attention over all of space and time at the bottom.

    channels  of each level, each at half the size of the one before; a multiple of 8
    heads     of the attention; layers: how many blocks with attention
    label     width of the noise level's embedding
    drawing   residual blocks of each finer level on the way up
    """

    kind: Literal["lean"] = "lean"
    channels: tuple[int, ...] = (48, 96)
    heads: int = 4
    layers: int = 2
    label: int = 96
    drawing: int = 1


@dataclass(frozen=True, slots=True)
class BottlenecksConfig:
    """The paper's adapter: 3-D bottlenecks, one branch a view, then a common trunk that folds time.

    Rows are (channels, groups of the normalisation). Each view's branch begins at the finest features; `entries` are
    what the features of every further tap are brought to before they join, `widths` what they join to, `strides` how
    much each of those shrinks. `narrow` ends the branches; `trunk` joins them. Every row is `blocks` bottlenecks. Then
    time is folded at the last width in `fold` groups: two more rows, and one of twice the blocks for each halving.
    `norm` are the groups of the last normalisation.
    """

    kind: Literal["bottlenecks"] = "bottlenecks"
    entries: tuple[tuple[int, int], ...] = ((320, 10), (640, 10), (640, 10), (640, 10))
    widths: tuple[tuple[int, int], ...] = ((320, 10), (640, 10), (1280, 10), (1280, 10), (1280, 10))
    strides: tuple[int, ...] = (2, 2, 2, 1, 1)
    narrow: tuple[tuple[int, int], ...] = ((864, 8), (576, 6))
    trunk: tuple[tuple[int, int], ...] = ((1280, 10), (960, 8), (720, 6), (540, 5), (420, 5))
    blocks: int = 2
    fold: int = 7
    norm: int = 14


@dataclass(frozen=True, slots=True)
class FlatConfig:
    """An adapter of few operations: `channels` are kept of each tap, finest first; one linear map reads all of them.

    It learns in a third of the steps where the video network is small, and each of them is twice as fast.
    """

    kind: Literal["flat"] = "flat"
    channels: tuple[int, ...] = (3, 8)
    features: int = 128


# The paper's 9 s for 30 guided steps on an A100 (appendix A.1) is 0.15 s a pass; the rest follows from that.
_FULL_LATENCY = {"single": 0.2, "few:4": 0.7, "few:10": 1.6, "paper": 9.0}
_SMALL_LATENCY = {"single": 0.15, "few:4": 0.3, "few:10": 0.7, "paper": 2.0}  # one thread, 128 x 96 pixels
_MEDIUM_LATENCY = {"single": 0.15, "few:4": 0.3, "few:10": 0.7, "paper": 2.0}  # for a GPU; not measured on one yet


class VideoConfig(pydantic.BaseModel):
    """What imagines, whoever acts by it.

    frames, stride   imagined images of each view, and the steps between them; stride 0: all of them show the present
    change           videos are denoised as the change from the present image, in the change's own scale
    video_noise      mean and standard deviation of ln(sigma) in training
    stain            noise added to the images that condition, of the pixels' range -1..1
    """

    model_config = yaml_file.STRICT

    codec: Annotated[VaeConfig | PatchesConfig, pydantic.Field(discriminator="kind")] = VaeConfig()
    text: Annotated[ClipConfig | WordsConfig, pydantic.Field(discriminator="kind")] = ClipConfig()
    unet: Annotated[SvdConfig | LeanConfig, pydantic.Field(discriminator="kind")] = SvdConfig()
    change: bool = False
    frames: int = pydantic.Field(default=8, ge=1)
    stride: int = pydantic.Field(default=4, ge=0)
    video_noise: tuple[float, float] = (1.0, 1.6)
    stain: float = pydantic.Field(default=0.02, ge=0)


class VideoPolicyConfig(VideoConfig):
    """The network, what it is trained with, and how it samples; the video looks frames * stride steps ahead.

    horizon          steps of a chunk; None: as far as the video looks ahead
    look             sees the present images as they are, and the tool's state, beside the U-Net's features; None:
                     without. Not in the paper: at a small size the codec leaves out what localising takes
    varied           how much light and tint differ in training, of what `varied` does to what a look sees; above 0
                     strips hide parts of the side cameras' clips, too, as an arm does that no demonstration shows; 0:
                     clips are taken as they are
    action_noise     mean and standard deviation of ln(sigma) of actions in training, drawn apart from the video's
    read_share       of training moments whose video is all noise, as in a single pass
    draws            noises of a moment's actions that are learned from by one pass of the video network
    drop             of training moments that see neither text nor images, for guidance
    guidance         scale of `paper` mode
    prefix           the longest run of steps that may be committed already
    action_steps     of the action U-Net after a single pass, from level `action_sigma` down
    finish_steps     of the video that is asked for afterwards; 1: the mean of what may come, blurred where that is
                     open; with more steps a sharp one of many, which misses by more
    stop_gradient    the video U-Net learns from videos alone (the paper, section 3.3)
    latency          [s] to declare in lockstep, by mode; the modes that there are
    rates            factors on the learning rate: of text and video U-Net; of adapter, look and action U-Net; of what
                     the look has learned before, 0: that stays as it is
    """

    adapter: Annotated[BottlenecksConfig | FlatConfig, pydantic.Field(discriminator="kind")] = BottlenecksConfig()
    action: ActionUNetConfig = ActionUNetConfig()
    horizon: int | None = pydantic.Field(default=None, ge=1)
    look: LookConfig | None = None
    varied: float = pydantic.Field(default=0.0, ge=0)
    action_noise: tuple[float, float] = (1.0, 1.6)
    read_share: float = pydantic.Field(default=0.3, ge=0, le=1)
    draws: int = pydantic.Field(default=1, ge=1)
    drop: float = pydantic.Field(default=0.1, ge=0, lt=1)
    guidance: float = pydantic.Field(default=2.0, ge=1)
    prefix: int = pydantic.Field(default=8, ge=0)
    action_steps: int = pydantic.Field(default=10, ge=1)
    action_sigma: float = pydantic.Field(default=SIGMA_MAX, gt=1)
    finish_steps: int = pydantic.Field(default=10, ge=1)
    stop_gradient: bool = True
    latency: dict[str, float] = pydantic.Field(default_factory=lambda: dict(_FULL_LATENCY))
    rates: tuple[float, float, float] = (1.0, 5.0, 1.0)

    @pydantic.field_validator("latency")
    @classmethod
    def _modes(cls, latency: dict[str, float]) -> dict[str, float]:
        for mode in latency:
            if not re.fullmatch(r"single|paper|few:[1-9]\d*", mode):
                raise ValueError(f"mode {mode!r} is not known; allowed: single, few:STEPS, paper")
        return latency

    @pydantic.model_validator(mode="after")
    def _acts(self) -> Self:
        if not self.steps:
            raise ValueError(
                "a video of the present alone (stride 0) doesn't say how long a chunk is: give the horizon"
            )
        return self

    @property
    def steps(self) -> int:
        """Of a chunk."""
        return self.frames * self.stride if self.horizon is None else self.horizon

    @classmethod
    def full(cls) -> Self:
        """The paper's sizes, on Stable Video Diffusion; 256 x 256, 256 x 192 or 448 x 320 pixels."""
        return cls()

    @classmethod
    def medium(cls) -> Self:
        """Trains on one GPU in half an hour, needs no download; around 128 x 96 pixels."""
        return cls.small().model_copy(
            update={
                "codec": PatchesConfig(),
                "unet": LeanConfig(channels=(128, 256, 384), heads=6, label=192),
                "adapter": FlatConfig(channels=(4, 8, 16), features=256),
                "action": ActionUNetConfig(channels=(128, 256), step=128, rejoin=True),
                "draws": 1,
                "finish_steps": 10,
                "latency": dict(_MEDIUM_LATENCY),
            }
        )

    @classmethod
    def small(cls) -> Self:
        """Trains on a laptop, needs no download; around 128 x 96 pixels."""
        return cls(
            codec=PatchesConfig(patch=16, predicted=64, shown=96),
            text=WordsConfig(),
            unet=LeanConfig(channels=(64, 128)),
            adapter=FlatConfig(),
            action=ActionUNetConfig(channels=(64, 128), step=64, rejoin=True),
            change=True,
            look=LookConfig(),
            varied=2.0,
            action_noise=(0.0, 1.6),
            action_sigma=80.0,
            read_share=0.5,
            draws=8,
            finish_steps=1,
            latency=dict(_SMALL_LATENCY),
            rates=(1.0, 1.0, 0.0),
        )
