"""The names under which launch files import all this. They exist in `sys.modules` only, never on disk."""

import importlib.abc
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

from ros2_standin.errors import UnsupportedError
from ros2_standin.launching import actions, entities, events, nodes, processes, substitutions

_DESCRIPTIONS = {"ParameterValue": nodes.ParameterValue, "ParameterFile": nodes.ParameterFile}


def _named(module: Any, *names: str) -> dict[str, Any]:
    return {name: getattr(module, name) for name in names}


MODULES: dict[str, dict[str, Any]] = {
    "launch": {
        **_named(entities, "LaunchDescription", "Action", "Condition", "Substitution"),
        "LaunchContext": entities.Context,
        "LaunchDescriptionEntity": entities.Entity,
    },
    "launch.actions": {
        **_named(actions, "DeclareLaunchArgument", "EmitEvent", "GroupAction", "IncludeLaunchDescription", "LogInfo"),
        **_named(actions, "OpaqueFunction", "RegisterEventHandler", "SetEnvironmentVariable", "SetLaunchConfiguration"),
        **_named(actions, "Shutdown", "TimerAction", "UnsetEnvironmentVariable"),
        **_named(processes, "ExecuteProcess"),
    },
    "launch.conditions": _named(
        substitutions, "IfCondition", "UnlessCondition", "LaunchConfigurationEquals", "LaunchConfigurationNotEquals"
    ),
    "launch.event_handlers": _named(events, "OnProcessExit", "OnProcessStart", "OnShutdown"),
    "launch.events": _named(events, "Shutdown"),
    "launch.events.process": _named(events, "ProcessExited", "ProcessStarted"),
    "launch.launch_context": {"LaunchContext": entities.Context},
    "launch.launch_description": _named(entities, "LaunchDescription"),
    "launch.launch_description_sources": _named(actions, "PythonLaunchDescriptionSource", "AnyLaunchDescriptionSource"),
    "launch.substitutions": {
        **_named(substitutions, "AndSubstitution", "Command", "EnvironmentVariable", "EqualsSubstitution"),
        **_named(substitutions, "FindExecutable", "IfElseSubstitution", "LaunchConfiguration", "NotEqualsSubstitution"),
        **_named(substitutions, "NotSubstitution", "OrSubstitution", "PathJoinSubstitution", "PythonExpression"),
        **_named(substitutions, "TextSubstitution", "ThisLaunchFile", "ThisLaunchFileDir"),
    },
    "launch_ros": {},
    "launch_ros.actions": {
        **_named(nodes, "Node", "PushRosNamespace", "SetParameter", "SetRemap"),
        "PushROSNamespace": nodes.PushRosNamespace,
    },
    "launch_ros.descriptions": _DESCRIPTIONS,
    "launch_ros.parameter_descriptions": _DESCRIPTIONS,
    "launch_ros.substitutions": _named(substitutions, "ExecutableInPackage", "FindPackagePrefix", "FindPackageShare"),
}


class _Module(types.ModuleType):
    """A module that says what it has when it is asked for something else."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        known = [known for known in vars(self) if not known.startswith("__")]
        raise UnsupportedError(f"{self.__name__}.{name}", sorted(known))


class _Refusal(importlib.abc.MetaPathFinder):
    """Refuses the submodules that are not in the table."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] in ("launch", "launch_ros", "launch_testing"):
            raise UnsupportedError(f"module {name}", sorted(MODULES))
        return None


def install() -> None:
    """Make the table's modules importable in this process."""
    for name, content in MODULES.items():
        module = _Module(name)
        module.__path__ = []
        vars(module).update(content)
        sys.modules[name] = module
        parent, _, leaf = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], leaf, module)
    sys.meta_path.insert(0, _Refusal())
