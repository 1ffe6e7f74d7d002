"""Each consumer has a lease of its own, whatever it and its topic are called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.stores import MemoryStore, SqliteStore
from eventpipe.stores.base import Store
from eventpipe.stores.values import ConsumerKey, Disposal, Disposition
from eventpipe.testing import make_event
from eventpipe.testing.store_rig import MUCH, offsets_of

# What the name of a lease is made with, so that names are drawn that could be taken for others.
NAMES = st.text(st.sampled_from("a/%25F:"), min_size=1, max_size=8)


@given(NAMES, NAMES)
def test_no_two_consumers_have_leases_of_one_name(topic: str, name: str) -> None:
    """Topic and consumer can be told from the name of a lease, whatever they are called."""
    found, _, rest = ConsumerKey(topic, name).lease.removeprefix("consumer:").partition("/")

    assert (unquote(found), rest) == (topic, name)


def test_a_lease_has_its_name_for_good() -> None:
    """A file that was written by an earlier release has leases by these names."""
    assert ConsumerKey("orders", "billing").lease == "consumer:orders/billing"
    assert ConsumerKey("eu/100%", "a/b").lease == "consumer:eu%2F100%25/a/b"


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else SqliteStore(tmp_path / "log.db")
    await store.open()
    yield store
    await store.aclose()


@pytest.mark.asyncio
async def test_consumers_whose_names_look_alike_are_held_by_two(store: Store) -> None:
    """Both are handed what is theirs at once, and to remove the one leaves the other to its holder."""
    one, other = ConsumerKey("a/b", "c"), ConsumerKey("a", "b/c")
    for key in (one, other):
        await store.append(key.topic, [make_event()])
        await store.add_consumer(key, "earliest")
    tokens = {key: await store.acquire(key.lease, f"of {key}", None) for key in (one, other)}

    assert {info.key: info.holder for info in await store.consumers()} == {key: f"of {key}" for key in (one, other)}
    claims = {key: await store.claim(key, tokens[key], max_events=9, max_bytes=MUCH) for key in (one, other)}
    assert [offsets_of(claimed.events) for claimed in claims.values()] == [[0], [0]]

    await store.remove_consumer(one)
    await store.settle(other, tokens[other], [Disposition(event, Disposal.ACK) for event in claims[other].events])
    (left,) = await store.consumers()
    assert (left.key, left.cursor, left.holder) == (other, 1, f"of {other}")
