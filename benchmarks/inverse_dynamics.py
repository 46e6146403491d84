"""Actions that a UVA reads from images, against the simulator's truth ("Unified Video Action Model", section VIII).

    python benchmarks/inverse_dynamics.py runs/uva/checkpoint --scenarios 20

A person demonstrates in scenarios that nobody has learned from; what the cameras see is what the network gets, and no
sensor stands between its answer and the truth. `still` is the error of whoever says that the tool doesn't move.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from films import demonstrate, pictures, truth
from rich.console import Console
from rich.progress import track
from rich.table import Table

from kinema.apps.trials import LISTS, PURPOSES
from kinema.perception.align import sized
from kinema.policies import checkpoint
from kinema.policies.uva import dynamics, policy
from kinema.training.measures import path_errors
from kinema.virtual import scenario, scene
from kinema.virtual.cameras import SIZES
from kinema.virtual.tasks import SHIPPED, TASKS


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="folder of a UVA that has learned all its tasks")
    parser.add_argument("--task", nargs="+", default=SHIPPED, choices=TASKS)
    parser.add_argument("--list", default="seen", choices=LISTS)
    parser.add_argument("--scenarios", type=int, default=20, help="of each task, default %(default)s")
    asked = parser.parse_args()
    facts, model = checkpoint.read(asked.checkpoint), policy.network(asked.checkpoint)
    space, (width, height) = facts.action, facts.image_size
    seen = next((size for size in SIZES if size[0] * height == size[1] * width and size[0] >= 2 * width), None)
    if seen is None:
        allowed = ", ".join(f"{w // 2}x{h // 2}" for w, h in SIZES)
        parser.error(f"{asked.checkpoint} sees {width}x{height} px; allowed is half of what a camera gives: {allowed}")
    read, still = list[Mapping[str, float]](), list[Mapping[str, float]]()
    work = [(task, PURPOSES["report"] + k) for task in asked.task for k in range(asked.scenarios)]
    for task, seed in track(work, "reading", console=Console(stderr=True)):
        drawn = scenario.draw(task, LISTS[asked.list], seed)
        shown = demonstrate(drawn, round(space.dt / scene.TIMESTEP))
        if shown.gave_up:
            continue
        images = pictures(shown, range(len(shown.snapshots)), facts.cameras, seen)
        small = np.array([[sized(image, facts.image_size, "") for image in view] for view in images])
        states = truth(shown)
        found = dynamics.infer(model, space, small.swapaxes(0, 1), drawn.text, seed)
        read.append(path_errors(space, found, states))
        still.append(path_errors(space, np.broadcast_to(states[:1], states.shape), states))
    table = Table("", "position cm", "rotation degrees")
    for name, rows in (("read", read), ("still", still)):
        position, rotation = ([row[key] for row in rows] for key in ("position_mm", "rotation_deg"))
        table.add_row(name, f"{np.mean(position) / 10:.2f}", f"{np.mean(rotation):.2f}")
    console = Console(width=120)
    console.print(table)
    console.print(
        f"{len(read)} demonstrations of {len(work)} that the person managed, {', '.join(asked.task)}, list {asked.list}"
    )


if __name__ == "__main__":
    main()
