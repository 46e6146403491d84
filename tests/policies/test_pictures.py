"""Images as a network sees them; what is not as in training is refused by name."""

import numpy as np
import pytest
import torch

from kinema.chunk import Observation
from kinema.errors import ObservationError
from kinema.geometry import Pose
from kinema.policies.pictures import newest, recent, signal

CAMERAS = ("gripper", "left")
HISTORY = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)  # two images of 4 x 3 px


def observed(**images) -> Observation:
    return Observation(0, images, (Pose.identity(),), np.array([0.05]), None, "")


def test_the_newest_images_come_in_the_networks_order():
    images = newest(observed(left=HISTORY, right=HISTORY, gripper=255 - HISTORY), CAMERAS, (4, 3))
    assert images.dtype == torch.uint8
    np.testing.assert_array_equal(images.numpy(), np.stack([255 - HISTORY[1], HISTORY[1]]))


def test_the_last_images_come_oldest_first_and_no_fewer_than_are_needed():
    seen = observed(left=HISTORY, gripper=255 - HISTORY)
    images = recent(seen, CAMERAS, (4, 3), 2)
    np.testing.assert_array_equal(images.numpy(), np.stack([255 - HISTORY, HISTORY], axis=1))
    assert (recent(seen, CAMERAS, (4, 3), 1) == newest(seen, CAMERAS, (4, 3))).all()
    with pytest.raises(
        ObservationError, match="gripper: the observation has a history of 2 moments, the policy needs 3"
    ):
        recent(seen, CAMERAS, (4, 3), 3)


def test_black_is_minus_one_and_white_is_one_channels_first():
    images = torch.zeros(5, 2, 3, 4, 3, dtype=torch.uint8)
    images[..., 1] = 255
    values = signal(images)
    assert values.shape == (5, 2, 3, 3, 4) and values.dtype == torch.float32
    assert (values[:, :, 1] == 1).all() and (values[:, :, [0, 2]] == -1).all()


@pytest.mark.parametrize(
    "images, message",
    [
        ({"gripper": HISTORY}, "no image of camera 'left'; there are: gripper; needed: gripper, left"),
        ({}, "no image of camera 'gripper'; there are: none"),
        ({"gripper": HISTORY, "left": HISTORY[:0]}, "no image of camera 'left'"),
        (
            {"gripper": HISTORY, "left": HISTORY[:, :, :3]},
            r"left: the image is uint8 of shape \(3, 3, 3\), needed is uint8 of shape \(3, 4, 3\)",
        ),
        ({"gripper": HISTORY[..., 0], "left": HISTORY}, r"gripper: the image is uint8 of shape \(3, 4\)"),
        ({"gripper": HISTORY, "left": np.full(HISTORY.shape, np.nan)}, r"left: the image is float64 of shape"),
    ],
)
def test_f02_images_that_are_not_as_in_training_are_refused_by_name(images, message):
    with pytest.raises(ObservationError, match=message):
        newest(observed(**images), CAMERAS, (4, 3))


def test_a_signal_is_the_same_of_bytes_and_of_numbers_and_leaves_them_as_they_are():
    images = torch.from_numpy(HISTORY)
    numbers = images.float()
    assert torch.equal(signal(images), signal(numbers)) and torch.equal(numbers, images.float())
    assert signal(torch.tensor([[[0.0, 127.5, 255.0]]])).flatten().tolist() == [-1.0, 0.0, 1.0]
