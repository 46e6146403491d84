"""Where Kinema reads and writes: the checkout's root, and the run-time directory of one cell."""

import os
import tempfile
from pathlib import Path

from kinema.errors import ConfigError


def root() -> Path:
    """The folder that holds `calibration/`, `models/`, `launch/`, `urdf/`: $KINEMA_ROOT, else the editable checkout."""
    given = os.environ.get("KINEMA_ROOT")
    path = Path(given) if given else Path(__file__).resolve().parents[2]
    if not (path / "launch").is_dir():
        raise ConfigError(
            f"{path} is not a Kinema checkout (it has no launch/ folder); set KINEMA_ROOT to the folder that has one"
        )
    return path


def find(path: str | Path) -> Path:
    """A file or folder; a relative path that is not there is looked for below the checkout's root."""
    given = Path(path)
    return given if given.is_absolute() or given.exists() else root() / given


def runtime(cell: str | None = None) -> Path:
    """The directory of one running cell's sockets and rings, on memory where the system offers it; made if absent.

    `cell` names it; without a name $KINEMA_CELL is used, else the ROS domain, so that two cells never meet.
    """
    name = cell or os.environ.get("KINEMA_CELL") or f"domain{os.environ.get('ROS_DOMAIN_ID', '0')}"
    if "/" in name or name.startswith("."):
        raise ConfigError(f"cell name {name!r}: letters, digits, '-' and '_' are allowed")
    path = _user_memory() / name
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _user_memory() -> Path:
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
    path = base / f"kinema-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    return path
