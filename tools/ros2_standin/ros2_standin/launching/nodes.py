"""Actions of `launch_ros`: a node is a process whose name, parameters and remappings are arguments."""

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ros2_standin.errors import LaunchError, UnsupportedError
from ros2_standin.launching import log
from ros2_standin.launching.entities import Action, Context, Strict, Substitution, Text, perform
from ros2_standin.launching.processes import ExecuteProcess
from ros2_standin.launching.substitutions import executable_in_package

NAMESPACE, PARAMETERS, REMAPPINGS = "ros_namespace", "global_params", "ros_remaps"  # keys among the configurations


@dataclass(eq=False)
class ParameterValue(metaclass=Strict):
    """A parameter's value with its type said instead of guessed."""

    value: Any
    value_type: Any = field(default=None, kw_only=True)

    def evaluate(self, context: Context) -> Any:
        if not _is_text(self.value):
            return self.value
        text = perform(context, self.value)
        value = text if self.value_type is str else yaml.safe_load(text)
        return float(value) if self.value_type is float and isinstance(value, int) else value


@dataclass(eq=False)
class ParameterFile(metaclass=Strict):
    param_file: Text
    allow_substs: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        if self.allow_substs:
            raise UnsupportedError("ParameterFile(allow_substs=True)", ["allow_substs=False"])


@dataclass(eq=False)
class PushRosNamespace(Action):
    namespace: Text

    def execute(self, context: Context) -> None:
        outer = context.launch_configurations.get(NAMESPACE)
        context.launch_configurations[NAMESPACE] = _absolute(_joined(outer, perform(context, self.namespace)))


@dataclass(eq=False)
class SetParameter(Action):
    name: Text
    value: Any

    def execute(self, context: Context) -> None:
        parameters = _evaluated(context, {perform(context, self.name): self.value})
        so_far = context.launch_configurations.get(PARAMETERS, ())
        context.launch_configurations[PARAMETERS] = (*so_far, *parameters.items())


@dataclass(eq=False)
class SetRemap(Action):
    src: Text
    dst: Text

    def execute(self, context: Context) -> None:
        rule = (perform(context, self.src), perform(context, self.dst))
        context.launch_configurations[REMAPPINGS] = (*context.launch_configurations.get(REMAPPINGS, ()), rule)


@dataclass(eq=False, kw_only=True)
class Node(ExecuteProcess):
    """`name` and `namespace` are the node's; `exec_name` is the process's label."""

    cmd: Iterable[Text] = field(default=(), init=False)
    executable: Text
    package: Text | None = None
    namespace: Text | None = None
    exec_name: Text | None = None
    parameters: Sequence[Mapping | ParameterFile | Text] | None = None
    remappings: Iterable[tuple[Text, Text]] | None = None
    ros_arguments: Iterable[Text] | None = None
    arguments: Iterable[Text] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.parameters, str | Mapping):
            raise LaunchError(f"Node(parameters=…) takes a list of files and dictionaries, got {self.parameters!r}")
        self.node, self.name = self.name, self.exec_name

    def argv(self, context: Context) -> list[str]:
        executable = perform(context, self.executable)
        if self.package is not None:
            executable = executable_in_package(perform(context, self.package), executable)
        configured = context.launch_configurations
        name = None if self.node is None else perform(context, self.node)
        own_namespace = None if self.namespace is None else perform(context, self.namespace)
        namespace = _absolute(_joined(configured.get(NAMESPACE), own_namespace))

        argv = [executable, *(perform(context, argument) for argument in self.arguments or ())]
        if self.ros_arguments is not None:
            argv += ["--ros-args", *(perform(context, argument) for argument in self.ros_arguments)]
        argv += ["--ros-args"]
        argv += [] if name is None else ["-r", f"__node:={name}"]
        argv += [] if namespace is None else ["-r", f"__ns:={namespace}"]
        for key, value in configured.get(PARAMETERS, ()):
            argv += ["-p", f"{key}:={value}"]
        full_name = "/**" if name is None or namespace is None else _joined(namespace, name)
        for parameters in self.parameters or ():
            path = _parameter_file(context, parameters, full_name)
            if os.path.isfile(path):
                argv += ["--params-file", path]
            else:
                log.warning("launch_ros", f"Parameter file path is not a file: {path}")
        rules = [(perform(context, source), perform(context, target)) for source, target in self.remappings or ()]
        for source, target in [*configured.get(REMAPPINGS, ()), *rules]:
            argv += ["-r", f"{source}:={target}"]
        return argv


def _joined(base: str | None, name: str | None) -> str | None:
    """`name` below the namespace `base`; an absolute name stands alone."""
    if name is None:
        joined = base
    elif not base or name.startswith("/"):
        joined = name
    else:
        joined = f"{base.rstrip('/')}/{name}"
    return joined if joined in (None, "/") else joined.rstrip("/")


def _absolute(namespace: str | None) -> str | None:
    return namespace if namespace is None or namespace.startswith("/") else f"/{namespace}"


def _parameter_file(context: Context, parameters: Mapping | ParameterFile | Text, full_name: str) -> str:
    """A given file as it is; a dictionary as a file whose parameters hold for `full_name`."""
    if isinstance(parameters, ParameterFile):
        return perform(context, parameters.param_file)
    if not isinstance(parameters, Mapping):
        return perform(context, parameters)
    content = {full_name: {"ros__parameters": _evaluated(context, parameters)}}
    with tempfile.NamedTemporaryFile("w", prefix="launch_params_", dir=context.scratch, delete=False) as file:
        yaml.safe_dump(content, file, default_flow_style=False)
    return file.name


def _evaluated(context: Context, parameters: Mapping, prefix: str = "") -> dict[str, Any]:
    """Nested names joined by dots, substitutions performed and read as YAML, texts left as they are."""
    flat: dict[str, Any] = {}
    for key, value in parameters.items():
        name = prefix + perform(context, key)
        if isinstance(value, Mapping):
            flat |= _evaluated(context, value, f"{name}.")
        else:
            flat[name] = _value(context, name, value)
    return flat


def _value(context: Context, name: str, value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, ParameterValue):
        return value.evaluate(context)
    if _is_text(value):
        value = yaml.safe_load(perform(context, value) or "''")
        return _uniform(name, value) if isinstance(value, list) else value
    if isinstance(value, Sequence):
        items = [
            yaml.safe_load(perform(context, item)) if _is_text(item) and not isinstance(item, str) else item
            for item in value
        ]
        return _uniform(name, items)
    raise LaunchError(
        f"parameter '{name}': {value!r} is no bool, int, float, str, substitution, or list of one of them"
    )


def _is_text(value: Any) -> bool:
    """A string, a path, a substitution, or a list with a substitution in it, which makes one text."""
    if isinstance(value, str | Path | Substitution):
        return True
    return isinstance(value, list | tuple) and any(isinstance(part, Substitution) for part in value)


def _uniform(name: str, items: list) -> list:
    if items and all(type(item) in (int, float) for item in items) and any(type(item) is float for item in items):
        return [float(item) for item in items]
    if not items or len({type(item) for item in items}) > 1 or not isinstance(items[0], bool | int | float | str):
        raise LaunchError(f"parameter '{name}': {items} is not a list of one of bool, int, float, str, or it is empty")
    return items
