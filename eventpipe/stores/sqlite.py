"""A store in one SQLite file: of one process, or shared by several."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from collections.abc import Sequence, Set
from typing import Any, Final

from eventpipe.checked import is_number, shown
from eventpipe.clock import Clock
from eventpipe.core.gate import Gate
from eventpipe.errors import ClosedError, StoreFullError
from eventpipe.events import CapturedEvent
from eventpipe.retention import Retention
from eventpipe.stores import sqlite_claims, sqlite_consumers, sqlite_leases, sqlite_reading, sqlite_topics
from eventpipe.stores.names import check_name
from eventpipe.stores.sqlite_deliveries import SqliteDeliveries
from eventpipe.stores.sqlite_faults import NoRoomError
from eventpipe.stores.sqlite_jobs import Need, Work
from eventpipe.stores.sqlite_opening import SqliteDurability
from eventpipe.stores.sqlite_port import Port, open_port
from eventpipe.stores.sqlite_room import MIN_TRIM_STEP, TRIM_STEP, Ids, relieve
from eventpipe.stores.sqlite_schema import SCHEME
from eventpipe.stores.values import (
    Acks,
    ClaimedEvent,
    Claims,
    ConsumerInfo,
    ConsumerKey,
    Damage,
    Disposal,
    Disposition,
    Start,
    StoredEvent,
    TopicInfo,
)

_DURABILITIES: Final = ("process", "power")
# Seconds that an append looks for room on a full disk, so that it is refused within 50 ms where other programs take it.
_RELIEF_TIME: Final = 0.03


class SqliteStore:
    """Keeps topics, consumers and leases in an SQLite file; offsets are dense, from 0 on.

    By default the file belongs to one process, which nobody else can open meanwhile; any number of stores and event
    loops of this process may use it. Nothing is polled, and an idle store costs nothing. With ``shared=True``, to be
    given in every process that uses the file, they take turns.

    Events are kept until every consumer has settled them; ``EventLog.declare()`` sets bounds. Each has a checksum, and
    one that does not pass is set aside and never handed out. When the disk is full, appends fail with
    ``StoreFullError`` while consumers go on, until they have settled some of what is kept: a file of 128 KiB beside the
    database is given up for them.

    Args:
        path: The file; made, for this user alone, if there is none. Its folder has to exist.
        shared: Whether other processes use the file as well.
        durability: What an append and a settlement survive when they return: ``"process"``, that this process is
            killed; ``"power"``, a loss of power as well.
        dedupe_window: Seconds in which an event that is appended again is known by its id, also when all have settled
            it; 0: only while it is kept.
        poll: Seconds between two looks for what other processes did, while somebody waits; for shared files.
        clock: What tells the time; ``None``: the clocks of this process.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        shared: bool = False,
        durability: SqliteDurability = "power",
        dedupe_window: float = 120.0,
        poll: float = 0.05,
        clock: Clock | None = None,
    ) -> None:
        if durability not in _DURABILITIES:
            raise ValueError(
                f"durability must be one of {', '.join(map(repr, _DURABILITIES))}, not {shown(durability)}"
            )
        if not is_number(dedupe_window) or dedupe_window < 0:
            raise ValueError(
                f"dedupe_window must be a finite number of seconds, at least 0, not {shown(dedupe_window)}"
            )
        if not is_number(poll) or poll <= 0:
            raise ValueError(f"poll must be a finite number of seconds, above 0, not {shown(poll)}")
        self.name: str = f"sqlite {os.fspath(path)}"
        self.is_shared: bool = bool(shared)
        self._path = os.fspath(path)
        self._durability: SqliteDurability = durability
        self._window = float(dedupe_window)
        self._poll = float(poll)
        self._now = (clock or Clock()).time
        self._port: Port | None = None
        self._gates: dict[str, Gate] = {}  # by subject: a topic, or the name of a lease
        self._topics: set[str] = set()  # names that were checked
        self._leases: dict[str, int] = {}  # tokens of those that were taken here, by name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._path!r}>"

    def __del__(self) -> None:
        port = getattr(self, "_port", None)  # there is none where the constructor refused
        if port is not None and port.close_soon(sqlite_leases.release_all, list(self._leases.items())):
            warnings.warn(f"{self!r} was not closed; await its aclose()", ResourceWarning, source=self, stacklevel=2)

    @property
    def deliveries(self) -> SqliteDeliveries:
        """What keeps deliveries, in the same file; see ``DeliveringStore``."""
        return SqliteDeliveries(self._opened, self._now, self._relieve)  # not kept: each would keep the other alive

    async def open(self) -> None:
        """See ``Store``.

        Cancellation:
            Safe; it is not open then.
        """
        if self._port is not None and not self._port.is_closed:
            raise RuntimeError(
                f"store {self.name} is open already; each log needs a store of its own, or aclose() it first"
            )
        self._gates.clear()
        self._port = await open_port(
            self._path,
            SCHEME,
            is_shared=self.is_shared,
            durability=self._durability,
            poll=self._poll,
            changed=self._changed,
        )

    async def aclose(self) -> None:
        """See ``Store``; the leases that were taken here are given back: nobody could renew them.

        Two at once wait for the same end.

        Cancellation:
            It goes on in a thread; another call waits for that.
        """
        for gate in self._gates.values():
            gate.close(f"store {self.name} was closed")
        port = self._port
        if port is not None:
            held, self._leases = list(self._leases.items()), {}
            await port.aclose(sqlite_leases.release_all, held)
            if self._port is port:  # and not opened anew meanwhile
                self._port = None

    def version(self, subject: str) -> int:
        """See ``Store``."""
        return self._gate(subject).version

    async def wait(self, subject: str, seen: int) -> None:
        """See ``Store``."""
        port = self._opened()
        port.check()
        if not self.is_shared:
            await self._gate(subject).wait(seen)
            return
        with port.watching():
            await self._gate(subject).wait(seen)

    async def append(self, topic: str, events: Sequence[CapturedEvent], *, is_replay: bool = False) -> list[int]:
        """See ``TopicStore``."""
        if topic not in self._topics:
            check_name("topic", topic)
            self._topics.add(topic)
        call = (topic, events, is_replay, self._now(), self._window)
        port, until = self._opened(), None
        while True:
            try:
                offsets: list[int] = await port.submit(sqlite_topics.append, call, Need.GROW, takes_many=True)
                return offsets
            except NoRoomError as error:
                until = await self._relieve(topic, error, until)

    async def read(self, topic: str, start: int, *, max_events: int, max_bytes: int) -> list[StoredEvent]:
        """See ``TopicStore``."""
        found: list[StoredEvent] = await self._run(
            sqlite_reading.read, (topic, start, max_events, max_bytes, self._shift()), Need.READ
        )
        return found

    async def offset_at(self, topic: str, stamp: float) -> int:
        """See ``TopicStore``."""
        offset: int = await self._run(sqlite_topics.offset_at, (topic, stamp), Need.READ)
        return offset

    async def declare(self, topic: str, retention: Retention) -> None:
        """See ``TopicStore``."""
        check_name("topic", topic)
        await self._run(sqlite_topics.declare, (topic, retention))

    async def topics(self, name: str | None = None) -> list[TopicInfo]:
        """See ``TopicStore``."""
        found: list[TopicInfo] = await self._run(sqlite_topics.topics, name, Need.READ)
        return found

    async def trim(self, topic: str, before: int | None = None) -> int:
        """See ``TopicStore``.

        Cancellation:
            What is trimmed is trimmed; the rest stays.
        """
        total, step = 0, TRIM_STEP
        while True:
            ids = Ids(self._now(), self._window)
            try:
                count: int = await self._run(sqlite_topics.trim, (topic, before, step, ids))
            except NoRoomError:
                if step <= MIN_TRIM_STEP:
                    raise
                step = max(step // 4, MIN_TRIM_STEP)
                continue
            total += count
            if count < step:
                return total

    async def verify(self, topic: str | None = None) -> list[Damage]:
        """See ``TopicStore``; what was set aside before is listed as well.

        Cancellation:
            What was found is set aside.
        """
        names = [topic] if topic is not None else [info.name for info in await self.topics()]
        for name in names:
            start: int | None = 0
            while start is not None:
                start = await self._run(sqlite_reading.verify, (name, start))
        found: list[Damage] = await self._run(sqlite_reading.damages, topic, Need.READ)
        return found

    async def add_consumer(self, key: ConsumerKey, start: Start) -> ConsumerInfo:
        """See ``ConsumerStore``."""
        check_name("consumer", key.name)
        check_name("topic", key.topic)
        info: ConsumerInfo = await self._run(sqlite_consumers.add, (key, start, self._now()))
        return info

    async def remove_consumer(self, key: ConsumerKey) -> None:
        """See ``ConsumerStore``; the lease of the consumer is lost to whoever has it."""
        await self._run(sqlite_consumers.remove, key)

    async def consumers(self, topic: str | None = None) -> list[ConsumerInfo]:
        """See ``ConsumerStore``."""
        found: list[ConsumerInfo] = await self._run(sqlite_consumers.consumers, (topic, self._now()), Need.READ)
        return found

    async def claim(
        self, key: ConsumerKey, token: int | None, *, max_events: int, max_bytes: int, ttl: float | None = None
    ) -> Claims:
        """See ``ConsumerStore``."""
        if token is None and ttl is None:
            raise ValueError(f"a competing claim of consumer {key} needs ttl, the seconds that it holds an event")
        ask = sqlite_claims.Ask(key, token, max_events, max_bytes, ttl, self._now(), self._shift())
        # What a loss of power takes from a claim are events that nobody has any more.
        claims: Claims = await self._run(sqlite_claims.claim, ask, Need.NOTE)
        return claims

    async def settle(self, key: ConsumerKey, token: int | None, dispositions: Sequence[Disposition]) -> None:
        """See ``ConsumerStore``."""
        settlement = sqlite_claims.Settlement(key, token, dispositions, Ids(self._now(), self._window))
        has_letters = not isinstance(dispositions, Acks) and any(one.disposal is Disposal.DEAD for one in dispositions)
        port, until = self._opened(), None
        while True:
            try:
                await port.submit(sqlite_claims.settle, settlement, Need.GROW if has_letters else Need.WRITE)
                return
            except NoRoomError as error:
                until = await self._relieve(key.topic, error, until)

    async def extend(self, key: ConsumerKey, claimed: Sequence[ClaimedEvent], ttl: float) -> None:
        """See ``ConsumerStore``."""
        await self._run(sqlite_claims.extend, (key, claimed, self._now() + ttl), Need.NOTE)

    async def seek(self, key: ConsumerKey, offset: int) -> None:
        """See ``ConsumerStore``."""
        await self._run(sqlite_consumers.seek, (key, offset))

    async def pause(self, key: ConsumerKey, is_paused: bool) -> None:
        """See ``ConsumerStore``."""
        await self._run(sqlite_consumers.pause, (key, is_paused))

    async def acquire(self, name: str, holder: str, ttl: float | None) -> int:
        """See ``LeaseStore``.

        Raises:
            ValueError: ``ttl`` is ``None``, and the file is shared.
        """
        self._opened()
        if ttl is None and self.is_shared:
            raise ValueError(
                f"the lease {name!r} of a shared store needs ttl: a process that died would hold it for ever"
            )
        token: int = await self._run(sqlite_leases.acquire, sqlite_leases.Hold(name, 0, holder, ttl, self._now()))
        self._leases[name] = token
        return token

    async def renew(self, name: str, token: int, ttl: float | None) -> None:
        """See ``LeaseStore``."""
        await self._run(sqlite_leases.renew, sqlite_leases.Hold(name, token, "", ttl, self._now()), Need.NOTE)

    async def release(self, name: str, token: int) -> None:
        """See ``LeaseStore``; a no-op when the store is closed."""
        if self._port is not None and not self._port.is_closed:
            await self._run(sqlite_leases.release, (name, token))
            if self._leases.get(name) == token:
                del self._leases[name]

    def _opened(self) -> Port:
        if self._port is None or self._port.is_closed:
            raise ClosedError(f"store {self.name} is not open; an EventLog opens it when it starts")
        return self._port

    async def _run(self, work: Work, argument: Any, need: Need = Need.WRITE) -> Any:  # Any: as in Job
        return await self._opened().submit(work, argument, need)

    async def _relieve(self, topic: str, error: NoRoomError, until: float | None) -> float:
        """On a full disk, have what can be done without go for what grows, which is tried again then.

        Args:
            topic: Which grows.
            error: That says it is full.
            until: When it is given up, as this returned it; ``None``: it was not tried again yet.

        Raises:
            StoreFullError: There is no room.
        """
        now = asyncio.get_running_loop().time()
        until = now + _RELIEF_TIME if until is None else until
        is_relieved = False
        if now < until:
            ids = Ids(self._now(), self._window)
            with contextlib.suppress(NoRoomError):
                is_relieved = await self._opened().submit(relieve, ids, takes_many=True)
        if not is_relieved:
            raise StoreFullError(str(error), topic=topic) from error
        return until

    def _gate(self, subject: str) -> Gate:
        gate = self._gates.get(subject)
        if gate is None:
            gate = self._gates[subject] = Gate()
        return gate

    def _changed(self, subjects: Set[str] | None) -> None:
        """Move the gates of what a commit changed; all of them when another process did, which says not what."""
        if subjects is None:
            for gate in list(self._gates.values()):
                gate.move()
            return
        for subject in subjects:
            self._gate(subject).move()

    def _shift(self) -> float:
        """What makes a moment on the loop clock of a stamp."""
        return asyncio.get_running_loop().time() - self._now()
