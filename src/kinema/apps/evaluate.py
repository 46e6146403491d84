"""`kinema evaluate`: what a policy can do in the virtual cell, from one table of commands."""

import argparse

from kinema.apps.cli import add_commands

# name -> module with `configure(parser) -> None` and `run(arguments) -> int`, what it does
COMMANDS: dict[str, tuple[str, str]] = {
    "rollouts": (
        "kinema.apps.evaluate_rollouts",
        "let a policy act in the scenarios of the lists, and keep what came of it",
    ),
    "video": ("kinema.apps.evaluate_video", "hold the video that a policy imagines against what then happens"),
    "divergence": (
        "kinema.apps.evaluate_divergence",
        "learn what a policy's imagination usually differs by, and show what is noticed by it",
    ),
    "table": ("kinema.apps.evaluate_table", "success rates of what was rolled out, and paired differences"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS)
