"""Pictures of a printed board by a camera with a known lens: what calibration is proven on. And where the board is.

Every pixel is the mean of rays through it that meet the board's plane, the lens being the camera file's own model; then
come the optics' blur, motion's smear, and the noise of `noise.yaml`. No light, no bent paper.
"""

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from kinema.calibration.boards import Board
from kinema.calibration.files import CameraInfo
from kinema.chunk import Image
from kinema.geometry import Array, Pose
from kinema.virtual import noise

T_TCP_BOARD = Pose(np.array([0.01, -0.135, 0.02]), np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
OPTICS = 0.5  # [px] standard deviation of a good lens' blur

_RAYS = (-1 / 3, 0.0, 1 / 3)  # [px] each way from a pixel's centre
_TEXELS = 128  # a square's edge
_FINER = 4  # times finer the print is drawn before it is averaged to texels: its edges lie where they lie
_BLACK, _WHITE, _AROUND = 25.0, 215.0, 110.0  # [grey levels]
BORDER = 0.4  # [squares] of white paper around the squares
_NEAR = 0.01  # [m] before the lens


def board_on_the_table(board: Board) -> Pose:
    """`T_base_board`: face up, its middle where the side cameras look, its rows across."""
    rotation = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
    return Pose(np.array([0.48, 0.0, 0.01]) - rotation @ np.array([*board.size, 0.0]) / 2, rotation)


def picture(board: Board, texels: int = _TEXELS) -> Array:
    """The board alone from straight above, 0 black to 1 white, `texels` a square's edge."""
    scale = texels * _FINER / board.square
    fine = np.full((board.rows * texels * _FINER, board.columns * texels * _FINER), 255, np.uint8)
    for x, y, width, height in board.black() * scale:
        fine[round(y) : round(y + height), round(x) : round(x + width)] = 0
    return np.asarray(cv2.resize(fine, None, fx=1 / _FINER, fy=1 / _FINER, interpolation=cv2.INTER_AREA), float) / 255.0


def print_of(board: Board, texels: int = _TEXELS) -> NDArray[np.float32]:
    """The board on its paper, with `BORDER` around, in grey levels as a camera sees them in good light."""
    border = round(BORDER * texels)
    paper = cv2.copyMakeBorder(picture(board, texels), border, border, border, border, cv2.BORDER_CONSTANT, value=1.0)
    return np.asarray(_BLACK + (_WHITE - _BLACK) * paper, np.float32)


class BoardView:
    """One camera before one board."""

    def __init__(self, board: Board, camera: CameraInfo) -> None:
        self._camera, self._noise = camera, noise.load().camera
        self._paper, border = print_of(board), round(BORDER * _TEXELS)
        self._scale, self._border = _TEXELS / board.square, border - 0.5
        width, height = camera.size
        self._rays = camera.rays(np.stack(np.meshgrid(np.arange(-1.0, width + 1), np.arange(-1.0, height + 1)), -1))
        edge = np.linspace(-BORDER, 1 + BORDER, 40)
        ends = np.full_like(edge, -BORDER), np.full_like(edge, 1 + BORDER)
        outline = np.concatenate(
            [np.stack([edge, end], 1) for end in ends] + [np.stack([end, edge], 1) for end in ends]
        )
        self._outline = np.column_stack([outline * board.size, np.zeros(len(outline))])

    def render(
        self,
        T_camera_board: Pose,
        rng: np.random.Generator | None = None,
        blur: float = OPTICS,
        motion: tuple[float, float] = (0.0, 0.0),
    ) -> Image:
        """Image (height, width, 3) RGB; `rng` None for one without noise, `blur` [px], smeared along `motion` [px]."""
        width, height = self._camera.size
        grey: Array = np.full((height, width), _AROUND)
        left, top, right, bottom = self._box(T_camera_board)
        if left < right and top < bottom:
            grey[top:bottom, left:right] = self._seen(T_camera_board.inverse(), left, top, right, bottom)
        if blur > 0.0:
            grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), blur), float)
        if any(motion):
            grey = np.asarray(cv2.filter2D(grey, -1, _smear(motion)), float)
        if rng is not None:
            grey += np.sqrt(self._noise.read**2 + self._noise.shot * grey) * rng.standard_normal(grey.shape)
        levels = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(np.repeat(levels[..., None], 3, axis=-1))

    def _box(self, T_camera_board: Pose) -> tuple[int, int, int, int]:
        """Left, top, right, bottom [px] of the part of the image that may show the board."""
        width, height = self._camera.size
        outline = T_camera_board.apply(self._outline)
        if (outline[:, 2] < _NEAR).any():
            return 0, 0, width, height
        pixels = self._camera.project(outline)
        (left, top), (right, bottom) = np.floor(pixels.min(axis=0)) - 2, np.ceil(pixels.max(axis=0)) + 3
        clip = np.clip([left, top, right, bottom], 0, [width, height, width, height]).astype(int)
        return int(clip[0]), int(clip[1]), int(clip[2]), int(clip[3])

    def _seen(self, T_board_camera: Pose, left: int, top: int, right: int, bottom: int) -> Array:
        around = self._rays[top : bottom + 2, left : right + 2]  # one pixel more each way
        middle = around[1:-1, 1:-1]
        across, down = (around[1:-1, 2:] - around[1:-1, :-2]) / 2, (around[2:, 1:-1] - around[:-2, 1:-1]) / 2
        total = np.zeros(middle.shape[:2], np.float32)
        for dy in _RAYS:
            for dx in _RAYS:
                rays = (middle + dx * across + dy * down) @ T_board_camera.rotation.T
                with np.errstate(divide="ignore", invalid="ignore"):
                    far = -T_board_camera.position[2] / rays[..., 2]
                far[~(far > 0.0)] = math.inf
                with np.errstate(invalid="ignore"):
                    places = (T_board_camera.position[:2] + far[..., None] * rays[..., :2]) * self._scale + self._border
                places = np.nan_to_num(places, nan=-10.0, posinf=-10.0, neginf=-10.0).clip(-10.0, 30000.0)
                total += cv2.remap(
                    self._paper,
                    places[..., 0].astype(np.float32),
                    places[..., 1].astype(np.float32),
                    cv2.INTER_LINEAR,
                    borderMode=cv2.BORDER_CONSTANT,
                    borderValue=_AROUND,
                )
        return total / len(_RAYS) ** 2


def _smear(motion: tuple[float, float]) -> Array:
    """The kernel of a straight motion [px] at even speed."""
    half = math.ceil(max(abs(m) for m in motion) / 2) + 1
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    for part in np.linspace(-0.5, 0.5, 200):
        x, y = half + part * motion[0], half + part * motion[1]
        column, row = math.floor(x), math.floor(y)
        for a, weight_x in ((0, 1 - x + column), (1, x - column)):
            for b, weight_y in ((0, 1 - y + row), (1, y - row)):
                kernel[row + b, column + a] += weight_x * weight_y / 200
    return kernel
