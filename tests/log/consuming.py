"""What a consumer does, in the fewest steps: claim what is due, and settle it."""

from __future__ import annotations

from collections.abc import Sequence

from eventpipe.events import CapturedEvent
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import addressed, letter_of
from eventpipe.stores.values import ClaimedEvent, ConsumerKey, Disposal, Disposition


async def claim(log: EventLog, topic: str, name: str, max_events: int = 10_000) -> list[ClaimedEvent]:
    """What is due to a consumer, held for an hour."""
    claims = await log.store.claim(ConsumerKey(topic, name), None, max_events=max_events, max_bytes=1 << 30, ttl=3600.0)
    return [*claims.events]


async def settle(
    log: EventLog, topic: str, name: str, claimed: list[ClaimedEvent], disposal: Disposal = Disposal.ACK
) -> None:
    """Settle all of it in one way, as a consumer does."""
    await log.store.settle(ConsumerKey(topic, name), None, [Disposition(one, disposal) for one in claimed])
    log.settled()


async def consume(log: EventLog, topic: str, name: str, max_events: int = 10_000) -> list[int]:
    """Handle what is due; the offsets."""
    claimed = await claim(log, topic, name, max_events)
    await settle(log, topic, name, claimed)
    return [one.offset for one in claimed]


async def bury(
    log: EventLog, topic: str, name: str, reason: str = "exhausted", error: str | None = "boom"
) -> list[int]:
    """Give up everything that is due; the offsets."""
    key = ConsumerKey(topic, name)
    claimed = await claim(log, topic, name)
    letters = [letter_of(one, key, reason, error, log.clock.time()) for one in claimed]
    dispositions = [
        Disposition(one, Disposal.DEAD, reason=reason, letter=letter)
        for one, letter in zip(claimed, letters, strict=True)
    ]
    await log.store.settle(key, None, dispositions)
    log.settled()
    return [one.offset for one in claimed]


async def append_for(log: EventLog, topic: str, consumer: str, events: Sequence[CapturedEvent]) -> None:
    """Append events for one consumer, as a replay does."""
    await log.store.append(topic, [addressed(event, consumer) for event in events], is_replay=True)


async def events_of(log: EventLog, topic: str) -> list[CapturedEvent]:
    """What is in a topic, in order."""
    return [stored.event async for stored in log.read(topic) if stored.event is not None]
