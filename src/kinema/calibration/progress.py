"""How far a calibration session has come: where its samples were, how they differ, what would help most. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kinema.calibration.coverage import Coverage, coverage, diversity, next_view
from kinema.calibration.senses import looks_through
from kinema.calibration.session import Phase, Session


@dataclass(frozen=True, slots=True)
class Progress:
    """coverage   of each camera that the session looks through
    diversity  [-] of the least varied camera's views, 1: enough
    show_next  for a person, '' where nothing is missing
    """

    coverage: Mapping[str, Coverage]
    diversity: float
    show_next: str


NONE = Progress(MappingProxyType({}), 0.0, "")


def progress(session: Session) -> Progress:
    """By the samples' corners; of samples without any there is only what a person does next."""
    if session.phase is Phase.IDLE:
        return NONE
    board, cameras = session.board, looks_through(session)
    seen = {camera: [s.corners[camera] for s in session.samples if camera in s.corners] for camera in cameras}
    covered = {camera: coverage(corners) for camera, corners in seen.items()}
    if board is None or "corners" not in session.kind.needs:
        return Progress(covered, 0.0, session.wanted)
    varied = {camera: diversity(corners, board) for camera, corners in seen.items()}
    wishes = [f"{camera}: {wish}" for camera, corners in seen.items() if (wish := next_view(corners, board))]
    return Progress(covered, min(varied.values()), wishes[0] if wishes else "")
