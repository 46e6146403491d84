"""What a policy can't foresee happens as it is told, and to nothing else."""

import math

import numpy as np
import pytest

from kinema.errors import ConfigError
from kinema.geometry import so3_exp
from kinema.virtual import mishaps, scenario
from kinema.virtual.cameras import CAMERAS, DEFAULT_SIZE
from kinema.virtual.mishaps import Knock
from kinema.virtual.world import World


def test_a_thing_is_moved_and_nothing_else() -> None:
    world = World(scenario.draw("pick_and_place", "train", 1), "virtual_ur5e", seed=1)
    target = world.scenario.target.name
    before = world.truth().poses
    mishaps.move(world, target, (0.03, -0.02))
    after = world.truth().poses
    np.testing.assert_allclose(after[target].position - before[target].position, [0.03, -0.02, 0.0], atol=1e-9)
    for name in before.keys() - {target}:
        np.testing.assert_array_equal(after[name].position, before[name].position)
    with pytest.raises(ConfigError, match=f"'table' that stands free; allowed: .*{target}"):
        mishaps.move(world, "table", (0.1, 0.0))


@pytest.mark.parametrize("seed", range(6))
def test_a_hand_covers_a_part_of_the_picture_and_leaves_the_rest_as_it_is(seed: int) -> None:
    plain = np.full((96, 128, 3), (30, 90, 200), np.uint8)
    covered = (mishaps.hand(plain, seed) != plain).any(axis=2)
    assert 0.05 < covered.mean() < 0.6
    rim = np.concatenate([covered[0], covered[-1], covered[:, 0], covered[:, -1]])
    assert rim.any(), "it comes in from outside"
    assert not rim.all()
    np.testing.assert_array_equal(mishaps.hand(plain, seed), mishaps.hand(plain, seed))


def test_hands_differ() -> None:
    plain = np.zeros((96, 128, 3), np.uint8)
    assert not np.array_equal(mishaps.hand(plain, 0), mishaps.hand(plain, 1))


@pytest.mark.parametrize("name", CAMERAS)
def test_a_knocked_camera_sees_a_point_where_its_lens_puts_it_from_there(name: str) -> None:
    """A bright spot at a ray of the straight camera, looked for at that ray as the turned one has it."""
    info, rotvec = CAMERAS[name].info(DEFAULT_SIZE), (0.02, -0.03, 0.05)
    at = (120, 90)
    image = np.zeros((DEFAULT_SIZE[1], DEFAULT_SIZE[0], 3), np.uint8)
    image[at[1] - 2 : at[1] + 3, at[0] - 2 : at[0] + 3] = 255
    seen = Knock(info, rotvec)(image)[..., 0].astype(float)
    rows, columns = np.mgrid[: seen.shape[0], : seen.shape[1]]
    found = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum()
    wanted = info.project(so3_exp(np.array(rotvec)).T @ info.rays(np.array(at, float)))
    np.testing.assert_allclose(found, wanted, atol=0.15)
    assert math.dist(found, at) > 3.0


def test_a_camera_that_was_not_turned_sees_what_it_saw() -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    seen = Knock(CAMERAS["left"].info(DEFAULT_SIZE), (0.0, 0.0, 0.0))(image)
    assert np.abs(seen.astype(int) - image).max() <= 1
