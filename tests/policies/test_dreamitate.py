"""Dreamitate behind the seam: one video, one plan, chunk after chunk; and whatever can't become a plan."""

import dataclasses
import datetime
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from kinema import cell_file, paths, robots, yaml_file
from kinema.apps import cli
from kinema.apps.lockstep import Watcher, run_episode
from kinema.apps.rollouts import Player
from kinema.calibration.bundle import SIDE_CAMERAS
from kinema.chunk import Observation, check_chunk
from kinema.control.messages import Mode
from kinema.control.model import RobotModel
from kinema.control.settings import Limits
from kinema.errors import (
    CalibrationError,
    CheckpointError,
    ConfigError,
    NonFiniteChunkError,
    NoPlanError,
    ObservationError,
)
from kinema.geometry import Pose, distance
from kinema.perception.stereo_tool import View
from kinema.perception.tool_mesh import ToolMesh, assemble
from kinema.policies import checkpoint, registry
from kinema.policies.actions import WIDTH, ActionSpace
from kinema.policies.checkpoint import Checkpoint
from kinema.policies.codec import PatchesConfig
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.dreamitate.dream import Place, aside
from kinema.policies.dreamitate.model import DreamitateModel
from kinema.policies.dreamitate.policy import Dreamitate, probe
from kinema.policies.engines.graph import running, traced
from kinema.policies.text import WordsConfig
from kinema.policies.video_policy.config import LeanConfig
from kinema.policies.warm_up import warm_up
from kinema.virtual import noise, scenario
from kinema.virtual.cameras import CAMERAS, TABLE_DATE
from kinema.virtual.tool_view import ToolView

torch.set_num_threads(1)

SIZE, FRAMES = (256, 192), 6
ARM = robots.arm("ur5e")
T_HOME = RobotModel(ARM).fk(np.array(ARM.home))
T_START = Pose(np.array([0.4, 0.0, 0.64]), T_HOME.rotation)  # where neither camera sees the tool
MOUNT = Pose.from_rotvec([0.0, 0.0, 0.25], [math.pi, 0.0, 0.0])
TINY = DreamitateConfig(
    codec=PatchesConfig(patch=16, predicted=8, shown=8),
    text=WordsConfig(width=8),
    unet=LeanConfig(channels=(16, 32), heads=2, layers=1, label=16),
    change=True,
    frames=FRAMES,
    stride=2,
    latency={"few:1": 5.0, "paper": 30.0},
)
SPACE = ActionSpace(horizon=32, dt=0.1, offset=0.1, executable=1, mean=(0.0,) * WIDTH, std=(1.0,) * WIDTH)
WAY = [
    Pose.from_rotvec([0.44 + 0.02 * i, -0.08 + 0.03 * i, 0.10 - 0.006 * i], [0.0, 0.0, 0.08 * i]) for i in range(FRAMES)
]


def bodies() -> dict[str, trimesh.Trimesh]:
    """The brush of the tracker's tests."""
    handle = trimesh.creation.cylinder(radius=0.012, height=0.14, sections=20)
    handle.apply_translation([0.0, 0.0, 0.09])
    head = trimesh.creation.box([0.12, 0.02, 0.05])
    head.apply_translation([0.02, 0.0, -0.004])
    return {"handle": handle, "head": head}


@pytest.fixture(scope="module")
def brush() -> ToolMesh:
    return assemble(bodies(), "m", T_flange_tool=MOUNT)


@pytest.fixture(scope="module")
def place(brush) -> Place:
    left, right = (View(CAMERAS[name].info(SIZE), CAMERAS[name].T_mount_camera) for name in SIDE_CAMERAS)
    return Place(brush, (left, right), ARM, robots.GRIPPER, Limits())


@pytest.fixture(scope="module")
def film(brush) -> np.ndarray:
    """(2, 1 + frames, height, width, 3): both side cameras' views of the scene, then of the brush on its way."""
    paint = np.array([[0.10, 0.35, 0.20], [0.85, 0.30, 0.10]])[brush.part_of]
    scene = scenario.draw("pick_and_place", "train", 0)
    view = ToolView(scene, brush.vertices, brush.triangles, paint, SIZE, noise.load().camera)
    clips = [[view.render(name, T, i) for i, T in enumerate((None, *WAY))] for name in SIDE_CAMERAS]
    view.close()
    return np.array(clips)


def network(**changes) -> DreamitateModel:
    torch.manual_seed(0)
    return DreamitateModel(TINY.model_copy(update=changes), 2, SIZE).eval()


def facts(model: DreamitateModel, **changes) -> Checkpoint:
    return Checkpoint(
        kind="dreamitate",
        config=model.config.model_dump(mode="json"),
        action=SPACE,
        cameras=SIDE_CAMERAS,
        image_size=SIZE,
        dataset="",
        calibration_origin=(),
        latency=model.latency,
        training={"placed": TABLE_DATE.isoformat(), **changes},
    )


class ByHeart:
    """Runs a network's parts, but for the last: what it has drawn is shown as a film that it knows by heart."""

    def __init__(self, model: DreamitateModel, clip: np.ndarray) -> None:
        self._run, self.asked = running(model), 0
        self.clip = torch.from_numpy(clip.copy()).movedim(-1, -3)[None] / 127.5 - 1.0

    def __call__(self, part, *inputs):
        found = self._run(part, *inputs)
        self.asked += part == "decode"
        return (self.clip,) if part == "decode" else found


@pytest.fixture
def dreaming(place, film):
    """`dreaming(clip, **changes)`: a policy whose videos show a clip, and what counts them."""

    def make(clip=None, **changes) -> tuple[Dreamitate, ByHeart]:
        model = network(**changes)
        run = ByHeart(model, film[:, 1:] if clip is None else clip)
        return Dreamitate(facts(model), model, place, run=run), run

    return make


def seen(film, tcp: Pose = T_START, **changes) -> Observation:
    images = {name: film[i, :1] for i, name in enumerate(SIDE_CAMERAS)}
    return dataclasses.replace(Observation(5 * 10**9, images, (tcp,), np.array([0.03]), None, "sweep it"), **changes)


def tool_at(T_base_tcp: Pose) -> Pose:
    return T_base_tcp @ robots.GRIPPER.T_flange_tcp.inverse() @ MOUNT


def last(chunk) -> Pose:
    return chunk.target(len(chunk) - 1)


# ---- from a video to chunks


def test_the_tool_is_taken_out_of_view_before_anything_is_imagined(dreaming, film, place):
    policy, run = dreaming()
    up = policy.predict(seen(film, T_HOME))
    check_chunk(up.chunk)
    top = last(up.chunk)
    assert run.asked == 0 and up.video is None and top.position[2] > T_HOME.position[2] + 0.1
    across = np.linalg.norm(
        [up.chunk.target(i).position[:2] - T_HOME.position[:2] for i in range(len(up.chunk))], axis=1
    )
    assert across.max() < 1e-6 and not len(aside(place, top))
    assert policy.predict(seen(film, top)).video is not None and run.asked == 1

    low = dataclasses.replace(place, limits=Limits(workspace=((0.15, -0.6, 0.005), (0.85, 0.6, 0.5))))
    assert not len(aside(low, T_HOME))  # it can't get there: then it looks from where it is


def test_one_video_is_played_piece_by_piece_and_then_the_arm_stays(dreaming, film):
    policy, run = dreaming()
    there = policy.predict(seen(film))
    check_chunk(there.chunk)
    assert there.chunk.executable == len(there.chunk) and there.chunk.width_change is None
    assert {"read", "see", "video", "decode", "track", "plan"} <= set(there.timing)
    refused = policy.predict(seen(film))  # the arm hasn't moved: nobody played it
    assert run.asked == 1 and np.allclose(refused.chunk.T_rel, there.chunk.T_rel) and refused.chunk.id == 2
    begin = last(there.chunk)
    assert distance(tool_at(begin), WAY[0])[0] < 0.004
    assert policy.predict(seen(film)).chunk.T_rel.shape == there.chunk.T_rel.shape

    nearly = begin @ Pose.from_rotvec([0.002, 0.0, 0.0], [0.0, 0.01, 0.0])
    path = policy.predict(seen(film, nearly)).chunk
    assert path.T_base_tcp_t0 == nearly or np.allclose(path.T_base_tcp_t0.matrix, nearly.matrix)
    for pose in WAY[1:]:
        off = min(distance(tool_at(path.target(i)), pose) for i in range(len(path)))
        assert off[0] < 0.004 and off[1] < math.radians(3.0)
    middle = path.target(len(path) // 2)
    rest = policy.predict(seen(film, middle)).chunk
    assert len(rest) == pytest.approx(len(path) / 2, abs=2) and distance(last(rest), last(path))[0] < 1e-6
    stays = policy.predict(seen(film, last(path))).chunk
    assert np.allclose(stays.T_rel, np.eye(4)) and run.asked == 1
    assert np.allclose(policy.predict(seen(film, T_START)).chunk.T_rel, np.eye(4)) and run.asked == 1
    policy.reset()
    assert len(policy.predict(seen(film)).chunk) == len(there.chunk) and run.asked == 2


def test_the_plan_is_shown_before_anything_moves(dreaming, film):
    policy, _ = dreaming()
    there = policy.predict(seen(film))
    assert set(there.video) == set(SIDE_CAMERAS) and there.video_dt == pytest.approx(0.2)
    for i, clip in enumerate(there.video.values()):
        assert clip.shape == (1 + FRAMES, SIZE[1], SIZE[0], 3) and clip.dtype == np.uint8
        assert np.array_equal(clip[0], film[i, 0])
        marked = (clip[1:] != film[i, 1:]).any(axis=-1).sum(axis=(1, 2))
        assert (marked > 40).all() and (marked < 600).all()  # the outline of the tool as it was tracked
    path = policy.predict(seen(film, last(there.chunk)))
    assert np.array_equal(path.video["left"], there.video["left"])


def test_a_task_of_many_rounds_withdraws_looks_and_imagines_anew(dreaming, film):
    policy, run = dreaming(rounds=2)
    tcp, handed = T_START, []
    for _ in range(6):
        chunk = policy.predict(seen(film, tcp)).chunk
        tcp = last(chunk)
        handed.append((len(chunk), run.asked))
    assert [asked for _, asked in handed] == [1, 1, 1, 2, 2, 2]
    there, path, back = (length for length, _ in handed[:3])
    assert back == pytest.approx(there, rel=0.5) and handed[3][0] == there and handed[4][0] == path
    policy.reset()
    tcp = T_START
    for _ in range(3):
        tcp = last(policy.predict(seen(film, tcp)).chunk)
    assert distance(tcp, T_START)[0] < 1e-6


def test_an_arm_that_was_led_elsewhere_plays_no_more_of_that_plan(dreaming, film):
    policy, run = dreaming(rounds=2)
    policy.predict(seen(film))
    away = Pose(T_START.position + np.array([0.0, 0.2, -0.2]), T_START.rotation)
    chunk = policy.predict(seen(film, away)).chunk
    assert run.asked == 2 and np.allclose(chunk.T_base_tcp_t0.matrix, away.matrix)
    assert np.allclose(policy.predict(seen(film, T_START)).chunk.T_rel, np.eye(4))


# ---- what can't become a plan


def test_a_tool_that_never_comes_into_view_gives_no_plan_and_after_four_videos_nobody_imagines_more(dreaming, film):
    policy, run = dreaming(np.repeat(film[:, :1], FRAMES, axis=1))
    for number in range(1, 5):
        says = rf"video {number} makes no plan: the tool was found in 0 of 6 frames, needed are 4.*not in view of both"
        with pytest.raises(NoPlanError, match=says):
            policy.predict(seen(film))
    with pytest.raises(NoPlanError, match=r"gave up after 4 videos without a plan, the last: .*begin the run anew"):
        policy.predict(seen(film))
    assert run.asked == 4
    policy.reset()
    run.clip = dreaming()[1].clip
    assert len(policy.predict(seen(film)).chunk) > 1


def test_a_tool_that_the_tracker_loses_gives_no_plan_and_says_for_how_long(dreaming, film):
    clip = film[:, 1:].copy()
    clip[:, 1:4] = film[:, :1]
    policy, _ = dreaming(clip)
    with pytest.raises(NoPlanError, match=r"the tool was found in 3 of 6 frames, needed are 4; of the other frames"):
        policy.predict(seen(film))


def test_a_path_that_the_arm_cannot_follow_gives_no_plan(dreaming, film, place):
    model = network()
    narrow = dataclasses.replace(place, limits=Limits(workspace=((0.3, -0.05, 0.05), (0.6, 0.3, 0.7))))
    policy = Dreamitate(facts(model), model, narrow, run=ByHeart(model, film[:, 1:]))
    with pytest.raises(NoPlanError, match=r"ur5e can't lead the tool .*leaves the workspace"):
        policy.predict(seen(film))


def test_f01_a_video_that_is_not_finite_is_rejected(dreaming, film):
    policy, _ = dreaming()
    policy._model.unet.leave[-1].bias.data[:] = math.nan
    with pytest.raises(NonFiniteChunkError, match="video 1 of dreamitate holds numbers that are not finite"):
        policy.predict(seen(film))


def test_what_is_seen_otherwise_than_in_training_is_refused_by_name(dreaming, film):
    policy, _ = dreaming()
    small = {name: film[i, :1, ::2, ::2] for i, name in enumerate(SIDE_CAMERAS)}
    with pytest.raises(ObservationError, match=r"left: the image is uint8 of shape \(96, 128, 3\), needed is"):
        policy.predict(seen(film, images=small))
    with pytest.raises(ObservationError, match=r"no image of camera 'right'; there are: left"):
        policy.predict(seen(film, images={"left": film[0, :1]}))


def test_a_goal_is_an_image_whose_channels_are_the_views_masks(dreaming, film):
    policy, _ = dreaming(goal=True)
    assert policy.spec.goal_image and policy.spec.cameras == SIDE_CAMERAS and not policy.spec.force
    goal = np.zeros((2 * SIZE[1], 2 * SIZE[0], 3), np.uint8)
    goal[:100, :60, 0] = goal[200:, 300:, 1] = 255
    masks = policy._goal(seen(film, goal_image=goal))
    assert masks.shape == (1, 2, SIZE[1], SIZE[0]) and masks[0, 0, :50, :30].all() and masks[0, 1, 100:, 150:].all()
    assert masks.sum() == 50 * 30 + 92 * 106
    assert len(policy.predict(seen(film, goal_image=goal)).chunk) > 1
    for wrong, says in ((None, "none"), (goal[:100], r"one of shape \(100, 512, 3\)")):
        policy.reset()
        with pytest.raises(
            ObservationError, match=f"goal image: there is {says}, needed is one of 256 x 192 px.*'left'"
        ):
            policy.predict(seen(film, goal_image=wrong))


# ---- from a folder


def save_tool(folder: Path, unit="m", mount=True, parts=None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in (parts or bodies()).items():
        body.export(folder / f"{name}.stl")
    quaternion = MOUNT.quaternion.tolist()
    text = [f"unit: {unit}", "parts: {handle: handle.stl, head: head.stl}"]
    text += [f"mount: {{position: {MOUNT.position.tolist()}, quaternion: {quaternion}}}"] if mount else []
    (folder / "tool.yaml").write_text("\n".join(text))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A checkpoint with its tool."""
    model = network()
    checkpoint.save(tmp_path / "brush", facts(model), model.state_dict())
    save_tool(tmp_path / "brush/tool")
    return tmp_path / "brush"


def test_a_checkpoint_with_its_tool_is_a_policy_and_warms_up_in_the_dark(folder):
    policy = registry.make(str(folder), cell="launch/cells/virtual.yaml", robot="virtual_xarm7", seed=3)
    assert policy.name == "dreamitate" and policy.mode == "few:1" and policy._place.arm.name == "xarm7"
    assert policy._place.views[0].camera.size == SIZE and policy.spec.cameras == SIDE_CAMERAS
    assert warm_up(policy) > 0.0
    assert registry.make(str(folder), mode="paper").mode == "paper"
    assert {"cell", "robot", "tool"} <= registry.takes(str(folder))
    assert not {"cell", "robot", "tool"} & registry.takes("demonstrator")


def test_f07_a_policy_that_has_too_little_memory_is_refused_before_anything_moves(folder, monkeypatch):
    policy = registry.make(str(folder))

    def full(part, *inputs):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(policy, "_run", full)
    with pytest.raises(CheckpointError, match="dreamitate: cannot be run on this machine: out of memory"):
        warm_up(policy)


def test_its_network_has_the_graphs_that_engines_are_built_of(folder):
    model = network(goal=True)
    graphs = traced(model, lambda run: probe(facts(model), model, "few:1", run))
    assert {graph.key for graph in graphs} == {"see-1", "video-1", "decode-1"}
    assert registry.learned(folder).network(folder, "cpu").config == TINY


def test_its_engine_draws_what_torch_draws(folder, tmp_path, monkeypatch):
    (tmp_path / "root/launch").mkdir(parents=True)
    (tmp_path / "root/calibration").symlink_to(paths.root() / "calibration")
    monkeypatch.setenv("KINEMA_ROOT", str(tmp_path / "root"))
    assert cli.main(["build-engine", str(folder), "--mode", "few:1"]) == 0
    model = network()
    plain, engine = (registry.make(str(folder), backend=name) for name in ("torch", "onnxruntime"))
    wanted, found = (probe(facts(model), model, "few:1", policy._run)["video"] for policy in (plain, engine))
    assert (found - wanted).abs().max() < 1e-3 and wanted.abs().max() > 0.1


def holed() -> dict[str, trimesh.Trimesh]:
    """The brush, a triangle of its head missing."""
    found = bodies()
    found["head"].update_faces(np.arange(len(found["head"].faces)) > 0)
    return found


@pytest.mark.parametrize(
    ("spoil", "error", "says"),
    [
        (lambda f: shutil.rmtree(f / "tool"), ConfigError, r"tool\.yaml: there is no such file; put .* into"),
        (lambda f: save_tool(f / "tool", unit="mm"), ConfigError, r"unit: mm, allowed are .* say unit: m"),
        (lambda f: save_tool(f / "tool", parts=holed()), ConfigError, "'head' is not watertight: 3 edges"),
        (lambda f: save_tool(f / "tool", mount=False), ConfigError, r"has no mount: say there where the tool is"),
    ],
    ids=["no tool", "unit", "watertight", "mount"],
)  # fmt: skip
def test_f22_a_tool_that_cannot_be_used_is_refused_with_what_is_needed(folder, spoil, error, says):
    spoil(folder)
    with pytest.raises(error, match=says):
        registry.make(str(folder))


def cell(folder: Path, without: str = "", placed: datetime.date | None = None) -> str:
    """The virtual cell's file with calibration files of its own."""
    shutil.copytree(paths.root() / "calibration/virtual", folder / "calibration")
    if without:
        (folder / "calibration" / without).unlink()
    if placed is not None:
        file = folder / "calibration/T_base_right.yaml"
        file.write_text(file.read_text().replace(TABLE_DATE.isoformat(), placed.isoformat()))
    text = (paths.root() / "launch/cells/virtual.yaml").read_text()
    (folder / "cell.yaml").write_text(
        text.replace("calibration: calibration/virtual", f"calibration: {folder}/calibration")
    )
    return str(folder / "cell.yaml")


@pytest.mark.parametrize("file", ["right.yaml", "T_base_left.yaml"])
def test_f23_a_camera_without_calibration_is_refused_naming_the_file(folder, tmp_path, file):
    with pytest.raises(CalibrationError, match=rf"{file}.*make it with the service stereo_calibration"):
        registry.make(str(folder), cell=cell(tmp_path, without=file))


def test_f23_a_camera_placed_after_the_demonstrations_is_refused(folder, tmp_path):
    later = TABLE_DATE + datetime.timedelta(days=1)
    with pytest.raises(CalibrationError, match=r"T_base_right\.yaml.*later than the demonstrations of 2026-11-20"):
        registry.make(str(folder), cell=cell(tmp_path, placed=later))


def test_a_checkpoint_that_does_not_say_of_when_its_demonstrations_are_is_refused(folder):
    model = network()
    checkpoint.save(folder, facts(model, placed=""), model.state_dict())
    with pytest.raises(CheckpointError, match="export the demonstrations anew"):
        registry.make(str(folder))


def test_an_unknown_mode_robot_or_cell_is_refused(folder):
    for options, says in (
        ({"mode": "few:7"}, "no mode 'few:7'; allowed: few:1, paper"),
        ({"robot": "ur10"}, "has no robot 'ur10'; allowed: virtual_ur5e"),
        ({"cell": "nowhere.yaml"}, "nowhere.yaml"),
        ({"episode": "e"}, "episode"),
    ):
        with pytest.raises(ConfigError, match=says):
            registry.make(str(folder), **options)
    with pytest.raises(ConfigError, match="rounds"):
        yaml_file.checked(folder, DreamitateConfig, '{"rounds": 5}', ConfigError)


# ---- in the virtual cell


class Dreamt(ByHeart):
    """Shows the brush of the film in whatever is seen now."""

    def __init__(self, model: DreamitateModel, film: np.ndarray) -> None:
        super().__init__(model, film[:, 1:])
        empty = torch.from_numpy(film[:, :1].copy()).movedim(-1, -3)[None] / 127.5 - 1.0
        self._tool = (self.clip - empty).abs().amax(dim=3, keepdim=True) > 0.2

    def __call__(self, part, *inputs):
        found = super().__call__(part, *inputs)
        if part != "decode":
            return found
        now = inputs[1].movedim(-1, -3)[:, :, None] / 127.5 - 1.0
        return (torch.where(self._tool, self.clip, now),)


class Followed(Watcher):
    def __init__(self) -> None:
        self.tcp: list[Pose] = []
        self.chunks: list[int] = []

    def tick(self, tick) -> None:
        self.tcp.append(tick.T_base_tcp)

    def predicted(self, observation, prediction) -> None:
        self.chunks.append(len(prediction.chunk))


@pytest.mark.slow
def test_the_arm_does_in_the_cell_what_was_imagined_and_withdraws(place, film):
    model = network(rounds=2)
    policy = Dreamitate(facts(model), model, place, run=Dreamt(model, film))
    player = Player("", {}, "dreamitate", latency=5.0, dt=0.1, executable=SPACE.executable)
    cell = cell_file.load(cell_file.VIRTUAL)
    pace = player.pace(cell.control.execution, 5.0, 0)
    assert pace.mode is Mode.STOP_AND_GO  # by what its checkpoint says, nobody has to ask for it
    watcher = Followed()
    result = run_episode(
        "pick_and_place", "train", 0, "virtual_ur5e", policy,
        cell=cell, pace=pace, latency=5.0, render=True, time_limit=50.0, watcher=watcher,
    )  # fmt: skip
    assert result.refused == 0 and result.chunks >= 3, result.outcome
    for pose in WAY:
        off = min((distance(tool_at(tcp), pose) for tcp in watcher.tcp[::10]), key=lambda away: away[0])
        assert off[0] < 0.012 and off[1] < math.radians(4.0)
    ends = int(np.argmin([distance(tool_at(tcp), WAY[-1])[0] for tcp in watcher.tcp]))
    high = max(watcher.tcp[:ends], key=lambda tcp: tcp.position[2])  # out of view, where it has looked from
    assert min(distance(tcp, high)[0] for tcp in watcher.tcp[ends:]) < 0.005
