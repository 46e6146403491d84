"""`kinema episodes check | show`, as people call them, on episodes whose streams are known."""

import json

import cv2
import numpy as np
import pytest

from kinema import paths
from kinema.apps import cli
from kinema.clock import NS
from kinema.episodes import facts as facts_file
from kinema.episodes.check import check, hold_to_alignment, measure
from kinema.episodes.facts import Facts, ImageFacts, WorldFacts
from kinema.episodes.messages import JawSample, Picture, StampedPose, compress, encode, typestore
from kinema.episodes.quality_monitor import QualityMonitor
from kinema.episodes.reader import Episode, load_calibration
from kinema.episodes.show import contact_sheet, plots
from kinema.episodes.writer import EpisodeWriter, copy_calibration
from kinema.errors import EpisodeError
from kinema.geometry import Pose
from kinema.interfaces import ForceSample, TrackedPose
from kinema.topics import CAMERAS, TOPICS

BEGAN, ENDED = 10 * NS, 13 * NS
COLOURS = {"gripper": (220, 40, 40), "left": (40, 200, 60), "right": (50, 60, 230)}
T_BASE_TCP = Pose(np.array([0.45, 0.0, 0.2]), np.diag([1.0, -1.0, -1.0]))  # where the first pose is
JUMP = "tracker: it jumped once: poses before and after do not belong together; record again"


def moments(rate: float) -> list[int]:
    """Stamps [ns] from half a second before the useful interval to half a second after it."""
    return [round(t * NS) for t in np.arange(9.5, 13.5, 1 / rate)]


def record(
    folder, *, jump=0.0, blind=False, raw=False, robot=False, far=0.0, lost=(), finish=True, cameras=CAMERAS, **facts
):
    """A tool that swings 20 cm along y; `jump` [m] of the tracker at 12 s, `far` [m] from the base, `lost` images."""
    calibration = paths.root() / "calibration/virtual"
    copy_calibration(calibration, folder)
    T_tracker_tcp = load_calibration(folder).T_tracker_tcp
    begun = Facts(
        source="deployment" if robot else "handheld",
        text="put the cup into the bowl",
        operator="ada",
        began_ns=BEGAN,
        simulated=True,
        images=ImageFacts(compression="none" if raw else "jpeg", quality=0 if raw else 90),
        calibration_origin="simulator truth",
        T_base_world=None if robot else WorldFacts.of(Pose.identity(), "dock"),
    )
    images = [f"{camera}/image_raw" + ("" if raw else "/compressed") for camera in cameras]
    tool = "tcp_pose" if robot else "tracker/odometry"
    rows = [TOPICS[name] for name in (*images, tool, "jaw/state", "load_cell/force")]
    writer = EpisodeWriter(folder, rows, typestore(), begun)
    rng = np.random.default_rng(0)
    for camera, name in zip(cameras, images, strict=True):
        for t in np.delete(moments(30), lost).tolist():
            noisy = np.clip(np.array(COLOURS[camera]) + rng.integers(-3, 4, (24, 32, 3)), 0, 255).astype(np.uint8)
            picture = Picture(t, camera, noisy)
            writer.write(name, t, encode(typestore(), picture if raw else compress(picture, "jpeg")))
    for t in moments(200):
        moved = np.array([far, 0.1 * np.sin((t - BEGAN) / NS), 0.0])
        T = Pose(T_BASE_TCP.position + moved, T_BASE_TCP.rotation)
        if robot:
            value = StampedPose(t, "base_link", T)
        else:
            T = Pose(T.position + np.array([0.0, 0.0, jump if t > 12 * NS else 0.0]), T.rotation)
            value = TrackedPose(t, T @ T_tracker_tcp.inverse(), 3, False)
        writer.write(tool, t, encode(typestore(), value))
    for t in moments(50 if robot else 30):
        seen = not (blind and 11 * NS < t < 11.8 * NS)
        sample = JawSample(t, 0.05 if seen else float("nan"), seen, 2 * seen)
        writer.write("jaw/state", t, encode(typestore(), sample))
    for t in moments(80):
        held = 11 * NS < t < 12 * NS
        writer.write("load_cell/force", t, encode(typestore(), ForceSample(t, 8.0 * held, False, True)))
    if finish:
        writer.close(begun.replace(ended_ns=ENDED, **facts))
    return folder


def told(folder, *options, capsys) -> tuple[int, dict]:
    """Exit status, and what was measured."""
    status = cli.main(["episodes", "check", str(folder), "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def test_a_good_episode_is_measured_again_from_its_files(tmp_path, capsys):
    record(tmp_path / "t/1", success=True)
    status, episodes = told(tmp_path, capsys=capsys)
    assert status == 0
    measured = episodes["t/1"]
    assert (measured["faults"], measured["rejected"]) == ([], [])
    assert measured["steps"] == pytest.approx(90, abs=1)
    assert measured["quality"]["streams"]["left/image_raw"]["rate"] == pytest.approx(30, rel=0.02)
    assert measured["quality"]["force"]["peak"] == 8.0
    assert measured["calibration_origin"] == "simulator truth"
    assert cli.main(["episodes", "check", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "1 episodes, 0 of them must not be used" in shown and "calibration: simulator truth" in shown


def test_the_files_tell_the_same_as_the_monitor_that_heard_the_streams(tmp_path):
    episode = Episode.open(record(tmp_path / "t/1"))
    monitor = QualityMonitor()
    for topic, _, value in episode.read():
        if topic == "tracker/odometry":
            monitor.odometry(value)
        elif topic == "jaw/state":
            monitor.jaw(value.stamp_ns, value.width, value.valid, value.tags)
        elif topic == "load_cell/force":
            monitor.force(value)
        else:
            monitor.image(topic.partition("/")[0], value.stamp_ns, bytes(value.data))
    assert check(episode).quality == monitor.report(BEGAN, ENDED)


def test_f12_an_episode_with_a_jump_must_not_be_used_whatever_its_facts_say(tmp_path, capsys):
    record(tmp_path / "t/1", jump=0.04)
    status, episodes = told(tmp_path, capsys=capsys)
    assert status == 1 and episodes["t/1"]["faults"] == [JUMP]
    assert facts_file.load(tmp_path / "t/1").rejected == "", "a check changes nothing"


def test_what_cannot_be_aligned_is_named_with_the_stream_at_fault(tmp_path, capsys):
    record(tmp_path / "t/1", cameras=("gripper", "right"))
    record(tmp_path / "t/2", blind=True)
    _, episodes = told(tmp_path, capsys=capsys)
    assert any("left/image_raw: nothing was recorded" in fault for fault in episodes["t/1"]["faults"])
    assert any(fault.startswith("alignment: 91 of 91 moments are rejected") for fault in episodes["t/1"]["faults"])
    assert any("jaw width" in fault for fault in episodes["t/2"]["faults"])


def test_an_episode_that_no_data_set_would_take_is_rejected_as_soon_as_it_is_closed(tmp_path):
    for lost, reason in (((40,), ""), ((40, 60), "alignment: 2 of 91 moments are rejected, at most 2% are allowed")):
        folder = record(tmp_path / f"t/{len(lost)}", lost=lost)
        facts = facts_file.load(folder)
        assert measure(Episode.open(folder)).verdict() == facts.rejected == "", "heard one by one they do not matter"
        judged = hold_to_alignment(folder, facts)
        assert judged.rejected.startswith(reason) and bool(judged.rejected) == bool(reason)
        assert facts_file.load(folder) == judged


def test_raw_pictures_and_robots_are_checked_as_well(tmp_path, capsys):
    record(tmp_path / "t/1", raw=True, robot=True)
    status, episodes = told(tmp_path, capsys=capsys)
    assert status == 0 and episodes["t/1"]["quality"]["tracker"] is None


def test_marked_unfinished_and_broken_episodes_are_counted_and_named(tmp_path, capsys):
    record(tmp_path / "t/1", rejected="the cup was empty")
    record(tmp_path / "t/2", finish=False)
    record(tmp_path / "t/3")
    assert cli.main(["episodes", "check", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "marked: the cup was empty" in shown
    assert "kinema episodes recover" in shown
    assert "3 episodes, 2 of them must not be used" in shown


def test_the_path_is_held_against_an_arm(tmp_path, capsys):
    record(tmp_path / "t/near")
    record(tmp_path / "t/far", far=1.0)
    status, episodes = told(tmp_path, "--arm", "virtual_ur5e", capsys=capsys)
    assert status == 1
    assert episodes["t/near"]["arm"]["trouble"] == []
    assert "out of reach" in episodes["t/far"]["arm"]["trouble"][0]["text"]
    assert cli.main(["episodes", "check", str(tmp_path), "--arm", "ur5e"]) == 1
    assert "followed by ur5e" in capsys.readouterr().out


def test_an_unknown_arm_is_refused_naming_those_there_are(tmp_path, capsys):
    record(tmp_path / "t/1")
    assert cli.main(["episodes", "check", str(tmp_path), "--arm", "robbie"]) == 2
    assert "ur5e, xarm7" in capsys.readouterr().err


def share(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    """Of the pixels that have this colour."""
    return float((np.abs(picture.astype(int) - colour).max(axis=2) < 25).mean())


def test_show_writes_a_sheet_with_a_row_a_camera_and_plots(tmp_path, capsys):
    record(tmp_path / "t/1", success=True)
    assert cli.main(["episodes", "show", str(tmp_path / "t"), "--out", str(tmp_path / "out"), "--moments", "5"]) == 0
    files = capsys.readouterr().out.split()
    assert files == [str(tmp_path / f"out/t/1_{name}") for name in ("plots.png", "sheet.jpg")]
    drawn, sheet = (cv2.cvtColor(cv2.imread(file), cv2.COLOR_BGR2RGB) for file in files)
    heights = [
        np.flatnonzero((np.abs(sheet.astype(int) - colour).max(axis=2) < 25).any(axis=1)).mean()
        for colour in COLOURS.values()
    ]
    assert heights == sorted(heights), "gripper, left, right from top to bottom"
    assert all(share(sheet, colour) > 0.15 for colour in COLOURS.values())
    assert sheet.shape[1] == pytest.approx(1600, abs=30)
    assert drawn.shape == (900, 1400, 3) and len(np.unique(drawn.reshape(-1, 3), axis=0)) > 100


def test_show_draws_what_it_can_and_names_the_rest(tmp_path, capsys):
    record(tmp_path / "in/t/1", finish=False)
    record(tmp_path / "in/t/2", cameras=("gripper", "right"))
    record(tmp_path / "in/t/3")
    assert cli.main(["episodes", "show", str(tmp_path / "in"), "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr()
    drawn = [path.rpartition("/")[2] for path in told.out.split()]
    assert drawn == ["2_plots.png", "3_plots.png", "3_sheet.jpg"]
    assert "kinema episodes recover" in told.err and "no moment can be aligned" in told.err


def test_plots_draw_a_jump_and_missing_tags_in_red(tmp_path):
    red = (201, 42, 42)

    def drawn(name: str, **broken) -> float:
        episode = Episode.open(record(tmp_path / name, **broken))
        return share(plots(episode, check(episode)), red)

    good = drawn("1")
    assert drawn("2", jump=0.04) > good
    assert drawn("3", blind=True) > good


def test_an_episode_of_which_nothing_can_be_aligned_has_plots_but_no_sheet(tmp_path):
    episode = Episode.open(record(tmp_path / "t/1", cameras=("gripper", "right")))
    checked = check(episode)
    with pytest.raises(EpisodeError, match="left/image_raw: nothing was recorded"):
        contact_sheet(episode, checked)
    assert plots(episode, checked).shape == (900, 1400, 3)
