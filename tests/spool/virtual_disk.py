"""A disk below SQLite that remembers what it was told, so that the power can be cut at any moment of it, and often.

What a cut leaves: of each file what was there when it was last synced, and of every write since each sector or not, in
any order, as a disk with a cache does; of each change of its length the same. A file that was made is there after a cut
only for certain when its folder was synced since, which SQLite does with the first sync of a journal or a log that it
made. A file that was deleted may be there again.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import apsw

SECTOR = 512


@dataclass(frozen=True, slots=True)
class Operation:
    """What the disk was told.

    Attributes:
        kind: ``"write"``, ``"truncate"``, ``"sync"``, ``"make"``, ``"delete"``, ``"sync folder"``, or ``"mark"``.
        file: The name of a file.
        at: Where it was written, or how long the file was made.
        data: What was written.
        mark: What a test remembers of this moment.
    """

    kind: str
    file: str = ""
    at: int = 0
    data: bytes = b""
    mark: object = None


class Disk(apsw.VFS):
    """Does what it is told, and remembers it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.operations: list[Operation] = []
        self.is_new: set[str] = set()  # logs whose first sync takes the folder with it
        self._lock = threading.Lock()
        super().__init__(name, base="")

    def note(self, operation: Operation) -> None:
        """Remember; from any thread."""
        with self._lock:
            self.operations.append(operation)

    def mark(self, mark: object) -> None:
        """Remember that something is so from this moment on."""
        self.note(Operation("mark", mark=mark))

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        is_made = not path.exists() and bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        file = _File(name, flags, self, path.name)
        is_log = bool(flags[0] & (apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL))
        if is_made:
            self.note(Operation("make", path.name))
            if is_log:
                self.is_new.add(path.name)
        return file

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        super().xDelete(name, sync_folder)
        self.note(Operation("delete", Path(name).name))
        if sync_folder:
            self.note(Operation("sync folder"))


class _File(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: Disk, called: str) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._called = called

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._disk.note(Operation("write", self._called, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        self._disk.note(Operation("truncate", self._called, size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        super().xSync(flags)
        self._disk.note(Operation("sync", self._called))
        if self._called in self._disk.is_new:
            self._disk.is_new.discard(self._called)
            self._disk.note(Operation("sync folder"))


@dataclass
class _Content:
    synced: bytes = b""
    since: list[Operation] = field(default_factory=list)

    def now(self) -> bytes:
        return _applied(self.synced, self.since)

    def after_cut(self, chance: random.Random) -> bytes:
        """What is left; most often some of all, at times all or nothing."""
        kept = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        return _applied(self.synced, [part for one in self.since for part in _sectors(one) if chance.random() < kept])


def _sectors(operation: Operation) -> list[Operation]:
    if operation.kind != "write":
        return [operation]
    parts, at, data = [], operation.at, operation.data
    while data:
        size = SECTOR - at % SECTOR
        parts.append(Operation("write", operation.file, at, data[:size]))
        at, data = at + size, data[size:]
    return parts


def _applied(content: bytes, operations: list[Operation]) -> bytes:
    found = bytearray(content)
    for one in operations:
        if one.kind == "truncate":
            del found[one.at :]
            found.extend(bytes(one.at - len(found)))
        else:
            found.extend(bytes(max(one.at + len(one.data) - len(found), 0)))
            found[one.at : one.at + len(one.data)] = one.data
    return bytes(found)


class Platter:
    """What is on the disk while what it was told is done again, one operation after the other."""

    def __init__(self, made: list[str], left: Mapping[str, bytes] | None = None) -> None:
        """Begin with what an earlier cut left, and empty files of these names, which are there after a cut or not."""
        self._entries = {name: _Content(content) for name, content in (left or {}).items()}  # as it was last synced
        self._there = self._entries | {name: _Content() for name in made}

    def do(self, operation: Operation) -> None:
        """Do the next."""
        match operation.kind:
            case "write" | "truncate":
                self._there[operation.file].since.append(operation)
            case "sync":
                content = self._there[operation.file]
                content.synced, content.since = content.now(), []
            case "make":
                self._there[operation.file] = _Content()
            case "delete":
                self._there.pop(operation.file, None)
            case "sync folder":
                self._entries = dict(self._there)

    def cut(self, folder: Path, chance: random.Random) -> None:
        """Write what a loss of power at this moment leaves."""
        for name in sorted({*self._there, *self._entries}):
            now, synced = self._there.get(name), self._entries.get(name)
            content = now if now is synced else chance.choice([now, synced])
            if content is not None:
                (folder / name).write_bytes(content.after_cut(chance))
                (folder / name).chmod(0o600)
