"""What a person sees of a session: where samples were, and the corners that are seen now."""

import numpy as np
import pytest

from kinema.calibration.boards import Corners
from kinema.calibration.coverage import coverage
from kinema.calibration.overlay import draw

SIZE = (320, 240)
CORNERS = Corners(np.arange(2), np.array([[300.0, 20.0], [310.0, 30.0]]), SIZE)
GREY = np.full((240, 320, 3), 128, np.uint8)


def test_covered_fields_are_tinted_and_the_picture_itself_stays_as_it_is():
    drawn = draw(GREY, None, coverage([CORNERS]), "", fine=True)
    changed = (drawn != GREY).any(axis=2)
    assert changed[:40, 280:].all() and changed.mean() == pytest.approx(1 / 48, abs=0.002)
    assert (GREY == 128).all()


@pytest.mark.parametrize("fine", [True, False])
def test_corners_are_dots_whose_colour_says_whether_they_would_do(fine):
    drawn = draw(GREY, CORNERS, coverage([]), "hold it still", fine)
    for x, y in CORNERS.pixels.astype(int):
        red, green, _ = drawn[y, x].astype(int)
        assert (green > red) == fine
    assert (drawn[200:, :200] != GREY[200:, :200]).any(), "the text"
