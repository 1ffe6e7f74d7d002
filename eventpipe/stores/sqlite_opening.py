"""Finding, making and opening an SQLite file; one that is not ours is left as it is."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from eventpipe.errors import StoreError
from eventpipe.stores.sqlite_faults import is_busy, translated
from eventpipe.stores.sqlite_reserve import Reserve

SqliteDurability = Literal["process", "power"]

OPENING_PATIENCE: Final = 0.5  # seconds: who opens the file, or ends, has it for milliseconds
SHARED_PATIENCE: Final = 10.0  # seconds for one transaction, while other processes have theirs
# A quarter of SQLite's own, so that a disk fills up by events rather than by the log of their pages.
WAL_PAGES: Final = 250
WAL_BYTES: Final = WAL_PAGES * 4096


class Scheme(NamedTuple):
    """What a file of ours holds.

    Attributes:
        what: What it is called in messages.
        application_id: The mark in its header.
        migrations: What makes version n of version n - 1, as SQL; as many as there are versions.
        recovery: What is done each time it is opened, in a transaction; takes its path, for messages.
    """

    what: str
    application_id: int
    migrations: tuple[str, ...]
    recovery: Callable[[sqlite3.Connection, str], None]


class Place(NamedTuple):
    """A file that exists.

    Attributes:
        path: Its real path.
        identity: Device and inode: the same over all names of it.
    """

    path: str
    identity: tuple[int, int]

    def check(self) -> None:
        """See that the path still leads to the file: what is written to another is nobody's to find.

        Raises:
            StoreError: It does not.
        """
        try:
            status = os.stat(self.path)  # noqa: PTH116  # before each commit, and a Path costs as much again
        except OSError:
            what = "deleted, or cannot be reached any more"
        else:
            if (status.st_dev, status.st_ino) == self.identity:
                return
            what = "replaced by another file"
        raise StoreError(
            f"{self.path} was {what} while it was open, and is not used any more; put the file back that was there, or"
            " close the store and open it anew"
        )


def find(path: str | os.PathLike[str]) -> Place:
    """The file at a path, made for this user alone if there is none.

    Raises:
        StoreError: There is none, and it cannot be made; or it is no regular file.
    """
    real = os.path.realpath(path)
    try:
        if not (Path(real).exists() or _make(real)):
            return find(path)  # made by somebody else meanwhile
        status = Path(real).stat()
    except OSError as error:
        raise StoreError(
            f"{real} cannot be opened: {error.strerror}; give this process the right to read and write the file and"
            " its folder"
        ) from error
    if stat.S_ISDIR(status.st_mode):
        raise StoreError(f"{real} is a folder; name a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"{real} is no regular file; name one, or one to be made")
    if not os.access(real, os.R_OK | os.W_OK):  # SQLite would open it nevertheless, and fail in words of its own
        raise StoreError(f"{real} cannot be written; give this process the right to write the file and its folder")
    return Place(real, (status.st_dev, status.st_ino))


def _make(path: str) -> bool:
    folder = Path(path).parent
    if not folder.is_dir():
        raise StoreError(f"the folder of {path} does not exist; make it: mkdir -m 700 {folder}")
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    except FileExistsError:
        return False
    try:
        os.fchmod(descriptor, 0o600)  # whatever the umask left of it
    finally:
        os.close(descriptor)
    return True


def connect(
    path: str, scheme: Scheme, *, is_shared: bool, durability: SqliteDurability, reserve: Reserve
) -> sqlite3.Connection:
    """Open a file and bring it to the version of ``scheme``; in a thread, which it may block for a second.

    Raises:
        StoreError: It cannot be opened, or is not ours. It was left as it is.
    """
    began = time.monotonic()
    while True:
        try:
            return _connect(path, scheme, is_shared=is_shared, durability=durability, reserve=reserve)
        except sqlite3.Error as error:
            if not is_busy(error) or time.monotonic() > began + _patience(path, is_shared=is_shared):
                raise translated(error, path) from error
        except OSError as error:  # of what lies beside it
            raise StoreError(
                f"{path} cannot be opened: {error.strerror} ({error.filename}); look at its disk"
            ) from error
        except UnicodeDecodeError as error:  # SQLite cites what it cannot read
            raise StoreError(f"{path} is damaged; restore a copy, or take out what can be read with sqlite3") from error
        # Two that open a new file at once can be in each other's way, and both let go.
        time.sleep(random.uniform(0.005, 0.05))  # noqa: S311  # no secret


def _patience(path: str, *, is_shared: bool) -> float:
    """How long to try: those who share a file take turns; who has it alone has it for long, and a write-ahead log."""
    return SHARED_PATIENCE if is_shared and not Path(f"{path}-wal").exists() else OPENING_PATIENCE


def _connect(
    path: str, scheme: Scheme, *, is_shared: bool, durability: SqliteDurability, reserve: Reserve
) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        uri=True,
        timeout=OPENING_PATIENCE if is_shared else 0.0,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    db.text_factory = _text  # a damaged row is to be read as far as it goes
    try:
        if not is_shared:
            db.execute("PRAGMA locking_mode=EXCLUSIVE")  # before the first look: no shared memory is made then
        db.execute("BEGIN")  # one look at all of it: another process may be making the file
        version = _version(db, path, scheme)
        db.execute("ROLLBACK")
        if version == 0 and reserve.exists:
            raise StoreError(
                f"{path} is empty, although {reserve.path} says that it was not: restore a copy, or delete"
                f" {reserve.path} to begin anew"
            )
        if version == 0:  # before anything else: so that a full disk can be given room again
            db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("BEGIN IMMEDIATE")  # fails where nothing can be written
        db.execute("ROLLBACK")
        _set_up(db, path, is_shared=is_shared, durability=durability)
        _migrate(db, path, scheme)
        if is_shared:
            db.execute(f"PRAGMA busy_timeout={SHARED_PATIENCE * 1000:.0f}")
    except BaseException:
        db.close()
        raise
    return db


def _text(value: bytes) -> str:
    return value.decode(errors="replace")


def _version(db: sqlite3.Connection, path: str, scheme: Scheme) -> int:
    """The version of a file, 0 of an empty one.

    Raises:
        StoreError: It is not ours, or from the future.
    """
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application_id == version == tables == 0:
        return 0
    if application_id != scheme.application_id or version < 1:
        raise StoreError(f"{path} is a database of another program, and no {scheme.what}; name another file")
    known = len(scheme.migrations)
    if version > known:
        raise StoreError(
            f"{path} is a {scheme.what} of version {version}, and this release knows versions up to {known};"
            " use the release that wrote it, or a newer one"
        )
    return int(version)


def _set_up(db: sqlite3.Connection, path: str, *, is_shared: bool, durability: SqliteDurability) -> None:
    # Two connections that write to a WAL and copy it at once can damage a file (SQLite 3.7.0 to 3.51.2): a file that
    # several processes share has a rollback journal.
    wanted = "delete" if is_shared else "wal"
    (mode,) = db.execute(f"PRAGMA journal_mode={wanted}").fetchone()
    if mode != wanted:
        raise StoreError(f"{path} cannot have a journal of mode {wanted}; put it on a local disk")
    db.execute(f"PRAGMA synchronous={synchronous(durability, is_shared=is_shared)}")
    db.execute("PRAGMA wal_autocheckpoint=0")  # SQLite would not tell of an fsync that fails then
    db.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")


def synchronous(durability: SqliteDurability, *, is_shared: bool) -> str:
    """What SQLite calls a durability; with a rollback journal a commit is the removal of a file."""
    if durability == "process":
        return "NORMAL"
    return "EXTRA" if is_shared else "FULL"


def _migrate(db: sqlite3.Connection, path: str, scheme: Scheme) -> None:
    db.execute("BEGIN IMMEDIATE")
    version = _version(db, path, scheme)  # under the lock: another process may have been at it
    for number in range(version, len(scheme.migrations)):
        for statement in _statements(scheme.migrations[number]):
            db.execute(statement)
    if version < len(scheme.migrations):
        db.execute(f"PRAGMA application_id={scheme.application_id}")
        db.execute(f"PRAGMA user_version={len(scheme.migrations)}")
    scheme.recovery(db, path)
    db.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript()`` would commit in between."""
    statement = ""
    for line in script.strip().splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
