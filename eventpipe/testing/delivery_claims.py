"""Scenarios of the contract of deliveries: what is due, and how rows are taken and given back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from eventpipe.stores.delivery_values import DeliveryRow, DueEndpoint, EndpointState, Place
from eventpipe.testing.delivery_rig import NOW, TTL, DeliveryRig, a_retry, a_success, ids_of


def place_of(row: DeliveryRow) -> Place:
    """Where a row that is due at some time is."""
    assert row.due_at is not None
    return Place(row.due_at, row.id)


class ClaimScenarios:
    """What ``due()``, ``claim()`` and ``release()`` promise."""

    async def test_due_says_when_the_first_row_of_each_endpoint_is(self, rig: DeliveryRig) -> None:
        """By name, whatever the state of the endpoint; those without an open row are left out."""
        for name in ("d", "c", "b", "a", "empty"):
            await rig.endpoint(name)
        for name, at in (("b", NOW + 5), ("b", NOW + 3), ("b", NOW + 4), ("a", NOW), ("c", NOW), ("d", NOW)):
            await rig.publish(name, at=at)
        (settled,) = await rig.fill(1, endpoint="empty")
        await rig.settle(settled)
        paused = await rig.kept.set_endpoint_state("a", EndpointState.PAUSED, None)
        disabled = await rig.kept.set_endpoint_state("c", EndpointState.DISABLED, None)
        removed = await rig.kept.set_endpoint_state("d", EndpointState.REMOVED, None)
        (active,) = await rig.kept.endpoints("b")

        assert await rig.kept.due() == [
            DueEndpoint(paused, NOW),
            DueEndpoint(active, NOW + 3),
            DueEndpoint(disabled, NOW),
            DueEndpoint(removed, NOW),
        ]

    async def test_due_tells_apart_endpoints_that_have_had_one_name(self, rig: DeliveryRig) -> None:
        """The older comes first."""
        await rig.endpoint()
        await rig.publish(at=NOW + 7)
        old = await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)
        new = await rig.endpoint(created_at=NOW + 9)
        await rig.publish(at=NOW + 5)

        assert await rig.kept.due() == [DueEndpoint(old, NOW + 7), DueEndpoint(new, NOW + 5)]

    async def test_due_counts_rows_that_somebody_has(self, rig: DeliveryRig) -> None:
        """Until they are changed."""
        acme = await rig.endpoint()
        await rig.fill(1)
        (claimed,) = await rig.claim(acme)
        held = await rig.kept.due()
        await rig.change(a_retry(claimed.row, due_at=NOW + 40))

        assert held == [DueEndpoint(acme, NOW)]
        assert await rig.kept.due() == [DueEndpoint(acme, NOW + 40)]

    async def test_claimed_rows_are_as_they_were_but_for_the_claim(self, rig: DeliveryRig) -> None:
        """They have a holder, until when, and a version that is one more; and they come with their events."""
        acme = await rig.endpoint()
        published = await rig.publish()
        row = await rig.row(published.deliveries["acme"])

        (claimed,) = await rig.claim(acme, now=NOW + 1, holder="wörker 1")

        assert claimed.row == replace(row, claimed_until=NOW + 1 + TTL, holder="wörker 1", version=2)
        assert await rig.row(row.id) == claimed.row
        kept = await rig.kept.event(published.event_uuid)
        assert kept is not None
        assert kept.event is not None
        assert claimed.event.event is not None
        assert replace(claimed.event, event=None) == replace(kept, event=None)
        assert claimed.event.event.data == kept.event.data

    async def test_rows_are_claimed_in_the_order_in_which_they_are_due(self, rig: DeliveryRig) -> None:
        """Of those that are due at the same moment, the one that was published first comes first."""
        acme = await rig.endpoint()
        late, early, same = [(await rig.fill(1, at=NOW - age))[0] for age in (1.0, 2.0, 1.0)]

        assert ids_of(await rig.claim(acme)) == [early, late, same]

    async def test_rows_are_claimed_up_to_the_cutoff(self, rig: DeliveryRig) -> None:
        """Those that are due at that very moment are among them, whatever the time is."""
        acme = await rig.endpoint()
        before, at, _ = [(await rig.fill(1, at=NOW + seconds))[0] for seconds in (4.9, 5.0, 5.1)]

        assert ids_of(await rig.claim(acme, now=NOW + 9, cutoff=NOW + 5)) == [before, at]

    async def test_only_rows_of_the_endpoint_are_claimed(self, rig: DeliveryRig) -> None:
        """What others have is left alone."""
        acme, other = await rig.endpoint("acme"), await rig.endpoint("other")
        published = await rig.publish("acme", "other")

        assert ids_of(await rig.claim(acme)) == [published.deliveries["acme"]]
        assert ids_of(await rig.claim(other)) == [published.deliveries["other"]]

    async def test_row_that_somebody_has_is_claimed_when_the_time_is_over(self, rig: DeliveryRig) -> None:
        """At that moment, and not before."""
        acme = await rig.endpoint()
        ids = await rig.fill(2)
        await rig.claim(acme, limit=1)

        early = await rig.claim(acme, now=NOW + TTL - 0.001)
        late = await rig.claim(acme, now=NOW + TTL, holder="another")

        assert ids_of(early) == ids[1:]
        assert [(row.id, row.holder, row.version) for row, _ in late] == [(ids[0], "another", 3)]

    async def test_claims_take_so_many_at_most_and_go_on_behind_a_place(self, rig: DeliveryRig) -> None:
        """Fewer than the limit say that there are no more; between the pages rows may change."""
        acme = await rig.endpoint()
        ids = await rig.fill(4) + await rig.fill(3, at=NOW - 1)
        in_order = ids[4:] + ids[:4]
        pages: list[list[int]] = []
        after: Place | None = None
        while not pages or len(pages[-1]) == 3:
            rows = [claimed.row for claimed in await rig.claim(acme, after=after, limit=3)]
            pages.append(ids_of(rows))
            after = place_of(rows[-1])
            await rig.change(*(a_success(row) for row in rows))

        assert pages == [in_order[:3], in_order[3:6], in_order[6:]]

    async def test_claim_behind_a_place_takes_nothing_before_it(self, rig: DeliveryRig) -> None:
        """Nor at it, though nobody has what is there; who comes anew finds that."""
        acme = await rig.endpoint()
        ids = await rig.fill(3)
        place = place_of(await rig.row(ids[1]))

        assert ids_of(await rig.claim(acme, after=place)) == ids[2:]
        assert ids_of(await rig.claim(acme)) == ids[:2]

    @pytest.mark.parametrize("state", EndpointState)
    async def test_rows_are_claimed_whatever_the_state_of_the_endpoint(
        self, rig: DeliveryRig, state: EndpointState
    ) -> None:
        """What is to become of them is another's to decide."""
        acme = await rig.endpoint()
        ids = await rig.fill(2)
        if state is not EndpointState.ACTIVE:
            acme = await rig.kept.set_endpoint_state("acme", state, None)

        assert ids_of(await rig.claim(acme)) == ids

    @pytest.mark.parametrize("change", ["paused", "disabled", "removed", "replaced", "changed"])
    async def test_who_knows_an_endpoint_as_it_was_claims_nothing(self, rig: DeliveryRig, change: str) -> None:
        """So that nothing is attempted that was paused before it was claimed, or goes where it led before."""
        acme = await rig.endpoint()
        ids = await rig.fill(2)
        if change == "replaced":
            now = await rig.kept.put_endpoint(acme, None, replace=True)
        elif change == "changed":
            now = await rig.kept.change_endpoint(acme, None) or acme
        else:
            now = await rig.kept.set_endpoint_state("acme", EndpointState(change), None)

        assert now.version == acme.version + 1
        assert await rig.claim(acme) == []
        assert [row.claimed_until for row in await rig.all_rows()] == [None, None]
        assert ids_of(await rig.claim(now)) == ids

    async def test_endpoint_that_is_not_kept_has_nothing_to_claim(self, rig: DeliveryRig) -> None:
        """Neither one that never was, nor one that was removed with its last row."""
        acme = await rig.endpoint()
        (id_,) = await rig.fill(1)
        await rig.settle(id_)
        await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)
        await rig.kept.purge(before=NOW + 1, limit=10)

        assert await rig.claim(acme) == await rig.claim(replace(acme, name="other")) == []

    async def test_claims_at_once_share_nothing(self, rig: DeliveryRig) -> None:
        """Each row goes to one of ten, and all rows to somebody."""
        acme = await rig.endpoint()
        ids = await rig.fill(100)

        async with asyncio.TaskGroup() as group:
            claims = [group.create_task(rig.claim(acme, limit=10)) for _ in range(10)]

        assert sorted(id_ for claim in claims for id_ in ids_of(claim.result())) == ids

    async def test_row_that_is_given_back_is_due_as_before(self, rig: DeliveryRig) -> None:
        """Nobody has it, and the next claim has it at once; its version is one more."""
        acme = await rig.endpoint()
        await rig.fill(1)
        (claimed,) = await rig.claim(acme)

        assert await rig.kept.release([claimed.row]) == 1

        released = replace(claimed.row, claimed_until=None, holder=None, version=3)
        assert await rig.row(claimed.row.id) == released
        assert [again.row.version for again in await rig.claim(acme)] == [4]

    async def test_row_whose_time_is_over_is_given_back_all_the_same(self, rig: DeliveryRig) -> None:
        """Where nobody took it since; the others of the call are given back whatever became of it."""
        acme = await rig.endpoint()
        await rig.fill(3)
        claimed = [row for row, _ in await rig.claim(acme)]
        (taken,) = await rig.claim(acme, now=NOW + TTL, limit=1)
        await rig.change(a_success(claimed[2]))

        assert await rig.kept.release(claimed) == 1

        assert (await rig.row(taken.row.id)) == taken.row
        assert (await rig.row(claimed[1].id)).claimed_until is None

    async def test_row_is_given_back_once(self, rig: DeliveryRig) -> None:
        """Not twice in one call, not in a later one, and not when nobody has it."""
        acme = await rig.endpoint()
        await rig.fill(1)
        (claimed,) = await rig.claim(acme)

        assert await rig.kept.release([claimed.row, claimed.row]) == 1
        assert await rig.kept.release([claimed.row]) == 0
        released = await rig.row(claimed.row.id)
        assert await rig.kept.release([released]) == 0
        assert await rig.row(claimed.row.id) == released

    async def test_change_that_was_decided_on_a_claim_ends_with_it(self, rig: DeliveryRig) -> None:
        """Who gave a row back cannot change it any more, nor who has lost it to another."""
        acme = await rig.endpoint()
        await rig.fill(2)
        one, other = [row for row, _ in await rig.claim(acme)]
        await rig.kept.release([one])
        await rig.claim(acme, now=NOW + TTL, holder="another")

        assert await rig.change(a_success(one), a_success(other)) == [False, False]
