"""`kinema evaluate rollouts`: a policy acts in lockstep in the scenarios of the lists; the physics says how it went.

Scenarios are the same for every policy and setting, so that differences can be taken in pairs. What stands in the
results already is not done again; one process a core, one thread each.
"""

import argparse
import concurrent.futures
import math
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinema import cell_file, paths
from kinema.apps import evaluate_table, lockstep, trials
from kinema.apps.trials import LISTS, PURPOSES, Images, Rollout, Scene, Setting
from kinema.cell_file import Cell
from kinema.chunk import Image, Observation, Prediction
from kinema.control.messages import Mode
from kinema.control.settings import Execution
from kinema.errors import ConfigError
from kinema.interfaces import Policy
from kinema.policies import checkpoint, registry
from kinema.virtual.tasks import TASKS

TIME_LIMIT = 40.0  # [s] of simulated time
_CELL = "launch/cells/virtual.yaml"
_FRAME = 0.06  # [s] until a camera's image is there that is newer than the request for it


@dataclass(frozen=True, slots=True)
class Player:
    """How to make a policy again, in any process, and what is known of it beforehand.

    source      a checkpoint's folder or a policy's name; options: what else it is made with
    checkpoint  its hash, '' where there is nothing to load
    inference   mode of inference, '' where there is but one
    latency     [s] from observation to chunk; dt [s] between the steps of a chunk
    """

    source: str
    options: Mapping[str, str]
    policy: str
    checkpoint: str = ""
    inference: str = ""
    latency: float = lockstep.LATENCY
    dt: float = 1 / 30

    @staticmethod
    def of(source: str, inference: str = "", like: str = "") -> "Player":
        """By a folder or a name; `like` is the checkpoint from whose statistics chance draws.

        Raises CheckpointError for a folder that holds none, ConfigError naming the modes that it has.
        """
        if like:
            known = checkpoint.read(Path(like))
            return Player(source, {"like": like}, source, known.hash, dt=known.action.dt)
        if source in registry.POLICIES:
            return Player(source, {}, source)
        known = checkpoint.read(Path(source))
        mode = inference or next(iter(known.latency), "")
        if mode not in known.latency:
            raise ConfigError(f"{source}: has no mode of inference {mode!r}; allowed: {', '.join(known.latency)}")
        options, latency = (
            ({"mode": mode}, known.latency[mode]) if len(known.latency) > 1 else ({}, known.latency[mode])
        )
        return Player(source, options, known.kind, known.hash, options.get("mode", ""), latency, known.action.dt)

    def make(self, seed: int) -> Policy:
        return registry.make(self.source, seed=seed, **self.options)


class Altered:
    """A policy whose images are spoilt before it sees them, and of whose chunks so many steps may be played."""

    def __init__(self, policy: Policy, images: Images, executable: int, seed: int) -> None:
        self.name, self.spec = policy.name, policy.spec
        self._policy, self._images, self._executable, self._seed = policy, images, executable, seed

    def reset(self) -> None:
        self._policy.reset()

    def predict(self, observation: Observation) -> Prediction:
        if self._images != "normal":
            spoilt = {name: self._spoil(image, observation) for name, image in observation.images.items()}
            observation = replace(observation, images=spoilt)
        found = self._policy.predict(observation)
        if not self._executable:
            return found
        return replace(found, chunk=replace(found.chunk, executable=min(self._executable, len(found.chunk))))

    def _spoil(self, image: Image, observation: Observation) -> Image:
        """Black, or the same pixels at drawn places, others each time."""
        if self._images == "blanked":
            return np.zeros_like(image)
        rng = np.random.default_rng([self._seed, observation.stamp_ns])
        return rng.permutation(image.reshape(-1, 3)).reshape(image.shape)


def paced(cell: Cell, setting: Setting, dt: float) -> tuple[Cell, int]:
    """The cell that observes anew after `executed` steps, and how many steps of a chunk it may play for that.

    Stop and go plays exactly those. In overlap the next observation is taken while its predecessor's chunk is played;
    that chunk goes on until the next one joins, so it needs some steps more.
    """
    if not setting.executed:
        return cell, 0
    if setting.execution is Mode.STOP_AND_GO:
        return cell, setting.executed
    execution = cell.control.execution
    thinking = math.ceil(setting.latency / dt - 1e-6)  # steps that pass before the first of a chunk is played
    waiting = math.ceil((setting.latency + _FRAME) / dt - 1e-6)
    execution = replace(execution, replan_steps=max(setting.executed - thinking, 1))
    control = replace(cell.control, execution=execution)
    return cell.model_copy(update={"control": control}), setting.executed + waiting + execution.min_steps


def execution_of(latency: float, executed: int, dt: float, min_steps: int) -> Mode:
    """Overlap where the policy thinks faster than its chunk is played, else stop and go (docs/design.md)."""
    return Mode.OVERLAP if latency < (executed - min_steps) * dt else Mode.STOP_AND_GO


def play(player: Player, setting: Setting, scene: Scene, cell: Path) -> Rollout:
    """One rollout."""
    began = time.process_time()
    paced_cell, executable = paced(cell_file.load(cell), setting, player.dt)
    policy = Altered(player.make(scene.seed), setting.images, executable, scene.seed)
    result = lockstep.run_episode(
        scene.task,
        LISTS[scene.list],
        scene.seed,
        setting.robot,
        policy,
        cell=paced_cell,
        mode=setting.execution,
        latency=setting.latency,
        render=policy.spec.images and not policy.spec.simulator_truth,
        time_limit=setting.time_limit,
    )
    return Rollout(
        setting=setting,
        scene=scene,
        success=result.success,
        outcome=result.outcome,
        duration=result.duration,
        chunks=result.chunks,
        refused=result.refused,
        digest=result.digest,
        cpu=time.process_time() - began,
    )


def play_all(player: Player, wanted: Iterable[tuple[Setting, Scene]], cell: Path, jobs: int) -> Iterator[Rollout]:
    """Rollouts as they come; the same for any number of processes."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # of the processes to come: as many threads as cores in each of them would stand in line
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(jobs, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        futures = [pool.submit(play, player, setting, scene, cell) for setting, scene in wanted]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def settings(arguments: argparse.Namespace, player: Player, execution: Execution) -> list[Setting]:
    """Every combination that the command line asks for."""
    latency = player.latency if arguments.latency is None else arguments.latency
    rows = []
    for executed in arguments.executed:
        fit = execution_of(latency, executed, player.dt, execution.min_steps) if executed else execution.mode
        rows += [
            Setting(
                policy=player.policy,
                checkpoint=player.checkpoint,
                inference=player.inference,
                executed=executed,
                images=images,
                execution=arguments.execution or fit,
                latency=latency,
                robot=arguments.robot,
                time_limit=arguments.time_limit,
            )
            for images in arguments.images
        ]
    return rows


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", help="a checkpoint's folder, demonstrator, or random")
    parser.add_argument(
        "--like", default="", metavar="FOLDER", help="random moves like what this checkpoint learned from"
    )
    parser.add_argument("--inference", default="", help="single, few, paper: default: the checkpoint's first")
    parser.add_argument("--task", nargs="+", default=list(TASKS), choices=TASKS, help="default: all")
    parser.add_argument("--list", nargs="+", default=list(LISTS), choices=LISTS, help="default: all")
    parser.add_argument("--scenarios", type=int, default=100, help="of each list and task, default %(default)s")
    parser.add_argument("--purpose", default="report", choices=PURPOSES, help="other scenarios to choose settings by")
    parser.add_argument("--executed", nargs="+", type=int, default=[0], help="steps between observations, as 24 12 8")
    parser.add_argument("--images", nargs="+", default=["normal"], choices=("normal", "blanked", "shuffled"))
    parser.add_argument("--execution", type=Mode, choices=Mode, help="default: by the latency")
    parser.add_argument("--latency", type=float, help="declared [s]; default: the checkpoint's")
    parser.add_argument("--robot", default="virtual_ur5e")
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, help="simulated time [s], default %(default)s")
    parser.add_argument("--cell", type=Path, default=paths.root() / _CELL)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all cores)")
    parser.add_argument(
        "--results", type=Path, default=paths.root() / trials.RESULTS, help="folder, default %(default)s"
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what is missing, then show the table of this policy; 0 even where it failed: that is a result."""
    cell = cell_file.load(arguments.cell)
    cell.check_robot(arguments.robot)
    player = Player.of(arguments.policy, arguments.inference, arguments.like)
    chosen = settings(arguments, player, cell.control.execution)
    scenes = trials.scenes(arguments.task, arguments.list, arguments.purpose, arguments.scenarios)
    file = trials.results_file(arguments.results, chosen[0])
    standing = {(row.setting, row.scene): row for row in trials.read(file)}
    wanted = [(setting, scene) for setting in chosen for scene in scenes]
    missing = [pair for pair in wanted if pair not in standing]
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("{task.fields[good]} succeeded"), TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        good = sum(standing[pair].success for pair in wanted if pair in standing)
        bar = progress.add_task(chosen[0].policy, total=len(wanted), completed=len(wanted) - len(missing), good=good)
        for rollout in play_all(player, missing, arguments.cell, arguments.jobs):
            trials.append(file, rollout)
            standing[rollout.setting, rollout.scene] = rollout
            good += rollout.success
            progress.update(bar, advance=1, good=good)
    evaluate_table.show([standing[pair] for pair in wanted])
    return 0
