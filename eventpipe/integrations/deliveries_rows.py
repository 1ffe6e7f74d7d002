"""The deliveries API's operations on deliveries and events, and its figures."""

from __future__ import annotations

from typing import Final

from eventpipe.delivery import DeliveryRow
from eventpipe.errors import UnknownEndpointError
from eventpipe.events import Event
from eventpipe.integrations.deliveries_models import (
    AskedAnswer,
    AttemptAnswer,
    DeliveriesAnswer,
    DeliveriesQuery,
    DeliveriesToAsk,
    DeliveryAnswer,
    DeliveryWithAttempts,
    EventAnswer,
    EventEndpoints,
    EventsAnswer,
    EventsQuery,
    EventToPublish,
    EventWithContent,
    PublishedAnswer,
    StatsAnswer,
)
from eventpipe.integrations.deliveries_operations import Call, Operation, Reply
from eventpipe.integrations.deliveries_requests import Fault, RefusedError, bad_request

_MAX_ID: Final = 2**63 - 1  # of the integers that engines keep


async def _list(call: Call) -> DeliveriesAnswer:
    query: DeliveriesQuery = call.query
    rows = await call.deliveries.rows(query.filter, after=query.after, limit=query.limit + 1)
    page = rows[: query.limit]
    return DeliveriesAnswer(
        deliveries=[DeliveryAnswer.model_validate(row) for row in page],
        next=page[-1].id if len(rows) > len(page) else None,
    )


async def _show(call: Call) -> DeliveryWithAttempts:
    row = await _row(call)
    history = [AttemptAnswer.model_validate(one) for one in await call.deliveries.attempts(row.id)]
    return DeliveryWithAttempts(**DeliveryAnswer.model_validate(row).model_dump(), history=history)


async def _resend(call: Call) -> AskedAnswer:
    row = await _row(call)
    return AskedAnswer.of(await call.deliveries.resend(row.event_uuid, [row.endpoint]))


async def _cancel(call: Call) -> AskedAnswer:
    row = await _row(call)
    return AskedAnswer.of(await call.deliveries.cancel_deliveries(row.event_uuid, [row.endpoint]))


async def _resend_all(call: Call) -> AskedAnswer:
    wanted = _wanted(call)
    return AskedAnswer.of(await call.deliveries.resend_all(wanted.filter, after=wanted.after, limit=wanted.limit))


async def _cancel_all(call: Call) -> AskedAnswer:
    wanted = _wanted(call)
    return AskedAnswer.of(await call.deliveries.cancel_all(wanted.filter, after=wanted.after, limit=wanted.limit))


async def _events(call: Call) -> EventsAnswer:
    query: EventsQuery = call.query
    found = await call.deliveries.events(name=query.name, after=query.after, limit=query.limit + 1)
    page = found[: query.limit]
    return EventsAnswer(
        events=[EventAnswer.model_validate(event) for event in page],
        next=page[-1].uuid if len(found) > len(page) else None,
    )


async def _event(call: Call) -> EventWithContent:
    return EventWithContent.of(await call.deliveries.event(call.names["uuid"]))


async def _publish(call: Call) -> Reply:
    given: EventToPublish = call.body
    event = Event(
        given.event, given.distinct_id, given.properties, given.timestamp, given.uuid, given.headers, given.key
    )
    try:
        published = await call.deliveries.publish(event, endpoints=given.endpoints, dedupe_key=given.dedupe_key)
    except UnknownEndpointError as error:
        raise bad_request(str(error), [Fault("endpoints", "names of endpoints that exist")]) from error
    return Reply(201 if published.is_new else 200, PublishedAnswer.model_validate(published))


async def _resend_event(call: Call) -> AskedAnswer:
    return AskedAnswer.of(await call.deliveries.resend(call.names["uuid"], call.body.endpoints))


async def _cancel_event(call: Call) -> AskedAnswer:
    return AskedAnswer.of(await call.deliveries.cancel_deliveries(call.names["uuid"], call.body.endpoints))


async def _stats(call: Call) -> StatsAnswer:
    return StatsAnswer.of(await call.deliveries.stats())


async def _row(call: Call) -> DeliveryRow:
    text = call.names["id"]
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= _MAX_ID):
        raise RefusedError(404, "not_found", "there is no such delivery: its id is a whole number")
    return await call.deliveries.row(int(text))


def _wanted(call: Call) -> DeliveriesToAsk:
    wanted: DeliveriesToAsk = call.body
    has_filter = any(getattr(wanted, member) for member in wanted.model_fields_set - {"all", "after", "limit"})
    if has_filter == wanted.all:
        message = 'give a filter; or {"all": true}, and nothing beside it, for all deliveries there are'
        raise bad_request(message, [Fault("all", "true without a filter, and false with one")])
    return wanted


_MANY: Final = "/deliveries"
_ONE: Final = "/deliveries/{id}"
_EVENT: Final = "/events/{uuid}"

ROWS: Final = (
    Operation("GET", _MANY, "read", "List deliveries, newest first", _list, DeliveriesAnswer, query=DeliveriesQuery),
    Operation("GET", _ONE, "read", "Show a delivery with its attempts", _show, DeliveryWithAttempts),
    Operation("POST", f"{_ONE}/resend", "write", "Have a delivery made again", _resend, AskedAnswer),
    Operation("POST", f"{_ONE}/cancel", "write", "Attempt a delivery no more", _cancel, AskedAnswer),
    Operation(
        "POST", f"{_MANY}/resend", "write", "Have all that a filter wants delivered again", _resend_all, AskedAnswer,
        DeliveriesToAsk,
    ),
    Operation(
        "POST", f"{_MANY}/cancel", "write", "Attempt no more what a filter wants", _cancel_all, AskedAnswer,
        DeliveriesToAsk,
    ),
    Operation("GET", "/events", "read", "List events, newest first", _events, EventsAnswer, query=EventsQuery),
    Operation(
        "POST", "/events", "write", "Publish an event", _publish, PublishedAnswer, EventToPublish,
        status=201, other={200: "It was published before; nothing was kept."},
    ),
    Operation("GET", _EVENT, "read", "Show an event", _event, EventWithContent),
    Operation(
        "POST", f"{_EVENT}/resend", "write", "Have an event delivered again", _resend_event, AskedAnswer, EventEndpoints
    ),
    Operation(
        "POST", f"{_EVENT}/cancel", "write", "Attempt an event no more", _cancel_event, AskedAnswer, EventEndpoints
    ),
    Operation("GET", "/stats", "read", "Tell how deliveries stand, by endpoint and in all", _stats, StatsAnswer),
)  # fmt: skip
"""What there is to do with deliveries and events."""
