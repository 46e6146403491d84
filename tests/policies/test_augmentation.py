"""Images varied for training: another light for each, strips in the side cameras' only, by torch's global generator."""

import torch

from kinema.policies.augmentation import varied, varied_clips

torch.set_num_threads(1)


def pictures(count: int) -> torch.Tensor:
    """Noise (b, 3, 3, 18, 24), no two pixels alike."""
    torch.manual_seed(0)
    return torch.rand(count, 3, 3, 18, 24) * 2 - 1


def drawn(images: torch.Tensor, seed: int) -> torch.Tensor:
    torch.manual_seed(seed)
    return varied(images)


def covered(images: torch.Tensor) -> torch.Tensor:
    """Where an image goes on in one colour (b, cameras, height, width - 1)."""
    return (images[..., 1:] == images[..., :-1]).all(dim=2)


def test_the_same_seed_gives_the_same_images_and_those_given_stay_as_they_are():
    images = pictures(8)
    before = images.clone()
    assert torch.equal(drawn(images, 1), drawn(images, 1))
    assert not torch.equal(drawn(images, 1), drawn(images, 2))
    assert torch.equal(images, before)


def test_strips_hide_parts_of_the_side_cameras_images_and_never_of_the_grippers():
    found = covered(drawn(pictures(100), 3))
    assert not found[:, 0].any()
    hidden = found.flatten(2).float().mean(dim=2)
    for camera in (1, 2):
        assert 0.3 < (hidden[:, camera] > 0).float().mean() < 0.7
        assert 0.05 < hidden[:, camera].mean() < 0.4
    assert not torch.equal(found[:, 1], found[:, 2])


def test_a_strip_has_one_colour():
    images = drawn(pictures(50), 4)
    for image, strip in zip(images.flatten(0, 1), covered(images).flatten(0, 1), strict=True):
        colours = image[:, :, 1:][:, strip]
        assert (colours == colours[:, :1]).all()


def test_light_changes_contrast_of_an_image_and_brightness_of_its_channels():
    images = pictures(40)
    lit = drawn(images, 5)[:, 0].flatten(2)
    centred, given = lit - lit.mean(dim=2, keepdim=True), images[:, 0].flatten(2)
    given = given - given.mean(dim=2, keepdim=True)
    gain = (centred * given).sum(dim=2) / given.square().sum(dim=2)
    torch.testing.assert_close(centred, gain[..., None] * given, atol=1e-5, rtol=0)
    torch.testing.assert_close(gain, gain[:, :1].expand(-1, 3))
    assert 0.85 <= gain.min() < 0.9 and 1.1 < gain.max() <= 1.15


def test_all_images_of_a_camera_in_a_clip_are_varied_alike():
    torch.manual_seed(0)
    now = torch.randint(64, 192, (6, 3, 18, 24, 3), dtype=torch.uint8)
    still = now[:, :, None].expand(-1, -1, 4, -1, -1, -1)
    torch.manual_seed(1)
    other, coming = varied_clips(now, still, 2.0)
    assert other.dtype == coming.dtype == torch.uint8 and other.shape == now.shape and coming.shape == still.shape
    assert torch.equal(coming, other[:, :, None].expand_as(coming)), "what stood still moves"
    assert not torch.equal(other, now)
    moved = (other.float() - now.float()).flatten(2).std(dim=2)
    assert (moved[:, 1:] > moved[:, :1]).any(), "no strip hides anything in a side camera"
    torch.manual_seed(1)
    alone, nothing = varied_clips(now, None, 2.0)
    assert nothing is None and torch.equal(alone, other)


def test_a_clip_stays_as_it_is_but_for_light_and_strips():
    now = torch.randint(100, 156, (40, 3, 18, 24, 3), dtype=torch.uint8)
    other, _ = varied_clips(now, None, 0.0)
    assert (other[:, 0].int() - now[:, 0].int()).abs().max() == 0
