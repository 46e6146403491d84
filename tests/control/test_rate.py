"""The set-up says what it got. Nothing here depends on how fast the machine is."""

import subprocess
import sys

import pytest

from kinema.control.rate import set_up_real_time
from kinema.errors import ConfigError


def test_the_set_up_says_what_was_granted() -> None:
    with pytest.raises(ConfigError, match=r"allowed is 1\.\.99"):
        set_up_real_time(0)
    script = (
        "import gc; from kinema.control.rate import set_up_real_time as s; print(s(1, 0)); print(gc.isenabled());"
        "print(gc.get_freeze_count() > 1000)"
    )
    granted, enabled, frozen = subprocess.check_output([sys.executable, "-c", script], text=True).splitlines()
    assert granted.startswith("garbage collector off, ")
    assert "SCHED_FIFO" in granted and "memory" in granted and "core 0" in granted
    assert (enabled, frozen) == ("False", "True")
