"""How exactly a tool is tracked in rendered and in imagined video of the virtual cell, against the truth.

    python benchmarks/dreamitate.py                 films, a training, then the table
    python benchmarks/dreamitate.py --folder DIR    the same; what lies there already is used as it is

A brush comes in from the side and goes to where a mask shows its goal; way and turn follow from the goal, so that every
film that could be imagined has one truth. Nothing is learned from the films that are measured, nor from their scenes.
The generator is a small one, trained by `kinema train`. `rendered`: the film itself; `codec`: what the generator's
codec leaves of it, which is the best that it could draw; `imagined`: drawn from the empty scene, words and mask alone,
in so many steps, so that its error is the generator's and the tracker's together. `mean way` is where the brush would
be if every film led it the way to the middle of all goals. `doubted` has the poses too that the gates of the two views
refuse, of every frame in which the tracker believed to see the tool in both. `plans`: films that an arm which holds the
brush would act out, as a deployment decides it, and `ends`: how far from the film's end its way then ends (medians).

`--picture FILE` shows a film and what is imagined in its place, as it is followed.
"""

import argparse
import math
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from kinema import robots, yaml_file
from kinema.apps import cli
from kinema.calibration.bundle import SIDE_CAMERAS
from kinema.chunk import Image
from kinema.control.settings import Limits
from kinema.episodes import shards
from kinema.episodes.shards import Played
from kinema.errors import NoPlanError
from kinema.geometry import Array, Pose, interpolate
from kinema.perception.stereo_tool import GATES, Gates, StereoPose, View, track_stereo
from kinema.perception.tool_mesh import ToolMesh, assemble
from kinema.perception.tool_tracker import ModelTracker, Start
from kinema.policies import checkpoint, loading, sampling
from kinema.policies.codec import PatchesConfig, left_out
from kinema.policies.dreamitate import dream
from kinema.policies.dreamitate.config import DreamitateConfig
from kinema.policies.dreamitate.dream import Dream, Place
from kinema.policies.dreamitate.model import DreamitateModel
from kinema.policies.engines.graph import running
from kinema.policies.pictures import signal
from kinema.policies.video_policy import sampler
from kinema.policies.video_policy.config import LeanConfig
from kinema.training.video_quality import psnr
from kinema.virtual import noise, scenario
from kinema.virtual.cameras import CAMERAS, TABLE_DATE
from kinema.virtual.tool_view import ToolView

SIZE, RATE, FRAMES = (256, 192), 5, 12  # [px], [Hz] of the films, imagined frames of each view
SCENES, FILMS = 60, 20  # to learn from, and films of each
FIRST, MEASURED = 1000, 8  # scenes that nothing is learned from, a film each
MINUTES, BATCH = 35.0, 4
TEXT = "sweep to the mark"
STEPS = (1, 10)  # of the sampler
OPEN = Gates(score=0.0, gap=0.1, apart=math.pi, depth=1.0)

_AT = Pose.from_rotvec([0.36, -0.16, 0.20], [0.0, 0.0, 0.0])
_ARM_AT = Pose(np.array([0.4, 0.0, 0.62]), np.diag([1.0, -1.0, -1.0]))  # T_base_tcp before it acts: out of view
_T_FLANGE_TOOL = Pose(np.array([0.0, 0.0, 0.16]), np.diag([1.0, -1.0, -1.0]))  # the handle's end on the flange
_GOALS = ((0.46, 0.03), (0.52, 0.09))  # [m] least and largest x, y
_MARK = 0.03  # [m] radius of the goal's mark on the table
_HEIGHT = 0.05  # [m] of the brush's origin at the goal


@dataclass(frozen=True, eq=False, slots=True)
class Shot:
    """A film and where the brush truly was in its frames after the first."""

    film: Played
    poses: tuple[Pose, ...]


def brush() -> tuple[ToolMesh, Array]:
    """A round handle on a head that sticks out to one side, as in the tracker's tests; and its paint."""
    handle = trimesh.creation.cylinder(radius=0.012, height=0.14, sections=20)
    handle.apply_translation([0.0, 0.0, 0.09])
    head = trimesh.creation.box([0.12, 0.02, 0.05])
    head.apply_translation([0.02, 0.0, -0.004])
    tool = assemble({"handle": handle, "head": head}, "m", T_flange_tool=_T_FLANGE_TOOL)
    return tool, np.array([[0.10, 0.35, 0.20], [0.85, 0.30, 0.10]])[tool.part_of]


def way(goal: Array) -> tuple[Pose, ...]:
    """`T_base_tool` in each imagined frame, to a goal (2,) [m] on the table."""
    yaw = 2.0 * (goal[1] - 0.06) / 0.10 * 0.3
    end = Pose.from_rotvec([*goal, _HEIGHT], [0.0, 0.0, yaw])
    return tuple(interpolate(_AT, end, u * u * (3 - 2 * u)) for u in (np.arange(FRAMES) + 0.5) / FRAMES)


def mask(view: View, goal: Array) -> NDArray[np.uint8]:
    """(height, width) 1 where the mark of a goal is seen."""
    angles = np.linspace(0.0, 2 * math.pi, 40, endpoint=False)
    rim = np.stack([goal[0] + _MARK * np.cos(angles), goal[1] + _MARK * np.sin(angles), 0 * angles], axis=1)
    pixels = view.camera.project(view.T_base_camera.inverse().apply(rim))
    drawn = np.zeros(SIZE[::-1], np.uint8)
    cv2.fillPoly(drawn, [np.rint(pixels).astype(np.int32)], 1)
    return drawn


def shots(first: int, scenes: int, films: int) -> Iterator[Shot]:
    """So many films in each of so many scenarios, from a seed on."""
    tool, paint = brush()
    eyes = views()
    for seed in range(first, first + scenes):
        rng = np.random.default_rng(seed)
        scene = scenario.draw("pick_and_place", "train", seed)
        stage = ToolView(scene, tool.vertices, tool.triangles, paint, SIZE, noise.load().camera, seed)
        for number in range(films):
            goal = rng.uniform(*_GOALS)
            poses = way(goal)
            images = {
                name: np.stack([stage.render(name, T, number * 100 + i) for i, T in enumerate((None, *poses))])
                for name in SIDE_CAMERAS
            }
            goals = {name: mask(view, goal) for name, view in zip(SIDE_CAMERAS, eyes, strict=True)}
            still = shards.still(1 + len(poses))
            yield Shot(Played(f"scene {seed}, {number}", TEXT, still, images, goals), poses)
        stage.close()


def views() -> tuple[View, View]:
    """The true cameras."""
    left, right = (View(CAMERAS[name].info(SIZE), CAMERAS[name].T_mount_camera) for name in SIDE_CAMERAS)
    return left, right


def trained(folder: Path, minutes: float, held_out: float) -> DreamitateModel:
    """The generator, trained on films of its own, but for a share of them, unless that has been done in this folder."""
    data, out = folder / "films", folder / "training"
    if not data.exists():
        films = (shot.film for shot in shots(0, SCENES, FILMS))
        shards.write(data, films, RATE, "videos alone", placed=TABLE_DATE)
    if not (out / "checkpoint/checkpoint.json").exists():
        config = folder / "config.yaml"
        changes = {
            "codec": PatchesConfig(patch=8, predicted=48, shown=48),
            "unet": LeanConfig(channels=(48, 96, 128), layers=2),
            "goal": True,
            "stride": 1,
            "opening": 1,
            "latency": {f"few:{STEPS[-1]}": 15.0},
        }
        yaml_file.write(config, DreamitateConfig.small().model_copy(update=changes))
        words = ["train", "dreamitate", "--data", str(data), "--out", str(out), "--config", str(config)]
        words += f"--minutes {minutes} --steps 100000 --batch {BATCH} --rate 1.5e-3 --warm-up 50 --average 0.99".split()
        words += ["--precision", "bf16", "--held-out", str(held_out)]
        if cli.main(words) != 0:
            raise SystemExit("the training did not come to its end")
    return loading.network(DreamitateModel, DreamitateConfig, out / "checkpoint", "cpu")


# ---- what is tracked


@torch.no_grad()
def redrawn(model: DreamitateModel, shot: Shot) -> tuple[list[Image], list[Image]]:
    """What the codec leaves of the change from the first image."""
    clips = []
    for name in SIDE_CAMERAS:
        images = signal(torch.from_numpy(shot.film.images[name]))
        now = images[:1]
        seen = model.codec.decode(model.codec.encode(images[1:])) + left_out(model.codec, now)
        clips.append(list(_pixels(seen)))
    return clips[0], clips[1]


def _pixels(images: torch.Tensor) -> Image:
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).movedim(1, -1).numpy()


@torch.no_grad()
def imagined(model: DreamitateModel, shot: Shot, seed: int, steps: int) -> tuple[list[Image], list[Image]]:
    """Drawn from what there is before the film begins."""
    images, goals = shot.film.images, shot.film.goals
    now = torch.from_numpy(np.stack([images[name][0] for name in SIDE_CAMERAS]))[None]
    goal = torch.from_numpy(np.stack([goals[name] for name in SIDE_CAMERAS]))[None]
    run, sight = running(model), model.see(now, (TEXT,), goal)
    latents = model.draw(run, sight, model.clip_noise(1, sampling.generator(seed)), steps)
    left, right = sampler.decode(run, latents, now)[0].numpy()
    return list(left), list(right)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of one kind of video: position [mm] and rotation [deg] of each pose that was believed, and how many frames."""

    position: tuple[float, ...]
    rotation: tuple[float, ...]
    frames: int

    def cells(self) -> list[str]:
        share = f"{len(self.position)} of {self.frames}"
        if not self.position:
            return [share, "-", "-", "-", "-"]
        ends = [f"{np.percentile(values, q):.2f}" for values in (self.position, self.rotation) for q in (50, 90)]
        return [share, *ends]


def errors(found: list[tuple[list[StereoPose], Shot]], tool: ToolMesh) -> Errors:
    position, rotation, frames = [], [], 0
    for tracked, shot in found:
        for one, truth in zip(tracked, shot.poses, strict=True):
            frames += 1
            if one.T_base_tool is None:
                continue
            off = one.T_base_tool.apply(tool.centre) - truth.apply(tool.centre)
            position.append(1e3 * float(np.linalg.norm(off)))
            rotation.append(math.degrees(tool.symmetry.apart(one.T_base_tool.rotation, truth.rotation)))
    return Errors(tuple(position), tuple(rotation), frames)


def _gated(one: StereoPose) -> StereoPose:
    """As the gates of a deployment leave it."""
    if one.T_base_tool is None:
        return replace(one, reason=re.sub(r"[\d.]+", "#", one.reason).partition(";")[0])
    for name, value, most in (("gap", one.gap, GATES.gap), ("rotations apart", one.apart, GATES.apart)):
        if value > most:
            return StereoPose(None, one.score, name)
    return one if one.score >= GATES.score else StereoPose(None, one.score, "score")


def _off(clips: tuple[list[Image], list[Image]], shot: Shot) -> float:
    """Peak signal to noise ratio [dB] of clips against the film."""
    pairs = zip(clips, SIDE_CAMERAS, strict=True)
    return float(np.mean([psnr(np.array(clip), shot.film.images[name][1:]).mean() for clip, name in pairs]))


def acted(clips: tuple[list[Image], list[Image]], shot: Shot, place: Place) -> Dream:
    """What an arm makes of a film; raises NoPlanError."""
    now = np.stack([shot.film.images[name][0] for name in SIDE_CAMERAS])
    return dream.interpret(place, ModelTracker(), now, np.array(clips), _ARM_AT, 1 / RATE)


def ends(clips: tuple[list[Image], list[Image]], shot: Shot, place: Place) -> float | None:
    """Where the way of an arm that acts a film out ends, [mm] from where the film does; None: there is no plan."""
    try:
        found = acted(clips, shot, place)
    except NoPlanError:
        return None
    last = dream.held(place, Pose.from_matrix(found.plan.path[-1]))
    centre = place.tool.centre
    return 1e3 * float(np.linalg.norm(last.apply(centre) - shot.poses[-1].apply(centre)))


def holding(tool: ToolMesh, eyes: tuple[View, View]) -> Place:
    """An arm that holds the brush."""
    return Place(tool, eyes, robots.arm("ur5e"), robots.GRIPPER, Limits())


def picture(model: DreamitateModel, seed: int) -> Image:
    """Six moments: the film above what is imagined, for the left and for the right camera."""
    (shot,) = shots(seed, 1, 1)
    found = acted(imagined(model, shot, 0, STEPS[-1]), shot, holding(brush()[0], views()))
    at = range(2, FRAMES + 1, 2)
    rows = [
        np.hstack([images[name][k] for k in at]) for name in SIDE_CAMERAS for images in (shot.film.images, found.video)
    ]
    return np.vstack(rows)


def report(model: DreamitateModel, console: Console) -> None:
    """Measure, and print the table."""
    tool, eyes, tracker = brush()[0], views(), ModelTracker()
    place = holding(tool, eyes)
    measured = list(shots(FIRST, MEASURED, 1))
    clips: dict[str, list[tuple[list[Image], list[Image]]]] = {}
    for seed, shot in enumerate(measured):
        for steps in STEPS:
            clips.setdefault(f"imagined in {steps}", []).append(imagined(model, shot, seed, steps))
        clips.setdefault("codec", []).append(redrawn(model, shot))
        left, right = (list(shot.film.images[name][1:]) for name in SIDE_CAMERAS)
        clips.setdefault("rendered", []).append((left, right))
    still = [tuple([shot.film.images[name][0]] * FRAMES for name in SIDE_CAMERAS) for shot in measured]
    repeated = float(np.mean([_off((left, right), shot) for (left, right), shot in zip(still, measured, strict=True)]))
    table = Table(
        "video", "dB", "poses", "mm: median", "90 %", "degrees: median", "90 %", "plans", "ends", "why no pose"
    )
    for kind, some in clips.items():
        quality = np.mean([_off(pair, shot) for pair, shot in zip(some, measured, strict=True)])
        doubted = []
        for pair, shot in zip(some, measured, strict=True):
            left, right = (Start(shot.film.images[name][0]) for name in SIDE_CAMERAS)
            doubted.append((track_stereo(tracker, pair, eyes, tool, (left, right), OPEN), shot))
        believed = [([_gated(one) for one in tracked], shot) for tracked, shot in doubted]
        said = Counter(one.reason for tracked, _ in believed for one in tracked if one.reason)
        why = said.most_common(1)[0][0] if said else ""
        away = [end for pair, shot in zip(some, measured, strict=True) if (end := ends(pair, shot, place)) is not None]
        plans = f"{len(away)} of {len(some)}", f"{np.median(away):.1f} mm" if away else "-"
        table.add_row(kind, f"{quality:.1f}", *errors(believed, tool).cells(), *plans, why)
        table.add_row("  doubted", "", *errors(doubted, tool).cells())
        print(f"{kind}: {errors(believed, tool).cells()}, {plans}, {why}", file=sys.stderr)
    mean = way(np.mean(_GOALS, axis=0))
    alike = errors([([StereoPose(T, 1.0) for T in mean], shot) for shot in measured], tool)
    table.add_row("mean way", "", *alike.cells())
    console.print(table)
    console.print(f"the empty scene in the film's place: {repeated:.1f} dB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, help="where films and training are kept; default: nowhere")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of training, default %(default)s")
    parser.add_argument("--held-out", type=float, default=0.05, help="share of the films, default %(default)s")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="show one film as it is followed, and nothing else"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = arguments.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        model = trained(folder, arguments.minutes, arguments.held_out)
        facts = checkpoint.read(folder / "training/checkpoint").training
    if arguments.picture:
        cv2.imwrite(str(arguments.picture), picture(model, FIRST)[..., ::-1])
        return
    console = Console(width=130)
    learned, out = SCENES * FILMS - round(arguments.held_out * SCENES * FILMS), facts["held_out"]
    console.print(
        f"{learned} films of {SIZE[0]} x {SIZE[1]} px, {facts['steps']} steps of {BATCH} in {60 * facts['hours']:.1f} "
        f"minutes; held out: {out}"
    )
    report(model, console)


if __name__ == "__main__":
    main()
