"""How far the block is from its mark by an image alone: painted ones, spoilt ones, and the environment's own."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import spearmanr

from kinema.apps import pusht_trials
from kinema.chunk import Image
from kinema.pusht import block, picture
from kinema.pusht.client import PLAIN, Look
from kinema.pusht.expert import targets

turns = st.floats(-np.pi, np.pi)


def painted(pose=None, look: Look = PLAIN, agent=None) -> Image:
    """As the environment paints it, about."""
    whole = np.full((512, 512, 3), look.background, np.uint8)
    cv2.fillPoly(whole, [block.to_world(block.GOAL, block.OUTLINE).round().astype(int)], look.goal)
    if pose is not None:
        outline = [block.to_world(pose, block.OUTLINE).round().astype(int)]
        cv2.fillPoly(whole, outline, (143, 163, 184))
        cv2.polylines(whole, outline, True, (119, 136, 153), 3)
    if agent is not None:
        cv2.circle(whole, agent, int(block.RADIUS), (65, 105, 225), -1)
    return cv2.resize(whole, (96, 96))


def aside(way: float, turn: float) -> np.ndarray:
    """The goal's pose, moved so far [px] in a direction."""
    return block.GOAL + way * np.array([np.cos(turn), np.sin(turn), 0.0])


def about_its_middle(turn: float) -> np.ndarray:
    """The goal's pose, turned about the middle of the block's area."""
    middle = np.array([[0.0, 285 / 7]])
    angle = block.GOAL[2] + turn
    moved = block.to_world(block.GOAL, middle)[0] - block.to_world((0.0, 0.0, angle), middle)[0]
    return np.array([*moved, angle])


def test_on_its_mark_it_is_hardly_off_and_without_a_block_nothing_is_farther():
    assert picture.off(painted(block.GOAL)) < 6.0
    assert picture.off(painted()) > 400.0 > max(picture.off(painted(aside(170.0, turn))) for turn in np.arange(7))


@settings(max_examples=30)
@given(turns, st.floats(0, 150), turns)
def test_it_is_as_far_off_as_the_pose_says(direction, way, turn):
    pose = aside(way, direction)
    pose[2] += turn
    assert picture.off(painted(pose)) == pytest.approx(block.off(pose), rel=0.05, abs=5.0)


@settings(max_examples=15)
@given(turns, st.floats(0, 100), st.floats(8, 30))
def test_the_farther_away_the_farther_it_is(turn, near, more):
    assert picture.off(painted(aside(near, turn))) < picture.off(painted(aside(near + more, turn)))


@settings(max_examples=15)
@given(st.floats(0, 2.2), st.floats(0.2, 0.9), st.sampled_from([-1, 1]))
def test_the_more_it_is_turned_the_farther_it_is_though_the_mark_is_as_covered_at_120_degrees_as_at_20(turn, more, way):
    less, further = (picture.off(painted(about_its_middle(way * angle))) for angle in (turn, turn + more))
    assert less < further


@settings(max_examples=15)
@given(turns, st.floats(0, 160), st.sampled_from(list(pusht_trials.LOOKS.values())))
def test_neither_the_agent_nor_other_colours_make_a_difference(turn, way, look):
    pose = aside(way, turn)
    off = picture.off(painted(pose))
    assert picture.off(painted(pose, look, agent=(40, 40))) == pytest.approx(off, abs=4.0)


@settings(max_examples=15)
@given(turns, st.floats(0, 150), st.floats(0.5, 1.5))
def test_a_block_that_is_imagined_as_a_blur_is_about_there(turn, way, blur):
    pose = aside(way, turn)
    blurred = cv2.GaussianBlur(painted(pose), (0, 0), blur)
    assert picture.off(blurred) == pytest.approx(block.off(pose), rel=0.05, abs=8.0)


def test_it_follows_the_environments_truth(env):
    """As an expert pushes: moments are ranked by their images as by the block's pose."""
    seen, true = [], []
    for seed in (200, 201):
        moment = env.reset(seed)
        pushing = targets(moment, env.pushed)
        target = next(pushing)
        while not moment.over:
            moment = env.step(target)
            seen.append(picture.off(moment.image))
            true.append(float(block.off(moment.block)))
            try:
                target = pushing.send(moment)
            except StopIteration:
                break
    assert spearmanr(seen, true)[0] > 0.98 and np.abs(np.subtract(seen, true)).max() < 8.0
