"""Files that grow by a line a result, and whose writer may be killed at any time."""

from pathlib import Path


def read(file: Path) -> list[bytes]:
    """The lines, none where there is no file. A last one without its end was cut short, and does not count."""
    return _whole(file.read_bytes()).splitlines() if file.exists() else []


def append(file: Path, line: bytes) -> None:
    """Write a line behind the others, in place of one that was cut short."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab+") as stream:
        stream.seek(0)
        stream.truncate(len(_whole(stream.read())))
        stream.write(line + b"\n")


def _whole(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]
