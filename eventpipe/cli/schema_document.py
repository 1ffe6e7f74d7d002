"""The document that ``eventpipe schema`` writes: every event of a program, with the JSON schema of its properties."""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pydantic.json_schema import GenerateJsonSchema

from eventpipe.cli.failures import CommandError, UsageError
from eventpipe.cli.imports import imports_as_python_does
from eventpipe.cli.schema_compat import changes
from eventpipe.models import VERSION_PROPERTY, EventModel

FORMAT = 1
"""The form of the document, which it says itself."""


class Key(NamedTuple):
    """What an event is known by."""

    name: str
    version: int  # 0: it has none

    def __str__(self) -> str:
        return f"{self.name} version {self.version}" if self.version else self.name


Schemas = Mapping[Key, Mapping[str, Any]]  # Any: JSON


def find_models(targets: Sequence[str]) -> list[type[EventModel]]:
    """The events that the targets name, in no order.

    Args:
        targets: Modules, of which all events count that are defined or imported there and whose class is not private;
            or ``module:Class``, one of them.

    Raises:
        CommandError: A module cannot be imported.
        UsageError: A target has no event.
    """
    found: dict[type[EventModel], None] = {}
    with imports_as_python_does():
        for target in targets:
            name, _, attribute = target.partition(":")
            module = _imported(name)
            models = [_named(module, attribute)] if attribute else list(_models_in(module))
            if not models:
                raise UsageError(f"{name} defines and imports no event; an event is a class of EventModel")
            found |= dict.fromkeys(models)
    return list(found)


def document_of(models: Iterable[type[EventModel]]) -> dict[str, Any]:  # Any: JSON
    """What is known of the events, sorted by name and version.

    Raises:
        CommandError: Two are called the same, or one has no JSON schema.
    """
    entries: dict[Key, tuple[type[EventModel], dict[str, Any]]] = {}
    for model in models:
        key = Key(model.__event_name__, model.__event_version__ or 0)
        entry = {
            "name": key.name,
            "version": model.__event_version__,
            "description": " ".join((model.__doc__ or "").split()),
            "schema": _schema_of(model),
        }
        other, known = entries.setdefault(key, (model, entry))
        if known["schema"] != entry["schema"]:
            raise CommandError(
                f"{_place(other)} and {_place(model)} are both the event {key}; give one another name or version"
            )
    return {"eventpipe_schema": FORMAT, "events": [entries[key][1] for key in sorted(entries)]}


def text_of(document: Mapping[str, Any]) -> str:  # Any: JSON
    """The document as it is saved: the same for the same events, so that a change can be read line by line."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def load(path: Path) -> Schemas:
    """Read a saved document.

    Raises:
        CommandError: It cannot be read, or is none.
    """
    try:
        return schemas_of(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise CommandError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CommandError(f"{path} is no document of eventpipe schema; write it with --output") from error


def schemas_of(document: Mapping[str, Any]) -> Schemas:  # Any: JSON
    """The schemas of a document."""
    if document["eventpipe_schema"] != FORMAT:
        raise ValueError("of another form")
    return {Key(str(entry["name"]), int(entry["version"] or 0)): dict(entry["schema"]) for entry in document["events"]}


def compare(new: Schemas, old: Schemas) -> list[str]:
    """What readers of the old events could not read of the new ones, a line each, sorted by event.

    Raises:
        CommandError: A saved schema is none.
    """
    lines = []
    for key in sorted(old):
        if key not in new:
            lines.append(f"{key}: was removed; readers expect it")
            continue
        try:
            found = changes(new[key], old[key])
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise CommandError(f"the schema of {key} cannot be compared: {error}") from error
        lines += [f"{key}: {line.removeprefix(': ')}" for line in found]
    return lines


class _WrittenSchema(GenerateJsonSchema):
    """What is written, and not what may be left out when a model is made: a field with a default is there as well.

    A serializer that does not say what it returns may write anything, whatever the type is that it is of. Those that
    pydantic has for paths and collections do not say it either, and write what the type says.
    """

    def ser_schema(self, schema: Any) -> dict[str, Any] | None:  # Any: of several kinds; JSON
        is_untold = schema["type"] in ("function-plain", "function-wrap") and schema.get("return_schema") is None
        if is_untold and not str(getattr(schema["function"], "__module__", "")).startswith("pydantic._internal."):
            return {}
        return super().ser_schema(schema)

    def field_is_required(self, field: Any, total: bool) -> bool:  # Any: a field of several kinds
        if field["type"] == "typed-dict-field":
            return bool(field.get("required", total))
        return field.get("serialization_exclude_if") is None


def _schema_of(model: type[EventModel]) -> dict[str, Any]:  # Any: JSON
    try:
        schema = model.model_json_schema(by_alias=True, mode="serialization", schema_generator=_WrittenSchema)
        json.dumps(schema, allow_nan=False)  # a default or an example may be what JSON cannot carry
    except Exception as error:
        raise CommandError(f"{_place(model)} has no JSON schema: {error}") from error
    if "$ref" in schema:  # an event that contains itself is one of its definitions
        schema = {**schema["$defs"][schema["$ref"].removeprefix("#/$defs/")], "$defs": schema["$defs"]}
    schema.pop("description", None)  # it stands beside the schema
    if schema.get("additionalProperties") is False:  # of these properties; a scope may add others to the event
        del schema["additionalProperties"]
    if model.__event_version__ is not None and schema.get("type") == "object":
        version = {"const": model.__event_version__, "title": "Event Version", "type": "integer"}
        schema["properties"] = {**schema.get("properties", {}), VERSION_PROPERTY: version}
        schema["required"] = [*schema.get("required", ()), VERSION_PROPERTY]
    return schema


def _models_in(module: ModuleType) -> Iterator[type[EventModel]]:
    for name, value in vars(module).items():
        if not name.startswith("_") and _is_event(value) and not value.__pydantic_generic_metadata__["parameters"]:
            yield value


def _named(module: ModuleType, attribute: str) -> type[EventModel]:
    model: object = getattr(module, attribute, None)
    if not _is_event(model):
        raise UsageError(f"{attribute} of {module.__name__} is no event; an event is a class of EventModel")
    return model  # type: ignore[return-value]  # as just asked


def _is_event(value: Any) -> bool:  # Any: whatever a module holds
    return isinstance(value, type) and value is not EventModel and issubclass(value, EventModel)


def _place(model: type[EventModel]) -> str:
    return f"{model.__module__}:{model.__qualname__}"


def _imported(name: str) -> ModuleType:
    try:
        # What it prints is no part of the document.
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            meant = name.removesuffix(".py").replace("/", ".").lstrip(".")
            hint = f"; did you mean {meant}?" if meant != name else ""
            raise UsageError(f"there is no module {name} here, and none is installed{hint}") from error
        raise CommandError(f"{name} cannot be imported: {error}") from error
    except ValueError as error:  # of an empty name
        raise UsageError(f"{name!r} is no module") from error
    except (Exception, SystemExit) as error:
        raise CommandError(f"{name} cannot be imported: {type(error).__name__}: {error}") from error
