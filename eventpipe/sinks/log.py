"""A sink that appends to a log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from eventpipe.checked import shown
from eventpipe.errors import (
    ClosedError,
    PermanentSinkError,
    Scope,
    SinkError,
    StoreError,
    StoreFullError,
    TransientSinkError,
)
from eventpipe.outcomes import DELIVERED, DropReason, OutcomeKind, Verdict
from eventpipe.sinks.base import BaseSink, check_plain_function, check_word

if TYPE_CHECKING:
    from eventpipe.contracts import Where
    from eventpipe.events import Batch, CapturedEvent


class Appendable(Protocol):
    """What the sink needs of a log; ``EventLog`` has it."""

    async def append_many(self, topic: str, events: Sequence[CapturedEvent]) -> Sequence[int]:
        """Append events that were captured, in one commit: all of them or none, and each id once."""


class LogSink(BaseSink):
    """Appends each batch to a topic of a log, as it was captured: nothing is encoded again.

    An event is delivered once it is committed. A batch that is sent again, because nobody knows what became of it, is
    known by the ids of its events. A log that is full, or does not run, is worth another attempt; where a topic has
    ``on_full="wait"`` the attempt lasts until there is room. A batch that the topic could not take if it were empty is
    halved, and an event that alone is too large for it is dropped.

    Args:
        log: The log; whoever made it starts and stops it, and stops it after the client.
        topic: The topic, or a plain function of the captured event that names it; then a batch is one commit per topic.
        where: See ``BaseSink``.
        name: See ``BaseSink``.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(
        self,
        log: Appendable,
        topic: str | Callable[[CapturedEvent], str],
        *,
        where: Where | None = None,
        name: str | None = None,
    ) -> None:
        if isinstance(topic, str):
            check_word("topic", topic)
        elif not callable(topic):
            raise ValueError(f"topic must be the name of a topic or a plain function, not {shown(topic)}")
        else:
            check_plain_function("topic", topic)
        super().__init__(where=where, name=name)
        self._log = log
        self._topic = topic

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Append ``batch``.

        Returns:
            ``None``: all of it is appended. Verdicts, where its events are of several topics and not all of them are.

        Raises:
            ClosedError: ``aclose()`` was called before.
            TransientSinkError: The log is full, does not run, or its store failed.
            PermanentSinkError: No topic can have that name, or one can never take so much at once.

        Cancellation:
            Of each topic all events are appended, or none.
        """
        self._check_open()
        events = batch.events
        verdicts: list[Verdict] = [DELIVERED] * len(events)
        for topic, places in self._by_topic(events, verdicts).items():
            try:
                await self._append(topic, [events[place] for place in places])
            except SinkError as error:
                # Too much at once: the halves are sent in its place, and what was appended before is known by its ids.
                is_too_large = isinstance(error, PermanentSinkError) and error.scope == "size" and len(places) > 1
                if len(places) == len(events) or is_too_large:
                    raise
                for place in places:
                    verdicts[place] = _verdict(error)
        return None if all(verdict is DELIVERED for verdict in verdicts) else verdicts

    def _by_topic(self, events: Sequence[CapturedEvent], verdicts: list[Verdict]) -> dict[str, Sequence[int]]:
        """The places in the batch of each topic's events; those without a topic get their verdict here."""
        if isinstance(self._topic, str):
            return {self._topic: range(len(events))}
        places: dict[str, list[int]] = {}
        for place, event in enumerate(events):
            try:
                places.setdefault(self._topic(event), []).append(place)
            except Exception as error:  # noqa: BLE001  # a function of the user's
                verdicts[place] = Verdict(
                    OutcomeKind.DROPPED, DropReason.REJECTED, detail=f"topic raised {type(error).__name__}"
                )
        return dict(places)

    async def _append(self, topic: str, events: Sequence[CapturedEvent]) -> None:
        try:
            await self._log.append_many(topic, events)
        except StoreFullError as error:
            if not error.can_ever_fit:
                raise PermanentSinkError(str(error), scope="size") from error
            raise TransientSinkError(str(error), reason="log_full") from error
        except ClosedError as error:
            raise TransientSinkError(str(error), reason="log_closed") from error
        except StoreError as error:
            raise TransientSinkError(str(error), reason="store_error") from error
        except (ValueError, TypeError) as error:  # no topic can have such a name
            scope: Scope = "sink" if isinstance(self._topic, str) else "event"
            raise PermanentSinkError(str(error), scope=scope) from error


def _verdict(error: SinkError) -> Verdict:
    kind = OutcomeKind.RETRY if isinstance(error, TransientSinkError) else OutcomeKind.DROPPED
    return Verdict(kind, error.reason, detail=str(error))
