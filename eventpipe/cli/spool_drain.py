"""``eventpipe spool drain``: the events of a spool to a far end, without the program that left them there."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
from rich.console import Console, RenderableType

from eventpipe.cli.display import say, shown
from eventpipe.cli.failures import FAILURE, UsageError, one_line
from eventpipe.cli.far_end import TrackedSink, check_reachable, make_sink
from eventpipe.cli.formats import FormatOptions
from eventpipe.cli.log_file import run
from eventpipe.cli.parse import parse_duration
from eventpipe.cli.progress import bar
from eventpipe.cli.sending import ERROR_NAME, FLUSH_TIMEOUT, HOPELESS, close, end
from eventpipe.cli.signals import Stop, stop_signals
from eventpipe.cli.spool_files import check_sink, in_database, opened, taken, told
from eventpipe.cli.spool_options import DrainOptions
from eventpipe.cli.text import count, duration
from eventpipe.client import AsyncClient
from eventpipe.errors import StoreError
from eventpipe.events import CapturedEvent
from eventpipe.outcomes import Outcome
from eventpipe.spool import looking
from eventpipe.spool.folder import Owned
from eventpipe.spool.values import Holding


@dataclass(slots=True)
class Draining:
    """One run over a spool.

    Attributes:
        sink: Whose events are sent; ``None``: all.
        total: Events in the files that were opened.
        read: Of these, events that were read.
        delivered: Of these, events that the far end has, and that are gone from the disk.
        dropped: Events that it does not want, by reason; they stay.
        damaged: Events that do not pass their checksum; they stay.
        faults: What is wrong with files.
        stopped: What ended it early.
    """

    sink: str | None
    total: int = 0
    read: int = 0
    delivered: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    damaged: int = 0
    faults: list[str] = field(default_factory=list)
    stopped: str | None = None
    _numbers: dict[str, list[int]] = field(default_factory=dict)  # of events in the client, by id
    _gone: list[int] = field(default_factory=list)  # delivered, and not deleted yet
    _halted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def left(self) -> int:
        """Events that are still on disk, as far as files could be read."""
        return self.total - self.delivered

    @property
    def is_ok(self) -> bool:
        """Whether everything was delivered."""
        return not self.left and not self.faults

    def on_delivered(self, uuids: Sequence[str]) -> None:
        """See events that the far end has."""
        self._gone += [number for uuid in uuids if (number := self._take(uuid)) is not None]

    def on_drop(self, outcome: Outcome) -> None:
        """See events that it does not have; stop where going on is hopeless."""
        self.dropped[str(outcome.reason)] += sum(self._take(uuid) is not None for uuid in outcome.uuids)
        if outcome.reason in HOPELESS:
            self.stopped = self.stopped or ERROR_NAME.sub("", outcome.error or str(outcome.reason))
            self._halted.set()

    async def run(self, files: Sequence[Owned], client: AsyncClient, stop: Stop, seconds: float) -> None:
        """Send one file after the other.

        Asked to stop, it reads no further and sends what was read before ``seconds`` are over; asked again, it gives
        up. What was not delivered is where it was.
        """
        for owned in files:
            is_empty = False
            try:
                with opened(owned) as db:
                    self.total += self._events_in(await in_database(partial(looking.holding, db, 0.0)))
                    if self.stopped is None:
                        await self._file(db, client, stop, seconds)
                    is_empty = looking.is_empty(db)
            except StoreError as error:
                self.faults.append(told(error))
            if is_empty:
                owned.remove()

    def frame(self) -> RenderableType:
        """The progress bar."""
        words = f"{count(self.delivered, 'event')} delivered"
        dropped = self.dropped.total()
        return bar("sending", self.delivered, self.total, words + (f", {count(dropped)} dropped" if dropped else ""))

    async def _file(self, db: sqlite3.Connection, client: AsyncClient, stop: Stop, seconds: float) -> None:
        work = asyncio.create_task(self._feed(db, client), name="eventpipe drain")
        ends = [asyncio.create_task(stop.wait()), asyncio.create_task(self._halted.wait())]
        try:
            await asyncio.wait({work, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.stopped = self.stopped or "interrupted"
        finally:
            await end(work, *ends)
            if work.cancelled() or work.exception() is not None:
                await close(client, stop, seconds)
            await self._let_go(db)
        if not work.cancelled():
            work.result()

    async def _feed(self, db: sqlite3.Connection, client: AsyncClient) -> None:
        after = 0
        while page := await in_database(partial(looking.see, db, after=after, sink=self.sink)):
            after = page[-1].id
            for one in page:
                self.read += 1
                if one.event is None:
                    self.damaged += 1
                else:
                    await self._capture(client, one.id, one.event)
            await self._let_go(db)
        while (await client.flush(FLUSH_TIMEOUT)).pending:
            await self._let_go(db)

    async def _capture(self, client: AsyncClient, number: int, event: CapturedEvent) -> None:
        self._numbers.setdefault(event.uuid, []).append(number)
        await client.capture(
            event.name,
            distinct_id=event.distinct_id,
            properties=event.properties,
            timestamp=event.timestamp,
            uuid=event.uuid,
            headers=event.headers or None,
            key=event.extra.key if event.extra else None,
            lane=event.lane,
        )

    async def _let_go(self, db: sqlite3.Connection) -> None:
        gone, self._gone = self._gone, []

        def let_go() -> None:  # counted in the thread: whoever waits may be cancelled meanwhile
            looking.let_go(db, gone, self.sink)
            self.delivered += len(gone)

        if gone:
            await in_database(let_go)

    def _take(self, uuid: str) -> int | None:
        """The number of an event that is settled; of several with one id the first."""
        numbers = self._numbers.get(uuid)
        if not numbers:
            return None
        number = numbers.pop(0)
        if not numbers:
            del self._numbers[uuid]
        return number

    def _events_in(self, held: Holding) -> int:
        return held.rows if self.sink is None else held.events.get(self.sink, 0)


def drain_spool(path: Path, options: DrainOptions, out: Console, err: Console) -> int:
    """Send what a spool holds, and let go of what is delivered; return the exit code: 0 only if all of it was.

    Raises:
        CommandError: The spool is in use, there is none, nobody can be sent to, or the command line is wrong.
    """
    wire = FormatOptions(options.codec, options.api_key, options.secret, options.source)
    sink = make_sink(options.to, wire, compression=options.compression, allow_insecure=options.allow_insecure)
    seconds = parse_duration("--drain", options.drain)
    with taken(path) as files:
        check_sink(files, options.sink)
        return run(_drain(files, sink, seconds, options, out, err), out)


async def _drain(
    files: Sequence[Owned], sink: TrackedSink, seconds: float, options: DrainOptions, out: Console, err: Console
) -> int:
    draining = Draining(options.sink)
    sink.on_delivered = draining.on_delivered
    try:
        client = AsyncClient(sink, overflow="wait", on_drop=draining.on_drop)
    except ValueError as error:  # from an EVENTPIPE_* variable
        raise UsageError(str(error)) from error
    started = time.monotonic()
    try:
        await check_reachable(sink.url)
        with stop_signals() as stop:
            work = draining.run(files, client, stop, seconds)
            if options.json:
                await work
            else:
                async with shown(err, draining.frame, lambda: None):
                    await work
    finally:
        await client.aclose(0)
    for line in _report(draining, options, time.monotonic() - started):
        say(out, line)
    return 0 if draining.is_ok else FAILURE


def _report(draining: Draining, options: DrainOptions, seconds: float) -> Iterator[str]:
    dropped = dict(sorted(draining.dropped.items()))
    if options.json:
        said = {
            "ok": draining.is_ok,
            "events": draining.total,
            "delivered": draining.delivered,
            "left": draining.left,
            "dropped_by_reason": dropped,
            "damaged": draining.damaged,
            "faults": draining.faults,
            "stopped": draining.stopped,
            "seconds": seconds,
        }
        yield orjson.dumps(said).decode()
        return
    of = f"{count(draining.delivered)} of {count(draining.total, 'event')}"
    yield f"{of} delivered in {duration(seconds)}, and gone from the disk"
    if draining.left:
        reasons = [f"{count(number)} {reason}" for reason, number in dropped.items()]
        if draining.damaged:
            reasons.append(f"{count(draining.damaged)} damaged")
        yield f"{count(draining.left)} left where they were" + (f": {', '.join(reasons)}" if reasons else "")
    for fault in draining.faults:
        yield one_line(fault)
    if draining.stopped is not None:
        yield f"stopped: {one_line(draining.stopped)}"
