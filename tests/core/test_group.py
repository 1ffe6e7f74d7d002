"""Services as one: started in order, stopped side by side by one deadline, and reported by name."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from eventpipe.core.channel import Channel
from eventpipe.core.deadline import Deadline
from eventpipe.core.group import ServiceGroup
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.errors import ClosedError
from eventpipe.options import RetryPolicy
from eventpipe.testing.leaks import no_leaks
from tests.core.grouped import Deaf, Hasty, Listener, Member, Numbers

pytestmark = pytest.mark.asyncio

STOPPED, RUNNING = ServiceState.STOPPED, ServiceState.RUNNING


def states(*services: Service) -> list[ServiceState]:
    return [service.state for service in services]


def now() -> float:
    return asyncio.get_running_loop().time()


def members(*names: str) -> tuple[list[str], list[Member]]:
    steps: list[str] = []
    return steps, [Member(name, steps) for name in names]


async def test_members_start_in_order_and_stop_side_by_side() -> None:
    """Each has opened before the next one opens; their stops take as long as the longest of them."""
    steps, (a, b, c) = members("a", "b", "c")
    b.drain = 5
    group = ServiceGroup(a, b, c)

    with no_leaks():
        await group.start()
        assert (steps, now()) == (["a opened", "b opened", "c opened"], 3)
        assert states(group, a, b, c) == [RUNNING] * 4
        report = await group.stop()

    assert steps[3:] == ["a closed", "c closed", "b closed"]
    assert report == StopReport(stopped=("a", "b", "c"), elapsed=6)
    assert states(group, a, b, c) == [STOPPED] * 4
    assert group.error is None


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_the_first_error_stops_what_was_started_in_reverse(number: int) -> None:
    """One after the other, the last one first; the starter gets the error itself, later members never start."""
    steps, started = members("a", "b", "c")
    error = OSError("port in use")
    started[number].open_error = error
    group = ServiceGroup(*started)

    with no_leaks(), pytest.raises(OSError, match="port in use") as caught:
        await group.start()

    names = "abc"[:number]
    opened = [f"{name} opened" for name in names]
    assert steps == [*opened, f"{'abc'[number]} closed", *(f"{name} closed" for name in reversed(names))]
    assert caught.value is error
    assert (group.state, group.error) == (ServiceState.FAILED, error)
    assert [member.opens for member in started] == [1] * (number + 1) + [0] * (2 - number)
    assert await group.stop() == StopReport(stopped=tuple(names), failed=("abc"[number],))


async def test_a_stop_while_a_start_is_taken_back_keeps_its_deadline() -> None:
    """From then on all that is left stops side by side: one after the other, each would take a moment of its own."""
    deaf = [Deaf(f"deaf {number}") for number in range(10)]
    last = Member("last")
    last.open_error = OSError("no such port")
    group = ServiceGroup(*deaf, last)
    starting = asyncio.create_task(group.start())
    await asyncio.sleep(2.5)  # the last one could not be opened, and has closed

    report = await group.stop(1)

    assert report.elapsed <= 1.25
    assert report.stragglers == tuple(member.name for member in deaf)
    with pytest.raises(OSError, match="no such port"):
        await starting
    for member in deaf:
        member.released.set()
        await member.stopped()


async def test_a_group_that_failed_to_start_starts_when_the_cause_is_gone() -> None:
    """The failure of one life is no part of the next."""
    _, (a, b) = members("a", "b")
    b.open_error = OSError("port in use")
    group = ServiceGroup(a, b)
    with pytest.raises(OSError, match="port in use"):
        await group.start()
    b.open_error = None

    async with group:
        assert states(group, a, b) == [RUNNING] * 3

    assert group.error is None


async def test_a_start_that_fails_is_over_within_the_stop_timeout() -> None:
    """What was started and does not stop is cut off, by one deadline for all of it."""
    _, (broken,) = members("broken")
    broken.open_error = OSError("port in use")
    deaf = Deaf()
    group = ServiceGroup(Hasty("first"), deaf, Hasty("third"), broken, stop_timeout=4)

    with pytest.raises(OSError, match="port in use"):
        await group.start()

    assert 5 + 4 <= now() - 1 + 4 <= 5 + 4 + 1
    assert await group.stop() == StopReport(
        stopped=(), cancelled=("first", "third"), failed=("broken",), stragglers=("deaf",)
    )
    deaf.released.set()
    await deaf.stopped()


async def test_a_stop_hurries_a_start_that_is_taken_back() -> None:
    """What was started stops in reverse, each by the deadline of the stop that came meanwhile."""
    _, (broken,) = members("broken")
    broken.open_error = OSError("port in use")
    group = ServiceGroup(Hasty("a"), Hasty("b"), broken, stop_timeout=1000)
    starter = asyncio.create_task(group.start())
    await asyncio.sleep(10)

    report = await group.stop(5)

    assert (report.cancelled, report.failed) == (("a", "b"), ("broken",))
    assert 5 <= report.elapsed <= 5.25
    with pytest.raises(OSError, match="port in use"):
        await starter


async def test_a_member_that_finishes_while_others_start_ends_nothing() -> None:
    """The group is not over before it has begun."""
    _, (a, b) = members("a", "b")
    group = ServiceGroup(a, b)
    starter = asyncio.create_task(group.start())
    await asyncio.sleep(1.2)
    a.finish()
    await starter
    await asyncio.sleep(60)

    assert (states(group, a, b), a.is_finished) == ([RUNNING, STOPPED, RUNNING], True)
    await group.stop()


@pytest.mark.parametrize("is_reader_first", [True, False], ids=["reader first", "writer first"])
async def test_order_comes_from_the_end_of_input_alone(is_reader_first: bool) -> None:
    """A reader asked to stop with its writer reads to the end: nothing is lost, in whatever order they were given."""
    channel: Channel[int] = Channel(100)
    numbers, listener = Numbers(channel), Listener(channel)
    group = ServiceGroup(*((listener, numbers) if is_reader_first else (numbers, listener)))

    for _ in range(3):  # and each life has a channel that works
        async with group:
            await asyncio.sleep(5.5)
        assert listener.heard == numbers.sent
        assert listener.left == 0

    assert len(listener.heard) == 3 * 16


async def test_a_crowd_of_writers_and_readers_loses_nothing() -> None:
    """Two stages, several writers each: the first stops first, because the second has input until then."""
    channel: Channel[int] = Channel(3)
    writers = [Numbers(channel, f"writer {number}") for number in range(5)]
    listener = Listener(channel)
    group = ServiceGroup(listener, *writers, stop_timeout=60)
    await group.start()
    await asyncio.sleep(10)

    assert await group.stop()

    assert len(listener.heard) == sum(len(writer.sent) for writer in writers) >= 60
    for writer in writers:
        assert set(writer.sent) <= set(listener.heard)


async def test_a_reader_whose_writer_never_ends_is_ended_by_the_deadline() -> None:
    """It counts what it left, and the group is told that somebody had to be cut off."""
    channel: Channel[int] = Channel(100)
    listener = Listener(channel)
    handle = channel.producer("outside")
    group = ServiceGroup(listener)
    await group.start()
    handle.send_nowait([1, 2, 3])

    report = await group.stop(5)

    assert (report.stopped, report.elapsed) == (("listener",), 5)
    handle.close()


async def test_one_deadline_holds_for_all_members_together() -> None:
    """Timeouts do not add up: what hears no stop is cut off at the deadline, all at the same moment."""
    _, (orderly,) = members("orderly")
    group = ServiceGroup(Hasty("x"), orderly, Hasty("y"), Hasty("z"))
    await group.start()

    with no_leaks():
        report = await group.stop(10)

    assert (report.stopped, report.cancelled, bool(report)) == (("orderly",), ("x", "y", "z"), False)
    assert 10 <= report.elapsed <= 10.25
    assert orderly.deadlines == [11]
    assert states(group, *group.services) == [STOPPED] * 5
    assert group.error is None


async def test_stop_without_a_timeout_uses_the_groups_own() -> None:
    """``stop_timeout``, also where it is only asked to stop and nobody waits."""
    group = ServiceGroup(Hasty(), stop_timeout=7)
    for ask in (group.stop, group.request_stop):
        await group.start()
        before = now()
        ask() if ask == group.request_stop else await group.stop()
        await group.stopped()
        assert 7 <= now() - before <= 7.25


async def test_a_member_that_ignores_its_cancellation_is_named_in_time(caplog: pytest.LogCaptureFixture) -> None:
    """The report names it within 0.25 s of the deadline, the others have stopped, and the log says so once."""
    deaf = Deaf()
    _, (a, b) = members("a", "b")
    group = ServiceGroup(a, deaf, Hasty("h"), b)
    await group.start()

    report = await group.stop(5)

    assert (report.stopped, report.cancelled, report.failed, report.stragglers) == (("a", "b"), ("h",), (), ("deaf",))
    assert not report
    assert 5 <= report.elapsed <= 5.25
    assert states(group, a, b, deaf) == [STOPPED, STOPPED, STOPPED, ServiceState.STOPPING]
    assert caplog.messages == [
        "did not stop by the deadline, and is cut off: deaf, h",
        "group ServiceGroup leaves behind what did not end when it was cut off: deaf",
    ]
    deaf.released.set()
    await deaf.stopped()
    assert (await deaf.stop()).cancelled == ("deaf",)


async def test_a_group_starts_again_once_its_straggler_has_gone() -> None:
    """Two lives of one member at a time there are never."""

    class DeafOnce(Deaf):
        lives = 0

        async def _serve(self) -> None:
            self.lives += 1
            if self.lives == 1:
                await super()._serve()
            else:
                await Service._serve(self)

    deaf = DeafOnce()
    group = ServiceGroup(deaf)
    await group.start()
    await group.stop(1)

    starter = asyncio.create_task(group.start())
    await asyncio.sleep(60)
    assert (starter.done(), deaf.lives) == (False, 1)
    deaf.released.set()
    await starter
    await asyncio.sleep(0)
    assert (states(group, deaf), deaf.lives) == ([RUNNING, RUNNING], 2)
    assert await group.stop()


async def test_a_close_that_fails_is_reported_and_stops_nobody_else() -> None:
    """The member has failed, the group has stopped."""
    _, (a, b, c) = members("a", "b", "c")
    b.close_error = OSError("disk full")
    group = ServiceGroup(a, b, c)
    await group.start()

    report = await group.stop()

    assert (report.stopped, report.failed) == (("a", "c"), ("b",))
    assert (group.state, group.error, group.crashed) == (STOPPED, None, (b,))


async def test_concurrent_stops_each_keep_to_their_own_timeout() -> None:
    """The earliest deadline is everybody's, whether it comes first or later; nobody waits beyond their own."""
    hasty = Hasty()
    group = ServiceGroup(hasty)
    await group.start()
    reports: dict[float, StopReport] = {}

    async def stop(after: float, timeout: float) -> None:
        await asyncio.sleep(after)
        reports[timeout] = await group.stop(timeout)

    await asyncio.gather(stop(0, 100), stop(10, 5), stop(11, 50), stop(12, 200))

    ends = {timeout: report.elapsed for timeout, report in reports.items()}
    assert {timeout: math.floor(elapsed) for timeout, elapsed in ends.items()} == {100: 15, 5: 5, 50: 4, 200: 3}
    assert {report.cancelled for report in reports.values()} == {("Hasty",)}


async def test_an_earlier_deadline_reaches_members_that_stop_already() -> None:
    """Each hears every deadline that is nearer than the last, and no other."""
    _, (a,) = members("a")
    a.drain = 100
    group = ServiceGroup(a)
    await group.start()
    for timeout in (50, 80, 20, 30):
        group.request_stop(Deadline.after(timeout))

    await group.stopped()

    assert a.deadlines == [51, 21]
    assert 21 <= now() <= 21.25
    await a.stopped()  # it takes a second to close


async def test_a_cancelled_stop_goes_on() -> None:
    """Whoever else waits sees the end, and so does who asks later."""
    _, (a,) = members("a")
    a.drain = 10
    group = ServiceGroup(a)
    await group.start()
    first, second = (asyncio.create_task(group.stop()) for _ in range(2))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()

    assert (await second).stopped == ("a",)
    assert now() == 12
    assert (await group.stop()).stopped == ("a",)


async def test_cancelling_who_started_it_ends_no_member() -> None:
    """Neither while it starts nor later: the members are nobody's children."""
    steps, started = members("a", "b")
    group = ServiceGroup(*started)

    async def lifespan() -> None:
        await group.start()
        await asyncio.sleep(3600)

    for delay in (0.5, 1.5, 5):
        task = asyncio.create_task(lifespan())
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait({task})
    await group.started()

    assert states(group, *started) == [RUNNING] * 3
    assert steps == ["a opened", "b opened"]
    await group.stop()


async def test_a_cancelled_lifespan_kills_no_writer_before_its_reader() -> None:
    """Leaving the context by cancellation is a stop in order: what was sent is read to the end."""
    channel: Channel[int] = Channel(100)
    numbers, listener = Numbers(channel), Listener(channel)

    async def lifespan() -> None:
        async with ServiceGroup(numbers, listener):
            await asyncio.sleep(3600)

    task = asyncio.create_task(lifespan())
    await asyncio.sleep(5.5)
    task.cancel()
    await asyncio.wait({task})

    assert task.cancelled()
    assert (listener.heard, len(numbers.sent)) == (numbers.sent, 16)
    assert states(numbers, listener) == [STOPPED, STOPPED]


@pytest.mark.parametrize("delay", [0, 0.5, 1.5])
async def test_stop_while_it_starts_stops_all_of_it(delay: float) -> None:
    """Members that run, that open and that never began: the starter is told, nothing stays."""
    _, started = members("a", "b", "c")
    group = ServiceGroup(*started)
    with no_leaks():
        starter = asyncio.create_task(group.start())
        await asyncio.sleep(delay)
        report = await group.stop()
        with pytest.raises(ClosedError):
            await starter

    assert bool(report)
    assert {member.state for member in started} <= {STOPPED, ServiceState.IDLE}
    assert started[2].opens == 0


@pytest.mark.parametrize("who", ["group", "member", "member of a group within"])
async def test_stop_from_inside_is_refused_and_asking_is_not(who: str) -> None:
    """The main task of the group or of a member would wait for itself: that is said, and the group goes on."""
    errors: list[str] = []

    async def try_to_stop() -> None:
        for wait in (group.stop, group.stopped):
            try:
                await wait()
            except RuntimeError as error:
                errors.append(str(error))

    class Suicidal(Service):
        async def _serve(self) -> None:
            if who != "group":
                await group.started()
                await try_to_stop()
                group.request_stop()
            await super()._serve()

    class Outer(ServiceGroup):
        async def _serve(self) -> None:
            if who == "group":
                await try_to_stop()
                group.request_stop()
            await super()._serve()

    group = Outer(Suicidal() if who != "member of a group within" else ServiceGroup(Suicidal()), name="all")
    await group.start()
    await group.stopped()

    assert errors == ["service all cannot wait for its own end in a main task; use request_stop()"] * 2
    assert (group.state, group.error) == (STOPPED, None)


async def test_a_member_may_be_stopped_and_started_by_itself() -> None:
    """That is no crash, and costs the group nothing while another one runs."""
    _, (a, b) = members("a", "b")
    async with ServiceGroup(a, b, restart=RetryPolicy()) as group:
        await a.stop()
        await asyncio.sleep(3600)
        assert states(group, a, b) == [RUNNING, STOPPED, RUNNING]
        await a.start()
        await b.stop()
        assert states(group, a, b) == [RUNNING, RUNNING, STOPPED]

    assert states(group, a, b) == [STOPPED] * 3


async def test_a_request_that_raises_costs_its_own_service_only(caplog: pytest.LogCaptureFixture) -> None:
    """The others are asked, and it is cut off at the deadline."""

    class Rude(Service):
        def _request_stop(self, deadline: Deadline) -> None:
            raise KeyError("payload")

        async def _serve(self) -> None:
            await asyncio.Event().wait()

    _, (a,) = members("a")
    group = ServiceGroup(Rude(), a)
    await group.start()

    report = await group.stop(5)

    assert (report.stopped, report.cancelled) == (("a",), ("Rude",))
    assert "payload" not in caplog.text
    assert caplog.messages[0].startswith("_request_stop() of service Rude raised KeyError")


async def test_a_group_that_makes_no_sense_is_refused() -> None:
    """What is wrong is named, with its value and the rule."""
    service, other = Service("a"), Service("b")
    wrong: Any
    with pytest.raises(ValueError, match="a group needs at least one service"):
        ServiceGroup()
    for wrong in (7, Service, [service], None):
        with pytest.raises(TypeError, match=r"a group takes services one by one, and \w+ is none"):
            ServiceGroup(service, wrong)
    with pytest.raises(ValueError, match="service a is in the group twice"):
        ServiceGroup(service, other, service)
    with pytest.raises(ValueError, match="service a is in the group twice"):
        ServiceGroup(service, ServiceGroup(other, ServiceGroup(service)))
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"stop_timeout must be above 0 and finite, not {wrong}"):
            ServiceGroup(service, stop_timeout=wrong)
    for wrong in ("5", True, None):
        with pytest.raises(TypeError, match="stop_timeout must be a number of seconds, not"):
            ServiceGroup(service, stop_timeout=wrong)
    for wrong in (3, True, {}):
        with pytest.raises(TypeError, match="restart must be a RetryPolicy, not"):
            ServiceGroup(service, restart=wrong)

    async def asynchronous(service: Service, error: BaseException) -> None: ...

    for wrong in (3, asynchronous):
        with pytest.raises(TypeError, match="on_crash must be a plain function of a service and its error, not"):
            ServiceGroup(service, on_crash=wrong)


async def test_a_timeout_that_is_no_number_stops_nothing() -> None:
    """NaN is refused before anybody is asked."""
    async with ServiceGroup(Service()) as group:
        with pytest.raises(ValueError, match="nan"):
            await group.stop(math.nan)
        assert group.state is RUNNING


async def test_a_service_is_in_one_running_group_at_a_time() -> None:
    """The second group is refused and leaves the first alone; once that has stopped, it may have the service."""
    shared, other = Service("shared"), Service("other")
    first, second = ServiceGroup(shared, name="first"), ServiceGroup(other, shared, name="second")

    async with first:
        with pytest.raises(RuntimeError, match="service shared is in group first, which runs"):
            await second.start()
        assert states(first, shared, other) == [RUNNING, RUNNING, ServiceState.IDLE]
        assert await second.stop() == StopReport(failed=("second",))

    async with second:
        assert states(shared, other) == [RUNNING, RUNNING]
    async with first:
        assert states(shared, other) == [RUNNING, STOPPED]


async def test_a_group_cancelled_by_somebody_else_is_over_within_its_stop_timeout() -> None:
    """It stops its members as ever, and cuts off what does not."""
    hasty = Hasty()
    group = ServiceGroup(hasty, name="all", stop_timeout=5)
    await group.start()
    next(task for task in asyncio.all_tasks() if task.get_name() == "all").cancel()

    await group.stopped()

    assert 5 <= now() <= 5.25
    assert states(group, hasty) == [ServiceState.FAILED, STOPPED]


@pytest.mark.wallclock
async def test_a_member_that_runs_in_another_loop_fails_the_start_at_once() -> None:
    """The group has nothing to do with that life: it is neither asked nor waited for."""
    service = Service("elsewhere")
    loop = asyncio.new_event_loop()
    await asyncio.to_thread(loop.run_until_complete, service.start())
    group = ServiceGroup(Service("here"), service, stop_timeout=3600)
    try:
        with pytest.raises(RuntimeError, match="service elsewhere runs in another event loop"):
            await group.start()
        assert service.state is RUNNING
    finally:
        await asyncio.to_thread(loop.run_until_complete, service.stop())
        loop.close()


async def test_services_without_hash_or_equality_may_be_members() -> None:
    """What a subclass makes of comparing is its own affair."""

    class Alike(Service):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]  # as a dataclass has it

    async with ServiceGroup(Alike(), Alike()) as group:
        assert len(group.services) == 2

    assert group.state is STOPPED
