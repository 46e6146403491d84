"""The virtual load cell's amplifier board: the cell's force as lines on a pty, as `firmware/load_cell` sends them.

What it is: our own protocol's other end, so it is exact; the converter's noise is the world's (noise.yaml), its 24 bits
are cut here. Time is the world's.
"""

import math
from pathlib import Path

from kinema import records
from kinema.calibration.files import ForceScale
from kinema.interfaces import ForceSample
from kinema.load_cell_lines import COUNTS, HELLO, VERSION, Conversion, Hello, Missing, encode
from kinema.ring import RingReader
from kinema.virtual.cameras import simulator_truth
from kinema.virtual.noise import load as load_noise
from kinema.virtual.pty_port import PtyPort

SERIAL = "VIRTUAL-LOAD-CELL"
RATE = 100  # [Hz] of the ring
SCALE = ForceScale(  # a 10 kg cell of 1 mV/V at gain 128: 2.1 million counts for 98 N, and a zero that is none
    unit="count",
    newtons=-4.6e-5,
    zero=81234.0,
    capacity=load_noise().load_cell.range,
    provenance=simulator_truth(SERIAL),
)


class Board:
    """One board on its port: says who it is when asked, and sends what it is given."""

    def __init__(self, link: Path, serial: str = SERIAL, scale: ForceScale = SCALE) -> None:
        self.port = PtyPort(link)
        self._hello = encode(Hello(VERSION, serial, "virtual", RATE))
        self._scale, self._number = scale, 0
        self._heard = b""

    def answer(self) -> None:
        """Whatever was asked since."""
        *questions, self._heard = (self._heard + self.port.read()).split(b"\n")
        for question in questions:
            if question.strip() == HELLO.strip():
                self.port.write(self._hello)

    def line(self, sample: ForceSample) -> bytes:
        """The next line: a force [N], not tared, as its conversion; a force that is none as a conversion missed."""
        number, time_us = self._number, sample.stamp_ns // 1000
        self._number += 1
        if math.isnan(sample.force):
            return encode(Missing(number, time_us, "silent"))
        low, high = COUNTS
        counts = min(max(round(self._scale.reading(sample.force)), low), high)
        if sample.saturated:
            counts = high if counts > 0 else low
        return encode(Conversion(number, time_us, counts))

    def restart(self) -> None:
        """As after a dip of its supply: it says who it is and counts from 0."""
        self._number = 0
        self.port.write(self._hello)

    def close(self) -> None:
        self.port.close()


class VirtualBoard:
    """A board that measures the cell whose rings are in `folder`; `step` passes on what is new."""

    def __init__(self, folder: Path, link: Path, serial: str = SERIAL) -> None:
        self.board = Board(link, serial)
        self._ring = RingReader(folder / "load_cell.ring", records.LOAD_CELL)
        self._last = self._ring.head

    def step(self) -> None:
        self.board.answer()
        for number, record in self._ring.since(self._last):
            self._last = number
            self.board.port.write(self.board.line(records.to_force_sample(record)))

    def close(self) -> None:
        self.board.close()
