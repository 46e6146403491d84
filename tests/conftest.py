"""What every test shares: its own cell and ROS domain, deterministic hypothesis, and no process left behind."""

import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest

from kinema import paths

# Before a test imports mujoco or rclpy, which read these once.
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["KINEMA_CELL"] = f"test-{os.getpid()}"
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)  # 101 is the last domain whose ports are free on Linux
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

hypothesis.settings.register_profile("kinema", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.load_profile("kinema")

Start = Callable[..., subprocess.Popen]
WaitFor = Callable[..., object]


@pytest.hookimpl(trylast=True)  # after -m and -k have taken out what is not wanted
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if any(item.get_closest_marker("ros") for item in items) and not find_spec("kinema_interfaces"):
        raise pytest.UsageError("tests marked `ros` need the built workspace: run `make setup`, then `. tools/env.sh`")
    for item in items:
        if item.get_closest_marker("ros"):
            # where the cores are taken away for 30 ms the arm brakes, as it must: one more try, shown as a rerun
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """The session adopts orphans of its tests, removes the cell's files, and fails if a process outlives it."""
    _adopt_orphans()
    yield
    left = {pid: _command(pid) for pid in _descendants(os.getpid())}
    left = {pid: command for pid, command in left.items() if command and "multiprocessing." not in command}
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(paths.runtime())
    assert not left, f"processes outlived the tests: {left}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start processes as `subprocess.Popen` does; at the test's end each gets SIGINT, and SIGKILL if it stays."""
    started: list[subprocess.Popen] = []

    def popen(command: list[str], **options: object) -> subprocess.Popen:
        process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
        started.append(process)
        return process

    yield popen
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    for process in started:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def wait_for() -> WaitFor:
    """`wait_for(condition, timeout=30.0, what="…")`: poll until it is true; its value."""
    return _wait_for


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """`small_disk(room)`: an empty file system with room for so many bytes; skips where none may be mounted."""
    mounted: list[Path] = []

    def mount(room: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={room}", "kinema-test", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"no file system of its own can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _wait_for(condition: Callable[[], object], timeout: float = 30.0, what: str = "the condition") -> object:
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what} not seen within {timeout} s")
        time.sleep(0.02)
    return value


def _adopt_orphans() -> None:
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def _descendants(pid: int) -> list[int]:
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
    ]
    return children + [grandchild for child in children for grandchild in _descendants(child)]


def _command(pid: int) -> str:
    """The command line of a live process; empty for one that has ended and only waits to be reaped."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return ""
