"""Errors of actions in millimetres, degrees and newtons; videos that can be played."""

import av
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinema.geometry import rotation_6d
from kinema.policies.actions import ActionSpace
from kinema.training.measures import action_errors
from kinema.training.videos import side_by_side, write

SPACE = ActionSpace(
    horizon=4, dt=0.1, offset=0.1, executable=2, mean=tuple(0.1 * i for i in range(11)), std=(0.5,) * 11
)


def rows(position=(0.0, 0.0, 0.0), degrees=0.0, width=0.0, force=0.0) -> np.ndarray:
    turned = rotation_6d(Rotation.from_rotvec([0, 0, degrees], degrees=True).as_matrix())
    return np.array([*position, *turned, width, force])


def test_errors_are_in_the_units_of_the_table_over_the_executable_steps():
    wanted = np.tile(rows(), (3, 4, 1))
    found = wanted.copy()
    found[:, 0] = rows((0.003, 0.004, 0.0), degrees=10.0, width=0.002, force=1.0)
    found[:, 1] = rows((0.0, 0.0, 0.015), degrees=-30.0, width=-0.004, force=-2.0)
    found[:, 2:] = rows((1.0, 1.0, 1.0), degrees=180.0)  # never played
    errors = action_errors(SPACE, SPACE.normalise(found), SPACE.normalise(wanted))
    expected = {"position_mm": 10.0, "reach_mm": 15.0, "rotation_deg": 20.0, "width_mm": 3.0, "force_N": 1.5}
    assert errors == {name: pytest.approx(value, rel=1e-4) for name, value in expected.items()}


def test_a_video_shows_what_was_imagined_below_what_happened(tmp_path):
    happened = np.zeros((3, 8, 25, 33, 3), np.uint8)
    happened[1, :, :, :, 0] = 200
    imagined = np.full_like(happened, 90)
    frames = side_by_side(happened, imagined)
    assert frames.shape == (8, 54, 99, 3)
    write(tmp_path / "videos/one.mp4", frames, rate=2.5)
    with av.open(tmp_path / "videos/one.mp4") as container:
        assert float(container.streams.video[0].average_rate) == 2.5
        seen = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(seen) == 8 and seen[0].shape == (54, 98, 3)
    assert abs(int(seen[3][10, 50, 0]) - 200) < 12 and abs(int(seen[3][40, 50, 0]) - 90) < 12
