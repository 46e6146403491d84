"""`kinema pusht evaluate`: a checkpoint pushes in gym-pusht; the score is the benchmark's own.

Of each seed the largest coverage over 0.95, at most 1, within 300 steps (Chi et al. 2023). The environment waits while
the policy thinks, as published. What stands in the results already is not done again. Somebody else may choose among
several of the policy's chunks (`kinema.apps.pusht_choice`).
"""

import argparse
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kinema import paths
from kinema.apps import pusht_choice, pusht_table, pusht_trials
from kinema.apps.cli import positive
from kinema.apps.pusht_choice import TRIALS, Imagining, Trying
from kinema.apps.pusht_trials import FIRST_SEED, LOOKS, Episode, PushTSetting
from kinema.apps.rollouts import Player
from kinema.errors import ConfigError
from kinema.interfaces import Policy
from kinema.pusht import client, plane
from kinema.pusht.client import PushT
from kinema.pusht.demonstration import demonstrate, score
from kinema.pusht.memory import Memory

EXPERT = "expert"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("policy", help=f"a checkpoint's folder, random, or {EXPERT}, which reads the truth")
    parser.add_argument(
        "--like", default="", metavar="FOLDER", help="random moves like what this checkpoint learned from"
    )
    parser.add_argument("--inference", default="", help="as action, full:1; default: the checkpoint's first")
    parser.add_argument("--seeds", type=positive, default=50, help="how many, default %(default)s")
    parser.add_argument("--first", type=int, default=FIRST_SEED, help="default %(default)s, as published")
    parser.add_argument("--look", nargs="+", default=["normal"], choices=LOOKS, help="what is painted otherwise")
    parser.add_argument(
        "--executed", nargs="+", type=int, default=[0], help="steps between observations, as 4 8; 0: its own"
    )
    parser.add_argument("--candidates", type=positive, default=1, help="chunks to choose among, default %(default)s")
    parser.add_argument(
        "--choose-by",
        default="",
        metavar="WHO",
        help=f"folder of a checkpoint of UVA, which imagines what comes of each, or what tries it: {', '.join(TRIALS)}",
    )
    parser.add_argument("--choose-inference", default="", metavar="MODE", help="of who chooses, as --inference")
    parser.add_argument(
        "--results", type=Path, default=paths.root() / pusht_trials.RESULTS, help="folder, default %(default)s"
    )


def settings(
    arguments: argparse.Namespace, chooser: Trying | Imagining | None
) -> tuple[Player | None, list[PushTSetting]]:
    """Every combination that the command line asks for; raises ConfigError for more steps than may be executed."""
    if arguments.policy == EXPERT:
        if chooser:
            raise ConfigError(f"{EXPERT} proposes no chunks, so there is nothing for {arguments.choose_by} to choose")
        return None, [PushTSetting(EXPERT, "", "", 0, look, client.VERSION) for look in arguments.look]
    player = Player.of(arguments.policy, arguments.inference, arguments.like)
    rows, choosing = [], chooser.choosing if chooser else None
    for executed in (wanted or player.executed or player.executable for wanted in arguments.executed):
        if not 1 <= executed <= player.executable:
            raise ConfigError(f"{arguments.policy}: {executed} steps executed; allowed: 1..{player.executable}")
        rows += [
            PushTSetting(player.policy, player.checkpoint, player.inference, executed, look, client.VERSION, choosing)
            for look in arguments.look
        ]
    return player, rows


def play(env: PushT, policy: Policy, setting: PushTSetting, seed: int) -> Episode:
    """One episode of a policy."""
    policy.reset()
    began, thought, steps, chunks = time.process_time(), 0.0, 0, 0
    moment = env.reset(seed, LOOKS[setting.look])
    still = coverage = moment.coverage
    memory = Memory(policy.spec, moment.image, moment.agent)
    while not moment.over:
        asked = time.monotonic()
        chunk = policy.predict(memory.observation()).chunk
        thought += time.monotonic() - asked
        chunks += 1
        for target in plane.targets(chunk)[: setting.executed]:
            moment = env.step(target)
            memory.add(moment.image, target)
            coverage, steps = max(coverage, moment.coverage), steps + 1
            if moment.over:
                break
    cpu = time.process_time() - began
    return _episode(setting, seed, coverage, still, steps, chunks, cpu, thought / chunks)


def demonstrated(env: PushT, setting: PushTSetting, seed: int) -> Episode:
    """One episode of the expert."""
    began = time.process_time()
    found = demonstrate(env, seed, LOOKS[setting.look])
    return _episode(
        setting, seed, found.coverage, found.still, len(found.targets) - 1, 0, time.process_time() - began, 0.0
    )


def _episode(
    setting: PushTSetting,
    seed: int,
    coverage: float,
    still: float,
    steps: int,
    chunks: int,
    cpu: float,
    thought: float,
) -> Episode:
    """Coverage is rounded: gym-pusht's is the same from run to run but for the last bit."""
    covered, first = round(coverage, 9), round(score(still), 9)
    return Episode(
        setting, seed, round(score(covered), 9), covered, first, steps, chunks, round(cpu, 3), round(thought, 4)
    )


def run(arguments: argparse.Namespace) -> int:
    """Do what is missing, then show the table; 0 whatever the score: that is a result."""
    chooser = pusht_choice.chooser(arguments.choose_by, arguments.candidates, arguments.choose_inference)
    player, chosen = settings(arguments, chooser)
    file = pusht_trials.results_file(arguments.results, chosen[0])
    standing = {(row.setting, row.seed): row for row in pusht_trials.read(file)}
    wanted = [(setting, arguments.first + i) for i in range(arguments.seeds) for setting in chosen]
    missing = [pair for pair in wanted if pair not in standing]
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        *(TextColumn("score {task.fields[score]:.3f}"), TimeElapsedColumn(), TimeRemainingColumn()),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress, PushT() as env:
        bar = progress.add_task(chosen[0].policy, total=len(wanted), completed=len(wanted) - len(missing), score=0.0)
        for setting, seed in missing:
            made = player.make(seed) if player else None
            if made and chooser:
                made = chooser.guide(made, env, seed)
            found = play(env, made, setting, seed) if made else demonstrated(env, setting, seed)
            pusht_trials.append(file, found)
            standing[setting, seed] = found
            seen = [standing[pair].score for pair in wanted if pair in standing]
            progress.update(bar, advance=1, score=float(np.mean(seen)))
    pusht_table.show([standing[pair] for pair in wanted])
    return 0
