"""Policies by name, and trained ones by their checkpoint's folder.

A policy is imported when it is asked for, so that naming one costs nothing.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from kinema import paths
from kinema.errors import CheckpointError, ConfigError
from kinema.interfaces import Policy

POLICIES = {
    "demonstrator": "kinema.virtual.demonstrators:Demonstrator",
    "replay": "kinema.policies.replay:load",
    "random": "kinema.policies.chance:load",
}
LEARNED = {  # by the kind that a checkpoint is of: modules as `Learned` describes them
    "diffusion_policy": "kinema.policies.diffusion_policy.policy",
    "video_policy": "kinema.policies.video_policy.policy",
    "uva": "kinema.policies.uva.policy",
    "dreamitate": "kinema.policies.dreamitate.policy",
}
SIMULATOR_ONLY = frozenset({"demonstrator"})  # what may see the simulator's truth; never a learned policy


class Learned(Protocol):
    """The module of a learned policy.

    load     the policy in a checkpoint's folder, with its own options
    network  its network on a device: `network(folder, device)`
    probe    `probe(facts, network, mode, run)`: what a prediction at a fixed moment comes to, through what runs parts
    """

    load: Callable[..., Policy]
    network: Callable[[Path, str], Any]
    probe: Callable[..., Mapping[str, Any]]


def make(name: str, **options: Any) -> Policy:
    """A policy ready to predict, made with its own options; `name` may be the folder of a checkpoint.

    Raises ConfigError naming the policies there are, the option that is missing or not its own, and what it may not ask
    for; CheckpointError for a folder that holds no whole checkpoint.
    """
    maker = _maker(name)
    try:
        inspect.signature(maker).bind(**options)
    except TypeError as error:
        raise ConfigError(f"policy {name!r}: {error}") from None
    policy: Policy = maker(**options)
    check_sight(policy)
    return policy


def takes(name: str) -> frozenset[str]:
    """The options that a policy may be made with; raises as `make` does."""
    return frozenset(inspect.signature(_maker(name)).parameters)


def _maker(name: str) -> Callable[..., Policy]:
    if name in POLICIES:
        module, _, attribute = POLICIES[name].partition(":")
        maker: Callable[..., Policy] = getattr(importlib.import_module(module), attribute)
        return maker
    folder = paths.find(name)
    if not folder.is_dir():
        raise ConfigError(
            f"policy {name!r} is not known; allowed: {', '.join(POLICIES)}, or the folder of a checkpoint"
        )
    return functools.partial(learned(folder).load, folder)


def learned(folder: Path) -> Learned:
    """What makes the policy of a checkpoint's kind; raises CheckpointError naming the kinds that there are."""
    from kinema.policies import checkpoint  # seconds to import: only who wants a learned policy waits for torch

    kind = checkpoint.read(folder).kind
    if kind not in LEARNED:
        raise CheckpointError(f"{folder}: is of kind {kind!r}; allowed: {', '.join(LEARNED)}")
    return cast(Learned, importlib.import_module(LEARNED[kind]))


def check_sight(policy: Policy) -> None:
    """Refuse a policy that asks for the simulator's truth and is not one of the few that may."""
    if policy.spec.simulator_truth and policy.name not in SIMULATOR_ONLY:
        raise ConfigError(
            f"policy {policy.name!r} asks for the simulator's truth; allowed for: {', '.join(SIMULATOR_ONLY)}"
        )
