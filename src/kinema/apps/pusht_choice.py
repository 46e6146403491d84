"""Who chooses on PushT which of a policy's chunks is played: by what UVA imagines of them, or by what comes of them.

"Unified Video Action Model", section VII. What is looked at is the end of a chunk, though less of it is executed: what
a way around the block is good for shows only later. Of equals the first is played.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from kinema import paths
from kinema.apps.pusht_trials import Choosing
from kinema.apps.rollouts import Player
from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec, Prediction
from kinema.errors import CheckpointError, ConfigError
from kinema.interfaces import Policy, ProposingPolicy
from kinema.pusht import block, picture, plane
from kinema.pusht.client import Moment, PushT
from kinema.pusht.demonstration import SOLVED

if TYPE_CHECKING:
    from kinema.policies.uva.policy import ImaginingUva

UVA = "uva"
Choose = Callable[[Observation, Sequence[ActionChunk]], ActionChunk]


class Guided:
    """A policy that proposes several chunks, of which another chooses; it looks at what both of them need."""

    def __init__(self, policy: Policy, spec: ObservationSpec, count: int, choose: Choose) -> None:
        self.name, self.spec = policy.name, spec
        self._policy, self._count, self._choose = policy, count, choose

    def reset(self, seed: int | None = None) -> None:
        self._policy.reset(seed)

    def predict(self, observation: Observation) -> Prediction:
        return Prediction(self._choose(observation, self._proposed(observation)))

    def _proposed(self, observation: Observation) -> Sequence[ActionChunk]:
        if isinstance(self._policy, ProposingPolicy):
            return self._policy.propose(observation, self._count)
        return [self._policy.predict(observation).chunk for _ in range(self._count)]


# ---- by the simulator


def by_truth(moment: Moment) -> float:
    """What a moment is worth by where the block is: what is solved cannot be better."""
    return 0.0 if moment.coverage > SOLVED else -float(block.off(moment.block))


def by_image(moment: Moment) -> float:
    """What a moment is worth by its image, as if it were imagined."""
    return -picture.off(moment.image)


TRIALS: Mapping[str, Callable[[Moment], float]] = {"simulator": by_truth, "simulator-images": by_image}


@dataclass(frozen=True, slots=True)
class Trying:
    """The simulator chooses, by trying: an upper bound."""

    choosing: Choosing

    def guide(self, policy: Policy, env: PushT, seed: int) -> Policy:
        """The policy in an environment's episode, guided."""
        worth = TRIALS[self.choosing.by]

        def choose(observation: Observation, candidates: Sequence[ActionChunk]) -> ActionChunk:
            found = [worth(env.tried(plane.targets(chunk))) for chunk in candidates]
            return candidates[int(np.argmax(found))]

        return Guided(policy, policy.spec, self.choosing.candidates, choose)


# ---- by UVA


@dataclass(frozen=True, slots=True)
class Imagining:
    """UVA chooses, by the last image of what it imagines."""

    choosing: Choosing
    uva: "ImaginingUva"

    def guide(self, policy: Policy, env: PushT, seed: int) -> Policy:
        """The policy in an episode, guided by what is imagined of the episode's own noise.

        Raises ConfigError where the two look back in steps of different lengths.
        """
        from kinema.policies.uva import dynamics  # seconds to import: only who wants UVA waits for torch

        self.uva.reset(seed)

        def choose(observation: Observation, candidates: Sequence[ActionChunk]) -> ActionChunk:
            return dynamics.choose(self.uva, observation, candidates, by_last_image).chunk

        return Guided(policy, seen_by_both(policy.spec, self.uva.spec), self.choosing.candidates, choose)


def by_last_image(video: Mapping[str, Image]) -> float:
    """What a video is worth by how it ends."""
    return -picture.off(video[plane.CAMERA][-1])


def seen_by_both(policy: ObservationSpec, uva: ObservationSpec) -> ObservationSpec:
    """What a policy and UVA need to see; raises ConfigError where no past serves both."""
    backs = {spec.history_dt for spec in (policy, uva) if spec.history > 1}
    if len(backs) > 1:
        first, second = (f"{spec.history_dt:g}" for spec in (policy, uva))
        raise ConfigError(f"the policy looks back in steps of {first} s, who chooses in steps of {second} s")
    acting = max(policy, uva, key=lambda spec: spec.executed_actions)
    return replace(
        policy,
        cameras=uva.cameras,
        images=True,
        text=True,
        history=max(policy.history, uva.history),
        history_dt=max(backs, default=policy.history_dt),
        executed_actions=acting.executed_actions,
        executed_dt=acting.executed_dt,
    )


# ---- as the command line has it


def chooser(name: str, candidates: int, inference: str = "") -> Trying | Imagining | None:
    """Who chooses, by name: '' nobody, a key of TRIALS, or the folder of a checkpoint of UVA, in a mode of inference.

    Raises ConfigError for who can't choose and for how many; CheckpointError for one that has learned no video.
    """
    if not name:
        if candidates > 1 or inference:
            raise ConfigError(f"nobody chooses among {candidates} candidates; name who does with --choose-by")
        return None
    if candidates < 2:
        raise ConfigError(f"{name} has nothing to choose among {candidates} candidate; ask for --candidates 2 or more")
    if name in TRIALS:
        if inference:
            raise ConfigError(f"{name} has no mode of inference {inference!r}: it imagines nothing")
        return Trying(Choosing(name, candidates))
    if not paths.find(name).is_dir():
        raise ConfigError(
            f"{name!r} chooses nothing; allowed: {', '.join(TRIALS)}, or the folder of a checkpoint of UVA"
        )
    player = Player.of(name, inference)
    if player.policy != UVA:
        raise ConfigError(
            f"{name}: is of kind {player.policy!r} and imagines no outcomes; who chooses is of kind {UVA!r}"
        )
    from kinema.policies.uva.policy import ImaginingUva

    uva = player.make(0)
    if not isinstance(uva, ImaginingUva):
        raise CheckpointError(f"{name}: has learned to act and not to imagine; train the stage `joint`")
    return Imagining(Choosing(UVA, candidates, player.checkpoint, player.inference), uva)
