"""Data sets are made of the right episodes, in both layouts, the same bytes however the work was done."""

import hashlib
import json
import pickle
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from kinema import paths
from kinema.apps.cli import main
from kinema.calibration.bundle import LATENCY
from kinema.calibration.files import Latencies, load
from kinema.clock import NS
from kinema.episodes import facts as facts_file
from kinema.episodes.check import check
from kinema.episodes.export import export
from kinema.episodes.facts import Facts, ImageFacts, WorldFacts
from kinema.episodes.lerobot import LeRobot
from kinema.episodes.messages import CompressedPicture, JawSample, Picture, compress, encode, typestore
from kinema.episodes.reader import Episode, find
from kinema.episodes.rows import LeftOutError, read_rows
from kinema.episodes.shards import HORIZON, Played, ShardDataset, Shards, relabel, still, write
from kinema.episodes.state import STATE
from kinema.episodes.writer import EpisodeWriter, copy_calibration
from kinema.errors import EpisodeError
from kinema.geometry import Pose, so3_exp
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import CAMERAS, TOPICS
from kinema.virtual.cameras import TABLE_DATE

CALIBRATION = paths.root() / "calibration/virtual"
T_BASE_WORLD = Pose.from_rotvec([0.2, -0.4, 0.3], [0.0, 0.0, 0.6])
SECONDS, LEAD, FPS, STEPS = 1.5, 0.2, 30, 46
SIZE = (64, 48)
TOPICS_USED = [
    *(f"{camera}/image_raw/compressed" for camera in CAMERAS),
    *("jaw/state", "load_cell/force", "tracker/odometry"),
]


def T_world_tracker(t: float) -> Pose:
    return Pose(np.array([0.2 * t, 0.05 * np.sin(t), 0.1]), so3_exp(np.array([0.3 * t, 0.0, 0.1])))


def picture(i: int, camera: str, size: tuple[int, int]) -> CompressedPicture:
    """A bar that moves, on a ground that gets lighter; another colour a camera."""
    image = np.full((size[1], size[0], 3), 40 + 3 * (i % 60), np.uint8)
    image[:, (i % 20) : (i % 20) + size[0] // 4, CAMERAS.index(camera)] = 220
    return compress(Picture(at(i / FPS), f"{camera}_optical_frame", image), "jpeg", 95)


def at(t: float) -> int:
    return 100 * NS + round(t * NS)


def record(
    folder: Path, text: str, *, jump: bool = False, lost=(), seconds: float = SECONDS, size=SIZE, **facts
) -> Path:
    """An episode of 1.5 s, with 0.2 s more at both ends; the tracker may jump in it, or images be lost."""
    total = seconds + 2 * LEAD
    rows = []
    for i in range(round(total * FPS) + 1):
        t = i / FPS
        rows.append(("jaw/state", at(t), JawSample(at(t), 0.05 - 0.01 * t, True, 2)))
        if i not in lost:
            rows += [(f"{camera}/image_raw/compressed", at(t), picture(i, camera, size)) for camera in CAMERAS]
    for k in range(round(total * 200) + 1):
        t = k / 200
        offset = Pose(np.array([0.05, 0.0, 0.0]), np.eye(3)) if jump and t > 1.0 else Pose.identity()
        jumped = jump and k == 201
        rows.append(("tracker/odometry", at(t), TrackedPose(at(t), offset @ T_world_tracker(t), 3, jumped)))
    for k in range(round(total * 80) + 1):
        rows.append(("load_cell/force", at(k / 80), ForceSample(at(k / 80), 5.0 + k / 80, False, True)))
    start = Facts(
        source="handheld",
        text=text,
        began_ns=at(LEAD) - NS // 100,
        simulated=True,
        images=ImageFacts(compression="jpeg", quality=95, width=size[0], height=size[1]),
        calibration_origin="simulator truth",
        T_base_world=WorldFacts.of(T_BASE_WORLD, "dock"),
    )
    copy_calibration(CALIBRATION, folder)
    writer = EpisodeWriter(folder, [TOPICS[name] for name in TOPICS_USED], typestore(), start)
    for topic, arrival_ns, value in sorted(rows, key=lambda row: row[1]):
        writer.write(topic, arrival_ns, encode(typestore(), value))
    writer.close(start.replace(ended_ns=at(LEAD + seconds) + NS // 100, **{"success": True, **facts}))
    return folder


def tree(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("good")
    record(root / "a" / "2026-01-01_001", "open it")
    record(root / "a" / "2026-01-01_002", "open it")
    record(root / "b" / "2026-01-01_001", "close it")
    return root


@pytest.fixture(scope="module")
def lerobot(good, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("lerobot") / "set"
    export(find(good), out, LeRobot())
    return out


@pytest.fixture(scope="module")
def shards(good, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "set"
    export(find(good), out, Shards())
    return out


# ---- which episodes


def test_what_is_not_worth_learning_from_is_left_out_by_name_and_reason(tmp_path):
    record(tmp_path / "in/t/good", "do it")
    record(tmp_path / "in/t/failed", "do it", success=False)
    record(tmp_path / "in/t/refused", "do it", rejected="the tags were hidden")
    record(tmp_path / "in/t/f12_jumped", "do it", jump=True)
    record(tmp_path / "in/t/hole", "do it", lost=(14, 20, 26, 32))
    killed = record(tmp_path / "in/t/killed", "do it")
    facts_file.save(killed, facts_file.load(killed).replace(finished=False))
    summary = export(find(tmp_path / "in"), tmp_path / "out", Shards())
    reasons = {part.name: part.left_out for part in summary.parts}
    assert reasons.pop("t/good") == ""
    assert reasons.pop("t/failed") == "the demonstration failed"
    assert reasons.pop("t/refused") == "the tags were hidden"
    assert "not finished" in reasons.pop("t/killed")
    assert "jump" in reasons.pop("t/f12_jumped")
    assert "4 of 46 steps can't be aligned, allowed are 2%" in (hole := reasons.pop("t/hole"))
    assert "there is no image" in hole
    assert not reasons
    told = json.loads((tmp_path / "out/kinema.json").read_text())
    assert [row["name"] for row in told["episodes"]] == ["t/good"]
    assert len(told["left_out"]) == 5 and told["calibration_origin"] == ["simulator truth"]


def test_an_image_lost_now_and_then_is_counted_and_two_in_a_row_are_too_many(tmp_path):
    one = read_rows("one", record(tmp_path / "one", "do it", seconds=3.5, lost=(20,)))
    assert one.lost == 1 and len(one.state) == round(3.5 * FPS)
    assert np.flatnonzero(np.diff(one.stamps_ns) > NS / 20).size == 1
    two = record(tmp_path / "two", "do it", seconds=3.5, lost=(20, 21))
    with pytest.raises(LeftOutError, match="two steps are 100 ms apart"):
        read_rows("two", two)
    (fault,) = (fault for fault in check(Episode.open(two)).faults if fault.startswith("alignment"))
    assert "two steps are 100 ms apart" in fault, "a check says so beforehand"


def test_nothing_is_exported_where_nothing_is_left(tmp_path):
    record(tmp_path / "in/t/failed", "do it", success=False)
    with pytest.raises(EpisodeError, match=r"no episode is left.*t/failed: the demonstration failed"):
        export(find(tmp_path / "in"), tmp_path / "out", Shards())
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_something_else_is_not_touched(good, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.txt").write_text("precious")
    with pytest.raises(EpisodeError, match="is no data set"):
        export(find(good), tmp_path / "thesis", Shards())
    assert (tmp_path / "thesis/chapter.txt").read_text() == "precious"


def test_a_set_behind_a_link_is_replaced_where_it_is(good, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "disk/set")
    for _ in range(2):
        export(find(good), tmp_path / "link", Shards())
    assert (tmp_path / "link").is_symlink() and len(ShardDataset(tmp_path / "disk/set")) == 3


# ---- the numbers


def test_a_step_is_pose_opening_and_force(good):
    rows = read_rows("a", find(good)["a/2026-01-01_001"])
    assert rows.state.shape == (STEPS, len(STATE)) and rows.state.dtype == np.float32
    T_tracker_tcp = Episode.open(good / "a/2026-01-01_001").calibration.T_tracker_tcp
    for row, stamp_ns in zip(rows.state, rows.stamps_ns, strict=True):
        t = (stamp_ns - at(0.0)) / NS
        T = T_BASE_WORLD @ T_world_tracker(t) @ T_tracker_tcp
        expected = [*T.position, *T.rotation[:, 0], *T.rotation[:, 1], 0.05 - 0.01 * t, 5.0 + t]
        np.testing.assert_allclose(row, expected, atol=1e-5)


def test_later_latencies_move_what_they_are_about(good):
    then = load(CALIBRATION / LATENCY.file, Latencies, remedy="")
    rows = then.devices | {"tracker": then.devices["tracker"].model_copy(update={"seconds": 0.1})}
    folder = find(good)["a/2026-01-01_001"]
    moved = read_rows("a", folder, latencies=then.model_copy(update={"devices": rows}))
    recorded = read_rows("a", folder)
    way = np.linalg.norm(moved.state[:, :3] - recorded.state[:, :3], axis=1)
    assert way.min() > 0.01  # the hand goes at more than 0.2 m/s for 0.1 s
    np.testing.assert_array_equal(moved.state[:, 9:], recorded.state[:, 9:])


def test_a_rate_the_camera_does_not_have_is_refused(good):
    with pytest.raises(EpisodeError, match="rate"):
        read_rows("a", find(good)["a/2026-01-01_001"], rate=60)


def test_an_episode_too_short_to_learn_from_is_left_out(tmp_path):
    folder = record(tmp_path / "short", "do it")
    facts = facts_file.load(folder)
    facts_file.save(folder, facts.replace(ended_ns=facts.began_ns + NS // 2))
    with pytest.raises(LeftOutError, match="at least 30"):
        read_rows("short", folder)


# ---- LeRobot


def test_the_lerobot_table_has_a_row_a_step(lerobot, good):
    file = pq.ParquetFile(lerobot / "data/chunk-000/file-000.parquet")
    assert file.metadata.num_row_groups == 3
    table = file.read()
    assert table.num_rows == 3 * STEPS
    types = {field.name: str(field.type) for field in table.schema}
    vector = f"fixed_size_list<element: float>[{len(STATE)}]"
    assert types == {
        "observation.state": vector,
        "action": vector,
        "timestamp": "float",
        "frame_index": "int64",
        "episode_index": "int64",
        "index": "int64",
        "task_index": "int64",
    }
    columns = table.to_pydict()
    assert columns["index"] == list(range(3 * STEPS))
    assert columns["episode_index"] == [0] * STEPS + [1] * STEPS + [2] * STEPS
    np.testing.assert_allclose(columns["timestamp"], np.tile(np.arange(STEPS) / FPS, 3), atol=1e-6)
    for index, (name, folder) in enumerate(find(good).items()):
        rows = slice(index * STEPS, (index + 1) * STEPS)
        state, action = np.array(columns["observation.state"][rows]), np.array(columns["action"][rows])
        np.testing.assert_array_equal(state.astype(np.float32), read_rows(name, folder).state)
        np.testing.assert_array_equal(action[:-1], state[1:])
        np.testing.assert_array_equal(action[-1], state[-1])


def test_the_lerobot_metadata_say_where_everything_is(lerobot):
    info = json.loads((lerobot / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0" and info["fps"] == FPS and info["splits"] == {"train": "0:3"}
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 3 * STEPS, 2)
    assert info["features"]["observation.state"] == {
        "dtype": "float32",
        "shape": [len(STATE)],
        "names": list(STATE),
    }
    assert info["features"]["observation.images.left"]["shape"] == [SIZE[1], SIZE[0], 3]
    tasks = pq.read_table(lerobot / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["close it", "open it"]}
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]
    rows = pq.read_table(lerobot / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    data = pq.read_table(lerobot / info["data_path"].format(chunk_index=0, file_index=0)).to_pydict()
    for index, row in enumerate(rows):
        assert row["episode_index"] == index and row["length"] == STEPS
        assert (row["dataset_from_index"], row["dataset_to_index"]) == (index * STEPS, (index + 1) * STEPS)
        assert row["tasks"] == [tasks["task"][data["task_index"][row["dataset_from_index"]]].as_py()]
        for camera in CAMERAS:
            key = f"observation.images.{camera}"
            at = {name: row[f"videos/{key}/{name}"] for name in ("chunk_index", "file_index")}
            assert (lerobot / info["video_path"].format(video_key=key, **at)).is_file()
            assert row[f"videos/{key}/from_timestamp"] == 0.0
            assert row[f"videos/{key}/to_timestamp"] == pytest.approx(STEPS / FPS)


def test_the_lerobot_statistics_are_those_of_the_tables_and_the_images(lerobot, good):
    found = json.loads((lerobot / "meta/stats.json").read_text())
    table = pq.read_table(lerobot / "data/chunk-000/file-000.parquet")
    for name in ("observation.state", "action", "timestamp", "index"):
        values = np.array(table[name].to_pylist(), float).reshape(3 * STEPS, -1)
        np.testing.assert_allclose(found[name]["mean"], values.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(found[name]["std"], values.std(axis=0), atol=1e-9)
        np.testing.assert_allclose(found[name]["q90"], np.quantile(values, 0.9, axis=0), atol=1e-9)
        assert found[name]["count"] == [3 * STEPS]
    episode = Episode.open(good / "a/2026-01-01_001")
    rows = read_rows("a", good / "a/2026-01-01_001")
    images = np.stack([episode.image("left", int(i)) for i in rows.frames["left"]]) / 255
    left = found["observation.images.left"]
    np.testing.assert_allclose(np.ravel(left["mean"]), images.mean(axis=(0, 1, 2)), atol=0.02)
    np.testing.assert_allclose(np.ravel(left["std"]), images.std(axis=(0, 1, 2)), atol=0.02)
    assert np.shape(left["q50"]) == (3, 1, 1)


def test_the_lerobot_videos_show_the_recorded_images_at_their_times(lerobot, good):
    rows = read_rows("b", good / "b/2026-01-01_001")
    for camera in CAMERAS:
        with av.open(lerobot / f"videos/observation.images.{camera}/chunk-000/file-002.mp4") as container:
            stream = container.streams.video[0]
            assert stream.codec.canonical_name == "h264" and stream.pix_fmt == "yuv420p" and stream.base_rate == FPS
            frames = list(container.decode(video=0))
        assert len(frames) == STEPS
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(STEPS) / FPS, atol=1e-6)
        keys = [i for i, frame in enumerate(frames) if frame.key_frame]
        assert keys[0] == 0 and max(np.diff([*keys, STEPS])) <= 2
        for frame, i in zip(frames, rows.frames[camera], strict=True):
            error = frame.to_ndarray(format="rgb24").astype(float) - rows.episode.image(camera, int(i))
            assert np.abs(error).mean() < 6  # colour has half the resolution
            assert abs(error[:, -8:].mean()) < 1.5  # the ground, by 3 levels lighter in the next image


def test_the_lerobot_metadata_name_what_carried_the_tool(tmp_path, lerobot):
    record(tmp_path / "in/t/1", "do it", robot="virtual_ur5e")
    export(find(tmp_path / "in"), tmp_path / "out", LeRobot())
    robots = [
        json.loads((folder / "meta/info.json").read_text())["robot_type"] for folder in (lerobot, tmp_path / "out")
    ]
    assert robots == ["kinema_handheld_gripper", "virtual_ur5e"]


def test_images_of_two_sizes_do_not_go_into_one_lerobot_set(tmp_path):
    record(tmp_path / "in/small", "do it")
    record(tmp_path / "in/wide", "do it", size=(80, 60))
    with pytest.raises(EpisodeError, match=r"wide has images .* small has"):
        export(find(tmp_path / "in"), tmp_path / "out", LeRobot())
    assert not (tmp_path / "out").exists()


# ---- shards


def test_shards_hold_the_jpegs_as_recorded(shards, good):
    dataset = ShardDataset(shards)
    dataset.verify()
    assert len(dataset) == 3
    for index, (name, folder) in enumerate(find(good).items()):
        rows = read_rows(name, folder)
        assert dataset.text(index) == rows.facts.text and dataset.frames(index) == STEPS
        np.testing.assert_array_equal(dataset.state(index), rows.state)
        np.testing.assert_array_equal(dataset.stamps_ns(index), rows.stamps_ns)
        for camera in CAMERAS:
            recorded = rows.episode.picture(camera, int(rows.frames[camera][7]))
            assert bytes(dataset.jpeg(index, camera, 7)) == bytes(recorded.data)


def test_any_window_can_be_had_in_any_process(shards, good):
    dataset = pickle.loads(pickle.dumps(ShardDataset(shards)))
    window = dataset.window(1, ("right", "gripper"), (30, 0, 4))
    rows = read_rows("a", good / "a/2026-01-01_002")
    for camera, images in window.items():
        assert images.shape == (3, SIZE[1], SIZE[0], 3)
        for image, frame in zip(images, (30, 0, 4), strict=True):
            np.testing.assert_array_equal(image, rows.episode.image(camera, int(rows.frames[camera][frame])))


def test_shards_may_be_smaller_than_the_recording(good, tmp_path):
    export(find(good), tmp_path / "small", Shards(size=(32, 24), quality=80))
    small = ShardDataset(tmp_path / "small")
    rows = read_rows("a", good / "a/2026-01-01_001")
    image = small.images(0, "left", [5])[0]
    assert image.shape == (24, 32, 3)
    recorded = rows.episode.image("left", int(rows.frames["left"][5]))
    blocks = recorded.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(image - blocks).mean() < 8


def test_a_goal_beside_the_recording_and_the_day_of_its_cameras_go_into_the_shard(tmp_path):
    folder = record(tmp_path / "in/2026-01-01_001", "push it")
    (folder / "goal").mkdir()
    mask = np.zeros((96, 128), np.uint8)
    mask[:48] = 255
    for camera in ("left", "right"):
        cv2.imwrite(str(folder / f"goal/{camera}.png"), mask)
    export(find(tmp_path / "in"), tmp_path / "out", Shards())
    data = ShardDataset(tmp_path / "out")
    assert data.goal(0, "left").shape == SIZE[::-1] and data.goal(0, "right")[:24].all()
    assert not data.goal(0, "left")[24:].any()
    assert data.placed == TABLE_DATE  # the recording's own stamps are of 1970
    with pytest.raises(EpisodeError, match=r"no goal for camera 'gripper'; put goal/gripper\.png beside"):
        data.goal(0, "gripper")
    (folder / "goal/left.png").write_text("no image")
    with pytest.raises(EpisodeError, match=r"left\.png: cannot be read as an image"):
        export(find(tmp_path / "in"), tmp_path / "bad", Shards())


def test_videos_alone_make_a_data_set_with_states_of_a_tool_that_stands(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8)
    views = {"left": images, "right": images[::-1]}
    films = [Played(f"film {i}", "push it", still(12), views) for i in range(2)]
    write(tmp_path / "films", films, 10, "videos alone", placed=TABLE_DATE)
    data = ShardDataset(tmp_path / "films")
    data.verify()
    assert (len(data), data.rate, data.frames(1), data.placed) == (2, 10, 12, TABLE_DATE)
    assert data.size(0, "right") == SIZE and data.text(1) == "push it" and np.ptp(data.state(0), axis=0).max() == 0
    assert data.images(0, "left", [3]).shape == (1, 48, 64, 3)
    with pytest.raises(EpisodeError, match="is there already"):
        write(tmp_path / "films", films, 10, "videos alone", placed=TABLE_DATE)


def test_an_aspect_ratio_that_was_not_recorded_leaves_every_episode_out(good, tmp_path):
    with pytest.raises(EpisodeError, match="another aspect ratio"):
        export(find(good), tmp_path / "square", Shards(size=(32, 32)))


def test_shard_statistics_of_actions_are_relative_to_their_observation(shards):
    dataset = ShardDataset(shards)
    rows = []
    for index in range(len(dataset)):
        state = dataset.state(index).astype(float)
        for t in range(len(state)):
            T = pose(state[t])
            for later in range(t + 1, min(t + HORIZON, len(state) - 1) + 1):
                T_rel = T.inverse() @ pose(state[later])
                opened = state[later, 9] - state[t, 9]
                rows.append([*T_rel.position, *T_rel.rotation[:, 0], *T_rel.rotation[:, 1], opened, state[later, 10]])
    found = dataset.statistics["action"]
    np.testing.assert_allclose(found["mean"], np.mean(rows, axis=0), atol=1e-6)
    np.testing.assert_allclose(found["std"], np.std(rows, axis=0), atol=1e-6)
    assert found["count"] == [len(rows)]


def test_shards_with_other_states_have_the_same_images_and_a_fingerprint_of_their_own(shards, tmp_path):
    before, out = ShardDataset(shards), tmp_path / "labelled"
    states = [2.0 * before.state(i) for i in range(len(before))]
    relabel(before, out, iter(states), "somebody's guess")
    after = ShardDataset(out)
    after.verify()
    assert after.fingerprint != before.fingerprint and after.index["calibration_origin"] == ["somebody's guess"]
    assert after.statistics["state"]["mean"] == pytest.approx([2 * x for x in before.statistics["state"]["mean"]])
    for i, state in enumerate(states):
        np.testing.assert_array_equal(after.state(i), state)
        np.testing.assert_array_equal(after.jpeg(i, "left", 3), before.jpeg(i, "left", 3))
        assert (after.name(i), after.text(i)) == (before.name(i), before.text(i))
    with pytest.raises(EpisodeError, match="labelled: is there already"):
        relabel(before, out, iter(states), "")
    with pytest.raises(EpisodeError, match=r"a state of shape \(1, 11\), needed is"):
        relabel(before, tmp_path / "short", (state[:1] for state in states), "")
    assert not (tmp_path / "short").exists()


def pose(state: np.ndarray) -> Pose:
    x, y = state[3:6], state[6:9]
    x = x / np.linalg.norm(x)
    y = y - (x @ y) * x
    y = y / np.linalg.norm(y)
    return Pose(state[:3], np.stack([x, y, np.cross(x, y)], axis=1))


def test_what_is_damaged_or_not_there_is_named(good, tmp_path):
    out = tmp_path / "set"
    export(find(good), out, Shards())
    dataset = ShardDataset(out)
    with pytest.raises(EpisodeError, match="camera 'top' is not in the data set; there are: gripper, left, right"):
        dataset.jpeg(0, "top", 0)
    with pytest.raises(EpisodeError, match=rf"frame {STEPS} of a/2026-01-01_001: there are 0..{STEPS - 1}"):
        dataset.jpeg(0, "left", STEPS)
    file = out / dataset.index["episodes"][1]["file"]
    whole = file.read_bytes()
    file.unlink()
    for length in (10, 100, len(whole) - 200):
        file.write_bytes(whole[:length])
        with pytest.raises(EpisodeError, match="cut short"):
            ShardDataset(out).state(1)
    with pytest.raises(EpisodeError, match=rf"{file.name}: is missing or damaged"):
        dataset.verify()
    with pytest.raises(EpisodeError, match=r"index.json: cannot be read"):
        ShardDataset(tmp_path)


# ---- the work


@pytest.mark.parametrize("form", [LeRobot(), Shards()], ids=lambda form: form.name)
def test_the_same_input_makes_the_same_bytes_on_any_number_of_processes(good, tmp_path, form):
    one = export(find(good), tmp_path / "one", form, jobs=1)
    two = export(find(good), tmp_path / "two", form, jobs=2)
    assert one.fingerprint == two.fingerprint
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_an_export_that_was_cut_short_goes_on_where_it_was(good, tmp_path, shards):
    def cut(part):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(find(good), tmp_path / "set", Shards(), done=cut)
    assert not (tmp_path / "set").exists()
    (first,) = (tmp_path / "set.parts").glob("*/episode.shard")
    made_ns = first.stat().st_mtime_ns
    export(find(good), tmp_path / "set", Shards())
    assert first.stat().st_mtime_ns == made_ns
    assert tree(tmp_path / "set") == tree(shards)


def test_a_part_that_was_cut_short_itself_is_made_anew(good, tmp_path, shards):
    export(find(good), tmp_path / "set", Shards())
    part = tmp_path / "set.parts/a__2026-01-01_002"
    (part / "part.json").write_text('{"name": "a/20')
    (part / "episode.shard").unlink()
    export(find(good), tmp_path / "set", Shards())
    assert tree(tmp_path / "set") == tree(shards)


def test_a_set_grows_and_follows_its_episodes(tmp_path):
    record(tmp_path / "in/t/1", "do it")
    first = export(find(tmp_path / "in"), tmp_path / "out", Shards())
    made_ns = (tmp_path / "out.parts/t__1/episode.shard").stat().st_mtime_ns
    second = record(tmp_path / "in/t/2", "do it")
    grown = export(find(tmp_path / "in"), tmp_path / "out", Shards())
    assert len(ShardDataset(tmp_path / "out")) == 2 and grown.fingerprint != first.fingerprint
    assert (tmp_path / "out.parts/t__1/episode.shard").stat().st_mtime_ns == made_ns
    facts_file.save(second, facts_file.load(second).replace(rejected="looked at again"))
    shrunk = export(find(tmp_path / "in"), tmp_path / "out", Shards())
    assert len(ShardDataset(tmp_path / "out")) == 1
    assert [part.left_out for part in shrunk.left_out] == ["looked at again"]


def test_the_command_exports_and_says_what_it_did(good, tmp_path, capsys):
    words = ["episodes", "export", "shards", "--in", str(good), "--out", str(tmp_path / "set"), "--jobs", "1"]
    assert main([*words, "--size", "32x24"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"3 of 3 episodes, {3 * STEPS} steps" in said and "calibration: simulator truth" in said
    assert ShardDataset(tmp_path / "set").fingerprint in said
    assert main([*words, "--crf", "18"]) == 2
    assert "--crf is not for shards" in capsys.readouterr().err
