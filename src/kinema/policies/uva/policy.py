"""UVA behind the seam: acts by one pass and the action head, imagines with the same pass or in several."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kinema.chunk import Image, Observation
from kinema.errors import CheckpointError, ConfigError
from kinema.perception.align import IMAGE_HORIZON
from kinema.policies import action_unet, checkpoint, loading, pictures, sampling, text, tool_state
from kinema.policies.actions import DONE
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.engines import backends
from kinema.policies.engines.graph import Run
from kinema.policies.learned import Imagining, Learned
from kinema.policies.text import Told
from kinema.policies.uva import sampler
from kinema.policies.uva.model import ACTION, UvaConfig, UvaModel
from kinema.policies.uva.sampler import Given, Noise, Sight

NAME = "uva"


class Uva(Learned[Told]):
    """See `Learned`; besides, it knows what was seen and done in the last moments."""

    name = NAME

    def __init__(
        self, facts: Checkpoint, model: UvaModel, mode: str = ACTION, seed: int = 0, run: Run | None = None
    ) -> None:
        super().__init__(facts, model, mode, seed, run)
        self._passes = passes(mode)
        self.spec = replace(
            self.spec,
            history=model.history,
            history_dt=model.stride * facts.action.dt,
            executed_actions=model.horizon,
            executed_dt=facts.action.dt,
        )

    def _act(self, run: Run, observation: Observation, id: int) -> Tensor:
        sight, done, (given, prefix) = self._sight(run, observation), self._done(observation), self._given(observation)
        noise, config, known = self._noise(id), self._model.config, known_of(done, given, prefix)
        z, latent = sampler.think(run, sight, known, *sampler.unseen(noise))
        self._also(run, sight, known, noise, z, id)
        return sampler.act(run, config, sight, latent, noise, given, prefix)

    def _also(self, run: Run, sight: Sight, known: Given, noise: Noise, z: Tensor, id: int) -> None:
        """What is made of the joint latents besides chunk `id`: nothing."""

    def _given(self, observation: Observation) -> tuple[Tensor, Tensor]:
        nothing = torch.zeros(1, self._model.horizon, self._model.width, device=self._device)
        return self._committed(observation, nothing)

    def _sight(self, run: Run, observation: Observation) -> Sight:
        spec, told = self.spec, self._read(observation.text)
        images = pictures.recent(observation, spec.cameras, spec.image_size, spec.history).to(self._device)
        return sampler.see(run, images[None], told, self._state(observation))

    def _done(self, observation: Observation) -> Tensor:
        rows = self.checkpoint.action.executed(observation, self._model.horizon)
        return torch.from_numpy(rows).to(self._device)[None]

    def _noise(self, id: int) -> Noise:
        noise: Noise = self._model.noise(1, self._generator(id))
        return noise


class ImaginingUva(Uva, Imagining[Told]):
    """One that has learned from videos, too; in a mode `full:PASSES` a chunk's video is drawn with it."""

    def _also(self, run: Run, sight: Sight, known: Given, noise: Noise, z: Tensor, id: int) -> None:
        if self._passes:
            self._video = id, sampler.imagine(run, self._model.config, sight, known, noise, self._passes, z)

    def _draw(self, run: Run, observation: Observation, id: int) -> Tensor:
        known = known_of(self._done(observation), *self._given(observation))
        config = self._model.config
        sight = self._sight(run, observation)
        return sampler.imagine(run, config, sight, known, self._noise(id), self._passes or config.imagine)

    def _decode(self, run: Run, drawn: Tensor, now: Tensor) -> Tensor:
        return sampler.decode(run, drawn, now)

    @torch.no_grad()
    def foresee(
        self, observation: Observation, candidates: Tensor, passes: int | None = None
    ) -> list[Mapping[str, Image]]:
        """What comes of each of the candidates (k, horizon, 11), normalised: forward dynamics.

        Each is a video as `Prediction.video` has it, all of the same noise, drawn in so many passes; None: as many as
        the mode has, at least one.
        """
        model, count = self._model, len(candidates)
        sight, done = self._sight(self._run, observation).repeated(count), self._done(observation)
        one = model.noise(1, sampling.generator(self._seed))
        noise = Noise(one.actions, one.video.expand(count, -1, -1, -1), one.order)
        whole = torch.full((count,), model.horizon, device=self._device)
        known = known_of(done.expand(count, -1, -1), candidates.to(self._device), whole)
        tokens = sampler.imagine(self._run, model.config, sight, known, noise, passes or self._passes or 1)
        return self._shown(self._run, observation, tokens)


def passes(mode: str) -> int:
    """Of the transformer that a mode makes a video in; 0: it makes none."""
    return int(mode.partition(":")[2] or 0)


def known_of(done: Tensor, actions: Tensor, prefix: Tensor) -> Given:
    """Steps that are over (b, horizon, DONE), and the first `prefix` (b,) of the coming actions (b, horizon, 11)."""
    had = torch.ones_like(prefix, dtype=torch.bool)[:, None]
    return Given(done, had, actions, action_unet.first(prefix, actions.shape[1]))


def probe(facts: Checkpoint, model: UvaModel, mode: str, run: Run) -> dict[str, Tensor]:
    """A whole prediction, with its video where it has learned one, at a fixed moment: what engines are measured by."""
    device, config = next(model.parameters()).device, model.config
    now = pictures.fixed(model.cameras, model.image_size).to(device)
    images = torch.stack([now.roll(k, 2) for k in reversed(range(model.history))])[None]
    noise = model.noise(1, sampling.generator(0))
    prefix = torch.tensor([min(2, model.prefix)], device=device)
    sight = sampler.see(run, images, model.read((text.FIXED,)), tool_state.fixed().to(device)[None])
    known = known_of(0.5 * noise.actions.flip(1)[..., :DONE], 0.5 * noise.actions, prefix)
    z, latent = sampler.think(run, sight, known, *sampler.unseen(noise))
    actions = sampler.act(run, config, sight, latent, noise, known.actions, prefix)
    if not imagines(facts):
        return {"actions": actions}
    tokens = sampler.imagine(run, config, sight, known, noise, passes(mode) or config.imagine, z)
    (images,) = run("decode", tokens, now[None].float())
    return {"actions": actions, "video": images}


def imagines(facts: Checkpoint) -> bool:
    """Whether it has learned from videos."""
    return facts.training.get("stage") != "action"


def load(folder: Path, mode: str = ACTION, seed: int = 0, device: str = "cpu", backend: str = backends.EAGER) -> Uva:
    """The policy in a checkpoint's folder, on a backend of `kinema.policies.engines.backends`.

    Raises CheckpointError; ConfigError for a mode that it declares no latency of, naming those that it does, and for an
    unknown backend; EngineError for one that it can't use.
    """
    facts = checkpoint.read(folder)
    if facts.training.get("stage") == "video":
        raise CheckpointError(f"{folder}: has learned to imagine, not to act: train the stage `joint` on it")
    if mode not in facts.latency:
        raise ConfigError(f"{NAME} has no mode {mode!r}; allowed: {', '.join(facts.latency)}")
    if passes(mode) and not imagines(facts):
        raise CheckpointError(f"{folder}: has learned to act and not to imagine; allowed is the mode {ACTION!r}")
    model = network(folder, device)
    _check(folder, facts, model)
    run = loading.run(model, folder, facts.hash, mode, backend, device, probe)
    return (ImaginingUva if imagines(facts) else Uva)(facts, model, mode, seed, run)


def _check(folder: Path, facts: Checkpoint, model: UvaModel) -> None:
    """Raises CheckpointError for an action space of another horizon, and a past that nobody keeps so long."""
    space, back = facts.action, (model.history - 1) * model.stride * facts.action.dt
    if space.horizon != model.horizon:
        raise CheckpointError(
            f"{folder}: its chunks have {space.horizon} steps, its network makes {model.horizon}: frames x stride"
        )
    if back > IMAGE_HORIZON - 0.1:
        raise CheckpointError(
            f"{folder}: looks back {back:.1f} s, images are kept for {IMAGE_HORIZON} s: train it with fewer frames, or "
            "on data of a higher rate"
        )


def network(folder: Path, device: str = "cpu") -> UvaModel:
    """The network with its weights, ready to act; raises CheckpointError."""
    return loading.network(UvaModel, UvaConfig, folder, device)
