"""What a learned policy is trained on: some moments of recorded episodes, as tensors."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Batch:
    """b moments t of a data set.

    now      (b, cameras, height, width, 3) uint8 RGB: the images at t, cameras in the checkpoint's order; empty
             where a glimpse stands for them and no video is wanted
    state    (b, 10) float32: the tool's at t, as `kinema.policies.tool_state` has it; None: video alone
    future   (b, cameras, frames, height, width, 3) uint8 RGB: what came of them, one every `stride` steps, the first
             `stride` steps after t; None where no video is wanted
    text     b times the task in words
    actions  (b, horizon, 11) float32, normalised: the steps of the chunk that was right at t; None: video alone
    glimpse  (b, length) float32: what a look that learns no more sees at t (`Look.glimpse`); None: look at `now`
    past     (b, cameras, moments, height, width, 3) uint8 RGB: the images before t, oldest first, `stride` steps
             apart; None where the policy looks at the present alone
    done     (b, steps, 10) float32, normalised: the last steps up to t (`ActionSpace.done`); None as `past`, or video
             alone
    prefix   (b,) int64: how many of the first steps are committed already, given as a condition and not to be learned
    goal     (b, cameras, height, width) uint8, 0 or 1: where in each image the thing is to lie in the end; None where
             nobody says
    """

    now: Tensor
    state: Tensor | None
    future: Tensor | None
    text: tuple[str, ...]
    actions: Tensor | None
    prefix: Tensor
    glimpse: Tensor | None = None
    past: Tensor | None = None
    done: Tensor | None = None
    goal: Tensor | None = None

    def __len__(self) -> int:
        return len(self.text)
