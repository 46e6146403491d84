"""Every recipe names a network that there is, at every size, with that stage and something to learn in it."""

from pathlib import Path

import pytest
import torch

from kinema.errors import TrainingError
from kinema.training import stages


@pytest.fixture(scope="module")
def networks() -> dict:
    """Each kind in each size, without memory for its weights."""
    sizes = {"small": (128, 96), "medium": (128, 96), "full": (256, 256)}
    with torch.device("meta"):
        return {
            key: stages.fresh(*key, None, len(stages.cameras(key[0])), sizes[key[1]])
            for key in {key[:2] for key in stages.RECIPES}
        }


@pytest.mark.parametrize("key", stages.RECIPES, ids=" ".join)
def test_a_recipe_is_for_a_stage_that_its_network_has(networks, key):
    network = networks[key[:2]]
    assert key[2] in network.stages
    learned = [value for group in network.parameters_of(key[2]) for value in group["params"]]
    assert learned and len({id(value) for value in learned}) == len(learned)
    assert network.frames * network.stride in (0, 16, 24, 32, 60) and network.latency


def test_every_stage_of_every_network_has_a_recipe(networks):
    assert {(*key, stage) for key, network in networks.items() for stage in network.stages} == set(stages.RECIPES)


def test_a_stage_that_a_policy_has_not_is_refused_naming_those_it_has():
    for kind in ("video_policy", "uva"):
        with pytest.raises(TrainingError, match="no stage 'dream'; allowed: video, action, joint"):
            stages.recipe(kind, "small", "dream")


def test_a_network_without_a_look_is_given_none(networks):
    with pytest.raises(TrainingError, match="runs/look: this network has no look that it could be given to"):
        stages.begin_look(networks["uva", "full"], Path("runs/look"))
