import itertools

import numpy as np
import pytest

from kinema.apps.renderer import FrameSource
from kinema.devices.virtual import VirtualCamera
from kinema.topics import CAMERAS

SIZE = (256, 192)


@pytest.fixture
def frames(rig, tmp_path):
    frames = FrameSource(tmp_path, SIZE)
    yield frames
    frames.close()


@pytest.fixture
def cameras(frames, tmp_path):
    return {name: VirtualCamera(name, "serial", SIZE, tmp_path) for name in CAMERAS}


def _show(rig, frames, ticks):
    """Tick and render, as two processes would do side by side; how many sets of frames came of it."""
    rendered = 0
    for _ in range(ticks):
        rig.cell.tick()
        rendered += frames.step()
    return rendered


def _read(camera):
    taken = []
    while (frame := camera.read(0.0)) is not None:
        taken.append(frame)
    return taken


def test_every_camera_takes_thirty_frames_a_second_of_the_cells_time(rig, frames, cameras):
    assert _show(rig, frames, 50) == pytest.approx(3, abs=1)
    taken = {name: _read(camera) for name, camera in cameras.items()}
    for sequence in taken.values():
        assert [frame.sequence - sequence[0].sequence for frame in sequence] == list(range(len(sequence)))
        assert all(frame.image.shape == (192, 256, 3) and frame.image.std() > 5 for frame in sequence)
        assert all(frame.stamp_ns <= rig.cell.world.t_ns for frame in sequence)
    assert [f.stamp_ns for f in taken["left"]] == [f.stamp_ns for f in taken["gripper"]]
    assert not np.array_equal(taken["left"][0].image, taken["left"][1].image)  # a still scene, but sensor noise


def test_a_slow_renderer_leaves_moments_out_and_the_sequence_shows_it(rig, frames, cameras):
    _show(rig, frames, 20)
    _read(cameras["left"])
    rig.ticks(100)
    assert frames.step() and not frames.step()
    (late,) = _read(cameras["left"])
    _show(rig, frames, 20)
    assert _read(cameras["left"])[0].sequence == late.sequence + 1


def test_a_new_scene_is_drawn_from_its_own_model(rig, frames, cameras):
    _show(rig, frames, 20)
    before = _read(cameras["left"])[-1].image.astype(float)
    client = rig.client()
    rig.during(lambda: client.reset("pick_and_place", "unseen_background", 3))
    _show(rig, frames, 20)
    after = _read(cameras["left"])[-1].image.astype(float)
    assert np.abs(after - before).mean() > 10


def test_f10_a_frozen_camera_repeats_its_image_with_fresh_stamps_and_the_others_go_on(rig, frames, cameras):
    _show(rig, frames, 20)
    rig.cell.board.inject("frozen", "left", 0.0, 0.0, 0.0, rig.cell.world.t_ns)
    _show(rig, frames, 5)
    for camera in cameras.values():
        _read(camera)
    _show(rig, frames, 60)
    left, right = _read(cameras["left"]), _read(cameras["right"])
    assert len(left) == len(right) >= 3
    assert all(np.array_equal(frame.image, left[0].image) for frame in left)
    assert len({frame.stamp_ns for frame in left}) == len(left)
    assert not np.array_equal(right[0].image, right[1].image)
    rig.cell.board.clear()
    _show(rig, frames, 40)
    thawed = _read(cameras["left"])
    assert not np.array_equal(thawed[-1].image, left[0].image)


def test_dropped_disconnected_and_late_frames(rig, frames, cameras):
    def inject(name, value=0.0):
        rig.cell.board.clear()
        rig.cell.board.inject(name, "left", value, 0.0, 0.0, rig.cell.world.t_ns)
        _show(rig, frames, 20)
        _read(cameras["left"])
        _show(rig, frames, 100)
        return _read(cameras["left"])

    assert inject("disconnect") == []
    assert inject("dropout", 1.0) == []
    late = inject("latency", 0.05)
    assert len(late) >= 4
    rig.cell.board.clear()
    age = rig.cell.world.t_ns - late[-1].stamp_ns
    assert age >= 0.05e9  # the stamp stays that of the moment it was taken


def test_frames_are_evenly_spaced_however_late_the_renderer_looks(rig, frames, cameras):
    _show(rig, frames, 20)
    _read(cameras["left"])
    for ticks in (17, 12, 20, 25, 10, 16, 17, 30, 8, 17):  # of 2 ms; a moment lasts 16.7 of them
        rig.ticks(ticks)
        frames.step()
    taken = _read(cameras["left"])
    for earlier, later in itertools.pairwise(taken):
        moments = later.sequence - earlier.sequence
        assert later.stamp_ns - earlier.stamp_ns == pytest.approx(moments * 1e9 / 30, abs=4.1e6)
