"""A lens from samples of a board with known truth; samples that can't tell are refused, never answered confidently."""

import datetime
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from kinema.calibration import intrinsics
from kinema.calibration.board_detection import detect
from kinema.calibration.boards import DEFAULT, Board, Corners
from kinema.calibration.coverage import FIELDS, coverage, diversity, next_view, not_yet, view
from kinema.calibration.files import CameraInfo, Model, load, save
from kinema.calibration.intrinsics import FISHEYE, PINHOLE, Intrinsics, apart, calibrate
from kinema.errors import CalibrationError
from kinema.geometry import Pose, so3_exp
from kinema.virtual import noise
from kinema.virtual.board_samples import Spread, look, views
from kinema.virtual.board_view import BoardView
from kinema.virtual.cameras import camera

SIZE = (640, 480)
SIDE, FISH = (camera(name).info(SIZE) for name in ("left", "gripper"))
NEAR = {
    "left": Spread(near=0.3, far=0.5, tilt=math.radians(55), offset=0.3),
    "gripper": Spread(near=0.12, far=0.3, tilt=math.radians(45), offset=1.2),
}
TODAY = datetime.datetime.now(datetime.UTC).date()


def _samples(
    name: str, count: int, seed: int, spread: Spread | None = None, info: CameraInfo | None = None
) -> list[Corners]:
    rng, row, table = np.random.default_rng(seed), camera(name), noise.load()
    found: list[Corners] = []
    for T_camera_board in views(DEFAULT, spread or NEAR[name], rng):
        corners = look(DEFAULT, info or row.info(SIZE), T_camera_board, rng, table, row.max_angle)
        found += [corners] if corners is not None else []
        if len(found) == count:
            return found
    raise AssertionError("views never end")


@pytest.fixture(scope="module")
def side() -> list[Corners]:
    return _samples("left", 25, 1)


@pytest.fixture(scope="module")
def fish() -> list[Corners]:
    return _samples("gripper", 25, 2)


@pytest.fixture(scope="module")
def side_lens(side) -> Intrinsics:
    return calibrate(side, DEFAULT)


@pytest.fixture(scope="module")
def fish_lens(fish) -> Intrinsics:
    return calibrate(fish, DEFAULT, FISHEYE)


def _truth(info: CameraInfo) -> np.ndarray:
    return np.array([*info.matrix[[0, 1, 0, 1], [0, 1, 2, 2]], *info.distortion])


def _found(lens: Intrinsics) -> np.ndarray:
    return np.array([*lens.matrix[[0, 1, 0, 1], [0, 1, 2, 2]], *lens.distortion])


def _off_by(lens: Intrinsics, truth: CameraInfo, max_angle: float) -> float:
    return apart(lens.camera_info("found", "1", TODAY), truth, max_angle)


def _with(matrix: np.ndarray) -> CameraInfo:
    return CameraInfo.of("left", SIZE, matrix, SIDE.distortion_model, SIDE.distortion, SIDE.provenance)


def test_lenses_are_apart_by_their_rays_a_turn_of_the_camera_aside():
    assert apart(SIDE, SIDE, 0.5) < 1e-7
    longer, shifted = SIDE.matrix, SIDE.matrix
    longer[:2, :2] *= 1.01
    shifted[0, 2] += 6.0
    assert 0.002 < apart(_with(longer), SIDE, 0.5) < 0.01
    assert apart(_with(shifted), SIDE, 0.5) < 0.3 * 6.0 / SIDE.matrix[0, 0]


def test_a_pinhole_lens_is_found(side_lens):
    assert side_lens.model == "plumb_bob"
    assert side_lens.rms < 0.15
    assert side_lens.matrix[0, 0] == pytest.approx(SIDE.matrix[0, 0], rel=0.001)
    assert side_lens.held_out == pytest.approx(side_lens.rms, rel=0.25)
    assert math.degrees(_off_by(side_lens, SIDE, 0.6)) < 0.05
    assert side_lens.outliers == ()


def test_a_fisheye_lens_is_found_to_its_rim(fish_lens):
    assert fish_lens.rms < 0.2
    assert fish_lens.matrix[0, 0] == pytest.approx(FISH.matrix[0, 0], rel=0.0015)
    assert math.degrees(_off_by(fish_lens, FISH, math.radians(60))) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["left", "gripper"])
def test_the_standard_deviations_are_what_they_say(name):
    truth, models = (SIDE, PINHOLE[:1]) if name == "left" else (FISH, FISHEYE)
    scores = []
    for seed in range(5):
        lens = calibrate(_samples(name, 12, 50 + seed), DEFAULT, models)
        scores.append((_found(lens) - _truth(truth)) / lens.std)
    assert 0.6 < np.sqrt(np.mean(np.square(scores))) < 1.5


def test_what_it_means_at_a_metre_is_as_large_as_what_it_is_off(side_lens):
    off = 1e3 * _off_by(side_lens, SIDE, 0.4)
    assert 0.2 * off < side_lens.at_one_metre < 5.0


def test_opencv_stands_beside_it_and_agrees_where_nothing_is_wrong(side_lens, fish_lens):
    for lens in (side_lens, fish_lens):
        assert lens.plain.why == ""
        assert lens.plain.matrix[0, 0] == pytest.approx(lens.matrix[0, 0], rel=1e-4)
        assert lens.plain.rms == pytest.approx(lens.rms, rel=0.02)


@pytest.mark.parametrize(
    ("name", "models"), [("left", PINHOLE[:1]), pytest.param("gripper", FISHEYE, marks=pytest.mark.slow)]
)
def test_pictures_that_went_wrong_are_named_and_left_out(side, fish, side_lens, fish_lens, name, models):
    samples, clean = (list(side), side_lens) if name == "left" else (list(fish), fish_lens)
    rng = np.random.default_rng(5)
    samples[3] = replace(samples[3], pixels=samples[3].pixels + rng.normal(0.0, 3.0, samples[3].pixels.shape))
    bent = DEFAULT.points[samples[16].ids, 0]
    samples[16] = replace(samples[16], pixels=samples[16].pixels + np.outer((bent - 0.1) ** 2, [600.0, 300.0]))
    lens = calibrate(samples, DEFAULT, models)
    assert lens.outliers == (4, 17)
    assert np.abs(_found(lens) - _found(clean)).max() < 1.5
    assert abs(lens.matrix[0, 0] - clean.matrix[0, 0]) < 0.002 * clean.matrix[0, 0]
    assert lens.rms < 0.15 < 0.5 < lens.misfits[3]
    assert lens.plain.why or lens.plain.rms > 3 * lens.rms
    assert "left out: 4 (" in lens.report()


def test_the_file_of_a_lens_can_be_used(side_lens, tmp_path):
    info = side_lens.camera_info("left", "0123", TODAY)
    save(tmp_path / "left.yaml", info)
    again = load(tmp_path / "left.yaml", CameraInfo, serial="0123", remedy="")
    assert again == info
    assert again.provenance.samples == 25
    assert again.provenance.board == DEFAULT.name
    assert len(again.provenance.covariance) == 81
    for word in ("RMS", "held out", "at 1 m", "fx", "OpenCV"):
        assert word in side_lens.report()


@pytest.mark.slow
def test_a_rational_lens_is_chosen_only_where_the_simple_one_does_worse(side_lens, fish):
    assert side_lens.model == "plumb_bob"
    wide = [
        replace(corners, ids=corners.ids[near], pixels=corners.pixels[near])
        for corners in fish
        for near in [np.arctan(np.hypot(*FISH.rays(corners.pixels)[:, :2].T)) < math.radians(48)]
        if near.sum() > 15
    ]
    lens = calibrate(wide, DEFAULT)
    assert lens.model == "rational_polynomial"
    assert lens.rms < 0.15
    info = lens.camera_info("left", "1", TODAY)
    pixels = np.stack(np.meshgrid(np.linspace(120, 520, 7), np.linspace(80, 400, 7)), -1)
    np.testing.assert_allclose(info.project(info.rays(pixels)), pixels, atol=0.01)


def _mirrored(corners: Corners) -> Corners:
    return replace(corners, pixels=corners.pixels * [-1.0, 1.0] + [SIZE[0] - 1, 0.0])


def _stretched(corners: Corners) -> Corners:
    return replace(corners, pixels=(corners.pixels - 200.0) * [1.0, 0.95] + 200.0)


def test_samples_that_cannot_tell_are_refused(side):
    parallel = _samples("left", 15, 8, Spread(near=0.35, far=0.7, tilt=math.radians(2), roll=3.0, offset=0.35))
    left = [s for s in _samples("left", 60, 9) if s.pixels[:, 0].mean() < 300]
    left = [replace(s, ids=s.ids[keep], pixels=s.pixels[keep]) for s in left for keep in [s.pixels[:, 0] < 300]]
    left = [s for s in left if len(s.ids) >= 12]
    wider = Board("charuco", 10, 6, 0.030, 0.022, "DICT_5X5_100")
    other = _samples("left", 12, 10, info=FISH)
    for samples, board, words in (
        (side[:7], DEFAULT, "7 samples, needed are 8"),
        (parallel, DEFAULT, "boards are all parallel|the focal length is known to|leave open"),
        (left, DEFAULT, r"corners were seen in \d\d % of the picture, needed are 60 %"),
        ([side[0]] * 12, DEFAULT, r"corners were seen in \d\d %"),
        ([*side[:5], _mirrored(side[5]), *side[6:]], DEFAULT, "sample 6 shows the board mirrored"),
        (side, wider, "or is it another board than 'charuco 10x6"),
        (side, Board("charuco", 5, 4, 0.030, 0.022, "DICT_5X5_100"), r"corner \d\d is none of"),
        (
            [*side[:9], replace(side[9], size=(1280, 960))],
            DEFAULT,
            "sample 10 is 1280 x 960 px, the first is 640 x 480",
        ),
        ([*side[:9], replace(side[9], ids=side[9].ids[:5], pixels=side[9].pixels[:5])], DEFAULT, "sample 10 shows 5"),
        ([*side[:12], *other], DEFAULT, "px .RMS. from where|contradict the others"),
        ([_stretched(s) for s in side], DEFAULT, "is the print stretched"),
    ):
        with pytest.raises(CalibrationError, match=words):
            calibrate(samples, board, PINHOLE[:1])


@pytest.mark.slow
def test_a_fisheye_taken_for_a_pinhole_is_refused(fish):
    with pytest.raises(CalibrationError):
        calibrate(fish, DEFAULT, PINHOLE[:1])


@pytest.mark.slow
def test_from_pictures_to_a_lens():
    """Rendered with noise and blur, found, fitted: the whole way, with as few pictures as a test affords."""
    rng, board_view, samples = np.random.default_rng(11), BoardView(DEFAULT, SIDE), []
    for T_camera_board in views(DEFAULT, NEAR["left"], rng):
        try:
            samples.append(detect(board_view.render(T_camera_board, rng), DEFAULT))
        except CalibrationError:
            continue
        if len(samples) == 12:
            break
    lens = calibrate(samples, DEFAULT, PINHOLE[:1])
    assert lens.rms < 0.15
    assert lens.matrix[0, 0] == pytest.approx(SIDE.matrix[0, 0], rel=0.004)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["plumb_bob", "rational_polynomial", "equidistant"]), st.integers(0, 2**31))
def test_the_derivatives_are_those_of_the_residuals(model: Model, seed):
    rng = np.random.default_rng(seed)
    problem = intrinsics._Problem(model, [DEFAULT.points] * 2, [np.zeros((len(DEFAULT.points), 2))] * 2)
    poses = [[*rng.normal(0.0, 0.3, 3), *rng.normal(0.0, 0.05, 2), rng.uniform(0.4, 0.8)] for _ in range(2)]
    lens = [600.0, 590.0, 320.0, 240.0, *rng.normal(0.0, 0.02, problem.lenses - 4)]
    x = np.concatenate([lens, *poses])
    along = rng.standard_normal(len(x)) * np.concatenate([[1.0] * 4, [1e-3] * (len(x) - 4)])
    slope = (problem.residuals(x + 1e-4 * along) - problem.residuals(x - 1e-4 * along)) / 2e-4
    np.testing.assert_allclose(problem.jacobian(x) @ along, slope, atol=1e-4 * np.abs(slope).max())


def _corners(turn=(0.0, 0.0, 0.0), at=(0.0, 0.0, 0.6), blur=0.6) -> Corners:
    rotation = so3_exp(np.array(turn, float))
    pose = Pose(np.array(at, float) - rotation @ np.array([*DEFAULT.size, 0.0]) / 2, rotation)
    return Corners(np.arange(len(DEFAULT.points)), SIDE.project(pose.apply(DEFAULT.points)), SIZE, blur)


def test_a_view_is_where_how_large_and_how_tilted_the_board_is():
    plain, right = view(_corners(), DEFAULT), view(_corners(at=(0.1, 0.05, 0.6)), DEFAULT)
    assert (plain.x, plain.y) == pytest.approx((0.5, 0.5), abs=0.02)
    assert right.x > plain.x + 0.1
    assert right.y > plain.y + 0.08
    assert plain.size / view(_corners(at=(0.0, 0.0, 1.2)), DEFAULT).size == pytest.approx(2.0, rel=0.05)
    assert plain.tilt == pytest.approx((0.0, 0.0), abs=0.03)
    away_right, away_below = view(_corners((0.0, -0.4, 0.0)), DEFAULT), view(_corners((0.4, 0.0, 0.0)), DEFAULT)
    assert away_right.tilt[0] > 0.3 > abs(away_right.tilt[1])
    assert away_below.tilt[1] > 0.3 > abs(away_below.tilt[0])


def test_a_board_that_is_rolled_is_tilted_to_the_same_side():
    rolled = so3_exp(np.array([0.0, -0.4, 0.0])) @ so3_exp(np.array([0.0, 0.0, 2.0]))
    pose = Pose(np.array([0.0, 0.0, 0.6]) - rolled @ np.array([*DEFAULT.size, 0.0]) / 2, rolled)
    corners = Corners(np.arange(len(DEFAULT.points)), SIDE.project(pose.apply(DEFAULT.points)), SIZE)
    assert view(corners, DEFAULT).tilt == pytest.approx(view(_corners((0.0, -0.4, 0.0)), DEFAULT).tilt, abs=0.05)


def test_corners_are_counted_in_the_fields_where_they_are():
    nothing = coverage([])
    assert nothing.counts.shape == FIELDS
    assert nothing.share == 0.0
    ends = Corners(np.array([0, 1]), np.array([[-0.4, -0.4], [639.4, 479.4]]), SIZE)
    both = coverage([ends, ends])
    assert both.counts[0, 0] == both.counts[-1, -1] == 2
    assert both.counts.sum() == 4
    assert both.share == pytest.approx(2 / 48)


def test_who_follows_the_advice_has_samples_that_suffice():
    """A person who shows the board where and how they are told to."""
    places = (("left", -0.55), ("right", 0.55)), (("top", -0.4), ("bottom", 0.4))
    turns = {"right": (0.0, -0.6, 0.0), "left": (0.0, 0.6, 0.0), "lower": (0.6, 0.0, 0.0), "upper": (-0.6, 0.0, 0.0)}
    samples: list[Corners] = []
    rng, told = np.random.default_rng(12), []
    while advice := next_view(samples, DEFAULT):
        told.append(advice)
        turn, (x, y, z) = (0.0, 0.0, 0.0), (0.0, 0.0, 0.55)
        if advice.startswith("tilt"):
            turn = next(value for side, value in turns.items() if f"its {side} side" in advice)
        elif advice.startswith("show the board at"):
            x, y = (sum(0.42 * value for side, value in pair if side in advice) for pair in places)
        else:
            z = {"show the board nearer": 0.32, "show the board farther away": 1.0}.get(advice, z)
        corners = _corners(np.array(turn) + rng.normal(0.0, 0.02, 3), (x, y, z))
        inside = ((corners.pixels > 2) & (corners.pixels < np.array(SIZE) - 3)).all(axis=1)
        samples.append(replace(corners, ids=corners.ids[inside], pixels=corners.pixels[inside]))
        assert len(samples) < 30, told[-5:]
    assert diversity(samples, DEFAULT) == 1.0
    assert coverage(samples).share > 0.8
    assert any(advice.startswith("tilt") for advice in told)
    assert calibrate(samples, DEFAULT, PINHOLE[:1]).matrix[0, 0] == pytest.approx(SIDE.matrix[0, 0], rel=1e-3)


def test_diversity_grows_from_nothing():
    assert diversity([], DEFAULT) == 0.0
    one = diversity([_corners()], DEFAULT)
    some = diversity([_corners(), _corners((0.0, 0.5, 0.0)), _corners(at=(0, 0, 1.2))], DEFAULT)
    assert one < 0.1 < 0.35 < some < 1.0


def test_a_sample_is_taken_by_itself_when_still_sharp_and_new():
    still = [_corners()] * 3
    assert not_yet(still, [], DEFAULT) == ""
    assert "3 are needed" in not_yet(still[:2], [], DEFAULT)
    assert "moves" in not_yet([_corners(at=(0.0, 0.001 * k, 0.6)) for k in range(3)], [], DEFAULT)
    assert "blurred by 1.8 px" in not_yet([_corners(blur=1.8)] * 3, [], DEFAULT)
    assert "shown already: show the board at the" in not_yet(still, [_corners(at=(0.01, 0.0, 0.62))], DEFAULT)
    assert not_yet(still, [_corners(at=(0.1, 0.0, 0.6)), _corners((0.3, 0.0, 0.0))], DEFAULT) == ""
    missing = replace(still[0], ids=still[0].ids[:0], pixels=still[0].pixels[:0])
    assert "moves" in not_yet([missing, *still[1:]], [], DEFAULT)


def test_corners_in_one_line_are_no_view():
    row = _corners()
    with pytest.raises(CalibrationError, match="one line"):
        view(replace(row, ids=row.ids[:8], pixels=row.pixels[:8]), DEFAULT)


def test_opencvs_refusal_is_told_not_raised(fish, monkeypatch):
    def refuses(*_args: object, **_options: object) -> None:
        raise cv2.error("ill-conditioned")

    monkeypatch.setattr(cv2.fisheye, "calibrate", refuses)
    lens = calibrate(fish[:10], DEFAULT, FISHEYE)
    assert "gives up" in lens.plain.why
    assert "OpenCV: gives up" in lens.report()
