"""What is done in one transaction of an SQLite file, for whom, and what is answered."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from enum import IntFlag
from typing import Any


class Need(IntFlag):
    """What a job needs of the transaction that it is done in; a group of jobs needs what any of them does."""

    READ = 0  # changes nothing
    CHANGES = 1  # of those below, each
    SYNCED = 2  # what it changes outlives what the file was opened for, a loss of power too where that is meant
    GROWS = 4  # it never uses the reserve of a full disk

    NOTE = CHANGES  # its change outlives the process; where that costs less, not a loss of power
    WRITE = CHANGES | SYNCED
    ADD = CHANGES | GROWS  # as NOTE
    GROW = CHANGES | SYNCED | GROWS


class Transaction:
    """What a job works with; valid until it returns.

    Attributes:
        db: The connection, inside a transaction.
        touched: Names of what was changed, for whoever waits for that; the file does not look at them.
    """

    __slots__ = ("db", "touched")

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.touched: set[str] = set()


Work = Callable[[Transaction, Any], Any]  # Any: each job has an argument and an answer of its own


class Job:
    """Calls of one function, made in one transaction; made again when the transaction that they were in is undone.

    Args:
        user: Whose it is.
        work: Called with a transaction and the argument; what it returns or raises is the answer. Where it takes many,
            one call is made for all, with a list of arguments, and returns a list of answers; an exception in the list
            is the answer of one.
        need: What it needs.
        takes_many: Whether it does.

    Attributes:
        arguments: One for each who asked.
        futures: Of each.
        answers: What it led to for each, an exception where it failed; once it was done.
    """

    __slots__ = ("answers", "arguments", "futures", "need", "takes_many", "user", "work")

    def __init__(self, user: object, work: Work, need: Need, takes_many: bool) -> None:
        self.user = user
        self.work = work
        self.need = need
        self.takes_many = takes_many
        self.arguments: list[Any] = []
        self.futures: list[asyncio.Future[Any]] = []
        self.answers: Sequence[Any] = ()

    def do(self, transaction: Transaction) -> None:
        """Make the call; there are answers when it returns."""
        if self.takes_many:
            self.answers = self.work(transaction, self.arguments)
        else:
            self.answers = [self.work(transaction, self.arguments[0])]

    def fail(self, error: Exception) -> None:
        """Answer all who asked with an error."""
        self.answers = [error] * len(self.arguments)

    def is_wanted(self) -> bool:
        """Leave out who was cancelled meanwhile; whether anybody is left."""
        if any(future.cancelled() for future in self.futures):
            kept = [pair for pair in zip(self.arguments, self.futures, strict=True) if not pair[1].cancelled()]
            self.arguments = [argument for argument, _ in kept]
            self.futures = [future for _, future in kept]
        return bool(self.futures)

    def take_over(self, other: Job) -> bool:
        """Make the calls of another as well, if one call of the function does for both."""
        if not (self.takes_many and self.work is other.work and self.user is other.user):
            return False
        self.arguments += other.arguments
        self.futures += other.futures
        return True

    def split(self) -> list[Job]:
        """The same, asked for one by one."""
        parts = []
        for argument, future in zip(self.arguments, self.futures, strict=True):
            part = Job(self.user, self.work, self.need, self.takes_many)
            part.arguments.append(argument)
            part.futures.append(future)
            parts.append(part)
        return parts


def merged(jobs: Iterable[Job]) -> list[Job]:
    """Those that anybody still wants, in their order, neighbours in one where one call does."""
    fewer: list[Job] = []
    for job in jobs:
        if job.is_wanted() and not (fewer and fewer[-1].take_over(job)):
            fewer.append(job)
    return fewer
