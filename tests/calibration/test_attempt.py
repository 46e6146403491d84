"""A solver in a thread: who asked goes on, and is told what came of it, whatever that is."""

import threading

import pytest

from kinema.calibration.attempt import Attempt
from kinema.errors import CalibrationError, DeviceError


def test_it_runs_while_others_go_on_and_its_result_is_there_once_it_is_over():
    go_on = threading.Event()
    attempt = Attempt(lambda: go_on.wait(30.0))
    assert not attempt.over
    go_on.set()
    assert attempt.result() is True and attempt.over


def refuse(error: Exception) -> None:
    raise error


def test_what_the_job_refuses_is_refused():
    with pytest.raises(DeviceError, match="has not answered"):
        Attempt(lambda: refuse(DeviceError("jaw_tracker has not answered"))).result()


def test_any_other_failure_is_a_refusal_too_and_names_itself():
    with pytest.raises(CalibrationError, match=r"the solver has failed \(TypeError: a float\)"):
        Attempt(lambda: refuse(TypeError("a float"))).result()
