#!/usr/bin/env python3
"""Does the real `lerobot` package read an exported data set? Prints what was checked, as JSON; a failed check raises.

lerobot cannot stand in Kinema's environment (other versions of NumPy, OpenCV and PyAV), so this needs one of its own
and nothing of Kinema:

    python3.12 -m venv /tmp/lerobot && /tmp/lerobot/bin/pip install 'lerobot[dataset]==0.6.1'
    /tmp/lerobot/bin/python tools/check_lerobot.py DATASET > docs/lerobot_check.json
"""

import json
import math
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp()  # no cache of an earlier data set answers

import numpy as np
import torch
from lerobot.datasets.dataset_tools import delete_episodes, merge_datasets, split_dataset
from lerobot.datasets.lerobot_dataset import LeRobotDataset

NAME = "kinema/export"
AHEAD = 32
DECODER = "pyav"  # torchcodec, the other one, needs the system's own ffmpeg libraries


def check(condition: object, what: str) -> None:
    if not condition:
        raise SystemExit(f"failed: {what}")


def metadata(dataset: LeRobotDataset) -> dict:
    meta = dataset.meta
    check(str(meta.info.codebase_version) == "v3.0", "version of the layout")
    check(len(meta.episodes) == meta.total_episodes, "an episode's row each")
    check(sum(meta.episodes["length"]) == meta.total_frames == len(dataset), "lengths add up")
    for name, feature in meta.features.items():
        rows = meta.stats[name]
        check({"min", "max", "mean", "std", "count", "q01", "q99"} <= set(rows), f"statistics of {name}")
        shape = (3, 1, 1) if feature["dtype"] == "video" else tuple(feature["shape"])
        check(all(rows[key].shape == shape for key in rows if key != "count"), f"shape of the statistics of {name}")
        check(all(np.isfinite(rows[key]).all() for key in rows), f"statistics of {name} are finite")
    return {"episodes": meta.total_episodes, "frames": meta.total_frames, "tasks": list(meta.tasks.index)}


def every_step(dataset: LeRobotDataset) -> dict:
    """Each step of each episode, images and all."""
    meta, levels = dataset.meta, {key: [] for key in dataset.meta.video_keys}
    for index in range(len(dataset)):
        item = dataset[index]
        row = meta.episodes[int(item["episode_index"])]
        check(int(item["index"]) == index, "index counts")
        check(
            int(item["frame_index"]) == index - row["dataset_from_index"], "frame_index counts from the episode's start"
        )
        check(math.isclose(float(item["timestamp"]), int(item["frame_index"]) / meta.fps, abs_tol=1e-4), "timestamp")
        check([item["task"]] == list(row["tasks"]), "the text of the task")
        for name in ("observation.state", "action"):
            check(item[name].shape == (11,) and item[name].dtype == torch.float32, name)
        if index + 1 < row["dataset_to_index"]:
            following = torch.tensor(dataset.hf_dataset[index + 1]["observation.state"])
            check(torch.equal(item["action"], following), "the action is the next step's state")
        for key in levels:
            height, width, _ = meta.features[key]["shape"]
            check(item[key].shape == (3, height, width) and float(item[key].min()) >= 0.0, key)
            levels[key].append(float(item[key].mean()))
    for key, means in levels.items():
        off = abs(np.mean(means) - meta.stats[key]["mean"].mean())
        check(off < 0.01, f"mean of {key} as its statistics say, off by {off:.4f}")
    return {"steps_read": len(dataset), "images_read": len(dataset) * len(levels)}


def windows(root: Path) -> dict:
    """Windows in time as training asks for them, through a DataLoader."""
    fps = LeRobotDataset(NAME, root=root, video_backend=DECODER).fps
    ahead = [i / fps for i in range(AHEAD)]
    times = {"action": ahead, "observation.images.gripper": [-4 / fps, 0.0], "observation.state": [-4 / fps, 0.0]}
    dataset = LeRobotDataset(NAME, root=root, delta_timestamps=times, video_backend=DECODER)
    batch = next(iter(torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True, num_workers=2)))
    check(batch["action"].shape == (8, AHEAD, 11), "chunks of actions")
    check(batch["observation.images.gripper"].shape[:3] == (8, 2, 3), "two images")
    first, row = dataset[0], dataset.meta.episodes[0]
    check(bool(first["observation.images.gripper_is_pad"][0]), "before the episode's start is padding")
    last = dataset[row["length"] - 1]
    check(int(last["action_is_pad"].sum()) == AHEAD - 1, "after the episode's end is padding")
    return {"batch": {key: "x".join(map(str, value.shape)) for key, value in batch.items() if hasattr(value, "shape")}}


def tools(root: Path) -> dict:
    """LeRobot's own editing of data sets, which needs every episode's statistics and offsets."""
    whole = LeRobotDataset(NAME, root=root, video_backend=DECODER)
    scratch = Path(tempfile.mkdtemp())
    fewer = delete_episodes(whole, [0], output_dir=scratch / "fewer", repo_id="kinema/fewer")
    check(fewer.meta.total_episodes == whole.meta.total_episodes - 1, "an episode deleted")
    halves = split_dataset(whole, {"train": 0.5, "test": 0.5}, output_dir=scratch / "halves")
    both = merge_datasets(list(halves.values()), output_repo_id="kinema/both", output_dir=scratch / "both")
    check(both.meta.total_frames == whole.meta.total_frames, "split and merged")
    check(fewer[0]["observation.images.left"].shape == whole[0]["observation.images.left"].shape, "still images")
    return {"deleted": 1, "split_into": len(halves), "merged_frames": both.meta.total_frames}


def main() -> None:
    root = Path(sys.argv[1])
    dataset = LeRobotDataset(NAME, root=root, video_backend=DECODER)
    packages = ("lerobot", "torch", "datasets", "av", "pyarrow", "numpy")
    report = {
        "decoder": DECODER,
        "versions": {"python": sys.version.split()[0]} | {name: version(name) for name in packages},
        "fingerprint": json.loads((root / "kinema.json").read_text())["fingerprint"],
        "metadata": metadata(dataset),
        "every_step": every_step(dataset),
        "windows": windows(root),
        "editing": tools(root),
        "failed": 0,
    }
    print(json.dumps(report, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
