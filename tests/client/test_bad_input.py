"""What a caller should not have passed: it is repaired, or refused alone, in a moment, and its neighbours arrive."""

from __future__ import annotations

import asyncio
import gc
import math
import time
import uuid as uuidlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import orjson
import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    ClosedError,
    DeliveryError,
    DropReason,
    Event,
    InvalidEventError,
    RetryPolicy,
    TransientSinkError,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import check_ledger

MIB = 1024 * 1024
LONE = "\ud800"
NEIGHBOURS = 19


class Unknown:
    """Nothing that JSON has a form for; a payload must not leave by its ``repr``."""

    def __repr__(self) -> str:
        return "hunter2"


class Hostile:
    """Raises whatever it is asked, a cancellation among it."""

    def __init__(self, error: type[BaseException]) -> None:
        object.__setattr__(self, "_error", error)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")

    def _raise(self, *_: object) -> Any:
        raise object.__getattribute__(self, "_error")

    __str__ = __repr__ = __eq__ = __bool__ = __len__ = __iter__ = __format__ = __index__ = __float__ = _raise
    __hash__ = _raise


class HostileText(str):
    """A text that raises whatever it is asked."""

    __slots__ = ()

    def _raise(self, *_: object) -> Any:
        raise asyncio.CancelledError

    __str__ = __repr__ = __eq__ = __hash__ = __len__ = __iter__ = __format__ = __getitem__ = _raise


class RaisesWhileRead(Mapping[str, int]):
    """A mapping that ends in an error after its first member."""

    def __getitem__(self, key: str) -> int:
        if key == "first":
            return 1
        raise ConnectionError("hunter2")

    def __iter__(self) -> Iterator[str]:
        return iter(["first", "second"])

    def __len__(self) -> int:
        return 2


class FalseKey:
    """A key that can be put into a dict once, and raises when it is asked again."""

    def __init__(self) -> None:
        self.asked = 0

    def __hash__(self) -> int:
        self.asked += 1
        if self.asked > 1:
            raise KeyError
        return 1

    def __eq__(self, other: object) -> bool:
        raise KeyError


def cyclic() -> dict[str, Any]:
    value: dict[str, Any] = {"list": []}
    value["list"].append(value)
    return value


def self_containing() -> list[Any]:
    value: list[Any] = [1]
    value.append(value)
    return value


def deep(kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    value: Any = "bottom"
    for _ in range(5000):
        value = [value] if kind is list else {"a": value}
    return value


def generator() -> Iterator[int]:
    yield from range(3)


# Values of one property. The event arrives; what stands in their place is what tests of the repair pass are about.
REPAIRED: dict[str, Callable[[], Any]] = {
    "unserialisable": Unknown,
    "many unserialisable": lambda: [Unknown() for _ in range(4000)],
    "cyclic": cyclic,
    "self-containing list": self_containing,
    "5000 lists deep": lambda: deep(list),
    "5000 dicts deep": lambda: deep(dict),
    "lone surrogate": lambda: f"a{LONE}b",
    "lone surrogate in a key": lambda: {LONE: 1},
    "int of 31 digits": lambda: 10**30,
    "int of 5000 digits": lambda: -(10**5000),
    "keys that are tuples": lambda: {(1, 2): "a", (3, 4): "b"},
    "keys that are hostile": lambda: {FalseKey(): 1},
    "10 MiB of bytes": lambda: b"x" * 10 * MIB,
    "mapping that raises while read": RaisesWhileRead,
    "hostile object": lambda: Hostile(ZeroDivisionError),
    "object that raises CancelledError": lambda: Hostile(asyncio.CancelledError),
    "object that raises GeneratorExit": lambda: Hostile(GeneratorExit),
    "hostile objects in a list": lambda: [Hostile(KeyError)] * 100,
    "generator": generator,
    "coroutine function": lambda: generator,
    "class": lambda: Unknown,
}
CONVERTED: dict[str, Callable[[], Any]] = {
    "NaN": lambda: math.nan,
    "infinity": lambda: [math.inf, -math.inf],
    "NaN among decimals": lambda: Decimal("NaN"),
    "keys that are numbers": lambda: {1: "a", 2.5: "b", None: "c", False: "d"},
    "set": lambda: {1, 2, 3},
    "hostile text": lambda: HostileText("x"),
}
TOO_LARGE: dict[str, Callable[[], Any]] = {
    "10 MiB of text": lambda: "x" * 10 * MIB,
    "10 MiB in pieces": lambda: ["x" * 1000] * (10 * 1024),
    "million numbers": lambda: list(range(1_000_000)),
}
INVALID: dict[str, Callable[[], Any]] = {
    "10 MiB of text with a lone surrogate": lambda: "x" * 10 * MIB + LONE,
    "10 MiB of lone surrogates": lambda: LONE * 10 * MIB,
    "too many unserialisable": lambda: [Unknown()] * 100_000,
    "too many keys that are tuples": lambda: {(n,): n for n in range(100_000)},
    "too many ints of 4000 digits": lambda: [10**4000] * 10_000,
}


def as_property(make: Callable[[], Any]) -> Callable[[], Event]:
    return lambda: Event("bad", distinct_id="u1", properties={"good": 1, "bad": make()})


def properties_are(make: Callable[[], Any]) -> Callable[[], Event]:
    return lambda: Event("bad", distinct_id="u1", properties=make())


def having(**arguments: Any) -> Callable[[], Event]:
    return lambda: Event(**{"event": "bad", "properties": {"good": 1}, **arguments})


# The event, the reason it is refused with (``None``: it arrives), and whether that counts as a repair.
ROWS: dict[str, tuple[Callable[[], Event], DropReason | None, bool]] = {
    **{name: (as_property(make), None, True) for name, make in REPAIRED.items()},
    **{name: (as_property(make), None, False) for name, make in CONVERTED.items()},
    **{name: (as_property(make), DropReason.TOO_LARGE, False) for name, make in TOO_LARGE.items()},
    **{name: (as_property(make), DropReason.INVALID, False) for name, make in INVALID.items()},
    "properties that raise while read": (properties_are(RaisesWhileRead), DropReason.INVALID, False),
    "properties that are hostile": (properties_are(lambda: Hostile(KeyError)), DropReason.INVALID, False),
    "properties that are a list": (properties_are(lambda: [("a", 1)]), DropReason.INVALID, False),
    "properties that are a text": (properties_are(lambda: "a"), DropReason.INVALID, False),
    "properties that hold themselves": (properties_are(cyclic), None, True),
    "name that is empty": (having(event=""), DropReason.INVALID, False),
    "name that is hostile": (having(event=Hostile(asyncio.CancelledError)), DropReason.INVALID, False),
    "name that is hostile text": (having(event=HostileText("bad")), None, False),
    "name that is no text": (having(event=7), DropReason.INVALID, False),
    "name with a lone surrogate": (having(event=f"bad{LONE}"), None, True),
    "name of 10 MiB": (having(event="x" * 10 * MIB), DropReason.TOO_LARGE, False),
    "distinct_id that is hostile": (having(distinct_id=Hostile(asyncio.CancelledError)), None, True),
    "distinct_id that is a list": (having(distinct_id=[]), None, True),
    "uuid that is hostile": (having(uuid=Hostile(KeyError)), None, True),
    "uuid that is none": (having(uuid="x" * MIB), None, True),
    "timestamp that is hostile": (having(timestamp=Hostile(KeyError)), None, True),
    "timestamp that is a text": (having(timestamp="yesterday"), None, True),
    "headers that are hostile": (having(headers=Hostile(KeyError)), None, True),
    "headers that raise while read": (having(headers=RaisesWhileRead()), None, True),
    "headers with a line break": (having(headers={"a": "b\r\nc: d"}), None, True),
    "key that is hostile": (having(key=Hostile(GeneratorExit)), None, True),
    "key that is hostile text": (having(key=HostileText("k")), None, False),
    "lane that is hostile": (having(lane=Hostile(GeneratorExit)), None, True),
}

Way = Callable[[AsyncClient, list[Event]], Awaitable[object]]


async def one_by_one(client: AsyncClient, events: list[Event]) -> None:
    for event in events:
        await client.capture(event)


async def by_arguments(client: AsyncClient, events: list[Event]) -> None:
    for event in events:
        await client.capture(
            event.event,
            distinct_id=event.distinct_id,
            properties=event.properties,
            timestamp=event.timestamp,
            uuid=event.uuid,
            headers=event.headers,
            key=event.key,
            lane=event.lane,
        )


async def without_waiting(client: AsyncClient, events: list[Event]) -> None:
    for event in events:
        client.capture_nowait(event)


async def from_a_thread(client: AsyncClient, events: list[Event]) -> None:
    await client.capture("started")
    await asyncio.to_thread(lambda: [client.capture_nowait(event) for event in events])


async def delivered(client: AsyncClient, events: list[Event]) -> None:
    with suppress(DeliveryError):
        await client.deliver(events)


HOOKED = "past a before_send"
WAYS: dict[str, Way] = {
    "capture(Event)": one_by_one,
    "capture(arguments)": by_arguments,
    "capture_nowait": without_waiting,
    "capture_many": AsyncClient.capture_many,
    HOOKED: AsyncClient.capture_many,
    "from a thread": from_a_thread,
    "deliver": delivered,
}


@pytest.mark.asyncio
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("make", "reason", "counts"), ROWS.values(), ids=ROWS)
async def test_bad_event_costs_at_most_itself(
    make: Callable[[], Event], reason: DropReason | None, counts: bool, way: str
) -> None:
    """Repaired or refused, the event beside it in every way to capture arrives, and the numbers say what happened."""
    sink = MemorySink()
    events = [Event("good", properties={"number": number}) for number in range(NEIGHBOURS)]
    events.insert(NEIGHBOURS // 2, make())
    async with AsyncClient(sink, before_send=(lambda event: event) if way == HOOKED else None) as client:
        await WAYS[way](client, events)
        await client.flush()

    good = [event for event in sink.events if event.event == "good"]
    bad = [event for event in sink.events if event.event not in ("good", "started")]
    assert [event.properties["number"] for event in good] == list(range(NEIGHBOURS))
    assert len(bad) == (reason is None)
    assert all(orjson.loads(event.json)["properties"] for event in bad)
    assert b"hunter2" not in b"".join(event.json for event in bad)
    statistics = check_ledger(client, received=[event.uuid for event in sink.events], drained=True)
    assert statistics.dropped_by_reason == ({} if reason is None else {reason: 1})
    assert statistics.repaired == counts


@pytest.mark.asyncio
@pytest.mark.stress  # where nothing measures coverage, which takes time of its own
@pytest.mark.wallclock
@pytest.mark.parametrize("make", [make for make, _, _ in ROWS.values()], ids=ROWS)
async def test_bad_event_holds_its_caller_up_for_a_moment(make: Callable[[], Event]) -> None:
    """At most 50 ms of processor time, repaired or refused; the quickest of three counts, without the collector."""
    taken = []
    async with AsyncClient(MemorySink(), queue_events=1000) as client:
        await client.capture("started")
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                event = make()
                before = time.process_time()
                client.capture_nowait(event)
                taken.append(time.process_time() - before)
        finally:
            gc.enable()

    assert min(taken) < 0.05


@pytest.mark.asyncio
@pytest.mark.parametrize("error", [KeyError, asyncio.CancelledError, GeneratorExit])
async def test_hook_that_returns_something_hostile_costs_at_most_its_event(error: type[BaseException]) -> None:
    """``before_send`` drops the event as any error of it does; what a callback returns is nobody's business."""
    sink = MemorySink()
    hostile: Any = Hostile(error)
    async with AsyncClient(
        sink, before_send=lambda event: hostile if event.event == "bad" else event, on_drop=lambda outcome: hostile
    ) as client:
        await client.capture_many(["good", "bad", "good"])

    assert [event.event for event in sink.events] == ["good", "good"]
    statistics = check_ledger(client, drained=True)
    assert (statistics.delivered, statistics.dropped_by_reason) == (2, {DropReason.BEFORE_SEND: 1})


@pytest.mark.asyncio
async def test_callback_that_returns_something_hostile_costs_nothing() -> None:
    """Neither the attempt that it is told of nor the worker that tells it."""
    hostile: Any = Hostile(asyncio.CancelledError)
    attempts = []

    def fail_once(batch: Batch) -> None:
        attempts.append(batch.attempt)
        if len(attempts) == 1:
            raise TransientSinkError

    retry = RetryPolicy(initial=0.01)
    async with AsyncClient(CallbackSink(fail_once), retry=retry, on_error=lambda outcome: hostile) as client:
        await client.capture("e")
        await client.flush()

    assert attempts == [1, 2]
    assert check_ledger(client, drained=True).delivered == 1


async def later(event: Event) -> Event:
    return event


# What is given, and what the message has to say: the option, the value, the rule.
WRONG_OPTIONS: list[tuple[dict[str, Any], str, str, str]] = [
    *[
        ({name: value}, name, str(value), "at least 1")
        for name in ("queue_events", "queue_bytes", "batch_events", "max_batch_bytes", "max_event_bytes", "workers")
        for value in (0, -2)
    ],
    *[({"workers": value}, "workers", repr(value), "a whole number") for value in (2.5, True, "4")],
    *[
        ({name: value}, name, str(value), "finite")
        for name in ("max_batch_age", "max_event_age", "overflow_timeout", "flush_timeout", "close_timeout")
        for value in (math.nan, math.inf)
    ],
    *[({name: -1}, name, "-1", "at least 0") for name in ("max_batch_age", "flush_timeout", "close_timeout")],
    *[
        ({name: value}, name, str(value), "above 0")
        for name in ("max_event_age", "overflow_timeout")
        for value in (0, -1)
    ],
    ({"overflow": "block"}, "overflow", "'block'", "one of 'drop_newest'"),
    ({"overflow": "spill"}, "overflow", "'spill'", "needs a disk"),
    ({"durability": "disk"}, "durability", "'disk'", "one of 'memory'"),
    ({"durability": "power"}, "durability", "'power'", "needs a disk"),
    ({"spool": 7}, "spool", "7", "a folder"),
    ({"strict": "yes"}, "strict", "'yes'", "True or False"),
    ({"enabled": 1}, "enabled", "1", "True or False"),
    ({"retry": 3}, "retry", "3", "a RetryPolicy"),
    ({"clock": time.time}, "clock", "builtin_function_or_method", "a Clock"),
    ({"json_default": "str"}, "json_default", "'str'", "callable"),
    ({"new_id": 7}, "new_id", "7", "callable"),
    ({"json_default": later}, "json_default", "async def", "plain function"),
    ({"batch_events": 11, "queue_events": 10}, "batch_events", "11", "at most queue_events (10)"),
    ({"max_event_bytes": 11, "queue_bytes": 10}, "max_event_bytes", "11", "at most queue_bytes (10)"),
    ({"worker": 3}, "worker", "unknown option", "did you mean 'workers'"),
]
WRONG_POLICIES: list[tuple[dict[str, Any], str, str, str]] = [
    ({"max_attempts": 0}, "max_attempts", "0", "at least 1"),
    ({"initial": 0}, "initial", "0", "above 0"),
    ({"factor": 0.5}, "factor", "0.5", "at least 1"),
    ({"max_delay": math.nan}, "max_delay", "nan", "finite"),
    ({"min_delay": -1}, "min_delay", "-1", "at least 0"),
    ({"jitter": 1.5}, "jitter", "1.5", "at most 1"),
    ({"max_retry_after": math.inf}, "max_retry_after", "inf", "finite"),
    ({"initial": 2, "max_delay": 1}, "initial", "2", "at most "),
]


@pytest.mark.parametrize(
    ("given", "option", "value", "rule"),
    WRONG_OPTIONS,
    ids=[f"{option} {number}" for number, (_, option, *_) in enumerate(WRONG_OPTIONS)],
)
def test_wrong_option_is_refused_where_the_client_is_made(
    given: dict[str, Any], option: str, value: str, rule: str
) -> None:
    """The message names the option, the value and the rule."""
    with pytest.raises(ValueError, match=option) as caught:
        AsyncClient(MemorySink(), **given)

    assert value in str(caught.value)
    assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("given", "option", "value", "rule"), WRONG_POLICIES, ids=[str(given) for given, *_ in WRONG_POLICIES]
)
def test_wrong_retry_policy_is_refused_wherever_it_comes_from(
    given: dict[str, Any], option: str, value: str, rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same where it is made, and where the environment has it: then the message names the variable."""
    for name, one in given.items():
        monkeypatch.setenv(f"EVENTPIPE_RETRY_{name.upper()}", str(one))

    for make, called in ((lambda: RetryPolicy(**given), option), (lambda: AsyncClient(MemorySink()), option.upper())):
        with pytest.raises(ValueError, match=called) as caught:
            make()
        assert value in str(caught.value)
        assert rule in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "hooks", "error", "words"),
    [
        ([], {}, ValueError, "at least one sink"),
        ([print], {}, TypeError, "CallbackSink"),
        ([MemorySink], {}, TypeError, "a sink must be an object"),
        ([None], {}, TypeError, "not None"),
        ([MemorySink()], {"before_send": "scrub"}, TypeError, "before_send must be a function"),
        ([MemorySink()], {"before_send": later}, TypeError, "before_send must be a plain function"),
        ([MemorySink()], {"on_drop": later}, TypeError, "on_drop must be a plain function"),
        ([MemorySink()], {"on_error": 7}, TypeError, "on_error must be a function"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_sink_or_hook_is_refused(
    arguments: list[Any], hooks: dict[str, Any], error: type[Exception], words: str
) -> None:
    """At construction, with the way out."""
    with pytest.raises(error) as caught:
        AsyncClient(*arguments, **hooks)

    assert words in str(caught.value)


def test_sink_given_twice_is_refused() -> None:
    """Its counters would be those of two."""
    sink = MemorySink()
    with pytest.raises(ValueError, match="each sink must be given once"):
        AsyncClient(sink, sink)


UUID = "0191e4a0-0000-7000-8000-000000000001"


@pytest.mark.asyncio
@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
@pytest.mark.parametrize("given", [UUID, UUID.upper(), uuidlib.UUID(UUID)], ids=["text", "capitals", "UUID"])
@pytest.mark.parametrize("why", ["invalid", "before_send", "closed"])
async def test_refused_event_keeps_the_id_it_was_given(given: str | uuidlib.UUID, why: str, strict: bool) -> None:
    """Whoever made the id finds the event by it in the receipt and in what ``on_drop`` is told."""
    told: list[str] = []
    receipt = None
    client = AsyncClient(
        MemorySink(),
        before_send=lambda event: None if event.event == "before_send" else event,
        on_drop=lambda outcome: told.extend(outcome.uuids),
        strict=strict,
    )
    async with client:
        if why == "closed":
            await client.aclose()
        with suppress(InvalidEventError, ClosedError):
            receipt = await client.capture(why, properties=RaisesWhileRead() if why == "invalid" else None, uuid=given)

    assert told == [UUID]
    assert receipt is None or receipt.uuid == UUID
    assert check_ledger(client, drained=True).dropped_by_reason == {why: 1}


@pytest.mark.asyncio
@pytest.mark.parametrize("strict", [False, True], ids=["lenient", "strict"])
@pytest.mark.parametrize(
    "make",
    [lambda: "", lambda: "x" * 10 * MIB, lambda: LONE * MIB, lambda: 7, lambda: Hostile(asyncio.CancelledError)],
    ids=["empty", "long", "lone surrogates", "number", "hostile"],
)
async def test_refused_event_with_an_impossible_id_gets_another(make: Callable[[], Any], strict: bool) -> None:
    """What was given as an id is looked at with the same care there."""
    told: list[str] = []
    async with AsyncClient(
        MemorySink(), before_send=lambda event: None, on_drop=lambda outcome: told.extend(outcome.uuids), strict=strict
    ) as client:
        await client.capture("e", uuid=make())

    [uuid] = told
    assert str(uuidlib.UUID(uuid)) == uuid


@pytest.mark.asyncio
@pytest.mark.parametrize("new_id", [lambda: "short", lambda: 1 / 0], ids=["short", "raises"])
async def test_refusals_are_counted_whatever_makes_the_ids(new_id: Callable[[], Any]) -> None:
    """Where ``new_id`` makes no UUID, strict mode refuses each event; each is counted, and a close is told as one."""
    sink = MemorySink()
    client = AsyncClient(sink, strict=True, new_id=new_id)

    with pytest.raises(InvalidEventError, match=r"^uuid is not a UUID"):
        await client.capture("no id")
    with pytest.raises(InvalidEventError):
        client.capture_nowait("")
    with pytest.raises(InvalidEventError):
        await asyncio.to_thread(client.capture_nowait, "no id")
    await client.capture("own id", uuid=uuidlib.UUID(int=1))
    await client.aclose()
    with pytest.raises(ClosedError):
        await client.capture("late")

    statistics = check_ledger(client, received=sink.uuids, drained=True)
    assert (statistics.captured, statistics.delivered) == (5, 1)
    assert statistics.dropped_by_reason == {DropReason.INVALID: 3, DropReason.CLOSED: 1}
