"""Scenarios of the contract of deliveries: which rows and events there are, and how they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import pytest

from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryState, EndpointState, EndpointStats, FailureReason
from eventpipe.testing.delivery_rig import (
    NOW,
    TTL,
    DeliveryRig,
    a_failure,
    a_publication,
    a_resend,
    a_retry,
    a_success,
    ids_of,
)
from eventpipe.testing.events import make_event

_PENDING, _SENDING, _SUCCESS, _FAILED, _RESENDING = DeliveryState

_IDS: Final = tuple("0" * 35 + str(number) for number in range(4))  # of the events that _fill() publishes

# A letter for each of the rows that it makes.
_FILTERS: Final[Mapping[str, tuple[DeliveryFilter, str]]] = {
    "nothing": (DeliveryFilter(), "fedcba"),
    "a state": (DeliveryFilter(frozenset({_SUCCESS})), "b"),
    "states": (DeliveryFilter(frozenset({_PENDING, _SENDING, _RESENDING})), "feda"),
    "every state": (DeliveryFilter(frozenset(DeliveryState)), "fedcba"),
    "endpoint": (DeliveryFilter(endpoint="acme"), "eba"),
    "unknown endpoint": (DeliveryFilter(endpoint="nobody"), ""),
    "name": (DeliveryFilter(event_name="invoice.paid"), "dca"),
    "pattern": (DeliveryFilter(event_name="invoice.*"), "dcba"),
    "pattern with marks of engines": (DeliveryFilter(event_name="%_?[a]*"), "fe"),
    "pattern of an engine": (DeliveryFilter(event_name="invoice_%"), ""),
    "another pattern of engines": (DeliveryFilter(event_name="*.[ps]*"), ""),
    "pattern in another case": (DeliveryFilter(event_name="INVOICE.*"), ""),
    "id of an event": (DeliveryFilter(event_uuid=_IDS[2]), "dc"),
    "id and endpoint": (DeliveryFilter(endpoint="third", event_uuid=_IDS[2]), "d"),
    "unknown id": (DeliveryFilter(event_uuid="x"), ""),
    "reason": (DeliveryFilter(reason=FailureReason.EXPIRED), "c"),
    "due before": (DeliveryFilter(due_before=NOW + 3), "fd"),
    "published after": (DeliveryFilter(published_after=NOW + 2), "fe"),
    "published before": (DeliveryFilter(published_before=NOW + 2), "dcba"),
    "time": (DeliveryFilter(published_after=NOW + 1, published_before=NOW + 2), "dc"),
    "much": (DeliveryFilter(frozenset({_FAILED, _SUCCESS}), "acme", "*.*", published_after=NOW), "b"),
    "too much": (DeliveryFilter(frozenset({_FAILED}), "acme"), ""),
    "id and more": (DeliveryFilter(frozenset({_FAILED}), event_uuid=_IDS[2]), "c"),
}


async def _fill(rig: DeliveryRig) -> dict[int, str]:
    """Six rows of four events, in every state; their letters by id."""
    for name in ("acme", "other", "third"):
        await rig.endpoint(name)
    published = await rig.kept.publish(
        [
            a_publication("acme", at=NOW, event=make_event("invoice.paid", uuid=_IDS[0])),
            a_publication("acme", at=NOW, event=make_event("invoice.sent", uuid=_IDS[1])),
            a_publication("other", "third", at=NOW + 1, event=make_event("invoice.paid", uuid=_IDS[2])),
            a_publication("acme", "other", at=NOW + 2, event=make_event("%_?[a]x", uuid=_IDS[3])),
        ]
    )
    a, b, c, d, e, f = [id_ for one in published for id_ in one.deliveries.values()]
    await rig.change(
        a_retry(await rig.row(a), due_at=NOW + 5),
        a_success(await rig.row(b)),
        a_failure(await rig.row(c), FailureReason.EXPIRED),
        a_resend(await rig.row(e), at=NOW + 3),
    )
    return dict(zip((a, b, c, d, e, f), "abcdef", strict=True))


class LookingScenarios:
    """What ``rows()``, ``row()``, ``event()``, ``events()`` and ``stats()`` promise."""

    @pytest.mark.parametrize("name", _FILTERS)
    async def test_filter_says_which_rows_are_meant(self, rig: DeliveryRig, name: str) -> None:
        """Those for which all of it holds, the newest first."""
        letters = await _fill(rig)
        wanted, expected = _FILTERS[name]

        assert "".join(letters[row.id] for row in await rig.kept.rows(wanted)) == expected

    @pytest.mark.parametrize("name", ["nothing", "states", "endpoint", "pattern", "id of an event"])
    async def test_rows_come_in_pages(self, rig: DeliveryRig, name: str) -> None:
        """At most so many, each behind the last one of the page before, though rows change in between."""
        letters = await _fill(rig)
        wanted, expected = _FILTERS[name]
        pages: list[str] = []
        after: int | None = None
        while not pages or pages[-1]:
            rows = await rig.kept.rows(wanted, after=after, limit=2)
            pages.append("".join(letters[row.id] for row in rows))
            after = rows[-1].id if rows else None
            await rig.change(*(a_success(row) for row in rows))

        assert pages == [*(expected[start : start + 2] for start in range(0, len(expected), 2)), ""]

    async def test_rows_of_an_endpoint_are_those_of_its_name(self, rig: DeliveryRig) -> None:
        """Those of one that was removed are among them."""
        await rig.endpoint()
        old = await rig.fill(1)
        await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)
        await rig.endpoint(created_at=NOW + 9)
        new = await rig.fill(1)

        assert ids_of(await rig.kept.rows(DeliveryFilter(endpoint="acme"))) == new + old

    async def test_what_is_not_there_is_none(self, rig: DeliveryRig) -> None:
        """A row and an event, whether or not there are others."""
        await rig.endpoint()
        (id_,) = await rig.fill(1)

        assert [await rig.kept.row(other) for other in (0, -1, id_ + 1)] == [None] * 3
        assert await rig.kept.event("x") is None

    async def test_events_come_with_the_newest_first(self, rig: DeliveryRig) -> None:
        """By when they were published, then by id; in pages, each behind the last one of the page before."""
        ids = [f"{n}" * 36 for n in range(6)]
        moments = (NOW + 1, NOW + 1, NOW, NOW + 3, NOW + 1, NOW + 2)
        await rig.kept.publish(
            [a_publication(at=at, event=make_event(uuid=uuid)) for uuid, at in zip(ids, moments, strict=True)]
        )
        pages: list[list[str]] = []
        while not pages or pages[-1]:
            after = pages[-1][-1] if pages else None
            pages.append([event.uuid for event in await rig.kept.events(after=after, limit=4)])

        assert pages == [[ids[3], ids[5], ids[4], ids[1]], [ids[0], ids[2]], []]
        assert [event.uuid for event in await rig.kept.events(after="x", limit=1)] == [ids[3]]

    async def test_events_in_a_list_come_without_what_is_in_them(self, rig: DeliveryRig) -> None:
        """So that a page of large ones costs no more than one of small ones; ``event()`` has it."""
        (published,) = await rig.kept.publish([a_publication(key="k", event=make_event("paid"))])

        (listed,) = await rig.kept.events()
        whole = await rig.kept.event(published.event_uuid)

        assert whole is not None
        assert whole.event is not None
        assert listed == replace(whole, event=None)

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("a.b", ["a.b"]), ("a*", ["a_b", "a.b"]), ("*b", ["a_b", "a.b"]), ("a_*", ["a_b"]), ("A*", []), ("*", None)],
    )
    async def test_events_are_found_by_name(self, rig: DeliveryRig, name: str, expected: list[str] | None) -> None:
        """By all of it, or with ``*`` for any characters."""
        names = ["c", "a.b", "a_b"]
        await rig.kept.publish([a_publication(name=name, at=NOW + n) for n, name in enumerate(names)])

        found = [event.name for event in await rig.kept.events(name=name)]

        assert found == (names[::-1] if expected is None else expected)

    async def test_stats_say_how_the_rows_of_each_endpoint_stand(self, rig: DeliveryRig) -> None:
        """By name; states without rows are left out."""
        await _fill(rig)
        (acme,), (other,), (third,) = [await rig.kept.endpoints(name) for name in ("acme", "other", "third")]
        empty = await rig.endpoint("empty")

        assert await rig.kept.stats() == [
            EndpointStats(acme, {_SENDING: 1, _SUCCESS: 1, _RESENDING: 1}, NOW + 3, 0),
            EndpointStats(empty, {}, None, 0),
            EndpointStats(other, {_FAILED: 1, _PENDING: 1}, NOW + 2, 0),
            EndpointStats(third, {_PENDING: 1}, NOW + 1, 0),
        ]

    async def test_stats_tell_apart_endpoints_that_have_had_one_name(self, rig: DeliveryRig) -> None:
        """The older first; one that was removed while it has rows."""
        await rig.endpoint()
        (id_,) = await rig.fill(1)
        old = await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)
        new = await rig.endpoint(created_at=NOW + 9)
        await rig.fill(2, at=NOW + 1)
        both = await rig.kept.stats()
        await rig.settle(id_)
        await rig.kept.purge(before=NOW + 1, limit=10)

        expected = EndpointStats(new, {_PENDING: 2}, NOW + 1, 0)
        assert both == [EndpointStats(old, {_PENDING: 1}, NOW, 0), expected]
        assert await rig.kept.stats() == [expected]

    async def test_stats_say_how_many_rows_somebody_has(self, rig: DeliveryRig) -> None:
        """Until they are given back or changed, or the claim is over."""
        acme = await rig.endpoint()
        await rig.fill(5)
        counts: list[int] = []

        async def count() -> None:
            (stats,) = await rig.kept.stats()
            counts.append(stats.claimed)

        now = rig.clock.time()
        claimed = await rig.claim(acme, now=now, limit=4)
        await count()
        await rig.kept.release([claimed[0].row])
        await count()
        await rig.change(a_success(claimed[1].row))
        await count()
        await rig.advance(TTL + 1)
        await count()

        assert counts == [4, 3, 2, 0]
