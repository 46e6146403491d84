"""How a training does: curves for TensorBoard, errors and imagined videos of episodes that nothing is learned from."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from kinema.policies.actions import WIDTH
from kinema.policies.batch import Batch
from kinema.training.loop import Watcher
from kinema.training.measures import action_errors
from kinema.training.session import Session
from kinema.training.video_quality import psnr
from kinema.training.videos import side_by_side, write
from kinema.training.windows import spread

CURVES, VIDEOS = "curves", "videos"  # in a training's folder

_MOMENTS, _PORTION, _SHOWN = 128, 32, 4  # that are looked at, so many at a time; that are shown as a video


class Curves(Watcher):
    """`latest` is what the last look has found; `said` is called with a line about it.

    Of episodes held out: the losses, as in training, by the names they have there; where actions are learned the errors
    of `action_errors`, and `still_mm`, the position error of not moving at all; where videos are, `imagined_dB`, the
    peak signal to noise ratio of what was imagined, and `repeated_dB`, that of the present image in its place.
    """

    def __init__(self, session: Session, said: Callable[[str], None] = lambda line: None) -> None:
        self.latest: dict[str, float] = {}
        self._session, self._said = session, said
        step = session.training.step
        self._writer = SummaryWriter(str(session.folder / CURVES), purge_step=step + 1 if step else None)

    def reported(self, step: int, progress: float, rate: float, losses: Mapping[str, float]) -> None:
        for name, loss in losses.items():
            self._writer.add_scalar(f"training/{name}", loss, step)
        self._writer.add_scalar("rate", rate, step)

    def looked(self, step: int, model: Any) -> None:
        session = self._session
        self.latest = self._losses(model)
        if session.order.stage != "video":
            self.latest |= self._errors(model)
        if model.frames and session.order.stage != "action":
            self.latest |= self._videos(step, model)
        for name, value in self.latest.items():
            self._writer.add_scalar(f"held out/{name}", value, step)
        self._writer.flush()
        self._said(f"step {step}, held out: " + ", ".join(f"{name} {value:.4g}" for name, value in self.latest.items()))

    def _batches(self) -> Iterator[Batch]:
        windows = self._session.held_out
        return map(windows.batch, spread(len(windows), _MOMENTS, windows.framing).portions(_PORTION))

    def _losses(self, model: Any) -> dict[str, float]:
        torch.manual_seed(0)
        found = [model.loss(batch, self._session.order.stage) for batch in self._batches()]
        return {name: float(torch.stack([terms[name] for terms in found]).mean()) for name in found[0]}

    def _errors(self, model: Any) -> dict[str, float]:
        generator, space = torch.Generator().manual_seed(0), self._session.space
        chunks: list[tuple[Tensor, Tensor]] = []
        for batch in self._batches():
            assert batch.actions is not None
            chunks.append((model.act(batch, generator).float().cpu(), batch.actions.cpu()))
        found, wanted = (torch.cat(some).numpy() for some in zip(*chunks, strict=True))
        nowhere = np.zeros(WIDTH)
        nowhere[[3, 7]] = 1.0  # the first two columns of no rotation
        still = action_errors(space, np.broadcast_to(space.normalise(nowhere), wanted.shape), wanted)
        return {**action_errors(space, found, wanted), "still_mm": still["position_mm"]}

    def _videos(self, step: int, model: Any) -> dict[str, float]:
        windows, generator = self._session.held_out, torch.Generator().manual_seed(0)
        batch = windows.batch(spread(len(windows), _SHOWN, windows.framing))
        assert batch.future is not None
        imagined, happened = (video.cpu().numpy() for video in (model.imagine(batch, generator), batch.future))
        repeated = np.broadcast_to(batch.now[:, :, None].cpu().numpy(), happened.shape)
        clips = [side_by_side(one, other) for one, other in zip(happened, imagined, strict=True)]
        rate = 1.0 / (self._session.space.dt * max(model.stride, 1))
        write(self._session.folder / VIDEOS / f"{step:07d}.mp4", np.concatenate(clips), rate)
        flat = (-1, *happened.shape[3:])
        return {
            name: float(psnr(video.reshape(flat), happened.reshape(flat)).mean())
            for name, video in (("imagined_dB", imagined), ("repeated_dB", repeated))
        }
