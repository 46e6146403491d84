"""The serial load cell on the wire: the real driver and pyserial on a pty, the virtual board at its other end."""

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from kinema import paths, records
from kinema.calibration.load_cell import calibrate, load_point, newtons, uncalibrated
from kinema.clock import now_ns
from kinema.devices.serial_load_cell import SerialLoadCell
from kinema.errors import ConfigError, DeviceError, OwnershipError
from kinema.interfaces import ForceSample
from kinema.ring import RingWriter
from kinema.virtual.load_cell import SCALE, SERIAL, Board, VirtualBoard

PERIOD_NS = 12_500_000

CELL = ("--cell", "launch/cells/virtual_ur5e.yaml", "--robot", "virtual_ur5e")


class Bench:
    """A board, and the driver at it; the test moves the board's time."""

    def __init__(self, folder):
        self.board = Board(folder / "load_cell.tty")
        self.rng = np.random.default_rng(0)
        self.t_ns = now_ns() - 10**9
        self.cell = self.connect()

    def connect(self, serial=SERIAL, **options):
        return self._answering(lambda: SerialLoadCell(serial, self.board.port.link, SCALE, **options))

    def _answering(self, call):
        """The call's value, the board answering meanwhile."""
        found = []

        def caught():
            try:
                found.append(call())
            except DeviceError as error:
                found.append(error)

        thread = threading.Thread(target=caught)
        thread.start()
        while thread.is_alive():
            self.board.answer()
            time.sleep(0.001)
        if isinstance(found[0], DeviceError):
            raise found[0]
        return found[0]

    def lines(self, forces, saturated=False):
        for force in forces:
            self.t_ns += PERIOD_NS
            noisy = force + 0.01 * self.rng.standard_normal()
            yield self.board.line(ForceSample(self.t_ns, noisy, saturated, False))

    def send(self, forces, **options):
        for line in self.lines(forces, **options):
            self.board.port.write(line)

    def samples(self):
        """Everything that the driver makes of what was sent."""
        found = []
        while (sample := self.cell.read(0.05)) is not None:
            found.append(sample)
        return found

    def close(self):
        self.cell.close()
        self.board.close()


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def test_forces_come_as_they_are_and_a_burst_keeps_the_time_between_them(bench):
    bench.send([0.0])
    (first,) = bench.samples()
    time.sleep(60 * PERIOD_NS * 1e-9)  # then 60 conversions come at once, as after a stall of the reader
    bench.send(np.linspace(0.0, 50.0, 60))
    samples = bench.samples()
    assert [s.force for s in samples] == pytest.approx(np.linspace(0.0, 50.0, 60), abs=0.06)
    stamps = np.array([first.stamp_ns, *(s.stamp_ns for s in samples)])
    assert np.abs(np.diff(stamps) - PERIOD_NS).max() <= 1000
    assert not any(s.saturated or s.tared for s in samples)
    assert bench.cell.gaps == bench.cell.dropped == 0


def test_a_stamp_is_earlier_than_arrival_by_the_latency(tmp_path):
    bench = Bench(tmp_path)
    bench.cell.close()
    bench.cell = bench.connect(latency=0.5)
    bench.send([1.0])
    (sample,) = bench.samples()
    assert 0.5 <= (now_ns() - sample.stamp_ns) * 1e-9 < 0.5 + 5.0
    bench.close()


def test_thirty_percent_garbage_costs_samples_and_no_wrong_value(bench):
    forces = np.random.default_rng(1).uniform(-5.0, 90.0, 1500)
    rng, samples, whole = np.random.default_rng(2), [], []
    for force, line in zip(forces, bench.lines(forces), strict=True):
        sent = _spoilt(line, rng) if whole and rng.random() < 0.3 else line
        if sent == line:
            whole.append(force)
        bench.board.port.write(sent)
        samples += _ready(bench.cell)
    samples += bench.samples()
    assert 0.65 * len(forces) < len(whole) < 0.75 * len(forces)
    assert [s.force for s in samples] == pytest.approx(whole, abs=0.06)
    assert bench.cell.gaps == len(forces) - len(whole) - _trailing(whole, forces)
    assert bench.cell.dropped >= bench.cell.gaps


def _spoilt(line, rng):
    """A line as a bad wire delivers it; its line feed stays."""
    broken = bytearray(line)
    match rng.integers(6):
        case 0:  # flipped bits
            for place in rng.integers(0, len(line) - 2, rng.integers(1, 4)):
                broken[place] ^= 1 << int(rng.integers(8))
        case 1:  # a piece is lost
            cut = int(rng.integers(0, len(line) - 4))
            del broken[cut : cut + int(rng.integers(1, 4))]
        case 2:  # digits of another line
            broken[2:6] = b"9999"
        case 3:
            return rng.bytes(30).replace(b"\n", b"x") + b"\n"
        case 4:
            return b"D,1,1,5*00000000\r\n"
        case 5:
            return b"x" * 3000 + b"\n"
    return bytes(broken)


def _ready(cell):
    found = []
    while (sample := cell.read(0.0)) is not None:
        found.append(sample)
    return found


def _trailing(whole, forces):
    """How many at the end were spoilt: a gap is known only by what follows it."""
    return len(forces) - 1 - int(np.flatnonzero(forces == whole[-1])[0])


def test_taring_takes_the_present_load_for_zero(bench):
    with pytest.raises(DeviceError, match="0 samples came"):
        bench.cell.tare()
    bench.send([3.0] * 40)
    bench.samples()
    assert bench.cell.tare() == pytest.approx(3.0, abs=0.02)
    bench.send([5.0])
    (sample,) = bench.samples()
    assert sample.tared and sample.force == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize(
    ("forces", "words"),
    [
        (np.linspace(0.0, 5.0, 40), "the force moves by"),
        ([60.0] * 40, "would be taken for zero; open the jaw"),
        ([120.0] * 40, "saturated or reads no number"),
        ([0.0] * 39 + [np.nan], "saturated or reads no number"),
    ],
)
def test_f14_what_may_not_be_taken_for_zero(bench, forces, words):
    bench.send(forces)
    bench.samples()
    with pytest.raises(DeviceError, match=words):
        bench.cell.tare()


def test_f14_saturation_no_number_and_a_stuck_converter_are_told(bench):
    bench.send([1.0])
    bench.send([50.0], saturated=True)
    bench.send([120.0, np.nan, 2.0])
    fine, at_end, beyond, none, after = bench.samples()
    assert [s.saturated for s in (fine, at_end, beyond, none, after)] == [False, True, True, False, False]
    assert np.isnan(none.force) and after.force == pytest.approx(2.0, abs=0.06)
    bench.rng = _Noiseless()
    bench.send([4.0] * 30)
    assert np.isnan([s.force for s in bench.samples()]).tolist() == [False] * 19 + [True] * 11


class _Noiseless:
    def standard_normal(self):
        return 0.0


def test_f13_a_silent_board_gives_nothing_and_is_tried_again(bench):
    bench.send([1.0])
    assert len(bench.samples()) == 1
    with pytest.raises(DeviceError, match="is silent; the port is opened anew"):
        while True:
            bench.cell.read(0.1)
    bench._answering(lambda: bench.cell.read(0.2))
    bench.send([2.0])
    assert bench.cell.read(2.0).force == pytest.approx(2.0, abs=0.1)


def test_f13_unplugged_and_plugged_in_again_it_goes_on_untared(bench):
    bench.send([0.0] * 40)
    bench.samples()
    bench.cell.tare()
    bench.board.port.unplug()
    with pytest.raises(DeviceError, match=r"load_cell.tty has gone"):
        bench.cell.read(1.0)
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"cannot be opened .*plug it in"):
            bench.cell.read(0.0)
    bench.board.port.plug()
    bench._answering(lambda: bench.cell.read(0.2))
    bench.send([7.0])
    sample = bench.cell.read(2.0)
    assert sample.force == pytest.approx(7.0, abs=0.06) and not sample.tared


def test_a_board_that_restarts_is_untared(bench):
    bench.send([0.0] * 40)
    bench.samples()
    bench.cell.tare()
    bench.board.restart()
    bench.t_ns = 0
    bench.send([1.0, 1.0])
    samples = bench.samples()
    assert [s.tared for s in samples] == [False, False]
    assert abs(now_ns() - samples[-1].stamp_ns) < 10 * 10**9


def test_f21_the_second_opener_is_told_who_has_it(bench):
    with pytest.raises(OwnershipError, match=r"load_cell.tty belongs to .*process \d+"):
        bench.connect()


def test_another_board_and_another_calibration_are_refused(bench):
    bench.cell.close()
    with pytest.raises(DeviceError, match=r"there is 'VIRTUAL-LOAD-CELL', the cell file says 'LC-2'"):
        bench.connect("LC-2")
    ratio = SCALE.model_copy(update={"unit": "V/V"})
    with pytest.raises(ConfigError, match="calibration is in V/V, this board reads counts"):
        SerialLoadCell(SERIAL, bench.board.port.link, ratio)
    bench.cell = bench.connect()  # both left the port free


def test_the_virtual_board_measures_the_cell(tmp_path):
    ring = RingWriter(tmp_path / "load_cell.ring", records.LOAD_CELL, 64)
    board = VirtualBoard(tmp_path, tmp_path / "load_cell.tty")
    stopped = threading.Event()

    def run():
        while not stopped.is_set():
            board.step()
            time.sleep(0.001)

    thread = threading.Thread(target=run)
    thread.start()
    cell = SerialLoadCell(SERIAL, tmp_path / "load_cell.tty", SCALE)
    for k, force in enumerate((1.5, np.nan, 30.0)):
        ring.write(np.array((k * 10**7, force, force == 30.0, False), records.LOAD_CELL))
    samples = [cell.read(5.0) for _ in range(3)]
    stopped.set()
    thread.join()
    assert samples[0].force == pytest.approx(1.5, abs=1e-3) and np.isnan(samples[1].force) and samples[2].saturated
    cell.close()
    board.close()
    ring.close()


@pytest.mark.slow
def test_the_boards_process_serves_its_port_and_takes_it_along(start, wait_for):
    folder = paths.runtime()
    port = folder / "load_cell.tty"
    ring = RingWriter(folder / "load_cell.ring", records.LOAD_CELL, 64)
    board = start([sys.executable, "-m", "kinema.apps.load_cell_board", *CELL])
    wait_for(port.exists, what="the port")
    cell = SerialLoadCell(SERIAL, port, SCALE)
    ring.write(np.array((1, 2.5, False, False), records.LOAD_CELL))
    assert cell.read(20.0).force == pytest.approx(2.5, abs=1e-3)
    board.terminate()
    assert board.wait(20) == 0 and not port.exists()
    with pytest.raises(DeviceError, match=r"load_cell\.tty has gone"):
        cell.read(5.0)
    cell.close()
    ring.close()


def test_an_amplifier_is_read_without_a_calibration_to_make_one(bench):
    today = SCALE.provenance.date
    raw = uncalibrated("count", SERIAL, today)
    bench.cell.use(raw, 0.0)
    with pytest.raises(DeviceError, match="0 samples came within the last 1 s"):
        bench.cell.readings()
    points = []
    for grams in (0, 2000, 5000, 2000, 0):
        bench.t_ns = now_ns()
        bench.send([newtons(grams)] * 40)
        assert not any(sample.saturated for sample in bench.samples())
        points.append(load_point(newtons(grams), bench.cell.readings()))
    scale = calibrate(points, "count", SCALE.capacity, SERIAL, today)
    assert scale.newtons == pytest.approx(SCALE.newtons, rel=1e-3)
    bench.cell.use(scale, 0.0)
    bench.send([3.0])
    (sample,) = bench.samples()
    assert sample.force == pytest.approx(3.0, abs=0.05) and not sample.tared
    with pytest.raises(ConfigError, match=r"calibration is in V/V, this board reads counts"):
        bench.cell.use(uncalibrated("V/V", SERIAL, today), 0.0)


@pytest.mark.hardware
def test_a_real_board_sends_eighty_whole_samples_a_second():
    serial, port = (os.environ.get(f"KINEMA_TEST_LOAD_CELL{what}") for what in ("", "_PORT"))
    if not serial or not port:
        pytest.skip("needs a load cell: its serial number in $KINEMA_TEST_LOAD_CELL, its port in $…_LOAD_CELL_PORT")
    cell, began = SerialLoadCell(serial, Path(port), SCALE), time.monotonic()
    samples = [cell.read(1.0) for _ in range(400)]
    cell.close()
    assert None not in samples and time.monotonic() - began < 5.5
    assert cell.gaps == cell.dropped == 0
    assert np.isfinite([sample.force for sample in samples]).all()
