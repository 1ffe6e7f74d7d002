"""Which changes of a JSON schema readers survive."""

from __future__ import annotations

import collections
import datetime
import enum
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    Secret,
    StringConstraints,
    TypeAdapter,
    WrapSerializer,
    create_model,
    model_serializer,
)

from eventpipe import Event
from eventpipe.cli.schema_compat import changes
from eventpipe.cli.schema_document import document_of
from eventpipe.cli.schema_nodes import SchemaError
from eventpipe.models import EventModel


def schema_of(annotation: Any) -> dict[str, Any]:
    """The schema of an event with one property, which is called ``x``."""
    model = create_model("Thing", __base__=EventModel, x=(annotation, ...))
    [entry] = document_of([model])["events"]
    schema: dict[str, Any] = entry["schema"]
    return schema


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Home(BaseModel):
    street: str
    zip: str | None = None


class Villa(BaseModel):
    street: str
    zip: str | None = None
    pools: int


class Flat(BaseModel):
    street: str | None


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class Bush(BaseModel):
    value: float
    children: list[Bush] = []


class Open(BaseModel, extra="allow"):
    street: str


class Dog(BaseModel):
    kind: Literal["dog"]
    legs: int


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


Pet = Annotated[Dog | Cat, Field(discriminator="kind")]
Short = Annotated[str, Field(max_length=5)]
Few = Annotated[int, Field(ge=1, le=9)]
Named = dict[Literal["a", "b"], int]


def words(value: Any) -> str:
    """A type in a test's id."""
    return value.__name__ if isinstance(value, type) else "…" if isinstance(value, list) else str(value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (str, Literal["free"]),
        (str, Colour),
        (float, int),
        (float, Few),
        (int, Literal[1, 2]),
        (bool, Literal[True]),
        (Literal[True, False], bool),
        (Any, dict[str, int]),
        (Any, str | None),
        (str | None, str),
        (str | int | None, int | None),
        (int | str, Literal["a", 1]),
        (Literal["a", "b"], Literal["b"]),
        (Literal["red", "blue"], Colour),
        (str, Short),
        (str, datetime.datetime),
        (str, uuid.UUID),
        (str, bytes),
        (Annotated[int, Field(gt=0)], Annotated[int, Field(ge=1)]),
        (Annotated[float, Field(gt=0)], Annotated[int, Field(ge=1)]),
        (Annotated[int, Field(le=9)], Few),
        (Annotated[int, Field(multiple_of=2)], Annotated[int, Field(multiple_of=4)]),
        (list[float], list[int]),
        (list[int], set[int]),
        (list[int], Sequence[int]),
        (dict[str, int], collections.defaultdict[str, int]),
        (str, Path),
        (list[int | str], tuple[int, str]),
        (list[int], Annotated[list[int], Field(max_length=3)]),
        (tuple[float, str], tuple[int, Literal["a"]]),
        (dict[str, float], dict[str, int]),
        (dict[str, int], dict[Short, int]),
        (dict[Short, int], dict[Short, int]),
        (dict[str, int], Named),
        (Named, Named),
        (dict[str, Any], Home),
        (dict[str, str | int | None], Villa),
        (Home, Villa),
        (Home | None, Villa),
        (Flat, Home),
        (Bush, Tree),
        (Tree, Tree),
        (Pet, Dog),
        (Pet, Pet),
        (Open, Home),
    ],
    ids=words,
)
def test_compatible(old: Any, new: Any) -> None:
    """Every value of the new type is one of the old."""
    assert changes(schema_of(new), schema_of(old)) == []


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (str, int, ["x: may now be a whole number; readers expect text"]),
        (int, float, ["x: may now be a number; readers expect a whole number"]),
        (
            int,
            bool,
            ["x: may now be true; readers expect a whole number", "x: may now be false; readers expect a whole number"],
        ),
        (str, str | None, ["x: may now be null; readers expect text"]),
        (int, Secret[int], ["x: may now be anything; readers expect a whole number"]),  # it is written as "**********"
        (str, Any, ["x: may now be anything; readers expect text"]),
        (str | None, str | int | None, ["x: may now be a whole number; readers expect text or null"]),
        (Literal["free", "pro"], Literal["free", "gold"], ["x: may now be 'gold'; readers expect 'free' or 'pro'"]),
        (Literal["free"], str, ["x: may now be text; readers expect 'free'"]),
        (Literal["free"] | None, str, ["x: may now be text; readers expect 'free'"]),
        (Literal[True], bool, ["x: may now be false; readers expect true"]),
        (Literal[1], bool, ["x: may now be true; readers expect 1", "x: may now be false; readers expect 1"]),
        (datetime.datetime, str, ["x: may now be text; readers expect text (date-time)"]),
        (datetime.datetime, datetime.date, ["x: may now be text (date); readers expect text (date-time)"]),
        (datetime.datetime | None, str, ["x: may now be text; readers expect text (date-time)"]),
        (Short, str, ["x: may now have more characters; readers expect at most 5"]),
        (
            Short,
            Annotated[str, Field(max_length=6)],
            ["x: may now have more characters; readers expect at most 5"],
        ),
        (
            Annotated[str, Field(min_length=2)],
            Annotated[str, Field(min_length=1)],
            ["x: may now have fewer characters; readers expect at least 2"],
        ),
        (Short, Literal["longer"], ["x: may now be 'longer'; readers expect text"]),
        (Annotated[str, Field(min_length=1)], str, ["x: may now have fewer characters; readers expect at least 1"]),
        (Annotated[str, Field(pattern="^a")], str, ["x: may now be any text; readers expect one like '^a'"]),
        (Few, int, ["x: may now be less; readers expect at least 1", "x: may now be more; readers expect at most 9"]),
        (Annotated[float, Field(gt=0)], Annotated[float, Field(ge=0)], ["x: may now be less; readers expect above 0"]),
        (Annotated[int, Field(gt=0)], Annotated[int, Field(ge=0)], ["x: may now be less; readers expect at least 1"]),
        (Annotated[int, Field(lt=9)], Annotated[int, Field(le=9)], ["x: may now be more; readers expect at most 8"]),
        (Annotated[float, Field(lt=9)], float, ["x: may now be more; readers expect below 9"]),
        (Few, Literal[10], ["x: may now be 10; readers expect a whole number"]),
        (
            Annotated[int, Field(multiple_of=4)],
            Annotated[int, Field(multiple_of=2)],
            ["x: may now be any number; readers expect a multiple of 4"],
        ),
        (list[int], list[str], ["x[]: may now be text; readers expect a whole number"]),
        (set[int], list[int], ["x: may now have an element twice; readers expect each once"]),
        (
            Annotated[list[int], Field(max_length=3)],
            list[int],
            ["x: may now have more elements; readers expect at most 3"],
        ),
        (tuple[int, int], tuple[int, str], ["x[1]: may now be text; readers expect a whole number"]),
        (
            tuple[int, int],
            tuple[int, ...],
            [
                "x: may now have fewer elements; readers expect at least 2",
                "x: may now have more elements; readers expect at most 2",
            ],
        ),
        (dict[str, int], dict[str, str], ["x.*: may now be text; readers expect a whole number"]),
        (Named, dict[str, int], ["x.(names): may now be text; readers expect 'a' or 'b'"]),
        (
            dict[str, int],
            Home,
            [
                "x.street: may now be text; readers expect a whole number",
                "x.zip: may now be text; readers expect a whole number",
                "x.zip: may now be null; readers expect a whole number",
            ],
        ),
        (Villa, Home, ["x.pools: was removed; readers expect it"]),
        (Home, Flat, ["x.street: may now be null; readers expect text", "x.zip: was removed; readers expect it"]),
        (
            Home,
            dict[str, str],
            [
                "x.street: may now be left out; readers expect it",
                "x.zip: may now be left out; readers expect it",
            ],
        ),
        (
            Home,
            Open,
            [
                "x.zip: may now be anything; readers expect text or null",
                "x.zip: may now be left out; readers expect it",
            ],
        ),
        (
            Home | None,
            Flat,
            ["x.street: may now be null; readers expect text", "x.zip: was removed; readers expect it"],
        ),
        (Tree, Bush, ["x.value: may now be a number; readers expect a whole number"]),
        (
            Dog,
            Pet,
            [
                "x.kind: may now be 'cat'; readers expect 'dog'",
                "x.legs: was removed; readers expect it",
            ],
        ),
    ],
    ids=words,
)
def test_incompatible(old: Any, new: Any, lines: list[str]) -> None:
    """A line says what may be there now, and what readers were built for."""
    assert changes(schema_of(new), schema_of(old)) == lines


class Example(EventModel):
    model_config = ConfigDict(json_schema_extra={"example": {"colour": "red"}})
    colour: Colour


class Marked(EventModel):
    plan: Annotated[Literal["free", "pro"], Field(json_schema_extra={"x-pii": False, "owner": "shop"})]


class Ruled(EventModel):
    plan: Annotated[Literal["free", "pro"], Field(json_schema_extra={"not": {"const": "free"}})]


class Patterned(EventModel):
    by_code: dict[Annotated[str, StringConstraints(pattern="^a")], Tree]


@pytest.mark.parametrize("model", [Example, Marked, Ruled, Patterned])
def test_class_that_did_not_change_is_compatible(model: type[EventModel]) -> None:
    """Whatever its schema has, also what nothing here understands; in the same words it says the same."""
    [before], [after] = (document_of([model])["events"] for _ in range(2))

    assert changes(after["schema"], json.loads(json.dumps(before["schema"]))) == []


def words_of(value: int) -> str:
    return f"{value} EUR"


UNTYPED: dict[str, Any] = {
    "plain": PlainSerializer(lambda value: f"{value} EUR"),
    "wrap": WrapSerializer(lambda value, write: f"{write(value)} EUR"),
}


@pytest.mark.parametrize("how", UNTYPED)
def test_serializer_that_does_not_say_what_it_writes_may_write_anything(how: str) -> None:
    """Its type is of no help: another serializer may write text for a number. One that says it is compared by that."""
    old, new = schema_of(int), schema_of(Annotated[int, UNTYPED[how]])

    assert changes(new, old) == ["x: may now be anything; readers expect a whole number"]
    assert changes(old, new) == changes(new, new) == []
    assert changes(schema_of(Annotated[int, PlainSerializer(words_of)]), schema_of(str)) == []


def test_model_whose_serializer_does_not_say_what_it_writes_may_write_anything() -> None:
    """The model as a whole, its version included."""

    class Paid(EventModel, version=2):
        total: int

    class Odd(EventModel, name="paid", version=2):
        total: int

        @model_serializer
        def _written(self):  # type: ignore[no-untyped-def]  # that is the case
            return {"sum": self.total}

    [before], [after] = (document_of([model])["events"] for model in (Paid, Odd))

    assert changes(after["schema"], before["schema"]) == [": may now be anything; readers expect an object"]


def test_mapping_that_a_model_is_written_as_is_compared() -> None:
    """By what is in it."""

    class Counted(EventModel):
        total: int

        @model_serializer
        def _written(self) -> dict[str, int]:
            return {"sum": self.total}

    class Named(EventModel):
        total: int

        @model_serializer
        def _written(self) -> dict[str, str]:
            return {"sum": str(self.total)}

    [before], [after] = (document_of([model])["events"] for model in (Counted, Named))

    assert changes(after["schema"], before["schema"]) == ["*: may now be text; readers expect a whole number"]


def test_what_readers_do_not_look_at_may_change() -> None:
    """Titles, descriptions, defaults, the order of fields, and properties that are new."""
    old = create_model("Old", __base__=EventModel, a=(int, 1), b=(str, Field(title="B")))
    new = create_model("New", __base__=EventModel, c=(int, 1), b=(str, Field(description="More")), a=(int, 2))

    [before], [after] = (document_of([model])["events"] for model in (old, new))

    assert changes(after["schema"], before["schema"]) == []


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({"not": {}}, {"type": "string"}, [": has a rule that cannot be compared (not)"]),
        ({"not": {"type": "null"}}, {"not": {"type": "null"}, "title": "x"}, []),
        ({"type": ["string", "null"]}, {"type": "null"}, []),
        ({"type": "string"}, {"type": ["string", "null"]}, [": may now be null; readers expect text"]),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, {"type": "string", "minLength": 2}, []),
        (
            {"allOf": [{"type": "string"}, {"minLength": 1}]},
            {"type": "string"},
            [": may now have fewer characters; readers expect at least 1"],
        ),
        ({"type": "string"}, {"allOf": [{"minLength": 1}, {"type": "string"}]}, []),
        (
            {"type": "string", "maxLength": 5},
            {"allOf": [{"minLength": 1}, {"type": "string"}]},
            [": may now be anything; readers expect text"],
        ),
        (
            {"type": "object", "properties": {"b": {}}, "required": ["b"]},
            {"type": "object", "properties": {"b": {}}},
            ["b: may now be left out; readers expect it"],
        ),
        ({"enum": [1, "a"]}, {"enum": [True, "a"]}, [": may now be true; readers expect 1 or 'a'"]),
        ({"type": "string", "x-owner": "shop"}, {"enum": ["a"], "owner": "shop", "nullable": True}, []),
        (
            {"$ref": "#/$defs/A", "not": {}, "$defs": {"A": {"type": "string"}}},
            {"$ref": "#/$defs/A", "not": {}, "$defs": {"A": {"type": "integer"}}},
            [": may now be a whole number; readers expect text"],
        ),
        (
            {
                "patternProperties": {"^a": {"$ref": "#/$defs/A"}},
                "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": {}},
            },
            {"patternProperties": {"^a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/B"}}}},
            [": has a rule that cannot be compared (patternProperties)"],
        ),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "minLength": 2}, {"type": "string", "minLength": 2}, []),
        (
            {"anyOf": [{"type": "string"}, {"type": "null"}], "minLength": 2},
            {"type": "string"},
            [": may now have fewer characters; readers expect at least 2"],
        ),
        ({"type": "string"}, False, []),
        (False, {"type": "string"}, [": may now be text; readers expect nothing"]),
        (
            {"type": "object", "properties": {"a": {"type": "string"}}},
            {"type": "object", "patternProperties": {"^a": {"type": "integer"}}},
            ["a: may now be anything; readers expect text"],
        ),
        (
            {"type": "object", "patternProperties": {"^a": {"type": "integer"}}},
            {"type": "object", "patternProperties": {"^a": {"type": "string"}}},
            [": has a rule that cannot be compared (patternProperties)"],
        ),
        ({"type": "object", "minProperties": 1}, {"type": "object", "required": ["a"], "properties": {"a": True}}, []),
        (
            {"type": "object", "minProperties": 1},
            {"type": "object", "properties": {"a": True}},
            [": may now have fewer properties; readers expect at least 1"],
        ),
        (
            {"$ref": "#/$defs/A", "minLength": 1, "$defs": {"A": {"type": "string"}}},
            {"type": "string"},
            [": may now have fewer characters; readers expect at least 1"],
        ),
        ({"enum": [[1]]}, {"const": [1]}, []),
        ({"type": "array"}, {"const": [1]}, []),
        ({"type": "array", "items": {}}, {"const": [1]}, [": may now be [1]; readers expect a list"]),
    ],
    ids=repr,
)
def test_rules_that_pydantic_seldom_writes(old: Any, new: Any, lines: list[str]) -> None:
    """They come from ``json_schema_extra``, or from another program; what is not understood has to stay the same."""
    assert changes(new, old) == lines


@pytest.mark.parametrize(
    "broken",
    [
        {"$ref": "#/$defs/Missing"},
        {"$ref": "https://example.com/schema"},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        {"properties": {"a": 5}, "type": "object"},
    ],
    ids=repr,
)
def test_broken_schema_is_told(broken: dict[str, Any]) -> None:
    """Instead of an answer that would mean nothing."""
    with pytest.raises(SchemaError):
        changes(broken, {"type": "object", "properties": {"a": {"type": "string"}}})


def circle(of: int, kind: str) -> dict[str, Any]:
    """Definitions of which each refers to all, and has one property of another kind."""
    members = {f"to{number}": {"$ref": f"#/$defs/Model{number}"} for number in range(of)}
    model = {"type": "object", "properties": {**members, "z": {"type": kind}}, "required": ["z"]}
    return {"$ref": "#/$defs/Model0", "$defs": {f"Model{number}": dict(model) for number in range(of)}}


def test_models_that_refer_to_each_other_are_compared_once() -> None:
    """Each with each other: 12 of them have 479 001 600 paths."""
    numbers, whole = circle(12, "number"), circle(12, "integer")

    assert changes(whole, numbers) == []
    assert "to3.z: may now be a number; readers expect a whole number" in changes(numbers, whole)


def test_what_was_found_by_a_wrong_guess_is_forgotten() -> None:
    """``next`` fits only as long as its own ``back`` is taken for the first of two kinds, which it is not."""
    kinds = {
        kind: {
            "type": "object",
            "properties": {"next": {"$ref": "#/$defs/Next"}, "z": {"const": kind}},
            "required": ["next", "z"],
        }
        for kind in ("one", "two")
    }
    back = {"type": "object", "properties": {"back": {"$ref": "#/$defs/one"}}, "required": ["back"]}
    either = [{"$ref": "#/$defs/one"}, {"$ref": "#/$defs/two"}]
    old = {"anyOf": either, "$defs": {**kinds, "Next": back}}
    mine = {"type": "object", "properties": {"back": {"$ref": "#/$defs/two"}}, "required": ["back"]}
    new = {"$ref": "#/$defs/two", "$defs": {"two": kinds["two"], "Next": mine}}

    assert changes(new, old) != []


class Said(EventModel, version=2):
    """Somebody said something."""

    answers: list[Said] = Field(default=[])


def test_event_that_contains_itself_has_a_schema_like_any_other() -> None:
    """With its version, no word against properties of a scope, and its description beside it."""
    [entry] = document_of([Said])["events"]

    assert entry["description"] == "Somebody said something."
    assert entry["schema"]["required"] == ["answers", "event_version"]
    assert entry["schema"]["properties"]["event_version"]["const"] == 2
    assert not entry["schema"].keys() & {"additionalProperties", "description", "$ref"}
    assert changes(entry["schema"], entry["schema"]) == []


# Types of every kind, with values of each: what is declared compatible must be so.


@dataclass(frozen=True)
class Kind:
    """A type: how it is written, what it is made of, and the values that it has."""

    name: str
    parts: tuple[Kind, ...] = ()
    rules: tuple[Any, ...] = ()
    names: tuple[str, ...] = field(default=())


_numbers = count()


def annotation(kind: Kind, *, base: type[BaseModel] = BaseModel) -> Any:
    """The type, with models that take no notice of what they do not know."""
    parts = [annotation(part) for part in kind.parts]
    match kind.name:
        case "int" | "float":
            return Annotated[{"int": int, "float": float}[kind.name], Field(ge=kind.rules[0], le=kind.rules[1])]
        case "str":
            return Annotated[str, Field(min_length=kind.rules[0], max_length=kind.rules[1])]
        case "literal":
            return Literal[kind.rules]
        case "union":
            return Union[tuple(parts)]  # noqa: UP007  # of a number of types that is known here only
        case "list":
            return Annotated[list[parts[0]], Field(max_length=kind.rules[0])]  # type: ignore[valid-type]
        case "tuple":
            return tuple[tuple(parts)]  # type: ignore[misc]
        case "dict":
            return dict[str, parts[0]]  # type: ignore[valid-type]
        case "model":
            fields: Any = {name: (part, ...) for name, part in zip(kind.names, parts, strict=True)}
            return create_model(f"Model{next(_numbers)}", __base__=base, **fields)
        case _:
            return {"bool": bool, "none": None, "any": Any, "time": datetime.datetime, "uuid": uuid.UUID}[kind.name]


def values(kind: Kind) -> st.SearchStrategy[Any]:
    """Values of the type."""
    parts = [values(part) for part in kind.parts]
    match kind.name:
        case "int":
            return st.integers(*kind.rules)
        case "float":
            return st.floats(*kind.rules)
        case "str":
            return st.text("ab", min_size=kind.rules[0], max_size=kind.rules[1])
        case "literal":
            return st.sampled_from(kind.rules)
        case "union":
            return st.one_of(parts)
        case "list":
            return st.lists(parts[0], max_size=min(kind.rules[0], 3))
        case "tuple":
            return st.tuples(*parts)
        case "dict":
            return st.dictionaries(st.sampled_from(["a", "b", "c"]), parts[0], max_size=2)
        case "model":
            return st.fixed_dictionaries(dict(zip(kind.names, parts, strict=True)))
        case "any":
            return st.one_of(st.none(), st.integers(0, 9), st.text("ab", max_size=2))
        case _:
            times, ids = st.just(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)), st.just(uuid.UUID(int=1))
            return {"bool": st.booleans(), "none": st.none(), "time": times, "uuid": ids}[kind.name]


bounds = st.tuples(st.integers(0, 4), st.integers(4, 8))
leaves = st.one_of(
    st.builds(lambda rules: Kind("int", rules=rules), bounds),
    st.builds(lambda rules: Kind("float", rules=rules), bounds),
    st.builds(lambda rules: Kind("str", rules=rules), bounds),
    st.builds(
        lambda values: Kind("literal", rules=tuple(values)),
        st.lists(st.sampled_from(["a", "aaaa", "bbbb", 4, 5]), min_size=1, max_size=3, unique=True),
    ),
    st.sampled_from([Kind("bool"), Kind("none"), Kind("any"), Kind("time"), Kind("uuid")]),
)


def containers(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    return st.one_of(
        st.builds(lambda parts: Kind("union", tuple(parts)), st.lists(inner, min_size=2, max_size=3)),
        st.builds(lambda part, most: Kind("list", (part,), (most,)), inner, st.integers(1, 3)),
        st.builds(lambda parts: Kind("tuple", tuple(parts)), st.lists(inner, min_size=1, max_size=2)),
        st.builds(lambda part: Kind("dict", (part,)), inner),
        models(inner),
    )


def models(inner: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    fields = st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3)
    return fields.map(lambda fields: Kind("model", tuple(fields.values()), names=tuple(fields)))


kinds = st.recursive(leaves, containers, max_leaves=6)


@st.composite
def changed(draw: st.DrawFn, kind: Kind) -> Kind:
    """A type with one change, so that it often fits."""
    if draw(st.integers(0, 3)) > 0 and kind.parts:
        return draw(changed_within(kind))
    change = draw(st.sampled_from(CHANGES.get(kind.name, ["optional", "other"])))
    if change == "rules":
        return Kind(draw(st.sampled_from([kind.name, kind.name, "int", "float"])), rules=draw(bounds))
    if change == "fewer":
        number = draw(st.integers(1, len(kind.rules)))
        return replace(kind, rules=kind.rules[:number])
    if change == "choose":
        place = draw(st.integers(0, len(kind.parts) - 1))
        return kind.parts[place]
    if change == "fields":
        return draw(changed_fields(kind))
    return Kind("union", (kind, Kind("none"))) if change == "optional" else draw(kinds)


CHANGES = {
    **{name: ["rules", "rules", "rules", "optional"] for name in ("int", "float", "str")},
    "literal": ["fewer", "fewer", "other"],
    "union": ["choose", "choose", "optional", "other"],
    "model": ["fields", "optional", "other"],
}


@st.composite
def changed_within(draw: st.DrawFn, kind: Kind) -> Kind:
    parts = list(kind.parts)
    place = draw(st.integers(0, len(parts) - 1))
    parts[place] = draw(changed(parts[place]))
    return replace(kind, parts=tuple(parts))


@st.composite
def changed_fields(draw: st.DrawFn, kind: Kind) -> Kind:
    """With another field, or without one."""
    fields = dict(zip(kind.names, kind.parts, strict=True))
    if len(fields) > 1 and draw(st.booleans()):
        del fields[draw(st.sampled_from(kind.names))]
    else:
        fields[draw(st.sampled_from("abcd"))] = draw(leaves)
    return Kind("model", tuple(fields.values()), names=tuple(fields))


pairs = models(kinds).flatmap(
    lambda old: st.tuples(st.just(old), st.one_of(changed_within(old), changed_within(old), changed_fields(old)))
)


def event_schema(kind: Kind) -> tuple[type[EventModel], dict[str, Any]]:
    model: type[EventModel] = annotation(kind, base=EventModel)
    [entry] = document_of([model])["events"]
    return model, entry["schema"]


@settings(max_examples=150, deadline=None)
@given(pairs, st.data())
def test_readers_read_every_event_of_a_compatible_schema(pair: tuple[Kind, Kind], data: st.DataObject) -> None:
    """Whatever is generated of the new type, and captured, is read by the old one, whenever that is what it is told."""
    old, new = pair
    model, schema = event_schema(new)
    _, saved = event_schema(old)
    if changes(schema, saved):
        return

    reader = TypeAdapter(annotation(old))
    for properties in data.draw(st.lists(values(new), min_size=5, max_size=5)):
        written = orjson.dumps(Event(model, properties=properties).properties)

        reader.validate_json(written, strict=True)


@settings(max_examples=100, deadline=None)
@given(kinds)
def test_every_schema_is_compatible_with_itself(kind: Kind) -> None:
    """Also in another document, in which the definitions have other names."""
    kind = Kind("model", (kind,), names=("a",))

    assert changes(event_schema(kind)[1], event_schema(kind)[1]) == []
