"""Whether whoever reads events by one JSON schema can read all that are written by another.

Every value of the new schema must be one of the old: the old schema is what readers were built for. Properties that the
old one does not know are left aside, as readers leave them. What cannot be told is an incompatible change.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from eventpipe.cli.schema_nodes import (
    LISTS,
    NUMBERS,
    OBJECTS,
    TEXTS,
    UNDERSTOOD,
    Node,
    accepts,
    as_text,
    branches,
    constants,
    described,
    reached,
    resolved,
    rules,
    shown,
)


def changes(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:  # Any: JSON
    """Why a value of ``new`` may be none of ``old``, a line each; none: readers of ``old`` can read all of ``new``.

    Raises:
        SchemaError: One of them is no schema.
    """
    return list(dict.fromkeys(_Comparison(new, old).compare(new, old, "")))


class _Comparison:
    def __init__(self, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
        self._new = new
        self._old = old
        # Pairs that fit and, in the same order, those that are being compared: a schema that contains itself comes back
        # to one. Those are taken as fitting: where one does not, that is told where it was begun, and what was found
        # since is forgotten, as it may rest on it. The schemas are kept, so that nothing else gets their ids.
        self._fitting: dict[tuple[int, int], tuple[Node, Node]] = {}
        # What was told of a pair that does not fit, without the path.
        self._unfit: dict[tuple[int, int], tuple[Node, Node, list[str]]] = {}

    def compare(self, new: Node, old: Node, path: str) -> list[str]:
        new, old = resolved(new, self._new), resolved(old, self._old)
        pair = id(new), id(old)
        if pair in self._fitting:
            return []
        if pair in self._unfit and path:
            return [path + line for line in self._unfit[pair][-1]]
        begun = len(self._fitting)
        self._fitting[pair] = new, old
        lines = self._alternatives(new, old, path)
        if not lines or self._is_same(new, old):
            return []
        while len(self._fitting) > begun:
            self._fitting.popitem()
        if path:
            self._unfit[pair] = new, old, [line.removeprefix(path) for line in lines]
        return lines

    def _is_same(self, new: Node, old: Node) -> bool:
        """Whether both say the same, which needs no rule of theirs to be understood."""
        ours, theirs = (
            node if isinstance(node, bool) else [rules(node), reached(rules(node), root)]
            for node, root in ((new, self._new), (old, self._old))
        )
        return as_text(ours) == as_text(theirs)

    def _alternatives(self, new: Node, old: Node, path: str) -> list[str]:
        """Each of the kinds that ``new`` may be has to fit."""
        if new is False or old is True or (not isinstance(old, bool) and not rules(old)):
            return []
        if isinstance(new, bool) or isinstance(old, bool):
            return [self._unlike(new, old, path)]
        choice = branches(new)
        if choice is not None:
            return [line for branch in choice for line in self.compare(branch, old, path)]
        if "allOf" in old:
            return [line for part in [*old["allOf"], rules(old, "allOf")] for line in self.compare(new, part, path)]
        if "allOf" in new:
            parts = [self.compare(part, old, path) for part in [*new["allOf"], rules(new, "allOf")]]
            return [] if [] in parts else max(parts, key=len)
        values = constants(new)
        if values is not None:
            return [
                f"{path}: may now be {shown(value)}; readers expect {described(old, self._old)}"
                for value in values
                if not accepts(old, value, self._old)
            ]
        choice = branches(old)
        if choice is not None:
            return self._one_of(new, choice, old, path)
        return self._simple(new, old, path)

    def _one_of(self, new: Mapping[str, Any], choice: list[Node], old: Node, path: str) -> list[str]:
        found = [self.compare(new, branch, path) for branch in choice]
        if [] in found:
            return []
        kind = new.get("type")
        alike = [
            lines
            for lines, branch in zip(found, choice, strict=True)
            if kind is not None and self._type_of(branch) == kind
        ]
        return alike[0] if len(alike) == 1 else [self._unlike(new, old, path)]

    def _type_of(self, branch: Node) -> object:
        branch = resolved(branch, self._old)
        if isinstance(branch, bool):
            return None
        return self._type_of(branch["allOf"][0]) if "allOf" in branch else branch.get("type")

    def _simple(self, new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> list[str]:
        """Neither is a choice, and ``new`` is no list of values."""
        unknown = sorted(rules(old).keys() - UNDERSTOOD)
        if unknown:
            return [f"{path}: has a rule that cannot be compared ({', '.join(unknown)})"]
        kind, expected = new.get("type"), old.get("type")
        is_of_kind = expected in (None, kind) or (kind, expected) == ("integer", "number")
        if not is_of_kind or constants(old) is not None or old.get("format", new.get("format")) != new.get("format"):
            return [self._unlike(new, old, path)]
        lines = []
        for kinds, keywords, compare in (
            (("integer", "number"), NUMBERS, _numbers),
            (("string",), TEXTS, _texts),
            (("array",), LISTS, self._lists),
            (("object",), OBJECTS, self._objects),
        ):
            if kind in (None, *kinds) and old.keys() & keywords:
                lines += compare(new, old, path)
        return lines

    def _lists(self, new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> list[str]:
        lines = _bounds(new, old, path, "Items", "elements")
        if old.get("uniqueItems") and not new.get("uniqueItems"):
            lines.append(f"{path}: may now have an element twice; readers expect each once")
        ours, theirs = new.get("prefixItems", []), old.get("prefixItems", [])
        longest = new.get("maxItems", math.inf)
        for place in range(max(len(ours), len(theirs))):
            if place < longest:
                mine = ours[place] if place < len(ours) else new.get("items", True)
                expected = theirs[place] if place < len(theirs) else old.get("items", True)
                lines += self.compare(mine, expected, f"{path}[{place}]")
        if longest > max(len(ours), len(theirs)):
            lines += self.compare(new.get("items", True), old.get("items", True), f"{path}[]")
        return lines

    def _objects(self, new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> list[str]:
        lines = _bounds(new, old, path, "Properties", "properties")
        ours, theirs = new.get("properties", {}), old.get("properties", {})
        # What a schema does not mention is not sent, unless it says that anything may be.
        others = "patternProperties" in new or new.get("additionalProperties", False)
        required = set(new.get("required", ()))
        for name in sorted({*theirs, *old.get("required", ())}):
            inner = _within(path, name)
            if name in ours:
                lines += self.compare(ours[name], theirs.get(name, True), inner)
            elif others is not False:
                lines += self.compare(others, theirs.get(name, True), inner)
            if name in old.get("required", ()) and name not in required:
                is_gone = name not in ours and others is False
                lines.append(f"{inner}: {'was removed' if is_gone else 'may now be left out'}; readers expect it")
        anything = old.get("additionalProperties", True)
        if anything not in (True, False):
            for name in sorted(ours.keys() - theirs.keys()):
                lines += self.compare(ours[name], anything, _within(path, name))
            lines += self.compare(others, anything, _within(path, "*"))
        if "propertyNames" in old:
            names = others is not False and new.get("propertyNames", {"type": "string"})
            lines += self.compare(names, old["propertyNames"], _within(path, "(names)"))
            lines += [
                f"{path}: may now have the property {shown(name)}, a name that readers do not expect"
                for name in sorted(ours)
                if not accepts(old["propertyNames"], name, self._old)
            ]
        return lines

    def _unlike(self, new: Node, old: Node, path: str) -> str:
        return f"{path}: may now be {described(new, self._new)}; readers expect {described(old, self._old)}"


def _numbers(new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> list[str]:
    lines = []
    for name, sign, change, words in (
        ("inimum", 1, "less", ("at least", "above")),
        ("aximum", -1, "more", ("at most", "below")),
    ):
        expected = _Bound.of(old, name, sign)
        if expected > _Bound.of(new, name, sign):
            limit = f"{words[expected.excludes]} {sign * expected.value}"
            lines.append(f"{path}: may now be {change}; readers expect {limit}")
    if "multipleOf" in old:
        step = Fraction(str(old["multipleOf"]))
        ours = Fraction(str(new.get("multipleOf", 1 if new.get("type") == "integer" else 0)))
        if not ours or ours % step:
            lines.append(f"{path}: may now be any number; readers expect a multiple of {old['multipleOf']}")
    return lines


class _Bound(NamedTuple):
    """A lower bound, or an upper one with its sign turned; the greater one excludes more."""

    value: float
    excludes: bool  # the value itself

    @classmethod
    def of(cls, node: Mapping[str, Any], name: str, sign: int) -> _Bound:
        found = [cls(-math.inf, excludes=False)]
        for keyword, excludes in (("m" + name, False), ("exclusiveM" + name, True)):
            if keyword in node:
                bound = cls(sign * node[keyword], excludes)
                if node.get("type") == "integer":  # above 0 is at least 1
                    bound = cls(math.floor(bound.value) + 1 if excludes else math.ceil(bound.value), excludes=False)
                found.append(bound)
        return max(found)


def _texts(new: Mapping[str, Any], old: Mapping[str, Any], path: str) -> list[str]:
    lines = _bounds(new, old, path, "Length", "characters")
    if old.get("pattern", new.get("pattern")) != new.get("pattern"):
        lines.append(f"{path}: may now be any text; readers expect one like {shown(old['pattern'])}")
    return lines


def _bounds(new: Mapping[str, Any], old: Mapping[str, Any], path: str, name: str, unit: str) -> list[str]:
    lines = []
    least, most = old.get("min" + name, 0), old.get("max" + name, math.inf)
    if new.get("min" + name, len(new.get("required", ())) if name == "Properties" else 0) < least:
        lines.append(f"{path}: may now have fewer {unit}; readers expect at least {least}")
    if new.get("max" + name, math.inf) > most:
        lines.append(f"{path}: may now have more {unit}; readers expect at most {most}")
    return lines


def _within(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
