"""Actions of `launch` that start no process, and the sources of included launch files."""

import asyncio
import importlib.util
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from ros2_standin.errors import LaunchError
from ros2_standin.launching import events, log
from ros2_standin.launching.entities import Action, Context, Entity, LaunchDescription, Strict, Text, perform, visit

_modules = count()


@dataclass(eq=False)
class DeclareLaunchArgument(Action):
    name: str
    default_value: Text | None = field(default=None, kw_only=True)
    description: str | None = field(default=None, kw_only=True)
    choices: list[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.choices is not None and isinstance(self.default_value, str) and self.default_value not in self.choices:
            raise LaunchError(f"argument '{self.name}': default '{self.default_value}' is not one of {self.choices}")

    @property
    def explained(self) -> str:
        """The description as `--show-args` prints it."""
        if self.choices is None:
            return self.description or "no description given"
        if self.description is None:
            return f"One of: {self.choices}"
        return f"{self.description.removesuffix('.')}. Valid choices are: {self.choices}"

    def execute(self, context: Context) -> None:
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise LaunchError(f"required launch argument '{self.name}' was not provided")
            context.launch_configurations[self.name] = perform(context, self.default_value)
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise LaunchError(f"argument '{self.name}': '{value}' is not valid; valid are {self.choices}")


@dataclass(eq=False)
class SetLaunchConfiguration(Action):
    name: Text
    value: Text

    def execute(self, context: Context) -> None:
        context.launch_configurations[perform(context, self.name)] = perform(context, self.value)


@dataclass(eq=False)
class SetEnvironmentVariable(Action):
    name: Text
    value: Text

    def execute(self, context: Context) -> None:
        os.environ[perform(context, self.name)] = perform(context, self.value)


@dataclass(eq=False)
class UnsetEnvironmentVariable(Action):
    name: Text

    def execute(self, context: Context) -> None:
        os.environ.pop(perform(context, self.name), None)


@dataclass(eq=False)
class LogInfo(Action):
    msg: Text = field(kw_only=True)

    def execute(self, context: Context) -> None:
        log.info("launch.user", perform(context, self.msg))


@dataclass(eq=False)
class OpaqueFunction(Action):
    function: Callable[..., Iterable[Entity] | None] = field(kw_only=True)
    args: Iterable[Any] | None = field(default=None, kw_only=True)
    kwargs: dict[str, Any] | None = field(default=None, kw_only=True)

    def execute(self, context: Context) -> Iterable[Entity] | None:
        return self.function(context, *(self.args or ()), **(self.kwargs or {}))


@dataclass(eq=False)
class RegisterEventHandler(Action):
    event_handler: Any

    def execute(self, context: Context) -> None:
        context.handlers.insert(0, self.event_handler)


@dataclass(eq=False)
class EmitEvent(Action):
    event: events.Event = field(kw_only=True)

    def execute(self, context: Context) -> None:
        context.emit_event_sync(self.event)


@dataclass(eq=False)
class Shutdown(Action):
    """Asks everything to stop; `launch.actions.Shutdown`."""

    reason: Text = field(default="reason not given", kw_only=True)

    def execute(self, context: Context) -> None:
        context.emit_event_sync(events.Shutdown(reason=perform(context, self.reason)))


@dataclass(eq=False)
class TimerAction(Action):
    period: float | Text = field(kw_only=True)
    actions: Iterable[Entity] = field(kw_only=True)
    cancel_on_shutdown: bool = field(default=True, kw_only=True)

    def execute(self, context: Context) -> None:
        period = float(self.period if isinstance(self.period, int | float) else perform(context, self.period))
        inherited = context.get_locals_as_dict()
        timer = context.begin(self._wait(context, period, inherited))
        if self.cancel_on_shutdown:

            def cancel(event: events.Event, context: Context) -> None:
                timer.cancel()

            context.handlers.insert(0, events.OnShutdown(on_shutdown=cancel))

    async def _wait(self, context: Context, period: float, inherited: dict[str, Any]) -> None:
        await asyncio.sleep(period)
        context.post(lambda: self._fire(context, inherited))

    def _fire(self, context: Context, inherited: dict[str, Any]) -> None:
        with context.kept_locals():
            context.extend_locals(inherited)
            visit(context, self.actions)


@dataclass(eq=False)
class _Step(Action):
    step: Callable[[Context], None]

    def execute(self, context: Context) -> None:
        self.step(context)


@dataclass(eq=False)
class GroupAction(Action):
    actions: Iterable[Entity]
    scoped: bool = field(default=True, kw_only=True)
    launch_configurations: dict[Text, Text] | None = field(default=None, kw_only=True)

    def execute(self, context: Context) -> Iterable[Entity]:
        settings = [SetLaunchConfiguration(name, value) for name, value in (self.launch_configurations or {}).items()]
        if not self.scoped:
            return [*settings, *self.actions]
        return [_Step(Context.push), *settings, *self.actions, _Step(Context.pop)]


@dataclass(eq=False)
class PythonLaunchDescriptionSource(metaclass=Strict):
    launch_file_path: Text

    def load(self, context: Context) -> tuple[str, LaunchDescription]:
        """The file's absolute path and what its `generate_launch_description` returns."""
        path = os.path.abspath(perform(context, self.launch_file_path))
        if not path.endswith(".py"):
            raise LaunchError(
                f"{path}: this stand-in `ros2` runs Python launch files only; use a full ROS 2 for XML and YAML"
            )
        if not os.path.isfile(path):
            raise LaunchError(f"launch file {path} does not exist")
        spec = importlib.util.spec_from_file_location(f"launch_file_{next(_modules)}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        generate = getattr(module, "generate_launch_description", None)
        if generate is None:
            raise LaunchError(f"{path} has no function generate_launch_description()")
        return path, generate()


class AnyLaunchDescriptionSource(PythonLaunchDescriptionSource):
    pass


@dataclass(eq=False)
class IncludeLaunchDescription(Action):
    launch_description_source: PythonLaunchDescriptionSource | Text
    launch_arguments: Iterable[tuple[Text, Text]] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.launch_description_source, PythonLaunchDescriptionSource):
            self.launch_description_source = PythonLaunchDescriptionSource(self.launch_description_source)
        self.launch_arguments = list(self.launch_arguments or ())

    def execute(self, context: Context) -> Iterable[Entity]:
        path, description = self.launch_description_source.load(context)
        context.extend_locals(
            {"current_launch_file_path": path, "current_launch_file_directory": os.path.dirname(path)}
        )
        given = {perform(context, name): value for name, value in self.launch_arguments}
        for argument, conditional in declared_arguments([description]):
            if not conditional and argument.default_value is None and argument.name not in given:
                raise LaunchError(
                    f"launch file {path} needs the argument '{argument.name}' ({argument.explained}); "
                    f"given: {', '.join(given) or 'none'}"
                )
        return [*(SetLaunchConfiguration(name, value) for name, value in given.items()), description]


def declared_arguments(
    entities: Iterable[Entity], conditional: bool = False
) -> Iterator[tuple[DeclareLaunchArgument, bool]]:
    """Every argument that can be seen without running, and whether a condition decides about it."""
    for entity in entities:
        maybe = conditional or getattr(entity, "condition", None) is not None
        if isinstance(entity, DeclareLaunchArgument):
            yield entity, maybe
        elif isinstance(entity, GroupAction):
            yield from declared_arguments(entity.actions, maybe)
        elif isinstance(entity, LaunchDescription):
            yield from declared_arguments(entity.entities, maybe)
