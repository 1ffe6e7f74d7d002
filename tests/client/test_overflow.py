"""A full queue: what each policy comes to in each form of the call, for a client and for a single call."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe import AsyncClient, DropReason, QueueFullError, Receipt
from eventpipe.events import Overflow
from eventpipe.testing import GatedSink, check_ledger

pytestmark = pytest.mark.asyncio

POLICIES: list[Overflow] = ["drop_newest", "drop_oldest", "wait", "raise"]

# What the far end has at last: "flying" was in flight and "old" in the queue when "new" was captured.
NEW_REFUSED, OLD_PUSHED_OUT, ALL = ["flying", "old"], ["flying", "new"], ["flying", "old", "new"]
EXPECTED: dict[str, dict[Overflow, list[str]]] = {
    "capture": {"drop_newest": NEW_REFUSED, "drop_oldest": OLD_PUSHED_OUT, "wait": ALL, "raise": NEW_REFUSED},
    # Nobody waits in a plain call.
    "nowait": {"drop_newest": NEW_REFUSED, "drop_oldest": OLD_PUSHED_OUT, "wait": NEW_REFUSED, "raise": NEW_REFUSED},
    # And nobody is there to be raised at when the event of another thread finds no room.
    "thread": {"drop_newest": NEW_REFUSED, "drop_oldest": OLD_PUSHED_OUT, "wait": NEW_REFUSED, "raise": NEW_REFUSED},
}
RAISES = {("capture", "raise"), ("nowait", "raise")}


@pytest.mark.parametrize("given", ["to the client", "to the call"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("form", EXPECTED)
async def test_full_queue_does_what_was_asked(form: str, policy: Overflow, given: str) -> None:
    """Exactly one event is too many: it waits, or one is dropped as ``queue_full``, and only its owner may hear."""
    to_client: Overflow = policy if given == "to the client" else ("wait" if policy != "wait" else "drop_newest")
    to_call = policy if given == "to the call" else None
    sink = GatedSink()
    client = AsyncClient(sink, queue_events=2, batch_events=1, workers=1, overflow=to_client)
    await client.capture("flying")
    await sink.reached(1)
    await client.capture("old")

    async def capture() -> Receipt:
        if form == "capture":
            return await client.capture("new", overflow=to_call)
        if form == "thread":
            return await asyncio.to_thread(client.capture_nowait, "new", overflow=to_call)
        return client.capture_nowait("new", overflow=to_call)

    capturing = asyncio.create_task(capture())
    await asyncio.wait({capturing}, timeout=60)
    assert capturing.done() is ((form, policy) != ("capture", "wait"))
    sink.release()
    await asyncio.wait({capturing})
    report = await client.aclose()

    expected = EXPECTED[form][policy]
    assert [event.event for event in sink.events] == expected
    assert report.dropped_by_reason == ({} if expected == ALL else {DropReason.QUEUE_FULL: 1})
    check_ledger(client, drained=True)
    if (form, policy) in RAISES:
        assert isinstance(capturing.exception(), QueueFullError)
    else:
        receipt = capturing.result()
        assert (receipt.accepted, receipt.reason) == (
            (True, None) if "new" in expected else (False, DropReason.QUEUE_FULL)
        )
