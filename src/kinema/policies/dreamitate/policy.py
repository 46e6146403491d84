"""Dreamitate behind the seam: one video becomes a plan, the plan becomes chunks, one after the other, open loop.

`predict` first takes the tool out of the cameras' view, then imagines a video where there is no plan, and then hands
out the plan's pieces: the way there, the path, and where another round follows the way back. Which piece comes next
says the arm itself, by where it is on the route: at a piece's end the next one, where it was the same again (a person,
or the age of its observation, refused it), in between the rest of the piece. An arm that has been led elsewhere ends
the round. After the last round the arm stays. `reset` forgets all of it. Looking happens at rest: chunks are played in
stop and go.

Extrinsics are those of `calibration/`, none newer than the demonstrations that the generator has learned from.
"""

import datetime
import time
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from kinema import cell_file, paths
from kinema.calibration.bundle import SIDE_CAMERAS, load_bundle
from kinema.chunk import ActionChunk, Observation, ObservationSpec, Prediction
from kinema.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteChunkError,
    NoPlanError,
    ObservationError,
)
from kinema.geometry import Array, Pose, distance
from kinema.perception import tool_mesh
from kinema.perception.stereo_tool import stereo_views
from kinema.perception.tool_tracker import ModelTracker, ToolTracker
from kinema.policies import checkpoint, loading, pictures, sampling, text
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.dreamitate.dream import Dream, Place, aside, interpret
from kinema.policies.dreamitate.model import DreamitateModel
from kinema.policies.dreamitate.plan import NAME
from kinema.policies.dreamitate.tool_path import SETTINGS, Settings
from kinema.policies.engines import backends
from kinema.policies.engines.engine import Timed
from kinema.policies.engines.graph import Run, running
from kinema.policies.video_policy import sampler
from kinema.policies.video_policy.sampler import Sight
from kinema.robots import arm

_TRIES = 4  # videos without a plan, one after the other, before it gives up
_THERE = (0.010, 0.10)  # [m, rad] from where a piece ends, or began: it is there
_ON_ROUTE = (0.05, 0.4)  # [m, rad] farther off the arm is no longer on its route
_LEVER = 0.1  # [m] by which an angle counts as a way
_STAY = 30  # steps of a chunk that stays


class Dreamitate:
    """See the module's text. What it draws follows from the seed and the number of videos since `reset`."""

    name = NAME

    def __init__(
        self,
        facts: Checkpoint,
        model: DreamitateModel,
        place: Place,
        mode: str = "",
        seed: int = 0,
        run: Run | None = None,
        tracker: ToolTracker | None = None,
        settings: Settings = SETTINGS,
    ) -> None:
        """`run` runs the model's parts; None: the model itself. `mode`: of inference; '': the first there is.

        Raises ConfigError for an unknown mode and for a tool that isn't mounted on the arm.
        """
        if place.tool.T_flange_tool is None:
            raise ConfigError("the tool's file has no mount: say there where the tool is on the flange (T_flange_tool)")
        self.checkpoint, self.mode = facts, _mode(facts, mode)
        self._model, self._run, self._seed = model, run or running(model), seed
        self._place, self._tracker, self._settings = place, tracker or ModelTracker(), settings
        self._device = next(model.parameters()).device
        self._rounds = model.config.rounds
        self._chunks = 0
        self.spec = ObservationSpec(
            cameras=facts.cameras, image_size=facts.image_size, force=False, goal_image=model.config.goal
        )
        self.reset()

    def reset(self, seed: int | None = None) -> None:
        self._seed = self._seed if seed is None else seed
        self._route: _Route | None = None
        self._videos = self._failed = self._done = 0
        self._aside = False  # whether it has asked for the tool to leave the picture
        self._reason = ""

    @torch.no_grad()
    def predict(self, observation: Observation) -> Prediction:
        """The next piece of the plan, with the video that the plan was made of, which may have to be imagined first.

        Raises ObservationError for what is seen or read and isn't as in training, NoPlanError for a video that no plan
        comes of (the next call imagines another one), NonFiniteChunkError for one that holds NaN or infinity (F01).
        """
        timing: dict[str, float] = {}
        tcp = observation.T_base_tcp[-1]
        if self._route is not None and not self._route.goes_on(tcp):
            self._route, self._done = None, self._done + 1
        if self._route is None:
            if self._done >= self._rounds:
                return Prediction(self._chunk(observation, np.tile(tcp.matrix, (_STAY, 1, 1)), self._settings.dt))
            if not self._aside:
                self._aside, way = True, aside(self._place, tcp, self._settings)
                if len(way):
                    return Prediction(self._chunk(observation, way, self._settings.dt))
            dream = self._dream(observation, timing)
            self._route = _Route(dream, tcp)
        dream = self._route.dream
        chunk = self._chunk(observation, self._route.ahead(), dream.plan.dt)
        return Prediction(chunk, dream.video, dream.dt, timing)

    def _chunk(self, observation: Observation, targets: Array, dt: float) -> ActionChunk:
        """Targets `T_base_tcp` (n, 4, 4), anchored where the arm is; the jaw, which may hold the tool, stays."""
        self._chunks += 1
        tcp = observation.T_base_tcp[-1]
        return ActionChunk(
            id=self._chunks,
            policy=NAME,
            t0_ns=observation.stamp_ns,
            T_base_tcp_t0=tcp,
            width_t0=float(observation.width[-1]),
            dt=dt,
            offset=dt,
            T_rel=tcp.inverse().matrix @ targets,
            width_change=None,
            force=None,
            executable=len(targets),
        )

    # ---- imagining

    def _dream(self, observation: Observation, timing: dict[str, float]) -> Dream:
        if self._failed >= _TRIES:
            raise NoPlanError(
                f"gave up after {_TRIES} videos without a plan, the last: {self._reason}; see to it that the scene is "
                "as in the demonstrations, then begin the run anew"
            )
        now = pictures.newest(observation, self.spec.cameras, self.spec.image_size)
        clip = self._imagined(observation, now, timing)
        try:
            dream = interpret(
                self._place,
                self._tracker,
                now.numpy(),
                clip.cpu().numpy(),
                observation.T_base_tcp[-1],
                self._model.stride * self.checkpoint.action.dt,
                self._done + 1 < self._rounds,
                self._settings,
            )
        except NoPlanError as error:
            self._failed, self._reason = self._failed + 1, str(error)
            raise NoPlanError(f"video {self._videos} makes no plan: {error}") from error
        self._failed = 0
        timing.update(dream.seconds)
        return dream

    def _imagined(self, observation: Observation, now: Tensor, timing: dict[str, float]) -> Tensor:
        """The clip (2, frames, height, width, 3) uint8 of the next video."""
        began, run = time.perf_counter(), Timed(self._run, self._device)
        goal = self._goal(observation)
        read = self._model.read((observation.text,))
        timing["read"] = time.perf_counter() - began
        present = now.to(self._device)[None]
        sight = _see(run, present, read, goal)
        noise = self._model.clip_noise(1, sampling.generator(self._seed, self._videos))
        self._videos += 1
        latents = self._model.draw(run, sight, noise, sampler.steps_of(self.mode))
        if not latents.isfinite().all():
            raise NonFiniteChunkError(f"video {self._videos} of {NAME} holds numbers that are not finite")
        clip = sampler.decode(run, latents, present)[0]
        timing.update(run.seconds)
        return clip

    def _goal(self, observation: Observation) -> Tensor | None:
        """(1, 2, height, width) of the goal image, whose first two channels are the views' masks; None without one."""
        if not self.spec.goal_image:
            return None
        image, (width, height) = observation.goal_image, self.spec.image_size
        if image is None or image.ndim != 3 or image.shape[2] != 3 or image.shape[1] * height != image.shape[0] * width:
            there = "none" if image is None else f"one of shape {image.shape}"
            raise ObservationError(
                f"goal image: there is {there}, needed is one of {width} x {height} px, or of that aspect ratio: its "
                f"first channel is the mask of camera {self.spec.cameras[0]!r}, its second that of "
                f"{self.spec.cameras[1]!r}"
            )
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return torch.from_numpy((small[..., :2] > 127).astype(np.uint8)).movedim(-1, 0).to(self._device)[None]


class _Route:
    """A plan being played: targets one after the other, and between which two the last chunk led."""

    def __init__(self, dream: Dream, T_base_tcp: Pose) -> None:
        pieces = dream.plan.pieces
        self.dream = dream
        self._targets = np.concatenate([T_base_tcp.matrix[None], *pieces])
        self._ends = np.cumsum([len(piece) for piece in pieces])
        self._from = self._to = 0

    def goes_on(self, T_base_tcp: Pose) -> bool:
        """Take the arm to be where it is; whether anything of the route lies before it."""
        span = range(self._from, self._to + 1)
        away = [distance(Pose.from_matrix(self._targets[i]), T_base_tcp) for i in span]
        if _within(away[-1], _THERE):
            self._from = self._to
        elif not _within(away[0], _THERE):
            nearest = min(range(len(away)), key=lambda k: away[k][0] + _LEVER * away[k][1])
            if not _within(away[nearest], _ON_ROUTE):
                return False
            self._from += nearest
        return self._from < self._ends[-1]

    def ahead(self) -> Array:
        """(n, 4, 4) the targets from there to the piece's end."""
        self._to = int(self._ends[np.searchsorted(self._ends, self._from, "right")])
        return self._targets[self._from + 1 : self._to + 1]


def _within(away: tuple[float, float], tolerance: tuple[float, float]) -> bool:
    return away[0] <= tolerance[0] and away[1] <= tolerance[1]


def _see(run: Run, now: Tensor, read: Tensor, goal: Tensor | None) -> Sight:
    """Of present images (b, 2, height, width, 3) uint8 and read texts."""
    (shown,) = run("see", now.float(), *(() if goal is None else (goal.float(),)))
    return Sight(shown, read, read[:, :0])


def probe(facts: Checkpoint, model: DreamitateModel, mode: str, run: Run) -> dict[str, Tensor]:
    """A whole video of a fixed moment: what engines are measured by."""
    device = next(model.parameters()).device
    now = pictures.fixed(model.cameras, model.image_size).to(device)[None]
    sight = _see(run, now, model.read((text.FIXED,)), (now[..., 0] > 127).to(now) if model.config.goal else None)
    latents = model.draw(run, sight, model.clip_noise(1, sampling.generator(0)), sampler.steps_of(_mode(facts, mode)))
    (images,) = run("decode", latents, now.float())
    return {"video": images}


def _mode(facts: Checkpoint, mode: str) -> str:
    found = mode or next(iter(facts.latency))
    if found not in facts.latency:
        raise ConfigError(f"{NAME} has no mode {mode!r}; allowed: {', '.join(facts.latency)}")
    return found


def load(
    folder: Path,
    mode: str = "",
    seed: int = 0,
    device: str = "cpu",
    backend: str = backends.EAGER,
    tool: str = "",
    cell: str = "",
    robot: str = "",
) -> Dreamitate:
    """The policy in a checkpoint's folder, on a backend of `kinema.policies.engines.backends`.

    tool   folder with tool.yaml and its meshes; '': `tool` in the checkpoint's
    cell   cell file, whose cameras, calibration and limits count; '': the virtual cell's
    robot  one of the cell's; '': the first

    Raises CheckpointError; ConfigError for mode, tool, cell and robot; CalibrationError for fewer than two calibrated
    cameras, and for one that was placed after the demonstrations (F23); EngineError.
    """
    facts = checkpoint.read(folder)
    mode = _mode(facts, mode)
    place = _place(folder, facts, tool, cell, robot)
    model = network(folder, device)
    run = loading.run(model, folder, facts.hash, mode, backend, device, probe)
    return Dreamitate(facts, model, place, mode, seed, run)


def network(folder: Path, device: str = "cpu") -> DreamitateModel:
    """The network with its weights, ready to imagine; raises CheckpointError."""
    return loading.network(DreamitateModel, DreamitateConfig, folder, device)


def _place(folder: Path, facts: Checkpoint, tool: str, cell: str, robot: str) -> Place:
    """Where it acts, by files alone."""
    found = cell_file.load(cell or cell_file.VIRTUAL)
    file = (paths.find(tool) if tool else folder / checkpoint.TOOL) / tool_mesh.FILE
    if not file.is_file():
        raise ConfigError(
            f"{file}: there is no such file; put tool.yaml and its meshes into {folder / checkpoint.TOOL}, or name "
            "their folder (tool:=FOLDER)"
        )
    serials = {name: serial for name, serial in _serials(found).items() if name in facts.cameras}
    bundle = load_bundle(found.calibration_folder, serials)
    views = stereo_views(bundle, _placed(folder, facts.training), facts.image_size, facts.cameras)
    model = arm(found.check_robot(robot or next(iter(found.robots), "")))
    return Place(tool_mesh.load_tool(file), views, model, found.devices.gripper.model, found.control.limits)


def _serials(cell: cell_file.Cell) -> Mapping[str, str]:
    return {name: getattr(cell.devices.cameras, name).serial for name in SIDE_CAMERAS}


def _placed(folder: Path, training: Mapping[str, object]) -> datetime.date:
    """Until when the cameras may have been placed for what was learned to hold."""
    day = training.get("placed")
    if not isinstance(day, str) or not day:
        raise CheckpointError(
            f"{folder}: doesn't say of when its demonstrations are, so nobody can tell whether the cameras still stand "
            "as they did; export the demonstrations anew (kinema episodes export shards) and train on them"
        )
    return datetime.date.fromisoformat(day)
