"""Rollouts: a policy in the virtual cell, paced, perhaps deprived of its eyes, on as many cores as there are."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from kinema import cell_file, paths
from kinema.apps import lockstep
from kinema.apps.lockstep import EpisodeResult, Watcher
from kinema.apps.trials import LISTS, ROBOT, TIME_LIMIT, Images, Rollout, Scene, Setting
from kinema.chunk import Image, Observation, Prediction
from kinema.control.messages import Mode
from kinema.control.pacing import Pace, Tempo, pace
from kinema.control.settings import Execution
from kinema.errors import ConfigError
from kinema.interfaces import Policy
from kinema.policies import registry
from kinema.virtual import goal

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Player:
    """How to make a policy again, in any process, and what is known of it beforehand.

    source      a checkpoint's folder or a policy's name; options: what else it is made with
    checkpoint  its hash, '' where there is nothing to load
    inference   mode of inference, '' where there is but one
    latency     [s] from observation to chunk; dt [s] between the steps of a chunk
    executable  how many steps of a chunk may be executed
    executed    steps between two observations that it does best with, 0: not known
    """

    source: str
    options: Mapping[str, str]
    policy: str
    checkpoint: str = ""
    inference: str = ""
    latency: float = lockstep.LATENCY
    dt: float = 1 / 30
    executable: int = 24
    executed: int = 0

    @staticmethod
    def of(source: str, inference: str = "", like: str = "") -> "Player":
        """By a folder or a name; `like` is the checkpoint from whose statistics chance draws.

        Raises CheckpointError for a folder that holds none, ConfigError naming the modes that it has.
        """
        if source in registry.POLICIES and not like:
            return Player(source, {}, source)
        from kinema.policies import checkpoint  # seconds to import: the demonstrator needs no torch

        known = checkpoint.read(paths.find(like or source))
        space = known.action
        if like:
            return Player(source, {"like": like}, source, known.hash, "", lockstep.LATENCY, space.dt, space.executable)
        mode = inference or next(iter(known.latency), "")
        if mode not in known.latency:
            raise ConfigError(f"{source}: has no mode of inference {mode!r}; allowed: {', '.join(known.latency)}")
        alone = len(known.latency) == 1
        return Player(
            source,
            {} if alone else {"mode": mode},
            known.kind,
            known.hash,
            "" if alone else mode,
            known.latency[mode],
            space.dt,
            space.executable,
            known.executed,
        )

    def make(self, seed: int, **place: str) -> Policy:
        """`place`: `cell` and `robot`, for a policy that wants to know where it acts."""
        wanted = registry.takes(self.source)
        return registry.make(
            self.source, seed=seed, **self.options, **{name: value for name, value in place.items() if name in wanted}
        )

    def pace(self, execution: Execution, latency: float, executed: int, mode: Mode | None = None) -> Pace:
        """How its chunks are played if a chunk takes `latency` [s]; raises ConfigError naming what may be executed."""
        try:
            return pace(Tempo(latency, self.dt, self.executable), execution, executed, mode)
        except ConfigError as error:
            raise ConfigError(f"{self.source}: {error}") from None

    def setting(
        self,
        execution: Execution,
        executed: int = 0,
        images: Images = "normal",
        mode: Mode | None = None,
        latency: float | None = None,
        robot: str = ROBOT,
        time_limit: float = TIME_LIMIT,
    ) -> Setting:
        """How it is to act; where nothing else is asked for as it does best, by its own latency. Raises as `pace`."""
        executed, latency = executed or self.executed, self.latency if latency is None else latency
        fit = self.pace(execution, latency, executed).mode
        return Setting(
            self.policy, self.checkpoint, self.inference, executed, images, mode or fit, latency, robot, time_limit
        )


class Altered:
    """A policy whose images are changed before it sees them."""

    def __init__(self, policy: Policy, images: Images, seed: int) -> None:
        self.name, self.spec = policy.name, policy.spec
        if images == "veiled":
            self.spec = replace(self.spec, goal_image=True)
        self._policy, self._images, self._seed = policy, images, seed

    def reset(self, seed: int | None = None) -> None:
        self._policy.reset(seed)

    def predict(self, observation: Observation) -> Prediction:
        if self._images == "veiled":
            observation = self._veil(observation)
        elif self._images != "normal":
            spoilt = {name: self._spoil(image, observation) for name, image in observation.images.items()}
            observation = replace(observation, images=spoilt)
        return self._policy.predict(observation)

    def _veil(self, observation: Observation) -> Observation:
        """As "Dreamitate" shows the goal to its baseline: over the images."""
        assert observation.goal_image is not None
        masks = np.moveaxis(observation.goal_image, -1, 0) > 0
        seen = zip(self.spec.cameras, masks, strict=False)
        veiled = {name: goal.blended(observation.images[name], where) for name, where in seen}
        return replace(observation, images=veiled, goal_image=None)

    def _spoil(self, image: Image, observation: Observation) -> Image:
        """Black, or the same pixels at drawn places, others each time."""
        if self._images == "blanked":
            return np.zeros_like(image)
        rng = np.random.default_rng([self._seed, observation.stamp_ns])
        return rng.permutation(image.reshape(-1, 3)).reshape(image.shape)


def act(
    player: Player, policy: Policy, setting: Setting, scene: Scene, cell: Path, watcher: Watcher | None = None
) -> EpisodeResult:
    """Let a policy that `player` made act in a scenario as the setting has it."""
    loaded = cell_file.load(cell)
    return lockstep.run_episode(
        scene.task,
        LISTS[scene.list],
        scene.seed,
        setting.robot,
        Altered(policy, setting.images, scene.seed),
        cell=loaded,
        pace=player.pace(loaded.control.execution, setting.latency, setting.executed, setting.execution),
        latency=setting.latency,
        render=policy.spec.images and not policy.spec.simulator_truth,
        time_limit=setting.time_limit,
        watcher=watcher,
    )


def play(player: Player, setting: Setting, scene: Scene, cell: Path) -> Rollout:
    """One rollout."""
    began = time.process_time()
    result = act(player, player.make(scene.seed, cell=str(cell), robot=setting.robot), setting, scene, cell)
    return Rollout(
        setting=setting,
        scene=scene,
        success=result.success,
        outcome=result.outcome,
        duration=result.duration,
        chunks=result.chunks,
        refused=result.refused,
        digest=result.digest,
        cpu=time.process_time() - began,
    )
