"""The log lines of a consumer: a lasting condition once when it begins and once when it ends."""

from __future__ import annotations

from collections.abc import Sequence

from eventpipe.core.log import contained_logger
from eventpipe.errors import StoreFullError
from eventpipe.log.handling import Handled
from eventpipe.outcomes import OutcomeKind
from eventpipe.stores.values import DEAD_SUFFIX, ConsumerKey

_logger = contained_logger(__name__)


class Episodes:
    """What lasts at one consumer at the moment."""

    def __init__(self, key: ConsumerKey) -> None:
        self._key = key
        self._is_failing = False
        self._is_misconfigured = False
        self._is_store_failing = False
        self._is_full = False

    def handled(self, all_handled: Sequence[Handled]) -> None:
        """See what events came to."""
        for handled in all_handled:
            if handled.kind is OutcomeKind.DELIVERED:
                if self._is_failing:
                    _logger.info("consumer %s delivers again", self._key)
                self._is_failing = False
            elif handled.kind is OutcomeKind.DROPPED:
                self._is_full = False
                _logger.warning(
                    "consumer %s gave up %d events from offset %d on (%s: %s); they are in topic %s",
                    self._key,
                    len(handled.events),
                    handled.events[0].offset,
                    handled.reason,
                    handled.error,
                    self._key.topic + DEAD_SUFFIX,
                )
            else:
                if not self._is_failing:
                    _logger.warning(
                        "consumer %s failed at offset %d and tries again: %s (%s)",
                        self._key,
                        handled.events[0].offset,
                        handled.reason,
                        handled.error,
                    )
                self._is_failing = True

    def misconfigured(self, error: str, interval: float) -> None:
        """See that nothing can be sent until somebody changes something."""
        if not self._is_misconfigured:
            _logger.error(
                "consumer %s waits, and loses nothing: its sink says that it is misconfigured (%s); it is tried again"
                " every %g s",
                self._key,
                error,
                interval,
            )
        self._is_misconfigured = True

    def well_configured(self) -> None:
        """See that a probe arrived."""
        if self._is_misconfigured:
            _logger.info("consumer %s goes on: its sink takes events again", self._key)
        self._is_misconfigured = False

    def store_failed(self, error: Exception) -> None:
        """See that the store failed, and will be asked again."""
        if not self._is_store_failing:
            _logger.warning("the store of consumer %s fails, and is tried again: %s", self._key, error)
        self._is_store_failing = True

    def store_is_well(self) -> None:
        """See that the store did what it was asked."""
        if self._is_store_failing:
            _logger.info("the store of consumer %s works again", self._key)
        self._is_store_failing = False

    def no_room(self, error: StoreFullError) -> None:
        """See that nothing can die."""
        if not self._is_full:
            _logger.warning("consumer %s cannot give up events, and tries them again later: %s", self._key, error)
        self._is_full = True
