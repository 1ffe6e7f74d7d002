"""Logs in files as commands meet them, and the commands run in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

from eventpipe.cli.main import main
from eventpipe.clock import Clock
from eventpipe.events import Event
from eventpipe.log.eventlog import EventLog
from eventpipe.log.letters import letter_of
from eventpipe.retention import Retention
from eventpipe.stores.sqlite import SqliteStore
from eventpipe.stores.values import Claims, ConsumerKey, Disposal, Disposition
from tests.cli.process import Ended

BILLING = ConsumerKey("orders", "billing")
AUDIT = ConsumerKey("orders", "audit")
STAMP = 1_769_850_300.0  # 2026-01-31T09:05:00Z, when everything was appended


class Then(Clock):
    """Shows that moment."""

    def time(self) -> float:
        return STAMP


def uuid(number: int) -> str:
    return f"01890a5d-ac96-774b-bcce-{number:012x}"


def numbered(number: int, **more: Any) -> Event:  # Any: fields of an event
    return Event("paid", f"u{number}", {"n": number}, uuid=uuid(number), **more)


async def make_log(path: Path) -> None:
    """A log as one is after a while.

    ``orders`` has ten events, and ``empty``, which keeps a thousand for an hour, none. ``billing`` has settled two,
    given up the third and the fourth, and has two in hand; ``audit`` has settled nothing and is paused.
    """
    clock = Then()
    kept = {"empty": Retention(max_events=1000, max_age=3600.0, on_full="drop_oldest")}
    async with EventLog(SqliteStore(path, shared=True, clock=clock), topics=kept, clock=clock) as log:
        await log.append_many("orders", [numbered(number) for number in range(8)])
        await log.append("orders", numbered(8, headers={"trace": "t8"}, key="k8", lane="historical"))
        await log.append("orders", Event("nobody", uuid=uuid(9)))
        await log.add_consumer("orders", "billing")
        await log.add_consumer("orders", "audit")
        await log.pause("orders", "audit")
        store = log.store
        token = await store.acquire(BILLING.lease, "test", 60.0)
        claims = await store.claim(BILLING, token, max_events=4, max_bytes=1_000_000)
        await store.settle(BILLING, token, settlement(claims))
        await store.claim(BILLING, token, max_events=2, max_bytes=1_000_000)


def settlement(claims: Claims) -> list[Disposition]:
    """The first two are settled, the others are given up."""
    given_up = [
        Disposition(
            claimed, Disposal.DEAD, 0.0, "refused", letter_of(claimed, BILLING, "refused", "no such account", STAMP)
        )
        for claimed in claims.events[2:]
    ]
    return [Disposition(claimed, Disposal.ACK) for claimed in claims.events[:2]] + given_up


class Holder:
    """A process that has a log open."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.log_holder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, verb: str, argument: object = "") -> None:
        """Have it ``share`` or ``keep`` a file, ``append`` an event to ``orders``, or ``close``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{verb} {argument}\n")
        assert self._process.stdout.readline() == "ready\n"

    def end(self) -> None:
        self._process.communicate()


class Shell:
    """Runs commands in this process."""

    def __init__(self, captured: pytest.CaptureFixture[str], folder: Path) -> None:
        self._captured = captured
        self._folder = folder

    def run(self, *words: object, stdin: bytes = b"") -> Ended:
        self._captured.readouterr()
        with standard_input(self._folder / "stdin", stdin):
            code = main([str(word) for word in words])
        shown = self._captured.readouterr()
        return Ended(code, shown.out, shown.err)

    def json(self, *words: object, stdin: bytes = b"") -> Any:  # Any: JSON
        """What a command that succeeds prints with ``--json``."""
        ended = self.run(*words, "--json", stdin=stdin)
        assert (ended.code, ended.stderr) == (0, "")
        return orjson.loads(ended.stdout)

    def lines(self, *words: object) -> list[Any]:  # Any: JSON
        """The same, of one that prints an object a line."""
        ended = self.run(*words)
        assert ended.code == 0
        return [orjson.loads(line) for line in ended.stdout.splitlines()]


@contextmanager
def standard_input(path: Path, data: bytes) -> Iterator[None]:
    path.write_bytes(data)
    before, file = os.dup(0), os.open(path, os.O_RDONLY)
    os.dup2(file, 0)
    try:
        yield
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(file)


@dataclass(frozen=True)
class Kept:
    """A log's file, and who has it open besides."""

    path: Path
    holder: Holder | None

    def __str__(self) -> str:
        return str(self.path)
