"""Scenarios of the contract of deliveries: who is woken, what is closed, and what is there again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

import pytest

from eventpipe.errors import ClosedError
from eventpipe.stores.delivery_base import DeliveryStore
from eventpipe.stores.delivery_values import DELIVERIES, DeliveryFilter, EndpointState, FailureReason, Rule
from eventpipe.testing.delivery_rig import (
    NOW,
    TTL,
    DeliveryRig,
    a_failure,
    a_publication,
    a_resend,
    a_retry,
    a_success,
    an_attempt,
    an_endpoint,
    ids_of,
)

PATIENCE: Final = 5.0  # seconds until a wait that does not end is a failure, however slow the machine
_RULE: Final = Rule("all", ("*",), ("acme",))

# What is done to an endpoint acme with two rows, of which the newer has failed, a paused one and a rule.
_MOVES: Final[dict[str, Callable[[DeliveryRig], Awaitable[object]]]] = {
    "new endpoint": lambda rig: rig.endpoint("new"),
    "replaced endpoint": lambda rig: rig.kept.put_endpoint(an_endpoint(), None, replace=True),
    "changed endpoint": lambda rig: rig.kept.change_endpoint(an_endpoint(), None),
    "paused": lambda rig: rig.kept.set_endpoint_state("acme", EndpointState.PAUSED, None),
    "resumed": lambda rig: rig.kept.set_endpoint_state("idle", EndpointState.ACTIVE, None),
    "disabled": lambda rig: rig.kept.set_endpoint_state("acme", EndpointState.DISABLED, None),
    "removed": lambda rig: rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None),
    "rule": lambda rig: rig.kept.put_rule(_RULE),
    "rule removed": lambda rig: rig.kept.remove_rule("all"),
    "published": lambda rig: rig.publish(),
    "published to a paused endpoint": lambda rig: rig.publish("idle"),
    "resend": lambda rig: _resend(rig),
    "rescue": lambda rig: rig.kept.rescue(now=NOW, claimed_before=NOW + 1e6, due_before=NOW),
}


async def _set_up(rig: DeliveryRig) -> None:
    await rig.endpoint()
    await rig.endpoint("idle", EndpointState.PAUSED)
    await rig.endpoint("off", EndpointState.DISABLED)
    await rig.kept.put_rule(_RULE)
    _, failed = await rig.rows(await rig.fill(2))
    await rig.change(a_failure(failed, FailureReason.REJECTED))


async def _resend(rig: DeliveryRig) -> None:
    failed, _ = await rig.all_rows()
    assert await rig.change(a_resend(failed)) == [True]


class LifeScenarios:
    """What ``version()``, ``wait()``, closing and opening promise to who keeps deliveries."""

    @pytest.mark.parametrize("move", _MOVES)
    async def test_version_moves_and_wakes_all_who_wait(self, rig: DeliveryRig, move: str) -> None:
        """When a row is due at once, or an endpoint or a rule is another."""
        await _set_up(rig)
        seen = rig.store.version(DELIVERIES)
        waits = [asyncio.create_task(rig.store.wait(DELIVERIES, seen)) for _ in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        parked = [wait for wait in waits if not wait.done()]

        await _MOVES[move](rig)

        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*waits)
        assert parked == waits
        assert rig.store.version(DELIVERIES) != seen

    async def test_what_makes_nothing_due_moves_no_version(self, rig: DeliveryRig) -> None:
        """Passes do not wake each other by what they take, give back and change, nor does who looks."""
        await _set_up(rig)
        (acme,) = await rig.kept.endpoints("acme")
        known = a_publication("acme")
        await rig.kept.publish([known])
        seen = rig.store.version(DELIVERIES)

        one, other = [row for row, _ in await rig.claim(acme)]
        await rig.kept.release([one])
        await rig.change(a_retry(await rig.row(one.id), due_at=NOW - 5), a_success(other), a_resend(other))
        await rig.publish("off")
        await rig.kept.publish([known, a_publication()])
        await rig.kept.remove_rule("unknown")
        await rig.kept.set_endpoint_state("off", EndpointState.DISABLED, "again")
        await rig.kept.rescue(now=NOW, claimed_before=NOW + 1e6, due_before=NOW + 1e6)
        await rig.kept.purge(before=NOW + 1, limit=1)
        await rig.kept.due()
        await rig.kept.stats()
        await rig.all_rows()

        assert rig.store.version(DELIVERIES) == seen

    async def test_topics_and_deliveries_wake_only_their_own(self, rig: DeliveryRig) -> None:
        """An append concerns no delivery, and a publish no topic."""
        await rig.endpoint()
        seen, topic = rig.store.version(DELIVERIES), rig.store.version("orders")
        await rig.store.append("orders", [a_publication().event])
        assert rig.store.version(DELIVERIES) == seen
        topic = rig.store.version("orders")
        await rig.publish()

        assert rig.store.version("orders") == topic
        assert [info.name for info in await rig.store.topics()] == ["orders"]

    async def test_closed_store_keeps_and_says_nothing(self, rig: DeliveryRig) -> None:
        """Every call is ``ClosedError``."""
        acme = await rig.endpoint()
        (id_,) = await rig.fill(1)
        row, kept = await rig.row(id_), rig.kept
        await rig.store.aclose()

        for call in (
            kept.put_endpoint(acme, None, replace=True),
            kept.change_endpoint(acme, None),
            kept.set_endpoint_state("acme", EndpointState.PAUSED, None),
            kept.endpoints(),
            kept.private("acme"),
            kept.put_rule(_RULE),
            kept.remove_rule("all"),
            kept.rules(),
            kept.publish([a_publication("acme")]),
            kept.due(),
            rig.claim(acme),
            kept.release([row]),
            kept.change([a_success(row)]),
            kept.rescue(now=NOW, claimed_before=NOW, due_before=NOW),
            kept.rows(DeliveryFilter()),
            kept.row(id_),
            kept.attempts(id_),
            kept.event(row.event_uuid),
            kept.events(),
            kept.stats(),
            kept.purge(before=NOW, limit=1),
        ):
            with pytest.raises(ClosedError):
                await call

    async def test_every_method_is_among_those_that_a_closed_store_refuses(self, rig: DeliveryRig) -> None:
        """The list above is complete: the protocol has as many methods."""
        methods = [name for name in vars(DeliveryStore) if not name.startswith("_")]

        assert len(methods) == 21
        assert [name for name in methods if not callable(getattr(rig.kept, name))] == []

    async def test_restart_changes_nothing(self, rig: DeliveryRig) -> None:
        """Endpoints, what is private, rules, events, rows, attempts and claims are as they were."""
        await _set_up(rig)
        (acme,) = await rig.kept.endpoints("acme")
        await rig.endpoint("old")
        (left,) = await rig.fill(1, endpoint="old")
        old = await rig.kept.set_endpoint_state("old", EndpointState.REMOVED, None)
        ids = await rig.fill(2)
        await rig.change(a_retry(await rig.row(ids[0]), due_at=NOW + 5, attempt=an_attempt()))
        taken = await rig.claim(acme, limit=1)
        before = await _everything(rig, ids)

        await rig.restart()

        assert await _everything(rig, ids) == before
        assert (await rig.row(taken[0].row.id)) == taken[0].row
        assert ids_of(await rig.claim(acme)) == ids[1:]
        assert ids_of(await rig.claim(old)) == [left]
        assert (await rig.fill(1))[0] > ids[-1]

    async def test_who_had_a_row_before_a_restart_still_has_it(self, rig: DeliveryRig) -> None:
        """A claim is a matter of time; and what was decided on it holds."""
        acme = await rig.endpoint()
        await rig.fill(1)
        ((row, _),) = await rig.claim(acme)
        await rig.restart()

        assert await rig.claim(acme, now=NOW + TTL - 1) == []
        assert await rig.change(a_success(row)) == [True]

    async def test_answers_are_of_their_moment(self, rig: DeliveryRig) -> None:
        """What happens later changes none of them."""
        acme = await rig.endpoint()
        (id_,) = await rig.fill(1)
        stats, due = await rig.kept.stats(), await rig.kept.due()
        rows, attempts = await rig.all_rows(), await rig.kept.attempts(id_)
        ((row, _),) = await rig.claim(acme)
        copy = replace(row)
        await rig.change(replace(a_success(row), attempt=an_attempt()))
        await rig.kept.set_endpoint_state("acme", EndpointState.PAUSED, None)

        assert row == copy
        assert (len(stats), len(due), len(rows), len(attempts)) == (1, 1, 1, 0)
        assert stats != await rig.kept.stats()
        assert due != await rig.kept.due()
        assert rows != await rig.all_rows()
        assert attempts != await rig.kept.attempts(id_)


async def _everything(rig: DeliveryRig, ids: list[int]) -> list[object]:
    kept = rig.kept
    return [
        await kept.endpoints(),
        [await kept.private(info.name) for info in await kept.endpoints()],
        await kept.rules(),
        await rig.all_rows(),
        [await kept.attempts(id_) for id_ in ids],
        await kept.events(),
        await kept.due(),
        await kept.stats(),
    ]
