"""``before_send`` where most events pass it: called once for each, contained, and obeyed in whatever it returns."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import pytest

from eventpipe import AsyncClient, ClosedError, DropReason, Event, InvalidEventError, Receipt
from eventpipe.sinks import MemorySink
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio

FORMS = ["capture", "capture_nowait"]


async def capture(client: AsyncClient, form: str, event: Any = "e", **given: Any) -> Receipt:
    if form == "capture":
        return await client.capture(event, **given)
    return client.capture_nowait(event, **given)


async def running(client: AsyncClient, seen: list[Any]) -> None:
    """Have the client at home on this loop, so that what follows is captured the plain way."""
    await client.capture("first", properties={})
    await client.flush()
    seen.clear()


def replaced(**values: Any) -> Callable[[Event], Event]:
    """A hook that sets fields of what it is given."""

    def change(event: Event) -> Event:
        for name, value in values.items():
            setattr(event, name, value)
        return event

    return change


@dataclass
class Sub(Event):
    """An event of the user's own kind."""


@pytest.mark.parametrize("form", FORMS)
async def test_the_hook_sees_what_was_given_and_nothing_else(form: str) -> None:
    """An ``Event`` like any other, once for each event."""
    seen: list[Event] = []

    def look(event: Event) -> Event:
        seen.append(event)
        return event

    async with AsyncClient(MemorySink(), before_send=look) as client:
        await running(client, seen)
        await capture(client, form, "a", distinct_id="u", properties={"x": 1})
        await capture(client, form, "b")

    assert seen == [Event("a", "u", {"x": 1}), Event("b")]
    assert [type(event) for event in seen] == [Event, Event]
    assert all(hasattr(event, field.name) for event in seen for field in fields(Event))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (replaced(event="b"), {"event": "b"}),
        (replaced(distinct_id=7), {"distinct_id": "7"}),
        (replaced(properties=None), {"properties": {}}),
        (replaced(properties={"set": {1}}), {"properties": {"set": [1]}}),
        (replaced(uuid="0ea3de7c-f07a-4133-85c8-6f2eacd64848"), {"uuid": "0ea3de7c-f07a-4133-85c8-6f2eacd64848"}),
        (replaced(timestamp=datetime.datetime(2030, 1, 2, tzinfo=datetime.UTC)), {"stamp": "2030-01-02"}),
        (replaced(headers={"h": "v"}), {"headers": {"h": "v"}}),
        (replaced(key="k"), {"key": "k"}),
        (replaced(lane="l"), {"lane": "l"}),
        (lambda event: Event("other", "v", {"y": 2}), {"event": "other", "distinct_id": "v", "properties": {"y": 2}}),
        (lambda event: Sub("sub", "v", {"y": 2}), {"event": "sub", "distinct_id": "v", "properties": {"y": 2}}),
        (replaced(overflow="raise", durability="power"), {}),
    ],
    ids=[
        "name", "id", "no-properties", "odd-properties", "uuid", "timestamp", "headers", "key", "lane", "another",
        "subclass", "overflow",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", FORMS)
async def test_what_the_hook_makes_of_an_event_is_sent(
    form: str, change: Callable[[Event], Event], expected: dict[str, Any]
) -> None:
    """Whichever field it changes, and whatever it returns instead."""
    calls: list[Event] = []

    def hook(event: Event) -> Event:
        calls.append(event)
        return change(event) if event.event == "a" else event

    sink = MemorySink()
    async with AsyncClient(sink, before_send=hook) as client:
        await running(client, calls)
        receipt = await capture(client, form, "a", distinct_id="u", properties={"x": 1})
        assert (receipt.accepted, receipt.reason) == (True, None)

    (sent,) = sink.events[1:]
    found = {
        "event": sent.event,
        "distinct_id": sent.distinct_id,
        "properties": sent.properties,
        "uuid": sent.uuid,
        "stamp": sent.timestamp.date().isoformat(),
        "headers": dict(sent.headers),
        "key": sent.key,
        "lane": sent.lane,
    }
    unchanged = {"event": "a", "distinct_id": "u", "properties": {"x": 1}, "headers": {}, "lane": None}
    assert {name: found[name] for name in unchanged | expected} == unchanged | expected
    assert (len(calls), sent.uuid) == (1, receipt.uuid)
    check_ledger(client, drained=True)


async def surrogate(event: Event) -> Event:
    return event


@pytest.mark.parametrize(
    ("answer", "errors", "told"),
    [
        (lambda event: None, 0, None),
        (lambda event: 5, 0, "before_send returned int, not an Event, a DropReason or None"),
        (lambda event: surrogate(event), 0, "before_send returned coroutine, not an Event, a DropReason or None"),
        (
            lambda event: DropReason.CLOSED,
            0,
            "before_send returned 'closed', not one of before_send, sampled, not_allowed",
        ),
        (lambda event: [][0], 1, "before_send raised IndexError"),
    ],
    ids=["none", "number", "coroutine", "a reason of somebody else", "error"],
)
@pytest.mark.parametrize("form", FORMS)
async def test_what_is_no_event_is_a_drop_with_its_reason(
    form: str, answer: Callable[[Event], Any], errors: int, told: str | None
) -> None:
    """The hook is asked once, and nobody but the outcome hears of it."""
    calls: list[Event] = []
    outcomes: list[tuple[Any, str | None]] = []

    def hook(event: Event) -> Any:
        calls.append(event)
        return answer(event) if event.event == "bad" else event

    sink = MemorySink()
    client = AsyncClient(
        sink, before_send=hook, on_drop=lambda outcome: outcomes.append((outcome.reason, outcome.error))
    )
    async with client:
        await running(client, calls)
        receipt = await capture(client, form, "bad", properties={"secret": 1})
        assert (receipt.accepted, receipt.reason) == (False, DropReason.BEFORE_SEND)
        assert client.statistics().hook_errors == errors

    assert outcomes == [(DropReason.BEFORE_SEND, told)]
    assert len(calls) == 1
    assert [event.event for event in sink.events] == ["first"]
    check_ledger(client, drained=True)


@pytest.mark.parametrize("form", FORMS)
async def test_an_event_that_the_hook_spoils_is_refused(form: str) -> None:
    """As invalid; in strict mode with its error, and the hook is asked once all the same."""
    calls: list[Event] = []

    def hook(event: Event) -> Event:
        calls.append(event)
        return event if event.event == "first" else replaced(event="")(event)

    async with AsyncClient(MemorySink(), before_send=hook, strict=True) as client:
        await running(client, calls)
        with pytest.raises(InvalidEventError):
            await capture(client, form, properties={})
    assert len(calls) == 1
    assert check_ledger(client, drained=True).dropped_by_reason == {DropReason.INVALID: 1}


@pytest.mark.parametrize("form", FORMS)
async def test_ctrl_c_in_the_hook_passes(form: str) -> None:
    """Nothing is counted, and the next event finds the hook as it was."""
    seen: list[Event] = []

    def hook(event: Event) -> Event:
        if event.event == "stop":
            raise KeyboardInterrupt
        return event

    sink = MemorySink()
    async with AsyncClient(sink, before_send=hook) as client:
        await running(client, seen)
        with pytest.raises(KeyboardInterrupt):
            await capture(client, form, "stop", properties={})
        assert (await capture(client, form, "after", properties={})).accepted
        assert client.statistics().hook_errors == 0
    assert [event.event for event in sink.events] == ["first", "after"]
    assert check_ledger(client, drained=True).captured == 2


@pytest.mark.parametrize("inner", FORMS)
@pytest.mark.parametrize("form", FORMS)
async def test_an_event_of_the_hook_itself_does_not_slip_past_it(form: str, inner: str) -> None:
    """It is dropped, whichever way the outer one came, and the hook is not called for it."""
    seen: list[str] = []
    tasks: list[Any] = []

    def hook(event: Event) -> Event:
        seen.append(event.event)
        if event.event == "outer":
            work = capture(client, inner, "inner", properties={})
            with pytest.raises(StopIteration) as ended:
                work.send(None)
            tasks.append(ended.value.value.reason)
        return event

    sink = MemorySink()
    client = AsyncClient(sink, before_send=hook)
    async with client:
        await running(client, seen)
        await capture(client, form, "outer", properties={})
        await capture(client, form, "after", properties={})

    assert seen == ["outer", "after"]
    assert tasks == [DropReason.BEFORE_SEND]
    assert [event.event for event in sink.events] == ["first", "outer", "after"]
    check_ledger(client, drained=True)


async def test_another_thread_may_be_inside_the_hook_at_the_same_time() -> None:
    """What it captures meanwhile is no event of the hook's own."""
    seen: list[str] = []

    def hook(event: Event) -> Event:
        seen.append(event.event)
        if event.event == "outer":
            thread = threading.Thread(target=client.capture_nowait, args=("beside",), kwargs={"properties": {}})
            thread.start()
            thread.join()
        return event

    sink = MemorySink()
    client = AsyncClient(sink, before_send=hook)
    async with client:
        await running(client, seen)
        await client.capture("outer", properties={})
        await client.flush()

    assert seen == ["outer", "beside"]
    assert sorted(event.event for event in sink.events) == ["beside", "first", "outer"]
    check_ledger(client, drained=True)


@pytest.mark.parametrize("form", FORMS)
async def test_the_slowest_call_is_kept_and_named(
    form: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also of one that raises."""
    now = [0.0]

    def hook(event: Event) -> Event:
        now[0] += {"first": 0.0, "slow": 0.25, "slower": 0.5}[event.event]
        if event.event == "slower":
            raise ValueError
        return event

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    async with AsyncClient(MemorySink(), before_send=hook) as client:
        await running(client, [])
        slowest = []
        for event in ("slow", "slower"):
            await capture(client, form, event, properties={})
            slowest.append(client.statistics().slowest_hook)
    assert slowest == [0.25, 0.5]
    assert [record.getMessage() for record in caplog.records if "held up" in record.getMessage()] == [
        "before_send held up its caller for 0.250 s",
        "before_send held up its caller for 0.500 s",
    ]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("over", [False, True], ids=["under way", "over"])
async def test_once_a_close_has_begun_the_hook_is_not_asked(form: str, over: bool) -> None:
    """The event is refused as closed."""
    seen: list[Event] = []

    def hook(event: Event) -> Event:
        seen.append(event)
        return event

    sink = GatedSink()
    client = AsyncClient(sink, before_send=hook)
    await client.capture("held", properties={})
    closing = asyncio.create_task(client.aclose(5))
    await sink.reached(1)
    if over:
        sink.release()
        await closing
    seen.clear()

    assert (await capture(client, form, properties={})).reason == DropReason.CLOSED
    assert seen == []
    sink.release()
    await closing
    check_ledger(client, drained=True)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("form", FORMS)
async def test_a_hook_that_closes_its_running_client_has_its_event_refused(form: str, strict: bool) -> None:
    """As closed, under the name that the hook gave it, and asked once."""
    closes: list[Any] = []
    told: list[tuple[str, ...]] = []

    def hook(event: Event) -> Event:
        if event.event == "last":
            closes.append(client.aclose(5))
            closes[-1].send(None)
            event.event = "scrubbed"
        return event

    sink = MemorySink()
    client = AsyncClient(sink, before_send=hook, strict=strict, on_drop=lambda outcome: told.append(outcome.events))
    await running(client, [])
    if strict:
        with pytest.raises(ClosedError):
            await capture(client, form, "last", properties={})
    else:
        assert (await capture(client, form, "last", properties={})).reason == DropReason.CLOSED
    (close,) = closes
    close.close()

    assert (await client.aclose()).dropped_by_reason == {DropReason.CLOSED: 1}
    assert told == [("scrubbed",)]
    check_ledger(client, drained=True)


@pytest.mark.parametrize("form", FORMS)
async def test_an_event_without_room_was_shown_to_the_hook_once(form: str) -> None:
    """Refused by the queue, it does not go through it again."""
    seen: list[str] = []

    def hook(event: Event) -> Event:
        seen.append(event.event)
        return event

    client = AsyncClient(MemorySink(), before_send=hook, queue_events=3, max_batch_age=60)
    async with client:
        await running(client, seen)
        for number in range(5):
            client.capture_nowait(str(number), properties={})
        assert (await capture(client, form, "5", properties={})).reason == DropReason.QUEUE_FULL
    assert seen == ["0", "1", "2", "3", "4", "5"]
    assert check_ledger(client, drained=True).dropped == 3
