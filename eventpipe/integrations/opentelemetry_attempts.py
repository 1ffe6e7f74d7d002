"""What the attempts of one client show: how long they took, and how many events they tried to send."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.context import Context

from eventpipe.core.log import contained_logger
from eventpipe.integrations.families import label
from eventpipe.integrations.opentelemetry_measures import Key, Value, key_of

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram


class At(NamedTuple):
    """The attributes of one sink, put together once.

    Attributes:
        span_name: What its spans are called.
        span: Of its spans.
        own: Of numbers under a name of ours.
        shared: Of numbers under a name of the conventions for messaging.
        key: Those of ``shared``, sorted.
    """

    span_name: str
    span: dict[str, Value]
    own: dict[str, Value]
    shared: dict[str, Value]
    key: Key


logger = contained_logger("eventpipe")

# Notes are a few hundred bytes each, and a provider that exports collects long before.
MAX_NOTES: Final = 1000


class Attempts:
    """Takes note of attempts, and shows them when somebody collects: the SDK's histograms cost 6 µs each a record.

    Attributes:
        sent: Events that attempts tried to send, by attributes.
        errors: Attempts that could not be recorded.
    """

    def __init__(self, durations: Histogram, operations: Histogram, attributes: Mapping[str, Value]) -> None:
        """Show attempts in these histograms, each with ``attributes`` of the user's own."""
        self.sent: Counter[Key] = Counter()
        self.errors = 0
        self._durations = durations
        self._operations = operations
        self._attributes = dict(attributes)
        self._by_sink: dict[str, At] = {}
        self._notes: deque[tuple[float, dict[str, Value], dict[str, Value], Context]] = deque()

    def at(self, sink: str) -> At:
        """The attributes of the sink of that name."""
        if sink not in self._by_sink:
            name = label(sink)
            messaging = {
                **self._attributes,
                "messaging.system": "eventpipe",
                "messaging.operation.name": "send",
                "messaging.destination.name": name,
            }
            operation = {**messaging, "messaging.operation.type": "send"}
            own = {**self._attributes, "sink": name}
            self._by_sink[sink] = At(f"send {name}", operation, own, messaging, key_of(messaging))
        return self._by_sink[sink]

    def note(self, sink: str, events: int, took: float, failures: Counter[str], context: Context) -> None:
        """Take note of one attempt.

        Args:
            sink: The sink's name.
            events: Events in its batch.
            took: Seconds.
            failures: Events that were not accepted, by why.
            context: That of the span around it, for exemplars.
        """
        at = self.at(sink)
        own, operation = at.own, at.span
        if failures:
            first = {"error.type": next(iter(failures))}
            own, operation = {**own, **first}, {**operation, **first}
            for reason, failed in failures.items():
                self.sent[key_of({**at.shared, "error.type": reason})] += failed
            events -= failures.total()
        if events:
            self.sent[at.key] += events
        self._notes.append((took, own, operation, context))
        if len(self._notes) > MAX_NOTES:
            self.show()

    def show(self) -> None:
        """Record what was noted and not shown yet; any number of threads may do so at once."""
        while self._notes:
            try:
                took, own, operation, context = self._notes.popleft()
            except IndexError:  # another thread was quicker
                return
            try:
                self._durations.record(took, own)
                self._operations.record(took, operation, context)
            except Exception as error:  # noqa: BLE001  # whoever collects is to see the rest
                self.errors += 1
                if self.errors == 1:
                    logger.warning("OpenTelemetry's histograms raised %s", type(error).__name__)

    def forget(self) -> None:
        """Leave to the parent of this process what it has noted."""
        self._notes.clear()
