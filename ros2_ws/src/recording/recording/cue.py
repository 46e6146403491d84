"""What the operator hears while both eyes are on the gripper: tones or words, by whatever this machine can play."""

import array
import math
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import wave
from collections.abc import Callable
from pathlib import Path

from recording.keys import open_terminal

MODES = ("off", "beep", "spoken")

_RATE = 22050  # [samples/s]
_LOUD = 0.4
_PATIENCE = 10.0  # [s] for one cue to be over
_TONES = {  # [Hz, s] one after the other
    "began": ((880, 0.15),),
    "saved": ((880, 0.1), (1320, 0.2)),
    "discarded": ((660, 0.1), (440, 0.2)),
    "trouble": ((220, 0.2), (0, 0.1), (220, 0.2), (0, 0.1), (220, 0.4)),
}
KINDS = tuple(_TONES)


class Cue:
    """Plays one cue after the other in a thread of its own. Without a player, tones become the terminal's bell."""

    def __init__(self, mode: str, log: Callable[[str], object]) -> None:
        self._queue: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        speaker = shutil.which("espeak-ng") or shutil.which("espeak")
        self._player = shutil.which("paplay") or shutil.which("aplay")
        self._speaker = speaker if mode == "spoken" else None
        if mode == "spoken" and speaker is None:
            log("no espeak-ng on this machine: cues are tones (Debian: apt-get install espeak-ng)")
        self._thread: threading.Thread | None = None
        if mode != "off":
            self._thread = threading.Thread(target=self._play, name="cue", daemon=True)
            self._thread.start()

    def give(self, kind: str, words: str) -> None:
        """One of KINDS, and what is said where cues are spoken; returns at once."""
        if self._thread is not None:
            self._queue.put((kind, words))

    def close(self) -> None:
        """Let what was given be heard, and end."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join(timeout=_PATIENCE)

    def _play(self) -> None:
        with tempfile.TemporaryDirectory(prefix="kinema-cue-") as folder:
            sounds = {kind: _sound(Path(folder), kind) for kind in KINDS} if self._player else {}
            while (entry := self._queue.get()) is not None:
                kind, words = entry
                if self._speaker:
                    command = [self._speaker, words]
                elif self._player:
                    command = [self._player, str(sounds[kind])]
                else:
                    _ring(len([tone for tone in _TONES[kind] if tone[0]]))
                    continue
                try:
                    subprocess.run(
                        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_PATIENCE, check=False
                    )
                except subprocess.TimeoutExpired:
                    continue


def _ring(times: int) -> None:
    """The terminal's bell. Not by the standard output: a launch passes on whole lines only."""
    found = open_terminal(os.O_WRONLY)
    if found is not None:
        os.write(found[0], b"\a" * times)
        os.close(found[0])


def _sound(folder: Path, kind: str) -> Path:
    samples = array.array("h")
    for hertz, seconds in _TONES[kind]:
        count = round(_RATE * seconds)
        samples.extend(round(32767 * _LOUD * math.sin(2 * math.pi * hertz * i / _RATE)) for i in range(count))
    path = folder / f"{kind}.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(samples.tobytes())
    return path
