"""Scenarios of the contract of deliveries: changes by version, attempts, and rows that a clock left lying."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from eventpipe.stores.delivery_values import MAX_ATTEMPTS_KEPT, Change, DeliveryState, DueEndpoint, FailureReason
from eventpipe.testing.delivery_rig import (
    NOW,
    TTL,
    DeliveryRig,
    a_failure,
    a_resend,
    a_retry,
    a_success,
    an_attempt,
    ids_of,
)


class ChangeScenarios:
    """What ``change()``, ``attempts()`` and ``rescue()`` promise."""

    async def test_change_says_what_becomes_of_a_row(self, rig: DeliveryRig) -> None:
        """Each part of it; its version is one more, and nobody has it."""
        acme = await rig.endpoint()
        await rig.fill(1)
        (claimed,) = await rig.claim(acme)
        row = claimed.row
        change = Change(
            row.id, row.version, DeliveryState.SENDING, None, 1, NOW + 7.25, NOW + 99.5, None, attempt=an_attempt()
        )

        assert await rig.change(change) == [True]

        assert await rig.row(row.id) == replace(
            row,
            state=DeliveryState.SENDING,
            attempts=1,
            total_attempts=1,
            due_at=NOW + 7.25,
            deadline_at=NOW + 99.5,
            claimed_until=None,
            holder=None,
            version=3,
            last_status=503,
            last_error="no",
        )

    @pytest.mark.parametrize("reason", FailureReason)
    async def test_row_that_failed_has_its_reason(self, rig: DeliveryRig, reason: FailureReason) -> None:
        """It is settled, and not due any more."""
        acme = await rig.endpoint()
        (id_,) = await rig.fill(1)

        await rig.change(a_failure(await rig.row(id_), reason, at=NOW + 3))

        row = await rig.row(id_)
        assert (row.state, row.reason, row.due_at, row.settled_at) == (DeliveryState.FAILED, reason, None, NOW + 3)
        assert (await rig.kept.due(), await rig.claim(acme, now=NOW + 1e6)) == ([], [])

    async def test_change_of_another_version_changes_nothing(self, rig: DeliveryRig) -> None:
        """Of an older one, and of one that is yet to come; their attempts are not kept."""
        await rig.endpoint()
        (id_,) = await rig.fill(1)
        row = await rig.row(id_)
        change = a_retry(row, due_at=NOW + 1, attempt=an_attempt())

        assert await rig.change(replace(change, version=0), replace(change, version=2)) == [False, False]

        assert await rig.row(id_) == row
        assert await rig.kept.attempts(id_) == []

    async def test_changes_are_answered_each_for_itself(self, rig: DeliveryRig) -> None:
        """Of two that were decided on the same version the first holds; of a row that is not there, none."""
        await rig.endpoint()
        one, other = await rig.rows(await rig.fill(2))
        answers = await rig.change(
            a_retry(one, due_at=NOW + 1),
            a_success(replace(one, id=other.id + 1)),
            a_retry(one, due_at=NOW + 2),
            a_retry(other, due_at=NOW + 3),
        )

        assert answers == [True, False, False, True]
        assert [row.due_at for row in await rig.rows([one.id, other.id])] == [NOW + 1, NOW + 3]

    async def test_changes_of_one_row_may_follow_each_other(self, rig: DeliveryRig) -> None:
        """In one call, the second as it follows from the first."""
        await rig.endpoint()
        (row,) = await rig.rows(await rig.fill(1))

        answers = await rig.change(a_retry(row, due_at=NOW + 1), a_success(replace(row, version=2)))

        assert answers == [True, True]
        assert [(row.version, row.state) for row in await rig.all_rows()] == [(3, DeliveryState.SUCCESS)]

    async def test_change_of_nothing_is_nothing(self, rig: DeliveryRig) -> None:
        """And so is giving nothing back."""
        assert await rig.change() == []
        assert await rig.kept.release([]) == 0

    async def test_row_is_due_when_the_change_says(self, rig: DeliveryRig) -> None:
        """Before others that were before it, or after them."""
        acme = await rig.endpoint()
        one, two, three = await rig.rows(await rig.fill(3))
        await rig.change(a_retry(one, due_at=NOW + 5), a_retry(three, due_at=NOW - 5))

        assert await rig.kept.due() == [DueEndpoint(acme, NOW - 5)]
        assert ids_of(await rig.claim(acme, now=NOW + 9)) == [three.id, two.id, one.id]

    async def test_last_attempt_is_told_by_the_row(self, rig: DeliveryRig) -> None:
        """Its number, status and error, also where it has none; a change without an attempt leaves them as they are."""
        await rig.endpoint()
        (id_,) = await rig.fill(1)
        seen: list[tuple[int, int | None, str | None]] = []
        for attempt in (an_attempt(1), None, an_attempt(2, status=200, error=None), an_attempt(3, status=None)):
            await rig.change(a_retry(await rig.row(id_), due_at=NOW, attempt=attempt))
            row = await rig.row(id_)
            seen.append((row.total_attempts, row.last_status, row.last_error))

        assert seen == [(1, 503, "no"), (1, 503, "no"), (2, 200, None), (3, None, "no")]

    async def test_newest_attempts_of_a_row_are_kept(self, rig: DeliveryRig) -> None:
        """As they were, and in their order; those of another row are its own."""
        await rig.endpoint()
        many, few = await rig.fill(2)
        attempts = [an_attempt(number) for number in range(1, MAX_ATTEMPTS_KEPT + 4)]
        for attempt in attempts:
            await rig.change(a_retry(await rig.row(many), due_at=NOW, attempt=attempt))
        await rig.change(a_retry(await rig.row(few), due_at=NOW, attempt=attempts[0]))

        assert await rig.kept.attempts(many) == attempts[-MAX_ATTEMPTS_KEPT:]
        assert await rig.kept.attempts(few) == attempts[:1]
        assert await rig.kept.attempts(few + 1) == []

    async def test_resend_is_counted_and_what_was_attempted_stays(self, rig: DeliveryRig) -> None:
        """The row is open and due again, with as many attempts as the change says."""
        acme = await rig.endpoint()
        (id_,) = await rig.fill(1)
        row = await rig.row(id_)
        failed = replace(a_failure(row, FailureReason.REJECTED), attempt=an_attempt())
        await rig.change(failed)

        assert await rig.change(a_resend(await rig.row(id_), at=NOW + 8)) == [True]

        row = await rig.row(id_)
        assert (row.state, row.reason, row.settled_at) == (DeliveryState.RESENDING, None, None)
        assert (row.attempts, row.total_attempts, row.resends, row.last_error) == (0, 1, 1, "no")
        assert await rig.kept.attempts(id_) == [an_attempt()]
        assert ids_of(await rig.claim(acme, now=NOW + 8)) == [id_]

    async def test_of_changes_at_once_one_holds(self, rig: DeliveryRig) -> None:
        """A worker's and nine resends, all decided on the same version."""
        acme = await rig.endpoint()
        await rig.fill(1)
        ((row, _),) = await rig.claim(acme)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(rig.change(a_resend(row) if n != 5 else a_success(row))) for n in range(10)]

        assert sorted(task.result() for task in tasks) == [[False]] * 9 + [[True]]
        assert (await rig.row(row.id)).version == row.version + 1

    async def test_rows_that_a_clock_left_lying_are_rescued(self, rig: DeliveryRig) -> None:
        """Whose claim or due moment is at the bound or beyond it; one with both counts once. The others stay."""
        names = ("far", "near", "held", "short", "both")
        infos = {name: await rig.endpoint(name) for name in names}
        published = (await rig.publish(*names)).deliveries
        for name, due_at in (("far", 50.0), ("near", 49.9), ("both", 60.0)):
            await rig.change(a_retry(await rig.row(published[name]), due_at=NOW + due_at))
        for name, until in (("held", 100.0), ("short", 99.9), ("both", 130.0)):
            await rig.claim(infos[name], now=NOW + until - TTL)
        before = {name: await rig.row(published[name]) for name in names}

        assert await rig.kept.rescue(now=NOW + 10, claimed_before=NOW + 100, due_before=NOW + 50) == 3

        free: dict[str, Any] = {"claimed_until": None, "holder": None}  # Any: parts of a row
        due: dict[str, Any] = {"due_at": NOW + 10}
        assert {name: await rig.row(published[name]) for name in names} == {
            "far": replace(before["far"], **due, version=3),
            "near": before["near"],
            "held": replace(before["held"], **free, version=3),
            "short": before["short"],
            "both": replace(before["both"], **free, **due, version=4),
        }
        assert [ids_of(await rig.claim(infos[name], now=NOW + 10)) for name in names] == [
            [published["far"]],
            [],
            [published["held"]],
            [],
            [published["both"]],
        ]

    async def test_rows_that_were_never_attempted_are_rescued_from_a_nearer_moment(self, rig: DeliveryRig) -> None:
        """Where nobody has them, beyond that moment: what failed may be meant for then, and what is held is at work."""
        names = ("fresh", "tried", "held", "over", "freed")
        infos = {name: await rig.endpoint(name) for name in (*names, "near")}
        published = (await rig.publish(*names, at=NOW + 50)).deliveries
        published = {**published, **(await rig.publish("near", at=NOW + 40)).deliveries}
        await rig.change(a_retry(await rig.row(published["tried"]), due_at=NOW + 50))
        for name, until in (("held", 30.0), ("over", 10.0), ("freed", 130.0)):
            await rig.claim(infos[name], now=NOW + until - TTL, cutoff=NOW + 50)
        before = {name: await rig.row(published[name]) for name in published}

        bounds = {"claimed_before": NOW + 130, "due_before": NOW + 1e6, "unattempted_after": NOW + 40}
        assert await rig.kept.rescue(now=NOW + 10, **bounds) == 3

        free: dict[str, Any] = {"claimed_until": None, "holder": None}  # Any: parts of a row
        due: dict[str, Any] = {"due_at": NOW + 10}
        assert {name: await rig.row(published[name]) for name in published} == {
            "fresh": replace(before["fresh"], **due, version=2),
            "tried": before["tried"],
            "held": before["held"],
            "over": replace(before["over"], **due, version=3),
            "freed": replace(before["freed"], **free, **due, version=3),
            "near": before["near"],
        }

    async def test_who_had_a_row_that_was_rescued_has_lost_it(self, rig: DeliveryRig) -> None:
        """What was decided on the claim holds no more."""
        acme = await rig.endpoint()
        await rig.fill(1)
        ((row, _),) = await rig.claim(acme)
        await rig.kept.rescue(now=NOW, claimed_before=NOW + TTL, due_before=NOW + 1e6)

        assert await rig.change(a_success(row)) == [False]
        assert await rig.kept.release([row]) == 0

    async def test_row_that_is_settled_needs_no_rescue(self, rig: DeliveryRig) -> None:
        """Nor does one that is fine: nothing changes."""
        await rig.endpoint()
        settled, sound = await rig.fill(2)
        await rig.settle(settled)
        rows = await rig.all_rows()

        assert await rig.kept.rescue(now=NOW, claimed_before=NOW - 1e6, due_before=NOW + 1) == 0
        assert await rig.all_rows() == rows
        assert ids_of(rows) == [sound, settled]
