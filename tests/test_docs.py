"""Whatever is public on the graph stands in docs/nodes.md."""

import re

import pytest

from kinema import paths
from kinema.topics import CAMERAS, TOPICS

TEXT = (paths.root() / "docs/nodes.md").read_text()
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
