"""Scenarios of the contract of deliveries: what is kept of a publication, and of one that is made again."""

from __future__ import annotations

import asyncio

import pytest

from eventpipe.errors import UnknownEndpointError
from eventpipe.stores.delivery_values import (
    PAYLOAD_VERSION,
    DeliveryRow,
    DeliveryState,
    EndpointState,
    FailureReason,
    Published,
)
from eventpipe.testing.delivery_rig import NOW, PATIENCE, DeliveryRig, a_publication, ids_of
from eventpipe.testing.events import make_event


class PublishingScenarios:
    """What publishing promises."""

    async def test_publication_makes_a_row_for_each_endpoint(self, rig: DeliveryRig) -> None:
        """Pending and due at once, whether or not the endpoint is paused; and failed where it is disabled."""
        await rig.endpoint("acme")
        await rig.endpoint("idle", EndpointState.PAUSED)
        await rig.endpoint("off", EndpointState.DISABLED)
        publication = a_publication("off", "acme", "idle", key="inv-7", at=NOW + 5)

        (published,) = await rig.kept.publish([publication])

        uuid, now = publication.event.uuid, NOW + 5
        first = published.deliveries["off"]
        assert published == Published(uuid, {"off": first, "acme": first + 1, "idle": first + 2}, True)
        pending = DeliveryState.PENDING
        acme, idle = (
            DeliveryRow(
                published.deliveries[name], uuid, "paid", name, pending, None, 0, 0, 0, now, now, now + PATIENCE, None,
                None, None, 1,
            )
            for name in ("acme", "idle")
        )  # fmt: skip
        off = DeliveryRow(
            first, uuid, "paid", "off", DeliveryState.FAILED, FailureReason.ENDPOINT_DISABLED, 0, 0, 0, now, None,
            now + PATIENCE, now, None, None, 1,
        )  # fmt: skip
        assert await rig.all_rows() == [idle, acme, off]

    async def test_event_is_kept_as_it_was_captured(self, rig: DeliveryRig) -> None:
        """Whatever it consists of; and with when and as what it was published."""
        await rig.endpoint()
        event = make_event(
            "näme\u2028😀",
            distinct_id=None,
            properties={"text": "x" * 20_000, "deep": [{"": None}]},
            headers={"traceparent": "00-é"},
            key="k",
            lane="historical",
            lifted={"$geoip": {"a": 1}},
        )
        await rig.kept.publish([a_publication("acme", event=event, key="ké", at=NOW + 5)])

        kept = await rig.kept.event(event.uuid)

        assert kept is not None
        assert (kept.uuid, kept.name, kept.published_at, kept.dedupe_key) == (event.uuid, event.name, NOW + 5, "ké")
        assert (kept.payload_version, kept.fault) == (PAYLOAD_VERSION, None)
        assert kept.event is not None
        assert (kept.event.name, kept.event.data, kept.event.lane) == (event.name, event.data, event.lane)
        assert (kept.event.json, kept.event.key, dict(kept.event.headers)) == (event.json, "k", {"traceparent": "00-é"})

    async def test_event_that_goes_nowhere_is_kept(self, rig: DeliveryRig) -> None:
        """It has no rows."""
        (published,) = await rig.kept.publish([a_publication()])

        assert published.deliveries == {}
        assert await rig.kept.event(published.event_uuid) is not None
        assert await rig.all_rows() == []

    async def test_rows_have_ids_in_the_order_of_publishing(self, rig: DeliveryRig) -> None:
        """Of publications, and of the endpoints in each of them, whatever they say of the time."""
        await rig.endpoint("b")
        await rig.endpoint("a")
        first = await rig.kept.publish([a_publication("b", "a"), a_publication("a", "b", at=NOW - 50)])
        second = await rig.kept.publish([a_publication("a", at=NOW - 90)])

        ids = [id_ for published in first + second for id_ in published.deliveries.values()]

        assert [[*published.deliveries] for published in first] == [["b", "a"], ["a", "b"]]
        assert ids == sorted(set(ids))
        assert ids_of(await rig.all_rows()) == ids[::-1]

    async def test_id_of_a_row_is_not_given_twice(self, rig: DeliveryRig) -> None:
        """Also when all rows were deleted in between."""
        await rig.endpoint()
        (old,) = await rig.fill(1)
        await rig.settle(old)
        assert await rig.kept.purge(before=NOW + 1, limit=10) == 1
        assert await rig.all_rows() == []

        assert (await rig.fill(1))[0] > old

    async def test_endpoint_that_is_named_twice_gets_one_row(self, rig: DeliveryRig) -> None:
        """One delivery per event and endpoint."""
        await rig.endpoint()

        published = await rig.publish("acme", "acme")

        assert ids_of(await rig.all_rows()) == [*published.deliveries.values()]

    @pytest.mark.parametrize("known_by", ["id", "key"])
    @pytest.mark.parametrize("at_once", [False, True], ids=["later", "in the same call"])
    async def test_what_was_published_before_makes_nothing(
        self, rig: DeliveryRig, known_by: str, at_once: bool
    ) -> None:
        """What is kept is the first, and the answer says its id and its rows."""
        await rig.endpoint("acme")
        await rig.endpoint("other")
        first = a_publication("acme", key="inv-7")
        event = first.event if known_by == "id" else None
        again = a_publication("other", event=event, key="inv-7" if known_by == "key" else "inv-8", at=NOW + 9)

        answers = await rig.kept.publish([first, again] if at_once else [first])
        answers += [] if at_once else await rig.kept.publish([again])

        uuid, rows = first.event.uuid, await rig.all_rows()
        assert [(row.event_uuid, row.endpoint, row.created_at) for row in rows] == [(uuid, "acme", NOW)]
        ids = {"acme": rows[0].id}
        assert answers == [Published(uuid, ids, True), Published(uuid, ids, False)]
        assert [(kept.uuid, kept.dedupe_key) for kept in await rig.kept.events()] == [(uuid, "inv-7")]

    async def test_id_says_more_than_the_key(self, rig: DeliveryRig) -> None:
        """Where each of them is another event's, what is kept is that of the id."""
        await rig.endpoint()
        one, other = await rig.publish(key="one"), await rig.publish(key="other")
        event = make_event(uuid=one.event_uuid)

        (again,) = await rig.kept.publish([a_publication("acme", event=event, key="other")])

        assert again == one._replace(is_new=False)
        assert again.event_uuid != other.event_uuid

    async def test_key_of_a_publication_that_made_nothing_is_free(self, rig: DeliveryRig) -> None:
        """It is not kept, so that another event can have it, in the same call too."""
        await rig.endpoint()
        one = await rig.publish(key="one")
        event = make_event(uuid=one.event_uuid)

        answers = await rig.kept.publish([a_publication("acme", event=event, key="k"), a_publication("acme", key="k")])

        assert [answer.is_new for answer in answers] == [False, True]

    async def test_what_was_published_before_does_not_ask_for_its_endpoint(self, rig: DeliveryRig) -> None:
        """It may have been removed since; the answer is as it was."""
        await rig.endpoint()
        publication = a_publication("acme")
        (first,) = await rig.kept.publish([publication])
        await rig.kept.set_endpoint_state("acme", EndpointState.REMOVED, None)

        assert await rig.kept.publish([publication]) == [first._replace(is_new=False)]

    @pytest.mark.parametrize("known_by", ["id", "key"])
    async def test_what_an_earlier_one_of_the_call_made_known_does_not_either(
        self, rig: DeliveryRig, known_by: str
    ) -> None:
        """An endpoint that there is not keeps nothing out, where nothing would be made for it."""
        await rig.endpoint()
        first = a_publication("acme", key="k")
        again = a_publication("nobody", event=first.event) if known_by == "id" else a_publication("nobody", key="k")

        one, other = await rig.kept.publish([first, again])

        assert (one.is_new, other) == (True, one._replace(is_new=False))

    async def test_endpoint_that_is_unknown_keeps_everything_out(self, rig: DeliveryRig) -> None:
        """Of the whole call, and also what had been fine by itself."""
        await rig.endpoint()
        good = a_publication("acme", key="k")

        with pytest.raises(UnknownEndpointError) as caught:
            await rig.kept.publish([good, a_publication("acme", "acne")])

        assert caught.value.endpoint == "acne"
        assert await rig.all_rows() == []
        assert await rig.kept.events() == []
        assert [answer.is_new for answer in await rig.kept.publish([good])] == [True]

    async def test_nothing_to_publish_is_nothing(self, rig: DeliveryRig) -> None:
        """An empty list has an empty answer."""
        assert await rig.kept.publish([]) == []

    async def test_publishing_at_once_what_is_the_same_keeps_it_once(self, rig: DeliveryRig) -> None:
        """Everybody is told the same rows, and one that it is theirs."""
        await rig.endpoint()
        events = [make_event() for _ in range(2)]

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(rig.kept.publish([a_publication("acme", event=events[n % 2], key="k")]))
                for n in range(10)
            ]

        answers = [answer for task in tasks for answer in task.result()]
        assert sorted(answer.is_new for answer in answers) == [False] * 9 + [True]
        assert len({(answer.event_uuid, answer.deliveries["acme"]) for answer in answers}) == 1
        assert len(await rig.all_rows()) == 1

    @pytest.mark.parametrize("turns", range(4))
    async def test_cancelled_publish_is_done_or_not_begun(self, rig: DeliveryRig, turns: int) -> None:
        """Whenever it is cancelled, the event is there with all its rows, or nothing is."""
        for name in ("a", "b", "c"):
            await rig.endpoint(name)
        publication = a_publication("a", "b", "c")
        task = asyncio.create_task(rig.kept.publish([publication]))
        for _ in range(turns):
            await asyncio.sleep(0)

        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        (answer,) = await rig.kept.publish([publication])
        assert [*answer.deliveries] == ["a", "b", "c"]
        assert len(await rig.all_rows()) == 3
