"""Policies by name. A policy is imported when it is asked for, so that naming one costs nothing."""

import importlib
import inspect
from typing import Any

from kinema.errors import ConfigError
from kinema.interfaces import Policy

POLICIES = {
    "demonstrator": "kinema.virtual.demonstrators:Demonstrator",
    "replay": "kinema.policies.replay:load",
    "random": "kinema.policies.chance:load",
}
SIMULATOR_ONLY = frozenset({"demonstrator"})  # what may see the simulator's truth; never a learned policy


def make(name: str, **options: Any) -> Policy:
    """A policy ready to predict, made with its own options.

    Raises ConfigError naming the policies there are, the option that is missing or not its own, and what it may not ask
    for.
    """
    target = POLICIES.get(name)
    if target is None:
        raise ConfigError(f"policy {name!r} is not known; allowed: {', '.join(POLICIES)}")
    module, _, attribute = target.partition(":")
    maker = getattr(importlib.import_module(module), attribute)
    try:
        inspect.signature(maker).bind(**options)
    except TypeError as error:
        raise ConfigError(f"policy {name!r}: {error}") from None
    policy: Policy = maker(**options)
    check_sight(policy)
    return policy


def check_sight(policy: Policy) -> None:
    """Refuse a policy that asks for the simulator's truth and is not one of the few that may."""
    if policy.spec.simulator_truth and policy.name not in SIMULATOR_ONLY:
        raise ConfigError(
            f"policy {policy.name!r} asks for the simulator's truth; allowed for: {', '.join(SIMULATOR_ONLY)}"
        )
