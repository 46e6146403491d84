"""What the operator hears: by the players that there are, one cue after the other, and never in the way."""

import os

import pytest

pytest.importorskip("recording", reason="needs the built workspace")

from recording import cue as cue_module
from recording.cue import KINDS, Cue

pytestmark = pytest.mark.ros


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """`machine(*players)`: a machine with these and no others; returns the file that says what they played."""

    def make(*players: str):
        played = tmp_path / "played"
        played.touch()
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in players:
            script = tmp_path / name
            script.write_text(f'#!/bin/sh\ntest ! -f "$1" || test -s "$1" && echo "{name} $1" >> {played}\n')
            script.chmod(0o755)
        return played

    return make


def hear(mode: str, *given: tuple[str, str]) -> list[str]:
    """Give cues; what was logged meanwhile."""
    logged: list[str] = []
    cue = Cue(mode, logged.append)
    for kind, words in given:
        cue.give(kind, words)
    cue.close()
    return logged


def test_tones_are_played_in_the_order_in_which_they_were_given(machine):
    played = machine("aplay")
    assert hear("beep", *((kind, "words") for kind in KINDS)) == []
    assert [line.rpartition("/")[2] for line in played.read_text().splitlines()] == [f"{kind}.wav" for kind in KINDS]


def test_spoken_cues_are_said_in_words(machine):
    played = machine("espeak-ng", "paplay")
    assert hear("spoken", ("saved", "saved 3"), ("trouble", "REJECTED: it jumped once")) == []
    assert played.read_text().splitlines() == ["espeak-ng saved 3", "espeak-ng REJECTED: it jumped once"]


def test_without_a_voice_they_are_tones_and_that_is_said(machine):
    played = machine("paplay")
    (line,) = hear("spoken", ("saved", "saved 3"))
    assert "apt-get install espeak-ng" in line
    assert played.read_text().startswith("paplay") and "saved.wav" in played.read_text()


def test_without_a_player_the_terminals_bell_rings(machine, monkeypatch):
    machine()
    ours, terminal = os.pipe()
    monkeypatch.setattr(cue_module, "open_terminal", lambda flags: (os.dup(terminal), os.getpid()))
    hear("beep", ("began", ""), ("trouble", ""))
    os.close(terminal)
    assert os.read(ours, 100) == b"\a" * 4
    os.close(ours)


def test_without_player_and_terminal_or_switched_off_nothing_is_heard_and_nobody_waits(machine, monkeypatch):
    played = machine("paplay")
    assert hear("off", ("began", "")) == [] and played.read_text() == ""
    monkeypatch.setattr(cue_module, "open_terminal", lambda flags: None)
    (played.parent / "paplay").unlink()
    assert hear("beep", ("began", "")) == []
