"""Groups in groups: one order, one deadline, one report."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.core.channel import Channel
from eventpipe.core.group import ServiceGroup
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.options import RetryPolicy
from eventpipe.testing.leaks import no_leaks
from tests.core.grouped import Deaf, Hasty, Listener, Member

pytestmark = pytest.mark.asyncio


def nested(depth: int, *services: Service) -> ServiceGroup:
    group = ServiceGroup(*services, name="group 0")
    for level in range(1, depth + 1):
        group = ServiceGroup(group, name=f"group {level}")
    return group


async def test_groups_start_in_order_and_stop_side_by_side() -> None:
    """Members of a group within come where the group is; the report has the names of services, not of groups."""
    steps: list[str] = []
    a, b, c, d = (Member(name, steps) for name in "abcd")
    group = ServiceGroup(a, ServiceGroup(b, c, name="within"), d)

    await group.start()
    assert steps == ["a opened", "b opened", "c opened", "d opened"]
    report = await group.stop()

    assert report == StopReport(stopped=("a", "b", "c", "d"), elapsed=2)


async def test_an_error_deep_within_stops_all_in_reverse() -> None:
    """What the inner group had started stops first, then what the outer one had."""
    steps: list[str] = []
    a, b, c, d = (Member(name, steps) for name in "abcd")
    c.open_error = OSError("port in use")
    group = ServiceGroup(a, ServiceGroup(b, c), d)

    with no_leaks(), pytest.raises(OSError, match="port in use") as caught:
        await group.start()

    assert steps == ["a opened", "b opened", "c closed", "b closed", "a closed"]
    assert caught.value is c.open_error
    assert await group.stop() == StopReport(stopped=("a", "b"), failed=("c",))


@pytest.mark.parametrize("depth", range(6))
async def test_a_straggler_deep_within_is_named_in_time(depth: int) -> None:
    """However deep, within 0.25 s of the one deadline; no main task of a group is left."""
    deaf = Deaf()
    group = nested(depth, Member("a"), deaf, Hasty("h"))
    await group.start()

    report = await group.stop(10)

    assert (report.stopped, report.cancelled, report.stragglers) == (("a",), ("h",), ("deaf",))
    assert 10 <= report.elapsed <= 10.25
    assert [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()] == ["deaf"]
    deaf.released.set()
    await deaf.stopped()


async def test_the_deadline_of_the_outermost_holds_for_all() -> None:
    """A group within has a ``stop_timeout`` for itself; a stop from outside brings its own."""
    member = Member("a")
    group = ServiceGroup(ServiceGroup(member, stop_timeout=1), stop_timeout=30)
    await group.start()
    member.drain = 20

    report = await group.stop()

    assert (report.stopped, report.elapsed, member.deadlines) == (("a",), 21, [31])


async def test_an_earlier_deadline_reaches_the_innermost() -> None:
    """It is brought forward at every level."""
    group = nested(3, Hasty())
    await group.start()
    late = asyncio.create_task(group.stop(100))
    await asyncio.sleep(1)

    report = await group.stop(2)

    assert 2 <= report.elapsed <= 2.25
    assert 3 <= (await late).elapsed <= 3.25


@pytest.mark.parametrize("turns", range(1, 12))
async def test_a_group_cut_off_anywhere_ends_in_its_moment(turns: int) -> None:
    """While it starts, runs or stops: all members are cut off at once, and the group names who stays."""
    deaf = Deaf()
    group = nested(2, Hasty(), deaf)
    starter = asyncio.create_task(group.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    before = loop.time()

    group.cancel()
    group.cancel()
    await asyncio.gather(starter, return_exceptions=True)
    await group.stop()

    assert loop.time() - before <= 0.15
    assert (group.state, group.error, group.was_cut_off) == (ServiceState.STOPPED, None, True)
    deaf.released.set()
    group.cancel()
    await group.stop()
    if deaf.state is not ServiceState.IDLE:
        await deaf.stopped()


async def test_a_member_of_a_group_within_that_crashes_is_seen_from_outside() -> None:
    """By ``crashed``; the groups run on while anything in them does."""
    a, b, c = (Member(name) for name in "abc")
    async with ServiceGroup(ServiceGroup(a, b), c) as group:
        a.crash(OSError())
        await asyncio.sleep(5)
        assert (group.crashed, group.state, group.services[0].state) == ((a,), "running", "running")


async def test_a_group_that_crashes_starts_again_as_a_whole() -> None:
    """With nobody left to run it has failed, which its own group repairs, in order, as for any service."""
    steps: list[str] = []
    a, b, c = (Member(name, steps) for name in "abc")
    told: list[str] = []
    inner = ServiceGroup(a, b, name="within")
    restart = RetryPolicy(initial=10, jitter=0)
    async with ServiceGroup(inner, c, restart=restart, on_crash=lambda service, _: told.append(service.name)):
        a.finish()
        b.crash(OSError())
        await asyncio.sleep(5)
        assert (inner.state, inner.crashed, told) == (ServiceState.FAILED, (b,), ["within"])
        steps.clear()
        await asyncio.sleep(30)
        assert (steps, inner.state.value, inner.crashed) == (["a opened", "b opened"], "running", ())


class Writer(Service):
    """Sends a number a second; its end of the channel is open as long as it lives."""

    def __init__(self, channel: Channel[int]) -> None:
        super().__init__("writer")
        self.channel = channel
        self.sent: list[int] = []
        self.crashes_at: int | None = None

    async def _open(self) -> None:
        self._producer = self.channel.producer(self.name)

    async def _serve(self) -> None:
        while not await self._wait_for_stop(1):
            if len(self.sent) == self.crashes_at:
                self.crashes_at = None
                raise OSError("the network is down")
            await self._producer.send([len(self.sent)])
            self.sent.append(len(self.sent))

    async def _close(self) -> None:
        self._producer.close()


@pytest.mark.parametrize("who", ["writer", "reader"])
async def test_a_writer_and_its_reader_start_again_as_one(who: str) -> None:
    """The end of the writer is that of the channel: with its reader it begins anew; a reader alone goes on."""
    channel: Channel[int] = Channel(100)
    writer, reader = Writer(channel), Listener(channel)
    restart = RetryPolicy(initial=1, jitter=0)
    pair = ServiceGroup(ServiceGroup(reader, restart=restart), writer, name="pair")
    if who == "writer":
        writer.crashes_at = 5
    else:
        reader.error_at = 5

    async with ServiceGroup(pair, restart=restart) as group:
        await asyncio.sleep(30)
        assert (group.crashed, pair.state.value, channel.producers) == ((), "running", ("writer",))

    assert reader.cut_off == ([5] if who == "reader" else [])
    assert sorted(reader.heard + reader.cut_off) == writer.sent
    assert len(writer.sent) > 20


async def test_a_group_whose_groups_have_finished_has_finished() -> None:
    """From the inside out."""
    a, b = Member("a"), Member("b")
    group = ServiceGroup(ServiceGroup(a), ServiceGroup(ServiceGroup(b)))
    await group.start()
    a.finish()
    b.finish()
    await group.stopped()

    assert (group.is_finished, group.error) == (True, None)
    assert all(member.is_finished for member in group.services)


async def test_a_group_in_two_groups_is_refused() -> None:
    """As any service is."""
    within = ServiceGroup(Service())
    async with ServiceGroup(within, name="first"):
        with pytest.raises(RuntimeError, match="service ServiceGroup is in group first, which runs"):
            await ServiceGroup(within).start()
