"""A sink that publishes deliveries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from eventpipe.checked import shown
from eventpipe.errors import (
    ClosedError,
    PermanentSinkError,
    StoreError,
    StoreFullError,
    TransientSinkError,
    UnknownEndpointError,
)
from eventpipe.sinks.base import BaseSink

if TYPE_CHECKING:
    from eventpipe.contracts import Where
    from eventpipe.events import Batch, CapturedEvent
    from eventpipe.outcomes import Verdict


class Publishable(Protocol):
    """What the sink needs of deliveries; ``Deliveries`` has it."""

    async def publish_many(
        self, events: Sequence[CapturedEvent], *, endpoints: Iterable[str] | None = None
    ) -> Sequence[object]:
        """Publish events that were captured, in one transaction: all of them or none, and each id once."""


class DeliverySink(BaseSink):
    """Publishes each batch as deliveries, in one transaction, as it was captured: nothing is encoded again.

    An event is delivered, as far as the client or the consumer is concerned, once it is kept with a row for each
    endpoint; a ``Reconciler`` sends it on. A batch that is sent again, because nobody knows what became of it, is known
    by the ids of its events. Deliveries that do not run, and a store that is full or failed, are worth another attempt.
    An endpoint that does not exist is a wrong configuration.

    Args:
        deliveries: The deliveries; whoever made them starts and stops them, and stops them after the client.
        endpoints: Names of endpoints that every event goes to. ``None``: those that the rules say, perhaps none.
        where: See ``BaseSink``.
        name: See ``BaseSink``.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(
        self,
        deliveries: Publishable,
        endpoints: Iterable[str] | None = None,
        *,
        where: Where | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(getattr(deliveries, "publish_many", None)) or isinstance(deliveries, type):
            raise ValueError(f"deliveries must be a Deliveries, not {shown(deliveries)}")
        super().__init__(where=where, name=name)
        self._deliveries = deliveries
        self._endpoints = None if endpoints is None else _names(endpoints)

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Publish ``batch``.

        Returns:
            ``None``: all of it is published.

        Raises:
            ClosedError: ``aclose()`` was called before.
            TransientSinkError: The deliveries do not run, or their store is full or failed.
            PermanentSinkError: One of the endpoints does not exist, or the store can never take so much at once.

        Cancellation:
            All events are published, or none.
        """
        self._check_open()
        try:
            await self._deliveries.publish_many(batch.events, endpoints=self._endpoints)
        except UnknownEndpointError as error:
            raise PermanentSinkError(str(error), scope="sink") from error
        except StoreFullError as error:
            if not error.can_ever_fit:
                raise PermanentSinkError(str(error), scope="size") from error
            raise TransientSinkError(str(error), reason="deliveries_full") from error
        except ClosedError as error:
            raise TransientSinkError(str(error), reason="deliveries_closed") from error
        except StoreError as error:
            raise TransientSinkError(str(error), reason="store_error") from error
        except (ValueError, TypeError) as error:  # no endpoint can have such a name
            raise PermanentSinkError(str(error), scope="sink") from error
        return None


def _names(endpoints: object) -> tuple[str, ...]:
    if isinstance(endpoints, str) or not isinstance(endpoints, Iterable):
        raise ValueError(f"endpoints must be a list of names, or None for what the rules say, not {shown(endpoints)}")
    names = tuple(endpoints)
    if not names or not all(isinstance(name, str) and name.strip() for name in names):
        raise ValueError("endpoints must be names of at least one endpoint, or None for what the rules say")
    return names
