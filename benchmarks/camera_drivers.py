"""The drivers of real cameras at once, a process each: two D435 (640x480 colour and aligned depth) and a Basler.

    python benchmarks/camera_drivers.py [--seconds 600]

librealsense's software devices and pylon's emulation deliver at 30 Hz, so USB and firmware are not in these numbers.
The latency runs from the delivery to the SDK to the frame in the reader's hand; pylon's emulation has no stamps to take
it by. CPU is the process's, less what it spends on being the software device; pylon's emulation can't be told apart.
"""

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from kinema.clock import now_ns, to_ns
from kinema.devices import basler, realsense
from kinema.devices.cameras import SteadyCamera
from kinema.virtual.cameras import camera
from kinema.virtual.realsense import VirtualD435

_RATE = 30  # [Hz]
_D435 = (640, 480)
_BASLER = ((1280, 1024), (640, 480))
_WARM = 2.0  # [s] that count for nothing


@contextmanager
def _software_d435(serial: str) -> Iterator[tuple[SteadyCamera, list[float]]]:
    """A driver before a software device that delivers; and the CPU time [s] of the latter, as it grows."""
    device, spent, ended = VirtualD435(serial, camera("left").info(_D435), _RATE, stereo=True), [0.0], threading.Event()
    width, height = _D435
    pictures = np.random.default_rng(0).integers(0, 256, (8, height, width, 3), np.uint8)
    depth = np.full((height, width), 1000, np.uint16)

    def deliver() -> None:
        began = time.monotonic()
        for number in range(10**9):
            device.push(number, now_ns(), color=pictures[number % len(pictures)], depth=depth)
            spent[0] = time.thread_time()
            if ended.wait(max(0.0, began + (number + 1) / _RATE - time.monotonic())):
                return

    settings = realsense.RealSenseSettings(serial, _D435, _RATE, depth=True)
    steady = SteadyCamera(serial, realsense.opener(serial, settings, device.context), 5.0)
    thread = threading.Thread(target=deliver)
    thread.start()
    try:
        yield steady, spent
    finally:
        ended.set()
        thread.join()
        steady.close()


@contextmanager
def _emulated_basler(size: tuple[int, int]) -> Iterator[tuple[SteadyCamera, list[float]]]:
    settings = basler.BaslerSettings("0815-0000", "emulation", size=size, rate=_RATE, exposure=0.005, gain=0.0)
    steady = SteadyCamera("basler", basler.opener("basler", settings), 5.0)
    try:
        yield steady, [0.0]
    finally:
        steady.close()


def _one(kind: str, seconds: float) -> dict:
    """Read one camera for a while; what came of it."""
    source = _software_d435(kind) if kind.startswith("d435") else _emulated_basler(tuple(map(int, kind.split("x"))))
    latencies = []
    with source as (steady, spent):
        begin = time.monotonic() + _WARM
        while time.monotonic() < begin:
            steady.read(1.0)
        dropped, cpu, began = steady.dropped, time.process_time() - spent[0], time.monotonic()
        while time.monotonic() < began + seconds:
            if frame := steady.read(1.0):
                latencies.append((now_ns() - frame.stamp_ns) / to_ns(1e-3))
        lasted = time.monotonic() - began
        return {
            "rate": len(latencies) / lasted,
            "dropped": steady.dropped - dropped,
            "cpu": 100 * (time.process_time() - spent[0] - cpu) / lasted,
            "latency": np.percentile(latencies, [50, 99]).tolist() if kind.startswith("d435") else None,
        }


def _together(kinds: list[str], seconds: float) -> None:
    command = [sys.executable, __file__, "--seconds", str(seconds), "--one"]
    environment = {**os.environ, "PYLON_CAMEMU": "1"}
    running = {kind: subprocess.Popen([*command, kind], stdout=subprocess.PIPE, env=environment) for kind in kinds}
    for kind, process in running.items():
        out, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"camera {kind} failed")
        row = json.loads(out)
        latency = "{:>13.1f} ms{:>8.1f}".format(*row["latency"]) if row["latency"] else f"{'-':>16}{'-':>8}"
        print(f"{kind:<12}{row['rate']:>9.2f}{row['dropped']:>9}{row['cpu']:>8.1f}{latency}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--one", metavar="camera", help="what each of its processes is started with")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(_one(arguments.one, arguments.seconds)))
        return
    print(f"{arguments.seconds:.0f} s; {_RATE} Hz are wanted")
    print(f"{'camera':<12}{'rate Hz':>9}{'dropped':>9}{'CPU %':>8}{'latency p50':>16}{'p99':>8}")
    for size in _BASLER:
        _together(["d435-left", "d435-right", f"{size[0]}x{size[1]}"], arguments.seconds)


if __name__ == "__main__":
    main()
