"""An episode as two pictures: a sheet of its images, and plots of its streams. Returns pixels, writes nothing."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from kinema.chunk import Image
from kinema.clock import NS, to_seconds
from kinema.episodes.aligned import Aligned
from kinema.episodes.check import Check
from kinema.episodes.quality import LIMITS
from kinema.episodes.quality_monitor import skews
from kinema.episodes.reader import Episode, Stamps, Streams
from kinema.errors import EpisodeError
from kinema.geometry import Array
from kinema.topics import CAMERAS

WIDTH, FORCE, BAD = "#1c7ed6", "#e8590c", "#c92a2a"
_AXES = {"x": "#c92a2a", "y": "#2b8a3e", "z": "#1c7ed6"}
_CAMERAS = {"left": "#7048e8", "right": "#0ca678"}
_INK, _FAINT, _GRID = "#212529", "#868e96", "#eceff1"
_GRIP = LinearSegmentedColormap.from_list("grip", ["#adb5bd", FORCE])
_DPI = 100
_GAP, _LABEL, _HEAD, _STRIP = 4, 26, 74, 118  # [px] of the sheet: between images, left of them, above, below
_OVER = 4  # steps that speed is taken over, lest it show the tracker's noise
_SHEET = 1600  # [px] that a sheet is about as wide


def _pixels(figure: Figure) -> Image:
    """(height, width, 3) uint8 RGB."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _seconds(stamps_ns: Stamps, episode: Episode) -> Array:
    """[s] after the beginning of the useful interval."""
    return (stamps_ns - episode.facts.began_ns) / NS


def _headline(episode: Episode) -> str:
    facts = episode.facts
    judged = {True: "success", False: "failure", None: "not judged"}[facts.success]
    parts = [episode.name, f"{to_seconds(facts.ended_ns - facts.began_ns):.1f} s", judged]
    parts += [facts.operator or facts.robot or facts.source]
    parts += [f"calibration: {facts.calibration_origin}"] if facts.calibration_origin else []
    parts += ["calibration overridden"] if facts.calibration_override else []
    return "  ·  ".join(parts)


def _verdict(checked: Check, episode: Episode) -> tuple[str, str]:
    """In words, and their colour."""
    why = "; ".join(checked.faults) or episode.facts.rejected
    return (f"rejected: {why}", BAD) if why else ("may be used", "#2b8a3e")


def _plain(axes: Axes) -> None:
    axes.grid(color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#ced4da")
    axes.tick_params(colors=_FAINT, labelsize=8, length=3)


def _gaps(t: Array, values: Array, longest: float) -> tuple[Array, Array]:
    """A curve that is interrupted wherever two points are more than `longest` [s] apart."""
    cuts = np.flatnonzero(np.diff(t) > longest) + 1
    return np.insert(t, cuts, np.nan), np.insert(values, cuts, np.nan, axis=0)


# ---- the sheet


def _strip(axes: Axes, episode: Episode, aligned: Aligned, shown: NDArray[np.int64]) -> None:
    """Jaw opening and force over time, with the moments of the images."""
    t = _seconds(aligned.stamps_ns, episode)
    _plain(axes)
    for moment in t[shown]:
        axes.axvline(moment, color="#ced4da", lw=1.0, zorder=0)
    axes.plot(t, 1e3 * aligned.width, color=WIDTH, lw=1.6)
    axes.set_ylim(0, 1.08 * max(90.0, 1e3 * float(aligned.width.max())))
    axes.set_ylabel("jaw [mm]", color=WIDTH, fontsize=8)
    axes.set_xlim(0, max(to_seconds(episode.facts.ended_ns - episode.facts.began_ns), 1e-3))
    axes.set_xlabel("time [s]", color=_FAINT, fontsize=8, labelpad=1)
    force = axes.twinx()
    force.fill_between(t, aligned.force, color=FORCE, alpha=0.18, lw=0)
    force.plot(t, aligned.force, color=FORCE, lw=1.2)
    force.set_ylim(min(0.0, 1.08 * float(aligned.force.min())), 1.15 * max(5.0, float(aligned.force.max())))
    force.set_ylabel("force [N]", color=FORCE, fontsize=8)
    force.tick_params(colors=_FAINT, labelsize=8, length=3)
    for side in force.spines.values():
        side.set_visible(False)


def contact_sheet(episode: Episode, checked: Check, moments: int = 8) -> Image:
    """All cameras at `moments` evenly spread steps, over a strip of jaw opening and force; about 1600 px wide.

    Raises EpisodeError when nothing of the episode can be aligned.
    """
    aligned = checked.aligned
    if len(aligned) == 0:
        raise EpisodeError(f"{episode.folder}: no moment can be aligned: {'; '.join(checked.faults)}")
    shown = np.unique(np.linspace(0, len(aligned) - 1, moments).round().astype(int))
    first = episode.image(CAMERAS[0], int(aligned.frames[CAMERAS[0]][0]))
    tile = (_SHEET - _LABEL) // len(shown) - _GAP
    tall = round(tile * first.shape[0] / first.shape[1])
    width, height = _LABEL + len(shown) * (tile + _GAP), _HEAD + len(CAMERAS) * (tall + _GAP) + _STRIP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="white")

    def box(left: float, top: float, wide: float, high: float) -> tuple[float, float, float, float]:
        return left / width, 1 - (top + high) / height, wide / width, high / height

    text, (verdict, colour) = episode.facts.text, _verdict(checked, episode)
    figure.text(_LABEL / width, 1 - 12 / height, text, fontsize=15, weight="bold", color=_INK, va="top")
    figure.text(_LABEL / width, 1 - 40 / height, _headline(episode), fontsize=9, color=_FAINT, va="top")
    figure.text(1 - 10 / width, 1 - 18 / height, _clip(verdict, 90), fontsize=9, color=colour, va="top", ha="right")
    for row, camera in enumerate(CAMERAS):
        top = _HEAD + row * (tall + _GAP)
        figure.text(8 / width, 1 - (top + tall / 2) / height, camera, rotation=90, va="center", ha="left", fontsize=9)
        for column, step in enumerate(shown.tolist()):
            left = _LABEL + column * (tile + _GAP)
            axes = figure.add_axes(box(left, top, tile, tall))
            axes.imshow(episode.image(camera, int(aligned.frames[camera][step])), aspect="auto")
            axes.set_axis_off()
            if row == 0:
                moment = _seconds(aligned.stamps_ns[step : step + 1], episode)[0]
                place = ((left + tile / 2) / width, 1 - (_HEAD - 4) / height)
                figure.text(*place, f"{moment:.1f} s", fontsize=8, color=_FAINT, ha="center", va="bottom")
    _strip(
        figure.add_axes(box(_LABEL + 34, height - _STRIP + 8, width - _LABEL - 80, _STRIP - 44)),
        episode,
        aligned,
        shown,
    )
    return _pixels(figure)


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


# ---- the plots


def _mark(axes: Sequence[Axes], episode: Episode, aligned: Aligned) -> None:
    """Red where a moment was rejected, a red line where the tracker jumped."""
    t = _seconds(np.array([stamp_ns for stamp_ns, _ in aligned.rejected], np.int64), episode)
    jumps = np.flatnonzero(np.diff(aligned.segment))
    for one in axes:
        for moment in t:
            one.axvspan(moment - 0.5 / aligned.rate, moment + 0.5 / aligned.rate, color="#ffc9c9", lw=0, zorder=0)
        for jump in jumps:
            one.axvline(_seconds(aligned.stamps_ns[jump : jump + 1], episode)[0], color=BAD, lw=1.2, ls="--")


def _tool(position: Axes, speed: Axes, episode: Episode, aligned: Aligned) -> None:
    t, gap = _seconds(aligned.stamps_ns, episode), 2.5 / aligned.rate
    for index, (name, colour) in enumerate(_AXES.items()):
        position.plot(*_gaps(t, 1e2 * aligned.T_base_tcp[:, index, 3], gap), color=colour, lw=1.3, label=name)
    position.set_ylabel("tool [cm]")
    position.legend(ncols=3, fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.97), borderpad=0.1)
    if len(t) > _OVER:
        way = np.linalg.norm(aligned.T_base_tcp[_OVER:, :3, 3] - aligned.T_base_tcp[:-_OVER, :3, 3], axis=1)
        way[aligned.segment[_OVER:] != aligned.segment[:-_OVER]] = np.nan
        middle = (t[_OVER:] + t[:-_OVER]) / 2
        speed.plot(*_gaps(middle, 1e2 * way / (t[_OVER:] - t[:-_OVER]), gap), color=_INK, lw=1.0)
    speed.set_ylabel("speed [cm/s]")


def _jaw_and_force(jaw: Axes, force: Axes, episode: Episode, streams: Streams) -> None:
    valid = streams.jaw.valid
    t = _seconds(streams.jaw.stamps_ns, episode)
    jaw.plot(*_gaps(t[valid], 1e3 * streams.jaw.width[valid], LIMITS.gap), color=WIDTH, lw=1.3)
    if not valid.all():
        jaw.plot(t[~valid], np.zeros((~valid).sum()), "|", color=BAD, ms=7, label="no tag")
        jaw.legend(fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.97), borderpad=0.1)
    jaw.set_ylim(bottom=-2)
    jaw.set_ylabel("jaw [mm]")
    t = _seconds(streams.force.stamps_ns, episode)
    force.fill_between(t, streams.force.force, color=FORCE, alpha=0.18, lw=0)
    force.plot(t, streams.force.force, color=FORCE, lw=1.0)
    force.set_ylabel("force [N]")


def _skew(axes: Axes, episode: Episode, streams: Streams) -> None:
    reference = streams.images[CAMERAS[0]]
    t = _seconds(reference, episode)
    for camera, colour in _CAMERAS.items():
        if len(streams.images.get(camera, ())):
            axes.plot(t, 1e3 * skews(reference, streams.images[camera]), ".", ms=3, color=colour, label=camera)
    axes.axhline(1e3 * LIMITS.skew, color=BAD, lw=1.0, ls="--")
    axes.set_ylim(-1, 1.3e3 * LIMITS.skew)
    axes.set_ylabel("skew [ms]")
    axes.legend(ncols=2, fontsize=8, frameon=False, loc="lower right", bbox_to_anchor=(1.0, 0.97), borderpad=0.1)


def _path(axes: Axes, aligned: Aligned, along: int, up: int, names: str) -> None:
    """The tool's way, seen along one axis of base_link, coloured by the grasp force."""
    points, most = 1e2 * aligned.T_base_tcp[:, :3, 3], max(2.0, float(aligned.force.max()))
    for segment in np.unique(aligned.segment):
        part = points[aligned.segment == segment]
        axes.plot(part[:, along], part[:, up], color="#ced4da", lw=1.0, zorder=1)
    dots = axes.scatter(points[:, along], points[:, up], c=aligned.force, s=9, cmap=_GRIP, zorder=2, vmin=0, vmax=most)
    ends = points[[0, -1]]
    for place, mark, name in ((ends[0], "o", "begin"), (ends[1], "s", "end")):
        axes.plot(place[along], place[up], mark, mfc="white", mec=_INK, ms=6, zorder=3)
        axes.annotate(name, (place[along], place[up]), (8, 7), textcoords="offset points", fontsize=8, color=_INK)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel(f"{names[0]} [cm]", fontsize=8, color=_FAINT)
    axes.set_ylabel(f"{names[1]} [cm]")
    axes.figure.colorbar(dots, ax=axes, label="force [N]", shrink=0.8, pad=0.02).ax.tick_params(labelsize=8)


def plots(episode: Episode, checked: Check) -> Image:
    """Tool, speed, jaw, force and skew over time, and the way of the tool from above and from the side."""
    streams, aligned = episode.streams(), checked.aligned
    figure = Figure(figsize=(14, 9), dpi=_DPI, facecolor="white", layout=ConstrainedLayoutEngine(rect=(0, 0, 1, 0.915)))
    (left, right), *_ = figure.subfigures(1, 2, width_ratios=(1.9, 1), squeeze=False)
    rows, views = left.subplots(5, sharex=True), right.subplots(2)
    _mark(rows, episode, aligned)
    _tool(rows[0], rows[1], episode, aligned)
    _jaw_and_force(rows[2], rows[3], episode, streams)
    if CAMERAS[0] in streams.images:
        _skew(rows[4], episode, streams)
    rows[-1].set_xlabel("time [s]; red: rejected", fontsize=8, color=_FAINT)
    rows[0].set_xlim(0, max(to_seconds(episode.facts.ended_ns - episode.facts.began_ns), 1e-3))
    if len(aligned):
        _path(views[0], aligned, 1, 0, "yx")
        _path(views[1], aligned, 0, 2, "xz")
        views[0].invert_xaxis()  # x away from the base, y to the left, as whoever stands behind the robot sees it
    for axes in (*rows, *views):
        _plain(axes)
        axes.yaxis.label.set(color=_INK, fontsize=8)
    verdict, colour = _verdict(checked, episode)
    figure.text(0.01, 0.985, episode.facts.text, fontsize=13, weight="bold", color=_INK, va="top")
    figure.text(0.01, 0.958, _headline(episode), fontsize=9, color=_FAINT, va="top")
    figure.text(0.01, 0.937, _clip(verdict, 200), fontsize=9, color=colour, va="top")
    return _pixels(figure)
