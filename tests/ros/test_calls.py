"""Calls of services from within a callback: what waits in another thread ends with the node that it waits through."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS")

import rclpy
from std_srvs.srv import Trigger
from stereo_calibration.calls import Calls

from kinema.errors import DeviceError

pytestmark = pytest.mark.ros


def test_a_call_that_waits_in_a_thread_ends_when_its_node_is_closed_and_none_begins_after():
    rclpy.init()
    try:
        calls, told = Calls("nobody", "/"), []

        def call() -> None:
            try:
                calls.call(Trigger, "a_service_that_is_not_there", 300.0)
            except DeviceError as error:
                told.append(str(error))

        waiting = [threading.Thread(target=call) for _ in range(2)]
        for thread in waiting:
            thread.start()
        time.sleep(0.2)
        assert not told
        calls.close()
        for thread in waiting:
            thread.join(timeout=30.0)
        assert told == ["the node that calls is closed"] * 2
        with pytest.raises(DeviceError, match="is closed"):
            calls.call(Trigger, "a_service_that_is_not_there", 300.0)
    finally:
        rclpy.shutdown()
