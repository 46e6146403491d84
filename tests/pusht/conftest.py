"""gym-pusht for whoever needs it; where it isn't, their tests are skipped."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kinema import paths
from kinema.pusht.client import PushT


@pytest.fixture(scope="session")
def gym_pusht() -> None:
    if not Path(os.environ.get("KINEMA_PUSHT_PYTHON") or paths.root() / ".venv-pusht/bin/python").exists():
        pytest.skip("gym-pusht's environment is not there; `make pusht` makes it")


@pytest.fixture(scope="module")
def env(gym_pusht) -> Iterator[PushT]:
    with PushT() as made:
        yield made
