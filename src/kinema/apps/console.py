"""Where commands print their tables."""

import sys

from rich.console import Console

_WIDE = 240  # columns


def console() -> Console:
    """Standard output, as wide as the terminal; in a file or a pipe nothing is cut short."""
    return Console(width=None if sys.stdout.isatty() else _WIDE)
