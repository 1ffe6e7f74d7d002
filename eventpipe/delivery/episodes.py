"""The log lines of a reconciler: a lasting condition once when it begins and once when it ends.

Of the deliveries to an endpoint that fail in one pass the first has a line of its own; the others are counted in one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from eventpipe.core.log import contained_logger
from eventpipe.stores.delivery_values import Change, DeliveryRow, DeliveryState, EndpointInfo, EndpointState

_logger = contained_logger(__name__)


class DeliveryEpisodes:
    """What lasts at one reconciler at the moment."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._failing: set[str] = set()
        self._failed: Counter[str] = Counter()
        self._refused: Counter[tuple[str, EndpointState]] = Counter()
        self._unsendable: set[str] = set()
        self._is_store_failing = False

    def wrote(self, row: DeliveryRow, change: Change) -> None:
        """See what a delivery came to."""
        error = None if change.attempt is None else change.attempt.error
        if change.state is DeliveryState.SUCCESS:
            if row.endpoint in self._failing:
                self._failing.discard(row.endpoint)
                _logger.info("endpoint %s is delivered to again", row.endpoint)
        elif change.state is DeliveryState.FAILED:
            self._failed[row.endpoint] += 1
            if self._failed[row.endpoint] == 1:
                _logger.warning(
                    "delivery %d to endpoint %s failed (%s: %s); resend() has it made again",
                    row.id,
                    row.endpoint,
                    change.reason,
                    error,
                )
        elif row.endpoint not in self._failing:
            self._failing.add(row.endpoint)
            _logger.warning("endpoint %s fails, and is tried again: %s", row.endpoint, error)

    def refused(self, endpoint: EndpointInfo, number: int) -> None:
        """See deliveries fail because of the state of their endpoint."""
        self._refused[endpoint.name, endpoint.state] += number

    def passed(self) -> None:
        """See a pass end."""
        for name, number in self._failed.items():
            if number > 1:
                _logger.warning("%d more deliveries to endpoint %s failed", number - 1, name)
        for (name, state), number in self._refused.items():
            if number:
                _logger.warning("%d deliveries failed: endpoint %s is %s", number, name, state)
        self._failed.clear()
        self._refused.clear()

    def gone(self, endpoint: EndpointInfo) -> None:
        """See an endpoint disabled."""
        _logger.warning("endpoint %s answered 410, and is disabled", endpoint.name)

    def unsendable(self, endpoints: Collection[str]) -> None:
        """See which endpoints with open rows this process has no sink for."""
        for name in sorted(set(endpoints) - self._unsendable):
            _logger.warning("deliveries to endpoint %s wait: this process has no sink for it; give it in sinks=", name)
        self._unsendable = set(endpoints)

    def store_failed(self, error: BaseException) -> None:
        """See that the store failed, and will be asked again."""
        if not self._is_store_failing:
            _logger.warning("the store of %s fails, and is tried again: %s", self._name, error)
        self._is_store_failing = True

    def store_is_well(self) -> None:
        """See that the store did what it was asked."""
        if self._is_store_failing:
            _logger.info("the store of %s works again", self._name)
        self._is_store_failing = False
