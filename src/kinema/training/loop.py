"""The steps of training, which may be cut off anywhere and go on as if nothing had been.

AdamW under a rate that warms up and then falls as a cosine, on one device or many. A step's batch and its noise are
pure functions of the seed, the step and the process. Whatever else it depends on stands in one file: weights, their
average, the optimiser. So a run that was resumed has the losses of one that never stopped, on one device bit for bit.
"""

import contextlib
import math
import os
import pickle
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from kinema.errors import TrainingError
from kinema.training.plan import Plan

# of a step and a piece, 0 <= piece < `Plan.pieces`: what this process learns from, as the model's `loss` takes it
BatchOf = Callable[[int, int], Any]

REPORT = 20  # steps that one report is the mean of


class Trainable(Protocol):
    """What a model (an `nn.Module`) has for its training."""

    def loss(self, batch: Any, stage: str) -> dict[str, Tensor]:
        """Terms of the loss by name, weighted; their sum is descended."""
        ...

    def parameters_of(self, stage: str) -> list[dict[str, Any]]:
        """AdamW's groups: `params`, and `scale` where they learn at a multiple of the rate. All else is frozen."""
        ...


class Watcher:
    """Looks on; override what is of interest. Nobody but the first process has one that is called."""

    def reported(self, step: int, progress: float, rate: float, losses: Mapping[str, float]) -> None:
        """`losses`: means since the last report; `step`: how many are done."""

    def looked(self, step: int, model: nn.Module) -> None:
        """Every `Plan.measure` steps and at the end; the model has its averaged weights."""


# ---- parts


class _Loss(nn.Module):
    """What is spread over devices: a module whose forward is the loss."""

    def __init__(self, model: Any, stage: str) -> None:
        super().__init__()
        self.model, self.stage = model, stage

    def forward(self, batch: Any) -> dict[str, Tensor]:
        return self.model.loss(batch, self.stage)


def _groups(model: Any, plan: Plan) -> list[dict[str, Any]]:
    """The optimiser's groups; everything that is in none of them is frozen."""
    groups = []
    for group in model.parameters_of(plan.stage):
        learned = list(group["params"])
        for decay, some in (
            (plan.decay, [value for value in learned if value.ndim > 1]),
            (0.0, [value for value in learned if value.ndim <= 1]),
        ):
            groups.append({"params": some, "weight_decay": decay, "scale": group.get("scale", 1.0)})
    nn.Module.requires_grad_(model, False)
    for value in (value for group in groups for value in group["params"]):
        value.requires_grad_(True)
    return groups


class _Average:
    """Exponential moving average of what is learned; short at first, so that it forgets where it began."""

    def __init__(self, learned: Sequence[nn.Parameter], keep: float) -> None:
        self._learned, self._keep = learned, keep
        self.values = [value.detach().clone() for value in learned]

    def update(self, step: int) -> None:
        keep = min(self._keep, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.values, [value.detach() for value in self._learned], 1.0 - keep)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within, the model has the averaged weights."""
        kept = [value.data for value in self._learned]
        for value, average in zip(self._learned, self.values, strict=True):
            value.data = average
        try:
            yield
        finally:
            for value, own in zip(self._learned, kept, strict=True):
                value.data = own


def _repeatable() -> None:
    """Have torch take the algorithms that give the same result every time, where there are any."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS is repeatable only with it
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _ahead(batch_of: BatchOf, step: int, pieces: int) -> Generator[list[Any]]:
    """The pieces of every step from `step` on; the next step's are made while one is learned from."""

    def make(step: int) -> list[Any]:
        return [batch_of(step, piece) for piece in range(pieces)]

    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(make, step)
        while True:
            step += 1
            ready, coming = coming, maker.submit(make, step)
            yield ready.result()


# ---- training


class Training:
    """A model in training; `step` is how many steps are done."""

    def __init__(
        self, model: nn.Module, plan: Plan, accelerator: Accelerator, state: Path, told: Mapping[str, Any]
    ) -> None:
        """Goes on from the file `state` where there is one. `told` is all that a run is known by, as JSON.

        Raises TrainingError when the state is of a run that was told something else, or of no use.
        """
        workers = accelerator.num_processes * plan.pieces
        if plan.batch % workers:
            raise TrainingError(
                f"a batch of {plan.batch} can't be shared by {accelerator.num_processes} processes in {plan.pieces} "
                f"pieces each; a multiple of {workers} is allowed"
            )
        _repeatable()
        self.model, self.plan, self.step = model, plan, 0
        self._accelerator, self._state, self._told = accelerator, state, dict(told)
        groups = _groups(model, plan)
        self._learned = [value for group in groups for value in group["params"]]
        optimizer = torch.optim.AdamW(groups, fused=accelerator.device.type == "cuda")
        self._loss, self._optimizer = accelerator.prepare(_Loss(model, plan.stage), optimizer)
        self._average = _Average(self._learned, plan.average)
        self._recent: list[dict[str, Tensor]] = []
        self._seconds = 0.0  # of training in processes before this one
        if state.exists():
            self._resume()
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """[s] of training so far, in whatever processes."""
        return self._seconds + time.monotonic() - self._began

    @contextlib.contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """The model with its averaged weights, to be looked at."""
        with self._average.applied(), torch.no_grad(), self._accelerator.autocast():
            yield self.model.eval()
        self.model.train()

    def run(self, batch_of: BatchOf, watcher: Watcher, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Train to the plan's end, or until `stopped()`; the state is on the disk then. True at the plan's end.

        Raises TrainingError when the loss isn't finite or memory runs out; the last state on the disk stays as it was.
        """
        plan = self.plan
        with contextlib.closing(_ahead(batch_of, self.step, plan.pieces)) as batches:
            progress, stop = self._agree(stopped())
            while progress < 1.0 and not stop:
                rate = plan.rate_at(self.step, progress)
                try:
                    self._advance(next(batches), rate)
                except torch.OutOfMemoryError as error:
                    raise TrainingError(f"{error}; take a batch in more --pieces, or give less --memory") from error
                progress, stop = self._agree(stopped())
                last = progress >= 1.0 or stop
                if last or self.step % REPORT == 0 or self.step % plan.save == 0:
                    watcher.reported(self.step, progress, rate, self._losses())
                if last or self.step % plan.save == 0:
                    self._save()
                if not last and self.step % plan.measure == 0:
                    self._look(watcher)
        if progress >= 1.0:
            self._look(watcher)
        return progress >= 1.0

    def _look(self, watcher: Watcher) -> None:
        with self.averaged() as model:
            watcher.looked(self.step, model)

    def _agree(self, stopped: bool) -> tuple[float, bool]:
        """How far along the run is [-], and whether to stop: the same in all processes."""
        progress = self.step / self.plan.steps
        if self.plan.minutes:
            progress = max(progress, self.seconds / (60.0 * self.plan.minutes))
        if self._accelerator.num_processes > 1:
            mine = torch.tensor([[progress, float(stopped)]], device=self._accelerator.device)
            progress, stopped = self._accelerator.gather(mine).amax(0).tolist()
        return progress, bool(stopped)

    def _advance(self, pieces: Sequence[Any], rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        self._optimizer.zero_grad()
        for i, batch in enumerate(pieces):
            _seed(self.plan.seed, self.step, self._accelerator.process_index * len(pieces) + i)
            whole = i + 1 == len(pieces)
            with contextlib.nullcontext() if whole else self._accelerator.no_sync(self._loss):
                terms = self._loss(batch)
                self._accelerator.backward(torch.stack(list(terms.values())).sum() / len(pieces))
            self._recent.append({name: term.detach() for name, term in terms.items()})
        self._accelerator.clip_grad_norm_(self._learned, self.plan.clip)
        self._optimizer.step()
        self._average.update(self.step)
        self.step += 1

    def _losses(self) -> dict[str, float]:
        """Means since the last time."""
        recent, self._recent = self._recent, []
        losses = {name: float(torch.stack([terms[name] for terms in recent]).mean()) for name in recent[0]}
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss {name!r} is {loss} before step {self.step}; {self._state} is as it was saved last. "
                    "Give a lower --rate, or --precision no"
                )
        return losses

    # ---- the state on the disk

    def _save(self) -> None:
        if not self._accelerator.is_main_process:
            return
        scaler = self._accelerator.scaler
        state = {
            "told": self._told,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self._average.values,
            "optimizer": self._optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else {},
        }
        draft = self._state.with_suffix(".draft")
        with draft.open("wb") as stream:
            torch.save(state, stream)
            os.fsync(stream.fileno())
        os.replace(draft, self._state)

    def _resume(self) -> None:
        try:
            state = torch.load(self._state, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise TrainingError(f"{self._state}: is no state of a training: {error}; move it away") from error
        for name in sorted(self._told.keys() | state["told"].keys()):
            was, now = state["told"].get(name), self._told.get(name)
            if was != now:
                raise TrainingError(
                    f"{self._state}: is of another run: {name} was {was!r} and now is {now!r}; give another --out"
                )
        self.step, self._seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        for value, saved in zip(self._average.values, state["average"], strict=True):
            value.copy_(saved)
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler:
            self._accelerator.scaler.load_state_dict(state["scaler"])


def _seed(seed: int, step: int, part: int) -> None:
    """Have what torch draws next be a function of these."""
    torch.manual_seed(int(np.random.SeedSequence((seed, step, part)).generate_state(1, np.uint64)[0] >> 1))
