"""A session as messages."""

import array

from kinema_interfaces.msg import CalibrationState, CalibrationView
from kinema_interfaces.srv import SolveCalibration

from kinema.calibration.arm_poses import Tour
from kinema.calibration.progress import Progress
from kinema.calibration.senses import Look
from kinema.calibration.session import Session, Solution
from kinema_ros.convert import header
from stereo_calibration.eyes import Hint


def view_msg(camera: str, look: Look | None, hint: Hint) -> CalibrationView:
    rows, columns = hint.coverage.counts.shape
    corners = look.corners if look else None
    return CalibrationView(
        camera=camera,
        problem=hint.problem,
        corners=len(corners.ids) if corners else 0,
        blur=corners.blur if corners else 0.0,
        columns=columns,
        rows=rows,
        coverage=array.array("H", hint.coverage.counts.clip(0, 65535).ravel().tolist()),
        covered=hint.coverage.share,
    )


def state_msg(
    stamp_ns: int,
    session: Session,
    progress: Progress,
    *,
    auto: bool,
    tour: Tour | None,
    views: list[CalibrationView],
) -> CalibrationState:
    return CalibrationState(
        header=header(stamp_ns),
        phase=session.phase,
        what=session.what,
        devices=list(session.devices),
        board=session.board.name if session.board else "",
        samples=len(session.samples),
        auto_capture=auto,
        pose=tour.number if tour else 0,
        poses=len(tour.goals) if tour else 0,
        diversity=progress.diversity,
        show_next=progress.show_next,
        message=session.message,
        views=views,
    )


def fill(response: SolveCalibration.Response, solution: Solution) -> None:
    """What was found, beside its words."""
    response.acceptable = not solution.unusable
    response.files = list(solution.files)
    response.rms = [file.provenance.rms for file in solution.files.values()]
    response.units = [file.rms_unit for file in solution.files.values()]
    response.outliers = list(solution.outliers)
