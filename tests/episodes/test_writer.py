"""Episodes on disk: what was written can be read back, and survives a writer that was killed."""

import json

import numpy as np
import pytest
import yaml
from rosbags.rosbag2 import Reader

from kinema.control.messages import Event
from kinema.episodes import writer
from kinema.episodes.audit import AuditLog
from kinema.episodes.writer import EpisodeWriter, typestore
from kinema.topics import TOPICS

ROWS = (TOPICS["joint_states"], TOPICS["executor/state"])
DEFINITION = {"kinema_interfaces/msg/ExecutorState": "uint8 state\nfloat64 force\n"}


@pytest.fixture
def store():
    return typestore(DEFINITION)


def state(store, force: float) -> bytes:
    kind = "kinema_interfaces/msg/ExecutorState"
    return bytes(store.serialize_cdr(store.types[kind](state=2, force=force), kind))


def test_an_episode_comes_back_as_it_was_written(tmp_path, store):
    episode = EpisodeWriter(tmp_path / "episode_0001", ROWS, store, {"text": "put it there"})
    facts = yaml.safe_load((tmp_path / "episode_0001/episode.yaml").read_text())
    assert facts == {"text": "put it there", "finished": False}
    for i in range(5):
        episode.write("executor/state", 1000 + i, state(store, float(i)))
    episode.close({"text": "put it there"})
    with Reader(tmp_path / "episode_0001") as reader:
        read = [(c.topic, t, store.deserialize_cdr(raw, c.msgtype).force) for c, t, raw in reader.messages()]
    assert read == [("/executor/state", 1000 + i, float(i)) for i in range(5)]
    facts = yaml.safe_load((tmp_path / "episode_0001/episode.yaml").read_text())
    assert facts["finished"] and facts["messages"] == {"joint_states": 0, "executor/state": 5}


def test_what_was_flushed_is_on_disk_before_the_end(tmp_path, store, monkeypatch):
    monkeypatch.setattr(writer, "FLUSH", 0.0)
    episode = EpisodeWriter(tmp_path / "e", ROWS, store, {})
    message = state(store, 1.25)
    for i in range(3):
        episode.write("executor/state", i, message)
    assert (tmp_path / "e/e.mcap").read_bytes().count(message) == 3
    episode.close({})


def test_the_audit_log_holds_one_line_an_event(tmp_path):
    log = AuditLog(tmp_path / "run" / "audit.jsonl")
    log.write(
        [
            Event(1, "step", "s", data={"chunk": 3, "command": np.arange(3.0), "n": np.int64(4)}),
            Event(2, "x", "", "F01"),
        ]
    )
    first, second = map(json.loads, (tmp_path / "run/audit.jsonl").read_text().splitlines())
    assert first == {
        "t_ns": 1,
        "kind": "step",
        "fault": "",
        "text": "s",
        "data": {"chunk": 3, "command": [0, 1, 2], "n": 4},
    }
    assert second["fault"] == "F01"
    log.close()
