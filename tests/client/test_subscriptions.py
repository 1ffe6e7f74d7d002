"""Subscriptions to a whole client: whatever a subscriber does, it gets what is its own, and nobody else notices."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

from eventpipe import (
    AsyncClient,
    Batch,
    ClosedError,
    CloseReport,
    DropReason,
    Gap,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    ServiceState,
    Subscription,
)
from eventpipe.sinks import CallbackSink, MemorySink
from eventpipe.testing import GatedSink, HangingSink, VirtualTimeLoop, check_ledger
from eventpipe.transport import answered
from eventpipe.transport import exit as exit_module
from eventpipe.transport.feed import OutcomeFeed
from tests.client.test_forks import run_forking

DELIVERED, RETRY, DROPPED, INTERRUPTED, SPOOLED = OutcomeKind


def names(items: list[Outcome | Gap]) -> list[str]:
    """Of the events in order; a gap as the number of events in it."""
    found: list[str] = []
    for item in items:
        found += item.events if isinstance(item, Outcome) else [f"-{item.events}"]
    return found


async def read(subscription: Subscription) -> list[Outcome | Gap]:
    return [item async for item in subscription]


def buffered(subscription: Subscription) -> list[str]:
    """What can be read now."""
    return names(list(iter(subscription.receive_nowait, None)))


def refuse(batch: Batch) -> None:
    raise PermanentSinkError("no")


def tasks_of_clients() -> list[str]:
    return sorted(task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("eventpipe"))


@asynccontextmanager
async def a_witness(client: AsyncClient, *kinds: OutcomeKind) -> AsyncIterator[list[Outcome]]:
    """A subscriber like any other, and a callback: after the block it must have been handed what the callback saw."""
    told: list[Outcome] = []
    subscription = client.subscribe(*(kinds or OutcomeKind), buffer=10**5, name="witness")
    client.on_outcome(lambda one: None if subscription.is_closed else told.append(one), *subscription.kinds)
    reader = asyncio.create_task(read(subscription))
    yield told
    await client.aclose()
    assert await reader == told


# -- from the first to the last ---------------------------------------------------------------------------------------


def test_subscribing_before_there_is_a_loop_works() -> None:
    """It gets every outcome from the first on, and its own end."""
    client = AsyncClient(MemorySink())
    subscription = client.subscribe("delivered", "dropped")
    client.capture_nowait("before")

    async def live() -> list[str]:
        await client.capture("after")
        await client.aclose()
        return names(await read(subscription))

    assert asyncio.run(live()) == ["before", "after"]


@pytest.mark.asyncio
async def test_subscription_has_nothing_from_before_it() -> None:
    """Not what was booked in the same step of the loop either, and is still on its way to others."""
    sink = GatedSink()
    sink.release()
    async with AsyncClient(sink, queue_events=1, batch_events=1) as client:
        first = client.subscribe(DROPPED)
        await client.capture("waits")
        await anyio.wait_all_tasks_blocked()
        sink.hold()
        await client.capture("waits")
        await sink.reached(2)
        client.capture_nowait("a")
        assert client._feed.channel.held == 1

        second = client.subscribe(DROPPED)
        client.capture_nowait("b")
        await anyio.wait_all_tasks_blocked()

        assert (buffered(first), buffered(second)) == (["a", "b"], ["b"])
        sink.release()


@pytest.mark.asyncio
async def test_flood_of_outcomes_within_one_step_of_the_loop_loses_none() -> None:
    """Five times as many as the channel holds, in the middle of a handler; they can be read when the close returns."""
    client = AsyncClient(MemorySink(), queue_events=1)
    subscription = client.subscribe(DROPPED, DELIVERED, buffer=10_000)
    await client.capture("in")
    await anyio.wait_all_tasks_blocked()
    client.capture_nowait("in")
    for number in range(5000):
        client.capture_nowait(str(number))
    await client.aclose()

    assert subscription.is_closed
    assert [name for name in buffered(subscription) if name != "in"] == list(map(str, range(5000)))


@pytest.mark.asyncio
async def test_after_the_close_what_is_buffered_can_be_read_and_then_the_iterator_ends_for_ever() -> None:
    """And no more subscriptions can be made, while closing those that were is a no-op."""
    client = AsyncClient(MemorySink(), batch_events=1)
    subscription = client.subscribe(DELIVERED)
    await client.capture_many(["a", "b", "c"])
    await client.aclose()
    subscription.close()
    subscription.close()

    assert subscription.is_closed
    assert names([await subscription.receive(), *await read(subscription)]) == ["a", "b", "c"]
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
    with pytest.raises(ClosedError):
        await subscription.receive()
    assert subscription.receive_nowait() is None
    with pytest.raises(ClosedError, match=r"^the client was closed by aclose\(\)$"):
        client.subscribe(DELIVERED)


@pytest.mark.asyncio
async def test_nobody_can_subscribe_once_a_close_has_begun() -> None:
    """While the outcomes that it brings about still reach those who did before."""
    sink = GatedSink()
    client = AsyncClient(sink)
    subscription = client.subscribe(DELIVERED)
    await client.capture("e")
    closing = asyncio.create_task(client.aclose())
    await sink.reached()

    with pytest.raises(ClosedError):
        client.subscribe(DELIVERED)
    sink.release()

    assert names(await read(subscription)) == ["e"]
    await closing


@pytest.mark.asyncio
async def test_closing_a_subscription_leaves_the_client_and_the_others() -> None:
    """What was buffered before stays readable; nothing more comes in."""
    async with AsyncClient(MemorySink()) as client:
        async with a_witness(client) as told:
            async with client.subscribe(DELIVERED) as subscription:
                await client.capture("before")
                await client.flush()
                await anyio.wait_all_tasks_blocked()
            await client.capture("after")
            await client.flush()

        assert names(await read(subscription)) == ["before"]
        assert [one.events for one in told] == [("before",), ("after",)]


@pytest.mark.asyncio
async def test_disabled_client_has_subscriptions_that_end() -> None:
    """Nothing comes about, and nobody hangs."""
    client = AsyncClient(enabled=False)
    subscription = client.subscribe(*OutcomeKind)
    reader = asyncio.create_task(read(subscription))
    await client.capture("e")
    await client.aclose()

    assert await reader == []


# -- what a subscriber does in its loop -------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_subscriber_may_flush_in_its_loop() -> None:
    """For each of ten outcomes: the flush waits for no outcome to be read."""
    async with AsyncClient(MemorySink()) as client, a_witness(client):
        subscription = client.subscribe(DELIVERED)
        await client.capture("0")
        async for item in subscription:
            assert isinstance(item, Outcome)
            number = int(item.events[0])
            if number == 10:
                break
            await client.capture(str(number + 1))
            assert (await client.flush(5)).pending == 0

    assert check_ledger(client, drained=True).delivered == 11


@pytest.mark.asyncio
async def test_subscriber_may_close_the_client_in_its_loop() -> None:
    """The close does not wait for it; it reads what is left, and its loop ends."""
    client = AsyncClient(MemorySink(), batch_events=1)
    subscription = client.subscribe(DELIVERED)
    await client.capture_many(["a", "b", "c"])
    reports = []
    items = []

    async for item in subscription:
        items.append(item)
        reports.append(await client.aclose(5))

    assert names(items) == ["a", "b", "c"]
    assert [(report.delivered, report.pending) for report in reports] == [(3, 0)] * 3
    assert asyncio.get_running_loop().time() < 1


@pytest.mark.asyncio
async def test_subscriber_that_captures_for_each_outcome_feeds_on_itself_and_nobody_else_starves() -> None:
    """Each drop leads to the next, for ever; others have their turn, and the close ends it."""
    client = AsyncClient(CallbackSink(refuse), batch_events=1)
    subscription = client.subscribe(DROPPED)

    async def feed_on_drops() -> int:
        count = 0
        async for _ in subscription:
            count += 1
            await client.capture("again")
            await asyncio.sleep(0.001)
        return count

    feeding = asyncio.create_task(feed_on_drops())
    async with a_witness(client) as told:
        await client.capture("first")
        await asyncio.sleep(1)
        report = await client.aclose(1)

    assert await feeding == len(told) > 500
    assert (report.pending, report.stragglers) == (0, ())
    check_ledger(client, drained=True)


@pytest.mark.wallclock
@pytest.mark.asyncio
async def test_subscriber_that_spins_does_not_keep_the_loop() -> None:
    """Drops of a full queue follow one another without a wait: one turn of the loop each, and the close is on time."""
    client = AsyncClient(HangingSink(), queue_events=1)
    subscription = client.subscribe(DROPPED)

    async def spin() -> int:
        count = 0
        async for _ in subscription:
            count += 1
            client.capture_nowait("again")
        return count

    spinning = asyncio.create_task(spin())
    async with a_witness(client, DROPPED) as told:
        await client.capture("fills it")
        client.capture_nowait("first")
        for _ in range(20):
            await asyncio.sleep(0.001)
        began = asyncio.get_running_loop().time()
        report = await client.aclose(0.05)
        elapsed = asyncio.get_running_loop().time() - began

    assert await spinning == len(told) > 100
    assert elapsed <= 0.05 + 0.25
    assert report.pending == 0


@pytest.mark.asyncio
async def test_cancelled_subscriber_ends_alone() -> None:
    """Its subscription is closed by its ``async with``; others, and the client, go on."""
    client = AsyncClient(MemorySink())
    subscriptions: list[Subscription] = []

    async def follow() -> None:
        async with client.subscribe(DELIVERED) as subscription:
            subscriptions.append(subscription)
            async for _ in subscription:
                pass

    async with a_witness(client) as told:
        following = asyncio.create_task(follow())
        await client.capture("a")
        await client.flush()
        following.cancel()
        await asyncio.wait({following})
        await client.capture("b")

    assert following.cancelled()
    assert subscriptions[0].is_closed
    assert [one.events for one in told] == [("a",), ("b",)]


@pytest.mark.asyncio
async def test_cancelled_read_loses_no_outcome() -> None:
    """What it was woken for goes to the next read."""
    async with AsyncClient(MemorySink()) as client:
        subscription = client.subscribe(DELIVERED)
        waiting = asyncio.create_task(subscription.receive())
        await anyio.wait_all_tasks_blocked()
        client.on_outcome(lambda _: asyncio.get_running_loop().call_soon(waiting.cancel), DELIVERED)
        await client.capture("e")
        await client.flush()
        await asyncio.wait({waiting})

        assert names([await subscription.receive()] if waiting.cancelled() else [waiting.result()]) == ["e"]


@pytest.mark.asyncio
async def test_subscriber_that_never_comes_back_from_its_loop_holds_up_nobody() -> None:
    """It stands in the body of its ``async for`` for ever: the close is on time, and the others have everything."""
    client = AsyncClient(MemorySink(), batch_events=1)
    subscription = client.subscribe(DELIVERED, buffer=2)

    async def hang() -> None:
        async for _ in subscription:
            await asyncio.Event().wait()

    hanging = asyncio.create_task(hang())
    async with a_witness(client) as told:
        for number in range(10):
            await client.capture(str(number))
            await client.flush()
        assert (await client.aclose(5)).elapsed < 0.01

    assert len(told) == 10
    assert names(await read(subscription)) == ["1", "2", "-7"]
    hanging.cancel()
    await asyncio.wait({hanging})


@pytest.mark.asyncio
async def test_subscriber_that_was_too_slow_is_disconnected_alone() -> None:
    """With ``"disconnect"`` it reads what it has and what it missed until then, and its end."""
    client = AsyncClient(MemorySink(), batch_events=1)
    async with a_witness(client) as told:
        subscription = client.subscribe(DELIVERED, buffer=2, overflow="disconnect")
        for number in range(5):
            await client.capture(str(number))
            await client.flush()
        await anyio.wait_all_tasks_blocked()

        assert subscription.is_disconnected
        assert names(await read(subscription))[:2] == ["0", "1"]
        assert subscription.missed == 3

    assert len(told) == 5


# -- filters and callbacks that misbehave -----------------------------------------------------------------------------


def block(_: Outcome) -> bool:
    time.sleep(0.11)  # it is what must be measured
    return True


def raise_error(_: Outcome) -> bool:
    raise ValueError("x")


def raise_cancelled(_: Outcome) -> bool:
    raise asyncio.CancelledError("x")


def exit_python(_: Outcome) -> bool:
    raise SystemExit


@pytest.mark.asyncio
@pytest.mark.parametrize("misbehave", [raise_error, raise_cancelled, exit_python])
async def test_filter_that_raises_costs_its_own_subscriber_alone(misbehave: Callable[[Outcome], bool]) -> None:
    """What it was asked about is missed, and counted; nobody else, and no event, notices."""
    client = AsyncClient(MemorySink(), batch_events=1)
    async with a_witness(client) as told:
        subscription = client.subscribe(DELIVERED, filter=misbehave)
        callback = client.on_outcome(misbehave, DELIVERED)
        filtered = client.on_outcome(lambda _: None, DELIVERED, filter=misbehave)
        await client.capture_many(["a", "b", "c"])
        assert (await client.flush()).delivered == 3

    assert names(await read(subscription)) == ["-3"]
    assert (subscription.filter_errors, callback.errors, filtered.errors, len(told)) == (3, 3, 3, 3)
    assert check_ledger(client, drained=True).hook_errors == 6


@pytest.mark.asyncio
async def test_filter_that_blocks_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """It holds up the loop, which nobody can prevent; everybody has their outcomes all the same."""
    client = AsyncClient(MemorySink())
    async with a_witness(client) as told:
        subscription = client.subscribe(DELIVERED, filter=block, name="slow one")
        await client.capture("e")

    assert names(await read(subscription)) == ["e"]
    assert len(told) == 1
    assert "filter of slow one held up its caller for 0." in caplog.text


@pytest.mark.asyncio
async def test_filter_may_capture_close_others_and_subscribe() -> None:
    """Nothing of it comes back to itself without end, and nobody else is touched but those it closed."""
    client = AsyncClient(MemorySink(), batch_events=1, queue_events=3)
    made: list[Subscription] = []

    def meddle(outcome: Outcome) -> bool:
        if outcome.events == ("e",):
            for _ in range(5):
                client.capture_nowait("caused")
        victim.close()
        made.append(client.subscribe(DROPPED))
        return True

    async with a_witness(client) as told:
        victim = client.subscribe(DELIVERED)
        meddling = client.subscribe(DELIVERED, DROPPED, filter=meddle, buffer=10**5)
        await client.capture("e")
        await client.flush()
        await anyio.wait_all_tasks_blocked()
        meddling.close()

    assert {one.kind for one in told} == {DELIVERED, DROPPED}
    assert all(subscription.is_closed for subscription in [victim, meddling, *made])
    check_ledger(client, drained=True)


@pytest.mark.asyncio
@pytest.mark.parametrize("name", ["%s %d {}", "\x1b[31m\n", "ü" * 1000, "<b>"], ids=["format", "escape", "long", "tag"])
async def test_odd_names_break_nothing(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Of a subscription and of events, also where they are written into a log line."""
    caplog.set_level(logging.DEBUG)
    async with AsyncClient(MemorySink(), batch_events=1) as client:
        subscription = client.subscribe(DELIVERED, buffer=1, filter=raise_error, name=name)
        slow = client.subscribe(DELIVERED, buffer=1, name=name)
        await client.capture_many([name, name])
        await client.flush()
        await anyio.wait_all_tasks_blocked()

        assert name in repr(subscription)
        assert (subscription.missed, slow.missed) == (2, 1)
        assert slow.receive_nowait().events == (name,)  # type: ignore[union-attr]  # it is there


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("kinds", "options", "error", "message"),
    [
        ((), {}, ValueError, "at least one kind of outcome: delivered, retry, dropped, interrupted"),
        (("lost",), {}, ValueError, "unknown kind 'lost'"),
        (("deliverd",), {}, ValueError, "did you mean 'delivered'"),
        ((None,), {}, TypeError, "must be an OutcomeKind or its word"),
        ((DELIVERED,), {"buffer": 0}, ValueError, "buffer must be a whole number of outcomes, at least 1"),
        ((DELIVERED,), {"buffer": -5}, ValueError, "at least 1, or None, not -5"),
        ((DELIVERED,), {"buffer": True}, ValueError, "buffer must be"),
        ((DELIVERED,), {"buffer_bytes": 0}, ValueError, "buffer_bytes must be"),
        ((DELIVERED,), {"overflow": "wait"}, ValueError, "overflow must be one of"),
        ((DELIVERED,), {"filter": asyncio.sleep}, TypeError, "must be a plain function"),
        ((DELIVERED,), {"filter": "no"}, TypeError, "must be a function"),
        ((DELIVERED,), {"name": " "}, ValueError, "name must be"),
    ],
)
async def test_wrong_arguments_are_refused_in_words_and_leave_nothing(
    kinds: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The message names what is wrong; the client goes on as if nobody had asked."""
    async with AsyncClient(MemorySink()) as client:
        with pytest.raises(error, match=message):
            client.subscribe(*kinds, **options)

        await client.capture("e")
        assert client._feed.subscribers.wanted == ()
        assert "eventpipe-outcomes" not in tasks_of_clients()


# -- stops from the inside --------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_close_inside_send_leaves_its_own_batch_and_ends_every_subscription_later() -> None:
    """It waits for everything but the batch that it is in; the subscribers have that one's outcome as well."""
    reports: list[CloseReport] = []

    async def close(batch: Batch) -> None:
        if batch.events[0].event == "closes":
            reports.append(await client.aclose(5))

    client = AsyncClient(CallbackSink(close), batch_events=1)
    subscription = client.subscribe(*OutcomeKind)
    await client.capture_many(["before", "closes", "after"])

    items = await read(subscription)

    assert sorted(names(items)) == ["after", "before", "closes"]
    assert {item.kind for item in items if isinstance(item, Outcome)} == {DELIVERED}
    assert [(report.delivered, report.pending) for report in reports] == [(2, 1)]
    assert (await client.aclose()).delivered == 3
    assert asyncio.get_running_loop().time() < 1


@pytest.mark.asyncio
@pytest.mark.parametrize("place", ["callback", "filter"])
async def test_function_that_begins_a_close_does_not_deadlock(place: str) -> None:
    """A callback of ``on_outcome`` or a filter can only begin one; it comes to its end, and nobody misses anything."""
    closing: list[asyncio.Task[CloseReport]] = []

    def begin(_: Outcome) -> bool:
        closing.append(asyncio.create_task(client.aclose(5)))
        return True

    client = AsyncClient(MemorySink(), batch_events=1)
    async with a_witness(client) as told:
        if place == "callback":
            client.on_outcome(begin, DELIVERED)
        else:
            client.subscribe(DELIVERED, filter=begin)
        await client.capture_many(["a", "b"])
        await client.flush()
        await anyio.wait_all_tasks_blocked()
        reports = await asyncio.gather(*closing)

    assert len(told) == len(reports) == 2
    assert {(report.delivered, report.pending) for report in reports} == {(2, 0)}
    assert asyncio.get_running_loop().time() < 1


# -- when nobody subscribes -------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_client_that_nobody_subscribes_to_has_no_task_for_it_and_builds_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """10 000 events in 100 batches: 100 outcomes for the accounts, none of which gets further than a test of a name."""
    built = 0

    def count(*args: Any, **kwargs: Any) -> Outcome:
        nonlocal built
        built += 1
        return Outcome(*args, **kwargs)

    told: list[object] = []
    monkeypatch.setattr(answered, "Outcome", count)
    monkeypatch.setattr(exit_module, "Outcome", count)
    monkeypatch.setattr(OutcomeFeed, "tell", lambda *given: told.append(given))
    async with AsyncClient(MemorySink(), batch_events=100) as client:
        for _ in range(10_000):
            await client.capture("e")
        await client.flush()

        assert (built, told) == (100, [])
        assert tasks_of_clients() == ["eventpipe-MemorySink", "eventpipe-MemorySink group"]
        assert (client._feed.state, client._feed.channel.held) == (ServiceState.IDLE, 0)
    check_ledger(client, drained=True)


@pytest.mark.asyncio
async def test_kinds_that_nobody_wants_do_not_travel() -> None:
    """Deliveries are not put into the channel for somebody who asked for drops."""
    async with AsyncClient(MemorySink(), batch_events=1) as client:
        subscription = client.subscribe(DROPPED)
        held: list[int] = []
        client.on_outcome(lambda _: held.append(client._feed.channel.held), *OutcomeKind)
        for _ in range(10):
            await client.capture("e")
        await client.flush()

        assert (set(held), subscription.receive_nowait()) == ({0}, None)


@pytest.mark.asyncio
async def test_idle_client_with_subscribers_takes_no_steps() -> None:
    """One task more, whoever subscribes, and an hour of nothing costs a handful of loop steps."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    async with AsyncClient(MemorySink()) as client:
        subscriptions = [client.subscribe(*OutcomeKind) for _ in range(10)]
        readers = [asyncio.create_task(read(subscription)) for subscription in subscriptions]
        await client.capture("e")
        await client.flush()
        await anyio.wait_all_tasks_blocked()
        assert tasks_of_clients() == ["eventpipe-MemorySink", "eventpipe-MemorySink group", "eventpipe-outcomes"]

        before = loop.steps
        await asyncio.sleep(3600)

        assert loop.steps - before <= 5
    assert [names(await reader) for reader in readers] == [["e"]] * 10


# -- other loops, other threads, forks, and tasks that others cancel --------------------------------------------------


@pytest.mark.asyncio
@pytest.mark.parametrize("task", ["eventpipe-MemorySink", "eventpipe-outcomes", "eventpipe-MemorySink group"])
async def test_subscription_goes_on_when_somebody_cancels_a_task_of_the_client(task: str) -> None:
    """Whatever it was, and whether it starts again: no outcome is missed."""
    client = AsyncClient(MemorySink(), batch_events=1)
    async with a_witness(client) as told:
        for number in range(5):
            await client.capture(f"{number}")
            await client.flush()
            for one in asyncio.all_tasks():
                if one.get_name() == task:  # that of the subscriptions starts again once somebody else subscribes
                    one.cancel()
            client.capture_nowait(f"{number} meanwhile")
            await anyio.wait_all_tasks_blocked()
        await client.capture("last")
        await client.flush()

    assert {name for one in told if one.kind is DELIVERED for name in one.events} == {
        *(f"{number}" for number in range(5)),
        *(f"{number} meanwhile" for number in range(5)),
        "last",
    }
    check_ledger(client, drained=True)


@pytest.mark.wallclock
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
@pytest.mark.parametrize("ending", ["run", "close"])
def test_subscription_goes_on_in_the_loop_after_its_own(ending: str) -> None:
    """Of a client whose loop was closed without a word: it reads on in the next one, in order."""
    go_on_in_the_next_loop(ending)
    gc.collect()  # while the test catches what asyncio logs of the first loop's tasks


def go_on_in_the_next_loop(ending: str) -> None:
    client = AsyncClient(MemorySink(), batch_events=1)
    subscription = client.subscribe(DELIVERED, INTERRUPTED)

    async def begin() -> list[str]:
        await client.capture("a")
        item = await subscription.receive()
        await client.capture("b")
        await client.flush()
        return names([item])

    async def end() -> list[str]:
        await client.capture("c")
        await client.flush()
        items = [await subscription.receive(1) for _ in range(2)]
        await client.capture("d")
        await client.aclose()
        return names(items + await read(subscription))

    if ending == "run":
        first = asyncio.run(begin())
    else:
        loop = asyncio.new_event_loop()
        first = loop.run_until_complete(begin())
        loop.close()

    assert first + asyncio.run(end()) == ["a", "b", "c", "d"]
    check_ledger(client, drained=True)


@pytest.mark.wallclock
@pytest.mark.asyncio
@pytest.mark.parametrize("subscribes_there", [True, False])
async def test_subscriber_on_the_loop_of_another_thread_has_everything(subscribes_there: bool) -> None:
    """Whether it subscribed here or there, and it may close there as well."""
    client = AsyncClient(MemorySink(), batch_events=1)
    await client.capture("starts it")
    await client.flush()
    subscriptions = [] if subscribes_there else [client.subscribe(DELIVERED)]
    is_there = asyncio.Event()
    loop = asyncio.get_running_loop()
    got: list[str] = []

    async def follow() -> None:
        if subscribes_there:
            subscriptions.append(client.subscribe(DELIVERED))
        loop.call_soon_threadsafe(is_there.set)
        async with subscriptions[0] as subscription:
            async for item in subscription:
                got.extend(names([item]))
                if "last" in got:
                    break

    thread = threading.Thread(target=lambda: asyncio.run(follow()))
    thread.start()
    await is_there.wait()
    for number in range(200):
        await client.capture(str(number))
    await client.capture("last")
    await client.flush()
    await asyncio.to_thread(thread.join)
    await client.aclose()

    assert got == [*map(str, range(200)), "last"]
    assert client._feed.subscribers.wanted == ()


@pytest.mark.wallclock
def test_forked_child_has_an_end_of_its_parents_subscriptions_and_new_ones_of_its_own() -> None:
    """What was buffered can be read in both; what happens then is told to each of its own alone."""
    run_forking("""
        client = AsyncClient(MemorySink(), batch_events=1)
        subscription = client.subscribe("delivered")
        loop = asyncio.new_event_loop()

        async def say(*names):
            for name in names:
                await client.capture(name)
            await client.flush()

        async def read(subscription):
            return [name async for outcome in subscription for name in outcome.events]

        def child():
            async def main():
                own = client.subscribe("delivered")
                await say("child")
                assert await read(subscription) == ["a", "b"]
                assert subscription.is_closed
                await client.aclose()
                assert await read(own) == ["child"]
            asyncio.run(main())

        loop.run_until_complete(say("a", "b"))
        in_child(child)
        loop.run_until_complete(say("c"))
        assert not subscription.is_closed
        loop.run_until_complete(client.aclose())
        assert loop.run_until_complete(read(subscription)) == ["a", "b", "c"]
        loop.close()
    """)


@pytest.mark.wallclock
def test_child_forked_while_a_reader_waits_leaves_it_to_the_parent() -> None:
    """The copy of that task never wakes; the parent's goes on."""
    run_forking("""
        client = AsyncClient(MemorySink(), batch_events=1)
        loop = asyncio.new_event_loop()
        got = []

        async def follow():
            async for outcome in client.subscribe("delivered"):
                got.extend(outcome.events)

        async def begin():
            client.reader = loop.create_task(follow())
            await client.capture("a")
            await client.flush()
            await asyncio.sleep(0.01)

        async def child():
            await client.capture("child")
            assert (await client.aclose(5)).delivered == 1
            await asyncio.sleep(0.01)
            assert got == ["a"], got

        async def end():
            await client.capture("b")
            await client.aclose()
            await client.reader

        loop.run_until_complete(begin())
        in_child(lambda: loop.run_until_complete(child()))
        loop.run_until_complete(end())
        assert got == ["a", "b"], got
        loop.close()
    """)


@pytest.mark.asyncio
async def test_a_close_cut_short_leaves_subscriptions_to_the_next_one() -> None:
    """Somebody cancels the close itself: outcomes go on, until another close ends them."""
    sink = GatedSink()
    client = AsyncClient(sink, batch_events=1)
    subscription = client.subscribe(*OutcomeKind)
    await client.capture("e")
    closing = asyncio.create_task(client.aclose(5))
    await sink.reached()
    [task] = [one for one in asyncio.all_tasks() if one.get_name() == "eventpipe-close"]
    task.cancel()
    await anyio.wait_all_tasks_blocked()
    sink.release()
    with suppress(asyncio.CancelledError):
        await closing
    report = await client.aclose(5)

    assert (report.delivered, report.dropped_by_reason.get(DropReason.CLOSE_DEADLINE, 0)) == (1, 0)
    assert names(await read(subscription)) == ["e"]
