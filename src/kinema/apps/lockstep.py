"""Lockstep: world, control core and policy in one process, without ROS, as fast as they go, repeatable bit for bit.

The same parts as in the live cell, composed over simulated time alone. A chunk becomes available at its observation's
stamp plus a declared latency, which is never measured. `kinema lockstep` runs many episodes in several processes.

Images are rendered when somebody looks at them: three cameras at 30 Hz cost four times what all the rest does, and a
policy looks once a chunk.
"""

import argparse
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from kinema import cell_file
from kinema.cell_file import Cell
from kinema.chunk import ActionChunk, Image, Observation, Prediction
from kinema.clock import NS, Every, to_ns, to_seconds
from kinema.control.core import Controller
from kinema.control.messages import Enable, Mode, Order, PlayChunk, RejectObservation, StartPolicy, State, Tick
from kinema.control.pacing import Pace
from kinema.errors import KinemaError, ObservationError, SimulationError
from kinema.geometry import Array
from kinema.interfaces import ForceSample, GripperState, Policy
from kinema.perception.align import IMAGE_HORIZON, AlignmentError, StampedBuffer
from kinema.policies.assembly import Assembler, Request
from kinema.topics import topic
from kinema.training.success import success_rate
from kinema.virtual import cameras, goal, noise, scenario
from kinema.virtual.demonstrators import Demonstrator
from kinema.virtual.objects import SPLITS
from kinema.virtual.tasks import TASKS
from kinema.virtual.world import World
from kinema.workers import on_all_cores

if TYPE_CHECKING:
    from kinema.virtual.renderer import CellRenderer

LATENCY = 0.050  # [s] from observation to chunk, declared for the demonstrator
TIME_LIMIT = 60.0  # [s] of simulated time

POLICIES: Mapping[str, Callable[[int], Policy]] = {Demonstrator.name: Demonstrator}  # by seed

_JAW_RATE = 50.0  # [Hz] at which the executor's node tells of the jaw
_ORIGIN_NS = NS  # stamps begin at 1 s, so that 0 never means a moment


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """What came of one episode: a pure function of the arguments of `run_episode`.

    duration  [s] of simulated time
    chunks, refused  how many were played, how many the core would not play
    ticks     control cycles; digest: SHA-256 of the positions of everything in the world at each of them
    """

    task: str
    split: str
    seed: int
    robot: str
    policy: str
    simulator_truth: bool
    execution: str
    latency: float
    text: str
    success: bool
    outcome: str
    duration: float
    chunks: int
    refused: int
    ticks: int
    digest: str


class Watcher:
    """Looks on while an episode runs; override what is of interest."""

    def begin(self, world: World) -> None: ...

    def tick(self, tick: Tick) -> None: ...

    def moment(self, stamp_ns: int, look: Callable[[str], Image]) -> None:
        """A moment of the cameras; `look(camera)` renders what it sees then, as the policy would see it."""

    def predicted(self, observation: Observation, prediction: Prediction) -> None: ...


class _Camera(StampedBuffer[Image]):
    """One camera's stream, of which an image is rendered when it is looked at."""

    def __init__(self, name: str, draw: Callable[[str, int], Image]) -> None:
        super().__init__(name, IMAGE_HORIZON)
        self._draw = draw

    def nearest(self, stamp_ns: int) -> tuple[int, Image]:
        found_ns, _ = super().nearest(stamp_ns)
        return found_ns, self._draw(self.name, found_ns)


class _Episode:
    """One run: tick by tick what the nodes, the control loop and the jaw drive do side by side in the live cell."""

    def __init__(
        self, world: World, cell: Cell, policy: Policy, pace: Pace, latency: float, eyes: "CellRenderer | None"
    ) -> None:
        self.world, self._policy, self._eyes = world, policy, eyes
        self._latency_ns = to_ns(latency)
        self._controller = Controller(world.arm, cell.control, cell.arm.command_kind)
        spec = policy.spec if eyes else replace(policy.spec, cameras=policy.spec.cameras[:1])
        wanted = goal.image(world.scenario, spec.image_size, spec.cameras) if spec.goal_image else None
        self._assembler = Assembler(spec, wanted)
        self._moments: StampedBuffer[tuple[int, Array]] = StampedBuffer("the world", IMAGE_HORIZON)  # frame, snapshot
        if eyes is not None:
            self._draw = functools.lru_cache(maxsize=2 * len(policy.spec.cameras))(self._draw_afresh)
            streams = {name: _Camera(name, self._draw) for name in policy.spec.cameras}
            self._assembler.buffers.images.update(streams)
        rates = (cameras.camera("gripper").rate, topic("tcp_pose").rate, _JAW_RATE, topic("load_cell/force").rate)
        self._camera, self._pose, self._jaw, self._load_cell = (Every(rate, _ORIGIN_NS) for rate in rates)
        self._jaw_state: GripperState | None = None
        self._force: ForceSample | None = None
        self._run = StartPolicy(
            pace.mode,
            cell.speed_scale,
            uses_force=policy.spec.force,
            replan_steps=pace.replan_steps,
            executable=pace.executable,
        )
        self._orders: list[Order] = [Enable()]
        self._asked = 0
        self._thought: PlayChunk | None = None  # waits for the declared latency
        self._played: ActionChunk | None = None
        self._dark = np.zeros((*policy.spec.image_size[::-1], 3), np.uint8)
        self.ticks = self.chunks = self.refused = 0
        self.reason = ""

    def step(self, watcher: Watcher) -> Tick:
        """One control cycle of the arm."""
        state = self.world.arm_state()
        jaw_due = self._sense(state.t_ns)
        tick = self._controller.tick(state, self._take_orders(state.t_ns), self._jaw_state, self._force, stop=False)
        self._see(state.t_ns, tick, watcher)
        self._think(state.t_ns, tick, watcher)
        if jaw_due and tick.jaw is not None:
            self.world.command_jaw(tick.jaw.width, tick.jaw.speed, tick.jaw.force)
        self._note(tick)
        self.world.step(tick.command)
        return tick

    def _sense(self, t_ns: int) -> bool:
        buffers = self._assembler.buffers
        if self._load_cell.due(t_ns):
            self._force = self.world.load_cell()
            buffers.force.push(self._force.stamp_ns, self._force.force)
        if not self._jaw.due(t_ns):
            return False
        self._jaw_state = self.world.jaw_state()
        buffers.width.push(self._jaw_state.stamp_ns, self._jaw_state.width)
        return True

    def _take_orders(self, t_ns: int) -> list[Order]:
        orders, self._orders = self._orders, []
        if self._thought is not None and t_ns >= self._thought.chunk.t0_ns + self._latency_ns:
            orders.append(self._thought)
            self._played, self._thought = self._thought.chunk, None
        return orders

    def _see(self, t_ns: int, tick: Tick, watcher: Watcher) -> None:
        assembler = self._assembler
        if self._pose.due(t_ns):
            assembler.buffers.poses.push(t_ns, tick.T_base_tcp)
        if not self._camera.due(t_ns):
            return
        if assembler.spec.simulator_truth:
            assembler.truth.push(t_ns, self.world.truth())
        for name in assembler.spec.cameras:
            assembler.buffers.images[name].push(t_ns, self._dark)
        if self._eyes is not None:
            self._moments.push(t_ns, (self._camera.count, self.world.snapshot()))
            watcher.moment(t_ns, lambda name: self._draw(name, t_ns))

    def _draw_afresh(self, camera: str, stamp_ns: int) -> Image:
        """What a camera saw at one of its moments; the frame's number draws the noise, whenever it is rendered."""
        assert self._eyes is not None
        _, (frame, snapshot) = self._moments.nearest(stamp_ns)
        return self._eyes.render(camera, snapshot, frame)

    def _think(self, t_ns: int, tick: Tick, watcher: Watcher) -> None:
        """Answer the core's request with the first moment that is new enough."""
        wanted = tick.request
        if wanted is not None and wanted.id != self._asked:
            self._asked = wanted.id
            self._assembler.open(Request(wanted.id, 0, wanted.not_before_ns, self.world.scenario.text), t_ns)
        played = self._played
        self._assembler.plays(played if played and played.id == tick.chunk else None, tick.step, tick.steps_left)
        try:
            observation = self._assembler.observe(t_ns)
            if observation is None:
                return
            prediction = self._policy.predict(observation)
        except (AlignmentError, ObservationError) as error:
            self._orders.append(RejectObservation(self._asked, str(error)))
            return
        watcher.predicted(observation, prediction)
        self._thought = PlayChunk(prediction.chunk, self._asked)

    def _note(self, tick: Tick) -> None:
        self.ticks += 1
        if tick.state is State.READY and self.ticks == 1:
            self._orders.append(self._run)
        for event in tick.events:
            self.chunks += event.kind == "chunk_accepted"
            self.refused += event.kind == "chunk_rejected"
            if event.kind == "state" and tick.state in (State.FAULT, State.STOPPED):
                self.reason = event.text


def run_episode(
    task: str,
    split: str,
    seed: int,
    robot: str,
    policy: Policy,
    *,
    cell: Cell | None = None,
    pace: Pace | None = None,
    latency: float = LATENCY,
    render: bool = False,
    time_limit: float = TIME_LIMIT,
    watcher: Watcher | None = None,
) -> EpisodeResult:
    """Play one scenario until the physics says success, the core stops, or the time is up.

    cell     its control settings, speed scale and image size; None: launch/cells/virtual.yaml
    pace     how chunks are played; None: as the cell file says
    latency  [s] from an observation's stamp to its chunk; a whole property of the run, never measured
    render   images for a policy that looks; without them only the simulator's truth can be seen
    """
    cell = cell or cell_file.load(cell_file.VIRTUAL)
    pace, watcher = pace or Pace(cell.control.execution.mode), watcher or Watcher()
    if policy.spec.images and not (render or policy.spec.simulator_truth):
        raise KinemaError(f"policy {policy.name!r} looks at {', '.join(policy.spec.cameras)}: it needs render=True")
    world = World(
        scenario.draw(task, split, seed),
        cell.check_robot(robot),
        command_kind=cell.arm.command_kind,
        seed=seed,
        origin_ns=_ORIGIN_NS,
    )
    eyes = _renderer(world, cell, seed) if render else None
    policy.reset()
    world.tare()
    watcher.begin(world)
    episode = _Episode(world, cell, policy, pace, latency, eyes)
    digest, success, reason = hashlib.sha256(), False, ""
    try:
        while not (success or episode.reason) and to_seconds(world.t_ns - _ORIGIN_NS) < time_limit:
            watcher.tick(episode.step(watcher))
            digest.update(world.data.qpos.tobytes())
            success = world.outcome().success
    except SimulationError as error:
        reason = str(error)
    finally:
        if eyes is not None:
            eyes.close()
    return EpisodeResult(
        task=task,
        split=split,
        seed=seed,
        robot=robot,
        policy=policy.name,
        simulator_truth=policy.spec.simulator_truth,
        execution=str(pace.mode),
        latency=latency,
        text=world.scenario.text,
        success=success,
        outcome=reason or episode.reason or world.outcome().text,
        duration=to_seconds(world.t_ns - _ORIGIN_NS),
        chunks=episode.chunks,
        refused=episode.refused,
        ticks=episode.ticks,
        digest=digest.hexdigest(),
    )


def _renderer(world: World, cell: Cell, seed: int) -> "CellRenderer":
    from kinema.virtual.renderer import CellRenderer  # needs a GL library; most episodes do without

    return CellRenderer(world.model, cell.image_size, noise.load().camera, seed)


# ---- many episodes


@dataclass(frozen=True, slots=True)
class Batch:
    """What `kinema lockstep` runs: `episodes` scenarios from `seed` on."""

    task: str
    split: str
    robot: str
    policy: str
    seed: int
    episodes: int
    execution: Mode | None
    latency: float
    render: bool
    cell: Path
    time_limit: float = TIME_LIMIT


def _one(batch: Batch, seed: int) -> EpisodeResult:
    return run_episode(
        batch.task,
        batch.split,
        seed,
        batch.robot,
        POLICIES[batch.policy](seed),
        cell=cell_file.load(batch.cell),
        pace=Pace(batch.execution) if batch.execution else None,
        latency=batch.latency,
        render=batch.render,
        time_limit=batch.time_limit,
    )


def run_batch(batch: Batch, jobs: int = 1) -> Iterator[EpisodeResult]:
    """Results as they come; the same for any number of processes, but for their order."""
    seeds = range(batch.seed, batch.seed + batch.episodes)
    if jobs == 1:
        yield from (_one(batch, seed) for seed in seeds)
        return
    yield from on_all_cores(_one, [(batch, seed) for seed in seeds], jobs)


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Success rate with its interval, and what the episodes were like."""
    successes = sum(result.success for result in results)
    rate = success_rate(successes, len(results))
    done = [result.duration for result in results if result.success]
    return {
        "episodes": len(results),
        "successes": successes,
        "rate": rate.rate,
        "wilson_95": [rate.low, rate.high],
        "median_duration": float(np.median(done)) if done else None,
        "refused_chunks": sum(result.refused for result in results),
        "simulator_truth": any(result.simulator_truth for result in results),
    }


def _show(results: Sequence[EpisodeResult]) -> None:
    first, found = results[0], summary(results)
    low, high = found["wilson_95"]
    table = Table(
        title=f"{first.task} / {first.split} / {first.robot} / {first.execution}, {1000 * first.latency:.0f} ms"
    )
    for column in ("seed", "task", "outcome"):
        table.add_column(column)
    for column in ("s", "chunks"):
        table.add_column(column, justify="right")
    for result in results:
        mark = "[green]" if result.success else "[red]"
        table.add_row(
            str(result.seed), result.text, mark + result.outcome, f"{result.duration:.1f}", f"{result.chunks}"
        )
    console = Console()
    console.print(table)
    truth = " (reads the simulator's truth)" if found["simulator_truth"] else ""
    console.print(
        f"{first.policy}{truth}: {found['successes']} of {found['episodes']} succeeded, {100 * found['rate']:.0f} % "
        f"(95 % interval {100 * low:.0f}..{100 * high:.0f} %, Wilson)"
    )


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task", default="pick_and_place", choices=TASKS)
    parser.add_argument("--split", default="train", choices=SPLITS)
    parser.add_argument("--episodes", type=int, default=20, help="how many scenarios")
    parser.add_argument("--seed", type=int, default=0, help="the first scenario's seed; the others follow")
    parser.add_argument("--robot", default="virtual_ur5e")
    parser.add_argument("--policy", default=Demonstrator.name, choices=POLICIES)
    parser.add_argument("--execution", type=Mode, choices=Mode, help="default: the cell file's")
    parser.add_argument("--latency", type=float, default=LATENCY, help="declared [s], default %(default)s")
    parser.add_argument("--render", action="store_true", help="render the cameras even if the policy needs no image")
    parser.add_argument("--cell", type=Path, default=cell_file.VIRTUAL)
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="simulated time [s], default %(default)s")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Run the episodes, print what came of them; 0 even where the policy failed: that is a result."""
    options = {row.name: getattr(arguments, row.name) for row in dataclasses.fields(Batch)}
    batch = Batch(**options)
    results = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[good]} succeeded"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(f"{batch.task} / {batch.split} / {batch.robot}", total=batch.episodes, good=0)
        for result in run_batch(batch, arguments.jobs):
            results.append(result)
            progress.update(bar, advance=1, good=sum(r.success for r in results))
    results.sort(key=lambda result: result.seed)
    if arguments.json:
        print(json.dumps({"summary": summary(results), "episodes": [asdict(result) for result in results]}, indent=1))
    else:
        _show(results)
    return 0
