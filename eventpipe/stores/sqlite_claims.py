"""Handing events out to a consumer in SQLite, and settling them; plain functions of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from eventpipe.errors import LeaseLostError
from eventpipe.events import CapturedEvent
from eventpipe.stores import sqlite_leases as leases
from eventpipe.stores import sqlite_marks as marks
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_reading import Reading, set_aside
from eventpipe.stores.sqlite_room import Ids, settled_before
from eventpipe.stores.sqlite_tables import Consumer, Topic, load, save_consumer, save_topic
from eventpipe.stores.sqlite_topics import append_one
from eventpipe.stores.values import (
    DEAD_SUFFIX,
    Acks,
    ClaimedEvent,
    ClaimedRun,
    Claims,
    ConsumerKey,
    Disposal,
    Disposition,
    settled_by,
)

# Bound once: to look one up in its enumeration costs a tenth of a settlement.
_ACK: Final = Disposal.ACK
_SKIP: Final = Disposal.SKIP
_GIVEN_BACK: Final = (Disposal.NACK, Disposal.RELEASE)


class Ask(NamedTuple):
    """One claim.

    Attributes:
        key: The consumer.
        token: The token of its lease; ``None``: competing.
        max_events: At most so many.
        max_bytes: At most so many bytes, but for the first.
        ttl: Seconds that each event is held, where competing.
        now: Wall clock.
        shift: What makes a moment of the loop clock of a stamp.
    """

    key: ConsumerKey
    token: int | None
    max_events: int
    max_bytes: int
    ttl: float | None
    now: float
    shift: float


class Settlement(NamedTuple):
    """What becomes of claimed events.

    Attributes:
        key: The consumer.
        token: The token of its lease; ``None``: competing.
        dispositions: One per event.
        ids: The time, and how long ids are known.
    """

    key: ConsumerKey
    token: int | None
    dispositions: Sequence[Disposition]
    ids: Ids


def claim(transaction: Transaction, ask: Ask) -> Claims:
    """Hand out what is due to a consumer.

    Raises:
        LeaseLostError: The token is not the newest.
        UnknownConsumerError: There is no such consumer.
    """
    db = transaction.db
    topic, consumer = load(db, ask.key)
    if ask.token is not None:
        leases.check(db, ask.key.lease, ask.token, ask.now)
    is_new = ask.token != consumer.token
    if is_new:  # what was handed out before is met again on the way, and no claim from before counts
        consumer.token = ask.token
        consumer.fence = consumer.claims
        consumer.next = consumer.position
    if consumer.is_paused:
        if is_new:
            save_consumer(db, consumer)
        return Claims([])
    number, handed = consumer.claims + 1, consumer.handed
    reading = Reading(ClaimedEvent, (1, number), max_events=ask.max_events, max_bytes=ask.max_bytes, shift=ask.shift)
    _take_again(db, topic, consumer, ask, reading)
    _take_next(db, topic, consumer, reading)
    events, faults = _claimed(reading, number, handed), reading.faults
    gap, consumer.gap = consumer.gap, 0
    if events:
        consumer.claims = number
        if ask.token is None or events[0].offset < handed:
            _mark(db, consumer, ask, events, handed)
    if faults:
        set_aside(db, topic, faults)
        marks.settle(db, consumer, [fault.offset for fault in faults])
    if is_new or gap or faults or events:
        save_consumer(db, consumer)
    damaged = sorted(fault.offset for fault in faults)
    return Claims(events, gap, damaged, marks.due_in(db, consumer, ask.now))


def _claimed(reading: Reading[ClaimedEvent], number: int, handed: int) -> Sequence[ClaimedEvent]:
    """What was read, as it is handed out: as a run where nothing of it was handed out before."""
    run = reading.run()
    if run is None or run[0] < handed:
        return reading.events
    first, captured, moments = run
    return ClaimedRun(first, captured, moments, [(number, first + len(captured))])


def _take_again(
    db: sqlite3.Connection, topic: Topic, consumer: Consumer, ask: Ask, reading: Reading[ClaimedEvent]
) -> None:
    """Take what was given back, or ran out of time."""
    for offset, attempts in marks.due(db, consumer, ask.now, ask.max_events):
        taken = len(reading)
        reading.scan(db, topic, offset, offset + 1)
        for event in reading.events[taken:]:
            event.attempt = attempts + 1


def _take_next(db: sqlite3.Connection, topic: Topic, consumer: Consumer, reading: Reading[ClaimedEvent]) -> None:
    """Take what comes next: first what was handed out before a takeover, then what never was."""
    if reading.is_full or consumer.next >= topic.end:
        return
    handed = consumer.handed
    marked = marks.between(db, consumer, consumer.next, handed) if consumer.next < handed else {}
    taken, first = len(reading), consumer.next
    for offset in [offset for offset, (state, _, _) in marked.items() if state == marks.SETTLED]:
        consumer.next = reading.scan(db, topic, consumer.next, offset)
        if consumer.next == offset:
            consumer.next += 1
    consumer.next = reading.scan(db, topic, consumer.next, topic.end)
    consumer.handed = max(handed, consumer.next)
    for event in reading.events[taken:] if first < handed else ():
        if event.offset >= handed:
            break
        _, attempts, _ = marked.get(event.offset, (marks.HELD, 1, 0))
        event.attempt = attempts + 1


def _mark(db: sqlite3.Connection, consumer: Consumer, ask: Ask, events: Sequence[ClaimedEvent], handed: int) -> None:
    """Keep of claimed events what the consumer's row does not say: what was handed out before, or is competed for."""
    until = None
    if ask.token is not None:
        events = [event for event in events if event.offset < handed]
    elif ask.ttl is not None:
        until = ask.now + ask.ttl
    marks.put(db, consumer, marks.HELD, ((event.offset, event.attempt, event.claim, until) for event in events))


def settle(transaction: Transaction, ask: Settlement) -> None:
    """Settle claimed events or give them back.

    Raises:
        LeaseLostError: The token is not the newest, or an event is not the claim's any more. Nothing was changed.
        StoreFullError: A letter found no room. Nothing was changed.
        UnknownConsumerError: There is no such consumer.
    """
    db = transaction.db
    topic, consumer = load(db, ask.key)
    if ask.token is not None:
        leases.check(db, ask.key.lease, ask.token, ask.ids.now)
    if not ask.dispositions:
        return
    before = consumer.position
    returned = not _go_on(db, consumer, ask.dispositions) and _dispose(transaction, consumer, ask)
    save_consumer(db, consumer)
    if returned:
        transaction.touched.add(topic.name)
    elif topic.is_wanted and consumer.position > before and settled_before(db, topic) > topic.first:
        topic.is_wanted = 0
        save_topic(db, topic)
        transaction.touched.add(topic.name)


def _go_on(db: sqlite3.Connection, consumer: Consumer, dispositions: Sequence[Disposition]) -> bool:
    """Move the position over what follows right behind it, in order; whether that was all, else nothing was done.

    That is what nearly every settlement comes to, and a sixth of what it costs to look at each event's marks.
    """
    if isinstance(dispositions, Acks):
        after = _acked_up_to(consumer, dispositions.events)
        return after is not None and _move(db, consumer, after, 0)
    position, skipped = consumer.position, 0
    fence, claims = consumer.fence, consumer.claims
    for claimed, disposal, _, reason, _ in dispositions:
        if claimed.offset != position or not fence < claimed.claim <= claims or reason is not None:
            return False
        if disposal is not _ACK:
            if disposal is not _SKIP:
                return False
            skipped += 1
        position += 1
    return _move(db, consumer, position, skipped)


def _acked_up_to(consumer: Consumer, events: Sequence[ClaimedEvent]) -> int | None:
    """Where what follows right behind the position ends; ``None``: it is something else, or of no claim that counts."""
    after = consumer.position + len(events)
    if isinstance(events, ClaimedRun):
        if events.first != consumer.position:
            return None
        numbers = {number for number, _ in events.claims}
    else:
        if [claimed.offset for claimed in events] != list(range(consumer.position, after)):
            return None
        numbers = {claimed.claim for claimed in events}
    return after if consumer.fence < min(numbers) and max(numbers) <= consumer.claims else None


def _move(db: sqlite3.Connection, consumer: Consumer, position: int, skipped: int) -> bool:
    if position > consumer.next or marks.has_any(db, consumer):
        return False
    consumer.position = position
    consumer.has_cursor = 1
    consumer.skipped += skipped
    return True


def _dispose(transaction: Transaction, consumer: Consumer, ask: Settlement) -> bool:
    """Do what was asked, whatever that is; whether something was given back."""
    db = transaction.db
    valid = _valid(db, consumer, ask)
    letters = [one.letter for one in valid if one.letter is not None and one.disposal is Disposal.DEAD]
    if letters:
        _bury(transaction, ask, letters)
    settled: list[int] = []
    returned: list[tuple[int, int, int, float | None]] = []
    for claimed, disposal, delay, reason, _ in valid:
        if disposal in _GIVEN_BACK:
            attempts = claimed.attempt - (disposal is Disposal.RELEASE)
            returned.append((claimed.offset, attempts, claimed.claim, ask.ids.now + delay))
        else:
            settled.append(claimed.offset)
            consumer.skipped += disposal is _SKIP
            consumer.dead += disposal is Disposal.DEAD
        if reason is not None:
            consumer.last_error = reason
    if returned:
        marks.put(db, consumer, marks.RETURNED, returned)
    if settled:
        consumer.has_cursor = 1
        marks.settle(db, consumer, settled)
    return bool(returned)


def _valid(db: sqlite3.Connection, consumer: Consumer, ask: Settlement) -> list[Disposition]:
    """The dispositions of events that are not settled yet, the first that settles each."""
    offsets = [claimed.offset for claimed in settled_by(ask.dispositions)]
    marked = marks.between(db, consumer, min(offsets), max(offsets) + 1)
    settled: set[int] = set()
    valid: list[Disposition] = []
    for one in ask.dispositions:
        offset, number = one.claimed.offset, one.claimed.claim
        if not consumer.fence < number <= consumer.claims:
            raise _lost(ask.key, offset, "the consumer was taken over, moved or added anew since it was claimed")
        state, _, claimed_by = marked.get(offset, (marks.HELD, 1, number))
        if offset < consumer.position or state == marks.SETTLED or offset in settled:
            continue
        if offset >= consumer.next or claimed_by != number:
            raise _lost(ask.key, offset, "it was handed out anew since it was claimed")
        if one.disposal is Disposal.DEAD and one.letter is None:
            raise ValueError(f"the event at offset {offset} cannot die without a letter")
        if one.disposal not in _GIVEN_BACK:
            settled.add(offset)
        valid.append(one)
    return valid


def _lost(key: ConsumerKey, offset: int, why: str) -> LeaseLostError:
    return LeaseLostError(f"the event at offset {offset} cannot be settled by consumer {key}: {why}")


def _bury(transaction: Transaction, ask: Settlement, letters: list[CapturedEvent]) -> None:
    """Append the letters of the dead, all of them or none."""
    answer = append_one(transaction, (ask.key.topic + DEAD_SUFFIX, letters, True, *ask.ids))
    if isinstance(answer, Exception):
        raise answer


def extend(transaction: Transaction, ask: tuple[ConsumerKey, Sequence[ClaimedEvent], float]) -> None:
    """Hold events of competing claims until a moment.

    Raises:
        LeaseLostError: One of them is not held under its claim. Nothing was changed.
        UnknownConsumerError: There is no such consumer.
    """
    key, claimed, until = ask
    db = transaction.db
    _, consumer = load(db, key)
    if not claimed:
        return
    offsets = [event.offset for event in claimed]
    marked = marks.between(db, consumer, min(offsets), max(offsets) + 1)
    held: list[tuple[int, int, int, float | None]] = []
    for event in claimed:
        state, attempts, number = marked.get(event.offset, (marks.SETTLED, 0, 0))
        is_competing = consumer.token is None  # else it is held by the lease
        if not is_competing or event.claim <= consumer.fence or state != marks.HELD or number != event.claim:
            raise _lost(key, event.offset, "it is not held under its claim any more")
        held.append((event.offset, attempts, number, until))
    marks.put(db, consumer, marks.HELD, held)
