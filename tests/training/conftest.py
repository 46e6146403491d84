"""Two recorded demonstrations as a data set, and one thread: two are slower on a shared machine."""

from pathlib import Path

import pytest
import torch

from kinema.episodes.export import export
from kinema.episodes.reader import find
from kinema.episodes.shards import ShardDataset, Shards

RECORDED = Path(__file__).resolve().parents[1] / "data/episodes"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> ShardDataset:
    out = tmp_path_factory.mktemp("shards") / "set"
    export(find(RECORDED), out, Shards(size=(64, 48)), rate=10)
    return ShardDataset(out)
