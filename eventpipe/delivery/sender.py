"""A sink that deliveries go through: what it may not show, who uses it, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from eventpipe.codecs.keys import SHOWN_OF_KEY
from eventpipe.codecs.webhook import WebhookCodec
from eventpipe.codecs.webhook_secrets import PREFIX
from eventpipe.contracts import Sink
from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.delivery.endpoint import Private
from eventpipe.delivery.judging import Judgement, judge
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.encoding.lifting import lifted_out
from eventpipe.events import Batch, CapturedEvent
from eventpipe.sinks.withheld import WITHHELD, forms_within
from eventpipe.stores.delivery_values import EndpointInfo, EndpointKind
from eventpipe.transport.attempt import attempt
from eventpipe.transport.traits import Traits

if TYPE_CHECKING:
    from eventpipe.errors import SinkError
    from eventpipe.outcomes import Verdict

MAX_RESPONSE: Final = 1000  # characters of what a far end said that are kept
_CLOSE_TIME: Final = 5.0  # as a client gives its sinks

_logger = contained_logger(__name__)

Said = tuple[int | None, str | None]
"""The status of an answer, and the beginning of its body; ``None``: there was none."""


class ListeningCodec(WebhookCodec):
    """Writes webhooks, and keeps what far ends say, by batch, until it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.said: dict[str, Said] = {}

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        """Read the answer as webhooks do."""
        # Four bytes a character, at most.
        self.said[batch.id] = (status, body[: 4 * MAX_RESPONSE].decode(errors="replace")[:MAX_RESPONSE] or None)
        return super().response(batch, status, headers, body, complete)


class Sender:
    """Sends to one endpoint.

    Args:
        sink: What sends.
        name: Of the endpoint.
        kind: Of the endpoint.
        private: What may not be shown of what the far end says.
        codec: Hears what it says. ``None``: nobody does.
        endpoint: What the sink was made for. ``None``: somebody else made it.

    Attributes:
        sink: What sends.
        name: Of the endpoint.
        users: How many attempts run.
        is_retired: Whether it is closed as soon as nobody uses it.
    """

    def __init__(
        self,
        sink: Sink,
        name: str,
        kind: EndpointKind,
        private: Private,
        codec: ListeningCodec | None = None,
        endpoint: EndpointInfo | None = None,
    ) -> None:
        self.sink = sink
        self.name = name
        self.users = 0
        self.is_retired = False
        self._kind = kind
        self._codec = codec
        self._endpoint = endpoint
        self._lifted = Traits.of(sink).lifted
        self._hidden = _hidden(private, "" if endpoint is None else endpoint.url or "")

    def is_of(self, endpoint: EndpointInfo) -> bool:
        """Whether it was made for an endpoint as that is."""
        own = self._endpoint
        return own is not None and (own.created_at, own.version) == (endpoint.created_at, endpoint.version)

    def is_of_later(self, endpoint: EndpointInfo) -> bool:
        """Whether it was made for the same endpoint as that is after a change."""
        own = self._endpoint
        return own is not None and own.created_at == endpoint.created_at and own.version > endpoint.version

    async def send(self, event: CapturedEvent, number: int, now: float) -> tuple[Judgement, str | None]:
        """Send one event once: what that means, and what the far end said, both without secrets.

        Cancellation:
            Only that of this very task leaves.
        """
        if self._lifted:
            try:
                event = lifted_out(event, self._lifted)
            except ValueError:
                return Judgement(DeliveryOutcome.UNREADABLE, error="what is kept of the event is no JSON"), None
        # The same over all attempts of a delivery.
        batch = Batch(f"{event.uuid}/{self.name}", None, (event,), now, number)
        try:
            judgement = judge(await attempt(self.sink, batch), self._kind)
        finally:
            status, said = self._heard(batch)
        if status is not None or judgement.error is not None:
            judgement = Judgement(
                judgement.outcome,
                judgement.status if status is None else status,
                self._shown(judgement.error),
                judgement.retry_after,
            )
        return judgement, self._shown(said)

    def _heard(self, batch: Batch) -> Said:
        return (None, None) if self._codec is None else self._codec.said.pop(batch.id, (None, None))

    def _shown(self, text: str | None) -> str | None:
        """What the far end said, if it repeats no secret."""
        if text is not None and any(hidden in text for hidden in self._hidden):
            return WITHHELD
        return text


def _hidden(private: Private, url: str) -> frozenset[str]:
    """What no text may hold that is shown; of a secret the key alone as well, which signs as well as the whole."""
    secrets = {f"secret {number}": f"{one} {one.removeprefix(PREFIX)}" for number, one in enumerate(private.secrets)}
    # Words of a header that are as short are no keys; a secret is one at any length, and what has several is one whole.
    whole = (value for value in private.headers.values() if len(value) >= SHOWN_OF_KEY)
    return forms_within({**private.headers, **secrets}, url).union(private.secrets, whole)


async def closed(sink: Sink) -> None:
    """Close a sink; what it raises is logged, and it has five seconds.

    Cancellation:
        That of this very task leaves; the sink may not be closed then.
    """
    try:
        async with asyncio.timeout(_CLOSE_TIME):
            await sink.aclose()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # whatever it is, the others are closed as well
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        _logger.warning("a sink could not be closed: %s", where_raised(error))
