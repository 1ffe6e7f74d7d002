"""Endpoints in memory, each with what is needed to find its rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from eventpipe.errors import EndpointExistsError, UnknownEndpointError
from eventpipe.stores.delivery_values import DeliveryState, EndpointInfo, EndpointState, EndpointStats
from eventpipe.stores.memory_order import Ordered


class MemoryEndpoint:
    """One endpoint, and the ids of its rows by what they are looked for by.

    Attributes:
        info: As it is now.
        private: What nobody else is to see.
        due: Moments and ids of rows that are due at some time, whoever has them.
        states: Ids by state.
        claimed: Until when somebody has a row, by its id; also where that is over.
    """

    __slots__ = ("claimed", "due", "info", "private", "states")

    def __init__(self, info: EndpointInfo, private: bytes | None) -> None:
        self.info = info
        self.private = private
        self.due: Ordered[tuple[float, int]] = Ordered()
        self.states: dict[DeliveryState, Ordered[int]] = {state: Ordered() for state in DeliveryState}
        self.claimed: dict[int, float] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.info.name!r}>"  # its private bytes stay out of logs

    @property
    def has_rows(self) -> bool:
        """Whether a row is kept of it."""
        return any(self.states.values())

    def stats(self, now: float) -> EndpointStats:
        """How its rows stand."""
        first = self.due.first()
        claimed = sum(until > now for until in self.claimed.values())
        rows = {state: len(ids) for state, ids in self.states.items() if ids}
        return EndpointStats(self.info, rows, None if first is None else first[0], claimed)


class MemoryEndpoints:
    """All endpoints; takes what it is told, and never waits."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, float], MemoryEndpoint] = {}  # by name and the moment that each was made
        self._current: dict[str, MemoryEndpoint] = {}  # those that were not removed

    def __iter__(self) -> Iterator[MemoryEndpoint]:
        """By name; of the same name, the older first."""
        return (self._kept[key] for key in sorted(self._kept))

    def put(self, info: EndpointInfo, private: bytes | None, *, may_replace: bool) -> EndpointInfo:
        """See ``DeliveryStore.put_endpoint()``."""
        there = self._current.get(info.name)
        if there is None:
            while (info.name, info.created_at) in self._kept:
                info = replace(info, created_at=math.nextafter(info.created_at, math.inf))
            there = self._kept[info.name, info.created_at] = self._current[info.name] = MemoryEndpoint(info, private)
            return info
        if not may_replace:
            raise EndpointExistsError(info.name)
        old = there.info
        there.info = replace(
            info,
            created_at=old.created_at,
            state=old.state,
            state_reason=old.state_reason,
            version=old.version + 1,
        )
        there.private = private
        return there.info

    def change(self, info: EndpointInfo, private: bytes | None) -> EndpointInfo | None:
        """See ``DeliveryStore.change_endpoint()``."""
        there = self._current.get(info.name)
        if there is None or (there.info.created_at, there.info.version) != (info.created_at, info.version):
            return None
        return self.put(info, private, may_replace=True)

    def set_state(self, endpoint: MemoryEndpoint, state: EndpointState, reason: str | None) -> None:
        """Have an endpoint that was not removed be in another state."""
        info = endpoint.info
        endpoint.info = replace(info, state=state, state_reason=reason, version=info.version + 1)
        if state is EndpointState.REMOVED:
            endpoint.private = None
            del self._current[info.name]
            self.forget_if_over(endpoint)

    def infos(self, name: str | None) -> list[EndpointInfo]:
        """Those that were not removed, by name; with a name that one, if there is one."""
        names = sorted(self._current) if name is None else [name] if name in self._current else []
        return [self._current[known].info for known in names]

    def current(self, name: str) -> MemoryEndpoint:
        """The endpoint of a name that was not removed.

        Raises:
            UnknownEndpointError: There is none.
        """
        there = self._current.get(name)
        if there is None:
            raise UnknownEndpointError(name, sorted(self._current))
        return there

    def same(self, info: EndpointInfo) -> MemoryEndpoint | None:
        """That one, removed or not, if it is kept."""
        return self._kept.get((info.name, info.created_at))

    def forget_if_over(self, endpoint: MemoryEndpoint) -> None:
        """Keep it no more if it was removed and has no row."""
        if endpoint.info.state is EndpointState.REMOVED and not endpoint.has_rows:
            self._kept.pop((endpoint.info.name, endpoint.info.created_at), None)  # once for all rows of a purge
