"""UVA behind the seam: acts by one pass and the action head, imagines with the same pass or in several."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema.chunk import Image, Observation, ObservationSpec, Prediction
from kinema.errors import CheckpointError, ConfigError, ObservationError
from kinema.perception.align import IMAGE_HORIZON
from kinema.policies import action_unet, checkpoint, loading, pictures, sampling, text, tool_state
from kinema.policies.actions import DONE
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.engines import backends
from kinema.policies.engines.engine import Timed
from kinema.policies.engines.graph import Run, running
from kinema.policies.text import Told
from kinema.policies.uva import sampler
from kinema.policies.uva.model import ACTION, UvaConfig, UvaModel
from kinema.policies.uva.sampler import Given, Noise, Sight

NAME = "uva"


class Uva:
    """Images of the last moments, what was done since, words and the tool's state in; no force, no truth.

    What it draws follows from the seed and the number of chunks since `reset`. Steps that will have been played before
    the declared latency is over are committed; they are a condition and come back as they are.
    """

    name = NAME

    def __init__(
        self, facts: Checkpoint, model: UvaModel, mode: str = ACTION, seed: int = 0, run: Run | None = None
    ) -> None:
        """`run` runs the model's parts; None: the model itself. `mode`: one that the checkpoint has a latency of."""
        self.checkpoint, self.mode = facts, mode
        self._model, self._run, self._seed, self._chunks = model, run or running(model), seed, 0
        self._passes = passes(mode)
        self._device = next(model.parameters()).device
        self._told: tuple[str, Told] | None = None  # the last instruction, read
        space = facts.action
        self._known = min(model.prefix, space.committed(facts.latency[mode]))
        self.spec = ObservationSpec(
            cameras=facts.cameras,
            image_size=facts.image_size,
            history=model.history,
            history_dt=model.stride * space.dt,
            executed_actions=model.horizon,
            executed_dt=space.dt,
            committed_prefix=self._known + 1,
            force=False,
        )
        self.reset()

    def reset(self) -> None:
        self._before = self._chunks
        self._tokens: tuple[int, Tensor] | None = None  # of the video of one chunk, by the chunk's id

    @torch.no_grad()
    def predict(self, observation: Observation) -> Prediction:
        """The next chunk; in a mode `full:PASSES` its video is made as well, for `imagine` to show.

        Raises ObservationError for images, a history or a text that are not as in training.
        """
        began, timed = time.perf_counter(), Timed(self._run, self._device)
        self._read(observation.text)
        read = time.perf_counter() - began
        sight, done, (given, prefix) = (
            self._sight(timed, observation),
            self._done(observation),
            self._given(observation),
        )
        self._chunks += 1
        noise, config, space = self._noise(self._chunks), self._model.config, self.checkpoint.action
        known = known_of(done, given, prefix)
        z, latent = sampler.think(timed, sight, known, *sampler.unseen(noise))
        values = sampler.act(timed, config, sight, latent, noise, given, prefix)
        if self._passes:
            self._tokens = self._chunks, sampler.imagine(timed, config, sight, known, noise, self._passes, z)
        chunk = space.chunk(values[0].cpu().numpy(), observation, self._chunks, self.name)
        return Prediction(chunk, timing={"read": read, **timed.seconds})

    def _given(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """The committed steps in a chunk (1, horizon, 11), and how many they are (1,)."""
        known = self.checkpoint.action.prefix(observation)[: self._known]
        nothing = torch.zeros(1, self._model.horizon, self._model.width, device=self._device)
        return action_unet.committed(known, nothing)

    def _read(self, text: str) -> Told:
        known = self._told
        if known is None or known[0] != text:
            self._told = known = text, self._model.read((text,))
        return known[1]

    def _sight(self, run: Run, observation: Observation) -> Sight:
        spec, told = self.spec, self._read(observation.text)
        images = pictures.recent(observation, spec.cameras, spec.image_size, spec.history).to(self._device)
        state = torch.from_numpy(tool_state.of(observation)).to(self._device)
        return sampler.see(run, images[None], told, state[None])

    def _done(self, observation: Observation) -> Tensor:
        rows = self.checkpoint.action.executed(observation, self._model.horizon)
        return torch.from_numpy(rows).to(self._device)[None]

    def _noise(self, id: int) -> Noise:
        return self._model.noise(1, sampling.generator(self._seed, id - self._before))


class ImaginingUva(Uva):
    """One that has learned from videos, too."""

    @torch.no_grad()
    def imagine(self, observation: Observation, prediction: Prediction) -> Prediction:
        """The same prediction with its video, of the same noise: the images at t0, then the imagined ones.

        Raises ObservationError for a chunk of before `reset`.
        """
        began, chunk = time.perf_counter(), prediction.chunk
        if not self._before < chunk.id <= self._chunks:
            raise ObservationError(
                f"chunk {chunk.id} is none of this episode's, which are {self._before + 1}..{self._chunks}"
            )
        timed, known = Timed(self._run, self._device), self._tokens
        tokens = known[1] if known is not None and known[0] == chunk.id else self._video(timed, observation, chunk.id)
        video = self._shown(timed, observation, tokens)[0]
        timing = {
            **prediction.timing,
            **{f"imagine {part}": seconds for part, seconds in timed.seconds.items()},
            "imagine": time.perf_counter() - began,
        }
        return Prediction(chunk, video, self._model.stride * self.checkpoint.action.dt, timing)

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

    def _video(self, run: Run, observation: Observation, id: int) -> Tensor:
        """The tokens of a chunk that was predicted before."""
        known = known_of(self._done(observation), *self._given(observation))
        config = self._model.config
        sight = self._sight(run, observation)
        return sampler.imagine(run, config, sight, known, self._noise(id), self._passes or config.imagine)

    def _shown(self, run: Run, observation: Observation, tokens: Tensor) -> list[Mapping[str, Image]]:
        """Videos of tokens (k, frames, tokens, numbers): the images at t0, then what they say."""
        now = pictures.newest(observation, self.spec.cameras, self.spec.image_size).to(self._device)
        coming = sampler.decode(run, tokens, now.expand(len(tokens), *now.shape)).cpu().numpy()
        seen = now.cpu().numpy()
        return [
            {name: np.concatenate([seen[i : i + 1], video[i]]) for i, name in enumerate(self.spec.cameras)}
            for video in coming
        ]


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
