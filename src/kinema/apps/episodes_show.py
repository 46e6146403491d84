"""`kinema episodes show`: a contact sheet and plots of an episode, written as pictures; opens nothing."""

import argparse
import sys
from pathlib import Path

import cv2

from kinema import paths
from kinema.apps.cli import positive
from kinema.chunk import Image
from kinema.episodes.check import check
from kinema.episodes.reader import Episode, find
from kinema.episodes.show import contact_sheet, plots
from kinema.errors import EpisodeError, KinemaError


def _save(path: Path, image: Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)):
        raise EpisodeError(f"{path} cannot be written")
    print(path)


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, help="an episode, or a folder of them")
    parser.add_argument("--out", type=Path, help="default: runs/episodes in the checkout")
    parser.add_argument("--moments", type=positive, default=8, help="columns of the sheet, default: %(default)s")


def _show(folder: Path, out: Path, moments: int) -> None:
    episode = Episode.open(folder)
    checked = check(episode)
    _save(out / f"{episode.name}_plots.png", plots(episode, checked))  # there is no sheet where nothing can be aligned
    _save(out / f"{episode.name}_sheet.jpg", contact_sheet(episode, checked, moments))


def run(arguments: argparse.Namespace) -> int:
    """0 when every episode has been drawn, 1 when one could not be."""
    failed = 0
    for folder in find(arguments.folder).values():
        try:
            _show(folder, arguments.out or paths.root() / "runs" / "episodes", arguments.moments)
        except KinemaError as error:
            print(f"not shown: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0
