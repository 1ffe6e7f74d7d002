"""The life of a log: its store is open while it runs, and what is settled is trimmed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from eventpipe.checked import shown, suggestion
from eventpipe.clock import Clock
from eventpipe.core.deadline import Deadline
from eventpipe.core.group import STOP_TIMEOUT
from eventpipe.core.service import Service, ServiceState
from eventpipe.errors import ClosedError, StoreError
from eventpipe.log.appending import Appending
from eventpipe.log.holders import Holders
from eventpipe.log.trimming import Trimming
from eventpipe.retention import Retention
from eventpipe.stores.base import Store
from eventpipe.stores.names import check_name
from eventpipe.stores.values import TopicInfo

# What is kept, of the time that a stop has, for giving back what was cut off and for the last commit; of a short one, a
# tenth. As a pipeline does.
_CLOSE_TIME: Final = 0.5
_CLOSE_SHARE: Final = 0.1


class RunningLog(Service):
    """A service that opens a store, declares its topics, trims it now and then, and closes it.

    Before it is closed, whoever still holds a consumer gives back what was not begun with. What runs has until the
    deadline of the stop, and 15 s at most.

    Attributes:
        store: Where everything is kept.
        clock: What tells the time.
        holders: Who holds consumers of it in this process.
    """

    def __init__(
        self,
        store: Store,
        *,
        topics: Mapping[str, Retention] | None,
        trim_interval: float,
        clock: Clock | None,
        name: str,
    ) -> None:
        super().__init__(name)
        self.store = store
        self.clock = clock or Clock()
        self.holders = Holders()
        self._declared = dict(topics or {})
        for topic, retention in self._declared.items():
            check_retention(check_name("topic", topic), retention)
        self._trim_interval = _checked_interval(trim_interval)
        self._appending = Appending(store)
        self._trimming = Trimming(store, self.clock, name)
        self._usable: set[str] = set()  # names of topics that were found good; empty unless the log runs

    def settled(self) -> None:
        """Say that a consumer settled or moved, so that there may be something to trim; called by consumers."""
        if self._trimming.is_quiet:
            self._trimming.touch()

    def _check_running(self) -> None:
        state = self.state
        if state is not ServiceState.RUNNING:
            if state in (ServiceState.IDLE, ServiceState.STARTING):
                raise ClosedError(f"log {self.name} has not started; use `async with log:`, or await log.start()")
            raise ClosedError(f"log {self.name} is {state}; await log.start() opens it again")

    def _check_topic(self, topic: str) -> None:
        """Refuse what cannot be used as a topic, now or ever; not asked again for a name in ``_usable``."""
        self._check_running()
        self._usable.add(check_name("topic", topic))

    async def _find_topic(self, name: str) -> TopicInfo | None:
        return next(iter(await self.store.topics(name)), None)

    async def _open(self) -> None:
        await self.store.open()
        self._appending = Appending(self.store)
        self._trimming = Trimming(self.store, self.clock, self.name)
        for topic, retention in self._declared.items():
            await self.store.declare(topic, retention)

    async def _serve(self) -> None:
        await self._trim_on()
        await self.holders.aclose()  # what they have in hand is given back while there is somebody to take it

    async def _trim_on(self) -> None:
        idle: float | None = 0.0  # seconds to the next pass, beside the interval; an earlier life may have left work
        while True:
            await self._trimming.wanted(idle)
            if await self._wait_for_stop(self._trim_interval):
                return
            due = await self._trimming.make_pass()
            idle = None if due is None else max(0.0, due - self._trim_interval)

    def _request_stop(self, deadline: Deadline) -> None:
        self._usable.clear()
        self._trimming.touch()  # its wait ends, and the stop is seen
        left = min(deadline.remaining(), STOP_TIMEOUT)
        self.holders.limit(Deadline.after(left - min(_CLOSE_TIME, left * _CLOSE_SHARE)))

    async def _close(self) -> None:
        self._usable.clear()
        try:
            self.holders.limit(Deadline.after(0))
            await self.holders.aclose()  # who came too late, or all, where this was cut off or has failed
        finally:
            await self.store.aclose()


def check_retention(topic: str, retention: object) -> None:
    """Refuse what does not say how much a topic keeps.

    Raises:
        TypeError: It is no ``Retention``.
    """
    if not isinstance(retention, Retention):
        raise TypeError(
            f"topic {topic!r} is declared with a Retention, such as Retention(max_events=1000), not {shown(retention)}"
        )


def no_topic(name: str, known: list[str]) -> StoreError:
    """What is raised where a topic must exist."""
    return StoreError(f"there is no topic {name!r}; append() and declare() make one{suggestion(name, known)}")


def _checked_interval(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError(f"trim_interval must be a finite number of seconds above 0, not {shown(value)}")
    return value
