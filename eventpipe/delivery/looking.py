"""Deliveries, their attempts and their events, as people and tools look at them."""

from __future__ import annotations

import uuid as uuidlib
from dataclasses import replace
from typing import Final

from eventpipe.checked import shown
from eventpipe.delivery.running import RunningDeliveries, check_moment
from eventpipe.errors import UnknownDeliveryError
from eventpipe.outcomes import OutcomeKind
from eventpipe.stores.delivery_values import (
    AttemptRecord,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointStats,
    FailureReason,
    PublishedEvent,
)
from eventpipe.subscriptions import Filter, Subscription, SubscriptionOverflow

_MOMENTS: Final = ("due_before", "published_after", "published_before")
_TEXTS: Final = ("endpoint", "event_name", "event_uuid")


class KeptDeliveries(RunningDeliveries):
    """What there is to see; calls raise ``ClosedError`` unless they run, and ``StoreError`` where the engine fails."""

    async def rows(
        self, wanted: DeliveryFilter | None = None, *, after: int | None = None, limit: int = 100
    ) -> list[DeliveryRow]:
        """Deliveries that a filter wants, newest first.

        Args:
            wanted: Which. ``None``: all.
            after: The id of the last one of the page before. ``None``: from the newest on.
            limit: At most so many, at least 1.

        Raises:
            ValueError: An argument has no meaning.
            TypeError: It is no filter.
        """
        check_limit(limit)
        check_after(after)
        return await self.kept.rows(DeliveryFilter() if wanted is None else checked(wanted), after=after, limit=limit)

    async def row(self, id: int) -> DeliveryRow:  # noqa: A002  # the word of everybody who asks for one
        """One delivery.

        Raises:
            UnknownDeliveryError: There is none.
        """
        row = await self.kept.row(id)
        if row is None:
            raise UnknownDeliveryError("delivery", id)
        return row

    async def attempts(self, id: int) -> list[AttemptRecord]:  # noqa: A002  # as above
        """The attempts of a delivery, the newest twenty, in their order.

        Raises:
            UnknownDeliveryError: There is no such delivery.
        """
        await self.row(id)
        return await self.kept.attempts(id)

    async def event(self, uuid: str | uuidlib.UUID) -> PublishedEvent:
        """A published event.

        Raises:
            UnknownDeliveryError: There is none.
        """
        event = await self.kept.event(str(uuid))
        if event is None:
            raise UnknownDeliveryError("event", str(uuid))
        return event

    async def events(
        self, *, name: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[PublishedEvent]:
        """Published events, newest first, without what is in them, which ``event()`` has.

        Args:
            name: Those with this name; ``*`` stands for any characters. ``None``: with any.
            after: The id of the last one of the page before. ``None``: from the newest on.
            limit: At most so many, at least 1.

        Raises:
            ValueError: An argument has no meaning.
        """
        check_limit(limit)
        return await self.kept.events(name=name, after=after, limit=limit)

    async def stats(self) -> list[EndpointStats]:
        """How the rows of each endpoint stand, by name; of one that was removed while it has rows."""
        return await self.kept.stats()

    def subscribe(
        self,
        *kinds: OutcomeKind | str,
        buffer: int | None = None,
        buffer_bytes: int | None = None,
        overflow: SubscriptionOverflow = "drop_newest",
        filter: Filter | None = None,  # noqa: A002  # what users know it as
        name: str | None = None,
    ) -> Subscription:
        """Make a subscription to the outcomes of deliveries that are made, or cancelled, by this object.

        One is told for each attempt, and for each delivery that failed without one, once it is written down; ``sink``
        is the endpoint's name, and ``attempt`` counts over the whole life of a delivery. Of one that failed as it was
        published, because its endpoint was disabled, nothing is told.

        It ends when the deliveries have stopped; one made before the start, or between two lives, is for the next. The
        arguments are those of ``Subscription``.

        Raises:
            ValueError: An argument is wrong; the message names it.
            TypeError: A kind is no word, or the filter is no plain function.
        """
        return self.outcomes.feed.subscribe(
            *kinds, buffer=buffer, buffer_bytes=buffer_bytes, overflow=overflow, filter=filter, name=name
        )


def checked(wanted: object) -> DeliveryFilter:
    """A filter that means something, its states as a set of states.

    Raises:
        ValueError: One of its parts cannot be; the message names it, and the rule.
        TypeError: It is no filter.
    """
    if not isinstance(wanted, DeliveryFilter):
        raise TypeError(f"wanted must be a DeliveryFilter, not {shown(wanted)}")
    states: object = wanted.states
    words = list(DeliveryState)
    if not isinstance(states, frozenset | set | list | tuple) or not all(state in words for state in states):
        raise ValueError(f"states must be a set of {', '.join(words)}, not {shown(states)}")
    if wanted.reason is not None and wanted.reason not in list(FailureReason):
        raise ValueError(f"reason must be one of {', '.join(FailureReason)}, or None, not {shown(wanted.reason)}")
    for option in _TEXTS:
        value = getattr(wanted, option)
        if value is not None and not isinstance(value, str):
            raise ValueError(f"{option} must be text or None, not {shown(value)}")
    for option in _MOMENTS:
        if getattr(wanted, option) is not None:
            check_moment(option, getattr(wanted, option))
    return replace(wanted, states=frozenset(DeliveryState(state) for state in states))


def check_after(after: object) -> None:
    """Refuse what cannot be the id of a delivery, and is not ``None``.

    Raises:
        ValueError: It is something else.
    """
    if after is not None and type(after) is not int:
        raise ValueError(f"after must be the id of a delivery, or None, not {shown(after)}")


def check_limit(limit: object) -> None:
    """Refuse anything but whole numbers from 1 on.

    Raises:
        ValueError: It is something else.
    """
    if type(limit) is not int or limit < 1:
        raise ValueError(f"limit must be a whole number, at least 1, not {shown(limit)}")
