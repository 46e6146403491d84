"""The first predictions, before anybody waits for them: they are slow, and show whether others can follow."""

import math
import time

import numpy as np

from kinema.chunk import ActionChunk, Observation, ObservationSpec, Prediction, check_chunk
from kinema.errors import CheckpointError, NoPlanError
from kinema.geometry import Pose
from kinema.interfaces import ImaginingPolicy, Policy

_ENOUGH = 2.0  # [s] of measuring
_TRIES = 3  # at a start all processes want the processor, and the fastest says most
_AHEAD = Pose.from_rotvec([0.4, 0.0, 0.3], [math.pi, 0.0, 0.0])  # T_base_tcp, pointing down in front of the arm


def blank(spec: ObservationSpec) -> Observation:
    """An observation as a policy wants it, in which nothing is to be seen."""
    width, height = spec.image_size
    dark = np.zeros((spec.history, height, width, 3), np.uint8)
    return Observation(
        stamp_ns=10**9,
        images=dict.fromkeys(spec.cameras, dark) if spec.images else {},
        T_base_tcp=(_AHEAD,) * spec.history,
        width=np.full(spec.history, 0.08),
        force=np.zeros(spec.history) if spec.force else None,
        text="do nothing" if spec.text else "",
        executed_actions=_still(spec) if spec.executed_actions else None,
        goal_image=dark[-1] if spec.goal_image else None,
    )


def _still(spec: ObservationSpec) -> ActionChunk:
    """Executed steps of a tool that stood."""
    steps = spec.executed_actions
    return ActionChunk(
        id=0,
        policy="executed",
        t0_ns=10**9,
        T_base_tcp_t0=_AHEAD,
        width_t0=0.08,
        dt=spec.executed_dt,
        offset=-(steps - 1) * spec.executed_dt,
        T_rel=np.tile(np.eye(4), (steps, 1, 1)),
        width_change=np.zeros(steps),
        force=None,
        executable=steps,
    )


def _tried(policy: Policy, seen: Observation) -> Prediction | None:
    """What it predicts, which may be played; None where it looked, and saw nothing to do in the dark."""
    try:
        prediction = policy.predict(seen)
    except NoPlanError:
        return None
    check_chunk(prediction.chunk)
    return prediction


def warm_up(policy: Policy) -> float:
    """Let a policy that looks predict a few times, and imagine if it can; what comes of it is thrown away.

    Returns the seconds that a chunk takes, the first not counted; 0 for a policy that looks at no image: it has nothing
    to warm up.
    Raises CheckpointError (F07) when it can't be run on this machine, as where there is too little memory, ChunkError
    for numbers that nobody may play.
    """
    if not policy.spec.images or policy.spec.simulator_truth:
        return 0.0
    seen = blank(policy.spec)
    try:
        prediction = _tried(policy, seen)
        taken: list[float] = []
        while len(taken) < _TRIES and sum(taken) < _ENOUGH:
            began = time.perf_counter()
            prediction = _tried(policy, seen)
            taken.append(time.perf_counter() - began)
        if prediction is not None and isinstance(policy, ImaginingPolicy):
            policy.imagine(seen, prediction)
    except (MemoryError, RuntimeError) as error:  # torch has RuntimeErrors for all that it can't do
        raise CheckpointError(f"{policy.name}: cannot be run on this machine: {error}") from error
    policy.reset()
    return min(taken)
