"""What was seen and done in an episode, as a policy's observation has it; pure."""

from typing import Any

import numpy as np

from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec
from kinema.errors import BenchmarkError
from kinema.geometry import Array
from kinema.pusht import plane

_STEP_NS = 1_000_000_000 // plane.RATE


class Memory:
    """An episode so far. Before its beginning all was as at first, as in training (`kinema.training.windows`)."""

    def __init__(self, spec: ObservationSpec, image: Image, target: Array) -> None:
        """Raises BenchmarkError for a policy that asks for what there is none of."""
        refused: dict[str, Any] = {
            "cameras": spec.images and spec.cameras != (plane.CAMERA,),
            "goal_image": spec.goal_image,
            "force": spec.force,
            "simulator_truth": spec.simulator_truth,
            "history_dt": spec.history > 1 and not _whole(spec.history_dt * plane.RATE),
            "executed_dt": spec.executed_actions > 0 and not np.isclose(spec.executed_dt * plane.RATE, 1.0),
        }
        for name, wrong in refused.items():
            if wrong:
                raise BenchmarkError(
                    f"PushT: the policy asks for {name} {getattr(spec, name)}; there is one camera, "
                    f"{plane.CAMERA!r}, and targets, {plane.RATE} a second"
                )
        self._spec, self._images, self._targets = spec, [image], [target]

    def add(self, image: Image, target: Array) -> None:
        """What is seen a step later, and the target that led there."""
        self._images.append(image)
        self._targets.append(target)

    def observation(self) -> Observation:
        """Of the present moment."""
        spec, now = self._spec, len(self._images) - 1
        apart = round(spec.history_dt * plane.RATE)
        moments = [max(now - apart * k, 0) for k in reversed(range(spec.history))]
        poses = tuple(plane.pose(self._targets[k]) for k in moments)
        return Observation(
            stamp_ns=now * _STEP_NS,
            images={plane.CAMERA: np.stack([self._images[k] for k in moments])} if spec.images else {},
            T_base_tcp=poses,
            width=np.full(spec.history, plane.WIDTH),
            force=None,
            text=plane.TEXT if spec.text else "",
            executed_actions=self._executed(now) if spec.executed_actions else None,
        )

    def _executed(self, now: int) -> ActionChunk:
        """The last steps up to the present, as seen from there."""
        count, dt = self._spec.executed_actions, 1.0 / plane.RATE
        here = plane.pose(self._targets[now])
        poses = [plane.pose(self._targets[max(now + k, 0)]) for k in range(1 - count, 1)]
        T_rel = np.stack([(here.inverse() @ pose).matrix for pose in poses])
        offset, still = -(count - 1) * dt, np.zeros(count)
        return ActionChunk(0, "executed", now * _STEP_NS, here, plane.WIDTH, dt, offset, T_rel, still, None, count)


def _whole(steps: float) -> bool:
    return bool(round(steps) >= 1 and np.isclose(steps, round(steps)))
