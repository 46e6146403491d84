"""The board's firmware, compiled for this machine with an HX711 on its pins: its lines are those that the driver reads.

Flashed on a board it has not been by this test; `arduino-cli` or the Arduino IDE compile the same files for one.
"""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from kinema.load_cell_lines import COUNTS, VERSION, Conversion, Hello, LineReader, Missing, encode
from kinema.paths import root

SKETCH = root() / "firmware" / "load_cell"
BENCH = Path(__file__).parent / "firmware_bench"


@pytest.fixture(scope="module")
def firmware(tmp_path_factory):
    compiler = shutil.which("g++") or shutil.which("c++")
    assert compiler, "a C++ compiler is needed (make setup asks for it)"
    program = tmp_path_factory.mktemp("firmware") / "load_cell"
    includes = [f"-I{BENCH}", f"-I{SKETCH}"]
    subprocess.run([compiler, "-Wall", "-Werror", *includes, str(BENCH / "main.cpp"), "-o", str(program)], check=True)
    return program


def _lines(firmware, turns, asked=b""):
    questions = firmware.with_name("questions")
    questions.write_bytes(asked)
    with questions.open("rb") as host:
        done = subprocess.run([firmware, str(turns)], stdin=host, stdout=subprocess.PIPE, check=True)
    reader = LineReader()
    return reader.feed(b"\n" + done.stdout), done.stdout, reader


def test_it_says_who_it_is_at_its_start_and_when_asked(firmware):
    lines, _, reader = _lines(firmware, 3, asked=b"?\n?\n")
    assert lines[:3] == [Hello(VERSION, "LC-1", "HX711", 80)] * 3 and reader.dropped == 0


def test_conversions_come_with_sign_number_and_time_across_the_clocks_wrap(firmware):
    lines, raw, reader = _lines(firmware, 2000)
    conversions = [line for line in lines if isinstance(line, Conversion)]
    assert [line.counts for line in conversions[:7]] == [COUNTS[0], COUNTS[0] // 2, -1, COUNTS[1], 1000, 1001, 1002]
    assert [line.number for line in conversions] == list(range(len(conversions))) and len(conversions) == 40
    steps = {(b.time_us - a.time_us) % 2**32 for a, b in itertools.pairwise(conversions)}
    assert steps <= set(range(2000, 2200)) and conversions[-1].time_us < conversions[0].time_us
    assert reader.dropped == 0
    assert raw == b"".join(map(encode, lines))  # to the byte: one protocol, two ends


def test_f13_a_chip_that_falls_silent_is_told(firmware):
    lines, _, _ = _lines(firmware, 12000)
    missing = [line for line in lines if isinstance(line, Missing)]
    assert len(missing) >= 3 and {line.what for line in missing} == {"silent"}
    assert missing[0].number == 40
