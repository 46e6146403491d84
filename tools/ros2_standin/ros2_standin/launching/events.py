"""Events of a launch and the handlers that a launch file registers for them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ros2_standin.launching.entities import Action, Context, Entity, Strict

Reaction = Entity | Iterable[Entity] | Callable[["Event", Context], Any] | None


class Event(metaclass=Strict):
    pass


@dataclass(eq=False)
class Shutdown(Event):
    """`launch.events.Shutdown`: everything is to stop."""

    reason: str = "reason not given"
    due_to_sigint: bool = False

    def __init__(self, *, reason: str = "reason not given", due_to_sigint: bool = False) -> None:
        self.reason, self.due_to_sigint = reason, due_to_sigint


@dataclass(eq=False)
class ProcessStarted(Event):
    action: Action
    name: str
    cmd: list[str]
    cwd: str | None
    env: dict[str, str]
    pid: int

    @property
    def process_name(self) -> str:
        return self.name


@dataclass(eq=False)
class ProcessExited(ProcessStarted):
    returncode: int


@dataclass(eq=False)
class Handler(metaclass=Strict):
    """A reaction (entities, or a function of event and context that returns them) to one kind of event."""

    handle_once: bool = field(default=False, kw_only=True)

    def matches(self, event: Event) -> bool:
        raise NotImplementedError

    @property
    def reaction(self) -> Reaction:
        raise NotImplementedError

    def handle(self, event: Event, context: Context) -> Entity | Iterable[Entity] | None:
        if self.handle_once:
            context.handlers.remove(self)
        return self.reaction(event, context) if callable(self.reaction) else self.reaction


@dataclass(eq=False)
class _OfProcess(Handler):
    target_action: Action | Callable[[Action], bool] | None = None

    def _is_target(self, action: Action) -> bool:
        if callable(self.target_action):
            return self.target_action(action)
        return self.target_action is None or self.target_action is action


@dataclass(eq=False)
class OnProcessStart(_OfProcess):
    on_start: Reaction = None

    def matches(self, event: Event) -> bool:
        return type(event) is ProcessStarted and self._is_target(event.action)

    @property
    def reaction(self) -> Reaction:
        return self.on_start


@dataclass(eq=False)
class OnProcessExit(_OfProcess):
    on_exit: Reaction = None

    def matches(self, event: Event) -> bool:
        return type(event) is ProcessExited and self._is_target(event.action)

    @property
    def reaction(self) -> Reaction:
        return self.on_exit


@dataclass(eq=False)
class OnShutdown(Handler):
    on_shutdown: Reaction = None

    def matches(self, event: Event) -> bool:
        return isinstance(event, Shutdown)

    @property
    def reaction(self) -> Reaction:
        return self.on_shutdown
