"""The repair pass: whatever is in a value, JSON comes out, the healthy part unchanged, in bounded time."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import gc
import math
import numbers
import pathlib
import sys
import time
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import orjson
import pytest
import uuid_utils
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from eventpipe.encoding.plain import is_plain
from eventpipe.encoding.repair import MAX_DEPTH, MAX_SURROGATES, MAX_TEXT, MAX_WORK, NATIVE, Repairs, repair
from eventpipe.errors import InvalidEventError
from tests.scale import SCALE

LONE = "\ud800"
BIG = 10**30
UTC = datetime.UTC


class Thing:
    """Something that JSON knows nothing of, with a telltale ``repr``."""

    def __repr__(self) -> str:
        return "secret-42"

    __str__ = __repr__


class Hostile:
    """Every way to ask it what it is raises."""

    def __getattribute__(self, name: str) -> Any:
        raise asyncio.CancelledError(name)

    def __repr__(self) -> str:
        raise ZeroDivisionError

    __str__ = __repr__

    def __hash__(self) -> int:
        raise KeyError

    def __eq__(self, other: object) -> bool:
        raise KeyError


class Broken(Mapping[str, int]):
    """A mapping that raises after its first member."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getitem__(self, key: str) -> int:
        if key == "a":
            return 1
        raise self.error

    def __iter__(self) -> Iterator[str]:
        return iter("abc")

    def __len__(self) -> int:
        return 3


class Endless(Broken):
    """A mapping that never ends, and says that it is empty."""

    def __init__(self) -> None:
        super().__init__(KeyError())
        self.read = 0

    def __getitem__(self, key: str) -> int:
        self.read += 1
        return self.read

    def __iter__(self) -> Iterator[str]:
        return iter(lambda: "k", None)

    def __len__(self) -> int:
        return 0


class LyingText(str):
    """Text that would write into the envelope if it were asked to print itself."""

    def __str__(self) -> str:
        return '"},"event":"forged'

    def __hash__(self) -> int:
        raise KeyError

    def isascii(self) -> bool:
        raise KeyError

    def encode(self, *_: Any) -> bytes:
        raise KeyError


class LyingInt(int):
    def __index__(self) -> int:
        raise KeyError

    __int__ = __index__

    def __le__(self, other: object) -> bool:
        raise KeyError


class LyingDict(dict[str, Any]):
    def items(self) -> Any:
        raise KeyError

    def __iter__(self) -> Any:
        raise KeyError

    def __len__(self) -> int:
        return 10**9


class LyingList(list[Any]):
    def __iter__(self) -> Any:
        raise KeyError

    def __len__(self) -> int:
        return 10**9


@numbers.Integral.register
class Whole:
    """A whole number of a foreign library."""

    def __index__(self) -> int:
        return 7


class LyingDecimal(decimal.Decimal):
    def __str__(self) -> str:
        return '0,"event":"forged"'


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Order:
    number: int
    lines: list[decimal.Decimal]
    _private: int = 0


@dataclasses.dataclass(slots=True)
class Slotted:
    number: int


class Model(BaseModel):
    at: datetime.date
    secret: SecretStr = SecretStr("hush")


class Colour(enum.Enum):
    RED = "red"
    ODD = decimal.Decimal("1.50")


class Word(enum.StrEnum):
    HELLO = "hello"


class BadZone(datetime.tzinfo):
    def utcoffset(self, _: datetime.datetime | None) -> datetime.timedelta:
        raise KeyError

    dst = utcoffset

    def tzname(self, _: datetime.datetime | None) -> str:
        raise KeyError


class OddMeta(type):
    def __hash__(cls) -> int:
        raise KeyError

    def __eq__(cls, other: object) -> bool:
        raise KeyError

    def __getattribute__(cls, name: str) -> Any:
        raise KeyError


class OfOddMeta(metaclass=OddMeta):
    pass


def json_of(value: object, default: Callable[[Any], Any] | None = None) -> tuple[Any, int]:
    made, repairs = repair(value, default)
    return orjson.loads(orjson.dumps(made)), repairs


def nested(levels: int, innermost: object = 1) -> Any:
    value = innermost
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1: "a", None: "b", 1.5: "d", False: "e"}, {"1": "a", "null": "b", "1.5": "d", "false": "e"}),
        ({Word.HELLO: 1, uuid.UUID(int=1): 2}, {"hello": 1, "00000000-0000-0000-0000-000000000001": 2}),
        ({datetime.date(2026, 1, 2): 1, decimal.Decimal("1.50"): 2}, {"2026-01-02": 1, "1.50": 2}),
        ([LyingText("b")], ["b"]),
        ([LyingInt(3)], [3]),
        (LyingDict(a=1), {"a": 1}),
        (LyingList([1, 2]), [1, 2]),
        (decimal.Decimal("10.50"), 10.5),
        (decimal.Decimal("NaN"), None),
        (decimal.Decimal("-Infinity"), None),
        (decimal.Decimal("1E+400"), "1E+400"),
        (LyingDecimal("7"), 7),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({"b", 1, None}, ["b", 1, None]),
        (Order(7, [decimal.Decimal("1.5")]), {"number": 7, "lines": [1.5]}),
        (Slotted(7), {"number": 7}),
        (Model(at=datetime.date(2026, 1, 2)), {"at": "2026-01-02", "secret": "**********"}),
        (Point(1, 2), [1, 2]),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (uuid_utils.UUID("00000000-0000-0000-0000-000000000001"), "00000000-0000-0000-0000-000000000001"),
        (Colour.RED, "red"),
        (Colour.ODD, 1.5),
        (pathlib.PurePosixPath("/var/log"), "/var/log"),
        (types.MappingProxyType({"a": 1}), {"a": 1}),
        (collections.deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"b": 1, "a": 2}.keys(), ["b", "a"]),
        ({"b": 1, "a": 2}.values(), [1, 2]),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05Z"),
        (datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006Z"),
        (
            datetime.datetime(2026, 7, 2, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),
            "2026-07-02T00:00:00+02:00",
        ),
        (
            datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(seconds=90))),
            "2026-01-01T23:58:30Z",
        ),
        (datetime.time(1, 2), "01:02:00"),
        (datetime.timedelta(minutes=1.5), 90.0),
        (math.nan, None),
        (-math.inf, None),
        (fractions.Fraction(1, 2), 0.5),
        (Whole(), 7),
        (orjson.Fragment(b'{"a":1}'), {"a": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_an_answer_is_converted_and_not_counted(value: object, expected: object) -> None:
    """Common Python values have a JSON form, and using it is no repair."""
    assert json_of(value) == (expected, 0)
    assert json_of({"deep": [value]}) == ({"deep": [expected]}, 0)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: f"a{LONE}b", "a\ufffdb"),
        (lambda: "\ud83d\ude00 as two halves", "\ufffd\ufffd as two halves"),
        (lambda: {f"k{LONE}": 1}, {"k\ufffd": 1}),
        (lambda: BIG, str(BIG)),
        (lambda: -(2**63) - 1, "-9223372036854775809"),
        (lambda: 2**64, "18446744073709551616"),
        (lambda: 10**5000, "<int of 16610 bits>"),
        (lambda: b"secret", "<bytes>"),
        (lambda: bytearray(b"secret"), "<bytes>"),
        (lambda: memoryview(b"secret"), "<bytes>"),
        (lambda: Thing(), "<type Thing>"),
        (lambda: Thing, "<type type>"),
        (lambda: len, "<type builtin_function_or_method>"),
        (lambda: (n for n in [1]), "<type generator>"),
        (lambda: Hostile(), "<type Hostile>"),
        (lambda: OfOddMeta(), "<error KeyError>"),
        (lambda: Broken(KeyError("secret")), "<error KeyError>"),
        (lambda: Broken(asyncio.CancelledError()), "<error CancelledError>"),
        (lambda: Broken(GeneratorExit()), "<error GeneratorExit>"),
        (lambda: Broken(RecursionError()), "<error RecursionError>"),
        (lambda: Broken(MemoryError()), "<error MemoryError>"),
        (lambda: object.__new__(Slotted), "<error AttributeError>"),
        (lambda: object.__new__(uuid.UUID), "<error AttributeError>"),
        (lambda: datetime.datetime(2026, 1, 2, tzinfo=BadZone()), "<error KeyError>"),
        (lambda: orjson.Fragment(b"{nonsense"), "<type Fragment>"),
        (lambda: {(1, 2): 3}, {"<type tuple>": 3}),
        (lambda: {Thing: 3}, {"<type type>": 3}),
        (lambda: {b"secret": 3}, {"<type bytes>": 3}),
        (lambda: {orjson.Fragment(b"\xff"): 3}, {"<type Fragment>": 3}),
        (lambda: {orjson.Fragment(cast("Any", 5)): 3}, {"<type Fragment>": 3}),
    ],
    ids=lambda value: str(value) if not callable(value) else "",
)
def test_what_has_no_answer_is_named_by_its_type(make: Callable[[], object], expected: object) -> None:
    """A value that JSON cannot carry costs itself alone, is counted once, and shows nothing of its content."""
    assert json_of(make()) == (expected, 1)
    assert json_of({"odd": make(), "well": 1}) == ({"odd": expected, "well": 1}, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_interruption_of_the_process_is_not_swallowed(error: type[BaseException]) -> None:
    """Ctrl-C and ``sys.exit()`` inside foreign code end what they were meant to end."""
    with pytest.raises(error):
        repair({"a": Broken(error())})


def test_cycle_is_cut_where_it_closes() -> None:
    """A value inside itself is named there; one that is merely used twice is written twice."""
    loop: dict[str, Any] = {"name": "x"}
    loop["self"] = [loop]
    shared = [1, Thing()]

    assert json_of(loop) == ({"name": "x", "self": ["<cycle>"]}, 1)
    assert json_of({"a": shared, "b": shared}) == ({"a": [1, "<type Thing>"], "b": [1, "<type Thing>"]}, 2)


def test_cycle_through_an_answer_is_cut() -> None:
    """A dataclass, a mapping or ``json_default`` may lead back to itself as well."""
    order = Order(1, [])
    order.lines.append(order)  # type: ignore[arg-type]
    inner: dict[str, Any] = {}
    inner["me"] = types.MappingProxyType(inner)

    assert json_of(order) == ({"number": 1, "lines": ["<cycle>"]}, 1)
    assert json_of(inner) == ({"me": {"me": "<cycle>"}}, 1)
    assert json_of(Thing(), lambda thing: {"again": thing}) == ({"again": "<cycle>"}, 1)


def test_depth_is_cut_where_orjson_would_refuse() -> None:
    """Exactly what fits inside an envelope passes; a level more is cut, and 5 000 levels cost no recursion."""
    fits, too_deep = nested(MAX_DEPTH, Thing()), nested(MAX_DEPTH + 1, Thing())

    orjson.dumps({"properties": nested(MAX_DEPTH)})
    with pytest.raises(TypeError):
        orjson.dumps({"properties": nested(MAX_DEPTH + 1)})
    assert orjson.dumps({"properties": repair(fits)[0]}) == orjson.dumps(
        {"properties": nested(MAX_DEPTH, "<type Thing>")}
    )
    assert orjson.dumps({"properties": repair(too_deep)[0]}) == orjson.dumps(
        {"properties": nested(MAX_DEPTH, "<depth>")}
    )
    assert repair(nested(5000))[1] == 1


def test_keys_that_are_written_alike_are_all_kept() -> None:
    """No member is lost to another's key: text keeps its name, and the others get a number."""
    value = {1: "int", "1": "text", (1,): "a", (2,): "b", (3,): "c", "<type tuple>~2": "taken"}

    assert json_of(value) == (
        {
            "1~2": "int",
            "1": "text",
            "<type tuple>": "a",
            "<type tuple>~3": "b",
            "<type tuple>~4": "c",
            "<type tuple>~2": "taken",
        },
        6,
    )


def test_foreign_key_is_never_hashed_or_compared() -> None:
    """A mapping may hand out keys that raise when hashed; they are named like any other."""

    class OddKeys(Broken):
        def items(self) -> Any:
            return [(Hostile(), 1), (LyingText("text"), 2)]

    assert json_of(OddKeys(KeyError())) == ({"<type Hostile>": 1, "text": 2}, 1)


def test_set_is_written_in_one_order() -> None:
    """Texts of a set are in their order, a mixture in that of its JSON, whatever the hashes of this process are."""
    texts = {f"t{n}" for n in range(10)}

    assert json_of(texts) == (sorted(texts), 0)
    assert json_of({*texts, *range(10), None}) == ([*sorted(texts), *range(10), None], 0)


def test_whole_number_of_another_library_stays_whole() -> None:
    """A registered ``Integral`` is written without a fraction."""
    assert orjson.dumps(repair([Whole(), LyingInt(3)])[0]) == b"[7,3]"


def test_default_is_asked_first_and_may_decline() -> None:
    """The caller's answer comes before the built-in ones; ``TypeError`` means that it has none."""

    def default(value: object) -> object:
        if isinstance(value, Thing):
            return {"thing": decimal.Decimal("1.5")}
        if isinstance(value, datetime.date):
            return value.year
        raise TypeError

    value = {"a": Thing(), "b": datetime.date(2026, 1, 2), "c": {1, 2}, "d": b""}

    assert json_of(value, default) == ({"a": {"thing": 1.5}, "b": 2026, "c": [1, 2], "d": "<bytes>"}, 1)


def test_default_is_not_asked_for_what_json_can_carry() -> None:
    """Text, numbers, mappings, enums and UUIDs never reach ``json_default``, whatever their subclass."""
    asked: list[object] = []

    def default(value: object) -> object:
        asked.append(value)
        raise TypeError

    repair([LyingText("x"), LyingInt(1), LyingDict(), LyingList(), Colour.RED, uuid.UUID(int=1), Thing()], default)

    assert [type(value) for value in asked] == [Thing]


def test_default_that_returns_its_value_has_declined() -> None:
    """The built-in answers hold where ``json_default`` hands back what it was given."""
    assert json_of({"a": decimal.Decimal("1.5")}, lambda value: value) == ({"a": 1.5}, 0)


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        (lambda value: value, "<type Thing>"),
        (lambda _: Thing(), "<type Thing>"),
        (lambda _: None, None),
        (lambda _: 1 / 0, "<error ZeroDivisionError>"),
    ],
    ids=["itself", "another", "none", "raises"],
)
def test_useless_default_harms_its_value_alone(default: Callable[[Any], Any], expected: object) -> None:
    """Whatever ``json_default`` does, it costs one value."""
    assert json_of({"a": Thing(), "b": 1}, default)[0] == {"a": expected, "b": 1}


def test_default_that_multiplies_ends() -> None:
    """An answer that always holds two more questions ends at the bound, not with the memory."""
    with pytest.raises(InvalidEventError, match="has too much to repair") as caught:
        repair(Thing(), lambda _: [Thing(), Thing()])

    assert caught.value.limit == MAX_WORK
    assert len(caught.value.path) <= 200


def test_large_healthy_part_does_not_count_as_work() -> None:
    """One odd value beside an array that alone is above the bound is repaired."""
    numbers = list(range(2 * MAX_WORK))

    made, repairs = repair({"numbers": numbers, "odd": Thing()})

    assert repairs == 1
    assert orjson.loads(orjson.dumps(made)) == {"numbers": numbers, "odd": "<type Thing>"}


def test_healthy_parts_are_looked_for_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding a container to see whether it is healthy is given up after three that were not."""
    tried: list[object] = []

    def looked_at(value: object) -> bool:
        tried.append(value)
        return is_plain(value)

    monkeypatch.setattr("eventpipe.encoding.repair.is_plain", looked_at)

    repair([[1, 2], *[[Thing()] for _ in range(50)]])

    assert len(tried) == 1 + 3


def test_digits_are_bounded_whatever_the_process_allows() -> None:
    """Writing a number of thousands of digits takes quadratic time, so it is not tried where Python would let us."""
    allowed = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        many = json_of(10**5000)
        sys.set_int_max_str_digits(640)
        few = json_of(10**1000)
    finally:
        sys.set_int_max_str_digits(allowed)

    assert many == ("<int of 16610 bits>", 1)
    assert few == ("<int of 3322 bits>", 1)


def test_caller_keeps_what_was_passed() -> None:
    """The pass reads; it changes nothing of the caller's."""
    value = {"a": [Thing(), {1: {2}}], 3: b""}
    before = repr(value)

    repair(value)

    assert repr(value) == before


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ({"cart": [{}, {"price": Thing()}]}, "properties.cart[1].price", "is of type Thing"),
        ({"a": {"b c": b""}}, "properties.a['b c']", "is bytes"),
        ({"a": [BIG]}, "properties.a[0]", "is an integer of 100 bits, and JSON carries 64"),
        ({"a": {LONE: 1}}, "properties.a", "has a key that holds a lone surrogate"),
        ({"a": LONE}, "properties.a", "holds a lone surrogate"),
        ({"a": {1: 1, "1": 2}}, "properties.a", "has two keys that are both written '1'"),
        ({"a": {(1,): 1}}, "properties.a", "has a key of type tuple"),
        ({"a": Broken(KeyError("secret"))}, "properties.a", "raised KeyError while it was read"),
        ({"a": orjson.Fragment(b"{")}, "properties.a", "is an orjson.Fragment that holds no JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_strict_names_the_place_and_the_fault(value: object, path: str, words: str) -> None:
    """Where repairs are refused, the first one is told by its path and its reason, without the value."""
    with pytest.raises(InvalidEventError) as caught:
        repair(value, None, Repairs(strict=True))

    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path} {words}")
    assert "secret" not in str(caught.value)


def test_strict_takes_conversions() -> None:
    """A ``Decimal`` or an integer key is no fault."""
    made, _ = repair({1: decimal.Decimal("1.5"), "b": {2}}, None, Repairs(strict=True))

    assert orjson.dumps(made) == b'{"1":1.5,"b":[2]}'


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**80), max_value=2**80),
    st.floats(),
    st.text(),
    st.text(alphabet=st.characters(codec=None), max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.fractions(),
    st.complex_numbers(),
    st.sampled_from([Thing(), Broken(KeyError()), Colour.RED, Word.HELLO, LyingInt(2**70)]),
    st.builds(Order, st.integers(), st.lists(st.decimals(), max_size=2)),
    st.frozensets(st.integers() | st.text(max_size=3), max_size=3),
)
KEYS = st.one_of(
    st.text(max_size=3),
    st.text(alphabet=st.characters(codec=None), max_size=2),
    st.integers(),
    st.none(),
    st.floats(),
    st.tuples(st.integers()),
    st.dates(),
    st.decimals(allow_nan=False),
    st.sampled_from(Colour),
)
ODD = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.tuples(inner, inner)
        | st.builds(types.MappingProxyType, st.dictionaries(KEYS, inner, max_size=3))
    ),
    max_leaves=20,
)
HEALTHY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(ODD)
@settings(max_examples=300 * SCALE)
def test_whatever_is_passed_json_comes_out(value: object) -> None:
    """The copy encodes, decodes, keeps every member and element, and a second pass finds nothing to repair."""
    made, _ = repair(value)

    decoded = orjson.loads(orjson.dumps(made))

    assert repair(decoded)[1] == 0
    if type(value) in (dict, list, tuple):
        assert len(decoded) == len(value)  # type: ignore[arg-type]


@given(HEALTHY)
def test_healthy_value_is_returned_unchanged(value: object) -> None:
    """What orjson takes as it is comes out byte for byte the same, without a repair."""
    made, repairs = repair(value)

    assert orjson.dumps(made) == orjson.dumps(value)
    assert repairs == 0


@given(HEALTHY, LEAVES)
def test_odd_value_leaves_its_neighbours_alone(value: object, odd: object) -> None:
    """Next to anything odd, a healthy value is written as if it were alone."""
    made, _ = repair({"odd": odd, "healthy": value})

    assert orjson.dumps(orjson.loads(orjson.dumps(made))["healthy"]) == orjson.dumps(orjson.loads(orjson.dumps(value)))


def test_native_options_give_what_ends_the_process_to_the_pass() -> None:
    """The library is never handed a dataclass or a datetime: half-built ones and raising zones have ended processes."""
    for value in (Slotted(1), datetime.datetime(2026, 1, 2)):
        with pytest.raises(TypeError):
            orjson.dumps(value, None, NATIVE)


HUGE = 10 * 1024 * 1024


BOUNDS: dict[str, tuple[Callable[[], object], int | None]] = {
    "one-surrogate-in-10-MiB": (lambda: "x" * HUGE + LONE, MAX_TEXT),
    "surrogates-only": (lambda: LONE * (MAX_SURROGATES + 2), MAX_SURROGATES),
    "surrogates-in-many-texts": (lambda: [LONE * 1000] * 101, MAX_SURROGATES),
    "not-ascii": (lambda: "\u00e9" * (MAX_TEXT - 1) + LONE, None),
    "not-ascii-in-many-texts": (
        lambda: ["\u00e9" * (MAX_TEXT // 2), "\u00e8" * (MAX_TEXT // 2), "\u00e9", LONE],
        MAX_TEXT,
    ),
    "surrogates-in-a-list": (lambda: [LONE] * HUGE, MAX_WORK),
    "unknown": (lambda: [Thing()] * 10_000, MAX_WORK),
    "some-unknown": (lambda: [Thing()] * 4000, None),
    "decimals": (lambda: [decimal.Decimal(n) for n in range(20_000)], MAX_WORK),
    "some-decimals": (lambda: [decimal.Decimal(n) for n in range(8000)], None),
    "4200-digits": (lambda: [10**4200] * 10_000, MAX_WORK),
    "some-4200-digits": (lambda: [10**4200] * 200, MAX_WORK),
    "5000-digits": (lambda: [10**5000] * 10_000, MAX_WORK),
    "tuple-keys": (lambda: {(n,): n for n in range(50_000)}, MAX_WORK),
    "int-keys": (lambda: dict.fromkeys(range(50000), 1), MAX_WORK),
    "some-int-keys": (lambda: dict.fromkeys(range(10000), 1), None),
    "tuples": (lambda: [{"a": (1,)} for _ in range(50_000)], MAX_WORK),
    "mixed-sets": (lambda: [{n, "x"} for n in range(20_000)], MAX_WORK),
    "large-set": (lambda: set(range(100_000)), MAX_WORK),
    "set": (lambda: set(range(30_000)), None),
    "tuple": (lambda: (1,) * (MAX_WORK + 1), MAX_WORK),
    "5000-deep": (lambda: nested(5000), None),
    "10-MiB-text": (lambda: {"a": "x" * HUGE, "b": Thing()}, None),
    "million-numbers": (lambda: {"a": list(range(1_000_000)), "b": Thing()}, None),
    "wide": (lambda: {str(n): 1 for n in range(MAX_WORK)}, MAX_WORK),
    "endless": (Endless, MAX_WORK),
    "endless-inside": (lambda: {"a": Endless()}, MAX_WORK),
}


@pytest.mark.wallclock
@pytest.mark.parametrize(("make", "limit"), BOUNDS.values(), ids=BOUNDS)
def test_nothing_takes_longer_than_a_moment(make: Callable[[], object], limit: int | None) -> None:
    """Repaired or refused, a value takes at most 50 ms of this thread's time (150 here, for machines at work).

    The quickest of three counts, without the collector and without what traces the lines that tests pass: what else is
    in this process is not what is measured.
    """
    taken = []
    gc.collect()
    gc.disable()
    tracer = sys.gettrace()
    sys.settrace(None)
    try:
        for _ in range(3):
            value = make()
            refused = None
            before = time.thread_time()
            try:
                orjson.dumps(repair(value)[0])
            except InvalidEventError as error:
                refused = error.limit
            taken.append(time.thread_time() - before)
    finally:
        sys.settrace(tracer)
        gc.enable()

    assert min(taken) < 0.15
    assert refused == limit
    if isinstance(value, Endless):
        assert value.read < MAX_WORK / 4
