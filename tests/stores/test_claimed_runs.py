"""Claimed events as a run: the same as one by one, whoever looks."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.errors import LeaseLostError
from eventpipe.stores.base import Store
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import (
    Acks,
    ClaimedEvent,
    ClaimedRun,
    ConsumerKey,
    Disposal,
    Disposition,
    offsets_of,
)
from eventpipe.testing.events import make_event

EVENTS = [make_event() for _ in range(12)]


def claimed(first: int, numbers: Sequence[int]) -> list[ClaimedEvent]:
    """Events from an offset on, each of the claim with its number."""
    return [ClaimedEvent(first + at, 100.0 + at, EVENTS[at], None, b"", 1, number) for at, number in enumerate(numbers)]


def run_of(events: Sequence[ClaimedEvent]) -> ClaimedRun:
    run = ClaimedRun.of(events)
    assert run is not None
    return run


def parts(events: Sequence[ClaimedEvent]) -> list[tuple[object, ...]]:
    return [(one.offset, one.appended_at, one.event, one.fault, one.raw, one.attempt, one.claim) for one in events]


numbers = st.lists(st.integers(1, 3), min_size=1, max_size=12).map(sorted)


@given(st.integers(0, 5), numbers, st.slices(12), st.integers(-12, 11))
def test_run_is_as_a_list_of_its_events(first: int, of_claims: list[int], part: slice, at: int) -> None:
    """Its length, its order, one of them, and a part of it."""
    events = claimed(first, of_claims)
    run = run_of(events)

    assert (len(run), parts(run), [*offsets_of(run)]) == (len(events), parts(events), offsets_of(events))
    assert parts(list(reversed(run))) == parts(events[::-1])
    if -len(events) <= at < len(events):
        assert parts([run[at]]) == parts([events[at]])
    else:
        with pytest.raises(IndexError):
            run[at]
    if part.step in (None, 1):
        assert parts(run[part]) == parts(events[part])
    else:
        with pytest.raises(ValueError, match="without steps"):
            run[part]


@given(st.integers(0, 5), numbers, st.integers(0, 12))
def test_parts_of_a_run_make_it_again(first: int, of_claims: list[int], cut: int) -> None:
    """Wherever it was cut, between two claims or within one."""
    run = run_of(claimed(first, of_claims))
    one, other = run[:cut], run[cut:]

    joined = one + other if one else other

    assert parts(joined) == parts(run)
    assert [*joined.by_claim()] == [*run.by_claim()]
    assert [offset for _, offsets in run.by_claim() for offset in offsets] == [*offsets_of(run)]


def test_what_is_a_run_already_stays_it() -> None:
    """Nothing is copied."""
    run = run_of(claimed(3, [1, 1, 2]))
    assert ClaimedRun.of(run) is run


@pytest.mark.parametrize(
    "events",
    [
        [],
        [*claimed(0, [1]), *claimed(2, [1])],
        claimed(0, [1, 1])[::-1],
        [*claimed(0, [1]), ClaimedEvent(1, 0.0, EVENTS[1], None, b"", 2, 1)],
        [*claimed(0, [1]), ClaimedEvent(1, 0.0, None, "damaged", b"{", 1, 1)],
    ],
    ids=["none", "a gap", "another order", "a later attempt", "one that is no event"],
)
def test_what_is_no_run(events: list[ClaimedEvent]) -> None:
    """Of each something is to be said by itself."""
    assert ClaimedRun.of(events) is None


async def registered(store: Store, events: int) -> tuple[ConsumerKey, int]:
    """A consumer of a topic with so many events, and the token of its lease."""
    key = ConsumerKey("orders", "billing")
    await store.append(key.topic, [make_event() for _ in range(events)])
    await store.add_consumer(key, "earliest")
    return key, await store.acquire(key.lease, "one", None)


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    made: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "events.db")
    await made.open()
    yield made
    await made.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
async def test_parts_of_a_run_are_settled_in_any_order(store: Store, order: tuple[int, ...]) -> None:
    """Each as a whole; the position moves over what is settled without a gap, and nothing is handed out again."""
    key, token = await registered(store, 9)
    claims = await store.claim(key, token, max_events=9, max_bytes=1 << 30)
    run = claims.events
    assert isinstance(run, ClaimedRun)
    positions = []
    for part in order:
        await store.settle(key, token, Acks(run[3 * part : 3 * part + 3]))
        (info,) = await store.consumers(key.topic)
        positions.append((info.position, info.pending))

    done = [set(order[: count + 1]) for count in range(3)]
    before = [next((part for part in range(3) if part not in these), 3) for these in done]
    assert positions == [(3 * count, 9 - 3 * len(these)) for count, these in zip(before, done, strict=True)]
    await store.settle(key, token, Acks(run))  # said again, it changes nothing
    assert [*(await store.claim(key, token, max_events=9, max_bytes=1 << 30)).events] == []


@pytest.mark.asyncio
async def test_run_of_a_holder_before_is_worth_nothing(store: Store) -> None:
    """Whoever took over is handed all of it, at its second attempt."""
    key, token = await registered(store, 4)
    run = (await store.claim(key, token, max_events=4, max_bytes=1 << 30)).events
    await store.release(key.lease, token)
    lease = await store.acquire(key.lease, "another", None)
    again = (await store.claim(key, lease, max_events=4, max_bytes=1 << 30)).events

    with pytest.raises(LeaseLostError):
        await store.settle(key, lease, Acks(run))
    assert [(one.offset, one.attempt) for one in again] == [(offset, 2) for offset in range(4)]


@pytest.mark.asyncio
async def test_some_of_a_run_may_be_given_back(store: Store) -> None:
    """The others are settled; those come again, alone, with the attempt that each is at."""
    key, token = await registered(store, 6)
    run = (await store.claim(key, token, max_events=6, max_bytes=1 << 30)).events
    given_back = [Disposition(run[1], Disposal.NACK), Disposition(run[4], Disposal.RELEASE)]
    await store.settle(key, token, given_back)
    await store.settle(key, token, Acks([run[at] for at in (0, 2, 3, 5)]))

    again = (await store.claim(key, token, max_events=6, max_bytes=1 << 30)).events

    assert [(one.offset, one.attempt) for one in again] == [(1, 2), (4, 1)]
