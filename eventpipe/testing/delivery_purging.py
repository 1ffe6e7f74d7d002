"""Scenarios of the contract of deliveries: what is deleted, and when."""

from __future__ import annotations

from dataclasses import replace

from eventpipe.stores.delivery_values import DeliveryState, EndpointState, EndpointStats, FailureReason
from eventpipe.testing.delivery_rig import (
    NOW,
    DeliveryRig,
    a_failure,
    a_publication,
    a_resend,
    a_success,
    an_attempt,
    ids_of,
)
from eventpipe.testing.events import make_event


class PurgingScenarios:
    """What ``purge()`` promises."""

    async def test_rows_that_were_settled_before_a_moment_are_deleted(self, rig: DeliveryRig) -> None:
        """With their attempts, whatever they came to; not those of that very moment, nor any that is open."""
        await rig.endpoint()
        success, failure, late, pending, again = await rig.rows(await rig.fill(5, at=NOW - 50))
        await rig.change(
            replace(a_success(success, at=NOW - 1), attempt=an_attempt()),
            replace(a_failure(failure, FailureReason.EXPIRED, at=NOW - 2), attempt=an_attempt()),
            replace(a_success(late, at=NOW), attempt=an_attempt()),
            a_success(again, at=NOW - 3),
        )
        await rig.change(a_resend(await rig.row(again.id)))

        assert await rig.kept.purge(before=NOW, limit=10) == 2

        assert ids_of(await rig.all_rows()) == [again.id, pending.id, late.id]
        assert [await rig.kept.row(row.id) for row in (success, failure)] == [None, None]
        attempts = [await rig.kept.attempts(row.id) for row in (success, failure, late)]
        assert attempts == [[], [], [an_attempt()]]

    async def test_rows_that_were_settled_first_are_deleted_first(self, rig: DeliveryRig) -> None:
        """At most so many; of those that were settled at the same moment, the one with the lowest id."""
        await rig.endpoint()
        rows = await rig.rows(await rig.fill(5))
        await rig.change(*(a_success(row, at=NOW - age) for row, age in zip(rows, (1, 3, 2, 3, 1), strict=True)))
        left: list[list[int]] = []
        counts: list[int] = []
        for _ in range(3):
            counts.append(await rig.kept.purge(before=NOW, limit=2))
            left.append([rows.index(row) for row in rows if await rig.kept.row(row.id) is not None])

        assert counts == [2, 2, 1]
        assert left == [[0, 2, 4], [4], []]

    async def test_event_goes_with_its_last_row(self, rig: DeliveryRig) -> None:
        """As long as it has one, it is kept and known; the answer to who publishes it again says what it has."""
        await rig.endpoint("acme")
        await rig.endpoint("other")
        publication = a_publication("acme", "other", key="inv-7")
        (published,) = await rig.kept.publish([publication])
        uuid, acme, other = published.event_uuid, *published.deliveries.values()
        await rig.settle(acme, NOW - 2)
        await rig.settle(other, NOW - 1)

        assert await rig.kept.purge(before=NOW, limit=1) == 1
        half = await rig.kept.event(uuid)
        (again,) = await rig.kept.publish([publication])
        assert await rig.kept.purge(before=NOW, limit=1) == 1

        assert half is not None
        assert again == (uuid, {"other": other}, False)
        assert await rig.kept.event(uuid) is None
        assert await rig.kept.events() == []

    async def test_event_that_was_deleted_can_be_published_anew(self, rig: DeliveryRig) -> None:
        """So can another one with its dedupe key."""
        await rig.endpoint()
        one = a_publication("acme", key="inv-7")
        await rig.kept.publish([one])
        await rig.settle((await rig.all_rows())[0].id, NOW - 1)
        await rig.kept.purge(before=NOW, limit=1)

        other, same = await rig.kept.publish([a_publication("acme", key="inv-7"), one._replace(dedupe_key=None)])

        assert (other.is_new, same.is_new) == (True, True)
        assert {row.event_uuid for row in await rig.all_rows()} == {other.event_uuid, one.event.uuid}

    async def test_event_that_went_nowhere_counts_as_a_row(self, rig: DeliveryRig) -> None:
        """It is deleted where rows leave room, the one that was published first before the others."""
        await rig.endpoint()
        uuids = [f"{n}" * 36 for n in range(5)]
        await rig.kept.publish(
            [
                a_publication(at=NOW - age, event=make_event(uuid=uuid))
                for uuid, age in zip(uuids, (1, 3, 3, 0, 1), strict=True)
            ]
        )
        (id_,) = await rig.fill(1)
        await rig.settle(id_, NOW - 0.5)

        assert await rig.kept.purge(before=NOW, limit=2) == 2
        assert await rig.kept.row(id_) is None
        assert [event.uuid for event in await rig.kept.events()] == [uuids[n] for n in (3, 4, 0, 2)]
        assert await rig.kept.purge(before=NOW, limit=10) == 3
        assert [event.uuid for event in await rig.kept.events()] == [uuids[3]]

    async def test_endpoint_that_was_removed_goes_with_its_last_row(self, rig: DeliveryRig) -> None:
        """One that was not removed stays without any."""
        for name in ("gone", "stays"):
            await rig.endpoint(name)
        gone, stays = (await rig.publish("gone", "stays")).deliveries.values()
        await rig.settle(gone, NOW - 1)
        await rig.settle(stays, NOW - 1)
        removed = await rig.kept.set_endpoint_state("gone", EndpointState.REMOVED, None)
        (kept,) = await rig.kept.endpoints()
        before = await rig.kept.stats()

        assert await rig.kept.purge(before=NOW, limit=10) == 2

        one = {DeliveryState.SUCCESS: 1}
        assert before == [EndpointStats(removed, one, None, 0), EndpointStats(kept, one, None, 0)]
        assert await rig.kept.stats() == [EndpointStats(kept, {}, None, 0)]

    async def test_nothing_that_is_old_enough_is_nothing(self, rig: DeliveryRig) -> None:
        """And nothing is deleted."""
        await rig.endpoint()
        (id_,) = await rig.fill(1)
        await rig.settle(id_)

        assert await rig.kept.purge(before=NOW, limit=10) == 0
        assert ids_of(await rig.all_rows()) == [id_]
