"""A disk below SQLite one operation of which fails, and in what way."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import apsw


class Failure(NamedTuple):
    """What fails, and how.

    Attributes:
        operation: ``"write"``, ``"read"``, ``"sync"``, ``"truncate"``, ``"open"`` or ``"delete"``.
        code: The result code of SQLite.
        part: Of what is to be written or read, how much is.
        lasts: Whether all operations of this kind fail from then on.
    """

    operation: str
    code: int
    part: float = 0.0
    lasts: bool = False


class FailingDisk(apsw.VFS):
    """Does what it is told, but for one operation.

    Attributes:
        done: How many operations of each kind there were.
        failed: The name of the file that was concerned. ``None``: nothing has failed.
        synced_after: Files that were synced after that.
    """

    def __init__(self, name: str, failure: Failure | None, number: int) -> None:
        self.name = name
        self.done: Counter[str] = Counter()
        self.failed: str | None = None
        self.synced_after: list[str] = []
        self._failure = failure
        self._number = number
        self._lock = threading.Lock()
        super().__init__(name, base="")

    def next_fails(self, operation: str, file: str) -> bool:
        """Count an operation; whether it is to fail."""
        with self._lock:
            self.done[operation] += 1
            failure = self._failure
            if failure is None or failure.operation != operation:
                return False
            is_it = self.done[operation] == self._number or (failure.lasts and self.done[operation] > self._number)
            if is_it and self.failed is None:
                self.failed = file
            return is_it

    def error(self) -> Exception:
        """What is raised."""
        assert self._failure is not None
        return apsw.exception_for(self._failure.code)

    @property
    def part(self) -> float:
        """How much of it is done all the same."""
        return 0.0 if self._failure is None else self._failure.part

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        if self.next_fails("open", path.name):
            raise self.error()
        return _File(name, flags, self, path.name)

    def excepthook(self, *_: object) -> bool:
        """Tell nobody but SQLite."""
        return True

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: N802
        if self.next_fails("delete", Path(name).name):
            raise self.error()
        super().xDelete(name, sync_folder)


class _File(apsw.VFSFile):
    def __init__(self, name: str | apsw.URIFilename | None, flags: list[int], disk: FailingDisk, called: str) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._called = called

    def excepthook(self, *_: object) -> bool:
        """As that of the disk."""
        return True

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._disk.next_fails("write", self._called):
            if written := data[: int(len(data) * self._disk.part)]:
                super().xWrite(written, offset)
            raise self._disk.error()
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        if self._disk.next_fails("read", self._called):
            raise self._disk.error()
        return super().xRead(amount, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        if self._disk.next_fails("truncate", self._called):
            raise self._disk.error()
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        if self._disk.failed is not None:
            self._disk.synced_after.append(self._called)
        if self._disk.next_fails("sync", self._called):
            raise self._disk.error()
        super().xSync(flags)
