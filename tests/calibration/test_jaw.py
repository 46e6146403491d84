"""Jaw calibration: from corners of a jaw that closes and opens, whatever was printed and however it was glued."""

import datetime

import numpy as np
import pytest

from kinema.calibration.bundle import load_bundle
from kinema.calibration.files import Jaw, JawTag, load, save
from kinema.calibration.jaw import JawDesign, Sighting, calibrate
from kinema.errors import CalibrationError
from kinema.geometry import Pose, so3_exp
from kinema.paths import root

BUNDLE = load_bundle(root() / "calibration" / "virtual", {"gripper": "VIRTUAL-GRIPPER", "jaw": "VIRTUAL-JAW"})
INFO, T_TCP_CAMERA = BUNDLE.camera("gripper"), BUNDLE.T_tcp_camera()
DESIGN = JawDesign(BUNDLE.jaw.dictionary, size=0.016, stroke=BUNDLE.jaw.stroke)
DATE = datetime.datetime.now(datetime.UTC).date()
NOISE = 0.15  # [px]

# What a person has really glued on: half a millimetre smaller, shifted by up to 2 mm and turned by some degrees.
GLUED = {
    "left": JawTag.of(7, 0.0155, -1, Pose(np.array([-0.0115, -0.020, -0.074]), so3_exp(np.array([2.30, 0.05, -0.04])))),
    "right": JawTag.of(3, 0.0155, 1, Pose(np.array([0.0142, -0.018, -0.0765]), so3_exp(np.array([2.42, -0.03, 0.06])))),
}
CYCLE = np.concatenate([np.linspace(0.06, 0.0, 60), np.zeros(20), np.linspace(0.0, 0.085, 80), np.full(20, 0.085)])


def _sightings(widths: np.ndarray = CYCLE, noise: float = NOISE, seed: int = 0) -> list[Sighting]:
    rng = np.random.default_rng(seed)
    T_camera_tcp = T_TCP_CAMERA.inverse()
    return [
        {
            tag.id: INFO.project((T_camera_tcp @ tag.T_tcp_tag(width)).apply(tag.corners))
            + noise * rng.standard_normal((4, 2))
            for tag in GLUED.values()
        }
        for width in widths.tolist()
    ]


def _calibrate(sightings: list[Sighting], design: JawDesign = DESIGN) -> Jaw:
    return calibrate(sightings, INFO, T_TCP_CAMERA, design, "VIRTUAL-JAW", DATE)


@pytest.mark.parametrize("printed", [0.0152, 0.0155, 0.0160])
def test_the_tags_are_found_where_they_were_glued_whatever_size_was_meant_to_be_printed(printed):
    jaw = _calibrate(_sightings(), JawDesign(DESIGN.dictionary, printed, DESIGN.stroke))
    for name, truth in GLUED.items():
        tag: JawTag = getattr(jaw, name)
        assert (tag.id, tag.direction) == (truth.id, truth.direction)
        assert tag.size == pytest.approx(truth.size, rel=0.005)
        np.testing.assert_allclose(tag.position, truth.position, atol=0.0005)
        turned = tag.T_tcp_tag(0.0).rotation.T @ truth.T_tcp_tag(0.0).rotation
        assert np.degrees(np.arccos((np.trace(turned) - 1) / 2)) < 2.0
    assert jaw.provenance.origin == "measured"
    assert jaw.provenance.samples == len(CYCLE)
    assert 0.0 < jaw.provenance.rms < 0.0002


def test_the_result_is_a_file_that_may_be_used(tmp_path):
    jaw = _calibrate(_sightings())
    save(tmp_path / "jaw.yaml", jaw)
    assert load(tmp_path / "jaw.yaml", Jaw, serial="VIRTUAL-JAW", remedy="") == jaw


def test_the_order_of_the_pictures_wild_corners_and_strange_tags_do_not_matter():
    plain = _calibrate(_sightings())
    sightings = _sightings()
    sightings[70] = {7: sightings[70][7] + 30.0, 3: sightings[70][3]}
    for k in range(0, 100, 7):
        sightings[k] = {**sightings[k], 40: np.full((4, 2), 100.0)}
    jaw = _calibrate([sightings[k] for k in np.random.default_rng(1).permutation(len(sightings))])
    for name in GLUED:
        np.testing.assert_allclose(getattr(jaw, name).position, getattr(plain, name).position, atol=0.0003)


@pytest.mark.parametrize(
    ("sightings", "words"),
    [
        ([], "both finger tags are seen in 0 of 0"),
        ([{7: s[7]} for s in _sightings()], "both finger tags are seen in 0 of 180"),
        (_sightings()[:19], "seen in 19 of 19 pictures, needed are 20"),
        (_sightings(np.linspace(0.02, 0.06, 60)), r"came apart by [34]\d\.\d mm, the stroke is 85\.0 mm"),
        (_sightings(np.linspace(0.0, 0.07, 60)), r"the jaw went [67]\d\.\d mm, the stroke is 85\.0 mm"),
        (_sightings(noise=8.0), r"provenance\.rms is|tags seen fit"),
    ],
)
def test_pictures_that_lack_something_are_refused_with_the_remedy(sightings, words):
    with pytest.raises(CalibrationError, match=words) as refusal:
        _calibrate(sightings)
    assert "close the jaw fully, open it fully" in str(refusal.value)


def test_a_mount_that_is_turned_is_found_out():
    turned = Pose(T_TCP_CAMERA.position, so3_exp(np.array([0.0, 0.0, 0.3])) @ T_TCP_CAMERA.rotation)
    with pytest.raises(CalibrationError, match=r"17 degrees to the TCP's x axis.*mount first"):
        calibrate(_sightings(), INFO, turned, DESIGN, "VIRTUAL-JAW", DATE)
