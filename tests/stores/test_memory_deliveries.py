"""Deliveries in memory: what they cost, and what nobody can change from outside."""

from __future__ import annotations

import bisect
import gc
import random
import sys
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.errors import ClosedError, UnknownEndpointError
from eventpipe.stores import MemoryStore, memory_order
from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryState, EndpointInfo, EndpointState, Place
from eventpipe.stores.memory_order import Ordered
from eventpipe.testing.clock import LoopClock
from eventpipe.testing.delivery_rig import NOW, DeliveryRig, a_publication, a_success
from tests.stores.test_memory import done

MANY = 10_000


@pytest_asyncio.fixture
async def rig() -> AsyncIterator[DeliveryRig]:
    store = MemoryStore(clock=LoopClock())
    await store.open()

    async def advance(seconds: float) -> None:
        del seconds

    yield DeliveryRig(store, advance, LoopClock())
    await store.aclose()


def calls_of(step: Callable[[], object]) -> int:
    """How many functions are called, those of C too: what it costs, however fast the machine."""
    count = 0

    def see(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()  # a collection calls what others hang on it
    sys.setprofile(see)
    try:
        step()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


async def settle_many(rig: DeliveryRig) -> None:
    """Have so many rows that are settled."""
    for _ in range(MANY // 2_000):
        ids = await rig.fill(2_000)
        assert all(await rig.change(*(a_success(row) for row in await rig.rows(ids))))


# -- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_pass_costs_the_same_with_many_settled_rows(rig: DeliveryRig) -> None:
    """A look at nothing due, claims, changes and figures call as many functions as without them."""
    acme = await rig.endpoint()

    def a_pass() -> list[int]:
        kept = rig.kept
        costs = [calls_of(lambda: (done(kept.due()), done(kept.stats()), done(rig.claim(acme))))]
        done(rig.fill(3))
        costs.append(calls_of(lambda: done(rig.claim(acme))))
        rows = [row for row in done(rig.all_rows()) if row.claimed_until]
        costs.append(calls_of(lambda: done(kept.release(rows[:1]))))
        costs.append(calls_of(lambda: done(kept.rescue(now=NOW, claimed_before=NOW + 1e9, due_before=NOW + 1e9))))
        costs.append(calls_of(lambda: done(kept.rows(DeliveryFilter(frozenset({DeliveryState.FAILED}))))))
        assert done(rig.change(*(a_success(done(rig.row(row.id))) for row in rows))) == [True] * 3
        return costs

    a_pass()  # the states that rows come to have their first
    few = a_pass()
    await settle_many(rig)

    assert a_pass() == few


@pytest.mark.asyncio
async def test_claim_costs_the_same_with_many_rows_that_wait(rig: DeliveryRig) -> None:
    """The first page, and one from the middle on."""
    few, many = await rig.endpoint("few"), await rig.endpoint("many")
    a_few, ids = await rig.fill(100, endpoint="few"), await rig.fill(MANY, endpoint="many")

    costs = [calls_of(lambda: done(rig.claim(few, limit=40))), calls_of(lambda: done(rig.claim(many, limit=40)))]
    behind_few, behind_many = Place(NOW, a_few[50]), Place(NOW, ids[MANY // 2])
    costs.append(calls_of(lambda: done(rig.claim(few, after=behind_few, limit=40))))
    costs.append(calls_of(lambda: done(rig.claim(many, after=behind_many, limit=40))))

    assert costs[0] == costs[1]
    assert costs[2] == costs[3]


@pytest.mark.asyncio
async def test_nothing_is_waited_for(rig: DeliveryRig) -> None:
    """Each call is done in one step, so that a cancellation finds all of it done or nothing."""
    acme = done(rig.endpoint())
    done(rig.fill(2))
    one, other = done(rig.claim(acme))

    assert done(rig.change(a_success(one.row))) == [True]
    assert done(rig.kept.release([other.row])) == 1
    assert done(rig.kept.purge(before=NOW + 1, limit=10)) == 1


@pytest.mark.asyncio
async def test_store_is_freed_without_the_collector() -> None:
    """What keeps deliveries does not keep the store alive, nor the store itself."""
    gc.disable()
    try:
        store = MemoryStore()
        await store.open()
        await store.deliveries.put_endpoint(EndpointInfo("acme", "sink"), None, replace=False)
        await store.aclose()
        seen = weakref.ref(store)
        del store
        assert seen() is None
    finally:
        gc.enable()


# -- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_answers_are_the_callers_own(rig: DeliveryRig) -> None:
    """Who changes a dictionary or a list that was answered changes nothing that is kept."""
    await rig.endpoint()
    publication = a_publication("acme")
    (published,) = await rig.kept.publish([publication])
    (stats,) = await rig.kept.stats()
    for answer in (published.deliveries, stats.rows):
        assert isinstance(answer, dict)
        answer.clear()
    (await rig.kept.attempts(1)).append(None)  # type: ignore[arg-type]  # as somebody careless may

    (again,) = await rig.kept.publish([publication])
    assert [*again.deliveries] == ["acme"]
    again.deliveries.clear()  # type: ignore[attr-defined]  # likewise
    assert [*(await rig.kept.publish([publication]))[0].deliveries] == ["acme"]
    assert (await rig.kept.stats())[0].rows == {DeliveryState.PENDING: 1}
    assert await rig.kept.attempts(1) == []


@pytest.mark.asyncio
async def test_errors_say_what_is_meant(rig: DeliveryRig) -> None:
    """An endpoint that is spelt nearly so, what takes the place of another, and who opens a store."""
    await rig.endpoint()

    with pytest.raises(UnknownEndpointError, match=r"there is no endpoint 'acne'.*acme"):
        await rig.kept.publish([a_publication("acne")])
    with pytest.raises(ValueError, match="there is an endpoint 'acme' already; replace=True changes it"):
        await rig.endpoint()
    await rig.store.aclose()
    with pytest.raises(ClosedError, match="an EventLog opens it when it starts, and so do Deliveries"):
        await rig.kept.due()


@pytest.mark.asyncio
async def test_private_bytes_are_let_go_of_with_the_endpoint(rig: DeliveryRig) -> None:
    """Nothing of them is in memory any more, though its rows are."""
    secret = b"whsec_" + bytes(range(10))
    count = sys.getrefcount(secret)
    await rig.kept.put_endpoint(EndpointInfo("acme", "webhook", "https://a.example"), secret, replace=False)
    await rig.fill(1)
    kept = sys.getrefcount(secret)
    await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)

    assert (kept, sys.getrefcount(secret)) == (count + 1, count)


# -- order ------------------------------------------------------------------------------------------------------------


@given(st.data())
def test_keys_come_in_their_order_whatever_was_done(data: st.DataObject) -> None:
    """Added, removed and found as in a sorted list, over many blocks."""
    numbers = st.integers(0, 60)
    block = memory_order._BLOCK
    memory_order._BLOCK = 2  # type: ignore[misc]  # so that few keys fill many blocks
    try:
        keys: Ordered[int] = Ordered()
        model: list[int] = []
        for number in data.draw(st.lists(numbers, max_size=120)):
            if number in model:
                model.remove(number)
                keys.remove(number)
            else:
                bisect.insort(model, number)
                keys.add(number)
            assert (len(keys), keys.first()) == (len(model), model[0] if model else None)
        place = data.draw(numbers)
        assert [*keys.above()] == model
        assert [*keys.below()] == model[::-1]
        assert [*keys.above(place)] == [key for key in model if key > place]
        assert [*keys.below(place)] == [key for key in model if key < place][::-1]
    finally:
        memory_order._BLOCK = block  # type: ignore[misc]


def test_key_costs_hardly_more_among_many() -> None:
    """No list grows with the number of keys, so that none of them is moved about as a whole."""
    keys: Ordered[int] = Ordered()
    numbers = [*range(50_000)]
    random.Random(5).shuffle(numbers)
    for number in numbers:
        keys.add(number)

    longest = max(len(block) for block in keys._blocks)

    assert longest <= 2 * memory_order._BLOCK
    assert len(keys._blocks) <= len(numbers) / memory_order._BLOCK + 1
