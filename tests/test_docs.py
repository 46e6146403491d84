"""Whatever is public stands in the documentation: topics and services, the facts of an episode, commands."""

import re

import pytest

from kinema import paths
from kinema.apps import episodes
from kinema.episodes.facts import Facts
from kinema.topics import CAMERAS, TOPICS

TEXT = (paths.root() / "docs/nodes.md").read_text()
DATA = (paths.root() / "docs/data.md").read_text()
SERVED = {
    name
    for file in (paths.root() / "ros2_ws/src").glob("*/*/*.py")
    for name in re.findall(r'"(~/[a-z_]+)"', file.read_text())
}


@pytest.mark.parametrize("topic", TOPICS)
def test_every_topic_is_explained(topic):
    camera, _, rest = topic.partition("/")
    assert f"`{f'<camera>/{rest}' if camera in CAMERAS else topic}`" in TEXT


@pytest.mark.parametrize("service", sorted(SERVED))
def test_every_service_is_listed(service):
    assert f"`{service}`" in TEXT


@pytest.mark.parametrize("fact", Facts.model_fields)
def test_every_fact_of_an_episode_is_explained(fact):
    assert f"`{fact}`" in DATA


@pytest.mark.parametrize("command", episodes.COMMANDS)
def test_every_command_for_episodes_is_mentioned(command):
    assert f"kinema episodes {command}" in DATA
