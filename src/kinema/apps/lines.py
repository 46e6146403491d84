"""Files that grow by a line a result, and whose writer may be killed at any time."""

from pathlib import Path
from typing import TypeVar

import msgspec

from kinema.errors import ConfigError

Row = TypeVar("Row")


def read(file: Path) -> list[bytes]:
    """The lines, none where there is no file. A last one without its end was cut short, and does not count."""
    return _whole(file.read_bytes()).splitlines() if file.exists() else []


def decode(file: Path, kind: type[Row], what: str, allowed: str = "") -> list[Row]:
    """The lines as values of one type; raises ConfigError naming a line that is no `what`, and what is `allowed`."""
    found = []
    for number, line in enumerate(read(file), 1):
        try:
            found.append(msgspec.json.decode(line, type=kind))
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{file}, line {number}: is no {what}: {error}{allowed}") from error
    return found


def of_policy(folder: Path, policy: str, checkpoint: str) -> Path:
    """The file in which what a policy did stands: one for each checkpoint, whose hash may be ''."""
    return folder / ("_".join(word for word in (policy, checkpoint[:12]) if word) + ".jsonl")


def append(file: Path, line: bytes) -> None:
    """Write a line behind the others, in place of one that was cut short."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as stream:
        stream.seek(0)
        stream.truncate(len(_whole(stream.read())))
        stream.write(line + b"\n")


def _whole(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
