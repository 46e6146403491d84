"""UVA's network: what is seen, done and to come goes through one masked transformer, and two small heads denoise.

Li et al. 2025, "Unified Video Action Model", sections III-A to III-D; blocks, heads and the masking of tokens are those
of Li et al. 2024, "Autoregressive Image Generation without Vector Quantization" (MAR), its base size.

Time runs in steps of `stride` actions. Token i of step k joins four things: what was seen at place i, `frames` - k
steps ago; the actions that led there; what will be seen at place i, k steps ahead; the actions that lead there. Of the
last three each may be missing, and a learned token stands in its place then. What is missing makes the task.

Departures from the paper, as in the other policies here: noise levels and v-prediction are EDM's; a chunk is denoised
as one, not step by step, lest its pieces come from different ways of doing it; its first steps may be committed, which
the transformer and the head are both told; several cameras' tokens stand side by side. At a small size a look sees the
present images besides, and videos are denoised as the change from them.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import pydantic
import torch
from torch import Tensor, nn
from torch.nn import functional

from kinema import yaml_file
from kinema.errors import ConfigError
from kinema.policies import action_unet, codec, look, sampling, text as words
from kinema.policies.action_unet import LabelEmbedding
from kinema.policies.actions import DONE, WIDTH
from kinema.policies.attention import attend
from kinema.policies.augmentation import varied
from kinema.policies.batch import Batch
from kinema.policies.codec import KlConfig, PatchesConfig, VaeConfig
from kinema.policies.engines.graph import Part, Tensors, running
from kinema.policies.image_encoder import Encoders, EncodersConfig
from kinema.policies.look import Look, LookConfig, Looking
from kinema.policies.pictures import signal
from kinema.policies.text import Clip, ClipConfig, Told, WordsConfig
from kinema.policies.uva import sampler
from kinema.policies.uva.sampler import Given, Noise, Sight

ACTION = "action"  # the mode that acts and imagines nothing

_LEAST_MASKED, _SPREAD = 0.7, 0.25  # of the masked share in training: a normal about 1, from the first up (MAR)


@dataclass(frozen=True, slots=True)
class Task:
    """What is given and what is learned (the paper's figure 1 b).

    done     whether the actions up to the present are known, and with them the tool's state, which a look takes
    future   how much of the coming images: none, some places of all of them, or all
    actions  whether the coming actions are known
    """

    done: bool
    future: Literal["none", "some", "all"]
    actions: bool
    learned: tuple[str, ...]


TASKS = {
    "policy": Task(True, "none", False, ("action",)),
    "video": Task(False, "some", False, ("video",)),
    "forward": Task(True, "some", True, ("video",)),
    "inverse": Task(False, "all", False, ("action",)),
    "joint": Task(True, "some", False, ("video", "action")),
}
_STAGES = {"video": ("video",), "action": ("policy",), "joint": tuple(TASKS)}  # what is drawn from, by stage


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """A perceptron that denoises: so many residual layers of a width; `label` of the noise level's waves."""

    width: int = 1024
    depth: int = 6
    label: int = 256


# Table II: 95 ms with 16 steps on the authors' GPU. The others are not measured yet.
_FULL_LATENCY = {ACTION: 0.1, "full:1": 0.5, "full:8": 2.0}
# one thread, 128 x 96 pixels: predictions of 27, 74 and 162 ms, and as much again for what else a machine does
_SMALL_LATENCY = {ACTION: 0.15, "full:1": 0.4, "full:8": 1.0}


class UvaConfig(pydantic.BaseModel):
    """The network, what it is trained with, and how it samples.

    frames, stride   images of the past and of the future, and the action steps between them; their product is the
                     horizon, of the chunk and of the actions that led to the present
    group            a token is `group` x `group` places of the codec's latents
    width, heads     of the transformer; depth: blocks of its two halves, the first and the last half of them
    words            how many tokens repeat the text
    change           videos are denoised as the change from the present images, in the change's own scale
    look             sees the present images as they are, and the tool's state, as the baseline's `eyes`; None: without,
                     as published
    noise            mean and standard deviation of ln(sigma) in training, of both heads; sigma: the sampler's highest
    draws            noises of a moment's actions that are learned from by one pass of the transformer
    prefix           the longest run of steps that may be committed already
    action_steps, video_steps  of the two heads' samplers
    imagine          passes that a video takes which is asked for afterwards
    latency          [s] to declare in lockstep, by mode; the modes that there are
    grounded_rate    factor on the learning rate of what the look has learned before; 0: it stays as it is
    """

    model_config = yaml_file.STRICT

    codec: Annotated[VaeConfig | KlConfig | PatchesConfig, pydantic.Field(discriminator="kind")] = KlConfig()
    text: Annotated[ClipConfig | WordsConfig, pydantic.Field(discriminator="kind")] = ClipConfig()
    frames: int = pydantic.Field(default=4, ge=2)
    stride: int = pydantic.Field(default=4, ge=1)
    group: int = pydantic.Field(default=1, ge=1)
    width: int = pydantic.Field(default=768, ge=8)
    depth: tuple[int, int] = (12, 12)
    heads: int = pydantic.Field(default=12, ge=1)
    words: int = pydantic.Field(default=64, ge=1)
    video_head: HeadConfig = HeadConfig()
    action_head: HeadConfig = HeadConfig()
    change: bool = False
    look: Annotated[LookConfig | EncodersConfig, pydantic.Field(discriminator="kind")] | None = None
    noise: tuple[float, float] = (0.0, 1.6)
    sigma: float = pydantic.Field(default=80.0, gt=1)
    draws: int = pydantic.Field(default=1, ge=1)
    prefix: int = pydantic.Field(default=4, ge=0)
    action_steps: int = pydantic.Field(default=16, ge=1)
    video_steps: int = pydantic.Field(default=25, ge=1)
    imagine: int = pydantic.Field(default=8, ge=1)
    latency: dict[str, float] = pydantic.Field(default_factory=lambda: dict(_FULL_LATENCY))
    grounded_rate: float = 1.0

    @pydantic.field_validator("latency")
    @classmethod
    def _modes(cls, latency: dict[str, float]) -> dict[str, float]:
        for mode in latency:
            if not re.fullmatch(rf"{ACTION}|full:[1-9]\d*", mode):
                raise ValueError(f"mode {mode!r} is not known; allowed: {ACTION}, full:PASSES")
        return latency

    @pydantic.model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} can't be shared by {self.heads} heads")
        return self

    @classmethod
    def full(cls) -> Self:
        """The paper's sizes; 256 x 256 pixels, one camera in the paper."""
        return cls()

    @classmethod
    def small(cls) -> Self:
        """Trains on a laptop, needs no download; around 128 x 96 pixels."""
        return cls(
            codec=PatchesConfig(patch=16, predicted=32, shown=96),
            text=WordsConfig(),
            group=2,
            width=128,
            depth=(3, 3),
            heads=4,
            words=4,
            video_head=HeadConfig(256, 3, 64),
            action_head=HeadConfig(400, 3, 64),  # wider than the 176 numbers that it denoises
            change=True,
            look=LookConfig(),
            draws=8,
            action_steps=10,
            video_steps=10,
            latency=dict(_SMALL_LATENCY),
            grounded_rate=0.0,
        )


# ---- layers


class _Block(nn.Module):
    """Every token asks all others, then thinks for itself; normalised before (Dosovitskiy et al. 2021)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attend_norm, self.think_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask = nn.Linear(width, 3 * width)
        self.answer = nn.Linear(width, width)
        self.think = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        asked = self.ask(self.attend_norm(x)).unflatten(2, (3, self.heads, -1))  # (b, n, 3, heads, c)
        query, key, value = asked.permute(2, 0, 3, 1, 4)
        found = attend(query, key, value)  # (b, heads, n, c)
        x = x + self.answer(found.transpose(1, 2).flatten(2))
        return x + self.think(self.think_norm(x))


class _Half(nn.Module):
    """Blocks over all tokens, each of which is told where and when it is first."""

    def __init__(self, config: UvaConfig, tokens: int, depth: int) -> None:
        super().__init__()
        width = config.width
        self.place = nn.Parameter(0.02 * torch.randn(1, 1, tokens, width))
        self.time = nn.Parameter(0.02 * torch.randn(1, config.frames, 1, width))
        self.word = nn.Parameter(0.02 * torch.randn(1, config.words, width))
        self.blocks = nn.ModuleList(_Block(width, config.heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, told: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (b, frames, n, width) and words (b, m, width)."""
        shape = x.shape[1:3]
        whole = torch.cat([(x + self.place + self.time).flatten(1, 2), told + self.word], dim=1)
        for block in self.blocks:
            whole = block(whole)
        whole = self.norm(whole)
        count = shape[0] * shape[1]
        return whole[:, :count].unflatten(1, shape), whole[:, count:]


class _Slot(nn.Module):
    """What may be known or not: where it isn't, a learned token stands in its place."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.absent = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, values: Tensor, known: Tensor) -> Tensor:
        """`known`: bool, of the values' shape but for the last dimension."""
        return torch.where(known[..., None], self.enter(values), self.absent)


class _Transformer(nn.Module):
    """Everything known of b moments as joint latents (b, frames, tokens, width): the paper's Z."""

    def __init__(self, config: UvaConfig, tokens: int, seen: int, coming: int, told: int, action: int) -> None:
        """Numbers of a token `seen` and `coming`, of a text `told`, of an `action`."""
        super().__init__()
        self.stride, self.words, width = config.stride, config.words, config.width
        self.seen = nn.Linear(seen, width)
        self.done = _Slot(config.stride * DONE, width)
        self.future = _Slot(coming, width)
        self.next = _Slot(config.stride * (action + 1), width)  # each action marked as known or not
        self.join = nn.Linear(4 * width, width)
        self.told = nn.Linear(told, width)
        self.enter = nn.LayerNorm(width)
        self.first = _Half(config, tokens, config.depth[0])
        self.between = nn.Linear(width, width)
        self.last = _Half(config, tokens, config.depth[1])

    def forward(
        self,
        seen: Tensor,
        done: Tensor,
        had: Tensor,
        future: Tensor,
        there: Tensor,
        actions: Tensor,
        known: Tensor,
        text: Tensor,
    ) -> Tensor:
        """Arguments as the part `think` has them."""
        frames, tokens = seen.shape[1:3]
        steps = (frames, self.stride)
        marked = torch.cat([actions * known[..., None], known[..., None].to(actions.dtype)], dim=2)
        done = self.done(done.unflatten(1, steps).flatten(2), had.expand(-1, frames))
        next = self.next(marked.unflatten(1, steps).flatten(2), known.unflatten(1, steps).any(dim=2))
        x = [
            self.seen(seen),
            done[:, :, None].expand(-1, -1, tokens, -1),  # a chunk is repeated beside every token of its image
            self.future(future, there[:, None].expand(-1, frames, -1)),
            next[:, :, None].expand(-1, -1, tokens, -1),
        ]
        told = self.told(text)[:, None].expand(-1, self.words, -1)
        z, told = self.first(self.enter(self.join(torch.cat(x, dim=3))), self.enter(told))
        return self.last(self.between(z), self.between(told))[0]


class _Gather(nn.Module):
    """What the actions of each step are read from: its tokens' latents, convolved in every view, as one vector."""

    def __init__(self, width: int, grid: tuple[int, int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.look = nn.Conv2d(width, width, 3, padding=1)
        self.leave = nn.Linear(width, width)

    def forward(self, z: Tensor) -> Tensor:
        """(b, frames * width) of (b, frames, tokens, width)."""
        views = z.unflatten(2, self.grid).flatten(0, 2).movedim(-1, 1)  # (b frames views, width, rows, columns)
        found = functional.silu(self.look(views)).mean(dim=(2, 3)).unflatten(0, (*z.shape[:2], self.grid[0]))
        return self.leave(found.mean(dim=2)).flatten(1)


class _Layer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.told = nn.Linear(width, 3 * width)
        self.inner = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.zeros_(self.told.weight)  # at first it passes everything on
        nn.init.zeros_(self.told.bias)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        shift, scale, gate = self.told(told).chunk(3, dim=1)
        return x + gate * self.inner(self.norm(x) * (1 + scale) + shift)


class _Head(nn.Module):
    """Velocity of noisy rows, each by its own condition: MAR's perceptron with adaptive normalisation."""

    def __init__(self, inputs: int, outputs: int, condition: int, config: HeadConfig) -> None:
        super().__init__()
        self.label = LabelEmbedding(config.label)
        self.step = nn.Linear(config.label, config.width)
        self.condition = nn.Linear(condition, config.width)
        self.enter = nn.Linear(inputs, config.width)
        self.layers = nn.ModuleList(_Layer(config.width) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width, elementwise_affine=False)
        self.told = nn.Linear(config.width, 2 * config.width)
        self.leave = nn.Linear(config.width, outputs)
        for layer in (self.told, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, scaled: Tensor, label: Tensor, condition: Tensor) -> Tensor:
        """(m, outputs) of rows (m, inputs) at labels (m,) with conditions (m, c)."""
        told = functional.silu(self.step(functional.silu(self.label(label))) + self.condition(condition))
        x = self.enter(scaled)
        for layer in self.layers:
            x = layer(x, told)
        shift, scale = self.told(told).chunk(2, dim=1)
        return self.leave(self.norm(x) * (1 + scale) + shift)


# ---- the network


class UvaModel(Looking):
    """Everything that is learned, and what is fitted or frozen beside it; a checkpoint holds all of its tensors."""

    stages = tuple(_STAGES)
    executable = 8  # of the paper's 16
    narrow = ("transformer", "gather", "video_head", "action_head")
    scale: Tensor

    def __init__(self, config: UvaConfig, cameras: int, image_size: tuple[int, int], width: int = WIDTH) -> None:
        """For so many cameras with images of `image_size` width, height [px], and actions of `width` numbers."""
        super().__init__()
        self.config, self.cameras, self.image_size, self.width = config, cameras, image_size, width
        self.frames, self.history, self.stride, self.prefix = config.frames, config.frames, config.stride, config.prefix
        self.horizon, self.latency = config.frames * config.stride, config.latency
        self.codec = codec.codec(config.codec)
        self.text = words.encoder(config.text)
        side, of_token = self.codec.factor * config.group, config.group**2
        if any(length % side for length in image_size):
            raise ConfigError(f"images of {image_size[0]} x {image_size[1]} px: both sides must be multiples of {side}")
        self.grid = (cameras, image_size[1] // side, image_size[0] // side)
        self.tokens, self.numbers = math.prod(self.grid), self.codec.predicted * of_token
        shown = self.codec.shown * of_token
        self.transformer = _Transformer(config, self.tokens, shown, self.numbers, config.text.width, width)
        self.gather = _Gather(config.width, self.grid)
        self.look: Look | Encoders | None = None
        condition = config.frames * config.width
        if config.look is not None:
            self.look = look.eyes(config.look, cameras, image_size)
            condition += self.look.features
        flat = self.horizon * width
        self.video_head = _Head(self.numbers, self.numbers, config.width, config.video_head)
        self.action_head = _Head(flat + self.horizon, flat, condition, config.action_head)
        self.register_buffer("scale", torch.ones(()))  # of the latents that are denoised
        looks = ((), ()) if self.look is None else (("told", "state"), ("look",))
        known = ("seen", "done", "had", "future", "there", "actions", "known", "text")
        self.parts = {
            "see": Part(UvaModel._see, ("images", *looks[0]), ("seen", *looks[1]), narrow=False),
            "think": Part(UvaModel._think, known, ("z", "latent")),
            "action": Part(UvaModel._act, ("scaled", "label", "condition", "known"), ("velocity",)),
            "video": Part(UvaModel._video, ("scaled", "label", "z"), ("velocity",)),
            "decode": Part(UvaModel._decode, ("tokens", "now"), ("images",), narrow=False),
        }

    # ---- training

    @torch.no_grad()
    def prepare(self, batches: Sequence[Batch], texts: Sequence[str]) -> None:
        """Fit what is not learned, from moments of the data set."""
        self.acquaint(batches)
        images = torch.cat([batch.now.flatten(0, 1) for batch in batches])
        self.codec.fit(signal(images).to(self.scale.device))
        if self.config.change:
            changes = [self._encode(batch.now, batch.future) for batch in batches if batch.future is not None]
            self.scale.copy_(self.scale * torch.cat(changes).std())

    def load_pretrained(self) -> None:
        """Begin with the published autoencoder and CLIP; raises CheckpointError naming the files that are missing."""
        for part in (self.codec, self.text):
            if isinstance(part, codec.Vae | codec.Kl | Clip):
                part.load_pretrained()

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        """AdamW's groups of what a stage trains, each with a factor `scale` on the learning rate."""
        joined = self.transformer
        idle: dict[str, tuple[nn.Module | nn.Parameter, ...]] = {
            "video": (joined.done.enter, joined.next.enter, self.gather, self.action_head),
            "action": (joined.done.absent, joined.future.enter, self.video_head),
            "joint": (),
        }
        still: list[nn.Parameter] = []
        for part in idle[stage]:
            still += part.parameters() if isinstance(part, nn.Module) else [part]
        grounded = look.grounded(self.look) if self.look is not None else []
        if self.look is not None:
            still += self.look.parameters() if stage == "video" else grounded
        learned = look.beside((value for value in self.parameters() if value.requires_grad), still)
        groups: list[dict[str, Any]] = [{"params": learned}]
        if grounded and stage != "video" and self.config.grounded_rate:
            groups.append({"params": grounded, "scale": self.config.grounded_rate})
        return groups

    def loss(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        """Losses to be added up, each moment with a task of its own. Draws come from torch's global generator."""
        count, device = len(batch), batch.now.device
        tasks = [TASKS[name] for name in _STAGES[stage]]
        drawn = torch.randint(len(tasks), (count,), device=device)
        given, tokens, there = self.given(batch, tasks, drawn, masked(count, self.tokens, device))
        sight = self.see(batch, learns_actions=stage != "video")
        z = self.transformer(sight.seen, given.done, given.had, tokens, there, given.actions, given.known, sight.text)
        losses = {}
        if stage != "action":
            wanted = _of([("video" in task.learned) for task in tasks], drawn)
            missing = (wanted[:, None] & ~there)[:, None].expand(z.shape[:3])
            losses["video"] = self._video_loss(z[missing], tokens[missing])
        if stage != "video":
            assert batch.actions is not None
            condition = torch.cat([self.gather(z), sight.look * given.had], dim=1)
            prefix = given.known.sum(dim=1) * ~given.known.all(dim=1)
            judged = _of([("action" in task.learned) for task in tasks], drawn)
            losses["action"] = self._action_loss(condition[judged], batch.actions[judged], prefix[judged])
        return losses

    def given(
        self, batch: Batch, tasks: Sequence[Task], drawn: Tensor, missing: Tensor
    ) -> tuple[Given, Tensor, Tensor]:
        """What moments with the tasks drawn (b,) are given, the coming tokens, and which of those (b, tokens).

        `missing` (b, tokens): which are, of those who are given some.
        """
        count, device = len(batch), batch.now.device
        had, acts = (_of([getattr(task, name) for task in tasks], drawn) for name in ("done", "actions"))
        some, all_ = (_of([task.future == much for task in tasks], drawn)[:, None] for much in ("some", "all"))
        there = (some & ~missing) | all_
        nothing = torch.zeros(count, self.horizon, self.width, device=device)
        actions, done = batch.actions, batch.done
        known = action_unet.first(batch.prefix * had, self.horizon) | acts[:, None]
        given = Given(
            nothing[..., :DONE] if done is None else done,
            had[:, None] & (done is not None),
            nothing if actions is None else actions,
            known & (actions is not None),
        )
        return given, self._encode(batch.now, batch.future), there & (batch.future is not None)

    def _video_loss(self, z: Tensor, tokens: Tensor) -> Tensor:
        """EDM's loss of tokens (m, numbers), each at a level of its own, by their latents (m, width); m may be 0."""
        sigma = sampling.log_normal(torch.randn(len(tokens), device=tokens.device), *self.config.noise)
        scaled, velocity = sampling.diffuse(tokens, torch.randn_like(tokens), sigma)
        error = self.video_head(scaled, sampling.scalings(sigma).label, z) - velocity
        return error.square().mean(dim=1).sum() / max(len(tokens), 1)

    def _action_loss(self, condition: Tensor, actions: Tensor, prefix: Tensor) -> Tensor:
        """EDM's loss of chunks (m, horizon, width), each at several levels, by conditions (m, n); m may be 0."""
        condition, actions, prefix = (
            part.repeat_interleave(self.config.draws, dim=0) for part in (condition, actions, prefix)
        )
        return action_unet.action_loss(
            lambda scaled, label, known: self._act(scaled, label, condition, known)[0],
            actions,
            prefix,
            *self.config.noise,
        )

    # ---- acting

    def read(self, texts: Sequence[str]) -> Told:
        """Of b texts; raises ObservationError for one that is empty or too long."""
        return Told(self.text(texts), None if self.look is None else self.look.read(texts))

    def see(self, batch: Batch, learns_actions: bool = True) -> Sight:
        """Encode images and texts; without `learns_actions`, or the tool's state, the look doesn't look."""
        assert batch.past is not None
        images = torch.cat([batch.past, batch.now[:, :, None]], dim=2).transpose(1, 2)
        text, state = self.text(batch.text), batch.state
        if self.look is None or state is None or not learns_actions:
            blind = text.new_zeros(len(batch), 0 if self.look is None else self.look.features)
            return sampler.see(running(self), images, Told(text, None), None)._replace(look=blind)
        asked = self.look.read(batch.text)
        if batch.glimpse is None:
            return sampler.see(running(self), images, Told(text, asked), state)
        looked = self.look.tell(batch.glimpse, asked, state)
        return sampler.see(running(self), images, Told(text, None), None)._replace(look=looked)

    def noise(self, count: int, generator: torch.Generator) -> Noise:
        """Drawn on the generator's device; that of the actions comes first, and is the same with a video or without."""
        device, shape = self.scale.device, (count, self.frames, self.tokens, self.numbers)
        actions = torch.randn(count, self.horizon, self.width, generator=generator, device=generator.device)
        video = torch.randn(shape, generator=generator, device=generator.device)
        order = torch.randperm(self.tokens, generator=generator, device=generator.device)
        return Noise(actions.to(device), video.to(device), order.to(device))

    @torch.no_grad()
    def act(self, batch: Batch, generator: torch.Generator, task: str = "policy") -> Tensor:
        """Actions (b, horizon, width), continuing the first `batch.prefix` of `batch.actions`.

        `inverse` reads them from `batch.future` instead, and knows no action at all.
        """
        run, noise = running(self), self.noise(len(batch), generator)
        given, tokens, there = self._known(batch, task)
        sight = self.see(batch, learns_actions=TASKS[task].done)
        _, latent = sampler.think(run, sight, given, tokens, there)
        return sampler.act(run, self.config, sight, latent, noise, given.actions, given.known.sum(dim=1))

    @torch.no_grad()
    def imagine(
        self, batch: Batch, generator: torch.Generator, task: str = "video", passes: int | None = None
    ) -> Tensor:
        """Images (b, cameras, frames, height, width, 3) uint8 of what is going to happen.

        `video` knows no action at all, `joint` those that are over, `forward` also all of `batch.actions`. `passes` of
        the transformer; None: as configured.
        """
        run, noise = running(self), self.noise(len(batch), generator)
        given, _, _ = self._known(batch, task)
        sight = self.see(batch, learns_actions=False)
        tokens = sampler.imagine(run, self.config, sight, given, noise, passes or self.config.imagine)
        return sampler.decode(run, tokens, batch.now)

    def _known(self, batch: Batch, task: str) -> tuple[Given, Tensor, Tensor]:
        missing = torch.ones(len(batch), self.tokens, dtype=torch.bool, device=batch.now.device)
        return self.given(batch, [TASKS[task]], batch.prefix * 0, missing)

    # ---- parts

    def _see(self, images: Tensor, told: Tensor | None = None, state: Tensor | None = None) -> Tensors:
        """Tokens (b, frames, tokens, numbers) that condition, and what is looked for where a look is asked."""
        signals = signal(images)
        shown = self.codec.show(signals.flatten(0, 2)).unflatten(0, images.shape[:3])
        tokens = self._tokens(shown)
        if self.look is None or told is None or state is None:
            return (tokens,)
        now = signals[:, -1]
        return tokens, self.look(varied(now) if self.training else now, told, state)

    def _think(self, *known: Tensor) -> Tensors:
        z = self.transformer(*known)
        return z, self.gather(z)

    def _act(self, scaled: Tensor, label: Tensor, condition: Tensor, known: Tensor) -> Tensors:
        """Velocity (b, horizon, width) of a chunk as one."""
        marked = torch.cat([scaled, known[..., None].to(scaled.dtype)], dim=2).flatten(1)
        return (self.action_head(marked, label, condition).unflatten(1, scaled.shape[1:]),)

    def _video(self, scaled: Tensor, label: Tensor, z: Tensor) -> Tensors:
        """Velocity (m, numbers) of tokens, whosesoever."""
        return (self.video_head(scaled, label, z),)

    def _decode(self, tokens: Tensor, now: Tensor) -> Tensors:
        """Images (b, cameras, frames, 3, height, width), -1 to 1."""
        latents = (self.scale * self._maps(tokens) + self._base(now)).transpose(1, 2)  # (b, cameras, frames, ...)
        images = torch.stack([self.codec.decode(view) for view in latents.flatten(0, 1)]).unflatten(0, now.shape[:2])
        if not self.config.change:
            return (images,)
        still = codec.left_out(self.codec, signal(now.flatten(0, 1)))  # that goes on as it is
        return (images + still.unflatten(0, now.shape[:2])[:, :, None],)

    def _encode(self, now: Tensor, future: Tensor | None) -> Tensor:
        """The coming images as tokens (b, frames, tokens, numbers); zeros where they are not known."""
        if future is None:
            return torch.zeros(len(now), self.frames, self.tokens, self.numbers, device=now.device)
        images = signal(future.transpose(1, 2))  # (b, frames, cameras, ...)
        latents = self.codec.encode(images.flatten(0, 2)).unflatten(0, images.shape[:3])
        return self._tokens((latents - self._base(now)) / self.scale)

    def _base(self, now: Tensor) -> Tensor:
        """What the denoised latents are relative to, (b, 1, cameras, c, h, w) or 0."""
        if not self.config.change:
            return self.scale.new_zeros(())
        return self.codec.encode(signal(now.flatten(0, 1))).unflatten(0, now.shape[:2])[:, None]

    def _tokens(self, latents: Tensor) -> Tensor:
        """Latents (b, frames, cameras, c, h, w) as tokens (b, frames, tokens, numbers)."""
        grouped = functional.pixel_unshuffle(latents.flatten(0, 2), self.config.group)
        return grouped.movedim(1, -1).unflatten(0, latents.shape[:3]).flatten(2, 4)

    def _maps(self, tokens: Tensor) -> Tensor:
        """And back."""
        grouped = tokens.unflatten(2, self.grid).flatten(0, 2).movedim(-1, 1)
        latents = functional.pixel_shuffle(grouped, self.config.group)
        return latents.unflatten(0, (*tokens.shape[:2], self.cameras))


def masked(count: int, tokens: int, device: torch.device) -> Tensor:
    """(count, tokens) bool: which tokens of each moment are missing; most of them, at the same places in all frames.

    The share is drawn as MAR draws it: a normal of mean 1 and standard deviation 0.25 between 0.7 and 1.
    """
    below = math.erf((1 - _LEAST_MASKED) / _SPREAD / math.sqrt(2))
    share = 1 - _SPREAD * math.sqrt(2) * torch.erfinv(below * torch.rand(count, device=device))
    rank = torch.rand(count, tokens, device=device).argsort(dim=1).argsort(dim=1)
    return rank < (share * tokens).ceil()[:, None]


def _of(values: Sequence[bool], drawn: Tensor) -> Tensor:
    """(b,) bool, by the tasks drawn."""
    return torch.tensor(values, device=drawn.device)[drawn]
