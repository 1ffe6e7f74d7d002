"""The holder's side of a lease: it knows of a loss before anybody else can have it, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import socket
import sys
from typing import Any

import pytest

from eventpipe.core.granting import GRACE
from eventpipe.core.lease import Lease
from eventpipe.errors import ClosedError, LeaseHeldError, LeaseLostError, StoreError
from eventpipe.testing.leaks import no_leaks
from eventpipe.testing.loop import DeadlockError, VirtualTimeLoop
from tests.core.granted import FakeGrantor

TRUST = 57.0  # of ttl 60 and heartbeat 3


def now() -> float:
    return asyncio.get_running_loop().time()


def virtual_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def timers() -> int:
    """Timers that are set and will fire."""
    return sum(not timer.cancelled() for timer in virtual_loop()._scheduled)


def other_tasks() -> list[str]:
    return sorted(task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()})


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def held(store: FakeGrantor, name: str = "pass", **options: Any) -> Lease:  # Any: the options of a Lease
    lease = Lease(store, name, **options)
    await lease.acquire()
    return lease


@pytest.mark.asyncio
class TestOptions:
    @pytest.mark.parametrize("option", ["ttl", "heartbeat"])
    @pytest.mark.parametrize("value", [0, -1, 0.0, math.nan, math.inf, -math.inf])
    async def test_a_time_that_has_no_meaning_is_refused(self, option: str, value: float) -> None:
        """Zero, negative and endless ones are, by a message that names the option and the value."""
        with pytest.raises(ValueError, match=rf"^{option} must be a positive number of seconds, not {value!r}"):
            Lease(FakeGrantor(), "pass", **{option: value})  # type: ignore[arg-type]  # any of the options

    @pytest.mark.parametrize("option", ["ttl", "heartbeat"])
    @pytest.mark.parametrize("value", ["3", None, True])
    async def test_a_time_that_is_no_number_is_refused(self, option: str, value: object) -> None:
        """Text, ``None`` and truth values are no seconds."""
        with pytest.raises(TypeError, match=rf"^{option} must be a number of seconds, not "):
            Lease(FakeGrantor(), "pass", **{option: value})  # type: ignore[arg-type]

    @pytest.mark.parametrize("heartbeat", [5.0, 5.1, 10.0, 60.0])
    async def test_a_heartbeat_of_half_the_ttl_is_refused(self, heartbeat: float) -> None:
        """Two renewals must fit into a ttl, so that one may fail."""
        with pytest.raises(ValueError, match=rf"^heartbeat must be below half of ttl \(5 s\), not {heartbeat:g}: "):
            Lease(FakeGrantor(), "pass", ttl=10, heartbeat=heartbeat)

        Lease(FakeGrantor(), "pass", ttl=10, heartbeat=4.9)

    async def test_on_lost_is_a_plain_function(self) -> None:
        """One that would have to be awaited, or cannot be called, is refused."""

        async def on_lost(error: LeaseLostError) -> None: ...

        for wrong in (on_lost, "on_lost"):
            with pytest.raises(TypeError, match=r"^on_lost must be a plain function, not "):
                Lease(FakeGrantor(), "pass", on_lost=wrong)  # type: ignore[arg-type]

    async def test_a_holder_is_named_after_host_and_process(self) -> None:
        """Two of one process are told apart; a name that is given is taken as it is."""
        one, two = (Lease(FakeGrantor(), "pass").holder for _ in range(2))

        assert one.startswith(f"{socket.gethostname()}/{os.getpid()}/")
        assert one != two
        assert Lease(FakeGrantor(), "pass", holder="me").holder == "me"

    async def test_a_new_lease_is_not_held(self) -> None:
        """It has no token, asks nothing, and everything that needs the right says so."""
        store = FakeGrantor()
        lease = Lease(store, "pass")

        assert (lease.token, store.calls, other_tasks()) == (None, [], [])
        for use in (lease.check, lease.guard):
            with pytest.raises(LeaseLostError, match=r"^pass is not held: acquire\(\) takes it"):
                use()
        await lease.release()
        assert store.calls == []


@pytest.mark.asyncio
class TestHolding:
    async def test_its_only_task_is_the_heartbeat(self) -> None:
        """Released, neither task nor timer is left."""
        store = FakeGrantor()
        with no_leaks():
            lease = await held(store, holder="me")
            assert other_tasks() == ["heartbeat of pass"]
            assert (lease.token, lease.check(), store.holder_of("pass")) == (1, 1, "me")
            await asyncio.sleep(100)
            await lease.release()
            assert (other_tasks(), timers()) == ([], 0)

        assert (lease.token, store.holder_of("pass")) == (None, None)

    async def test_it_is_renewed_with_each_heartbeat(self) -> None:
        """In an hour of a heartbeat each 3 s it is asked for 1 200 times, and held all the time."""
        store = FakeGrantor()
        lost: list[LeaseLostError] = []
        lease = await held(store, holder="me", on_lost=lost.append)
        for _ in range(60):
            await asyncio.sleep(60)
            assert (lease.check(), store.holder_of("pass")) == (1, "me")
        await asyncio.sleep(1)
        await lease.release()

        assert store.calls == ["acquire", *["renew"] * 1200, "release"]
        assert lost == []

    async def test_in_a_store_of_its_own_it_costs_nothing(self) -> None:
        """Where nobody else can be, it has no end: no task, no timer, no turn of the loop in a day."""
        store = FakeGrantor(is_shared=False)
        lease = await held(store, holder="me", ttl=1, heartbeat=0.1)
        assert (other_tasks(), timers()) == ([], 0)
        before = virtual_loop().steps
        await asyncio.sleep(86_400)

        assert virtual_loop().steps - before <= 3
        assert (lease.check(), store.holder_of("pass")) == (1, "me")
        await lease.release()
        assert (store.calls, store.holder_of("pass")) == (["acquire", "release"], None)

    @pytest.mark.parametrize("error", [StoreError("locked"), OSError("a disk"), None], ids=["ours", "foreign", "hangs"])
    async def test_a_renewal_that_fails_is_tried_again(
        self, error: Exception | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """With each beat, as long as the window is open; one line when that begins, and one when it ends."""
        caplog.set_level(logging.INFO)
        store = FakeGrantor()
        lease = await held(store)
        store.error, store.hangs = error, error is None
        await asyncio.sleep(50)
        assert lease.check() == 1
        store.error, store.hangs = None, False
        await asyncio.sleep(50)

        assert lease.check() == 1
        await lease.release()
        assert store.calls.count("renew") in (32, 33)  # one that hangs has till the next beat
        lines = [(record.levelname, record.getMessage().partition(":")[0]) for record in caplog.records]
        assert lines == [
            ("WARNING", "pass could not be renewed, and is tried again"),
            ("INFO", "pass is renewed again"),
        ]
        assert "disk" not in caplog.text

    async def test_nobody_can_take_it_while_it_is_trusted(self) -> None:
        """No renewal succeeds, and a rival asks all the time: it has the lease a heartbeat after the holder knows."""
        store = FakeGrantor()
        lost_at: list[float] = []
        await held(store, on_lost=lambda _: lost_at.append(now()))

        async def renew(name: str, token: int, ttl: float | None) -> None:
            raise StoreError("down")

        store.renew = renew  # type: ignore[method-assign]
        while True:
            try:
                await store.acquire("pass", "rival", 60)
            except LeaseHeldError:
                await asyncio.sleep(0.5)
            else:
                break

        assert (lost_at, now()) == ([TRUST], 60)


@pytest.mark.asyncio
class TestLoss:
    @pytest.mark.parametrize("ignores_cancellation", [False, True], ids=["hangs", "hangs whatever comes"])
    async def test_the_window_is_counted_from_before_the_store_was_asked(self, ignores_cancellation: bool) -> None:
        """Granted after 10 s, and never renewed: it is lost 57 s after it was asked for, though no answer comes."""
        store = FakeGrantor()
        store.delay = 10
        lost: list[tuple[float, str]] = []
        lease = await held(store, on_lost=lambda error: lost.append((now(), str(error))))
        assert now() == 10
        store.hangs, store.ignores_cancellation = True, ignores_cancellation
        await asyncio.sleep(46.9)
        assert lease.check() == 1
        await asyncio.sleep(100)

        assert lost == [(TRUST, "pass was lost: the store has not renewed it in time")]
        assert lease.token is None
        with pytest.raises(LeaseLostError, match=r"^pass was lost: the store has not renewed it in time$"):
            lease.check()
        store.hangs = False
        await asyncio.sleep(1000)
        assert (other_tasks(), timers()) == ([], 0)
        assert lost == [lost[0]]

    async def test_a_renewal_counts_from_before_the_store_was_asked(self) -> None:
        """Renewed at 3 s by an answer at 5 s, and then no more: it is lost 57 s after the question."""
        store = FakeGrantor()
        lost_at: list[float] = []
        await held(store, on_lost=lambda _: lost_at.append(now()))
        store.delay = 2
        await asyncio.sleep(5.5)
        store.error = StoreError("down")
        await asyncio.sleep(100)

        assert store.calls[:2] == ["acquire", "renew"]
        assert lost_at == [3 + TRUST]
        assert (other_tasks(), timers()) == ([], 0)

    async def test_a_renewal_that_finds_another_owner_loses_it_at_once(self) -> None:
        """The error names who has it now; ``on_lost`` is told once, and nothing is renewed any more."""
        store = FakeGrantor()
        lost: list[LeaseLostError] = []
        lease = await held(store, on_lost=lost.append)
        await store.release("pass", 1)
        await store.acquire("pass", "thief", 60)
        await asyncio.sleep(3)
        await turns()

        assert [(type(error), error.holder) for error in lost] == [(LeaseLostError, "thief")]
        assert (lease.token, other_tasks(), timers()) == (None, [], 0)
        with pytest.raises(LeaseLostError) as found:
            lease.check()
        assert (str(found.value), found.value.holder) == (str(lost[0]), "thief")
        await asyncio.sleep(100)
        assert store.calls.count("renew") == 1
        assert len(lost) == 1

    async def test_a_loop_that_was_held_up_is_told_by_the_check(self) -> None:
        """Before any timer runs: what comes after a pause of the whole process does not go on in good faith."""
        store = FakeGrantor()
        lost: list[LeaseLostError] = []
        lease = await held(store, on_lost=lost.append)
        virtual_loop()._now += TRUST

        for _ in range(2):
            with pytest.raises(LeaseLostError, match="not renewed it in time"):
                lease.check()
        await asyncio.sleep(100)
        assert len(lost) == 1
        assert (lease.token, other_tasks(), store.calls) == (None, [], ["acquire"])

    async def test_a_stalled_process_does_not_renew_what_it_has_lost(self) -> None:
        """The loop goes on after the window: the beat that is due does not bring the lease back."""
        store = FakeGrantor()
        lease = await held(store)
        virtual_loop()._now += TRUST
        await asyncio.sleep(10)

        assert (lease.token, store.calls, other_tasks()) == (None, ["acquire"], [])

    async def test_a_lease_that_was_granted_too_late_is_none(self) -> None:
        """The answer took longer than it is to be believed: it is given back, and was never lost, as never held."""
        store = FakeGrantor()
        store.delay = TRUST
        lost: list[LeaseLostError] = []
        lease = Lease(store, "pass", on_lost=lost.append)

        with pytest.raises(LeaseLostError, match=r"^pass was granted too late to be trusted: the store took 57\.0 s"):
            await lease.acquire()
        store.delay = None
        await turns()

        assert (lost, lease.token, store.holder_of("pass"), other_tasks()) == ([], None, None, [])

    async def test_an_error_of_on_lost_is_its_own(self, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged without its text; guards are told all the same."""

        def on_lost(error: LeaseLostError) -> None:
            raise RuntimeError("a payload")

        store = FakeGrantor()
        lease = await held(store, on_lost=on_lost)
        store.error = StoreError("down")
        with pytest.raises(LeaseLostError):
            async with lease.guard():
                await asyncio.Event().wait()

        assert "on_lost() of pass raised RuntimeError" in caplog.text
        assert "payload" not in caplog.text

    async def test_it_can_be_acquired_again(self) -> None:
        """After a loss, with and without a release in between, and after a release; each time it is a new owner."""
        store = FakeGrantor()
        lost: list[LeaseLostError] = []
        lease = await held(store, on_lost=lost.append)
        for count in range(1, 3):
            store.error = StoreError("down")
            await asyncio.sleep(100)
            assert len(lost) == count
            store.error = None
            if count == 1:
                await lease.release()
            await lease.acquire()
            assert lease.check() == count + 1
        await lease.release()
        assert await lease.try_acquire() == 4
        await lease.release()

        assert store.calls.count("release") == 2


@pytest.mark.asyncio
class TestGuard:
    async def test_the_loss_cancels_the_block(self) -> None:
        """In the step of the loss; the block sees a cancellation, and who runs it ``LeaseLostError``."""
        store = FakeGrantor()
        lease = await held(store)
        store.error = StoreError("down")
        seen: list[float] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                seen.append(now())
                raise

        with pytest.raises(LeaseLostError, match="not renewed it in time"):
            async with lease.guard():
                await work()

        assert seen == [TRUST]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    async def test_the_loss_cancels_every_block(self) -> None:
        """In several tasks, and nested in one of them: each is told once, and its task goes on."""
        store = FakeGrantor()
        lease = await held(store)
        store.error = StoreError("down")

        async def work() -> str:
            try:
                async with lease.guard(), lease.guard():
                    await asyncio.Event().wait()
            except LeaseLostError:
                await asyncio.sleep(1)
                return "went on"
            return "not told"

        assert await asyncio.gather(*(work() for _ in range(5))) == ["went on"] * 5
        assert now() == TRUST + 1

    @pytest.mark.parametrize("pause", [0, TRUST], ids=["held", "lost unnoticed"])
    async def test_a_cancellation_from_outside_stays_one(self, pause: float) -> None:
        """Nobody turns it into something else, also where the block would have been told of a loss at its end."""
        store = FakeGrantor()
        lease = await held(store)

        async def work() -> None:
            async with lease.guard():
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await turns()
        virtual_loop()._now += pause
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        await lease.release()

    @pytest.mark.parametrize("is_first", [True, False], ids=["before the loss", "after the loss"])
    @pytest.mark.parametrize("swallows", [False, True], ids=["", "swallowed"])
    async def test_a_cancellation_from_outside_goes_before_the_loss(self, is_first: bool, swallows: bool) -> None:
        """Both in one step, in either order: the task is cancelled, even by a block that swallows it."""
        store = FakeGrantor()
        lease = await held(store)

        async def work() -> None:
            async with lease.guard():
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if not swallows:
                        raise

        task = asyncio.create_task(work())
        await turns()
        virtual_loop()._now += TRUST
        if is_first:
            task.cancel()
        with pytest.raises(LeaseLostError):
            lease.check()
        if not is_first:
            task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()

    async def test_an_error_of_the_block_leaves_as_it_is(self) -> None:
        """With the lease, and also when it is raised in answer to the loss."""
        store = FakeGrantor()
        lease = await held(store)
        with pytest.raises(ZeroDivisionError):
            async with lease.guard():
                raise ZeroDivisionError
        store.error = StoreError("down")

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ZeroDivisionError from None

        with pytest.raises(ZeroDivisionError):
            async with lease.guard():
                await work()

        await asyncio.sleep(1)  # nothing of the cancellation is left

    async def test_a_block_that_swallows_the_cancellation_is_told(self) -> None:
        """What it did after the loss does not count."""
        store = FakeGrantor()
        lease = await held(store)
        store.error = StoreError("down")

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(5)

        with pytest.raises(LeaseLostError):
            async with lease.guard():
                await work()

        await asyncio.sleep(1)
        assert now() == TRUST + 6

    async def test_a_block_whose_wait_ends_in_the_step_of_the_loss_is_told(self) -> None:
        """What it waited for is there, and it does not go on with it."""
        store = FakeGrantor()
        lease = await held(store)
        done = asyncio.get_running_loop().create_future()

        async def work() -> None:
            async with lease.guard():
                await done
                pytest.fail("the block went on")

        task = asyncio.create_task(work())
        await turns()
        done.set_result(None)
        virtual_loop()._now += TRUST
        with pytest.raises(LeaseLostError):
            lease.check()

        with pytest.raises(LeaseLostError):
            await task

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
    @pytest.mark.parametrize("is_cancelled", [False, True], ids=["", "and cancelled from outside"])
    async def test_a_cancellation_that_comes_too_late_for_the_block_meets_nobody_else(self, is_cancelled: bool) -> None:
        """An eager task finds the loss inside the last step of the block: the block is told when it ends."""
        store = FakeGrantor()
        lease = await held(store)

        async def find_out() -> None:
            virtual_loop()._now += TRUST
            with pytest.raises(LeaseLostError):
                lease.check()

        async def work() -> str:
            try:
                async with lease.guard():
                    found = asyncio.create_task(find_out())
                    assert found.done()
                    if is_cancelled:
                        task.cancel()
            except LeaseLostError:
                await asyncio.sleep(1)
                return "went on"
            return "not told"

        task = asyncio.create_task(work())
        if sys.version_info >= (3, 12):
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await asyncio.wait({task})

        assert task.cancelled() if is_cancelled else task.result() == "went on"

    async def test_a_block_that_held_up_the_loop_is_told(self) -> None:
        """It ran to its end without an await, so no timer could end it: its work counts for nothing."""
        store = FakeGrantor()
        lease = await held(store)
        with pytest.raises(LeaseLostError):
            async with lease.guard():
                virtual_loop()._now += TRUST

        await asyncio.sleep(1)

    async def test_a_block_that_finds_the_loss_itself_is_told_once(self) -> None:
        """By its check; no cancellation follows, in its clean-up or after."""
        store = FakeGrantor()
        lease = await held(store)
        cleaned: list[str] = []

        async def work() -> None:
            virtual_loop()._now += TRUST
            try:
                lease.check()
            finally:
                await asyncio.sleep(1)
                cleaned.append("up")

        with pytest.raises(LeaseLostError):
            async with lease.guard():
                await work()

        assert cleaned == ["up"]
        await asyncio.sleep(1)

    async def test_giving_it_back_ends_no_block(self) -> None:
        """A block may release the lease that it runs under."""
        store = FakeGrantor()
        lease = await held(store)
        async with lease.guard():
            await lease.release()
            await asyncio.sleep(100)

        assert store.holder_of("pass") is None

    async def test_a_block_does_not_begin_without_the_lease(self) -> None:
        """Lost between the making of the guard and its block: the block does not run."""
        store = FakeGrantor()
        lease = await held(store)
        guard = lease.guard()
        virtual_loop()._now += TRUST
        with pytest.raises(LeaseLostError):
            async with guard:
                pytest.fail("the block ran")


@pytest.mark.asyncio
class TestAcquire:
    async def test_trying_says_who_has_it(self) -> None:
        """At once, and nothing is left of the try."""
        store = FakeGrantor()
        lease = await held(store, holder="somebody")
        with no_leaks(), pytest.raises(LeaseHeldError, match=r"pass is held by somebody, for 60\.0 s"):
            await Lease(store, "pass").try_acquire()

        assert now() == 0
        await lease.release()

    @pytest.mark.parametrize("is_shared", [True, False], ids=["shared", "exclusive"])
    async def test_a_release_hands_it_on(self, is_shared: bool) -> None:
        """Whoever waits has it without any time passing, and parks until then."""
        store = FakeGrantor(is_shared=is_shared)
        first = await held(store)
        second = Lease(store, "pass")
        waiting = asyncio.create_task(second.acquire())
        await asyncio.sleep(1000)
        assert not waiting.done()
        await first.release()
        await waiting

        assert (now(), second.check()) == (1000, 2)
        await second.release()

    async def test_waiting_in_a_store_of_its_own_costs_nothing(self) -> None:
        """Ten who wait take no turn of the loop in an hour, and ask the store once."""
        store = FakeGrantor(is_shared=False)
        first = await held(store)
        waiting = [asyncio.create_task(Lease(store, "pass").acquire()) for _ in range(10)]
        await turns(10)
        before = virtual_loop().steps
        await asyncio.sleep(3600)

        assert virtual_loop().steps - before <= 3
        assert store.calls == ["acquire"] * 11
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        await first.release()

    async def test_a_holder_that_is_gone_is_succeeded_when_its_time_is_over(self) -> None:
        """Sixty seconds after it was last heard of, by one question at that moment."""
        store = FakeGrantor()
        await store.acquire("pass", "gone", 60)
        lease = await held(store)

        assert (now(), lease.check()) == (60, 2)
        assert store.calls == ["acquire"] * 3
        await lease.release()

    async def test_a_store_that_says_no_time_remains_is_not_asked_in_a_loop(self) -> None:
        """Its clock is a little slow: it is asked twenty times a second until it lets go."""
        store = FakeGrantor()
        asked: list[float] = []

        async def acquire(name: str, holder: str, ttl: float | None) -> int:
            asked.append(now())
            if now() < 1:
                raise LeaseHeldError(name, holder="gone", remaining=0.0)
            return 7

        store.acquire = acquire  # type: ignore[method-assign]
        lease = await held(store)

        assert lease.check() == 7
        assert len(asked) == 21
        await lease.release()

    async def test_a_release_between_the_look_and_the_wait_is_noticed(self) -> None:
        """The store says that it is held, and it is released before the waiter parks."""
        store = FakeGrantor(is_shared=False)
        await store.acquire("pass", "somebody", None)
        acquire = store.acquire

        async def acquire_late(name: str, holder: str, ttl: float | None) -> int:
            try:
                return await acquire(name, holder, ttl)
            finally:
                await store.release("pass", 1)

        store.acquire = acquire_late  # type: ignore[method-assign]
        lease = await held(store)

        assert lease.check() == 2
        await lease.release()

    @pytest.mark.parametrize("timeout", [5, 0.5, 0, -1])
    async def test_waiting_ends_with_its_timeout(self, timeout: float) -> None:
        """At that very moment, and the error names who has it; zero tries once."""
        store = FakeGrantor()
        first = await held(store, holder="somebody")
        with pytest.raises(TimeoutError, match=rf"^pass was not released within {timeout} s by somebody$"):
            await Lease(store, "pass").acquire(timeout)

        assert now() == max(0, timeout)
        assert other_tasks() == ["heartbeat of pass"]
        await first.release()

    async def test_what_is_free_is_had_without_any_time(self) -> None:
        """``acquire(0)`` takes it, even from a store that takes a moment to answer."""
        store = FakeGrantor()
        store.delay = GRACE / 2
        lease = Lease(store, "pass")

        assert await lease.acquire(0) == 1
        await lease.release()

    async def test_a_store_that_does_not_answer_ends_with_the_timeout(self) -> None:
        """And within a moment; the call that hangs is given up after a heartbeat."""
        store = FakeGrantor()
        store.hangs = True
        with pytest.raises(TimeoutError, match=r"^the store was asked for pass and did not answer within 5 s"):
            await Lease(store, "pass").acquire(5)

        assert 5 <= now() <= 5 + GRACE
        assert len(other_tasks()) == 2
        await asyncio.sleep(3)
        assert other_tasks() == []

    @pytest.mark.parametrize("delay", [GRACE / 2, GRACE * 2, 2.9], ids=["quick", "slow", "nearly hung"])
    async def test_what_was_granted_to_somebody_who_left_is_given_back(self, delay: float) -> None:
        """Cancelled while the store is asked: it ends within a moment, and a rival has the lease soon."""
        store = FakeGrantor()
        store.delay = delay
        lease = Lease(store, "pass")
        task = asyncio.create_task(lease.acquire())
        await turns()
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert now() <= GRACE
        assert (lease.token, store.token_of("pass")) == (None, 1 if delay < GRACE else 0)
        await asyncio.sleep(2 * delay)
        assert (store.holder_of("pass"), store.token_of("pass"), other_tasks()) == (None, 1, [])

    async def test_whoever_left_can_come_again_at_once(self) -> None:
        """It does not meet itself: what it was granted before is given back first."""
        store = FakeGrantor()
        store.delay = 1
        lease = Lease(store, "pass")
        task = asyncio.create_task(lease.acquire())
        await turns()
        task.cancel()
        await asyncio.wait({task})

        assert await lease.try_acquire() == 2
        await lease.release()
        assert other_tasks() == []

    @pytest.mark.parametrize("error", [StoreError("down"), OSError("down"), ClosedError("closed")])
    async def test_an_error_of_the_store_leaves(self, error: Exception) -> None:
        """As it is; the lease can be asked for again."""
        store = FakeGrantor()
        store.error = error
        lease = Lease(store, "pass")
        for acquire in (lease.try_acquire, lease.acquire):
            with pytest.raises(type(error)):
                await acquire()
        store.error = None

        assert await lease.acquire() == 1
        await lease.release()

    async def test_a_store_that_is_closed_ends_the_wait(self) -> None:
        """Whoever parks for a release is told."""
        store = FakeGrantor(is_shared=False)
        first = await held(store)
        waiting = asyncio.create_task(Lease(store, "pass").acquire())
        await turns()
        store.close()
        with pytest.raises(ClosedError):
            await waiting
        await first.release()

    async def test_one_object_is_one_holder(self) -> None:
        """Two tasks need two leases: a second call while the first waits or has it is refused."""
        store = FakeGrantor()
        lease = Lease(store, "pass")
        store.delay = 1
        first = asyncio.create_task(lease.acquire())
        await turns()
        for acquire in (lease.try_acquire, lease.acquire):
            with pytest.raises(RuntimeError, match=r"^pass is about to be taken by this very object: "):
                await acquire()
        await first
        for acquire in (lease.try_acquire, lease.acquire):
            with pytest.raises(RuntimeError, match=r"^pass is held by this very object: "):
                await acquire()

        assert lease.check() == 1
        await lease.release()


@pytest.mark.asyncio
class TestRelease:
    async def test_it_is_given_back_once(self) -> None:
        """Twice in a row, and ten at a time: the store is told once, and all return when it was."""
        store = FakeGrantor()
        lease = await held(store)
        store.delay = 1
        await asyncio.gather(*(lease.release() for _ in range(10)))
        assert (now(), store.holder_of("pass")) == (1, None)
        await lease.release()

        assert (now(), store.calls) == (1, ["acquire", "release"])
        with pytest.raises(LeaseLostError, match="is not held"):
            lease.check()

    async def test_after_a_loss_there_is_nothing_to_give_back(self) -> None:
        """The store is not told, and no error raised."""
        store = FakeGrantor()
        lease = await held(store)
        store.error = StoreError("down")
        await asyncio.sleep(100)
        await lease.release()

        assert "release" not in store.calls

    async def test_a_renewal_under_way_ends_first(self) -> None:
        """It could not bring the lease back, but its task would outlive it."""
        store = FakeGrantor()
        lease = await held(store)
        store.delay = 1
        await asyncio.sleep(3.5)
        assert store.calls == ["acquire", "renew"]
        await lease.release()

        assert (other_tasks(), store.calls) == ([], ["acquire", "renew", "release"])
        assert store.holder_of("pass") is None

    async def test_a_renewal_that_cleans_up_ends_first(self) -> None:
        """However long that takes, within a heartbeat: when the lease is given back no task is left of it."""
        store = FakeGrantor()
        lease = await held(store)

        async def renew(name: str, token: int, ttl: float | None) -> None:
            try:
                await asyncio.sleep(10)
            finally:
                await asyncio.sleep(1)

        store.renew = renew  # type: ignore[method-assign]
        await asyncio.sleep(3.5)
        await lease.release()

        assert (now(), other_tasks(), store.holder_of("pass")) == (4.5, [], None)

    @pytest.mark.parametrize(
        "error", [StoreError("down"), OSError("a payload"), None], ids=["ours", "foreign", "hangs"]
    )
    async def test_a_store_that_fails_is_logged(
        self, error: Exception | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is not held any more, whatever the store says; one that hangs has a heartbeat."""
        store = FakeGrantor()
        lease = await held(store)
        store.error, store.hangs = error, error is None
        await lease.release()

        assert (lease.token, other_tasks(), timers()) == (None, [], 0)
        assert now() == (0 if error else 3)
        (line,) = caplog.messages
        assert line.startswith("pass could not be given back, and ends by itself: ")
        assert "payload" not in line

    @pytest.mark.parametrize("delay", [GRACE / 2, 2])
    async def test_a_release_that_is_cancelled_is_done_all_the_same(self, delay: float) -> None:
        """Its caller goes on within a moment, and the lease is free soon."""
        store = FakeGrantor()
        lease = await held(store)
        store.delay = delay
        task = asyncio.create_task(lease.release())
        await turns()
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert now() <= GRACE
        assert (store.holder_of("pass") is None) is (delay < GRACE)
        await asyncio.sleep(delay)
        assert (store.holder_of("pass"), other_tasks()) == (None, [])


def test_nothing_wakes_an_idle_program() -> None:
    """After a release and after a loss no timer is left: a loop with nothing else to do is a deadlock at once."""

    async def main(loses: bool) -> None:
        store = FakeGrantor()
        lease = await held(store)
        if loses:
            store.error = StoreError("down")
            await asyncio.sleep(TRUST)
        await lease.release()
        await asyncio.Event().wait()

    for loses in (False, True):
        loop = VirtualTimeLoop()
        task = loop.create_task(main(loses))
        with pytest.raises(DeadlockError):
            loop.run_until_complete(task)
        assert loop.time() == (TRUST if loses else 0)
        task.cancel()
        loop.run_until_complete(asyncio.wait({task}))
        loop.close()
