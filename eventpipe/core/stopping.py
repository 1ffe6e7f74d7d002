"""Several services stopped side by side, by one deadline, and what became of each."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec

from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger

if TYPE_CHECKING:
    from eventpipe.core.deadline import Deadline
    from eventpipe.core.life import Life
    from eventpipe.core.service import Service

P = ParamSpec("P")

_logger = contained_logger(__name__)

# A service that keeps its deadline by itself, with a timer for the same moment, has this long to say so before it is
# cut off: its own way to end is better than ours. Twice as long as a consumer waits for handlers that it cut off, so
# that on a busy machine too it has named those that do not end.
PATIENCE = 0.1

# What is cut off has this long to end; with the patience above it stays within the 0.25 s that a stop may take beyond
# its deadline.
MIN_GRACE = 0.08
MAX_GRACE = 0.12


@dataclass(frozen=True, slots=True)
class StopReport:
    """What became of services that were asked to stop; true when all of them stopped by themselves.

    Attributes:
        stopped: Names of those that stopped in order, or had finished before.
        cancelled: Names of those that were cut off at the deadline, and ended.
        failed: Names of those that ended with an error, in this stop or before.
        stragglers: Names of those that were cut off, and still run.
        elapsed: Seconds that this call took.
    """

    stopped: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    stragglers: tuple[str, ...] = ()
    elapsed: float = 0.0

    def __bool__(self) -> bool:
        return not (self.cancelled or self.failed or self.stragglers)

    def __add__(self, other: StopReport) -> StopReport:
        return StopReport(
            self.stopped + other.stopped,
            self.cancelled + other.cancelled,
            self.failed + other.failed,
            self.stragglers + other.stragglers,
            max(self.elapsed, other.elapsed),
        )


def contained(what: str, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Call a function that is not ours; what it raises is logged, without its text, and costs nobody else."""
    try:
        function(*args, **kwargs)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # whatever it is: a CancelledError of theirs is not ours
        _logger.error("%s raised %s", what, where_raised(error))


class Stopping:
    """Asks services to stop, all at once; cuts off at the deadline what has not stopped; waits a moment; goes on.

    Nobody is stopped before anybody else: what one still writes and another still reads orders their ends.
    """

    def __init__(self, services: Iterable[Service], deadline: Deadline, *, depth: int = 0) -> None:
        """Ask them; those that do not run are left alone.

        Args:
            services: Which.
            deadline: By when they should have stopped.
            depth: How deep groups are nested in them: an outer group waits a little longer, and so hears of the
                stragglers of an inner one from that one.
        """
        self._lives = [(service, life) for service in services if (life := _life_here(service)) is not None]
        self._grace = MAX_GRACE - (MAX_GRACE - MIN_GRACE) / 2**depth
        self._patience: asyncio.Timeout | None = None
        self._is_cut_off = self._is_done = False
        self._ask(deadline)

    def bring_forward(self, deadline: Deadline) -> None:
        """Have them stop earlier; a later deadline changes nothing."""
        if deadline.remaining() < self._deadline.remaining():
            self._ask(deadline)
            self._reschedule()

    def widen(self, services: Iterable[Service]) -> None:
        """Stop these as well, side by side with the others; too late where something was cut off already."""
        if self._is_cut_off:
            return
        known = {id(service) for service, _ in self._lives}
        more = [(service, life) for service in services if (life := _life_here(service)) and id(service) not in known]
        self._lives += more
        for service, _ in more:
            contained(f"_request_stop() of service {service.name}", service.request_stop, self._deadline)

    def cut_off(self) -> None:
        """Cancel now what has not stopped."""
        self._is_cut_off = True
        for service in self._left():
            contained(f"cancel() of service {service.name}", service.cancel)
        self._reschedule()

    async def wait(self) -> None:
        """Wait until all have stopped; at the latest, a moment after the deadline. May come again.

        Cancellation:
            Safe. They go on stopping.
        """
        if self._is_done:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._patience_ends()) as self._patience:
                await self._all_over()
        self._patience = None
        if self._left():
            if not self._is_cut_off:
                names = ", ".join(service.name for service in self._left())
                _logger.warning("did not stop by the deadline, and is cut off: %s", names)
            self.cut_off()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._grace):
                    await self._all_over()
        self._is_done = True

    def _ask(self, deadline: Deadline) -> None:
        self._deadline = deadline
        for service in self._left():
            contained(f"_request_stop() of service {service.name}", service.request_stop, deadline)

    def _left(self) -> list[Service]:
        return [service for service, life in self._lives if not life.over.is_set()]

    async def _all_over(self) -> None:
        for _, life in self._lives:
            await life.over.wait()

    def _patience_ends(self) -> float | None:
        if self._is_cut_off:
            return 0.0  # a moment that has passed
        return None if self._deadline.when is None else self._deadline.when + PATIENCE

    def _reschedule(self) -> None:
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._patience_ends())


def _life_here(service: Service) -> Life | None:
    """The life of ``service`` in this loop that is not over."""
    life = service._life
    return life if life is not None and life.loop is asyncio.get_running_loop() and not life.over.is_set() else None
