"""Settling in SQLite: what goes on in order takes a short way, and comes to the same as by the long one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventpipe.errors import LeaseLostError
from eventpipe.stores import sqlite_claims, sqlite_consumers, sqlite_leases, sqlite_topics
from eventpipe.stores.sqlite_claims import Ask, Settlement
from eventpipe.stores.sqlite_jobs import Transaction
from eventpipe.stores.sqlite_room import Ids
from eventpipe.stores.sqlite_schema import MIGRATIONS
from eventpipe.stores.values import Acks, ClaimedEvent, ConsumerKey, Disposal, Disposition, settled_by
from eventpipe.testing import make_event

KEY = ConsumerKey("orders", "audit")
EVENTS = 12
NOW = 1_000.0

Step = tuple[str, int, list[Disposal]]

claims: st.SearchStrategy[Step] = st.tuples(st.just("claim"), st.integers(1, 5), st.builds(list[Disposal]))
# From which of the claimed events on how many are settled, in which order and how: mostly as a consumer does it.
settlements = st.tuples(
    st.just("settle"),
    st.sampled_from([0, 0, 0, 1, 2]),
    st.lists(st.sampled_from([*[Disposal.ACK] * 6, *[Disposal.SKIP] * 2, Disposal.NACK, Disposal.RELEASE]), min_size=1),
)
others: st.SearchStrategy[Step] = st.sampled_from(
    [("take over", 0, []), ("seek", 3, []), ("turn round", 0, []), ("say why", 0, [])]
)
steps = st.lists(st.one_of(claims, claims, settlements, settlements, others), max_size=14)


ACKED: Step = ("settle", 0, [Disposal.ACK] * 3)


class Holder:
    """Claims and settles in a file in memory, as the store's thread does."""

    def __init__(self, *, says_acks: bool = True) -> None:
        self.says_acks = says_acks
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        for migration in MIGRATIONS:
            self.db.executescript(migration)
        self.transaction = Transaction(self.db)
        self.claimed: list[ClaimedEvent] = []
        self.token = 0
        events = [make_event(f"e{number}", uuid=f"0190a000-0000-7000-8000-{number:012}") for number in range(EVENTS)]
        sqlite_topics.append_one(self.transaction, (KEY.topic, events, False, NOW, 0.0))
        sqlite_consumers.add(self.transaction, (KEY, "earliest", NOW))
        self.take_over()

    def close(self) -> None:
        self.db.close()

    def take_over(self) -> None:
        sqlite_leases.release(self.transaction, (KEY.lease, self.token))
        self.token = sqlite_leases.acquire(self.transaction, sqlite_leases.Hold(KEY.lease, 0, "me", None, NOW))

    def do(self, what: str, number: int, disposals: list[Disposal], reason: str | None) -> object:
        """One step; what it came to."""
        match what:
            case "claim":
                ask = Ask(KEY, self.token, number, 1 << 20, None, NOW, 0.0)
                found = sqlite_claims.claim(self.transaction, ask)
                self.claimed += found.events
                return [(event.offset, event.attempt, event.claim) for event in found.events], found.due_in
            case "settle":
                chosen = list(zip(self.claimed[number:], disposals, strict=False))
                said: Sequence[Disposition] = [Disposition(one, disposal, 0.0, reason) for one, disposal in chosen]
                if self.says_acks and reason is None and all(one.disposal is Disposal.ACK for one in said):
                    said = Acks([one.claimed for one in said])
                del self.claimed[number : number + len(said)]
                try:
                    sqlite_claims.settle(self.transaction, Settlement(KEY, self.token, said, Ids(NOW, 0.0)))
                except LeaseLostError as error:
                    return str(error)
            case "take over":
                self.take_over()
            case "seek":
                sqlite_consumers.seek(self.transaction, (KEY, number))
            case "turn round":
                self.claimed.reverse()
        return None

    def state(self) -> object:
        """Everything that is kept of the consumer, and who was told."""
        kept = [self.db.execute(f"SELECT * FROM {table}").fetchall() for table in ("consumers", "marks")]  # noqa: S608
        return kept, sorted(self.transaction.touched)


@example([*[("claim", 3, [])] * 2, ACKED, ("seek", 3, []), ("claim", 3, []), ACKED])  # by who had them before the seek
@given(steps=steps)
def test_what_goes_on_in_order_is_settled_as_anything_else(steps: list[Step]) -> None:
    """Whatever was claimed, given back, settled, taken over or moved before: both ways leave the same."""
    with closing(Holder()) as short, closing(Holder(says_acks=False)) as long:
        reason: str | None = None
        for what, number, disposals in steps:
            reason = "because" if what == "say why" else reason
            came_to = short.do(what, number, disposals, reason)
            with mock.patch.object(sqlite_claims, "_go_on", return_value=False):
                assert long.do(what, number, disposals, reason) == came_to

            assert short.state() == long.state()


@pytest.mark.parametrize("says_acks", [True, False])
@pytest.mark.parametrize("disposal", [Disposal.ACK, Disposal.SKIP])
def test_a_batch_in_order_is_settled_without_a_look_at_each_event(disposal: Disposal, says_acks: bool) -> None:
    """The short way is taken by what consumers do nearly always: else it would be there for nothing."""
    with closing(Holder(says_acks=says_acks)) as holder:
        with mock.patch.object(sqlite_claims, "_dispose", side_effect=AssertionError):
            for _ in range(2):
                holder.do("claim", 5, [], None)
                holder.do("settle", 0, [disposal] * 5, None)

        position, skipped = holder.db.execute("SELECT position, skipped FROM consumers").fetchone()
    assert (position, skipped) == (10, 10 if disposal is Disposal.SKIP else 0)


def test_acks_are_the_dispositions_of_their_events() -> None:
    """In order, each as if it had been made by hand, also of a part; and as many as there are events."""
    events = [ClaimedEvent(offset, 0.0, None, "odd", b"", 1, 1) for offset in range(4)]
    made = [Disposition(event, Disposal.ACK) for event in events]

    acks = Acks(events)

    assert (list(acks), len(acks), acks[-1], list(acks[1:3])) == (made, 4, made[3], made[1:3])
    assert (list(settled_by(acks)), settled_by(made)) == (events, events)
