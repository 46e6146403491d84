"""What an episode's facts say of its origin: the software that recorded it, the calibration that was in force."""

import importlib.metadata
import platform
from typing import Literal

from kinema import __version__
from kinema.calibration.bundle import Bundle


def versions(*packages: str) -> dict[str, str]:
    """Versions of Kinema, Python and the named packages, as they are installed."""
    return {
        "kinema": __version__,
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
    }


def calibration_origin(bundle: Bundle) -> Literal["simulator truth", "measured"]:
    """'measured' only when every file is; a report then needs no label."""
    origins = {file.provenance.origin for file in (*bundle.files.values(), bundle.latencies)}
    return "measured" if origins == {"measured"} else "simulator truth"
