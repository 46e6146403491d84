"""The Phidget backend: Phidgets' own library, as far as it goes without a bridge; bridges are for hardware tests.

Nothing simulates a Phidget: what a bridge would send is handed to the library's callbacks by the test.
"""

import os
import time

import numpy as np
import pytest

from kinema.calibration.files import ForceScale
from kinema.devices import phidget_load_cell
from kinema.devices.bridge import Bridge
from kinema.devices.ownership import claim
from kinema.devices.phidget_load_cell import PhidgetLoadCell
from kinema.errors import ConfigError, DeviceError, OwnershipError
from kinema.virtual.cameras import simulator_truth
from kinema.virtual.load_cell import SCALE

RATIO = ForceScale(unit="V/V", newtons=9.8e4, zero=2.0e-5, capacity=98.0, provenance=simulator_truth("123456"))


def test_a_bridge_that_is_not_there_is_an_error_with_a_remedy_and_lets_go_of_everything():
    for _ in range(2):  # the first has let go of its claim
        with pytest.raises(
            DeviceError, match=r"bridge 123456, channel 1: .*\(Phidget22 code 3\); look after its cable"
        ):
            PhidgetLoadCell("123456", RATIO, channel=1, attach=0.05)


def test_f21_the_second_opener_is_told_who_has_it():
    held = claim("phidget-123456-0")
    with pytest.raises(OwnershipError, match=rf"phidget-123456-0 belongs to .*process {os.getpid()}"):
        PhidgetLoadCell("123456", RATIO, attach=0.05)
    held.close()


def test_what_is_no_phidget_is_refused():
    with pytest.raises(ConfigError, match="calibration is in count, this bridge reads V/V"):
        PhidgetLoadCell("123456", SCALE)
    with pytest.raises(ConfigError, match="'LC-1': a Phidget's serial number has digits only"):
        PhidgetLoadCell("LC-1", RATIO)


@pytest.fixture
def cell(monkeypatch):
    """The backend with its channel opened, no bridge attached."""
    monkeypatch.setattr(PhidgetLoadCell, "_open", lambda self, channel, attach: None)
    monkeypatch.setattr(phidget_load_cell.VoltageRatioInput, "getMinVoltageRatio", lambda self: -1.0)
    monkeypatch.setattr(phidget_load_cell.VoltageRatioInput, "getMaxVoltageRatio", lambda self: 1.0)
    cell = PhidgetLoadCell("123456", RATIO)
    monkeypatch.undo()
    yield cell
    cell.close()


def test_f14_ratios_become_forces_and_saturation_is_told(cell):
    rng = np.random.default_rng(0)
    for _ in range(40):
        cell._changed(None, RATIO.reading(3.0 + 0.01 * rng.standard_normal()))
    forces = [cell.read(0.0).force for _ in range(40)]
    assert forces == pytest.approx([3.0] * 40, abs=0.1)
    assert cell.tare() == pytest.approx(3.0, abs=0.02)
    cell._changed(None, RATIO.reading(5.0))
    sample = cell.read(0.0)
    assert sample.tared and sample.force == pytest.approx(2.0, abs=0.05) and not sample.saturated
    cell._troubled(None, phidget_load_cell.ErrorEventCode.EEPHIDGET_SATURATION, "saturated")
    sample = cell.read(0.0)
    assert sample.saturated and np.isfinite(sample.force)


def test_f13_unplugged_it_says_so_and_back_again_it_is_untared(cell):
    with pytest.raises(DeviceError, match="bridge 123456 is unplugged"):
        cell.read(0.01)
    for k in range(40):
        cell._changed(None, RATIO.reading(1.0 + 1e-3 * k))
        cell.read(0.0)
    cell.tare()
    cell._put(phidget_load_cell._BACK)
    assert cell.read(0.0) is None
    cell._changed(None, RATIO.reading(1.0))
    assert not cell.read(0.0).tared


def test_a_reader_that_is_late_finds_the_newest(cell):
    for k in range(1000):
        cell._changed(None, RATIO.reading(0.001 * k))
    forces = []
    while cell._readings.qsize():
        forces.append(cell.read(0.0).force)
    assert len(forces) == 256 and forces[-1] == pytest.approx(0.999)


def test_the_bridge_is_the_same_for_every_amplifier():
    bridge = Bridge(RATIO, (-1e-3, 1e-3))
    assert bridge.take(0, 1e-3).saturated and not bridge.take(1, 5e-4).saturated


@pytest.mark.hardware
def test_a_real_bridge_sends_eighty_samples_a_second():
    serial = os.environ.get("KINEMA_TEST_PHIDGET")
    if not serial:
        pytest.skip("needs a Phidget bridge: name its serial number in $KINEMA_TEST_PHIDGET")
    cell, began = PhidgetLoadCell(serial, RATIO), time.monotonic()
    samples = [cell.read(1.0) for _ in range(400)]
    cell.close()
    assert sum(s is not None for s in samples) >= 398 and time.monotonic() - began < 5.0
