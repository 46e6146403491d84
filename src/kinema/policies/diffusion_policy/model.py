"""The baseline's network: images and text become one vector, which conditions the denoising of a chunk of actions."""

from collections.abc import Sequence
from typing import Any, Self

import pydantic
import torch
from torch import Tensor, nn

from kinema import yaml_file
from kinema.policies import action_unet, sampling, text
from kinema.policies.action_unet import ActionUNet, ActionUNetConfig, LabelEmbedding
from kinema.policies.actions import WIDTH
from kinema.policies.batch import Batch
from kinema.policies.image_encoder import RESNET_18, SMALL, ImageEncoder, ImageEncoderConfig
from kinema.policies.pictures import signal
from kinema.policies.text import ClipConfig, WordsConfig

MODE = "sample"  # the baseline's only inference mode


class DiffusionPolicyConfig(pydantic.BaseModel):
    """One size of the baseline. Image size and cameras are the data set's and stand in the checkpoint beside this.

    guided   the text also says, inside the image encoders, what to look at; else it only stands beside what they saw
    label    length of the noise level's vector
    prefix   the most steps that may be committed already
    steps    of the sampler, from level `sigma` down
    latency  [s] to declare in lockstep
    """

    model_config = yaml_file.STRICT

    image: ImageEncoderConfig
    text: WordsConfig | ClipConfig = pydantic.Field(discriminator="kind")
    head: ActionUNetConfig
    guided: bool
    label: int = 256
    prefix: int = 4
    steps: int = 10
    sigma: float = 80.0
    latency: float

    @classmethod
    def full(cls) -> Self:
        """The paper's sizes: ResNet-18, CLIP, and Chi et al.'s U-Net; for a GPU."""
        return cls(image=RESNET_18, text=ClipConfig(), head=ActionUNetConfig(), guided=False, latency=0.1)

    @classmethod
    def small(cls) -> Self:
        """Trains on a laptop, needs no download."""
        head = ActionUNetConfig(channels=(64, 128), step=64, rejoin=True)
        return cls(image=SMALL, text=WordsConfig(), head=head, guided=True, label=64, latency=0.1)


class DiffusionPolicyModel(nn.Module):
    """All that is learned; what a trainer needs to know of a policy stands in front."""

    frames, stride = 0, 1  # it learns from no video
    stages = ("action",)

    def __init__(self, config: DiffusionPolicyConfig, cameras: int, image_size: tuple[int, int]) -> None:
        """`image_size` width, height [px] of every camera's images."""
        super().__init__()
        self.config = config
        self.prefix, self.latency = config.prefix, {MODE: config.latency}
        width = config.text.width
        self.words = text.encoder(config.text)
        self.eyes = nn.ModuleList(
            ImageEncoder(config.image, image_size, width if config.guided else 0) for _ in range(cameras)
        )
        self.label = LabelEmbedding(config.label)
        self.head = ActionUNet(WIDTH, config.label, cameras * config.image.features + width, config.head)

    def load_pretrained(self) -> None:
        """What a training begins with; raises CheckpointError naming the files that are missing."""
        if isinstance(self.words, text.Clip):
            self.words.load_pretrained()

    def prepare(self, batches: Sequence[Batch], texts: Sequence[str]) -> None:
        """Nothing has to be fitted before the training."""

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        """What a stage trains, as groups of an optimiser."""
        return [{"params": [parameter for parameter in self.parameters() if parameter.requires_grad]}]

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The head's loss; draws noise from torch's global generator."""
        assert batch.actions is not None
        condition = self.condition(batch.now, batch.text)
        return {"action": action_unet.action_loss(self._answer(condition), batch.actions, batch.prefix)}

    def condition(self, now: Tensor, texts: Sequence[str]) -> Tensor:
        """What the actions depend on, (b, condition), from images (b, cameras, height, width, 3) uint8 and b texts."""
        words = self.words(texts)
        told = words if self.config.guided else None
        seen = [eye(signal(images), told) for eye, images in zip(self.eyes, now.unbind(dim=1), strict=True)]
        return torch.cat([*seen, words], dim=1)

    @torch.no_grad()
    def act(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Actions (b, horizon, 11), normalised; of the batch's own actions only those of the prefix are looked at."""
        assert batch.actions is not None
        noise = torch.randn(batch.actions.shape, generator=generator, device=generator.device).to(batch.actions.device)
        sigmas = sampling.karras(self.config.steps, high=self.config.sigma).to(noise.device)
        answer = self._answer(self.condition(batch.now, batch.text))
        return action_unet.sample_actions(answer, noise, sigmas, batch.actions, batch.prefix)

    def _answer(self, condition: Tensor) -> action_unet.Answer:
        return lambda scaled, label, known: self.head(scaled, self.label(label), condition, known)
