"""What a launch says: on the screen, and all of it in one file below the ROS log folder."""

import os
import platform
import sys
import time
from functools import cache
from pathlib import Path
from typing import TextIO


def info(who: str, text: str) -> None:
    _say("INFO", who, text, sys.stdout)


def warning(who: str, text: str) -> None:
    _say("WARNING", who, text, sys.stdout)


def error(who: str, text: str) -> None:
    _say("ERROR", who, text, sys.stderr)


def output(who: str, line: str, screen: bool) -> None:
    """One line that a process wrote."""
    _write(f"[{who}] {line}", sys.stdout if screen else None)


def folder() -> Path:
    """Where this launch logs, as the real one decides it: ROS_LOG_DIR, else ROS_HOME/log, else ~/.ros/log."""
    home = os.environ.get("ROS_HOME") or "~/.ros"
    base = Path(os.environ.get("ROS_LOG_DIR") or f"{home}/log").expanduser()
    return base / f"{_started()}-{platform.node()}-{os.getpid()}"


@cache
def _started() -> str:
    return time.strftime("%Y-%m-%d-%H-%M-%S")


@cache
def _file() -> TextIO:
    path = folder()
    path.mkdir(parents=True, exist_ok=True)
    return open(path / "launch.log", "a", buffering=1)


def _say(level: str, who: str, text: str, screen: TextIO) -> None:
    _write(f"[{level}] [{who}]: {text}", screen)


def _write(line: str, screen: TextIO | None) -> None:
    print(f"{time.time():.6f} {line}", file=_file())
    if screen is not None:
        print(line, file=screen, flush=True)
