"""Ghosts are an episode's first images, and are laid over the live ones as far as one wants."""

import numpy as np
import pytest

from kinema import paths
from kinema.apps import ghost
from kinema.episodes.reader import Episode, find
from kinema.errors import ConfigError
from kinema.topics import CAMERAS

EPISODES = paths.root() / "tests/data/episodes"


def test_the_first_image_of_each_camera_of_an_episode() -> None:
    folder = next(iter(find(EPISODES).values()))
    found = ghost.load(folder)
    assert tuple(found) == CAMERAS
    np.testing.assert_array_equal(found["left"], Episode.open(folder).image("left", 0))
    assert found["gripper"].std() > 5.0


def test_a_folder_without_an_episode_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="allowed is the folder of an episode"):
        ghost.load(tmp_path)


def test_as_much_of_the_ghost_as_is_wanted_and_the_live_image_where_there_is_none() -> None:
    live = {name: np.full((40, 60, 3), 100, np.uint8) for name in ("left", "right")}
    ghosts = {"left": np.full((20, 30, 3), 200, np.uint8)}
    for share, level in ((0.0, 100), (0.25, 125), (1.0, 200)):
        shown = ghost.over(live, ghosts, share)
        assert shown["left"].shape == (40, 60, 3) and (shown["left"] == level).all()
        assert shown["right"] is live["right"]
