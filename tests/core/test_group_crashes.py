"""A member that crashes: told, started again after a backoff, given up in the end; and the others go on."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from eventpipe.core.channel import Channel
from eventpipe.core.group import ServiceGroup
from eventpipe.core.restarts import Restarts
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.options import RetryPolicy
from eventpipe.testing.leaks import no_leaks
from tests.core.grouped import Listener, Member, Numbers

pytestmark = pytest.mark.asyncio

STOPPED, RUNNING, FAILED = ServiceState.STOPPED, ServiceState.RUNNING, ServiceState.FAILED
EXACT = RetryPolicy(max_attempts=4, initial=10, factor=2, max_delay=300, jitter=0)


def state_of(service: Service) -> ServiceState:
    return service.state


async def settle() -> None:
    """Let what was just set off run its course: a member takes a second to close."""
    await asyncio.sleep(1.5)


async def test_a_member_that_crashes_costs_no_other() -> None:
    """It has failed, its error is kept, it is told of once; the group and the others run on."""
    a, b = Member("a"), Member("b")
    told: list[tuple[Service, BaseException]] = []
    error = OSError("disk full")
    async with ServiceGroup(a, b, on_crash=lambda *crash: told.append(crash)) as group:
        a.crash(error)
        await asyncio.sleep(3600)

        assert told == [(a, error)]
        assert (a.state, a.error, b.state, group.state, group.error) == (FAILED, error, RUNNING, RUNNING, None)
        assert group.crashed == (a,)
        report = await group.stop()

    assert report == StopReport(stopped=("b",), failed=("a",), elapsed=2)
    assert (state_of(group), group.error) == (STOPPED, None)


@pytest.mark.parametrize("raised", [KeyError("payload"), asyncio.CancelledError(), SystemError()], ids=repr)
async def test_an_on_crash_that_raises_costs_nobody(raised: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged without its text; the member starts again all the same, and the others never notice."""
    a, b = Member("a"), Member("b")

    def on_crash(service: Service, error: BaseException) -> None:
        raise raised

    async with ServiceGroup(a, b, restart=EXACT, on_crash=on_crash) as group:
        a.crash(OSError())
        await asyncio.sleep(100)
        assert (a.state, b.state, group.state) == (RUNNING, RUNNING, RUNNING)

    assert caplog.messages[1].startswith(f"on_crash of group ServiceGroup raised {type(raised).__name__}")
    assert "payload" not in caplog.text


async def test_on_crash_may_ask_the_group_to_stop() -> None:
    """All of it, from inside: the others stop in order, the one that crashed does not come back."""
    a, b = Member("a"), Member("b")
    group = ServiceGroup(a, b, restart=EXACT, on_crash=lambda service, error: group.request_stop())
    await group.start()

    a.crash(OSError())
    await group.stopped()

    assert (a.opens, a.state, b.state, group.error) == (1, FAILED, STOPPED, None)
    assert await group.stop() == StopReport(stopped=("b",), failed=("a",))


async def test_starts_again_after_a_backoff_that_grows(caplog: pytest.LogCaptureFixture) -> None:
    """Ten seconds, twenty, forty: as the policy says, counted from its end; the log says when and how often."""
    a = Member("a")
    await asyncio.sleep(1000)
    async with ServiceGroup(a, Member("b"), restart=EXACT) as group:
        for delay in (10, 20, 40):
            a.crash(OSError())
            await asyncio.sleep(1 + delay - 0.1)  # it takes a second to close
            assert (state_of(a), group.crashed) == (FAILED, (a,))
            await asyncio.sleep(0.2)
            assert state_of(a) is ServiceState.STARTING
            await a.started()
            assert (state_of(a), a.error, len(group.crashed)) == (RUNNING, None, 0)

    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "service a starts again in 10.0 s: start 2 of 4",
        "service a starts again in 20.0 s: start 3 of 4",
        "service a starts again in 40.0 s: start 4 of 4",
    ]


async def test_gives_up_after_its_last_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """``max_attempts`` starts in a row, the first included; the others run on, and the group says who is missing."""
    a = Member("a")
    told: list[BaseException] = []
    await asyncio.sleep(1000)
    async with ServiceGroup(a, Member("b"), restart=EXACT, on_crash=lambda _, error: told.append(error)) as group:
        a.open_error = OSError("gone")  # each start again fails
        a.crash(OSError())
        await asyncio.sleep(100_000)

        assert (a.opens, len(told), a.state, a.error) == (4, 4, FAILED, a.open_error)
        assert (group.state, group.crashed) == (RUNNING, (a,))
        assert caplog.messages[-1] == "service a of group ServiceGroup does not start again"


async def test_a_member_that_ran_well_is_counted_anew() -> None:
    """Longer than ``max_delay`` is well: it may crash once a day for ever, and is back after the first delay."""
    a = Member("a")
    async with ServiceGroup(a, Member("b"), restart=EXACT):
        for opens in range(2, 12):
            await asyncio.sleep(301)
            a.crash(OSError())
            await asyncio.sleep(12.5)
            assert (state_of(a), a.opens) == (RUNNING, opens)


async def test_a_crash_in_good_time_is_one_more_of_the_same_row() -> None:
    """At the moment of ``max_delay`` it still counts; later it does not; an opening that failed ran for no time."""
    restarts = Restarts(EXACT, lambda: 0.5)

    assert [restarts.crashed(ran) for ran in (0.0, 300.0, 300.5, 0.0, 5.0)] == [10, 20, 10, 20, 40]
    assert restarts.crashed(300) is None
    assert restarts.crashes == 4


async def test_stop_during_a_backoff_ends_at_once() -> None:
    """Nothing waits for a timer, and nothing starts afterwards."""
    a = Member("a")
    group = ServiceGroup(a, restart=EXACT)
    await group.start()
    a.crash(OSError())
    await settle()

    with no_leaks():
        report = await group.stop()

    assert (report.failed, report.elapsed, group.state) == (("a",), 0, STOPPED)
    await asyncio.sleep(3600)
    assert a.opens == 1


async def test_nothing_starts_again_while_the_others_stop() -> None:
    """A backoff that ends in the middle of a long stop ends in nothing."""
    a, b = Member("a"), Member("b")
    b.drain = 100
    group = ServiceGroup(a, b, restart=EXACT, stop_timeout=200)
    await group.start()
    a.crash(OSError())
    await settle()

    with no_leaks():
        report = await group.stop()

    assert (report.stopped, report.failed, a.opens) == (("b",), ("a",), 1)


async def test_a_stop_while_a_member_starts_again_stops_it_too() -> None:
    """However far it got."""
    a, b = Member("a"), Member("b")
    group = ServiceGroup(a, b, restart=EXACT)
    await group.start()
    a.crash(OSError())
    await asyncio.sleep(11.5)  # a second to close, ten to wait; it opens
    assert a.state is ServiceState.STARTING

    with no_leaks():
        assert (await group.stop()).stopped == ("a", "b")

    assert (state_of(a), b.state) == (STOPPED, STOPPED)


async def test_a_crash_while_stopping_is_reported_and_not_repaired() -> None:
    """It failed; nobody starts it again."""
    a, b = Member("a"), Member("b")
    b.drain = 100  # longer than the backoff
    a.close_error = OSError()
    told: list[Service] = []
    group = ServiceGroup(a, b, restart=EXACT, stop_timeout=200, on_crash=lambda service, _: told.append(service))
    await group.start()

    report = await group.stop()
    await asyncio.sleep(3600)

    assert (report.stopped, report.failed, a.opens, told) == (("b",), ("a",), 1, [a])


async def test_a_crash_while_others_still_start_is_looked_after() -> None:
    """Supervision begins with the first member: it is back before the last one runs."""
    a, b = Member("a"), Member("b")
    policy = RetryPolicy(initial=0.1, jitter=0)
    group = ServiceGroup(a, b, restart=policy)
    starter = asyncio.create_task(group.start())
    await asyncio.sleep(1.5)
    a.crash(OSError())
    await starter
    await asyncio.sleep(5)

    assert (a.opens, a.state, b.opens) == (2, RUNNING, 1)
    await group.stop()


async def test_a_group_none_of_whose_members_runs_has_ended() -> None:
    """All finished: finished. One crashed: failed with its error, as nobody will bring it back."""
    a, b = Member("a"), Member("b")
    group = ServiceGroup(a, b)
    await group.start()
    a.finish()
    await settle()
    assert (state_of(group), group.is_finished) == (RUNNING, False)
    b.finish()
    await group.stopped()
    assert (state_of(group), group.is_finished, group.error) == (STOPPED, True, None)
    assert await group.stop() == StopReport(stopped=("a", "b"))

    error = OSError("disk full")
    await group.start()
    a.finish()
    b.crash(error)
    await group.stopped()
    assert (state_of(group), group.is_finished, group.error) == (FAILED, False, error)
    assert await group.stop() == StopReport(stopped=("a",), failed=("b",))

    async with group:
        assert (state_of(group), group.crashed) == (RUNNING, ())


async def test_a_finished_group_does_not_spin() -> None:
    """Input that ends without a stop: a handful of steps, however long ago."""
    channel: Channel[int] = Channel(10)
    producer = channel.producer("outside")
    group = ServiceGroup(Listener(channel), Listener(Channel(1), "idle"))
    await group.start()
    producer.send_nowait([1, 2, 3])
    loop = asyncio.get_running_loop()
    before: int = loop.steps  # type: ignore[attr-defined]  # the suite's loop counts

    producer.close()
    await asyncio.sleep(3600)
    assert group.services[0].is_finished
    assert group.state is RUNNING
    assert loop.steps - before <= 12  # type: ignore[attr-defined]
    await group.stop()


async def test_a_group_that_waits_to_start_again_is_not_over() -> None:
    """Its only member is away, and comes back."""
    a = Member("a")
    group = ServiceGroup(a, restart=EXACT)
    await group.start()
    a.crash(OSError())
    await asyncio.sleep(5)
    assert (group.state, a.state) == (RUNNING, FAILED)

    await asyncio.sleep(10)
    assert (state_of(group), state_of(a)) == (RUNNING, RUNNING)
    await group.stop()


async def test_a_member_that_finished_or_was_stopped_does_not_start_again() -> None:
    """Only a crash is repaired."""
    a, b, c = (Member(name) for name in "abc")
    async with ServiceGroup(a, b, c, restart=EXACT) as group:
        a.finish()
        await b.stop()
        await asyncio.sleep(3600)
        assert [member.opens for member in (a, b, c)] == [1, 1, 1]
        assert group.crashed == ()


async def test_a_member_cancelled_by_somebody_else_has_crashed() -> None:
    """It is told of and starts again, and the group takes the cancellation for nobody else's."""
    a = Member("a")
    told: list[BaseException] = []
    group = ServiceGroup(a, restart=RetryPolicy(max_attempts=2, jitter=0), on_crash=lambda _, error: told.append(error))
    await group.start()
    for _ in range(2):
        next(task for task in asyncio.all_tasks() if task.get_name() == "a").cancel()
        await asyncio.sleep(5)

    assert [type(error) for error in told] == [asyncio.CancelledError] * 2
    assert (state_of(group), str(group.error)) == (FAILED, "service a was cancelled by somebody else")


async def test_somebody_may_start_a_crashed_member_before_its_time() -> None:
    """It runs once, and the timer changes nothing."""
    a = Member("a")
    async with ServiceGroup(a, restart=EXACT) as group:
        a.crash(OSError())
        await settle()
        await a.start()
        await asyncio.sleep(3600)
        assert (a.opens, state_of(a), state_of(group)) == (2, RUNNING, RUNNING)


async def test_a_crashed_member_that_somebody_started_and_stopped_stays_stopped() -> None:
    """Who did so meant it; the timer starts only what has failed."""
    a = Member("a")
    async with ServiceGroup(a, Member("b"), restart=EXACT):
        a.crash(OSError())
        await settle()
        await a.start()
        await a.stop()
        await asyncio.sleep(3600)
        assert (a.opens, state_of(a)) == (2, STOPPED)


async def test_a_group_looks_after_its_members_while_it_runs_only() -> None:
    """What one of them does later is told to nobody here, and repaired by nobody."""
    a = Member("a")
    told: list[Service] = []
    async with ServiceGroup(a, restart=EXACT, on_crash=lambda service, _: told.append(service)):
        pass
    await a.start()
    a.crash(OSError())
    await asyncio.sleep(3600)

    assert (a.opens, state_of(a), told) == (2, FAILED, [])


async def test_a_member_that_does_not_even_start_is_told_to_the_starter_alone() -> None:
    """That is no crash of something that ran."""
    a = Member("a")
    a.open_error = OSError("gone")
    told: list[Service] = []
    with pytest.raises(OSError, match="gone"):
        await ServiceGroup(a, restart=EXACT, on_crash=lambda service, _: told.append(service)).start()

    assert (told, a.opens) == ([], 1)


async def test_a_member_that_somebody_brought_back_is_forgiven() -> None:
    """The group fails only for what has failed when the last of it ends."""
    a = Member("a")
    group = ServiceGroup(a, Member("b"))
    await group.start()
    a.crash(OSError())
    await settle()
    await a.start()
    for member in group.services:
        assert isinstance(member, Member)
        member.finish()
    await group.stopped()

    assert (group.is_finished, group.error) == (True, None)


async def test_a_reader_that_crashes_and_starts_again_loses_the_list_in_hand_alone() -> None:
    """What came meanwhile waits in the channel, and is read by the next life."""
    channel: Channel[int] = Channel(100)
    numbers, listener = Numbers(channel), Listener(channel)
    listener.error_at = 3
    group = ServiceGroup(listener, numbers, restart=EXACT)
    await group.start()
    await asyncio.sleep(30.5)

    assert await group.stop()

    assert listener.heard == [number for number in numbers.sent if number != 3]


async def test_the_group_starts_again_after_a_crash_of_its_own() -> None:
    """Somebody cancelled its main task: the members stop, it has failed, and starts as new."""
    a, b = Member("a"), Member("b")
    group = ServiceGroup(a, b, name="all")
    await group.start()
    next(task for task in asyncio.all_tasks() if task.get_name() == "all").cancel()
    await group.stopped()
    assert (state_of(group), state_of(a), state_of(b)) == (FAILED, STOPPED, STOPPED)
    assert isinstance(group.error, asyncio.CancelledError)
    assert await group.stop() == StopReport(stopped=("a", "b"), failed=("all",))

    async with group:
        assert (state_of(group), state_of(a), state_of(b)) == (RUNNING, RUNNING, RUNNING)
    assert await group.stop() == StopReport(stopped=("a", "b"))


async def test_counts_of_one_life_are_not_of_the_next() -> None:
    """A stop and a start give every member all its attempts again."""
    a = Member("a")
    group = ServiceGroup(a, Member("b"), restart=RetryPolicy(max_attempts=2, initial=10, jitter=0))
    for opens in (2, 4):
        async with group:
            a.crash(OSError())
            await asyncio.sleep(20)
            assert (a.opens, state_of(a)) == (opens, RUNNING)


async def test_nothing_of_a_crash_reaches_the_loop() -> None:
    """No error ends in the loop's exception handler."""
    troubles: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    a = Member("a")
    group = ServiceGroup(a, restart=EXACT, on_crash=lambda *_: 1 / 0)
    await group.start()
    a.open_error = OSError()
    a.crash(OSError())
    await group.stopped()
    await asyncio.sleep(1)

    assert troubles == []
