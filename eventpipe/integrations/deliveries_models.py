"""What requests and answers on deliveries and events look like, figures, and every answer that is none of success."""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Self

from pydantic import Field

from eventpipe.delivery import Asked, DeliveryFilter, DeliveryState, EndpointStats, FailureReason, PublishedEvent
from eventpipe.integrations.deliveries_endpoint_models import EndpointAnswer
from eventpipe.integrations.deliveries_values import Model, Moment

MAX_LIMIT = 1000
# Asked for in a second or two, while other requests are answered; whoever has more of them asks again.
MAX_ASKED = 10_000
_MAX_IDS = 1000  # of what a request missed

_Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="At most so many.")]


# -- deliveries -------------------------------------------------------------------------------------------------------


class _Wanted(Model):
    endpoint: str | None = None
    event_name: str | None = Field(None, description="* stands for any characters.")
    event_uuid: str | None = None
    reason: FailureReason | None = None
    due_before: Moment | None = None
    published_after: Moment | None = None
    published_before: Moment | None = None
    state: list[DeliveryState] = Field([], description="One of these; several times, for several.")

    @property
    def filter(self) -> DeliveryFilter:
        """The same as deliveries know it."""
        return DeliveryFilter(
            frozenset(self.state),
            self.endpoint,
            self.event_name,
            self.event_uuid,
            self.reason,
            self.due_before,
            self.published_after,
            self.published_before,
        )


class DeliveriesQuery(_Wanted):
    """Which deliveries are listed."""

    after: int | None = Field(None, description="next of the page before.")
    limit: _Limit = 100


class DeliveriesToAsk(_Wanted):
    """Which deliveries are meant: a filter, or all of them where it says so."""

    all: bool = Field(False, description="Whether a body without a filter is meant as it stands.")
    after: int | None = Field(None, description="next of the answer before, where there were more.")
    limit: int = Field(MAX_ASKED, ge=1, le=MAX_ASKED, description="At most so many.")


class DeliveryAnswer(Model):
    """One event on its way to one endpoint."""

    id: int
    event_uuid: str
    event_name: str
    endpoint: str
    state: DeliveryState
    reason: FailureReason | None
    attempts: int = Field(description="Since it was published, or asked for again.")
    total_attempts: int
    resends: int
    created_at: Moment
    due_at: Moment | None
    deadline_at: Moment
    settled_at: Moment | None
    claimed_until: Moment | None
    holder: str | None
    version: int
    last_status: int | None
    last_error: str | None


class AttemptAnswer(Model):
    """One attempt."""

    number: int
    began_at: Moment
    duration: float
    outcome: str
    status: int | None
    error: str | None
    response: str | None = Field(description="The beginning of what the far end said.")


class DeliveryWithAttempts(DeliveryAnswer):
    """A delivery, and the newest twenty of its attempts, in their order."""

    history: list[AttemptAnswer]


class DeliveriesAnswer(Model):
    """Deliveries, newest first."""

    deliveries: list[DeliveryAnswer]
    next: int | None = Field(description="What to give as after for the next page; null: there is none.")


class AskedAnswer(Model):
    """What became of a request for deliveries."""

    done: int = Field(description="Deliveries for which it holds.")
    refused: int = Field(description="Deliveries that were final already, so that nothing is left to cancel.")
    missed: int = Field(description="Deliveries that others were always quicker to change; ask again.")
    missed_ids: list[int] = Field(description=f"Their ids, at most {_MAX_IDS}.")
    next: int | None = Field(
        None, description="What to give as after for those behind the limit; null: there are none."
    )

    @classmethod
    def of(cls, asked: Asked) -> Self:
        """As deliveries say it."""
        missed = list(asked.missed)
        return cls(
            done=len(asked.done),
            refused=len(asked.refused),
            missed=len(missed),
            missed_ids=missed[:_MAX_IDS],
            next=asked.next,
        )


# -- events -----------------------------------------------------------------------------------------------------------


class EventsQuery(Model):
    """Which events are listed."""

    name: str | None = Field(None, description="* stands for any characters.")
    after: str | None = Field(None, description="next of the page before.")
    limit: _Limit = 100


class EventToPublish(Model):
    """An event, with where it goes."""

    event: str
    endpoints: list[str] | None = Field(None, description="null: those that the rules say.")
    dedupe_key: str | None = Field(None, description="Published again with the same, it keeps nothing.")
    distinct_id: str | None = None
    properties: dict[str, Any] | None = None  # Any: JSON
    timestamp: datetime.datetime | None = None
    uuid: str | None = None
    headers: dict[str, str] | None = None
    key: str | None = None


class PublishedAnswer(Model):
    """What became of an event that was published."""

    event_uuid: str
    deliveries: dict[str, int] = Field(description="Ids of deliveries by endpoint.")
    is_new: bool = Field(description="False: one with this id or dedupe key was published before, and stays.")


class EventAnswer(Model):
    """A published event."""

    uuid: str
    name: str
    published_at: Moment
    dedupe_key: str | None
    payload_version: int


class EventWithContent(EventAnswer):
    """A published event with what is in it; what cannot be read is null."""

    fault: str | None = Field(description="Why what is kept cannot be read; null: it can.")
    distinct_id: str | None = None
    timestamp: str | None = None
    properties: dict[str, Any] | None = None  # Any: JSON
    headers: list[str] | None = Field(None, description="Names of the headers that travel with it.")
    key: str | None = None

    @classmethod
    def of(cls, published: PublishedEvent) -> Self:
        """As it is kept."""
        members = EventAnswer.model_validate(published).model_dump() | {"fault": published.fault}
        event = published.event
        if event is not None:
            members |= {
                "distinct_id": event.distinct_id,
                "timestamp": event.timestamp.isoformat(),
                "properties": event.properties,
                "headers": list(event.headers),
                "key": event.key,
            }
        return cls.model_validate(members)


class EventsAnswer(Model):
    """Events, newest first."""

    events: list[EventAnswer]
    next: str | None = Field(description="What to give as after for the next page; null: there is none.")


class EventEndpoints(Model):
    """To which of its endpoints an event goes again, or not any more."""

    endpoints: list[str] | None = Field(None, description="null: all of them.")


# -- figures and errors -----------------------------------------------------------------------------------------------


class EndpointFigures(Model):
    """How the deliveries of one endpoint stand."""

    endpoint: EndpointAnswer
    rows: dict[DeliveryState, int]
    first_due_at: Moment | None
    claimed: int = Field(description="How many somebody attempts now.")


class StatsAnswer(Model):
    """How deliveries stand, by endpoint and in all."""

    endpoints: list[EndpointFigures]
    rows: dict[DeliveryState, int]

    @classmethod
    def of(cls, stats: list[EndpointStats]) -> Self:
        """As deliveries tell it."""
        totals = {state: sum(one.rows.get(state, 0) for one in stats) for state in DeliveryState}
        return cls(endpoints=[EndpointFigures.model_validate(one) for one in stats], rows=totals)


class FaultAnswer(Model):
    """What is wrong with one member of a request."""

    member: str = Field(description="Its path; empty: the whole.")
    rule: str


class ErrorBody(Model):
    """What went wrong."""

    code: str = Field(description="A word for programs.")
    message: str = Field(description="A sentence for people.")
    faults: list[FaultAnswer] = Field(description="Members of the request that cannot be; empty: it is something else.")


class ErrorAnswer(Model):
    """What every answer that is none of success has."""

    error: ErrorBody
