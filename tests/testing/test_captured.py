"""What ``captured`` sees, and that nothing of it, nor of anything else, reaches a sink meanwhile."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from eventpipe import AsyncClient, ClosedError, DeliveryError, DropReason, Event, PermanentSinkError, QueueFullError
from eventpipe.scopes import scope
from eventpipe.sinks import MemorySink
from eventpipe.sync import SyncClient
from eventpipe.testing import Captured, GatedSink, assert_captured, capturing, check_ledger, make_event
from eventpipe.transport import dispatcher
from eventpipe.transport.attempt import attempt
from eventpipe.transport.entrance import Entrance
from eventpipe.transport.exit import Exit
from eventpipe.transport.inbox import Inbox
from eventpipe.transport.intake import FanOut, Intake
from eventpipe.transport.receipts import Receipt


def in_a_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


# -- what is seen -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("sinks", [1, 2])
async def test_each_way_to_capture_is_seen_at_the_call(captured: Captured, sinks: int) -> None:
    """In the order of the calls, once each however many sinks there are, and nothing is flushed or waited for."""
    client = AsyncClient(*(MemorySink() for _ in range(sinks)))
    seen: list[list[str]] = []

    client.capture_nowait("before any loop")
    seen.append(captured.names)
    await client.capture("plain", distinct_id="u1", properties={"plan": "pro"})
    seen.append(captured.names[1:])
    await client.capture(Event("described", headers={"trace": "1"}, lane="historical"))
    client.capture_nowait("nowait")
    in_a_thread(lambda: client.capture_nowait("of a thread"))
    seen.append(captured.names[2:])
    await client.capture_many(["many", Event("and another")])
    await client.capture_ai("ai")
    await client.deliver([Event("delivered")])
    await client.aclose()

    assert seen == [["before any loop"], ["plain"], ["described", "nowait", "of a thread"]]
    assert captured.names[5:] == ["many", "and another", "ai", "delivered"]
    assert [event.lane for event in captured.all("described") + captured.all("ai")] == ["historical", "ai"]
    assert client.statistics().delivered == 9 * sinks
    assert captured.refused == []
    assert captured.earlier == []


def test_a_client_without_a_loop_is_seen(captured: Captured) -> None:
    """A sync test needs no loop at all, and what it leaves in the client is taken back at its end."""
    client = AsyncClient(MemorySink(), queue_events=1)

    client.capture_nowait("viewed", distinct_id="u1")

    assert captured.one("viewed").distinct_id == "u1"


def test_who_holds_a_bound_method_of_an_old_client_is_seen() -> None:
    """Made at import, handed to a partial, called by a thread: the test sees it all the same."""
    client = AsyncClient(MemorySink())
    track = partial(client.capture_nowait, distinct_id="u1")

    with capturing() as captured:
        in_a_thread(lambda: track("viewed"))

    assert captured.names == ["viewed"]


@pytest.mark.asyncio
async def test_a_capture_on_another_loop_is_seen(captured: Captured) -> None:
    """The client lives on this loop; a thread that runs a loop of its own captures there."""
    async with AsyncClient(MemorySink()) as client:

        async def elsewhere() -> None:
            await client.capture("awaited elsewhere")
            assert captured.names == ["awaited elsewhere"]

        await asyncio.to_thread(asyncio.run, elsewhere())

    assert client.statistics().delivered == 1


@pytest.mark.asyncio
async def test_a_producer_that_waits_for_room_is_seen(captured: Captured) -> None:
    """At the call, before it has the room."""
    async with AsyncClient(MemorySink(), queue_events=1, overflow="wait") as client:
        await client.capture("first")
        waiting = asyncio.create_task(client.capture("second"))
        await asyncio.sleep(0)

        assert captured.names == ["first", "second"]
        assert not waiting.done()
        await client.flush()
        await waiting


@pytest.mark.asyncio
async def test_what_is_seen_is_what_would_be_sent(captured: Captured) -> None:
    """Scopes, models, ``before_send`` and repairs have done their work, and properties are as JSON has them."""

    def scrubbed(event: Event) -> Event:
        return Event(event.event, distinct_id=event.distinct_id, properties={**(event.properties or {}), "ip": None})

    async with AsyncClient(MemorySink(), before_send=scrubbed) as client:
        with scope(distinct_id="u1", properties={"tenant": "acme"}):
            await client.capture("viewed", properties={"ip": "203.0.113.1", "at": (1, 2), "odd": object()})

    event = captured.one("viewed")
    assert event.distinct_id == event.key == "u1"
    assert event.properties["tenant"] == "acme"
    assert event.properties["ip"] is None
    assert event.properties["at"] == [1, 2]
    assert isinstance(event.properties["odd"], str | None)


# -- what is refused ----------------------------------------------------------------------------------------------


def nothing(event: Event) -> None:
    return None


def sampled(event: Event) -> DropReason:
    return DropReason.SAMPLED


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("options", "given", "reason"),
    [
        pytest.param({}, "", DropReason.INVALID, id="invalid"),
        pytest.param({"before_send": nothing}, "viewed", DropReason.BEFORE_SEND, id="before_send"),
        pytest.param({"max_event_bytes": 1024}, "v" * 2000, DropReason.TOO_LARGE, id="too-large"),
        pytest.param({"before_send": sampled}, "viewed", DropReason.SAMPLED, id="sampled"),
    ],
)
@pytest.mark.parametrize("where", ["here", "in a thread"])
async def test_a_refused_event_is_seen_with_its_reason(
    captured: Captured, options: dict[str, Any], given: str, reason: DropReason, where: str
) -> None:
    """It is in ``refused`` and nowhere else, when the loop has looked at it at the latest."""
    async with AsyncClient(MemorySink(), **options) as client:
        if where == "here":
            await client.capture(given)
        else:
            await asyncio.to_thread(client.capture_nowait, given)
            await client.flush()

        assert [event.reason for event in captured.refused] == [reason]
        assert len(captured) == 0


@pytest.mark.asyncio
async def test_what_is_refused_with_an_error_is_seen(captured: Captured) -> None:
    """The caller has the error, and the test has the event."""
    client = AsyncClient(MemorySink(), strict=True, overflow="raise", queue_events=1)
    await client.capture("first")
    with pytest.raises(QueueFullError):
        await client.capture("no room")
    await client.aclose()
    with pytest.raises(ClosedError):
        await client.capture("late")

    assert captured.names == ["first"]
    assert [(event.event, event.reason) for event in captured.refused] == [
        ("no room", DropReason.QUEUE_FULL),
        ("late", DropReason.CLOSED),
    ]


class SmallSink(MemorySink):
    max_event_bytes = 1024


@pytest.mark.asyncio
@pytest.mark.parametrize("order", [1, -1], ids=["refused-first", "taken-first"])
async def test_an_event_that_one_sink_of_two_takes_is_captured(captured: Captured, order: int) -> None:
    """Whichever is asked first."""
    async with AsyncClient(*[SmallSink(), MemorySink()][::order]) as client:
        await client.capture("large", properties={"text": "x" * 2000})

    assert captured.names == ["large"]
    assert captured.refused == []


@pytest.mark.asyncio
@pytest.mark.parametrize("order", [1, -1], ids=["small-first", "small-last"])
async def test_an_event_that_two_sinks_refuse_has_the_reason_of_its_receipt(captured: Captured, order: int) -> None:
    """Each for a reason of its own."""
    large = Event("large", properties={"text": "x" * 2000})
    async with AsyncClient(*[SmallSink(), MemorySink()][::order], queue_events=1) as client:
        client.capture_nowait("first")
        receipt = client.capture_nowait(large)

    assert [event.reason for event in captured.refused] == [receipt.reason]


@pytest.mark.asyncio
async def test_an_event_that_no_sink_wants_is_not_captured(captured: Captured) -> None:
    """It is not dropped either, so it has no reason."""
    async with AsyncClient(MemorySink(where=lambda event: event.event == "wanted")) as client:
        await client.capture("wanted")
        await client.capture("unwanted")
        await asyncio.to_thread(client.capture_nowait, "unwanted in a thread")
        await client.flush()

    assert captured.names == ["wanted"]
    assert [str(event) for event in captured.refused] == [
        "'unwanted': no sink wanted it",
        "'unwanted in a thread': no sink wanted it",
    ]
    assert [event.reason for event in captured.refused] == [None, None]


def test_an_inbox_that_is_full_refuses_at_the_call(captured: Captured) -> None:
    """No loop has to look at it."""
    client = AsyncClient(MemorySink(), queue_events=1)

    client.capture_nowait("first")
    client.capture_nowait("second")

    assert captured.names == ["first"]
    assert [(event.event, event.reason) for event in captured.refused] == [("second", DropReason.QUEUE_FULL)]


# -- no sink is called --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_no_sink_is_called(captured: Captured) -> None:
    """Flushed, delivered and closed, and all accounted for as delivered."""
    sink = GatedSink()
    async with AsyncClient(sink) as client:
        receipt = await client.capture("viewed")
        assert (await client.flush()).delivered == 1
        outcomes = await client.deliver("paid")
        check_ledger(client, drained=True)

    assert (await receipt.outcome()).kind == outcomes[0].kind == "delivered"
    assert sink.attempts == []
    assert captured.names == ["viewed", "paid"]


@pytest.mark.asyncio
async def test_failures_are_scripted(captured: Captured) -> None:
    """The next attempt of whatever sink fails as if its sink had raised that, and the one after does not."""
    captured.fail(PermanentSinkError("no such project"))
    async with AsyncClient(GatedSink()) as client:
        with pytest.raises(DeliveryError) as raised:
            await client.deliver("paid")
        await client.deliver("paid again")

    assert raised.value.outcomes[0].error == "PermanentSinkError: no such project"
    assert captured.names == ["paid", "paid again"]


@pytest.mark.parametrize(
    ("error", "times", "message"),
    [
        pytest.param("busy", 1, "error must be an exception that a sink raises, not 'busy'", id="no-error"),
        pytest.param(OSError(), 0, "times must be at least 1, not 0", id="no-times"),
    ],
)
def test_a_failure_that_is_none_is_refused(captured: Captured, error: Any, times: int, message: str) -> None:
    """Where it is scripted, not where it would be met."""
    with pytest.raises((TypeError, ValueError), match=f"^{message}$"):
        captured.fail(error, times=times)


@pytest.mark.asyncio
async def test_what_was_pending_before_is_accepted_and_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """It is not of the test, so it is in ``earlier``; its sink never sees it, and a line in the log says so."""
    sink = GatedSink()
    client = AsyncClient(sink)
    await client.capture("queued before")
    in_a_thread(lambda: client.capture_nowait("left by a thread before"))  # this loop sees it in the test

    with capturing() as captured:
        await client.capture("new")
        assert (await client.flush()).delivered == 3

    assert captured.names == ["new"]
    assert [event.event for event in captured.earlier] == ["queued before", "left by a thread before"]
    assert sink.attempts == []
    assert [record.getMessage() for record in caplog.records if record.name == "eventpipe.testing"] == [
        "events captured before this test were not sent but accepted in the process, 2 of them; "
        "flush or close the client first if they matter"
    ]
    await client.aclose()


@pytest.mark.asyncio
async def test_a_test_that_begins_while_a_loop_takes_events_over_sees_its_own() -> None:
    """Those that the loop has in its hands then were captured before."""
    with ExitStack() as stack:
        begun: list[Captured] = []

        def begin(event: object) -> bool:
            if not begun:
                begun.append(stack.enter_context(capturing()))
            return True

        client = AsyncClient(MemorySink(where=begin))
        in_a_thread(lambda: client.capture_nowait("before"))
        in_a_thread(lambda: client.capture_nowait("before as well"))
        await client.capture("in the test")
        await client.aclose()

        assert begun[0].names == ["in the test"]
        assert [event.event for event in begun[0].earlier] == ["before", "before as well"]


@pytest.mark.asyncio
async def test_older_events_that_push_each_other_out_are_not_of_the_test() -> None:
    """They change places in the queue, which nobody captures."""
    async with AsyncClient(MemorySink(), queue_events=1) as client:
        await client.capture("before")
        in_a_thread(lambda: client.capture_nowait("before as well", overflow="drop_oldest"))

        with capturing() as captured:
            await client.flush()

    assert list(captured) == captured.refused == []


@pytest.mark.asyncio
async def test_what_a_callback_captures_while_a_loop_takes_events_over_is_seen() -> None:
    """Only what is taken over is older."""
    client = AsyncClient(MemorySink())
    client.on_outcome(lambda outcome: client.capture_nowait("told of it"), "dropped")
    in_a_thread(lambda: client.capture_nowait(""))

    with capturing() as captured:
        await client.capture("in the test")
        await client.aclose()

    assert captured.names == ["told of it", "in the test"]
    assert captured.refused == []


@pytest.mark.asyncio
async def test_what_is_pending_at_the_end_goes_nowhere() -> None:
    """The client goes on running, with a batch of events of the test and of others: its sink gets the others."""
    sink = MemorySink()
    async with AsyncClient(sink) as client:
        with capturing() as captured:
            await client.capture("in the test")
            await asyncio.to_thread(client.capture_nowait, "in the test, by a thread")
        await client.capture("afterwards")
        report = await client.flush()
        assert report.delivered == 3
        assert [event.event for event in sink.events] == ["afterwards"]

        with capturing():
            await client.capture("in a test as well")
        await client.flush()

    assert captured.names == ["in the test", "in the test, by a thread"]
    assert [event.event for event in sink.events] == ["afterwards"]


@pytest.mark.asyncio
async def test_what_is_pending_at_the_end_goes_nowhere_at_each_sink() -> None:
    """One sink has had it by then, and the other has not."""
    ready, busy = MemorySink(name="ready"), MemorySink(name="busy")
    async with AsyncClient(ready, busy, batch_events=1) as client:
        with capturing():
            await client.capture("in the test")
        await client.flush()

    assert ready.events == busy.events == []


def test_an_inbox_is_left_as_it_was_found() -> None:
    """A client that no loop has ever run keeps what is not of the test, and room for what comes."""
    sink = MemorySink()
    client = AsyncClient(sink, queue_events=2)
    client.capture_nowait("before")
    for _ in range(3):
        with capturing() as captured:
            client.capture_nowait("in the test")
        assert captured.names == ["in the test"]

    asyncio.run(client.aclose())

    assert [event.event for event in sink.events] == ["before"]
    assert client.statistics().captured == 1


def test_what_is_pending_where_no_loop_runs_is_settled_at_the_end() -> None:
    """A client that nobody closes, on a loop that ended: nothing is left for the end of the process to count."""
    sink = MemorySink()
    client = AsyncClient(sink)
    with capturing() as captured:
        asyncio.run(client.capture("viewed"))
        assert client.statistics().pending == 1

    assert captured.names == ["viewed"]
    assert (client.statistics().delivered, client.statistics().pending, sink.events) == (1, 0, [])
    assert vars(dispatcher)["attempt"] is attempt


def test_what_is_pending_on_a_loop_at_rest_is_settled_at_the_end() -> None:
    """As those of plugins for async tests are between two tests."""
    client = AsyncClient(MemorySink(), MemorySink())
    with asyncio.Runner() as runner:
        with capturing():
            runner.run(client.capture("viewed"))
        assert client.statistics().pending == 0
        runner.run(client.aclose())


@pytest.mark.wallclock
def test_what_is_pending_on_the_loop_of_another_thread_is_settled_at_the_end() -> None:
    """A client of plain code that lives on: its batch would be due in a second."""
    sink = MemorySink()
    with SyncClient(sink) as client:
        client.deliver("before")
        with capturing() as captured:
            client.capture("in the test")
            client.capture("in the test as well")
        assert client.statistics().delivered == 3
        assert vars(dispatcher)["attempt"] is attempt
        client.deliver("afterwards")

    assert captured.names == ["in the test", "in the test as well"]
    assert [event.event for event in sink.events] == ["before", "afterwards"]


@pytest.mark.wallclock
def test_a_loop_that_is_held_up_holds_up_no_test() -> None:
    """What it has stays pending, and goes nowhere when the loop goes on."""
    sink, held_up, gate = MemorySink(), threading.Event(), threading.Event()

    def hold_up() -> None:
        held_up.set()
        gate.wait()

    with SyncClient(sink) as client:
        client.deliver("before")
        with capturing():
            client.capture("in the test")
            client._client._runtime.loop.call_soon_threadsafe(hold_up)  # type: ignore[union-attr]  # it has a loop
            held_up.wait()
        gate.set()

    assert [event.event for event in sink.events] == ["before"]


@pytest.mark.asyncio
async def test_a_block_in_a_running_loop_ends_at_once() -> None:
    """No other loop can be run there, and this one goes on when the block has ended."""
    here, elsewhere = AsyncClient(sink := MemorySink()), AsyncClient(MemorySink())
    with capturing():
        await here.capture("viewed")
        await asyncio.to_thread(asyncio.run, elsewhere.capture("viewed"))

    assert here.statistics().pending == elsewhere.statistics().pending == 1
    await here.aclose()
    await elsewhere.aclose()
    assert sink.events == []


def test_what_a_client_had_before_is_not_settled_for_it() -> None:
    """Then nothing is: the next loop sends what is older, and keeps from the sink what is of the test."""
    sink = MemorySink()
    client = AsyncClient(sink)
    asyncio.run(client.capture("before"))
    with capturing() as captured:
        asyncio.run(client.capture("in the test"))
    assert client.statistics().pending == 2

    asyncio.run(client.aclose())

    assert [event.event for event in sink.events] == ["before"]
    assert captured.earlier == []


@pytest.mark.asyncio
async def test_one_test_sees_nothing_of_another() -> None:
    """Not even what the one before left pending."""
    async with AsyncClient(MemorySink()) as client:
        with capturing() as first:
            await client.capture("first")
            await asyncio.to_thread(client.capture_nowait, "of a thread")
        with capturing() as second:
            await client.capture("second")
            await client.flush()

    assert first.names == ["first", "of a thread"]
    assert second.names == ["second"]
    assert second.earlier == []


@pytest.mark.asyncio
async def test_one_inside_another_sees_its_own_block(captured: Captured) -> None:
    """The outer one sees all; a failure is scripted for the innermost that has any."""
    async with AsyncClient(GatedSink()) as client:
        await client.capture("before")
        with capturing() as inner:
            await client.capture("inside")
            assert_captured("inside", times=1)
            with pytest.raises(AssertionError):
                assert_captured("before")
            await client.flush()
        await client.capture("after")
        assert_captured("before")

    assert inner.names == ["inside"]
    assert inner.earlier == []
    assert captured.names == ["before", "inside", "after"]


SEAMS = [(owner, name) for owner, name in (
    (Intake, "offer"), (FanOut, "offer"), (Intake, "join"), (Inbox, "put"),
    (Entrance, "distribute"), (Exit, "refuse"), (Receipt, "__init__"),
)]  # fmt: skip


def test_afterwards_all_is_as_it_was() -> None:
    """Also when the block raised, and when what is pending has been settled meanwhile."""
    before = [vars(owner)[name] for owner, name in SEAMS]

    def fail() -> None:
        assert not any(vars(owner)[name] in before for owner, name in SEAMS)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), capturing():
        fail()

    assert [vars(owner)[name] for owner, name in SEAMS] == before
    assert vars(dispatcher)["attempt"] is attempt


@pytest.mark.asyncio
async def test_sending_is_as_it_was_when_the_last_event_is_settled() -> None:
    """Until then what is left over goes nowhere; the next test that captures looks."""
    client = AsyncClient(MemorySink())
    with capturing():
        await client.capture("viewed")
    assert vars(dispatcher)["attempt"] is not attempt
    await client.aclose()

    with capturing():
        pass

    assert vars(dispatcher)["attempt"] is attempt


# -- reading it ---------------------------------------------------------------------------------------------------


@pytest.fixture
def three(captured: Captured) -> Captured:
    client = AsyncClient(MemorySink())
    client.capture_nowait("signed_up", distinct_id="u1", properties={"plan": "free", "seats": 1})
    client.capture_nowait("viewed", distinct_id="u1", headers={"trace": "1"}, key="k", lane="historical")
    client.capture_nowait("signed_up", distinct_id=2, properties={"plan": "pro", "seats": 3})
    return captured


def test_it_is_a_sequence(three: Captured) -> None:
    """In the order of the calls."""
    first, viewed, last = three

    assert three.names == [event.event for event in three] == ["signed_up", "viewed", "signed_up"]
    assert len(three) == 3
    assert (three[0], three[1:]) == (first, [viewed, last])
    assert three.all("signed_up") == [first, last]
    assert three.one("viewed") == viewed
    assert (last.distinct_id, last.properties) == ("2", {"plan": "pro", "seats": 3})
    assert (viewed.headers, viewed.key, viewed.lane) == ({"trace": "1"}, "k", "historical")
    assert viewed.timestamp.tzinfo is not None
    assert repr(viewed) == (
        "<SeenEvent 'viewed', distinct_id='u1', headers={'trace': '1'}, key='k', lane='historical'>"
    )
    assert repr(three).endswith("properties={'plan': 'pro', 'seats': 3}>], 0 refused>")


@pytest.mark.asyncio
async def test_clear_forgets_for_good(captured: Captured) -> None:
    """What was captured before it does not come back when the loop takes it over."""
    async with AsyncClient(MemorySink()) as client:
        await client.capture("")
        in_a_thread(lambda: client.capture_nowait("before"))
        captured.clear()
        assert list(captured) == []
        await client.capture("after")
        await client.flush()

    assert captured.names == ["after"]
    assert captured.refused == captured.earlier == []


def test_it_can_be_read_when_it_is_over() -> None:
    """A test may leave the block and then look."""
    client = AsyncClient(MemorySink())
    with capturing() as captured:
        client.capture_nowait("viewed")
    client.capture_nowait("later")

    assert captured.names == ["viewed"]
    asyncio.run(client.aclose())


def test_asserting_without_capturing_says_what_is_missing() -> None:
    """Nothing was captured, because nobody looked."""
    message = r"^assert_captured\(\) needs the fixture `captured`, or to be in `with capturing\(\):`$"
    with pytest.raises(RuntimeError, match=message):
        assert_captured("viewed")


def test_a_made_event_is_none_that_was_captured(captured: Captured) -> None:
    """Tests of sinks make events; nobody captured those."""
    make_event("viewed")

    assert len(captured) == 0
