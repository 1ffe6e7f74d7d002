"""What is done in one transaction of an SQLite file, for whom, and what is answered."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any


class Need(IntEnum):
    """What a job needs of the transaction that it is done in; a group of jobs needs the most of theirs."""

    READ = 0  # changes nothing
    NOTE = 1  # its change outlives the process; where that costs less, not a loss of power
    WRITE = 2  # its change outlives what the file was opened for; it may use the reserve of a full disk
    GROW = 3  # as WRITE, and never uses the reserve


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
    """One call of ``work``, which may be made again when the transaction that it was in is undone.

    Attributes:
        work: Called with a transaction and the argument; what it returns or raises is the answer.
        argument: The argument.
        need: What it needs.
        is_merged: Whether neighbours with the same ``work`` are done by one call, with a list of arguments, that
            returns a list of answers. An exception in the list is the answer of one.
        answer: What it led to, an exception where it failed.
    """

    __slots__ = ("answer", "argument", "is_merged", "need", "work")

    def __init__(self, work: Work, argument: Any, need: Need, is_merged: bool = False) -> None:
        self.work = work
        self.argument = argument
        self.need = need
        self.is_merged = is_merged
        self.answer: Any = None


class Step:
    """Neighbouring jobs that are done by one call."""

    __slots__ = ("jobs", "need")

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.need = jobs[0].need

    def do(self, transaction: Transaction) -> None:
        """Make the call; the jobs have their answers when it returns."""
        first = self.jobs[0]
        if not first.is_merged:
            first.answer = first.work(transaction, first.argument)
            return
        answers = first.work(transaction, [job.argument for job in self.jobs])
        for job, answer in zip(self.jobs, answers, strict=True):
            job.answer = answer

    def fail(self, error: Exception) -> None:
        """Answer all of them with an error."""
        for job in self.jobs:
            job.answer = error

    def split(self) -> Iterator[Step]:
        """Each job by itself."""
        return (Step([job]) for job in self.jobs)


def steps_of(jobs: Iterable[Job]) -> Sequence[Step]:
    """The jobs in their order, neighbours together where one call does them."""
    steps: list[Step] = []
    for job in jobs:
        if steps and job.is_merged and steps[-1].jobs[0].work is job.work:
            steps[-1].jobs.append(job)
        else:
            steps.append(Step([job]))
    return steps
