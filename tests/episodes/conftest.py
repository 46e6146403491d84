"""A small file system of its own, for tests that fill a disk."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def full_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """`full_disk(room)`: an empty file system with room for so many bytes; skips where none may be mounted."""
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
