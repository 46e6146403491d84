"""Policies by name; the simulator's truth is for the demonstrator alone."""

from types import SimpleNamespace

import pytest

from kinema.chunk import ObservationSpec
from kinema.errors import ConfigError
from kinema.policies import registry


def test_an_unknown_policy_is_refused_naming_those_there_are():
    with pytest.raises(ConfigError, match=r"'magic' is not known; allowed: .*demonstrator"):
        registry.make("magic")


def test_only_the_demonstrator_may_see_the_truth():
    sees = ObservationSpec(simulator_truth=True)
    registry.check_sight(SimpleNamespace(name="demonstrator", spec=sees))
    registry.check_sight(SimpleNamespace(name="learned", spec=ObservationSpec()))
    with pytest.raises(ConfigError, match=r"'learned' asks for the simulator's truth; allowed for: demonstrator"):
        registry.check_sight(SimpleNamespace(name="learned", spec=sees))


@pytest.mark.parametrize("name", registry.POLICIES)
def test_every_policy_of_the_table_can_be_made_and_says_its_name(name):
    assert registry.make(name).name == name
