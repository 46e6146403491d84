"""The base of everything a launch file is made of: context, substitution, condition, action, description."""

import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ros2_standin.errors import LaunchError, UnsupportedError


class Strict(type):
    """Classes whose constructors refuse a keyword they do not know, by name."""

    def __call__(cls, *args: Any, **keywords: Any) -> Any:
        known = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
        for name in keywords:
            if name not in known:
                raise UnsupportedError(f"{cls.__name__}({name}=…)", known)
        return super().__call__(*args, **keywords)


class Substitution(metaclass=Strict):
    """A text that is only known when the launch file runs."""

    def perform(self, context: "Context") -> str:
        raise NotImplementedError

    def describe(self) -> str:
        """As `ros2 launch --show-args` prints it."""
        return f"{type(self).__name__}({', '.join(describe(value) for value in vars(self).values())})"


Text = str | os.PathLike | Substitution | Iterable["Text"]  # what the real API calls SomeSubstitutionsType


def perform(context: "Context", text: Text) -> str:
    """The text that a string, a substitution, or a sequence of them amounts to now."""
    if isinstance(text, str):
        return text
    if isinstance(text, Substitution):
        return text.perform(context)
    if isinstance(text, os.PathLike):
        return os.fspath(text)
    if isinstance(text, Iterable):
        return "".join(perform(context, part) for part in text)
    raise LaunchError(f"expected a text or a substitution, got {text!r}")


def describe(text: Any) -> str:
    """A text or substitution in the words of `--show-args`."""
    if isinstance(text, Substitution):
        return text.describe()
    if isinstance(text, list | tuple):
        return " + ".join(describe(part) for part in text)
    return f"'{text}'"


class Context:
    """What the entities of one launch share. The public part is that of the real LaunchContext."""

    def __init__(self, scratch: Path, argv: Iterable[str] = ()) -> None:
        self.argv = list(argv)
        self.launch_configurations: dict[str, Any] = {}
        self.is_shutdown = False
        self.handlers: list[Any] = []  # the newest first: it is asked first
        self.scratch = scratch  # parameter files live here while the launch runs
        # Set by the service that runs the launch:
        self.post: Callable[[Callable[[], None]], None]  # do this later, in order
        self.begin: Callable[[Any], Any]  # run this coroutine; the launch does not end before it
        self.emit_event_sync: Callable[[Any], None]
        self.enrol: Callable[[], None]  # of the guardian
        self.dismiss: Callable[[int], None]
        self._locals: dict[str, Any] = {}
        self._saved: list[tuple[dict[str, Any], dict[str, str]]] = []

    @property
    def environment(self) -> Any:
        return os.environ

    @property
    def locals(self) -> SimpleNamespace:
        return SimpleNamespace(**self._locals)

    def get_locals_as_dict(self) -> dict[str, Any]:
        return dict(self._locals)

    def extend_locals(self, more: dict[str, Any]) -> None:
        self._locals |= more

    def perform_substitution(self, text: Text) -> str:
        return perform(self, text)

    @contextmanager
    def kept_locals(self) -> Iterator[None]:
        kept = dict(self._locals)
        try:
            yield
        finally:
            self._locals = kept

    def push(self) -> None:
        """Remember configurations and environment until `pop`."""
        self._saved.append((dict(self.launch_configurations), dict(os.environ)))

    def pop(self) -> None:
        configurations, environment = self._saved.pop()
        self.launch_configurations.clear()
        self.launch_configurations.update(configurations)
        os.environ.clear()
        os.environ.update(environment)


class Condition(metaclass=Strict):
    def evaluate(self, context: Context) -> bool:
        raise NotImplementedError


class Entity(metaclass=Strict):
    """Something to visit; a visit may yield more to visit."""

    def visit(self, context: Context) -> Iterable["Entity"] | None:
        raise NotImplementedError


@dataclass(eq=False)
class Action(Entity):
    condition: Condition | None = field(default=None, kw_only=True)

    def visit(self, context: Context) -> Iterable[Entity] | None:
        if self.condition is None or self.condition.evaluate(context):
            return self.execute(context)
        return None

    def execute(self, context: Context) -> Iterable[Entity] | None:
        raise NotImplementedError


class LaunchDescription(Entity):
    def __init__(self, initial_entities: Iterable[Entity] | None = None) -> None:
        self.entities = list(initial_entities or ())

    def add_action(self, action: Entity) -> None:
        self.entities.append(action)

    add_entity = add_action

    def visit(self, context: Context) -> Iterable[Entity]:
        return self.entities


def visit(context: Context, entities: Entity | Iterable[Entity] | None) -> None:
    """Visit entities depth first, in the order of the file."""
    if entities is None:
        return
    for entity in [entities] if isinstance(entities, Entity) else entities:
        if entity is None:
            continue
        if not isinstance(entity, Entity):
            raise LaunchError(f"expected an action or a launch description, got {entity!r}")
        visit(context, entity.visit(context))


TRUE, FALSE = ("true", "1"), ("false", "0")


def truth(context: Context, expression: Text) -> bool:
    """A condition's text as true or false; anything else is an error, as in the real launch."""
    text = perform(context, expression).strip().lower()
    if text not in TRUE + FALSE:
        raise LaunchError(f"condition {text!r}: allowed are {', '.join(TRUE + FALSE)}")
    return text in TRUE
