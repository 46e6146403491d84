"""`kinema pusht`: a benchmark whose environment nobody here wrote, from one table of commands."""

import argparse

from kinema.apps.cli import add_commands

# name -> module with `configure(parser) -> None` and `run(arguments) -> int`, what it does
COMMANDS: dict[str, tuple[str, str]] = {
    "demonstrations": (
        "kinema.apps.pusht_demonstrations",
        "have an expert push, which reads the environment's truth, and write shards to learn from",
    ),
    "ground": (
        "kinema.apps.pusht_ground",
        "teach an image encoder where block and agent are, by the environment's truth",
    ),
    "evaluate": ("kinema.apps.pusht_evaluate", "let a checkpoint push by the benchmark's own seeds and score"),
    "table": ("kinema.apps.pusht_table", "mean scores of what was evaluated"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS)
