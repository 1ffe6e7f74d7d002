"""A sink that writes events to files."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Literal

from eventpipe.clock import Clock
from eventpipe.core.log import contained_logger
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.sinks.base import BaseSink, check_count, check_flag, check_seconds
from eventpipe.sinks.lines import CsvLines, Lines, NdjsonLines
from eventpipe.sinks.rotation import FileRules, PlainFile, RotatingFiles
from eventpipe.sinks.template import PathTemplate

if TYPE_CHECKING:
    from eventpipe.contracts import Where
    from eventpipe.events import Batch
    from eventpipe.outcomes import Verdict

FileFormat = Literal["ndjson", "csv"]

# Events name people, so a file is its owner's until somebody decides otherwise.
PRIVATE: Final = 0o600

_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_MISCONFIGURED: Final = frozenset(
    {
        errno.EACCES,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EPERM,
        errno.EROFS,
    }
)

_log = contained_logger(__name__)


class FileSink(BaseSink):
    """Writes events to a file, or to one file after another, one line each.

    A path without fields names one file that is added to. A path with fields, such as
    ``"events-{time:%Y%m%dT%H%M%S}-{seq}.ndjson"``, names a row of files; see ``PathTemplate``. Each is begun as
    ``<name>.part`` and renamed when it is complete: by size, by age, or in ``aclose()``. A batch is in one file, whole
    or not at all, and batches do not mix, however many are sent at once and from however many processes.

    All work on files is done in one thread of the sink's own, which starts with the first batch and ends with
    ``aclose()``. A full disk is transient (reason ``"disk_full"``), and so is a file that another program keeps locked
    for five seconds (``"locked"``); a missing folder or permission is the configuration's fault.

    Args:
        path: The file, or a template. Folders must exist.
        format: ``"ndjson"`` or ``"csv"``.
        rotate_bytes: A file is complete before it grows beyond this many bytes; a batch that is larger by itself gets
            a file of its own. ``None`` means no limit. Needs a template.
        rotate_age: A file is complete this many seconds after its first batch, also when nothing more comes. ``None``
            means no limit. Needs a template.
        fsync: Wait until each batch is on the disk, so that it survives a power loss.
        columns: CSV only: names in order; see ``CsvLines``. ``None`` means uuid, timestamp, event, distinct_id and
            properties.
        mode: Permission bits of new files, before the umask; only the owner's by default.
        where: See ``BaseSink``.
        name: See ``BaseSink``.
        clock: Times and ages of files. ``None`` means the clocks of this process.

    Raises:
        ValueError: An option is wrong; the message names it, its value and the rule.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        format: FileFormat = "ndjson",  # noqa: A002  # what files call it
        rotate_bytes: int | None = None,
        rotate_age: float | None = None,
        fsync: bool = False,
        columns: Sequence[str] | None = None,
        mode: int = PRIVATE,
        where: Where | None = None,
        name: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(where=where, name=name)
        template = PathTemplate(path)
        check_count("rotate_bytes", rotate_bytes, unit="bytes")
        check_seconds("rotate_age", rotate_age)
        _check_rotation(template, rotate_bytes=rotate_bytes, rotate_age=rotate_age)
        _check_mode(mode)
        check_flag("fsync", fsync)
        self._lines = _lines(format, columns)
        rules = FileRules(self._lines.header, rotate_bytes, rotate_age, fsync, mode)
        self._files = RotatingFiles(template, rules) if template.fields else PlainFile(template.render(0.0, 0), rules)
        self._path = template.text
        self._rotate_age = rotate_age
        self._clock = clock or Clock()
        self._thread: ThreadPoolExecutor | None = None  # one thread, so batches are written in turn
        self._process = 0  # whose thread that is
        self._timer: asyncio.TimerHandle | None = None
        self._timer_loop: asyncio.AbstractEventLoop | None = None  # where the timer, or the work it began, is under way
        self._is_written = False  # since the timer rang
        self._closing: asyncio.Future[None] | None = None

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Add ``batch`` to the current file.

        Raises:
            ClosedError: ``aclose()`` was called before.
            TransientSinkError: The disk is full, another program keeps the file locked, or reading or writing failed;
                nothing was added.
            PermanentSinkError: The file cannot be made or written, whatever the batch.

        Cancellation:
            Passes through at once. A batch that waits for its turn is not written; one that is being written is
            finished by the thread, and is in the file whole.
        """
        self._check_open()
        now, stamp = self._clock.monotonic(), self._clock.time()
        try:
            writing = self._run(lambda: self._files.write(self._lines.encode(batch.events), now, stamp))
            self._is_written = True
            if self._rotate_age is not None and self._timer_loop is not asyncio.get_running_loop():
                self._set_timer(self._rotate_age)
            await writing
        except OSError as error:
            raise self._translated(error) from error
        return None

    async def aclose(self) -> None:
        """Complete the current file, and end the thread. May come twice, and before the first send.

        A file that cannot be renamed keeps its temporary name, with one line in the log.

        Cancellation:
            The thread completes the file and ends all the same.
        """
        await super().aclose()
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._closing = self._run(self._complete)
            self._thread.shutdown(wait=False)  # what was handed to it is done first
            self._thread = None
        if self._closing is not None:
            await asyncio.shield(self._closing)

    def _run(self, work: Callable[[], None]) -> asyncio.Future[None]:
        if self._thread is None or self._process != os.getpid():
            # A forked child has neither the thread nor a claim to the file that its parent fills.
            self._files.forget()
            self._process = os.getpid()
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"eventpipe-{self.name}")
        return asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _set_timer(self, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()  # one of another loop, or one that rang
        self._timer_loop = asyncio.get_running_loop()
        self._timer = self._timer_loop.call_later(delay, self._time_is_up)

    def _time_is_up(self) -> None:
        self._is_written = False
        now = self._clock.monotonic()
        self._run(lambda: self._complete_due(now)).add_done_callback(self._wait_for_next)

    def _wait_for_next(self, _: asyncio.Future[None]) -> None:
        """Set the timer for the file that is current now, or that a batch behind us in the thread may begin."""
        self._timer_loop = None
        due_at = self._files.due_at
        if self._rotate_age is None or self.is_closed or (due_at is None and not self._is_written):
            return
        delay = 0.0 if due_at is None else due_at - self._clock.monotonic()
        self._set_timer(delay if delay > 0 else self._rotate_age)  # a file that kept its name is tried an age later

    def _complete_due(self, now: float) -> None:
        if self._files.due_at is not None and self._files.due_at <= now:
            self._complete()

    def _complete(self) -> None:
        try:
            self._files.complete()
        except OSError as error:
            _log.warning("%s: a file of %s keeps its temporary name: %s", self.name, self._path, error)

    def _translated(self, error: OSError) -> SinkError:
        text = f"{self._path}: {error.strerror or error}"
        if error.errno in _DISK_FULL:
            return TransientSinkError(text, reason="disk_full")
        if error.errno in _MISCONFIGURED:
            return PermanentSinkError(text, scope="sink")
        return TransientSinkError(text, reason="io_error")


def _lines(file_format: object, columns: Sequence[str] | None) -> Lines:
    if file_format == "csv":
        return CsvLines(columns)
    if file_format != "ndjson":
        raise ValueError(f"format must be 'ndjson' or 'csv', not {file_format!r}")
    if columns is not None:
        raise ValueError(f"columns must be None unless format is 'csv', not {columns!r}")
    return NdjsonLines()


def _check_rotation(template: PathTemplate, **limits: float | None) -> None:
    for option, limit in limits.items():
        if limit is not None and not template.fields:
            raise ValueError(
                f"{option} must be None where path has no {{seq}} or {{uuid}}, not {limit!r} with {template.text!r}"
            )


def _check_mode(mode: object) -> None:
    if isinstance(mode, bool) or not isinstance(mode, int) or not 0 <= mode <= 0o777 or mode & 0o600 != 0o600:
        shown = oct(mode) if isinstance(mode, int) else repr(mode)
        raise ValueError(f"mode must be permission bits up to 0o777 that let the owner read and write, not {shown}")
