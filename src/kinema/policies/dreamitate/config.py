"""What a stereo video generator is made of: the paper's size, and one for the virtual cell's side cameras.

Image size and cameras are not here: they are the data set's, and stand in the checkpoint beside this.
"""

import re
from typing import Self

import pydantic

from kinema.policies.codec import PatchesConfig
from kinema.policies.sampling import SIGMA_MAX, SIGMA_MIN
from kinema.policies.text import WordsConfig
from kinema.policies.video_policy.config import LeanConfig, SvdConfig, VideoConfig

# 30 passes of 42.9 Tflop at 2.5 times the pace of an A100 ("Video Generators are Robot Policies", appendix A.1), and 4
# seconds of tracking; not measured. An executor takes an observation of more than 15 s for too old.
_FULL_LATENCY = {"paper": 14.0, "few:10": 8.0}
_SMALL_LATENCY = {"few:10": 10.0, "paper": 14.0}  # one thread, 256 x 192 pixels: most of it is tracking


class DreamitateConfig(VideoConfig):
    """The generator, what it is trained with, and how it samples; see `VideoConfig`.

    frames    of each view, besides the image that is given: 12, which with that one are the paper's 13 + 12
    opening   so many moments of an episode may begin a clip, the first ones; 0: any. In the paper a demonstration is a
              clip, which begins with the scene alone
    goal      a mask of each view says where the thing is to lie in the end (the paper's push-shape, section 4.5)
    lowest    noise level of the sampler's last step, which takes away what is left there
    rounds    of imagining and acting in an episode; push-shape: 4
    latency   [s] to declare, by mode: `few:STEPS`, or `paper` with 30
    """

    frames: int = pydantic.Field(default=12, ge=3)
    stride: int = pydantic.Field(default=5, ge=1)
    opening: int = pydantic.Field(default=1, ge=0)
    goal: bool = False
    lowest: float = pydantic.Field(default=SIGMA_MIN, gt=0, lt=SIGMA_MAX)
    rounds: int = pydantic.Field(default=1, ge=1, le=4)
    latency: dict[str, float] = pydantic.Field(default_factory=lambda: dict(_FULL_LATENCY), min_length=1)

    @pydantic.field_validator("latency")
    @classmethod
    def _modes(cls, latency: dict[str, float]) -> dict[str, float]:
        for mode in latency:
            if not re.fullmatch(r"paper|few:[1-9]\d*", mode):
                raise ValueError(f"mode {mode!r} is not known; allowed: few:STEPS, paper")
        return latency

    @classmethod
    def full(cls) -> Self:
        """The paper's size on Stable Video Diffusion, 768 x 448 pixels; motion bucket 200, data at 30 Hz (6 fps)."""
        return cls(unet=SvdConfig(ids=(6.0, 200.0, 0.02)))

    @classmethod
    def small(cls) -> Self:
        """Trains on a laptop, needs no download; around 256 x 192 pixels, data at 10 Hz (5 fps)."""
        return cls(
            codec=PatchesConfig(patch=16, predicted=96, shown=96),
            text=WordsConfig(),
            unet=LeanConfig(channels=(64, 128)),
            change=True,
            video_noise=(2.5, 1.6),  # what changes is a small part of the picture, and stands out of more noise
            lowest=3.0,  # for the same reason: there the tool is clear, and what is left is specks
            stride=2,
            opening=3,
            latency=dict(_SMALL_LATENCY),
        )
