"""Services that start in order, stop side by side, and are looked after in between."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from eventpipe.checked import shown
from eventpipe.core.deadline import Deadline
from eventpipe.core.hook import is_async
from eventpipe.core.life import Life
from eventpipe.core.log import contained_logger
from eventpipe.core.restarts import Restarts
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import Stopping, StopReport, contained
from eventpipe.options import RetryPolicy

_logger = contained_logger(__name__)

_ALIVE = frozenset({ServiceState.STARTING, ServiceState.RUNNING, ServiceState.STOPPING})

# As AsyncClient's close_timeout: half of the 30 s that process managers commonly grant.
STOP_TIMEOUT = 15.0

OnCrash = Callable[[Service, BaseException], object]


class _Ward:
    """What a group knows of a member in one life of the group.

    Attributes:
        restarts: Its starts in a row that ended in a crash; ``None`` before the first.
        timer: Set while it waits to start again.
        error: What it crashed with, where it does not start again.
    """

    def __init__(self) -> None:
        self.restarts: Restarts | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.error: BaseException | None = None


class ServiceGroup(Service):
    """Several services as one: they start in order, and stop side by side by one deadline.

    The first error while starting stops what was started, in reverse. A stop asks all members at once; a member that
    reads what another one writes orders their ends by reading until the end of its input. At the deadline, members
    that have not stopped are cut off, and a moment later those that have not ended are left, and named.

    A member that crashes costs no other. It is told to ``on_crash`` and, with ``restart``, starts again after a
    backoff. When no member runs, and none will start again, the group ends: finished, or failed as the first of its
    members that crashed.

    A group is a service, so that groups nest. While it runs, its members are in no other group that runs. One that
    starts again waits for members that it had to leave behind.

    Args:
        *services: The members, in the order they start in.
        name: What its task and its log lines are named after.
        stop_timeout: Seconds that a stop takes at most unless told otherwise.
        restart: How often and how long apart a member that crashed starts again: ``max_attempts`` starts in a row,
            the first included, and anew once it ran longer than ``max_delay``. ``None``: never.
        on_crash: Called with a member that crashed and its error, before it starts again; may ask the group to stop.

    Raises:
        ValueError: No service, one that is there twice, or a ``stop_timeout`` that is not above 0.
        TypeError: Something that is no service, no policy or no plain function.

    Attributes:
        services: The members.
        stop_timeout: As given.
    """

    def __init__(
        self,
        *services: Service,
        name: str | None = None,
        stop_timeout: float = STOP_TIMEOUT,
        restart: RetryPolicy | None = None,
        on_crash: OnCrash | None = None,
    ) -> None:
        super().__init__(name)
        _check_services(services)
        _check_options(stop_timeout, restart, on_crash)
        self.services = services
        self.stop_timeout = stop_timeout
        self._restart = restart
        self._on_crash = on_crash
        self._depth: int = max(
            (member._depth + 1 for member in services if isinstance(member, ServiceGroup)), default=0
        )
        self._begun: list[Service] = []  # members whose start began, in this life or the last
        self._wards: dict[int, _Ward] = {}  # by id(): whether services can be compared is their own affair
        self._stopping: Stopping | None = None
        self._is_starting = False
        self._report_of_members = StopReport()

    @property
    def crashed(self) -> tuple[Service, ...]:
        """Members, also those of groups within, that ended with an error; also while they wait to start again."""
        return tuple(self._crashed())

    async def stop(self, timeout: float | None = None) -> StopReport:
        """Stop all members side by side, and wait until they have, or were left; at once when there is nothing to stop.

        Args:
            timeout: Seconds on the loop clock until what has not stopped is cut off, for all members together; the
                earliest of several stops counts. ``None`` means ``stop_timeout``.

        Returns:
            What became of each member, by name; true when all stopped by themselves. It comes within 0.25 s of the
            deadline, whatever members do.

        Raises:
            RuntimeError: Called by the main task of the group or of a member, which the stop would wait for: use
                ``request_stop()``.

        Cancellation:
            Safe. The stop goes on, and so do others who wait for it.
        """
        life = self._current()
        if life is None:
            return self._last_report()
        return await self._stop(life, Deadline.after(self.stop_timeout if timeout is None else timeout))

    def request_stop(self, deadline: Deadline | None = None) -> None:
        """Begin to stop, without waiting; does nothing when there is nothing to stop.

        Args:
            deadline: By when it should have stopped; ``None``: ``stop_timeout`` from now. A later request can only
                bring it forward.
        """
        life = self._current()
        if life is not None:
            super().request_stop(deadline or Deadline.after(self.stop_timeout))
            if self._stopping is not None:
                if self._is_starting:  # what was started is being stopped in reverse
                    self._stopping.widen(self._begun)
                self._stopping.bring_forward(life.deadline)

    def cancel(self) -> None:
        """Cut off all members where they are; the group itself ends in order, and names those that do not end."""
        life = self._current()
        if life is None or life.was_cut_off:
            return
        life.was_cut_off = True
        self.request_stop(Deadline.after(0))
        if self._stopping is not None:
            self._stopping.cut_off()

    def ended(self, service: Service, life: Life) -> None:
        """See that a member has ended, and how."""
        ward = self._wards[id(service)]
        if life.error is not None and (life.has_run or ward.restarts is not None):
            if self._on_crash is not None:
                contained(f"on_crash of group {self.name}", self._on_crash, service, life.error)
            if not self._is_ending():
                self._plan_restart(service, ward, life, life.error)
        self._look()

    async def _open(self) -> None:
        self._wards = {id(member): _Ward() for member in self.services}
        self._begun = []
        self._stopping = None
        self._is_at_rest = asyncio.Event()
        self._is_starting = True
        self._adopt()
        for member in self.services:
            self._begun.append(member)
            await member.start()
        self._is_starting = False

    async def _serve(self) -> None:
        self._look()
        await self._is_at_rest.wait()
        if self._stopping is not None:
            await self._stopping.wait()
            return
        for member in self.services:
            error = self._wards[id(member)].error
            if error is not None and member.state is ServiceState.FAILED:
                if isinstance(error, asyncio.CancelledError):  # to raise it would say that this task is cancelled
                    raise RuntimeError(f"service {member.name} was cancelled by somebody else") from error
                raise error

    def _request_stop(self, deadline: Deadline) -> None:
        if self._stopping is None:
            self._stopping = Stopping(self._begun, deadline, depth=self._depth)
            self._is_at_rest.set()

    async def _close(self) -> None:
        for ward in self._wards.values():
            if ward.timer is not None:
                ward.timer.cancel()
        try:
            await self._stop_members()
        finally:
            self._report_of_members = sum((member._last_report() for member in self._begun), StopReport())
            if self._report_of_members.stragglers:
                names = ", ".join(self._report_of_members.stragglers)
                _logger.warning("group %s leaves behind what did not end when it was cut off: %s", self.name, names)
            for member in self.services:
                if member._supervisor is self:
                    member._supervisor = None

    async def _stop_members(self) -> None:
        life = self._life
        assert life is not None  # noqa: S101  # this is a step of it
        if self._is_starting and not life.stop_requested.is_set():
            end = Deadline.after(self.stop_timeout)
            waiting = self._begun
            while waiting:
                is_pressed = life.stop_requested.is_set() or end.expired  # one by one would take a moment for each
                now, waiting = (waiting, []) if is_pressed else (waiting[-1:], waiting[:-1])
                left = [member for member in now if not (is_pressed and member.was_cut_off)]
                deadline = min(end, life.deadline, key=Deadline.remaining)
                self._stopping = Stopping(left, deadline, depth=self._depth)
                await self._stopping.wait()
            return
        if self._stopping is None:
            deadline = life.deadline if life.stop_requested.is_set() else Deadline.after(self.stop_timeout)
            self._stopping = Stopping(self._begun, deadline, depth=self._depth)
            if life.was_cut_off:
                self._stopping.cut_off()
        await self._stopping.wait()

    def _adopt(self) -> None:
        """Look after the members from now on."""
        for member in self.services:
            other = member._supervisor
            if other is not None and other is not self and other.state in _ALIVE:
                raise RuntimeError(
                    f"service {member.name} is in group {other.name}, which runs; a service is in one group at a time"
                )
        for member in self.services:
            member._supervisor = self

    def _plan_restart(self, member: Service, ward: _Ward, life: Life, error: BaseException) -> None:
        if self._restart is not None:
            if ward.restarts is None:
                ward.restarts = Restarts(self._restart, random.random)
            delay = ward.restarts.crashed(life.loop.time() - life.began if life.has_run else 0.0)
            if delay is not None:
                ward.timer = life.loop.call_later(delay, self._start_again, member, ward)
                starts = (ward.restarts.crashes + 1, self._restart.max_attempts)
                _logger.warning("service %s starts again in %.1f s: start %d of %d", member.name, delay, *starts)
                return
        ward.error = error
        _logger.error("service %s of group %s does not start again", member.name, self.name)

    def _start_again(self, member: Service, ward: _Ward) -> None:
        ward.timer = None
        # Somebody else may have started it meanwhile; and while the others stop, it stays as it is.
        if member.state is ServiceState.FAILED and not self._is_ending():
            contained(f"launch() of service {member.name}", member.launch)
        self._look()

    def _look(self) -> None:
        """End when nobody works any more, and nobody will."""
        if self._is_starting or any(ward.timer is not None for ward in self._wards.values()):
            return
        if not any(member.state in _ALIVE for member in self.services):
            self._is_at_rest.set()

    def _is_ending(self) -> bool:
        return self._stopping is not None or (self._life is not None and self._life.stop_requested.is_set())

    def _runs(self, task: asyncio.Task[Any] | None) -> bool:  # Any: as in Service
        return super()._runs(task) or any(member._runs(task) for member in self.services)

    def _report(self, life: Life) -> StopReport:
        report, self._report_of_members = self._report_of_members, StopReport()
        if life.error is not None and not report.failed:
            report += StopReport(failed=(self.name,))
        return report

    def _crashed(self) -> Iterator[Service]:
        for member in self.services:
            within = member.crashed if isinstance(member, ServiceGroup) else ()
            if within:
                yield from within
            elif member.state is ServiceState.FAILED:
                yield member


def _check_services(services: tuple[Service, ...]) -> None:
    if not services:
        raise ValueError("a group needs at least one service")
    for service in services:
        if not isinstance(service, Service):
            raise TypeError(f"a group takes services one by one, and {shown(service)} is none")
    seen: set[int] = set()
    for service in _with_members(services):
        if id(service) in seen:
            raise ValueError(f"service {service.name} is in the group twice")
        seen.add(id(service))


def _with_members(services: tuple[Service, ...]) -> Iterator[Service]:
    for service in services:
        yield service
        if isinstance(service, ServiceGroup):
            yield from _with_members(service.services)


def _check_options(stop_timeout: object, restart: object, on_crash: object) -> None:
    if not isinstance(stop_timeout, int | float) or isinstance(stop_timeout, bool):
        raise TypeError(f"stop_timeout must be a number of seconds, not {shown(stop_timeout)}")
    if not 0 < stop_timeout < math.inf:
        raise ValueError(f"stop_timeout must be above 0 and finite, not {shown(stop_timeout)}")
    if restart is not None and not isinstance(restart, RetryPolicy):
        raise TypeError(f"restart must be a RetryPolicy, not {shown(restart)}")
    if on_crash is not None and (not callable(on_crash) or is_async(on_crash)):
        raise TypeError(f"on_crash must be a plain function of a service and its error, not {shown(on_crash)}")
