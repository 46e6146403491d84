"""A whole deployment for a benchmark to look at: the launch file as a person starts it, in its own cell and domain."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from kinema import paths


def isolate() -> None:
    """Give this process and its children a cell and a ROS domain that nobody else has."""
    os.environ["KINEMA_CELL"] = f"benchmark-{os.getpid()}"
    os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)


@contextlib.contextmanager
def deployed(folder: Path, **arguments: object) -> Iterator[subprocess.Popen]:
    """The launch, ended in order when left. Its lines go to `folder`/launch.log."""
    folder.mkdir(parents=True, exist_ok=True)
    words = [f"{name}:={value}" for name, value in {"headless": "true", "run_dir": folder, **arguments}.items()]
    with (folder / "launch.log").open("w") as log:
        command = ["ros2", "launch", "policy_bringup", "deploy.launch.py", *words]
        process = subprocess.Popen(command, cwd=paths.root(), stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
            shutil.rmtree(paths.runtime())
    print(f"launch.log: {folder / 'launch.log'}", file=sys.stderr)
