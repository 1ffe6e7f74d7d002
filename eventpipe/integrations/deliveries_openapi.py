"""The OpenAPI document of the deliveries API, made from its operations and their models."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from eventpipe import __version__
from eventpipe.integrations.deliveries_models import ErrorAnswer
from eventpipe.integrations.deliveries_operations import Operation

_ERRORS: Final = {
    400: "A member of the request cannot be; the answer names it, and the rule.",
    401: "Nobody is known who asks this.",
    403: "Who asks may not do this.",
    404: "There is no such thing.",
    503: "The store failed, is full, or does not run; nothing may have been done, or all of it.",
}
_WITH_BODY: Final = {413: "The body is too large.", 415: "The body is not said to be JSON."}
_REFERENCE: Final = "#/components/schemas/{model}"
_Mode = Literal["validation", "serialization"]


def document(operations: Sequence[Operation]) -> dict[str, Any]:  # Any: JSON
    """All of it but the address of the server."""
    used: dict[type[BaseModel], _Mode] = {ErrorAnswer: "serialization"}
    for operation in operations:
        if operation.answer is not None:
            used[operation.answer] = "serialization"
        if operation.body is not None:
            used[operation.body] = "validation"
    references, schemas = models_json_schema([*used.items()], ref_template=_REFERENCE)
    refs: dict[object, Any] = {model: reference for (model, _), reference in references.items()}  # Any: JSON
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Deliveries of eventpipe", "version": __version__},
        "paths": paths,
        "components": {"schemas": schemas["$defs"]},
    }


def _operation(operation: Operation, refs: Mapping[object, Any]) -> dict[str, Any]:  # Any: JSON
    responses: dict[str, Any] = {str(operation.status): _answer("Done.", operation.answer, refs)}
    errors = dict(_ERRORS) if operation.body is None else {**_ERRORS, **_WITH_BODY}
    for status, meaning in {**errors, **operation.other}.items():
        model = operation.answer if status < 400 else ErrorAnswer
        responses[str(status)] = _answer(meaning, model, refs)
    said: dict[str, Any] = {
        "operationId": _id(operation),
        "summary": operation.summary,
        "description": f"Needs the right to {operation.right}.",
        "parameters": _parameters(operation),
        "responses": dict(sorted(responses.items())),
    }
    if operation.body is not None:
        said["requestBody"] = {
            "required": any(field.is_required() for field in operation.body.model_fields.values()),
            "content": {"application/json": {"schema": refs[operation.body]}},
        }
    return said


def _answer(meaning: str, model: type[BaseModel] | None, refs: Mapping[object, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": meaning}
    if model is not None:
        said["content"] = {"application/json": {"schema": refs[model]}}
    return said


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "integer" if name == "id" else "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    if operation.query is None:
        return in_path
    # One of a model's own, as its parts stand beside each other in a query and have no place for a reference.
    schema = operation.query.model_json_schema()
    enumerations = schema.get("$defs", {})
    return in_path + [
        {"name": name, "in": "query", "required": False, "schema": _inlined(member, enumerations)}
        for name, member in schema["properties"].items()
    ]


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:  # Any: JSON
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return definitions[schema["$ref"].rpartition("/")[2]]
    return {name: _inlined(one, definitions) for name, one in schema.items()}


def _id(operation: Operation) -> str:
    words = [word for word in re.split(r"[/{}-]+", operation.path) if word]
    return "_".join([operation.method.lower(), *words])
