"""Room on the disk for episodes (FAULTS F25): below one mark no recording begins, below a lower one it ends in time.

What fills the disk faster than anybody looks is the writer's own affair; see `kinema.episodes.writer`.
"""

import shutil
from pathlib import Path

_STOP = 0.5  # [-] of the room that is needed to begin: below it a recording ends


def free(folder: Path) -> int:
    """[bytes] that may still be written below a folder, which need not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Room:
    """The room below `folder`: `needed` [bytes] to begin a recording, half of it to go on."""

    def __init__(self, folder: Path, needed: int) -> None:
        self.folder, self.needed = folder, needed

    def to_begin(self) -> str:
        """Why no recording may begin, '' if it may."""
        return self._short_of(self.needed)

    def to_go_on(self) -> str:
        """Why a recording has to end now, '' if it may go on."""
        return self._short_of(int(_STOP * self.needed))

    def _short_of(self, bound: int) -> str:
        left = free(self.folder)
        if left >= bound:
            return ""
        return (
            f"{left / 1e9:.3f} GB are left below {self.folder}, {bound / 1e9:.3f} GB are needed: "
            "free some, or record to another disk (parameter episodes_dir)"
        )
