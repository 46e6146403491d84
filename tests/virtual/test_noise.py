"""The noise table: complete, with sources, and refusing what it does not know."""

import dataclasses

import pytest
import yaml

from kinema.errors import ConfigError
from kinema.virtual import noise


def test_every_magnitude_stands_in_the_file_with_its_source() -> None:
    table = noise.load()
    raw = yaml.safe_load(noise._PATH.read_text())
    for section in dataclasses.fields(table):
        for key, value in dataclasses.asdict(getattr(table, section.name)).items():
            assert value > 0
            assert raw[section.name][key]["value"] == value
            assert len(raw[section.name][key]["source"]) > 10


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"position": {"value": 1.0}}, "a value and its source"),
        ({"position": {"value": -1.0, "source": "x"}}, "allowed: 0 and above"),
        ({"positions": {"value": 1.0, "source": "x"}}, "exactly position"),
        (None, "exactly position"),
    ],
)
def test_a_broken_table_is_refused(rows: object, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        noise._group(noise.JawNoise, "jaw", rows)
