"""Policies by name; the simulator's truth is for the demonstrator alone."""

from types import SimpleNamespace

import pytest

from kinema import paths
from kinema.chunk import ObservationSpec
from kinema.errors import CheckpointError, ConfigError
from kinema.policies import checkpoint, registry
from kinema.policies.actions import ActionSpace


def a_checkpoint() -> checkpoint.Checkpoint:
    space = ActionSpace(horizon=32, dt=0.1, offset=0.1, executable=24, mean=(0.0,) * 11, std=(1.0,) * 11)
    return checkpoint.Checkpoint(
        kind="test",
        config={},
        action=space,
        cameras=("gripper",),
        image_size=(96, 72),
        dataset="",
        calibration_origin=(),
        latency={},
        training={},
    )


def test_an_unknown_policy_is_refused_naming_those_there_are():
    with pytest.raises(ConfigError, match=r"'magic' is not known; allowed: .*demonstrator"):
        registry.make("magic")


def test_only_the_demonstrator_may_see_the_truth():
    sees = ObservationSpec(simulator_truth=True)
    registry.check_sight(SimpleNamespace(name="demonstrator", spec=sees))
    registry.check_sight(SimpleNamespace(name="learned", spec=ObservationSpec()))
    with pytest.raises(ConfigError, match=r"'learned' asks for the simulator's truth; allowed for: demonstrator"):
        registry.check_sight(SimpleNamespace(name="learned", spec=sees))


def test_a_policy_takes_its_own_options_and_no_others():
    with pytest.raises(ConfigError, match=r"policy 'replay': missing a required argument: 'episode'"):
        registry.make("replay")
    with pytest.raises(ConfigError, match=r"policy 'demonstrator': got an unexpected keyword argument 'episode'"):
        registry.make("demonstrator", episode="somewhere")


@pytest.mark.parametrize("name", registry.POLICIES)
def test_every_policy_of_the_table_can_be_made_and_says_its_name(name, tmp_path):
    recorded = next((paths.root() / "tests/data/episodes").rglob("episode.yaml")).parent
    checkpoint.save(tmp_path, a_checkpoint(), {})
    options = {"replay": {"episode": str(recorded)}, "random": {"like": str(tmp_path)}}
    assert registry.make(name, **options.get(name, {})).name == name


def test_a_folder_that_holds_no_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(CheckpointError, match=r"checkpoint\.json: cannot be read"):
        registry.make(str(tmp_path))


def test_a_checkpoint_of_an_unknown_kind_is_refused_naming_those_there_are(tmp_path):
    checkpoint.save(tmp_path, a_checkpoint(), {})
    with pytest.raises(CheckpointError, match=r"is of kind 'test'; allowed: diffusion_policy, video_policy"):
        registry.make(str(tmp_path))
