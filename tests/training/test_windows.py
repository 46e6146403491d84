"""Moments as batches: whose images and actions they are, how they are drawn, split and varied."""

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kinema.episodes import shards
from kinema.episodes.export import export
from kinema.episodes.reader import find
from kinema.episodes.shards import Played, ShardDataset, Shards
from kinema.errors import EpisodeError
from kinema.geometry import rotation_from_6d
from kinema.policies import look, tool_state
from kinema.policies.actions import ActionSpace
from kinema.training.windows import Draw, Framing, Windows, draw, sound, split, spread

RECORDED = Path(__file__).resolve().parents[1] / "data/episodes"
VIDEO = Framing(frames=8)
VARIED = Framing(frames=2, shift=3, prefix=6)


def every(data: ShardDataset) -> list[tuple[ShardDataset, int]]:
    return [(data, episode) for episode in range(len(data))]


def single_episode() -> dict[str, Path]:
    return dict(list(find(RECORDED).items())[:1])


def plain(*rows: int, cameras: int = 3) -> Draw:
    count = len(rows)
    still = np.zeros((count, 3), np.float32)
    return Draw(np.array(rows), np.zeros((count, cameras, 2), np.int64), np.zeros(count, np.int64), still)


@pytest.fixture(scope="module")
def space(data) -> ActionSpace:
    return ActionSpace.of(data.index, executable=24)


# ---- what a moment is


def test_a_moment_is_the_images_at_t_those_that_followed_and_the_chunk_that_was_right(data, space):
    windows = Windows(every(data), VIDEO, space)
    assert len(windows) == sum(data.frames(episode) - 1 for episode in range(len(data)))
    t, episode = 11, 1
    batch = windows.batch(plain(3, data.frames(0) - 1 + t))
    assert batch.now.shape == (2, 3, 48, 64, 3) and batch.now.dtype == torch.uint8
    assert batch.future.shape == (2, 3, 8, 48, 64, 3)
    assert batch.text == (data.text(0), data.text(1))
    seen = data.window(episode, VIDEO.cameras, [t, *range(t + 4, t + 33, 4)])
    for camera, name in enumerate(VIDEO.cameras):
        assert np.array_equal(batch.now[1, camera], seen[name][0])
        assert np.array_equal(batch.future[1, camera], seen[name][1:])
    assert np.array_equal(batch.actions[1], space.normalise(space.relative(data.state(episode), t)))
    assert np.array_equal(batch.state[1], data.state(episode)[t, : tool_state.WIDTH].astype(np.float32))
    assert batch.prefix.tolist() == [0, 0]


def test_after_the_end_the_last_image_and_the_last_state_go_on(data, space):
    windows = Windows([(data, 0)], VIDEO, space)
    batch = windows.batch(plain(len(windows) - 1))
    last = data.images(0, "left", [data.frames(0) - 1])
    assert np.array_equal(batch.future[0, 1], np.repeat(last, 8, axis=0))
    assert (batch.actions[0] == batch.actions[0, 0]).all()


def test_a_history_is_what_was_seen_and_done_before_and_begins_with_the_episode(data, space):
    framing = Framing(frames=2, stride=4, history=3)
    windows = Windows(every(data), framing, space)
    begin = data.frames(0) - 1
    batch = windows.batch(plain(begin + 11, begin + 5, 2))
    assert batch.past.shape == (3, 3, 2, 48, 64, 3) and batch.done.shape == (3, 12, 10)
    for row, (episode, t) in enumerate(((1, 11), (1, 5), (0, 2))):
        before = [max(t - 8, 0), max(t - 4, 0)]
        seen = data.window(episode, framing.cameras, [*before, t, t + 4, t + 8])
        for camera, name in enumerate(framing.cameras):
            assert np.array_equal(batch.past[row, camera], seen[name][:2])
            assert np.array_equal(batch.now[row, camera], seen[name][2])
            assert np.array_equal(batch.future[row, camera], seen[name][3:])
        assert np.array_equal(batch.done[row], space.done(data.state(episode), t, 12))
    alone = Windows(every(data), framing, None).batch(plain(3))
    assert alone.done is None and alone.past is not None
    assert Windows(every(data), VIDEO, space).batch(plain(3)).past is None


def test_images_decoded_as_needed_are_those_decoded_at_once(data):
    at_once, as_needed = Windows(every(data), VARIED, None), Windows(every(data), VARIED, None, memory=0.0)
    drawn = draw(len(at_once), VARIED, 16, seed=5, step=2)
    one, other = at_once.batch(drawn), as_needed.batch(drawn)
    assert torch.equal(one.now, other.now) and torch.equal(one.future, other.future)
    assert one.actions is None and torch.equal(one.prefix, other.prefix)


@pytest.mark.parametrize("framing", [VARIED, Framing(frames=0)])
def test_a_glimpse_is_taken_once_of_every_moment_and_stands_for_its_images(data, space, framing):
    windows, looks = Windows(every(data), framing, space), []

    def see(batch) -> torch.Tensor:
        looks.append(len(batch))
        return batch.now.flatten(1).float().mean(dim=1, keepdim=True)

    before = windows.batch(plain(3, 40))
    windows.glimpse(see)
    batch = windows.batch(plain(3, 40))
    assert sum(looks) == len(windows) and len(batch) == 2
    assert torch.equal(batch.glimpse, see(before)) and torch.equal(batch.actions, before.actions)
    assert batch.now.numel() == (before.now.numel() if framing.frames else 0)
    assert (batch.future is None) == (before.future is None)


def test_a_tool_that_has_gone_astray_sees_everything_where_it_stands_and_is_led_back(data, space):
    windows = Windows(every(data), Framing(), space)
    offsets = torch.tensor([[[0.1, 0.0, 0.2], [0.3, 0.1, 0.2]], [[0.0, 0.0, 0.02], [0.3, 0.1, 0.2]]])
    here = look._glimpse(offsets / look.UNIT, torch.tensor([[0.6, 0.8]] * 2))
    windows.glimpse(lambda batch: here[:1].expand(len(batch), -1))
    windows._glimpses[40] = here[1]
    way = np.array([[0.01, -0.02, 0.004]] * 2, np.float32)
    straight, astray = (windows.batch(replace(plain(3, 40), astray=k * way)) for k in (0, 1))

    def in_base(batch, points: torch.Tensor) -> np.ndarray:
        """Points (b, n, 3) in the tool's frame."""
        T = batch.state.numpy()
        return np.einsum("bij,bnj->bni", rotation_from_6d(T[:, 3:9]), points.numpy()) + T[:, None, :3]

    def path(batch) -> np.ndarray:
        rows = torch.from_numpy(space.denormalise(batch.actions.numpy())).float()
        return in_base(batch, rows[..., :3])

    np.testing.assert_allclose(in_base(astray, look.away(astray.glimpse)), in_base(straight, offsets), atol=1e-6)
    moved = np.linalg.norm(astray.state - straight.state, axis=1)
    np.testing.assert_allclose(moved, [np.linalg.norm(way[0]), 0.0], atol=1e-6)
    off = np.linalg.norm(path(astray) - path(straight), axis=2)
    assert 0.8 * moved[0] < off[0, 0] < moved[0] and (np.diff(off[0]) < 1e-6).all(), "it is led back, not thrown"
    np.testing.assert_allclose(off[0, round(0.6 / space.dt) :], 0.0, atol=1e-5)
    assert off[1].max() < 1e-6, "what is between the fingers stays there"
    assert torch.equal(astray.actions[..., 3:], straight.actions[..., 3:])
    assert torch.equal(astray.glimpse[:, -2:], straight.glimpse[:, -2:])


def opened(*parts: tuple[float, float, int]) -> np.ndarray:
    """A state (n, 11), parts of it with an opening [mm], a force [N] and a length."""
    state = np.zeros((sum(n for *_, n in parts), 11))
    state[:, 9] = np.concatenate([np.full(n, 1e-3 * width) for width, _, n in parts])
    state[:, 10] = np.concatenate([np.full(n, force) for _, force, n in parts])
    return state


def test_nothing_is_learned_from_what_led_to_a_grasp_of_nothing_but_how_one_begins_anew():
    missed = opened((80, 0, 40), (2, 0, 6), (80, 0, 30), (30, 9, 20), (80, 0, 5))
    found = set(range(100)) - set(sound(missed, rate=10).tolist())
    assert found == {*range(40 - 24, 40)}, "what a chunk reaches before it; from the closed jaw on it is shown how"
    early = opened((60, 0, 5), (0, 0, 4), (80, 0, 20), (30, 9, 10))
    assert sound(early, 10).tolist() == list(range(5, 38))


@pytest.mark.parametrize(
    "parts",
    [
        ((60, 0, 5), (85, 0, 30), (30, 9, 20), (85, 0, 10)),  # it holds something
        ((85, 0, 30), (78, 0, 10), (85, 0, 10)),  # it hardly moves
        ((85, 0, 30), (40, 0, 10), (10, 8, 20), (85, 0, 10)),  # it makes itself narrow before it grasps
        ((60, 0, 10), (22, 0, 60), (60, 0, 8)),  # it closes about a tool that is bolted to it
        ((85, 0, 30), (2, 0, 10)),  # it stays closed: whoever ends so means it
    ],
)
def test_a_jaw_that_closes_on_something_or_stays_closed_is_learned_from(parts):
    state = opened(*parts)
    assert sound(state, 10).tolist() == list(range(len(state) - 1))


def test_of_videos_without_actions_only_images_and_texts_are_looked_at(data, monkeypatch):
    monkeypatch.setattr(ShardDataset, "state", lambda *_: pytest.fail("their states were looked at"))
    windows = Windows(every(data), VIDEO, None)
    batch = windows.batch(draw(len(windows), VIDEO, 4, seed=0, step=0))
    assert batch.actions is None and batch.state is None and batch.future.shape[:3] == (4, 3, 8) and all(batch.text)


def test_a_shift_moves_all_images_of_a_camera_alike_and_continues_the_border(data):
    windows = Windows(every(data), Framing(frames=2), None)
    here = windows.batch(plain(9))
    shift = np.zeros((1, 3, 2), np.int64)
    shift[0, 2] = (2, -3)
    there = windows.batch(replace(plain(9), shift=shift))
    assert torch.equal(here.now[:, :2], there.now[:, :2])
    for before, after in ((here.now[0, 2], there.now[0, 2]), (here.future[0, 2, 1], there.future[0, 2, 1])):
        assert torch.equal(after[:-2, 3:], before[2:, :-3])
        assert torch.equal(after[-2:, 3:], before[-1:, :-3].expand(2, -1, -1))
        assert torch.equal(after[:-2, :3], before[2:, :1].expand(-1, 3, -1))


# ---- which moments


def test_every_moment_comes_once_before_any_comes_again():
    rows = np.concatenate([draw(50, VARIED, 20, seed=1, step=step).rows for step in range(5)])
    assert sorted(rows[:50]) == sorted(rows[50:]) == list(range(50))
    assert not np.array_equal(rows[:50], rows[50:])


def test_a_step_is_the_same_whenever_it_is_drawn_and_others_are_others():
    one, again, other, seeded = (draw(400, VARIED, 32, *key) for key in ((1, 7), (1, 7), (1, 8), (2, 7)))
    for name in ("rows", "shift", "prefix"):
        assert np.array_equal(getattr(one, name), getattr(again, name))
        assert not np.array_equal(getattr(one, name), getattr(other, name))
        assert not np.array_equal(getattr(one, name), getattr(seeded, name))


def test_processes_share_the_batch_that_one_would_have():
    whole = draw(400, VARIED, 9, seed=1, step=0)
    parts = [whole.part(process, 2) for process in range(2)]
    assert [len(part.rows) for part in parts] == [5, 4]
    assert sorted(np.concatenate([part.rows for part in parts])) == sorted(whole.rows)
    assert np.array_equal(parts[1].shift, whole.shift[1::2]) and np.array_equal(parts[1].prefix, whole.prefix[1::2])


def test_shifts_and_prefixes_reach_their_limits_and_every_second_prefix_is_empty():
    drawn = draw(4000, VARIED, 4000, seed=3, step=0)
    assert (drawn.shift.min(), drawn.shift.max()) == (-3, 3)
    assert set(drawn.prefix) == set(range(7))
    assert abs((drawn.prefix == 0).mean() - (0.5 + 0.5 / 7)) < 0.03


def test_every_second_tool_goes_astray_and_more_aside_than_ahead():
    astray = draw(1000, Framing(astray=0.012), 1000, 5, 0).astray
    gone = astray.any(axis=1)
    assert 0.4 < gone.mean() < 0.6
    np.testing.assert_allclose(astray[gone].std(axis=0), [0.012, 0.012, 0.0048], rtol=0.15)
    assert not draw(1000, VARIED, 50, 5, 0).astray.any()


def test_measuring_looks_at_moments_spread_evenly_as_they_are():
    few = spread(101, 5, VARIED)
    assert few.rows.tolist() == [0, 25, 50, 75, 100]
    assert not few.shift.any() and not few.prefix.any()
    assert spread(3, 5, VARIED).rows.tolist() == [0, 1, 2]


# ---- which episodes


def test_episodes_are_held_out_as_a_whole_and_by_name(data):
    train, held_out = split(data, 0.05)
    assert (len(train), len(held_out)) == (1, 1) and sorted(train + held_out) == [0, 1]
    assert split(data, 0.05) == (train, held_out)


def test_too_few_episodes_are_refused(data, tmp_path):
    export(single_episode(), tmp_path / "one", Shards(size=(32, 24)), rate=10)
    with pytest.raises(EpisodeError, match="has 1 episodes; with 1 held out none is left"):
        split(ShardDataset(tmp_path / "one"), 0.1)
    with pytest.raises(EpisodeError, match="has 2 episodes; with 3 held out none is left"):
        split(data, 1.5)


def test_images_of_another_size_or_rate_and_missing_cameras_are_refused(data, tmp_path):
    export(single_episode(), tmp_path / "other", Shards(size=(32, 24)), rate=5)
    mixed = [(data, 0), (ShardDataset(tmp_path / "other"), 0)]
    with pytest.raises(EpisodeError, match=r"64 x 48 px, 10 Hz; .*32 x 24 px, 5 Hz; export them with --size, --rate"):
        Windows(mixed, VIDEO, None)
    with pytest.raises(EpisodeError, match="camera 'top' is not in the data set; there are: gripper, left, right"):
        Windows([(data, 0)], Framing(cameras=("gripper", "top")), None)


def test_clips_begin_where_episodes_do_and_their_goals_shift_with_their_images(tmp_path):
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 2, (48, 64), np.uint8) for _ in range(2)]
    images = rng.integers(0, 255, (8, 48, 64, 3), np.uint8)
    views = {"left": images, "right": images}
    films = (
        Played(str(i), "go", shards.still(8), views, {"left": mask, "right": mask.T.reshape(48, 64)})
        for i, mask in enumerate(masks)
    )
    shards.write(tmp_path / "films", films, 10, "videos alone", placed=datetime.date(2026, 1, 1))
    data = ShardDataset(tmp_path / "films")
    framing = Framing(("left", "right"), frames=3, stride=2, shift=2, opening=2, goal=True)
    windows = Windows(every(data), framing, None)
    assert len(windows) == 4
    drawn = replace(plain(0, 3, cameras=2), shift=np.array([[[0, 0], [0, 0]], [[1, -2], [0, 0]]]))
    goal = windows.batch(drawn).goal
    assert goal.shape == (2, 2, 48, 64)
    assert np.array_equal(goal[0, 0], masks[0]) and np.array_equal(goal[1, 1], masks[1].T.reshape(48, 64))
    assert np.array_equal(goal[1, 0, :-1, 2:], masks[1][1:, :-2])
    assert Windows(every(data), replace(framing, goal=False), None).batch(drawn).goal is None
