"""A training put together: data sets, network and steps in, a checkpoint out."""

import platform
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from kinema.episodes.shards import ShardDataset
from kinema.errors import TrainingError
from kinema.perception import tool_mesh
from kinema.policies import checkpoint
from kinema.policies.actions import ActionSpace
from kinema.policies.batch import Batch
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.look import Look
from kinema.training import stages
from kinema.training.loop import Training, Watcher
from kinema.training.plan import Plan
from kinema.training.windows import Framing, Windows, draw, split, spread

STATE, CHECKPOINT = "state.pt", "checkpoint"  # in a training's folder

_FITTED, _PORTION = 512, 64  # moments that what isn't learned is fitted to, so many at a time
_ASTRAY = 0.012  # [m]
_FREE = ("pieces", "save", "measure")  # parts of a plan that may be others when a training goes on


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained, and on what.

    kind, size, stage  as in `stages.RECIPES`
    data        shards; videos: more of them, of which only images and texts are looked at, in the stage `video`
    config      YAML file with the network's configuration, or None: the size's own; with `begin`, of what is to differ
    begin       a checkpoint to go on from, or None
    look        folder of a look that knows what words mean, or None
    tool        folder of the tool that the videos show, which goes along with the checkpoint, or None
    published   begin with published weights where the size has such
    held_out    [-] share of the data's episodes that nothing is learned from
    shift       [-] of their width that images are shifted by at most; None: as the recipe has it
    executable  how many of a chunk's steps the policy may have played; 0: as many as is usual for it
    memory      [GB] of decoded images that are kept on the device; None: as many as a quarter of what is free
    """

    kind: str
    size: str
    stage: str
    data: Path
    videos: tuple[Path, ...] = ()
    config: Path | None = None
    begin: Path | None = None
    look: Path | None = None
    tool: Path | None = None
    published: bool = True
    cameras: tuple[str, ...] = ("gripper", "left", "right")
    held_out: float = 0.05
    shift: float | None = None
    executable: int = 0
    memory: float | None = None


class Session:
    """A training and all it needs; `folder` is where it is kept."""

    def __init__(self, order: Order, plan: Plan, accelerator: Accelerator, folder: Path) -> None:
        """Goes on where the folder stands. Raises what data sets, checkpoints and `Training` refuse."""
        self.order, self.plan, self.folder = order, plan, folder
        self._accelerator = accelerator
        self._data, self._videos = ShardDataset(order.data), [ShardDataset(folder) for folder in order.videos]
        if self._videos and order.stage != "video":
            raise TrainingError(f"videos without actions are for the stage 'video', not for {order.stage!r}")
        if order.tool is not None:
            if order.kind != "dreamitate":
                raise TrainingError(f"{order.tool}: a tool goes along with dreamitate, not with {order.kind}")
            tool_mesh.load_tool(order.tool / tool_mesh.FILE)  # says now what is wrong with it
        torch.manual_seed(plan.seed)
        self._look = ""  # SHA-256 of the look that it began with
        self._before, self.model = self._network()
        self.space = self._space()
        self.windows, self.held_out = self._windows()
        state = folder / STATE
        if not state.exists():
            self._prepare()
        if getattr(self.model, "still", False) and order.stage != "video":
            torch.manual_seed(plan.seed)  # the same when it goes on
            self.windows.glimpse(self.model.eval().glimpse)
            self.model.train()
        self.training = Training(self.model, plan, accelerator, state, self._told())

    def run(self, watcher: Watcher, stopped: Callable[[], bool] = lambda: False) -> bool:
        """As `Training.run`."""
        return self.training.run(self._batch, watcher, stopped)

    def write(self, measured: Mapping[str, float]) -> Checkpoint:
        """The policy that has come of it, its weights averaged, into the folder; `measured`: what is known of it."""
        order, before = self.order, self._before
        facts = Checkpoint(
            kind=order.kind,
            config=self.model.config.model_dump(mode="json"),
            action=self.space,
            cameras=order.cameras,
            image_size=self.windows.size,
            dataset=self._data.fingerprint,
            calibration_origin=tuple(self._data.index["calibration_origin"]),
            latency=dict(self.model.latency),
            training={
                "size": order.size,
                "stage": order.stage,
                "steps": self.training.step,
                "plan": asdict(self.plan),
                "hours": round(self.training.seconds / 3600, 3),
                "hardware": self._hardware(),
                "precision": self._accelerator.mixed_precision,
                "moments": len(self.windows),
                "videos": [data.fingerprint for data in self._videos],
                "placed": self._placed,
                "look": self._look,
                "held_out": {name: round(value, 4) for name, value in measured.items()},
                "before": {"hash": before.hash, "training": before.training} if before else None,
            },
        )
        if order.tool is not None:
            shutil.copytree(order.tool, self.folder / CHECKPOINT / checkpoint.TOOL, dirs_exist_ok=True)
        with self.training.averaged() as model:
            return checkpoint.save(self.folder / CHECKPOINT, facts, model.state_dict())

    # ---- parts

    def _network(self) -> tuple[Checkpoint | None, Any]:
        """The checkpoint to go on from, if any, and the network as it is before this training."""
        order = self.order
        size = self._data.size(0, order.cameras[0])
        if order.begin is None:
            made = stages.fresh(order.kind, order.size, order.config, len(order.cameras), size)
            if order.published and hasattr(made, "load_pretrained"):
                made.load_pretrained()
            return None, self._given_look(made)
        facts, made = stages.restored(order.begin, order.kind, order.config)
        if (facts.cameras, facts.image_size) != (order.cameras, size):
            raise TrainingError(
                f"{order.begin}: sees {', '.join(facts.cameras)} in {facts.image_size} px, "
                f"the data are of {', '.join(order.cameras)} in {size} px"
            )
        return facts, self._given_look(made)

    def _given_look(self, made: Any) -> Any:
        if self.order.look is not None:
            self._look = stages.begin_look(made, self.order.look)
        return made

    def _space(self) -> ActionSpace:
        """How actions are meant: as the checkpoint before learned them, or by the data's statistics."""
        before = self._before
        if before is None or before.training["stage"] == "video":
            return ActionSpace.of(self._data.index, self._executable, self.model.horizon)
        if not np.isclose(before.action.dt * self._data.rate, 1.0):
            raise TrainingError(
                f"{self.order.begin}: its steps are {before.action.dt:.3f} s apart, {self.order.data} has "
                f"{self._data.rate} a second; export it with another --rate"
            )
        return before.action

    @property
    def _executable(self) -> int:
        return self.order.executable or self.model.executable

    @property
    def _placed(self) -> str:
        """Until when a side camera may have been placed, as `ShardDataset.placed`; '' where a set doesn't say."""
        days = [data.placed for data in (self._data, *self._videos)]
        return "" if None in days else min(day.isoformat() for day in days if day is not None)

    def _windows(self) -> tuple[Windows, Windows]:
        order, model = self.order, self.model
        width, _ = self._data.size(0, order.cameras[0])
        usual = stages.recipe(order.kind, order.size, order.stage).shift
        shift = round((usual if order.shift is None else order.shift) * width)
        led = isinstance(getattr(model, "look", None), Look)  # what it sees tells how far off things are
        astray = _ASTRAY if led and model.history == 1 else 0.0  # a past would have to have gone astray, too
        framing = Framing(order.cameras, model.frames, model.stride, shift, model.prefix, model.history, astray)
        framing = replace(framing, opening=getattr(model, "opening", 0), goal=getattr(model, "goal", False))
        train, held_out = ([(self._data, episode) for episode in some] for some in split(self._data, order.held_out))
        train += [(data, episode) for data in self._videos for episode in range(len(data))]
        device = self._accelerator.device
        return (
            Windows(train, framing, None if order.stage == "video" else self.space, device, order.memory),
            Windows(held_out, framing, self.space, device, order.memory),
        )

    def _prepare(self) -> None:
        """Fit what the network doesn't learn by steps, unless a training before has."""
        before = self._before
        if before is not None and before.training["stage"] != "video":
            return
        moments = spread(len(self.windows), _FITTED, self.windows.framing)
        batches = [self.windows.batch(portion) for portion in moments.portions(_PORTION)]
        if before is not None:  # which saw no tool
            self.model.acquaint(batches)
            return
        self.model.prepare(batches, sorted({text for batch in batches for text in batch.text}))

    def _batch(self, step: int, piece: int) -> Batch:
        """A piece of a step's batch, of those that this process learns from."""
        plan, processes = self.plan, self._accelerator.num_processes
        drawn = draw(len(self.windows), self.windows.framing, plan.batch, plan.seed, step)
        return self.windows.batch(
            drawn.part(self._accelerator.process_index * plan.pieces + piece, processes * plan.pieces)
        )

    def _told(self) -> dict[str, Any]:
        """All that a state on the disk must have in common with this training."""
        order = self.order
        return {name: value for name, value in asdict(self.plan).items() if name not in _FREE} | {
            "policy": order.kind,
            "size": order.size,
            "data": self._data.fingerprint,
            "videos": [data.fingerprint for data in self._videos],
            "begin": self._before.hash if self._before else None,
            "look": self._look,
            "held_out": order.held_out,
            "executable": self._executable,
            "shift": order.shift,
            "precision": self._accelerator.mixed_precision,
            "config": self.model.config.model_dump(mode="json"),
        }

    def _hardware(self) -> str:
        processes = self._accelerator.num_processes
        if self._accelerator.device.type == "cuda":
            return f"{processes} x {torch.cuda.get_device_name()}"
        return f"{processes} x {torch.get_num_threads()} threads of {_processor()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()
