"""An SQLite file of this process: one thread and one connection for everybody who uses it, and a commit for a group.

It knows nothing of what is kept in the file. Its users hand it jobs, which are plain functions of a transaction; those
that come while the last commit runs are done in one transaction, and their answers come back to each event loop at
once.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from eventpipe.errors import StoreError
from eventpipe.stores.sqlite_connection import SqliteConnection
from eventpipe.stores.sqlite_jobs import Job, merged
from eventpipe.stores.sqlite_opening import Place, Scheme, SqliteDurability, find


class User(Protocol):
    """Who uses a file, from one event loop.

    Attributes:
        is_called: Whether the thread is to look into the queue for it, and has not yet.
    """

    is_called: bool

    @property
    def is_forsaken(self) -> bool:
        """Whether its event loop was closed, so that nobody can use it any more."""

    def hand_over(self, jobs: Sequence[Job], touched: Set[str] | None) -> None:
        """Take jobs that were done, and what was changed, from the thread; ``None``: who knows, by another process."""

    def watch(self) -> None:
        """Look for foreign changes, where it waits for them and is the first who does."""

    def post(self, call: Callable[[], None]) -> bool:
        """Have its event loop make a call; whether there is one yet."""


UserT = TypeVar("UserT", bound=User)


class SqliteFile:
    """What all users of one file in this process share. Made by the first of them, closed with the last.

    Attributes:
        place: Where it is.
        thread: Its thread. An executor's, because the interpreter ends those that were never closed.
        busy: Held by whoever uses the connection, which is the thread but when the interpreter is ending.
        connection: Its connection.
        queue: Jobs to be done.
        users: Who uses it.
        watchers: Users that want to know of foreign changes; the first of them looks for all.
        is_inherited: Whether this is a forked child, and the file its parent's.
    """

    def __init__(
        self, place: Place, thread: ThreadPoolExecutor, scheme: Scheme, *, is_shared: bool, durability: SqliteDurability
    ) -> None:
        self.place = place
        self.thread = thread
        self.options = (scheme, is_shared, durability)
        self.busy = threading.Lock()
        self.connection = SqliteConnection(place.path, scheme, is_shared=is_shared, durability=durability)
        self.queue: deque[Job] = deque()
        self.users: list[User] = []
        self.watchers: list[User] = []
        self.is_inherited = False

    def work_off(self, caller: User) -> None:
        """Do all jobs that are there, and hand them to those whose they are; all are told what was changed."""
        with self.busy:
            caller.is_called = False  # before the queue is read: what comes after has to call again
            taken: list[Job] = []
            while self.queue:
                taken.append(self.queue.popleft())
            jobs = merged(taken)
            if not jobs:
                return
            touched: Set[str] = frozenset()
            try:
                self.place.check()
                touched = self.connection.run(jobs)
            except Exception as error:  # noqa: BLE001  # nobody is left without an answer
                for job in jobs:
                    job.fail(error)
        for user in list(self.users):
            own = [job for job in jobs if job.user is user]
            if own or touched:
                user.hand_over(own, touched)
        with self.busy:
            self.connection.tidy()

    def look(self) -> None:
        """See whether another process changed something, and tell everybody."""
        with self.busy:
            is_changed = self.connection.has_foreign_change()
        if is_changed:
            for user in list(self.users):
                user.hand_over([], None)

    def add_watcher(self, user: User) -> None:
        """Have somebody told of foreign changes, after those who are told already."""
        self.watchers[:] = [other for other in self.watchers if not other.is_forsaken]
        self.watchers.append(user)
        user.watch()

    def remove_watcher(self, user: User) -> None:
        """Tell somebody no more; the next one looks now."""
        was_first = self.watchers[:1] == [user]
        if user in self.watchers:
            self.watchers.remove(user)
        while was_first and self.watchers and not self.watchers[0].post(self.watchers[0].watch):
            del self.watchers[0]  # its loop was closed


# One file is open once, whatever it is called. Held while one is opened or closed, by threads that may wait.
_lock = threading.Lock()
_files: dict[tuple[int, int], SqliteFile] = {}
_kept_still: list[SqliteFile] = []  # by a fork that is under way, which has the lock


def enter(
    path: str | os.PathLike[str],
    scheme: Scheme,
    thread: ThreadPoolExecutor,
    make: Callable[[SqliteFile], UserT],
    *,
    is_shared: bool,
    durability: SqliteDurability,
) -> UserT:
    """Open a file, or join those who have it open; in ``thread``, which becomes that of a file that is opened.

    Raises:
        StoreError: It cannot be opened, or is open in another way. It was left as it is.
    """
    is_used = False
    try:
        with _lock:
            place = find(path)
            file = _files.get(place.identity)
            if file is None:
                file = SqliteFile(place, thread, scheme, is_shared=is_shared, durability=durability)
                _files[place.identity] = file
                is_used = True
            elif file.options != (scheme, is_shared, durability):
                _, was_shared, was = file.options
                raise StoreError(
                    f"{place.path} is open in this process with shared={was_shared} and durability={was!r}, and cannot"
                    f" be opened with shared={is_shared} and durability={durability!r} beside that; give all stores of"
                    " a file the same options"
                )
            user = make(file)
            file.users.append(user)
            return user
    finally:
        if not is_used:
            thread.shutdown(wait=False)


def leave(file: SqliteFile, user: User) -> None:
    """Let go of a file, after all that was asked of it; with the last one it is closed."""
    with _lock:
        file.users[:] = [other for other in file.users if other is not user and not other.is_forsaken]
        if not file.users and _files.get(file.place.identity) is file:
            del _files[file.place.identity]
            file.thread.shutdown(wait=False)
            with file.busy:
                file.connection.close()


def _keep_still() -> None:
    """Before a fork, wait until no thread is in SQLite, whose locks a child would inherit and nobody would open."""
    _lock.acquire()
    _kept_still.extend(_files.values())
    for file in _kept_still:
        file.busy.acquire()


def _go_on() -> None:
    for file in _kept_still:
        file.busy.release()
    _kept_still.clear()
    _lock.release()


def _leave_to_parent() -> None:
    """In a forked child, keep the hands off what is the parent's.

    A connection that is collected is closed, which would take its parent's locks for its own, and delete the parent's
    write-ahead log. So it is never collected.
    """
    for file in _files.values():
        file.is_inherited = True
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(file.connection.db))
    _files.clear()
    _go_on()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_keep_still, after_in_parent=_go_on, after_in_child=_leave_to_parent)
