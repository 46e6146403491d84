"""`kinema episodes`: what can be done with recorded episodes, from one table of commands."""

import argparse

from kinema.apps.cli import add_commands

# name -> module with `configure(parser) -> None` and `run(arguments) -> int`, what it does
COMMANDS: dict[str, tuple[str, str]] = {
    "list": ("kinema.apps.episodes_list", "what is there, and whether it may be used"),
    "show": ("kinema.apps.episodes_show", "draw an episode: a sheet of its pictures, and plots of its streams"),
    "check": ("kinema.apps.episodes_check", "measure quality again, and what an arm would make of it"),
    "recover": ("kinema.apps.episodes_recover", "make episodes whole whose recorder was killed"),
    "trim": ("kinema.apps.episodes_trim", "set the useful interval of an episode; nothing is cut off its bag"),
    "export": ("kinema.apps.episodes_export", "make a training set of episodes"),
    "label": ("kinema.apps.episodes_label", "read the actions of videos from their images"),
    "replay": ("kinema.apps.episodes_replay", "let the robot do what was demonstrated"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    add_commands(parser, COMMANDS)
