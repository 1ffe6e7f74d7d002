"""A client for the whole program, when asked for: ``eventpipe.capture()`` without handing a client around.

Nothing is set unless the program does so. Until then, and after ``set_default(None)``, every function here does
nothing: libraries may capture whether or not their program wants events.
"""

from __future__ import annotations

import datetime
import threading
import uuid as uuidlib
from collections.abc import Mapping
from copy import copy
from typing import Final

from eventpipe.checked import shown
from eventpipe.client import AsyncClient
from eventpipe.core.log import contained_logger
from eventpipe.events import Capturable, DistinctId, Durability, Overflow, Properties
from eventpipe.outcomes import CloseReport, FlushReport, OutcomeKind, Settlement
from eventpipe.transport.barrier import Until
from eventpipe.transport.calls import NOBODY
from eventpipe.transport.receipts import Receipt

_logger = contained_logger("eventpipe")

_UNSENT: Final = copy(NOBODY)
_UNSENT.settlement = Settlement(OutcomeKind.DROPPED, sink="", error="there is no default client")

_client: AsyncClient | None = None
_is_told = False  # that events are captured without one: once is enough
_lock = threading.RLock()  # of those who set it; reentrant for a signal handler that does


def set_default(client: AsyncClient | None) -> None:
    """Make ``client`` the one that ``eventpipe.capture()`` and the other functions of the package use.

    Set it once, where the program starts. It is still to be closed, by ``eventpipe.aclose()`` or where it was made.

    Args:
        client: The client. ``None``: from now on there is none; the one that was set is not closed by this.

    Raises:
        RuntimeError: One is set that is not closed, be it the same.
        TypeError: It is no ``AsyncClient``.
    """
    global _client  # one for the whole program is what it is for
    if client is not None and not isinstance(client, AsyncClient):
        raise TypeError(f"the default client must be an AsyncClient or None, not {shown(client)}")
    with _lock:
        if client is not None and _client is not None and not _client._entrance.is_closed:
            raise RuntimeError(
                f"{_client!r} is the default client already; close it first, or take it away with set_default(None)"
            )
        _client = client


async def capture(
    event: Capturable,
    *,
    distinct_id: DistinctId | None = None,
    properties: Properties | None = None,
    timestamp: datetime.datetime | None = None,
    uuid: str | uuidlib.UUID | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
    lane: str | None = None,
    overflow: Overflow | None = None,
    durability: Durability | None = None,
) -> Receipt:
    """Take an event in as ``AsyncClient.capture()`` does; without a default client, do nothing.

    Args are those of ``AsyncClient.capture()``.

    Returns:
        A receipt. Without a default client it is nobody's: ``accepted`` is false and ``reason`` is ``None``; the first
        of the process is told of in the log, at DEBUG.

    Raises:
        QueueFullError: The queue is full and ``overflow`` is ``"raise"``.
        InvalidEventError: The event cannot be sent, in strict mode.
        ClosedError: The default client was closed, in strict mode.
        ValueError: ``overflow`` or ``durability`` is not one of the words.

    Cancellation:
        Safe. The event is in, or (waiting for room) dropped as ``abandoned``.
    """
    if (client := _client) is None:
        return _receipt_of_nobody()
    return await client.capture(
        event,
        distinct_id=distinct_id,
        properties=properties,
        timestamp=timestamp,
        uuid=uuid,
        headers=headers,
        key=key,
        lane=lane,
        overflow=overflow,
        durability=durability,
    )


def capture_nowait(
    event: Capturable,
    *,
    distinct_id: DistinctId | None = None,
    properties: Properties | None = None,
    timestamp: datetime.datetime | None = None,
    uuid: str | uuidlib.UUID | None = None,
    headers: Mapping[str, str] | None = None,
    key: str | None = None,
    lane: str | None = None,
    overflow: Overflow | None = None,
    durability: Durability | None = None,
) -> Receipt:
    """Take an event in as ``AsyncClient.capture_nowait()`` does; without a default client, do nothing.

    Args, Returns and Raises are those of ``capture()``, but that ``overflow="wait"`` waits for nothing here.
    """
    if (client := _client) is None:
        return _receipt_of_nobody()
    return client.capture_nowait(
        event,
        distinct_id=distinct_id,
        properties=properties,
        timestamp=timestamp,
        uuid=uuid,
        headers=headers,
        key=key,
        lane=lane,
        overflow=overflow,
        durability=durability,
    )


async def flush(timeout: float | None = None, *, until: Until = "settled") -> FlushReport:
    """Make everything captured so far leave now, and wait for it, as ``AsyncClient.flush()`` does.

    Args:
        timeout: Seconds on the loop clock. ``None`` means the ``flush_timeout`` of the default client.
        until: ``"settled"``: every event is delivered or dropped. ``"attempted"``: each has had an attempt.

    Returns:
        What became of the events; without a default client an empty report.

    Raises:
        ClosedError: The default client was closed before.
        ValueError: ``until`` is not one of the words.

    Cancellation:
        Safe. No event is touched.
    """
    if (client := _client) is None:
        return FlushReport()
    return await client.flush(timeout, until=until)


async def aclose(timeout: float | None = None) -> CloseReport:
    """Close the default client, as ``AsyncClient.aclose()`` does. It stays set, until another takes its place.

    Args:
        timeout: Seconds on the loop clock. ``None`` means the ``close_timeout`` of the default client.

    Returns:
        What became of every event of its life; without a default client an empty report.

    Raises:
        RuntimeError: The client lives on another loop, which ended meanwhile or is held up.

    Cancellation:
        As that of ``AsyncClient.aclose()``: everything pending is accounted for before the cancellation goes on.
    """
    if (client := _client) is None:
        return CloseReport()
    return await client.aclose(timeout)


def _receipt_of_nobody() -> Receipt:
    global _is_told  # once a process: a library may capture without end in a program that wants no events
    if not _is_told:
        _is_told = True
        _logger.debug("there is no default client, and nothing is captured: set_default(client) sets one")
    return Receipt(_UNSENT, accepted=False)
