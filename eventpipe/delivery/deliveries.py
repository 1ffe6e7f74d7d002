"""The place where deliveries are published, looked at and asked for again."""

from __future__ import annotations

import datetime
import uuid as uuidlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from eventpipe.checked import shown
from eventpipe.delivery.endpoint import check_positive
from eventpipe.delivery.endpoints import AdministeredDeliveries
from eventpipe.delivery.looking import check_after, check_limit, checked
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.matching import endpoints_for
from eventpipe.delivery.requests import Asked, Requests
from eventpipe.errors import UnknownDeliveryError, UnknownEndpointError
from eventpipe.events import CapturedEvent, DistinctId, Properties
from eventpipe.log.described import Appendable, all_captured, captured
from eventpipe.sinks.webhook import TIMEOUT
from eventpipe.stores.delivery_values import AttemptRecord, DeliveryFilter, Publication, Published
from eventpipe.stores.names import check_name, is_unicode

MAX_DEDUPE_KEY: Final = 500  # characters
TEST_EVENT: Final = "eventpipe.test"
"""The name of an event that is sent to see whether an endpoint answers."""


class Deliveries(AdministeredDeliveries):
    """Keeps one row per event and endpoint, and every attempt; a ``Reconciler`` makes the attempts.

    ::

        async with Deliveries(SqliteStore("events.db")) as deliveries:
            await deliveries.add_endpoint(Endpoint("acme", "https://acme.example/hooks", secret="whsec_…"))
            await deliveries.publish(Event("invoice.created", properties={"sum": 5}), endpoints=["acme"])
            async with Reconciler(deliveries):
                ...
    """

    # -- publishing ---------------------------------------------------------------------------------------------------

    async def publish(
        self,
        event: Appendable,
        *,
        endpoints: Iterable[str] | None = None,
        dedupe_key: str | None = None,
        distinct_id: DistinctId | None = None,
        properties: Properties | None = None,
        timestamp: datetime.datetime | None = None,
        uuid: str | uuidlib.UUID | None = None,
        headers: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Published:
        """Keep an event, with a row for each endpoint, in one transaction, and wake whoever delivers.

        Made again, with the same id or the same dedupe key, it keeps nothing: what was published first stays.

        Args:
            event: Its name; a typed event, or the class of one; an ``Event``, which has the arguments from
                ``distinct_id`` on; or one that was captured, which is kept as it is.
            endpoints: Names of endpoints. ``None``: those that the rules say, perhaps none; what they say of endpoints
                that were removed since is passed over.
            dedupe_key: What else it is known by, such as the number of an invoice; at most 500 characters.
            distinct_id: Whom it is about. ``None``: nobody in particular.
            properties: What is known of it. ``None`` means nothing.
            timestamp: When it happened; naive means UTC. ``None`` means now.
            uuid: Its id. ``None`` means a new UUIDv7.
            headers: Values that travel beside the properties. ``None`` means none.
            key: Ordering key. ``None`` means ``distinct_id``.

        Returns:
            The event's id, and the ids of its rows by endpoint.

        Raises:
            InvalidEventError: It has no name, its properties cannot be read, or its headers are the log's own.
            UnknownEndpointError: There is no such endpoint. Nothing was kept.
            StoreFullError: There is no room. Nothing was kept.
            StoreError: The engine failed; to publish an event again that has its id, or its key, is safe.
            ClosedError: They are not running.
            ValueError: ``endpoints`` is empty, or ``dedupe_key`` is.
            TypeError: Arguments were given beside an event that has them already, or ``endpoints`` is no list.

        Cancellation:
            The event is kept with all its rows, or nothing is.
        """
        made = captured(self._encoder, event, distinct_id, properties, timestamp, uuid, headers, key)
        (published,) = await self._publish([made], endpoints, _dedupe_key(dedupe_key))
        return published

    async def publish_many(
        self, events: Iterable[Appendable], *, endpoints: Iterable[str] | None = None
    ) -> list[Published]:
        """Keep events with their rows in one transaction: all of them or none; one answer each, in order.

        The arguments are those of ``publish()``, and so is what is raised; where one of the events is at fault, the
        message says which.
        """
        made = all_captured(self._encoder, events)
        return await self._publish(made, endpoints, None) if made else []

    # -- asking -------------------------------------------------------------------------------------------------------

    async def resend(self, event_uuid: str | uuidlib.UUID, endpoints: Iterable[str] | None = None) -> Asked:
        """Have an event delivered again, at once, with all attempts and deadlines anew.

        One that is being attempted in this moment is delivered once more, whatever comes of that attempt.

        Args:
            event_uuid: Its id.
            endpoints: To these of its endpoints. ``None``: to all of them.

        Returns:
            The deliveries that it holds for; ``missed`` are those of which it does not.

        Raises:
            UnknownDeliveryError: There is no such event, or it has no delivery to one of the endpoints.
            UnknownEndpointError: One of the endpoints does not exist at all.
            ValueError: ``endpoints`` is empty.
            StoreError: The engine failed; what was asked for until then stays so.
            ClosedError: They are not running.

        Cancellation:
            What was asked for until then stays so.
        """
        return await self._ask(str(event_uuid), endpoints, DeliveryOutcome.RESEND)

    async def cancel_deliveries(self, event_uuid: str | uuidlib.UUID, endpoints: Iterable[str] | None = None) -> Asked:
        """Attempt an event no more; its open deliveries fail, as ``cancelled``.

        One that is being attempted in this moment may arrive all the same. Arguments, errors and cancellation are those
        of ``resend()``; of ``refused``, deliveries that were final already, nothing is left to cancel.
        """
        return await self._ask(str(event_uuid), endpoints, DeliveryOutcome.CANCEL)

    async def resend_all(self, wanted: DeliveryFilter, *, after: int | None = None, limit: int | None = None) -> Asked:
        """Have all deliveries that a filter wants made again; those that are published meanwhile are not among them.

        One that changes meanwhile is asked for if the filter still wants it. An empty filter wants all there are.

        Args:
            wanted: Which.
            after: ``next`` of the answer before, where that had a ``limit``. ``None``: from the newest on.
            limit: At most so many, at least 1; ``next`` of the answer says whether there are more. ``None``: all.

        Raises:
            ValueError: An argument has no meaning.
            TypeError: It is no filter.
            StoreError: The engine failed; what was asked for until then stays so.
            ClosedError: They are not running.

        Cancellation:
            What was asked for stays so.
        """
        return await self._ask_of_all(wanted, DeliveryOutcome.RESEND, after, limit)

    async def cancel_all(self, wanted: DeliveryFilter, *, after: int | None = None, limit: int | None = None) -> Asked:
        """Attempt no more what a filter wants; all else is as in ``resend_all()`` and ``cancel_deliveries()``."""
        return await self._ask_of_all(wanted, DeliveryOutcome.CANCEL, after, limit)

    async def test_endpoint(
        self,
        name: str,
        event: Appendable = TEST_EVENT,
        *,
        properties: Properties | None = None,
        timeout: float = TIMEOUT,
    ) -> AttemptRecord:
        """Send an event to an endpoint once, now, also where it is paused or disabled; nothing of that is kept.

        Args:
            name: Of the endpoint.
            event: What is sent, as ``publish()`` takes it.
            properties: What is known of it. ``None`` means nothing.
            timeout: Seconds for the attempt, unless the endpoint has its own.

        Returns:
            What came of it, as attempts are kept: a refusal is a result.

        Raises:
            UnknownEndpointError: There is none.
            InvalidEventError: It has no name, or its properties cannot be read.
            ValueError: ``timeout`` is no number above 0.
            StoreError: The engine failed.
            ClosedError: They are not running.

        Cancellation:
            Whether the far end has the event is unknown.
        """
        made = captured(self._encoder, event, None, properties)
        check_positive("timeout", timeout, "seconds")
        return (await self.senders.attempt(await self.endpoint(name), made, 1, timeout=timeout)).record

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _publish(
        self, made: Sequence[CapturedEvent], endpoints: Iterable[str] | None, dedupe_key: str | None
    ) -> list[Published]:
        kept = self.kept
        named = None if endpoints is None else _names(endpoints)
        if named is not None:
            return await kept.publish(self._publications([named] * len(made), made, dedupe_key))
        rules = await kept.rules()
        by_rules = [endpoints_for(event, rules) for event in made]
        removed: set[str] = set()  # after the rules were made that name them
        while True:
            there = [tuple(name for name in names if name not in removed) for names in by_rules]
            try:
                return await kept.publish(self._publications(there, made, dedupe_key))
            except UnknownEndpointError as error:
                removed.add(error.endpoint)

    def _publications(
        self, names: Sequence[tuple[str, ...]], made: Sequence[CapturedEvent], dedupe_key: str | None
    ) -> list[Publication]:
        now = self.clock.time()
        deadline_at = now + self.policy.pending
        return [
            Publication(event, endpoints, dedupe_key, now, deadline_at)
            for event, endpoints in zip(made, names, strict=True)
        ]

    async def _ask(self, uuid: str, endpoints: Iterable[str] | None, outcome: DeliveryOutcome) -> Asked:
        wanted = None if endpoints is None else _names(endpoints)
        event = (await self.event(uuid)).event
        requests = self._requests()
        rows = await requests.rows_of(uuid)
        if wanted is not None:
            there = {row.endpoint for row in rows}
            for name in wanted:
                if name not in there:
                    await self.endpoint(name)  # says what is meant, where there is none at all
                    raise UnknownDeliveryError(f"delivery to endpoint {name!r} of event", uuid)
            rows = [row for row in rows if row.endpoint in wanted]
        return await requests.ask(rows, outcome, event)

    async def _ask_of_all(
        self, wanted: DeliveryFilter, outcome: DeliveryOutcome, after: int | None, limit: int | None
    ) -> Asked:
        check_after(after)
        if limit is not None:
            check_limit(limit)
        return await self._requests().ask_of_all(checked(wanted), outcome, after, limit)

    def _requests(self) -> Requests:
        return Requests(self.kept, self.policy, self.clock, self.outcomes)


def _dedupe_key(given: object) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not 0 < len(given) <= MAX_DEDUPE_KEY:
        raise ValueError(f"dedupe_key must be text of 1 to {MAX_DEDUPE_KEY} characters, or None, not {shown(given)}")
    if not is_unicode(given):
        raise ValueError(
            f"dedupe_key must be text that can be kept as UTF-8, not {shown(given)}: a name of a file, for one, can be"
            " given as os.fsencode(name).hex()"
        )
    return given


def _names(endpoints: Iterable[str]) -> tuple[str, ...]:
    if isinstance(endpoints, str):
        raise TypeError(
            f"endpoints must be a list of names, not the text {shown(endpoints)}; write [{shown(endpoints)}]"
        )
    names = tuple(dict.fromkeys(check_name("endpoint", name) for name in endpoints))
    if not names:
        raise ValueError("endpoints must name at least one endpoint; None asks the rules")
    return names
