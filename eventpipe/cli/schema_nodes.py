"""Parts of JSON schemas: what they mean by themselves, and in words."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

Node: TypeAlias = Mapping[str, Any] | bool  # Any: JSON
"""A schema, or a part of one; ``True`` takes any value, and ``False`` none."""

MAX_REFERENCES: Final = 100  # from one definition straight to the next

NUMBERS: Final = frozenset({"minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"})
TEXTS: Final = frozenset({"minLength", "maxLength", "pattern"})
LISTS: Final = frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})
OBJECTS: Final = frozenset(
    {"properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"}
)
UNDERSTOOD: Final = (
    NUMBERS | TEXTS | LISTS | OBJECTS | {"type", "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "format"}
)
"""Keywords that are compared one by one."""
OTHERS: Final = frozenset(
    {
        "$dynamicRef",
        "$recursiveRef",
        "additionalItems",
        "contains",
        "dependencies",
        "dependentRequired",
        "dependentSchemas",
        "else",
        "if",
        "maxContains",
        "minContains",
        "not",
        "patternProperties",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords that exclude values, too; both sides must have the same. What JSON schema does not know is a note."""
RULES: Final = UNDERSTOOD | OTHERS

_UNIONS: Final = ("anyOf", "oneOf")  # pydantic's oneOf is told apart by a field: no value is of two of them
_REFERENCE: Final = "#/$defs/"
_WORDS: Final = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}


class SchemaError(ValueError):
    """A schema cannot be read; the text says why."""


def resolved(node: object, root: Mapping[str, Any]) -> Node:
    """``node`` without a reference at its top; rules beside the reference are joined with it.

    Raises:
        SchemaError: It is no schema, or refers to what is not there.
    """
    for _ in range(MAX_REFERENCES):
        if not isinstance(node, Mapping | bool):
            raise SchemaError(f"a schema is an object, true or false, not {shown(node)}")
        if isinstance(node, bool) or "$ref" not in node:
            return node
        target = node["$ref"]
        name = target.removeprefix(_REFERENCE) if isinstance(target, str) and target.startswith(_REFERENCE) else None
        definitions = root.get("$defs", {})
        if name is None or name not in definitions:
            raise SchemaError(f"{shown(target)} is no definition of the schema")
        beside = rules(node, "$ref")
        if beside:
            return {"allOf": [definitions[name], beside]}
        node = definitions[name]
    raise SchemaError(f"{shown(target)} refers to itself")


def rules(node: Mapping[str, Any], *but: str) -> dict[str, Any]:
    """What excludes values, without the keywords ``but``."""
    return {key: value for key, value in node.items() if key in RULES and key not in but}


def reached(node: Mapping[str, Any], root: Mapping[str, Any]) -> dict[str, Any]:
    """The definitions that ``node`` refers to, and those that they refer to."""
    found: dict[str, Any] = {}
    definitions = root.get("$defs", {})
    parts: list[Any] = [node]
    for part in parts:  # which grows meanwhile
        if isinstance(part, list):
            parts += part
        elif isinstance(part, Mapping):
            parts += part.values()
            name = str(part.get("$ref")).removeprefix(_REFERENCE)
            if name in definitions and name not in found:
                found[name] = definitions[name]
                parts.append(definitions[name])
    return found


def branches(node: Mapping[str, Any]) -> list[Node] | None:
    """The schemas of which a value has to be one, each with what all of them share; ``None``: it is no choice."""
    for keyword in _UNIONS:
        if keyword in node:
            shared = rules(node, keyword)
            return [{"allOf": [branch, shared]} if shared else branch for branch in node[keyword]]
    kinds = node.get("type")
    return [{**node, "type": kind} for kind in kinds] if isinstance(kinds, list) else None


def constants(node: Mapping[str, Any]) -> list[Any] | None:
    """The values that it takes and no others; ``None``: it has rules instead."""
    if "const" in node:
        return [node["const"]]
    if "enum" in node:
        return list(node["enum"])
    few: dict[str, list[Any]] = {"null": [None], "boolean": [True, False]}
    return few.get(node.get("type", ""))


def accepts(node: Node, value: object, root: Mapping[str, Any]) -> bool:
    """Whether ``value`` is surely one of ``node``; of lists and objects only those that it lists."""
    node = resolved(node, root)
    if isinstance(node, bool):
        return node
    if "allOf" in node:
        return all(accepts(part, value, root) for part in [*node["allOf"], rules(node, "allOf")])
    choice = branches(node)
    if choice is not None:
        return any(accepts(branch, value, root) for branch in choice)
    if node.get("type") not in (None, *kinds_of(value)) or not rules(node).keys() <= UNDERSTOOD:
        return False
    listed = constants(node)
    if listed is not None:
        return any(is_same(value, one) for one in listed)
    if isinstance(value, str):
        low, high = node.get("minLength", 0), node.get("maxLength", math.inf)
        return not rules(node).keys() & {"format", "pattern"} and bool(low <= len(value) <= high)
    if isinstance(value, list | dict):
        return not rules(node, "type")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return not rules(node).keys() & {"format", "multipleOf"} and bool(
            node.get("minimum", -math.inf) <= value <= node.get("maximum", math.inf)
            and node.get("exclusiveMinimum", -math.inf) < value < node.get("exclusiveMaximum", math.inf)
        )
    return True


def kinds_of(value: object) -> tuple[str, ...]:
    """The types that JSON schemas have for a value of JSON."""
    if value is None:
        return ("null",)
    if isinstance(value, bool):
        return ("boolean",)
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return ("integer", "number")
    if isinstance(value, float):
        return ("number",)
    if isinstance(value, str):
        return ("string",)
    return ("array",) if isinstance(value, list) else ("object",)


def is_same(one: object, other: object) -> bool:
    """Whether two values of JSON are the same: ``1`` and ``true`` are not."""
    return one == other and kinds_of(one) == kinds_of(other)


def described(node: Node, root: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    node = resolved(node, root)
    if isinstance(node, bool):
        return "anything" if node else "nothing"
    if "const" in node or "enum" in node:
        return joined([shown(value) for value in constants(node) or []])
    choice = branches(node)
    if choice is not None:
        return joined(list(dict.fromkeys(described(branch, root) for branch in choice)))
    if "allOf" in node:
        return described(node["allOf"][0], root)
    word = _WORDS.get(node.get("type", ""), "anything")
    return f"{word} ({node['format']})" if "format" in node else word


def joined(words: list[str]) -> str:
    """``'free', 'pro' or null``."""
    return " or ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def as_text(value: object) -> str:
    """Something of JSON, in which ``1`` and ``true`` differ, and an order of members makes no difference."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)


def shown(value: object) -> str:
    """A value of JSON, at most 60 characters of it."""
    text = f"'{value}'" if isinstance(value, str) else as_text(value)
    return text if len(text) <= 60 else text[:57] + "..."
