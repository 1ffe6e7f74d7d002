"""Files that are begun under a temporary name, filled to a size or an age, and renamed when they are complete."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eventpipe.core.log import contained_logger
from eventpipe.sinks.appending import append, create, fsync_folder

if TYPE_CHECKING:
    from eventpipe.sinks.template import PathTemplate

TEMPORARY_SUFFIX: Final = ".part"

_log = contained_logger(__name__)


@dataclass(frozen=True, slots=True)
class FileRules:
    """How files are made.

    Attributes:
        header: What each begins with.
        rotate_bytes: A file is complete before it grows beyond this; one batch may be larger. ``None``: no limit.
        rotate_age: A file is complete so many seconds after its first batch. ``None``: no limit.
        fsync: Whether a batch waits for the disk.
        mode: Permission bits of a new file, before the umask.
    """

    header: bytes
    rotate_bytes: int | None
    rotate_age: float | None
    fsync: bool
    mode: int


class PlainFile:
    """One file that batches are added to. It is opened for each, so that another program may move it away."""

    due_at: float | None = None

    def __init__(self, path: Path, rules: FileRules) -> None:
        self._path = path
        self._rules = rules

    def write(self, lines: bytes, now: float, stamp: float) -> None:
        """Add whole lines; see ``append()``."""
        append(self._path, lines, header=self._rules.header, mode=self._rules.mode, fsync=self._rules.fsync)

    def complete(self) -> None:
        """Do nothing: the file has its name."""

    def forget(self) -> None:
        """Do nothing: the file is shared with whoever else writes to it."""


@dataclass(slots=True)
class _Current:
    path: Path
    part: Path
    stamp: float
    due_at: float | None
    size: int = 0  # what was written to it; 0 until the first batch is


class RotatingFiles:
    """A row of files, each begun as ``<name>.part``. Blocking, and for one thread at a time.

    A file of that name reserves the name without it: only whoever made the one makes the other. Writers in other
    processes keep to this too, so nothing is ever written over. A crash leaves the ``.part`` file as it was; its
    whole lines are whole events.

    Args:
        template: Where the files go, with a field that makes each name a new one.
        rules: How they are made.
    """

    def __init__(self, template: PathTemplate, rules: FileRules) -> None:
        self._template = template
        self._rules = rules
        self._seq = 0
        self._current: _Current | None = None

    @property
    def due_at(self) -> float | None:
        """When the current file is complete by its age, on the clock of ``now``; ``None`` when it never is."""
        current = self._current  # read once: the thread may complete the file meanwhile
        return current.due_at if current else None

    def write(self, lines: bytes, now: float, stamp: float) -> None:
        """Add a batch, whole, to one file.

        Args:
            lines: Whole lines.
            now: Moment, on the clock that ages are measured with.
            stamp: Wall clock, seconds since the epoch.

        Raises:
            OSError: The system refused; nothing of the batch was written.
        """
        current = self._current
        if current and current.size and self._is_complete(current, len(lines), now):
            self.complete()
        current = self._current = self._current or self._begin(now, stamp)
        rules = self._rules
        current.size = append(current.part, lines, header=rules.header, mode=rules.mode, fsync=rules.fsync)
        if self._is_complete(current, 1, now):
            self._complete_now_or_later()

    def complete(self) -> None:
        """Rename the current file, or remove it when nothing was written to it.

        Raises:
            OSError: The system refused; the file stays current.
        """
        current = self._current
        if current is None:
            return
        if current.size == 0:
            current.part.unlink(missing_ok=True)
        elif not current.part.exists():
            _log.warning("%s was taken away before it was complete", current.part)
        else:
            # Taken by the last owner of its .part file while we made ours, or by a program that makes none.
            while os.path.lexists(current.path):
                path, part = self._reserve(current.stamp)
                current.part.replace(part)
                current.path, current.part = path, part
            current.part.rename(current.path)
            if self._rules.fsync:
                fsync_folder(current.path)
        self._current = None

    def forget(self) -> None:
        """Leave the current file to the process that began it."""
        self._current = None

    def _is_complete(self, current: _Current, more: int, now: float) -> bool:
        rotate_bytes = self._rules.rotate_bytes
        if rotate_bytes is not None and current.size + more > rotate_bytes:
            return True
        return current.due_at is not None and now >= current.due_at

    def _complete_now_or_later(self) -> None:
        try:
            self.complete()
        except OSError as error:  # the batch is in the file, so its send must not fail; the next one tries again
            _log.warning("%s could not be renamed yet: %s", self._current.part if self._current else "", error)

    def _begin(self, now: float, stamp: float) -> _Current:
        path, part = self._reserve(stamp)
        rotate_age = self._rules.rotate_age
        return _Current(path, part, stamp, due_at=None if rotate_age is None else now + rotate_age)

    def _reserve(self, stamp: float) -> tuple[Path, Path]:
        while True:
            self._seq += 1
            path = self._template.render(stamp, self._seq)
            part = path.with_name(path.name + TEMPORARY_SUFFIX)
            if not os.path.lexists(path) and create(part, mode=self._rules.mode):
                return path, part
