"""What a typed event is called, what it holds, and when it is refused."""

from __future__ import annotations

import asyncio
import copy
import datetime
import enum
import pickle
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar

import pytest
from pydantic import (
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    computed_field,
    field_serializer,
    field_validator,
    model_serializer,
    model_validator,
)

from eventpipe import Event
from eventpipe.events import CapturedEvent
from eventpipe.models import EventModel, snake_case
from eventpipe.testing import make_event
from eventpipe.unfolding import Unfit

ID = uuid.UUID("01890000-0000-7000-8000-000000000001")
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)

T = TypeVar("T")


class SignedUp(EventModel):
    """Somebody has an account."""

    plan: Literal["free", "pro"]
    seats: int = 1


class Versioned(EventModel, name="plan.changed", version=3):
    plan: str


class Colour(enum.Enum):
    RED = "red"


class Address(BaseModel):
    street: str
    since: datetime.date | None = None


class Everything(EventModel):
    at: datetime.datetime = NOON
    id: uuid.UUID = ID
    price: Decimal = Decimal("9.90")
    took: datetime.timedelta = datetime.timedelta(seconds=90)
    colour: Colour = Colour.RED
    tags: frozenset[str] = frozenset({"a"})
    home: Address = Address(street="Main", since=datetime.date(2026, 1, 1))
    raw: bytes = b"text"
    nothing: None = None


class Paid(EventModel, Generic[T], name="paid", version=2):
    sum: T


def made(called: str, **arguments: Any) -> type[EventModel]:
    """A model that has no fields."""
    make: Any = type(EventModel)  # which has no public name
    model: type[EventModel] = make(called, (EventModel,), {"__module__": __name__}, **arguments)
    return model


def unfit(event: Event) -> str:
    """Why an event cannot be sent."""
    assert type(event.event) is Unfit
    assert event.properties is None
    assert event.event.error.path == "properties"
    return str(event.event.error)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("SignedUp", "signed_up"),
        ("HTTPError", "http_error"),
        ("V2Plan", "v2_plan"),
        ("PlanV2", "plan_v2"),
        ("A", "a"),
        ("HTTP", "http"),
        ("already_snake", "already_snake"),
        ("_Hidden", "hidden"),
        ("ÄnderungGespeichert", "änderung_gespeichert"),
    ],
)
def test_event_is_called_as_its_class(name: str, expected: str) -> None:
    """In snake case, with abbreviations as one word."""
    assert snake_case(name) == expected
    assert made(name).__event_name__ == expected


def test_class_may_say_its_name_and_version() -> None:
    """As arguments of the class, which subclasses do not inherit."""

    class Renamed(Versioned):
        pass

    assert (SignedUp.__event_name__, SignedUp.__event_version__) == ("signed_up", None)
    assert (Versioned.__event_name__, Versioned.__event_version__) == ("plan.changed", 3)
    assert (Renamed.__event_name__, Renamed.__event_version__) == ("renamed", None)


def test_parametrized_class_is_the_event_that_its_origin_is() -> None:
    """``Paid[int]`` is no event of its own."""
    event = Event(Paid[int](sum=3))

    assert (event.event, event.properties) == ("paid", {"sum": 3, "event_version": 2})


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"name": ""}, ValueError, "name of Wrong must not be empty; leave it out to have it made of the class's"),
        ({"name": " "}, ValueError, "name of Wrong must not be empty; leave it out to have it made of the class's"),
        ({"name": 5}, TypeError, "name of Wrong must be a text, not a value of type int"),
        ({"version": 0}, ValueError, "version of Wrong must be at least 1, not 0; leave it out to send none"),
        ({"version": -1}, ValueError, "version of Wrong must be at least 1, not -1; leave it out to send none"),
        ({"version": True}, TypeError, "version of Wrong must be a whole number, not a value of type bool"),
        ({"version": 1.5}, TypeError, "version of Wrong must be a whole number, not a value of type float"),
        ({"extra": "allow"}, ValueError, "extra of Wrong must be 'forbid', as it is for every event"),
        ({"frozen": False}, ValueError, "frozen of Wrong must be True, as it is for every event"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_wrong_arguments_are_told_when_the_class_is_made(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    """They are a mistake in the program, and no event is there yet."""
    with pytest.raises(error) as raised:
        made("Wrong", **arguments)

    assert str(raised.value) == text


OCCUPIED: dict[str, Callable[[], object]] = {}


def occupied(make: Callable[[], object]) -> Callable[[], object]:
    OCCUPIED[make.__name__] = make
    return make


@occupied
def field() -> object:
    class Occupied(EventModel, version=1):
        event_version: int

    return Occupied


@occupied
def alias() -> object:
    class Occupied(EventModel, version=1):
        number: int = Field(serialization_alias="event_version")

    return Occupied


@occupied
def alias_generator() -> object:
    class Occupied(EventModel, version=1, alias_generator=lambda name: f"event_{name}"):
        version: int

    return Occupied


@occupied
def computed() -> object:
    class Occupied(EventModel, version=1):
        @computed_field
        def event_version(self) -> int:
            return 1

    return Occupied


@pytest.mark.parametrize("what", OCCUPIED)
def test_property_of_the_version_is_taken(what: str) -> None:
    """A model with a version has no other property of that name; one without may."""
    with pytest.raises(ValueError, match=r"^Occupied must not have a property 'event_version' of its own: version=1"):
        OCCUPIED[what]()

    class Free(EventModel):
        event_version: int

    assert Event(Free(event_version=7)).properties == {"event_version": 7}


def test_instance_becomes_name_and_properties() -> None:
    """As soon as the ``Event`` is made, which is then one like others."""
    event = Event(SignedUp(plan="pro"), "u1", lane="ai")

    assert event == Event("signed_up", "u1", {"plan": "pro", "seats": 1}, lane="ai")
    assert type(event.event) is str


def test_version_travels_as_a_property() -> None:
    """Only where the class says one."""
    assert Event(Versioned(plan="pro")).properties == {"plan": "pro", "event_version": 3}


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        pytest.param({"plan": "pro", "seats": "5"}, {"plan": "pro", "seats": 5}, id="converted as pydantic does"),
        pytest.param({"plan": "free"}, {"plan": "free", "seats": 1}, id="with defaults"),
    ],
)
def test_class_validates_the_properties(properties: dict[str, Any], expected: dict[str, Any]) -> None:
    """As if an instance had been made of them, but it never raises."""
    event = Event(SignedUp, properties=properties)

    assert (event.event, event.properties) == ("signed_up", expected)


def test_class_without_required_fields_needs_no_properties() -> None:
    """``capture(Everything)`` is enough."""
    assert Event(Everything).properties == Event(Everything()).properties


def test_values_are_what_the_json_schema_says() -> None:
    """Times, numbers and models are written as pydantic writes JSON, in every field, whatever else would."""
    captured = written(Event(Everything()))

    assert captured.properties == {
        "at": "2026-01-01T12:00:00Z",
        "id": str(ID),
        "price": "9.90",
        "took": "PT1M30S",
        "colour": "red",
        "tags": ["a"],
        "home": {"street": "Main", "since": "2026-01-01"},
        "raw": "text",
        "nothing": None,
    }


def written(event: Event) -> CapturedEvent:
    return make_event(event.event, properties=event.properties)


def test_aliases_computed_and_private_attributes() -> None:
    """A field travels under its alias, a computed one beside it; private ones and excluded ones stay."""

    class Order(EventModel):
        total: int = Field(serialization_alias="$revenue")
        hidden: int = Field(default=1, exclude=True)
        _note: str = PrivateAttr("private")

        @computed_field(alias="isLarge")
        def is_large(self) -> bool:
            return self.total > 10

    assert Event(Order(total=12)).properties == {"$revenue": 12, "isLarge": True}


def test_secret_is_never_sent_in_clear() -> None:
    """Neither by a field nor in a nested one."""

    class Login(EventModel):
        password: SecretStr
        old: list[SecretStr]

    event = Event(Login(password=SecretStr("hunter2"), old=[SecretStr("hunter1")]))

    assert event.properties == {"password": "**********", "old": ["**********"]}
    assert b"hunter" not in written(event).json


def test_values_are_in_no_repr_and_no_error() -> None:
    """Of a model, of an ``Event`` made of one, and of what pydantic raises."""
    model = Versioned(plan="hunter2")

    assert repr(model) == str(model) == f"{model}" == "<Versioned 'plan.changed'>"
    assert "hunter2" not in repr([Event(model), Event(Versioned, properties={"plan": "hunter2"})])
    with pytest.raises(ValidationError) as raised:
        SignedUp(plan="hunter2")  # type: ignore[arg-type]  # it is wrong
    assert "hunter2" not in str(raised.value)


def test_event_is_frozen_and_takes_its_fields_alone() -> None:
    """A typing mistake is an error at once."""
    with pytest.raises(ValidationError, match="Instance is frozen"):
        SignedUp(plan="pro").seats = 3
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SignedUp(plan="pro", sests=3)  # type: ignore[call-arg]  # it has no such field


@pytest.mark.parametrize("number", [float("nan"), float("inf")], ids=str)
def test_numbers_are_those_of_json(number: float) -> None:
    """What JSON has no number for does not validate."""

    class Measured(EventModel):
        value: float

    assert unfit(Event(Measured, properties={"value": number})) == "Measured does not validate: value (finite_number)"


class Measure(BaseModel):
    value: float


class Measures(EventModel):
    one: Measure = Measure(value=1)
    each: list[float] = Field(default=[])
    by_name: dict[str, list[Measure]] = Field(default={})
    anything: Any = None


NAN = float("nan")


@pytest.mark.parametrize(
    "properties",
    [
        {"one": Measure(value=NAN)},
        {"by_name": {"a": [{"value": 1}, {"value": -float("inf")}]}},
    ],
    ids=repr,
)
def test_numbers_inside_others_are_those_of_json(properties: dict[str, Any]) -> None:
    """However deep, and whatever the model inside says of them."""
    assert unfit(Event(Measures, properties=properties)) == "Measures holds a number that is not finite"
    assert unfit(Event(Measures(**properties))) == "Measures holds a number that is not finite"


def test_numbers_that_no_validation_saw_are_those_of_json() -> None:
    """One put into a list afterwards, and one of a default; a class may allow them, and one of any type is null."""

    class Endless(EventModel):
        limit: float = float("inf")

    class Allowed(Endless, allow_inf_nan=True):
        pass

    changed = Measures()
    changed.each.append(NAN)

    assert unfit(Event(changed)) == "Measures holds a number that is not finite"
    assert unfit(Event(Endless())) == "Endless holds a number that is not finite"
    assert written(Event(Allowed())).properties == {"limit": None}
    assert Event(Measures(anything=[NAN])).properties["anything"] == [None]  # type: ignore[index]  # it has properties


class Cart(EventModel):
    items: list[Address] = Field(default=[])
    by_user: dict[str, int] = Field(default={})
    nested: int = Field(default=0, validation_alias=AliasPath("outer", "inner"))
    first: str = ""
    second: str = ""

    @model_validator(mode="after")
    def _no_thief(self) -> Cart:
        if self.first == "thief":
            raise ValueError(f"not {self.second}")
        return self


@pytest.mark.parametrize(
    ("model", "properties", "text"),
    [
        (SignedUp, {"plan": "hunter2"}, "SignedUp does not validate: plan (literal_error)"),
        (SignedUp, {}, "SignedUp does not validate: plan (missing)"),
        (SignedUp, None, "SignedUp does not validate: plan (missing)"),
        (
            SignedUp,
            {"plan": "pro", "hunter2": 1},
            "SignedUp does not validate: a property that is no field (extra_forbidden)",
        ),
        (SignedUp, {"plan": "pro", 5: 1}, "SignedUp does not validate: a property that is no field (invalid_key)"),
        (
            SignedUp,
            {"plan": 5, "seats": "many"},
            "SignedUp does not validate: plan (literal_error); seats (int_parsing)",
        ),
        (Cart, {"items": [{}]}, "Cart does not validate: items, within (missing)"),
        (Cart, {"by_user": {"hunter2": "x"}}, "Cart does not validate: by_user, within (int_parsing)"),
        (Cart, {"first": "thief", "second": "hunter2"}, "Cart does not validate: it as a whole (value_error)"),
        (
            Everything,
            dict.fromkeys(["at", "id", "price", "took", "colour", "tags", "home"], object()),
            "Everything does not validate: at (datetime_type); id (uuid_type); price (decimal_type); "
            "took (time_delta_type); colour (enum) and 2 more",
        ),
        (SignedUp, ["hunter2"], "properties of SignedUp must be a mapping, not a value of type list"),
    ],
    ids=lambda value: "" if not isinstance(value, str) else value.partition(": ")[2].partition(" (")[0] or "no mapping",
)
def test_what_does_not_validate_is_told_without_values(model: type[EventModel], properties: Any, text: str) -> None:
    """Fields, and the type of each error; neither values nor keys that a caller made up."""
    assert unfit(Event(model, properties=properties)) == text


@pytest.mark.parametrize("properties", [{}, {"plan": "pro"}], ids=["empty", "some"])
def test_instance_has_its_properties_already(properties: dict[str, Any]) -> None:
    """Others beside it would be checked by nobody, so the event is refused."""
    assert unfit(Event(SignedUp(plan="pro"), properties=properties)) == (
        "properties must be None beside an instance of SignedUp, which has them all; "
        "give them to SignedUp(...), or what is no field to a scope"
    )


UNCHECKED: dict[str, tuple[Callable[[], EventModel], str]] = {
    "of another type": (lambda: SignedUp.model_construct(plan="pro", seats=object()), "seats (int_type)"),
    "another literal": (lambda: SignedUp.model_construct(plan="hunter2"), "plan (literal_error)"),
    "a field missing": (lambda: SignedUp.model_construct(), "plan (missing)"),
    "copied with a change": (
        lambda: SignedUp(plan="pro").model_copy(update={"plan": "hunter2"}),
        "plan (literal_error)",
    ),
    "never initialised": (lambda: SignedUp.__new__(SignedUp), "plan (missing)"),
}


@pytest.mark.parametrize("how", UNCHECKED)
def test_what_was_made_past_validation_is_validated(how: str) -> None:
    """By ``model_construct()`` or a changed copy: it cannot bring in what the schema excludes."""
    make, text = UNCHECKED[how]

    assert unfit(Event(make())) == f"SignedUp does not validate: {text}"


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, SignedUp.model_copy, lambda event: pickle.loads(pickle.dumps(event))],  # noqa: S301  # our own
    ids=["copy", "deepcopy", "model_copy", "pickle"],
)
def test_copy_is_as_good(copied: Callable[[SignedUp], SignedUp]) -> None:
    """Between processes, too."""
    event = SignedUp(plan="pro")

    assert copied(event) == event
    assert Event(copied(event)) == Event(event)


def test_validator_changes_a_value_once() -> None:
    """Also that of a copy, which is validated again, by the names of its fields."""

    class Hashed(EventModel):
        email: str = Field(alias="$email")

        @field_validator("email")
        @classmethod
        def _hide(cls, value: str) -> str:
            return f"#{value}"

    event = Hashed.model_validate({"$email": "a@example.com"})

    assert Event(event).properties == Event(copy.copy(event)).properties == {"$email": "#a@example.com"}


def test_list_that_was_changed_afterwards_is_refused() -> None:
    """A frozen model may hold what is not; what is not of the field's type does not leave."""

    class Listed(EventModel):
        numbers: list[int]

    event = Listed(numbers=[1])
    event.numbers.append("hunter2")  # type: ignore[arg-type]  # it is wrong

    # Which one it is, older versions of pydantic do not tell.
    assert re.fullmatch("Listed holds in (numbers|a field) what is not of its type", unfit(Event(event)))


class Hostile(EventModel):
    what: str

    @field_validator("what")
    @classmethod
    def _validate(cls, value: str) -> str:
        if value == "validator":
            raise asyncio.CancelledError("hunter2")
        return value

    @field_serializer("what")
    def _serialize(self, value: str) -> str:
        if value == "serializer":
            raise asyncio.CancelledError("hunter2")
        if value == "error":
            raise RuntimeError("hunter2")
        return value


class SilentError(ValueError):
    def __str__(self) -> str:
        raise RuntimeError("hunter2")


class Odd(EventModel):
    what: str

    @field_validator("what")
    @classmethod
    def _validate(cls, value: str) -> str:
        raise SilentError


class Texts(EventModel):
    what: str = ""

    @model_serializer
    def _serialize(self) -> Any:
        return "hunter2"


class HostileMapping(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise GeneratorExit("hunter2")

    def __iter__(self) -> Iterator[str]:
        raise GeneratorExit("hunter2")

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Event(Hostile, properties={"what": "validator"}), "Hostile raised CancelledError when it was read"),
        (Event(Hostile(what="serializer")), "Hostile raised CancelledError when it was read"),
        (Event(Hostile(what="error")), "Hostile raised RuntimeError when it was read"),
        (Event(Odd, properties={"what": "hunter2"}), "Odd raised RuntimeError when it was read"),
        (Event(Texts()), "Texts is written as a value of type str, not as an object"),
        (Event(SignedUp, properties=HostileMapping()), "SignedUp raised GeneratorExit when it was read"),
    ],
    ids=["validator", "serializer", "serializer's error", "error without a text", "no object", "mapping"],
)
def test_code_of_a_model_costs_its_event_alone(event: Event, text: str) -> None:
    """Whatever it raises stays with the event, and its text, which may hold a payload, is told nobody."""
    assert unfit(event) == text


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_end_of_the_program_passes_through(error: type[BaseException]) -> None:
    """Ctrl-C in a validator or a serializer is no fault of the event."""

    class Ending(EventModel):
        what: int

        @field_validator("what")
        @classmethod
        def _validate(cls, value: int) -> int:
            if value == 1:
                raise error
            return value

        @field_serializer("what")
        def _serialize(self, value: int) -> int:
            raise error

    with pytest.raises(error):
        Event(Ending, properties={"what": 1})
    with pytest.raises(error):
        Event(Ending(what=2))


def test_configuration_of_a_model_is_its_own() -> None:
    """All of it but ``extra`` and ``frozen``; a strict model converts nothing."""

    class Strict(EventModel, strict=True):
        model_config = ConfigDict(title="A strict one")

        number: int

    assert unfit(Event(Strict, properties={"number": "5"})) == "Strict does not validate: number (int_type)"
    assert Event(Strict(number=5)).event == "strict"


@pytest.mark.parametrize("event", ["e", int, 5, None, BaseModel, Address(street="x")], ids=str)
def test_anything_else_is_left_as_it_is(event: Any) -> None:
    """Whether it may be captured is decided there."""
    assert Event(event, properties={"a": 1}).event is event
