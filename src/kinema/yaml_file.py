"""A YAML file as a strict pydantic model; refusals name file, key and what is allowed (FAULTS F22)."""

import dataclasses
import json
import os
import typing
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from kinema.errors import KinemaError

Model = TypeVar("Model", bound=pydantic.BaseModel)

STRICT = pydantic.ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

_MAX_BYTES = 1_000_000  # a larger file is no configuration


class _Loader(yaml.SafeLoader):
    """YAML without its silent habit of letting the last of two equal keys win, and without aliases that explode."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError(None, None, "aliases are not allowed", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _fields(annotation: Any) -> dict[str, Any] | None:
    for candidate in (annotation, *typing.get_args(annotation)):
        if dataclasses.is_dataclass(candidate) or hasattr(candidate, "model_fields"):
            hints = typing.get_type_hints(candidate)
            if dataclasses.is_dataclass(candidate):
                return {field.name: hints[field.name] for field in dataclasses.fields(candidate)}
            return {name: hints[name] for name in candidate.model_fields}
    return None


def _member(annotation: Any, tag: Any) -> Any:
    """Of a union that is told apart by a tag, the model with that tag; None where there is none."""
    for candidate in typing.get_args(annotation):
        for field in getattr(candidate, "model_fields", {}).values():
            if typing.get_origin(field.annotation) is typing.Literal and typing.get_args(field.annotation) == (tag,):
                return candidate
    return None


def _inside(annotation: Any, key: Any) -> Any:
    """The type behind one step of an error's location, or None where the schema has none."""
    if (member := _member(annotation, key)) is not None:
        return member
    fields = _fields(annotation)
    if fields is not None:
        return fields.get(key)
    arguments = [argument for argument in typing.get_args(annotation) if argument is not Ellipsis]
    return arguments[-1] if arguments else None  # of a tuple its items, of a mapping its values


def _place(model: type[pydantic.BaseModel], location: tuple) -> tuple[str, Any]:
    """A location's key as it stands in the file, where no tags of unions do, and the type there."""
    keys, annotation = [], model
    for key in location:
        if _member(annotation, key) is None:
            keys.append(str(key))
        annotation = _inside(annotation, key)
    return ".".join(keys), annotation


def _explain(path: Path, model: type[pydantic.BaseModel], error: pydantic.ValidationError) -> str:
    lines = []
    for fault in error.errors():
        location, kind = fault["loc"], fault["type"]
        key = _place(model, location)[0] or "(the whole file)"
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            allowed = ", ".join(_fields(_place(model, location[:-1])[1]) or ()) or "nothing"
            lines.append(f"{path}: key '{key}' is unknown; allowed here: {allowed}")
        elif kind == "missing":
            lines.append(f"{path}: key '{key}' is missing")
        elif kind in ("union_tag_not_found", "union_tag_invalid"):
            facts, tag = fault["ctx"], fault["ctx"]["discriminator"].strip("'")
            said = f"{facts['tag']}; allowed: {facts['expected_tags']}" if "tag" in facts else "missing"
            lines.append(f"{path}: key '{key}.{tag}' is {said}")
        elif kind == "value_error" and not location:
            lines.append(f"{path}: {fault['ctx']['error']}")
        else:
            lines.append(f"{path}: key '{key}' is {str(fault['input'])[:80]}: {fault['msg']}")
    return "\n".join(lines)


def read(path: Path, model: type[Model], refusal: type[KinemaError], remedy: str = "") -> Model:
    """The file as a checked value; `remedy` is a sentence that ends every refusal.

    Raises `refusal` and nothing else, whatever the file holds.
    """
    ending = f"; {remedy}" if remedy else ""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise refusal(f"{path}: is larger than {_MAX_BYTES} bytes{ending}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise refusal(f"{path}: cannot be read ({error.strerror}){ending}") from error
    except ValueError as error:
        raise refusal(f"{path}: is not UTF-8 text{ending}") from error
    try:
        content = json.dumps(yaml.load(text, _Loader), default=str)
    except Exception as error:  # PyYAML's constructors let many kinds of exception out on malformed scalars
        raise refusal(f"{path}: is not valid YAML: {error}{ending}") from error
    return checked(path, model, content, refusal, ending)


def checked(path: Path, model: type[Model], content: str, refusal: type[KinemaError], ending: str = "") -> Model:
    """JSON that stands in `path` as a checked value; raises `refusal` naming file, key and what is allowed."""
    try:
        return model.model_validate_json(content)
    except pydantic.ValidationError as error:
        raise refusal(_explain(path, model, error) + ending) from error


def sync_folder(folder: Path) -> None:
    """Wait until the disk holds which files there are in a folder."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write(path: Path, value: pydantic.BaseModel) -> None:
    """Replace a file: whenever this is cut short, `path` holds what it held or the new value, whole (FAULTS F24)."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(draft, "w", encoding="utf-8") as stream:
            yaml.safe_dump(
                value.model_dump(mode="json"),
                stream,
                sort_keys=False,
                default_flow_style=None,
                allow_unicode=True,
                width=120,
            )
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)
