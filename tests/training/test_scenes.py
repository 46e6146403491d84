"""Captioned pictures on the disk: what was written is read, what is no set of them is refused by name."""

import json

import numpy as np
import pytest

from kinema.errors import EpisodeError
from kinema.training import scenes
from kinema.training.scenes import Scenes


def some() -> Scenes:
    rng = np.random.default_rng(0)
    return Scenes(
        about={"views": 1, "seeds": [3, 5]},
        images=rng.integers(0, 256, (2, 3, 12, 16, 3), np.uint8),
        states=np.array(rng.uniform(-1, 1, (2, 10)), np.float32),
        frames=np.array([0, 0, 1]),
        places=np.array(rng.uniform(-1, 1, (3, 3, 2, 2)), np.float32),
        offsets=np.array(rng.uniform(-1, 1, (3, 2, 3)), np.float32),
        texts=("put the cup onto the tray", "put the can onto the tray", "open the drawer"),
    )


def test_what_was_written_is_read(tmp_path):
    scenes.write(tmp_path / "set", some())
    found, wanted = scenes.read(tmp_path / "set"), some()
    for name in ("images", "states", "frames", "places", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert tuple(found.texts) == wanted.texts and found.about == wanted.about and found.size == (16, 12)


def test_sets_are_told_apart_by_how_they_were_made(tmp_path):
    scenes.write(tmp_path, some())
    other = some()
    other.about["seeds"] = [3, 6]
    assert scenes.read(tmp_path).fingerprint == some().fingerprint != other.fingerprint


def test_what_was_cut_short_is_refused(tmp_path):
    scenes.write(tmp_path, some())
    (tmp_path / scenes.INDEX).unlink()
    with pytest.raises(EpisodeError, match=r"holds no scenes: .*index\.json'; make them with `kinema scenes`"):
        scenes.read(tmp_path)


def test_another_version_and_parts_that_disagree_are_refused(tmp_path):
    scenes.write(tmp_path, some())
    (tmp_path / "texts.json").write_text(json.dumps(["open the drawer"]))
    with pytest.raises(EpisodeError, match="1 texts, 3 frames and 3 places disagree"):
        scenes.read(tmp_path)
    (tmp_path / scenes.INDEX).write_text(json.dumps({"version": 0}))
    with pytest.raises(EpisodeError, match="version is 0, allowed is 2"):
        scenes.read(tmp_path)
