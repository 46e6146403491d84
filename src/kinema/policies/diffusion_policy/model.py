"""The baseline's network: images and text become one vector, which conditions the denoising of a chunk of actions."""

from collections.abc import Sequence
from typing import Any, Self

import pydantic
import torch
from torch import Tensor

from kinema import yaml_file
from kinema.policies import action_unet, look, sampling
from kinema.policies.action_unet import ActionUNet, ActionUNetConfig, LabelEmbedding
from kinema.policies.actions import WIDTH
from kinema.policies.augmentation import varied
from kinema.policies.batch import Batch
from kinema.policies.engines.graph import Part, Run, Tensors, running
from kinema.policies.image_encoder import Encoders, EncodersConfig
from kinema.policies.look import Look, LookConfig, Looking
from kinema.policies.pictures import signal

MODE = "sample"  # the baseline's only inference mode


class DiffusionPolicyConfig(pydantic.BaseModel):
    """One size of the baseline. Image size and cameras are the data set's and stand in the checkpoint beside this.

    eyes     what sees
    label    length of the noise level's vector
    prefix   the most steps that may be committed already
    steps    of the sampler, from level `sigma` down
    grounded_rate  factor on the learning rate of what has learned to see before; 0: it stays as it is
    latency  [s] to declare in lockstep
    """

    model_config = yaml_file.STRICT

    eyes: LookConfig | EncodersConfig = pydantic.Field(discriminator="kind")
    head: ActionUNetConfig
    label: int = 256
    prefix: int = 4
    steps: int = 10
    sigma: float = 80.0
    grounded_rate: float = 1.0
    latency: float

    @classmethod
    def full(cls) -> Self:
        """The paper's sizes: ResNet-18, CLIP, and Chi et al.'s U-Net; for a GPU."""
        return cls(eyes=EncodersConfig(), head=ActionUNetConfig(), latency=0.1)

    @classmethod
    def small(cls) -> Self:
        """Trains on a laptop, needs no download."""
        head = ActionUNetConfig(channels=(64, 128), step=64, rejoin=True)
        return cls(eyes=LookConfig(), head=head, label=64, grounded_rate=0.0, latency=0.1)


class DiffusionPolicyModel(Looking):
    """All that is learned; what a trainer needs to know of a policy stands in front."""

    frames, stride, history = 0, 1, 1  # it learns from no video
    horizon, executable = 0, 24  # a chunk is as long as the data's
    stages = ("action",)
    narrow = ("label", "head")

    def __init__(self, config: DiffusionPolicyConfig, cameras: int, image_size: tuple[int, int]) -> None:
        """`image_size` width, height [px] of every camera's images."""
        super().__init__()
        self.config, self.cameras, self.image_size = config, cameras, image_size
        self.prefix, self.latency = config.prefix, {MODE: config.latency}
        self.look: Look | Encoders = look.eyes(config.eyes, cameras, image_size)
        self.label = LabelEmbedding(config.label)
        self.head = ActionUNet(WIDTH, config.label, self.look.features, config.head)
        self.parts = {
            "see": Part(DiffusionPolicyModel._see, ("now", "told", "state"), ("condition",), narrow=False),
            "action": Part(DiffusionPolicyModel._act, ("scaled", "label", "condition", "known"), ("velocity",)),
        }

    def load_pretrained(self) -> None:
        """What a training begins with; raises CheckpointError naming the files that are missing."""
        if isinstance(self.look, Encoders):
            self.look.load_pretrained()

    def prepare(self, batches: Sequence[Batch], texts: Sequence[str]) -> None:
        """Fit what is not learned, from moments of the data set."""
        self.acquaint(batches)

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        """What a stage trains, as groups of an optimiser."""
        grounded = look.grounded(self.look)
        others = look.beside((value for value in self.parameters() if value.requires_grad), grounded)
        groups: list[dict[str, Any]] = [{"params": others}, {"params": grounded, "scale": self.config.grounded_rate}]
        return groups[:1] if self.still else groups

    def read(self, texts: Sequence[str]) -> Tensor:
        """Of b texts; raises ObservationError for one that is empty or too long."""
        return self.look.read(texts)

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """The head's loss; draws noise from torch's global generator."""
        assert batch.actions is not None and batch.state is not None
        told = self.read(batch.text)
        if batch.glimpse is not None:
            condition = self.look.tell(batch.glimpse, told, batch.state)
        else:
            (condition,) = self._see(batch.now, told, batch.state)
        return {"action": action_unet.action_loss(_answer(running(self), condition), batch.actions, batch.prefix)}

    @torch.no_grad()
    def act(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Actions (b, horizon, 11), normalised; of the batch's own actions only those of the prefix are looked at."""
        assert batch.actions is not None and batch.state is not None
        told = self.read(batch.text)
        noise = torch.randn(batch.actions.shape, generator=generator, device=generator.device).to(batch.actions.device)
        return sample(running(self), self.config, batch.now, told, batch.state, noise, batch.actions, batch.prefix)

    # ---- parts

    def _see(self, now: Tensor, told: Tensor, state: Tensor) -> Tensors:
        """What the actions depend on, (b, condition): images (b, cameras, height, width, 3), read texts, states."""
        images = signal(now)
        return (self.look(varied(images) if self.training else images, told, state),)

    def _act(self, scaled: Tensor, label: Tensor, condition: Tensor, known: Tensor) -> Tensors:
        return (self.head(scaled, self.label(label), condition, known),)


def sample(
    run: Run,
    config: DiffusionPolicyConfig,
    now: Tensor,
    told: Tensor,
    state: Tensor,
    noise: Tensor,
    given: Tensor,
    prefix: Tensor,
) -> Tensor:
    """Actions (b, horizon, 11) through the network's parts; the first `prefix` (b,) of them stay as they are `given`.

    now    (b, cameras, height, width, 3) uint8; told: the texts, read; state (b, 10) of the tool; or one of each, of
           which b chunks are drawn
    noise  (b, horizon, 11) of unit variance
    """
    (condition,) = run("see", now.float(), told, state)
    condition = condition.expand(len(noise), -1)
    sigmas = sampling.karras(config.steps, high=config.sigma).to(noise)
    return action_unet.sample_actions(_answer(run, condition), noise, sigmas, given, prefix)


def _answer(run: Run, condition: Tensor) -> action_unet.Answer:
    return lambda scaled, label, known: run("action", scaled, label.contiguous(), condition, known)[0]
