"""The line protocol of the load cell's amplifier board: how lines are made, and how they are read. Pure.

A line is ASCII, `KIND,field,...*CRC` and a line feed; a carriage return before it is allowed. CRC is the CRC-32 of
IEEE 802.3 over everything before the asterisk, as eight upper-case hexadecimal digits.

    board to host   H,1,<serial>,<chip>,<rate>         who it is, after `?` and whenever it starts; rate in samples/s
                    D,<number>,<time>,<counts>         one conversion, 24 bits signed
                    E,<number>,<time>,<what>           no conversion came, and why
    host to board   ?                                  say who you are

<number> counts D and E lines, <time> are microseconds of the board's clock at the end of the conversion; both have 32
bits and wrap around. `firmware/load_cell/protocol.h` is the other end; a test holds the two together.

Whatever is not such a line is dropped and counted. Random bytes pass for a line once in four thousand million; a burst
of up to 32 wrong bits never does.
"""

import re
import zlib
from dataclasses import dataclass

VERSION = 1
HELLO = b"?\n"
COUNTS = -(1 << 23), (1 << 23) - 1  # of a 24 bit converter; at either end it is saturated

_LONGEST = 128  # [bytes] of a line; more without a line feed is dropped
_U32 = 1 << 32
_FRAME = re.compile(rb"([HDE],[ -)+-~]+)\*([0-9A-F]{8})\r?")
_WORD = r"[A-Za-z0-9_.-]{1,32}"
_BODIES = {
    "H": re.compile(rf"H,(\d{{1,3}}),({_WORD}),({_WORD}),(\d{{1,4}})"),
    "D": re.compile(r"D,(\d{1,10}),(\d{1,10}),(-?\d{1,7})"),
    "E": re.compile(rf"E,(\d{{1,10}}),(\d{{1,10}}),({_WORD})"),
}


@dataclass(frozen=True, slots=True)
class Hello:
    """Who the board is; `rate` [samples/s] as its converter is set."""

    version: int
    serial: str
    chip: str
    rate: int


@dataclass(frozen=True, slots=True)
class Conversion:
    """One conversion [counts], its number and the board's time [us] at its end."""

    number: int
    time_us: int
    counts: int


@dataclass(frozen=True, slots=True)
class Missing:
    """A conversion that did not come, and why."""

    number: int
    time_us: int
    what: str


Line = Hello | Conversion | Missing


def encode(line: Line) -> bytes:
    """The line as the board sends it."""
    match line:
        case Hello(version, serial, chip, rate):
            body = f"H,{version},{serial},{chip},{rate}"
        case Conversion(number, time_us, counts):
            body = f"D,{number % _U32},{time_us % _U32},{counts}"
        case Missing(number, time_us, what):
            body = f"E,{number % _U32},{time_us % _U32},{what}"
    return f"{body}*{zlib.crc32(body.encode()):08X}\r\n".encode()


def decode(raw: bytes) -> Line | None:
    """What a line without its line feed says; None for anything that is not whole."""
    frame = _FRAME.fullmatch(raw)
    if frame is None or zlib.crc32(frame[1]) != int(frame[2], 16):
        return None
    body = frame[1].decode("ascii")
    found = _BODIES[body[0]].fullmatch(body)
    if found is None:
        return None
    if body[0] == "H":
        return Hello(int(found[1]), found[2], found[3], int(found[4]))
    number, time_us = int(found[1]), int(found[2])
    if number >= _U32 or time_us >= _U32:
        return None
    if body[0] == "E":
        return Missing(number, time_us, found[3])
    counts = int(found[3])
    return Conversion(number, time_us, counts) if COUNTS[0] <= counts <= COUNTS[1] else None


class LineReader:
    """Bytes as they come to lines; `dropped` counts what was none. The piece before the first line feed counts not."""

    def __init__(self) -> None:
        self.dropped = 0
        self._piece = b""
        self._begun = False

    def feed(self, data: bytes) -> list[Line]:
        """The lines that these bytes complete, in order."""
        *pieces, rest = (self._piece + data).split(b"\n")
        if len(rest) > _LONGEST:
            self.dropped += 1
            rest = b"\0"  # so that what follows, up to the line feed, is no line
        self._piece = rest
        lines = []
        for piece in pieces:
            line = decode(piece)
            if line is not None:
                lines.append(line)
            elif self._begun:
                self.dropped += 1
            self._begun = True
        return lines
