"""Parameters declared as a table: type by default value, description, range or choices, read-only (FAULTS F22)."""

import sys
from dataclasses import dataclass

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node

Value = bool | int | float | str

_GIVEN_BY_ROS = ("use_sim_time", "start_type_description_service")


@dataclass(frozen=True, slots=True)
class Parameter:
    """`low` and `high` bound a number, `choices` a string; its type is that of `default`."""

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True

    def descriptor(self) -> ParameterDescriptor:
        text = self.description + (f"; one of {', '.join(self.choices)}" if self.choices else "")
        descriptor = ParameterDescriptor(name=self.name, description=text, read_only=self.read_only)
        if self.low is not None and self.high is not None:
            if isinstance(self.default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=self.low, to_value=self.high)]
            else:
                descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return descriptor

    @property
    def allowed(self) -> str:
        bounds = f" in {self.low}..{self.high}" if self.low is not None else ""
        return f"{type(self.default).__name__}{bounds}" + (
            f", one of {', '.join(self.choices)}" if self.choices else ""
        )


CALIBRATION_OVERRIDE = Parameter(
    "calibration_override", "", "why calibration that is missing, old or bad is taken nonetheless; '': it is refused"
)


def declare(node: Node, table: tuple[Parameter, ...]) -> list[str]:
    """Declare every row; returns what is wrong with the values that were given, each naming key, file, what is allowed.

    A wrong value leaves its default declared, so that the node can stay up, unconfigured, and say why.
    """
    rows = {row.name: row for row in table}

    def check(changes: list) -> SetParametersResult:
        for change in changes:
            row = rows.get(change.name)
            if row is not None and row.choices and change.value not in row.choices:
                reason = f"{change.name} is {change.value!r}; allowed: {', '.join(row.choices)}"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(check)
    given = node._parameter_overrides  # rclpy has no public way to see a value for a key that nobody declared
    problems = []
    for row in table:
        try:
            node.declare_parameter(row.name, row.default, row.descriptor())
        except ParameterException:
            value = given[row.name].value
            problems.append(f"{_files()}: {row.name} is {value!r}; allowed is {row.allowed}")
            node.declare_parameter(row.name, row.default, row.descriptor(), ignore_override=True)
    known = {*rows, *_GIVEN_BY_ROS}
    unknown = [name for name in given if name not in known and not name.startswith("qos_overrides.")]
    allowed = ", ".join(sorted(rows))
    return problems + [f"{_files()}: unknown parameter {name!r}; allowed: {allowed}" for name in unknown]


def _files() -> str:
    """Where overrides come from: the parameter files on the command line."""
    files = [value for key, value in zip(sys.argv, sys.argv[1:], strict=False) if key == "--params-file"]
    return ", ".join(files) or "command line"
