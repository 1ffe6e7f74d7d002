"""Taking the right to a consumer, and waiting for it through whatever its store does meanwhile."""

from __future__ import annotations

import asyncio

from eventpipe.core.lease import Lease
from eventpipe.core.retry import backoff
from eventpipe.errors import LeaseHeldError, StoreError, UnknownConsumerError
from eventpipe.log.claimant import Claimant
from eventpipe.log.consumer_options import ConsumerOptions
from eventpipe.log.episodes import Episodes
from eventpipe.log.eventlog import EventLog
from eventpipe.log.planning import Plan
from eventpipe.log.reports import Tally


class Standby:
    """One consumer's way to a claimant: at once or not at all, or as soon as nobody else has the consumer.

    Whoever stands by is needed when a store is in trouble: one that fails is asked again after a backoff, without end.
    """

    def __init__(self, log: EventLog, plan: Plan, options: ConsumerOptions, tally: Tally) -> None:
        """Ask for nothing yet.

        Args:
            log: The log.
            plan: Says which consumer, and how long to leave a store alone that fails.
            options: Say how long the right to it is held.
            tally: Where failures of the store are counted.
        """
        self._log = log
        self._plan = plan
        self._options = options
        self._tally = tally
        self._episodes = Episodes(plan.key)
        self._patience: asyncio.Timeout | None = None  # of whoever waits
        self._cut_off: Lease | None = None  # which may have been granted when nobody waited for it any more

    async def claimant(self, *, is_waiting: bool) -> Claimant:
        """Register the consumer unless it is, and take it.

        Raises:
            LeaseHeldError: Somebody else has it, and this does not wait.
            CursorError: It is new, and begins at an offset that its topic does not have.
            StoreError: The store failed.
            ClosedError: The log does not run.

        Cancellation:
            Safe. Nobody has it.
        """
        if self._cut_off is not None:
            await self._cut_off.release()  # else the consumer would be held by ourselves
        options = self._options
        claimant = Claimant(
            self._log,
            self._plan.key,
            ttl=options.ttl,
            heartbeat=options.heartbeat,
            when_held="wait" if is_waiting else "raise",
        )
        self._cut_off = claimant.lease
        await claimant.open()
        self._cut_off = None
        return claimant

    async def wait(self, losses: int) -> Claimant | None:
        """Wait until nobody else has it; ``None``: ``leave()`` was called meanwhile.

        Args:
            losses: How often in a row it was lost before anything was settled; from the second on there is a backoff.

        Raises:
            UnknownConsumerError: It was removed.
            ClosedError: The log does not run.

        Cancellation:
            Safe. Nobody has it.
        """
        try:
            async with asyncio.timeout(None) as self._patience:
                if losses > 1:
                    await self._pause(losses)
                return await self._persist()
        except TimeoutError:
            return None
        finally:
            self._patience = None

    def leave(self) -> None:
        """Let whoever waits go on without it."""
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(0.0)  # a moment that has passed

    async def _persist(self) -> Claimant:
        failures = 0  # in a row
        while True:
            try:
                await self._log.consumer(*self._plan.key)  # one that was removed is not registered again
                try:
                    claimant = await self.claimant(is_waiting=False)
                except LeaseHeldError:
                    failures = 0
                    self._episodes.store_is_well()  # it can say who has it, and may be silent for days now
                    claimant = await self.claimant(is_waiting=True)
                self._episodes.store_is_well()
                return claimant
            except UnknownConsumerError:
                raise
            except (StoreError, OSError) as error:
                failures += 1
                self._tally.store_errors += 1
                self._episodes.store_failed(error)
                await self._pause(failures)

    async def _pause(self, times: int) -> None:
        await asyncio.sleep(backoff(self._plan.policy, times, self._plan.booking.random))
