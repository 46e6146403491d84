"""Imagined videos are held against the frames of the very moments that they stand for."""

import json
from dataclasses import replace

import numpy as np
import pytest

from kinema import cell_file
from kinema.apps import cli, evaluate_video
from kinema.apps.evaluate_video import Clip, Filming, film, measure, quality_table
from kinema.apps.rollouts import Player
from kinema.apps.trials import Scene, Setting
from kinema.chunk import ActionChunk, Image, Observation, ObservationSpec, Prediction
from kinema.control.messages import Mode
from kinema.errors import ConfigError
from kinema.geometry import Pose

SCENE = Scene("open_drawer", "seen", 1_000_000)
SETTING = Setting("dreamer", "", "", 8, "normal", Mode.OVERLAP, 0.1, "virtual_ur5e", 2.0)
SIZE = (96, 72)


class Dreamer:
    """Stays where it is, and imagines that nothing will change: three frames 0.4 s apart after the first."""

    name = "dreamer"

    def __init__(self) -> None:
        self.spec = ObservationSpec(cameras=("left", "right"), image_size=SIZE)
        self.chunks = 0

    def reset(self, seed: int | None = None) -> None:
        self.chunks = 0

    def predict(self, observation: Observation) -> Prediction:
        self.chunks += 1
        tcp, still = observation.T_base_tcp[-1], np.tile(np.eye(4), (32, 1, 1))
        return Prediction(
            ActionChunk(self.chunks, self.name, observation.stamp_ns, tcp, 0.08, 0.1, 0.1, still, None, None, 24)
        )

    def imagine(self, observation: Observation, prediction: Prediction) -> Prediction:
        video = {name: np.repeat(images[-1:], 4, axis=0) for name, images in observation.images.items()}
        return replace(prediction, video=video, video_dt=0.4)


def _picture(stamp_ns: int, name: str) -> Image:
    """Its grey levels say when and who: centiseconds, and the camera."""
    image = np.full((*SIZE[::-1], 3), stamp_ns // 10_000_000 % 256, np.uint8)
    image[..., 2] = 1 if name == "left" else 2
    return image


def test_each_frame_is_that_of_the_moment_it_stands_for() -> None:
    policy = Dreamer()
    filming = Filming(policy, SCENE)
    stamps = [round(1e9 + k * 1e9 / 30) for k in range(60)]
    for k, stamp_ns in enumerate(stamps):
        filming.moment(stamp_ns, lambda name, at=stamp_ns: _picture(at, name))  # type: ignore[misc]
        if k in (2, 9, 45):  # the second comes while the first clip still runs
            images = {name: _picture(stamp_ns, name)[None] for name in policy.spec.cameras}
            seen = Observation(stamp_ns, images, (Pose(np.zeros(3), np.eye(3)),), np.array([0.05]), None, "")
            filming.predicted(seen, policy.predict(seen))
    (clip,) = filming.clips
    assert clip.t0_ns == stamps[2] and clip.happened.shape == clip.imagined.shape == (2, 4, 72, 96, 3)
    for i, k in enumerate((2, 14, 26, 38)):
        for camera, name in enumerate(clip.cameras):
            np.testing.assert_array_equal(clip.happened[camera, i], _picture(stamps[k], name))


def test_measures_are_of_what_was_imagined_beside_the_first_frame() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (2, 3, 72, 96, 3), np.uint8)
    clips = [Clip(SCENE, 10**9, ("left", "right"), 0.4, imagined, truth) for imagined in (truth, truth[:, [0, 0, 0]])]
    values = measure(clips)
    assert values.shape == (2, 2, 2, 3, 2)
    perfect, repeated = values
    np.testing.assert_allclose(perfect[..., 1], repeated[..., 1])
    np.testing.assert_allclose(repeated[..., 0], repeated[..., 1])
    assert (perfect[:, :, 0, 0] > 58).all() and (repeated[:, :, 0, 0] < 10).all()
    np.testing.assert_allclose(perfect[:, :, 1:, 0], [[[1, 0]] * 2] * 2, atol=1e-6)
    sheet = quality_table(values, clips[0], "dreamer")
    assert [row[:2] for row in sheet.rows] == [
        ("all", "0.4 s"), ("all", "0.8 s"), ("left", "all"), ("right", "all"), ("all", "all"),
        ("imagined less repeated", "all"),
    ]  # fmt: skip


def test_a_dream_of_no_change_is_as_good_as_the_first_frame(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Player, "make", lambda self, seed: Dreamer())
    clips = film(Player("dreamer", {}, "dreamer", dt=0.1), SETTING, SCENE, cell_file.VIRTUAL)
    assert len(clips) == 1
    np.testing.assert_allclose(*np.moveaxis(measure(clips), -1, 0))
    assert measure(clips)[..., 0, 0].min() > 25, "a still arm in a still world: only the sensor's noise differs"
    monkeypatch.setattr(evaluate_video, "on_all_cores", lambda function, rows, jobs: [clips])
    words = ["--results", str(tmp_path / "results"), "--out", str(tmp_path / "videos"), "--task", "open_drawer"]
    assert cli.main(["evaluate", "video", "demonstrator", *words]) == 0
    shown = capsys.readouterr().out
    assert "PSNR [dB], imagined" in shown and "first frame" in shown
    assert (tmp_path / f"videos/{clips[0].name}.mp4").stat().st_size > 1000
    numbers = json.loads((tmp_path / "results/demonstrator_video.json").read_text())
    assert np.array(numbers["values"]).shape == (1, 2, 3, 3, 2) and numbers["clips"] == [clips[0].name]


def test_a_policy_without_a_video_is_refused() -> None:
    with pytest.raises(ConfigError, match="'demonstrator' imagines no video"):
        film(Player.of("demonstrator"), SETTING, SCENE, cell_file.VIRTUAL)
