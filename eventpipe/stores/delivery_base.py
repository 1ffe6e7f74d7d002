"""What deliveries ask of the engine that keeps them; ``docs/stores.md`` has it on one page.

A store keeps endpoints with their secrets, rules, published events, one row per event and endpoint, and the attempts.
It decides nothing: what becomes of a row is said in a ``Change``, which holds only if the row is still as it was when
that was decided. An engine that can skip locked rows does so in ``claim()``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from eventpipe.stores.base import Store
from eventpipe.stores.delivery_values import (
    AttemptRecord,
    Change,
    ClaimedRow,
    DeliveryFilter,
    DeliveryRow,
    DueEndpoint,
    EndpointInfo,
    EndpointState,
    EndpointStats,
    Place,
    Publication,
    Published,
    PublishedEvent,
    Rule,
)


class DeliveryStore(Protocol):
    """Endpoints, rules, events, rows and attempts.

    Each method is one transaction: done as a whole, or not at all. A cancelled call was done or not begun. Where it
    raises ``StoreError``, the engine failed, and whether it was done is unknown; making the same call again is safe.

    What is answered is of that moment, and changes no more. An endpoint is known by ``name`` and ``created_at``: one
    that was removed keeps its rows, and is another than one of its name that was made since.
    """

    # -- endpoints and rules ------------------------------------------------------------------------------------------

    async def put_endpoint(self, endpoint: EndpointInfo, private: bytes | None, *, replace: bool) -> EndpointInfo:
        """Keep an endpoint, and in a place of their own the bytes that nobody else is to see.

        Args:
            endpoint: Kept as given where it is new, but for a ``created_at`` that one of its name has which was removed
                and is kept for its rows: that becomes the next larger number that is free. Where it takes the place of
                another, that one's ``created_at`` stays, as do its state and the reason for that, and ``version`` is
                one more than that one's.
            private: ``None``: there is nothing private, and what was there is deleted.
            replace: Whether it may take the place of one of the same name.

        Returns:
            What is kept now. Moves the version of ``DELIVERIES``.

        Raises:
            EndpointExistsError: There is one already, and ``replace`` is false. Nothing was changed.
        """

    async def change_endpoint(self, endpoint: EndpointInfo, private: bytes | None) -> EndpointInfo | None:
        """Keep an endpoint in place of the one that it was made of, if nobody has changed that since.

        Args:
            endpoint: With the ``created_at`` and the ``version`` of what was read; its state stays as it is.
            private: As ``put_endpoint()``.

        Returns:
            What is kept now, its ``version`` one more, which moves the version of ``DELIVERIES``; ``None``: it was
            changed or removed meanwhile, and everything is as it was.
        """

    async def set_endpoint_state(self, name: str, state: EndpointState, reason: str | None) -> EndpointInfo:
        """Pause, resume, disable or remove an endpoint; with ``REMOVED`` its private bytes are deleted.

        What is removed is kept for its rows, and its name is free.

        Returns:
            What is kept now, its ``version`` one more and ``reason`` its reason, which moves the version of
            ``DELIVERIES``; where it is in that state already, everything is as it was, the reason too.

        Raises:
            UnknownEndpointError: There is none of this name that was not removed.
        """

    async def endpoints(self, name: str | None = None) -> list[EndpointInfo]:
        """Endpoints that were not removed, by name; with ``name`` that one, if there is one."""

    async def private(self, name: str) -> bytes | None:
        """The private bytes of an endpoint; ``None``: it has none.

        Raises:
            UnknownEndpointError: There is no such endpoint.
        """

    async def put_rule(self, rule: Rule) -> None:
        """Keep a rule, in place of the one of that name, if there is one; moves the version of ``DELIVERIES``."""

    async def remove_rule(self, name: str) -> bool:
        """Forget a rule; whether there was one, which moves the version of ``DELIVERIES``."""

    async def rules(self) -> list[Rule]:
        """Every rule, by name."""

    # -- publishing ---------------------------------------------------------------------------------------------------

    async def publish(self, publications: Sequence[Publication]) -> list[Published]:
        """Keep events and their rows, all in one commit; what was published before makes nothing.

        It is known by the id of its event, else by its dedupe key, as long as the event is kept, and earlier ones of
        the same call are known as well. Its endpoints are not looked at then: they may have been removed since. An
        endpoint that is named twice gets one row. A row has the next id, in the order of events and endpoints; ids
        are never given twice, and ``version`` begins with 1.

        A row is ``PENDING`` and due at ``now``; one of an endpoint that is disabled is ``FAILED`` at once, with
        ``ENDPOINT_DISABLED``. Moves the version of ``DELIVERIES`` if a row is due.

        Returns:
            One each, in order.

        Raises:
            UnknownEndpointError: One of the endpoints does not exist, or was removed. Nothing was kept.
            StoreFullError: There is no room. Nothing was kept.
        """

    # -- passes -------------------------------------------------------------------------------------------------------

    async def due(self) -> list[DueEndpoint]:
        """Endpoints with open rows, each with the first moment at which one is due; removed and paused ones as well.

        By name; of the same name, the older first.
        """

    async def claim(
        self, endpoint: EndpointInfo, *, holder: str, cutoff: float, after: Place | None, now: float, until: float,
        limit: int,
    ) -> list[ClaimedRow]:  # fmt: skip
        """Take due rows of an endpoint, so many at most, so that nobody else attempts them.

        Args:
            endpoint: As ``due()`` has it now: one that was removed is not one of the same name that was made since.
            holder: Who takes them.
            cutoff: Rows that are due at this moment or before.
            after: Only rows behind this place in the order of (``due_at``, ``id``). ``None``: from the first on.
            now: Rows whose ``claimed_until`` is this moment or earlier are nobody's.
            until: Becomes ``claimed_until``.
            limit: At least 1.

        Returns:
            In the order of (``due_at``, ``id``), as they are with this claim; ``version`` is one more. Fewer than
            ``limit`` say that there are no more behind ``after``. The state of the endpoint is not looked at; where it
            is not kept any more, or of another ``version`` by now, there are none: who asks had better look at it.
        """

    async def release(self, rows: Sequence[DeliveryRow]) -> int:
        """Give back rows that were claimed and not attempted, where they are still as they were; how many that was.

        They are due as before, ``version`` is one more, and what was decided on the claim holds no more. A row is as
        it was, too, when its claim ran out and nobody took it since; one that nobody has is not given back. Moves no
        version of a subject: who gives back does not want to be woken for it.
        """

    async def change(self, changes: Sequence[Change]) -> list[bool]:
        """Change rows, each if its version is still the one that the change was decided on; whether it was, for each.

        They are made in order, so that of two that were decided on the same version the first holds. Of a row that is
        not kept any more, none holds.

        Attempts are kept with their rows, the newest ``MAX_ATTEMPTS_KEPT`` of each. With an attempt, its number becomes
        ``total_attempts``, and its status and error ``last_status`` and ``last_error``; without one these stay. Moves
        the version of ``DELIVERIES`` if a resend was among those that were done.
        """

    async def rescue(
        self, *, now: float, claimed_before: float, due_before: float, unattempted_after: float = math.inf
    ) -> int:
        """Free rows that a clock which was set back would leave lying; how many.

        Their ``version`` is one more. Moves the version of ``DELIVERIES`` if there were any.

        Args:
            now: They become due at this moment, or nobody's.
            claimed_before: Rows claimed until this moment or later, which nobody can have meant, are nobody's.
            due_before: Rows due at this moment or later, likewise, are due now.
            unattempted_after: Rows due later than this, with ``attempts`` 0 and nobody's, are due now as well. ``inf``:
                those are not looked for, which costs as much as there are rows that are due later than now.
        """

    # -- looking ------------------------------------------------------------------------------------------------------

    async def rows(self, wanted: DeliveryFilter, *, after: int | None = None, limit: int = 100) -> list[DeliveryRow]:
        """Rows that a filter wants, by descending id, with ids below ``after``; ``None``: from the newest on."""

    async def row(self, id: int) -> DeliveryRow | None:  # noqa: A002  # the word of everybody who asks for one
        """A row, if there is one."""

    async def attempts(self, id: int) -> list[AttemptRecord]:  # noqa: A002  # as above
        """The attempts of a row that are kept, in their order; of a row that is not there, none."""

    async def event(self, uuid: str) -> PublishedEvent | None:
        """A published event, if there is one."""

    async def events(
        self, *, name: str | None = None, after: str | None = None, limit: int = 100
    ) -> list[PublishedEvent]:
        """Published events, newest first by (``published_at``, ``uuid``), behind the one whose id is ``after``.

        They come without what is in them, which is not read: a page of large ones costs as little as one of small ones.

        Args:
            name: With this name; ``*`` stands for any characters. ``None``: with any.
            after: ``None``, or an id that is not known any more: from the newest on.
            limit: At most so many.
        """

    async def stats(self) -> list[EndpointStats]:
        """How the rows of each endpoint stand, by name; of a removed one while it has rows.

        Of the same name, the older first. Whether somebody has a row is told by the clock that the store goes by.
        """

    async def purge(self, *, before: float, limit: int) -> int:
        """Delete rows that were settled before a moment, with their attempts, and events that have no row any more.

        Rows go in the order of (``settled_at``, ``id``), an event with its last row; then, where that leaves room,
        events that had no endpoint and were published before that moment, in the order of (``published_at``,
        ``uuid``). Endpoints that were removed and have no row go with their last one. What was deleted can be
        published anew.

        Returns:
            How many rows, at most ``limit``; an event that had no endpoint counts as one.
        """


class DeliveringStore(Store, Protocol):
    """An engine that keeps deliveries as well.

    Attributes:
        deliveries: What keeps them; usable while the store is open, and ``ClosedError`` otherwise.
    """

    @property
    def deliveries(self) -> DeliveryStore:
        """What keeps deliveries."""
