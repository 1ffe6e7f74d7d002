"""Programs that deliver from one store, each forked from this one, and each with a journal that outlives it.

``python -m tests.processes.delivering`` reads what to fork from its input, as ``tests.processes.logged`` does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Final
from unittest import mock

from eventpipe.delivery import Deliveries, Endpoint, Reconciler, ReconcileReport, bookkeeping
from eventpipe.errors import StoreError
from eventpipe.stores.delivery_values import OPEN, Change, ClaimedRow, DeliveryFilter, EndpointInfo, Place
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.sqlite_deliveries import SqliteDeliveries
from tests.processes.logged import Arguments, Journal, made, main

ENDPOINT: Final = "acme"


class BookkeepingError(Exception):
    """What a store raises that no store should."""


class WatchedStore(SqliteStore):
    """A store that notes what deliveries ask of it, and does with their changes what the test wants.

    Args:
        journal: Where it notes.
        arguments: Of the program: its file, and what ``WatchedDeliveries`` reads.
    """

    def __init__(self, journal: Journal, arguments: Arguments) -> None:
        super().__init__(arguments["path"], shared=arguments["shared"], durability="process")
        self.journal = journal
        self.arguments = arguments
        self.attempts = 0

    @property
    def deliveries(self) -> WatchedDeliveries:
        return WatchedDeliveries(self)


class WatchedDeliveries(SqliteDeliveries):
    """Notes what was claimed, what was sent, and what was written.

    An attempt that is to be written waits for ``gap`` seconds before it is; the one with the number ``halts_at`` for
    ever. Those of the deliveries in ``raising`` cannot be written, with an error of the kind ``raises``.
    """

    def __init__(self, store: WatchedStore) -> None:
        super().__init__(store._opened, store._now, store._relieve)  # as the store's own are made
        self._store = store
        self._journal = store.journal
        self._arguments = store.arguments

    async def claim(
        self, endpoint: EndpointInfo, *, holder: str, cutoff: float, after: Place | None, now: float, until: float,
        limit: int,
    ) -> list[ClaimedRow]:  # fmt: skip
        claimed = await super().claim(
            endpoint, holder=holder, cutoff=cutoff, after=after, now=now, until=until, limit=limit
        )
        if claimed:
            self._note("claimed", (row.id for row, _ in claimed))
        return claimed

    async def change(self, changes: Sequence[Change]) -> list[bool]:
        store, arguments = self._store, self._arguments
        sent = [change.id for change in changes if change.attempt is not None]
        store.attempts += len(sent)
        self._note("sent", sent)
        if 0 < arguments.get("halts_at", 0) <= store.attempts:
            self._note("halts", sent)
            await asyncio.Event().wait()
        await asyncio.sleep(arguments.get("gap", 0.0))
        if not arguments.get("raising", set()).isdisjoint(sent):
            raise (StoreError if arguments["raises"] == "StoreError" else BookkeepingError)("it cannot be written")
        done = await super().change(changes)
        self._note("written", (change.id for change, was_done in zip(changes, done, strict=True) if was_done))
        self._note("refused", (change.id for change, was_done in zip(changes, done, strict=True) if not was_done))
        return done

    def _note(self, word: str, ids: Iterable[int]) -> None:
        listed = list(ids)
        if listed:
            self._journal.write((word, *listed))


@contextlib.asynccontextmanager
async def opened(journal: Journal, arguments: Arguments) -> AsyncIterator[tuple[Deliveries, Reconciler]]:
    arguments = {**arguments, "raising": set(arguments.get("raising", ()))}
    async with Deliveries(WatchedStore(journal, arguments)) as deliveries:
        options = {name: arguments[name] for name in ("workers", "interval", "claim_ttl", "lock", "timeout")}
        yield deliveries, Reconciler(deliveries, **options)


async def publish(deliveries: Deliveries, journal: Journal, arguments: Arguments) -> None:
    """Publish events, in order, two at a time, each pair once the one before is acknowledged."""
    producer, last = arguments["producer"], arguments["last"]
    for first in range(arguments["first"], last, 2):
        numbers = range(first, min(first + 2, last))
        journal.write(("begun", producer, *numbers))
        await deliveries.publish_many([made(producer, one) for one in numbers], endpoints=[ENDPOINT])
        journal.write(("acked", producer, *numbers))


# -- roles ------------------------------------------------------------------------------------------------------------


async def run(journal: Journal, arguments: Arguments) -> None:
    """A reconciler that runs, beside a producer where there is to be one, until it is ended, or nothing is left."""
    async with opened(journal, arguments) as (deliveries, reconciler), reconciler:
        journal.write(("runs",))
        if "producer" in arguments:
            await publish(deliveries, journal, arguments)
        if not arguments.get("is_last"):
            await asyncio.Event().wait()
        while await deliveries.rows(DeliveryFilter(states=OPEN), limit=1):  # noqa: ASYNC110  # others deliver, too
            await asyncio.sleep(0.02)


async def make_pass(journal: Journal, arguments: Arguments) -> None:
    """One pass, once a file says that all are ready."""
    with mock.patch.object(bookkeeping, "PAUSES", (0.01, 0.01)):
        async with opened(journal, arguments) as (_, reconciler):
            journal.write(("ready",))
            while not Path(arguments["go"]).exists():  # noqa: ASYNC110, ASYNC240  # it is another process that makes it
                await asyncio.sleep(0.001)
            note_report(journal, await reconciler.reconcile())


def note_report(journal: Journal, report: ReconcileReport) -> None:
    """The counts, then each error with its type."""
    journal.write(("report", report.claimed, report.succeeded, report.skipped, int(report.lock_held)))
    journal.write(*(("error", id_, type(error).__name__) for id_, error in report.errors))


async def lock(journal: Journal, arguments: Arguments) -> None:
    """Keep everybody else from writing, for a while."""
    with contextlib.closing(sqlite3.connect(arguments["path"], isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        journal.write(("locked",))
        time.sleep(arguments["seconds"])  # noqa: ASYNC251  # there is nothing else in this program
        db.execute("ROLLBACK")
        journal.write(("unlocked",))


if __name__ == "__main__":
    Endpoint(ENDPOINT, "http://127.0.0.1/", allow_private=True)  # imports whatever sends, once for all children
    main({"run": run, "pass": make_pass, "lock": lock})
