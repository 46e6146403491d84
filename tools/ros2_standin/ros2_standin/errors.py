"""What the stand-in says when it cannot go on."""


class CommandError(Exception):
    """A command that cannot be carried out; the message is for the person who typed it."""


class LaunchError(CommandError):
    """A launch file that cannot be run."""


class UnsupportedError(LaunchError, ImportError):
    """Something that the real ROS 2 may well have and this stand-in has not."""

    def __init__(self, what: str, known: list[str]) -> None:
        super().__init__(
            f"{what} is not in this stand-in `ros2`, which has {', '.join(known)}; use a full ROS 2 for it"
        )
