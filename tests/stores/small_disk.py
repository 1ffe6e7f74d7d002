# ruff: noqa: PT017  # a refusal that does not come goes on, until the test has no more time
"""A store on a full disk: filled, drained and filled again; as a program, on a disk that is mounted for it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

from eventpipe.errors import StoreFullError
from eventpipe.stores import SqliteStore
from eventpipe.stores.values import ClaimedEvent, ConsumerKey, Disposal, Disposition
from eventpipe.testing import make_event
from eventpipe.testing.store_rig import MUCH

KEY = ConsumerKey("orders", "billing")


class Round(NamedTuple):
    """What happened between two times that the disk was empty; refusals in seconds, the reserve in bytes."""

    reserve: int
    accepted: int
    refusals: list[float]
    drained: int


def new_store(path: Path) -> SqliteStore:
    """One as any other, but for the time that a disk takes."""
    return SqliteStore(path, durability="process")


async def until_full(store: SqliteStore) -> tuple[int, float]:
    """How many events it took, and how long the refusal of the next ones."""
    count = 0
    while True:
        began = time.monotonic()
        try:
            await store.append("orders", [make_event(properties={"text": "x" * 300}) for _ in range(5)])
        except StoreFullError as error:
            assert error.topic == "orders"
            assert "there is no room left for" in str(error)
            return count, time.monotonic() - began
        count += 5


async def drained(store: SqliteStore) -> tuple[list[ClaimedEvent], list[int]]:
    """All that a consumer is handed, settled; and what was set aside on the way."""
    token = await store.acquire(KEY.lease, "a test", None)
    handed: list[ClaimedEvent] = []
    damaged: list[int] = []
    while True:
        claims = await store.claim(KEY, token, max_events=70, max_bytes=MUCH)
        damaged += claims.damaged
        if not claims.events:
            await store.release(KEY.lease, token)
            return handed, damaged
        handed += claims.events
        await store.settle(KEY, token, [Disposition(event, Disposal.ACK) for event in claims.events])


async def fill_and_drain(folder: Path) -> list[Round]:
    """Three rounds, each event read once."""
    store = new_store(folder / "log.db")
    await store.open()
    await store.add_consumer(KEY, "earliest")
    rounds = []
    for _ in range(3):
        reserve = (folder / "log.db-reserve").stat().st_size
        accepted, first = await until_full(store)
        more, again = await until_full(store)
        handed, _ = await drained(store)
        rounds.append(Round(reserve, accepted + more, [first, again], len(handed)))
    await store.aclose()
    return rounds


def in_a_disk_of_its_own(*command: str | Path, size: str = "1m") -> list[str | Path]:
    """A command that finds a small disk at its first argument; it is gone with the command, however that ends."""
    script = f'mount -t tmpfs -o size={size} tmpfs "$0" && exec "$@"'
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *rights, "--mount", "sh", "-c", script, *command]


if __name__ == "__main__":
    json.dump(asyncio.run(fill_and_drain(Path(sys.argv[1]))), sys.stdout)
