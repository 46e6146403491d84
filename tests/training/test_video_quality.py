"""The measures of video agree with what their definitions give by hand, and put better videos before worse ones."""

import cv2
import numpy as np
import pytest

from kinema.chunk import Image
from kinema.training.video_quality import feature_distance, psnr, ssim


def _scene(shift: int = 0, count: int = 1) -> Image:
    """A bright block and a disc on a textured ground; the block moved to the right by `shift` pixels."""
    rng = np.random.default_rng(0)
    ground = cv2.GaussianBlur(rng.integers(60, 160, (72, 96, 3)).astype(np.uint8), (5, 5), 2.0)
    cv2.rectangle(ground, (20 + shift, 20), (40 + shift, 45), (230, 60, 40), -1)
    cv2.circle(ground, (70, 50), 9, (30, 90, 220), -1)
    return np.stack([ground] * count)


def _noisy(clip: Image, deviation: float) -> Image:
    noise = np.random.default_rng(1).normal(0.0, deviation, clip.shape)
    return np.clip(clip + noise, 0, 255).astype(np.uint8)


def test_equal_clips_are_as_good_as_can_be() -> None:
    clip = _scene(count=2)
    assert psnr(clip, clip) == pytest.approx([58.9, 58.9], abs=0.05)
    assert ssim(clip, clip) == pytest.approx([1.0, 1.0])
    assert feature_distance(clip, clip) == pytest.approx([0.0, 0.0], abs=1e-9)


def test_psnr_is_that_of_a_known_error() -> None:
    grey = np.full((1, 40, 40, 3), 100, np.uint8)
    assert psnr(grey + np.uint8(10), grey) == pytest.approx(20 * np.log10(255 / 10))


def test_ssim_of_flat_images_is_their_luminance_term() -> None:
    a, b = (np.full((1, 40, 40, 3), level, np.uint8) for level in (100, 150))
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), abs=1e-4)


def test_ssim_of_an_inverted_texture_is_negative() -> None:
    texture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8).repeat(3, axis=3)
    assert ssim(255 - texture, texture)[0] < -0.5


@pytest.mark.parametrize("measure", [psnr, ssim, lambda a, b: -feature_distance(a, b)])
def test_the_nearer_the_better(measure) -> None:
    truth = _scene()
    near, far = measure(_scene(shift=2), truth)[0], measure(_scene(shift=12), truth)[0]
    assert measure(truth, truth)[0] > near > far
    assert measure(_noisy(truth, 5.0), truth)[0] > measure(_noisy(truth, 30.0), truth)[0]


def test_features_see_where_an_edge_is_and_not_how_bright_the_light() -> None:
    truth = _scene()
    darker = (truth * 0.8).astype(np.uint8)
    assert feature_distance(darker, truth)[0] < 0.2 * feature_distance(_scene(shift=12), truth)[0]
    assert psnr(darker, truth)[0] < psnr(_scene(shift=12), truth)[0] + 6
