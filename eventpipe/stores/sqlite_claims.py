"""Handing events out to a consumer in SQLite, and settling them; plain functions of a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from eventpipe.errors import LeaseLostError
from eventpipe.events import CapturedEvent
from eventpipe.stores import sqlite_leases as leases
from eventpipe.stores import sqlite_marks as marks
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_reading import Fault, Kept, find, scan, set_aside
from eventpipe.stores.sqlite_room import Ids, settled_before
from eventpipe.stores.sqlite_tables import Consumer, Topic, load, save_consumer, save_topic
from eventpipe.stores.sqlite_topics import append_one
from eventpipe.stores.values import DEAD_SUFFIX, ClaimedEvent, Claims, ConsumerKey, Disposal, Disposition


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


class _Hand:
    """What is handed out by one claim, as long as there is room in it."""

    def __init__(self, ask: Ask, number: int) -> None:
        self._most = ask.max_events
        self._number = number
        self._room = ask.max_bytes
        self._until = None if ask.token is not None or ask.ttl is None else ask.now + ask.ttl
        self._is_full = ask.max_events < 1
        self.events: list[ClaimedEvent] = []
        self.marks: list[tuple[int, int, int, float | None]] = []

    def has_room(self) -> bool:
        """Whether another event may fit."""
        return not self._is_full

    def take(self, kept: Kept, attempt: int, *, is_again: bool) -> bool:
        """Take an event if there is room for it; whether there was. One that was handed out before is marked."""
        offset, moment, size, event, fault, raw = kept
        events = self.events
        if events and size > self._room:
            self._is_full = True
            return False
        self._room -= size
        if is_again or self._until is not None:
            self.marks.append((offset, attempt, self._number, self._until))
        events.append(ClaimedEvent(offset, moment, event, fault, raw, attempt, self._number))
        if len(events) >= self._most:
            self._is_full = True
        return True


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
    hand = _Hand(ask, consumer.claims + 1)
    faults: list[Fault] = []
    _take_again(db, topic, consumer, ask, hand, faults)
    _take_next(db, topic, consumer, ask, hand, faults)
    gap, consumer.gap = consumer.gap, 0
    if hand.events:
        consumer.claims += 1
        marks.put(db, consumer, marks.HELD, hand.marks)
    if faults:
        set_aside(db, topic, faults)
        marks.settle(db, consumer, [fault.offset for fault in faults])
    if is_new or gap or faults or hand.events:
        save_consumer(db, consumer)
    damaged = sorted(fault.offset for fault in faults)
    return Claims(hand.events, gap, damaged, marks.due_in(db, consumer, ask.now))


def _take_again(
    db: sqlite3.Connection, topic: Topic, consumer: Consumer, ask: Ask, hand: _Hand, faults: list[Fault]
) -> None:
    """Take what was given back, or ran out of time."""
    for offset, attempts in marks.due(db, consumer, ask.now, ask.max_events):
        kept = find(db, topic, offset, ask.shift, faults)
        if kept is not None and not hand.take(kept, attempts + 1, is_again=True):
            break


def _take_next(
    db: sqlite3.Connection, topic: Topic, consumer: Consumer, ask: Ask, hand: _Hand, faults: list[Fault]
) -> None:
    """Take what comes next: first what was handed out before a takeover, then what never was."""
    if not hand.has_room() or consumer.next >= topic.end:
        return
    handed = consumer.handed
    marked = marks.between(db, consumer, consumer.next, handed) if consumer.next < handed else {}
    found: list[Fault] = []
    with closing(scan(db, topic, consumer.next, ask.shift, found)) as events:
        for kept in events:
            offset = kept[0]
            attempt = 1
            if offset < handed:
                state, attempts, _ = marked.get(offset, (marks.HELD, 1, 0))
                if state == marks.SETTLED:
                    consumer.next = offset + 1
                    continue
                attempt = attempts + 1
            if not hand.take(kept, attempt, is_again=offset < handed):
                break
            consumer.next = offset + 1
            if not hand.has_room():
                break
        else:
            consumer.next = topic.end  # whatever is missing at the end
    # What lies behind the last event that was taken is met again by the claim that goes on there.
    faults += [
        fault
        for fault in found
        if fault.offset < consumer.next and marked.get(fault.offset, (marks.HELD, 1, 0))[0] != marks.SETTLED
    ]
    consumer.handed = max(handed, consumer.next)


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
    valid = _valid(db, consumer, ask)
    letters = [one.letter for one in valid if one.letter is not None and one.disposal is Disposal.DEAD]
    if letters:
        _bury(transaction, ask, letters)
    before = consumer.position
    returned = _dispose(db, consumer, valid, ask.ids.now)
    save_consumer(db, consumer)
    if returned:
        transaction.touched.add(topic.name)
    elif topic.is_wanted and consumer.position > before and settled_before(db, topic) > topic.first:
        topic.is_wanted = 0
        save_topic(db, topic)
        transaction.touched.add(topic.name)


def _valid(db: sqlite3.Connection, consumer: Consumer, ask: Settlement) -> list[Disposition]:
    """The dispositions of events that are not settled yet, the first that settles each."""
    offsets = [one.claimed.offset for one in ask.dispositions]
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
        if one.disposal not in (Disposal.NACK, Disposal.RELEASE):
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


def _dispose(db: sqlite3.Connection, consumer: Consumer, dispositions: Sequence[Disposition], now: float) -> bool:
    """Do what is valid; whether something was given back."""
    settled: list[int] = []
    returned: list[tuple[int, int, int, float | None]] = []
    for claimed, disposal, delay, reason, _ in dispositions:
        if disposal is Disposal.NACK or disposal is Disposal.RELEASE:
            attempts = claimed.attempt - (disposal is Disposal.RELEASE)
            returned.append((claimed.offset, attempts, claimed.claim, now + delay))
        else:
            settled.append(claimed.offset)
            consumer.skipped += disposal is Disposal.SKIP
            consumer.dead += disposal is Disposal.DEAD
        if reason is not None:
            consumer.last_error = reason
    if returned:
        marks.put(db, consumer, marks.RETURNED, returned)
    if settled:
        consumer.has_cursor = 1
        marks.settle(db, consumer, settled)
    return bool(returned)


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
