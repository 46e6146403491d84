"""What is usual is learned from rollouts that succeeded; mishaps happen when they should, and are noticed."""

import json

import numpy as np
import pytest

from kinema import cell_file
from kinema.apps import cli, evaluate_divergence
from kinema.apps.evaluate_divergence import (
    HAND,
    KNOCKED,
    MISHAPS,
    MOVED,
    NOTHING,
    Mishap,
    Shown,
    curves,
    differences,
    noticed,
    surprise,
    usual,
)
from kinema.apps.evaluate_video import Clip
from kinema.apps.rollouts import Player
from kinema.apps.trials import Scene, Setting
from kinema.control.messages import Mode
from kinema.errors import CheckpointError, ConfigError
from kinema.perception import divergence
from kinema.topics import CAMERAS
from kinema.virtual import scenario
from kinema.virtual.world import World

SCENE = Scene("pick_and_place", "seen", 2_000_000)
FRAMES = 8


def shown(kind: str, seed: int, success: bool = True, clips: int = 3) -> Shown:
    """Differences as they are usual; after a mishap, which comes in the midst of a clip, those of one camera grow."""
    rng = np.random.default_rng([seed, MISHAPS.index(kind)])
    found = rng.gamma(9.0, 0.1, (clips, 3, FRAMES, 2))
    since = 0.4 * np.arange(1, FRAMES + 1) - 1.5 + np.zeros((clips, 1))
    if kind != NOTHING:
        found[:, 1][since >= 0] += 3.0
    return Shown(kind, success, CAMERAS, 0.4, found, since)


CALM = [shown(NOTHING, seed) for seed in range(10)]
TRIED = [shown(kind, seed) for seed in range(20, 26) for kind in MISHAPS]


def test_only_rollouts_that_succeeded_say_what_is_usual() -> None:
    wild = [shown(HAND, seed, success=False) for seed in range(5)]
    assert usual([*CALM, *wild], "abc", "") == usual(CALM, "abc", "")
    with pytest.raises(CheckpointError, match="0 moments of 0 successful rollouts"):
        usual(wild, "abc", "")


def test_what_happened_is_told_from_what_is_usual() -> None:
    known = usual(CALM, "abc", "")
    assert all(curve.area > 0.99 for curve in curves(known, TRIED).values())
    sheet = noticed(known, TRIED, "dreamer")
    rows = {row[0]: row for row in sheet.rows}
    assert list(rows) == list(MISHAPS)
    assert float(rows[NOTHING][3].split()[0]) < 5.0 and rows[NOTHING][2] == "-"
    for kind in MISHAPS[1:]:
        assert float(rows[kind][3].split()[0]) > 95.0
        assert rows[kind][4:] == ("6 of 6", "0.1 s"), "the first frame after it"


def test_moments_before_a_mishap_do_not_count_as_after() -> None:
    known = usual(CALM, "abc", "")
    early = [Shown(HAND, True, CAMERAS, 0.4, row.differences, row.since - 5.0) for row in TRIED if row.kind == HAND]
    assert HAND not in curves(known, [*early, shown(NOTHING, 50)])


def test_clips_that_began_after_the_mishap_are_left_out() -> None:
    still = np.full((3, 3, 48, 64, 3), 90, np.uint8)
    clips = [Clip(SCENE, t0_ns, CAMERAS, 0.4, still, still) for t0_ns in (10**9, 2 * 10**9, 3 * 10**9)]
    row = Shown.of(HAND, True, clips, 2_500_000_000)
    assert row.differences.shape == (2, 3, 2, 2) and not row.differences.any()
    np.testing.assert_allclose(row.since, [[-1.1, -0.7], [-0.1, 0.3]])
    assert len(Shown.of(NOTHING, True, clips, 2_500_000_000).differences) == 3
    assert not len(Shown.of(HAND, True, clips, 10**9).differences)


def test_the_clips_differences_are_those_of_its_frames() -> None:
    rng = np.random.default_rng(0)
    imagined = rng.integers(0, 256, (3, 3, 48, 64, 3), np.uint8)
    happened = imagined.copy()
    happened[1, 2] = rng.integers(0, 256, (48, 64, 3), np.uint8)
    found = differences(Clip(SCENE, 0, CAMERAS, 0.4, imagined, happened))
    assert found.shape == (3, 2, 2) and found[1, 1].min() > 0.5
    found[1, 1] = 0.0
    assert not found.any()


def test_each_mishap_comes_in_its_time_and_is_the_same_every_time() -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    for kind in MISHAPS:
        mishap, again = Mishap(kind, 7), Mishap(kind, 7)
        world = World(scenario.draw("pick_and_place", "train", 7), "virtual_ur5e", seed=7)
        before = world.truth().poses[world.scenario.target.name].position.copy()
        for one in (mishap, again):
            one.begin(world)
        assert 1.0 <= mishap.after <= 2.0
        early = [mishap.seen(camera, mishap.at_ns - 1, image) is image for camera in CAMERAS]
        late = [np.array_equal(mishap.seen(camera, mishap.at_ns, image), image) for camera in CAMERAS]
        assert all(early) and late.count(False) == (kind in (HAND, KNOCKED))
        for camera in CAMERAS:
            np.testing.assert_array_equal(*(one.seen(camera, one.at_ns, image) for one in (mishap, again)))
        mishap.happen()
        assert np.array_equal(world.truth().poses[world.scenario.target.name].position, before), "it is too early"
        world.k += round(mishap.after / world.period) + 1
        mishap.happen()
        moved = np.linalg.norm(world.truth().poses[world.scenario.target.name].position - before)
        assert moved == pytest.approx(0.07 if kind == MOVED else 0.0, abs=1e-6)


def test_a_policy_without_a_video_is_refused() -> None:
    setting = Setting("demonstrator", "", "", 8, "normal", Mode.OVERLAP, 0.1, "virtual_ur5e", 1.0)
    with pytest.raises(ConfigError, match="'demonstrator' imagines no video"):
        surprise(Player.of("demonstrator"), setting, SCENE, cell_file.VIRTUAL, NOTHING)


def test_the_threshold_goes_to_the_checkpoint_and_the_curves_to_the_results(tmp_path, monkeypatch, capsys) -> None:
    known = Player("dreamer", {}, "dreamer", checkpoint="abc")
    monkeypatch.setattr(Player, "of", lambda *_: known)
    monkeypatch.setattr(Player, "make", lambda self, seed: object())
    rows: list[tuple] = []

    def rolled_out(function, wanted, jobs):
        rows.extend(wanted)
        return [(number, shown(kind, number)) for number, *_, kind in reversed(wanted)]

    monkeypatch.setattr(evaluate_divergence, "on_all_cores", rolled_out)
    words = ["--scenarios", "10", "--task", "pick_and_place", "--results", str(tmp_path / "results")]
    assert cli.main(["evaluate", "divergence", str(tmp_path), *words]) == 0
    kinds = [row[-1] for row in rows]
    assert kinds == [NOTHING] * 5 + list(MISHAPS) * 5
    found = divergence.load(tmp_path, "abc", "")
    assert found is not None and found.rollouts == 5 and found.frames == FRAMES
    assert HAND in capsys.readouterr().out
    (file,) = (tmp_path / "results").glob("*.json")
    assert json.loads(file.read_text())["roc"].keys() == set(MISHAPS[1:])
    assert file.with_suffix(".png").stat().st_size > 1000
