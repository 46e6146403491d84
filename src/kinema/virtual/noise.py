"""How large the errors of every virtual sensor are: `noise.yaml`, read into frozen values."""

import functools
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from kinema.errors import ConfigError

_PATH = Path(__file__).with_name("noise.yaml")


@dataclass(frozen=True, slots=True)
class ArmNoise:
    """position [rad], velocity [rad/s], torque [N m], force [N], wrench_torque [N m]; wrench_delay [s]."""

    position: float
    velocity: float
    torque: float
    force: float
    wrench_torque: float
    wrench_delay: float


@dataclass(frozen=True, slots=True)
class JawNoise:
    """position [m]"""

    position: float


@dataclass(frozen=True, slots=True)
class LoadCellNoise:
    """force [N]; offset [N] drawn once; range [N] at which the cell saturates."""

    force: float
    offset: float
    range: float


@dataclass(frozen=True, slots=True)
class TrackerNoise:
    """position [m], rotation [rad], drift [-] of the way; jump_rate [1/s], jump_position [m], jump_rotation [rad]."""

    position: float
    rotation: float
    drift: float
    jump_rate: float
    jump_position: float
    jump_rotation: float


@dataclass(frozen=True, slots=True)
class CameraNoise:
    """read [grey levels], shot [grey levels^2 per grey level], corner [px]."""

    read: float
    shot: float
    corner: float


@dataclass(frozen=True, slots=True)
class NoiseTable:
    arm: ArmNoise
    jaw: JawNoise
    load_cell: LoadCellNoise
    tracker: TrackerNoise
    camera: CameraNoise


def _group(kind: type, name: str, rows: Any) -> Any:
    wanted = {field.name for field in fields(kind)}
    if not isinstance(rows, dict) or set(rows) != wanted:
        raise ConfigError(f"{_PATH.name}: {name} must hold exactly {', '.join(sorted(wanted))}")
    values = {}
    for key, row in rows.items():
        if set(row) != {"value", "source"} or not row["source"]:
            raise ConfigError(f"{_PATH.name}: {name}.{key} must hold a value and its source")
        if not float(row["value"]) >= 0:
            raise ConfigError(f"{_PATH.name}: {name}.{key} is {row['value']}; allowed: 0 and above")
        values[key] = float(row["value"])
    return kind(**values)


@functools.cache
def load() -> NoiseTable:
    """The committed table."""
    raw = yaml.safe_load(_PATH.read_text())
    kinds = {field.name: field.type for field in fields(NoiseTable)}
    if set(raw) != set(kinds):
        raise ConfigError(f"{_PATH.name}: sections must be {', '.join(kinds)}")
    return NoiseTable(**{name: _group(kind, name, raw[name]) for name, kind in kinds.items()})  # type: ignore[arg-type]
