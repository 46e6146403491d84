"""The audit log: one JSON object a line for every event of the executor, in the order in which they happened."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kinema.control.messages import Event


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into the audit log")


def data_json(event: Event) -> str:
    """The event's data as JSON; arrays become lists."""
    return json.dumps(event.data, default=_plain)


class AuditLog:
    """Appends to `path`; every batch is on disk before the next begins."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")

    def write(self, events: Iterable[Event]) -> None:
        for event in events:
            row = {
                "t_ns": event.t_ns,
                "kind": event.kind,
                "fault": event.fault,
                "text": event.text,
                "data": event.data,
            }
            self._file.write(json.dumps(row, default=_plain) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()
