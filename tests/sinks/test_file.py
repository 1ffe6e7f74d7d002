"""``FileSink``: what it refuses, what its errors say, and what it does with time, threads and forks."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from pathlib import Path
from typing import Any

import orjson
import pytest

from eventpipe.clock import Clock
from eventpipe.errors import PermanentSinkError, TransientSinkError
from eventpipe.sinks import FileSink, appending
from eventpipe.testing.events import make_batch, make_event

pytestmark = pytest.mark.asyncio


class FixedClock(Clock):
    """A wall clock that stands at 2026-01-02T03:04:05Z."""

    def time(self) -> float:
        return 1_767_323_045.0


def found(folder: Path) -> dict[str, list[str]]:
    """The names of events, by file."""
    return {
        path.name: [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()]
        for path in sorted(folder.iterdir())
    }


async def send(sink: FileSink, *events: str) -> None:
    await sink.send(make_batch([make_event(event) for event in events]))


async def test_adds_to_a_plain_file(tmp_path: Path) -> None:
    """Without fields the path is one file, which a second sink continues."""
    path = tmp_path / "events.ndjson"

    for event in "ab":
        sink = FileSink(path)
        await send(sink, event, event)
        await sink.aclose()

    assert found(tmp_path) == {"events.ndjson": ["a", "a", "b", "b"]}


async def test_a_file_that_is_moved_away_is_begun_again(tmp_path: Path) -> None:
    """Another program may rotate a plain file: what comes later goes to a new file of the name."""
    sink = FileSink(tmp_path / "events.ndjson")
    await send(sink, "a")

    (tmp_path / "events.ndjson").rename(tmp_path / "events.ndjson.1")
    await send(sink, "b")
    await sink.aclose()

    assert found(tmp_path) == {"events.ndjson": ["b"], "events.ndjson.1": ["a"]}


async def test_names_files_by_its_template(tmp_path: Path) -> None:
    """The stamp in a name is the wall clock's, when the file begins."""
    sink = FileSink(tmp_path / "e-{time}-{seq:03d}.ndjson", rotate_bytes=1, clock=FixedClock())

    await send(sink, "a")
    await send(sink, "b")
    await sink.aclose()

    assert found(tmp_path) == {"e-20260102T030405-001.ndjson": ["a"], "e-20260102T030405-002.ndjson": ["b"]}


async def test_completes_the_current_file_at_the_end(tmp_path: Path) -> None:
    """``aclose`` gives the last file its name, and does nothing where nothing was sent."""
    sink, unused = FileSink(tmp_path / "{seq}.ndjson"), FileSink(tmp_path / "unused-{seq}.ndjson")
    await send(sink, "a")
    assert found(tmp_path) == {"1.ndjson.part": ["a"]}

    await sink.aclose()
    await unused.aclose()

    assert found(tmp_path) == {"1.ndjson": ["a"]}


async def test_aclose_never_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A last file that cannot be renamed is kept under its temporary name, with one line in the log."""
    sink = FileSink(tmp_path / "{seq}.ndjson", name="audit")
    await send(sink, "a")

    def fail(self: Path, target: Path) -> None:
        raise PermissionError(13, "no")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "eventpipe"):
        patched.setattr(Path, "rename", fail)
        await sink.aclose()

    assert found(tmp_path) == {"1.ndjson.part": ["a"]}
    assert len(caplog.records) == 1
    assert "audit: a file of" in caplog.text


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EIO, "io_error"), (errno.EFBIG, "io_error")],
    ids=errno.errorcode.get,
)
async def test_what_may_pass_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    """A full disk and a failing one may be mended, so the batch is worth another attempt."""
    sink = FileSink(tmp_path / "events.ndjson")

    def fail(fd: int, data: bytes) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(appending, "_write", fail)
    with pytest.raises(TransientSinkError, match=f"events.ndjson: {os.strerror(number)}$") as caught:
        await send(sink, "a")
    await sink.aclose()

    assert caught.value.reason == reason
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("name", ["missing/e.ndjson", "missing/{seq}.ndjson", "file/e.ndjson", "folder", "x" * 300])
async def test_what_no_attempt_can_mend_is_permanent(tmp_path: Path, name: str) -> None:
    """A missing folder, a folder in the file's place, a name too long: the configuration is wrong for every batch."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    sink = FileSink(tmp_path / name)

    with pytest.raises(PermanentSinkError) as caught:
        await send(sink, "a")
    await sink.aclose()

    assert caught.value.scope == "sink"


async def test_a_missing_folder_may_appear(tmp_path: Path) -> None:
    """The sink keeps no memory of an error: once the folder is there, batches arrive."""
    sink = FileSink(tmp_path / "later" / "{seq}.ndjson")
    with pytest.raises(PermanentSinkError):
        await send(sink, "a")

    (tmp_path / "later").mkdir()
    await send(sink, "a")
    await sink.aclose()

    assert list(found(tmp_path / "later").values()) == [["a"]]


async def test_writes_off_the_loop_in_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is written by one and the same thread, which is not the loop's."""
    threads: list[threading.Thread] = []
    write = appending._write

    def spy(fd: int, data: bytes) -> None:
        threads.append(threading.current_thread())
        write(fd, data)

    monkeypatch.setattr(appending, "_write", spy)
    sink = FileSink(tmp_path / "events.ndjson")
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(send(sink, "a"))
    await sink.aclose()

    assert len(threads) == 5
    assert len(set(threads)) == 1
    assert threads[0] is not threading.main_thread()


async def test_the_loop_runs_on_while_the_disk_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stuck write costs its own attempt; a batch cancelled before its turn is not written."""
    gate, write = threading.Event(), appending._write
    loop, reached = asyncio.get_running_loop(), asyncio.Event()

    def stuck(fd: int, data: bytes) -> None:
        loop.call_soon_threadsafe(reached.set)
        assert gate.wait(5)
        write(fd, data)

    monkeypatch.setattr(appending, "_write", stuck)
    sink = FileSink(tmp_path / "events.ndjson")
    tasks = [asyncio.create_task(send(sink, event)) for event in "abc"]
    await reached.wait()

    tasks[1].cancel()
    await asyncio.wait({tasks[1]})
    gate.set()
    await tasks[2]
    await sink.aclose()

    assert tasks[1].cancelled()
    assert found(tmp_path) == {"events.ndjson": ["a", "c"]}


async def test_a_cancelled_aclose_still_completes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread ends its work without its caller, and a second ``aclose`` waits for that."""
    gate, write = threading.Event(), appending._write

    def stuck(fd: int, data: bytes) -> None:
        assert gate.wait(5)
        write(fd, data)

    monkeypatch.setattr(appending, "_write", stuck)
    sink = FileSink(tmp_path / "{seq}.ndjson")
    sending = asyncio.create_task(send(sink, "a"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(sink.aclose())
    await asyncio.sleep(0)

    closing.cancel()
    await asyncio.wait({closing})
    gate.set()
    await sink.aclose()
    await sending

    assert closing.cancelled()
    assert found(tmp_path) == {"1.ndjson": ["a"]}


async def test_making_one_touches_nothing(tmp_path: Path) -> None:
    """The constructor makes no file and no thread."""
    threads = threading.active_count()

    FileSink(tmp_path / "{seq}.ndjson", rotate_age=1)
    FileSink(tmp_path / "events.ndjson")

    assert threading.active_count() == threads
    assert found(tmp_path) == {}


async def test_writes_csv(tmp_path: Path) -> None:
    """A CSV file has its header once, however often it is opened."""
    path = tmp_path / "events.csv"

    for plan in ("pro", "a,b"):
        sink = FileSink(path, format="csv", columns=["event", "properties.plan"])
        await sink.send(make_batch([make_event("signed_up", properties={"plan": plan})]))
        await sink.aclose()

    assert path.read_bytes() == b'event,properties.plan\r\nsigned_up,pro\r\nsigned_up,"a,b"\r\n'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"path": "{x}"}, "path must have fields among", id="template"),
        pytest.param({"format": "xml"}, "format must be 'ndjson' or 'csv', not 'xml'", id="format"),
        pytest.param({"columns": ["event"]}, "columns must be None unless format is 'csv'", id="columns of NDJSON"),
        pytest.param({"format": "csv", "columns": ["x"]}, "columns must be among", id="unknown column"),
        pytest.param({"rotate_bytes": 0}, "rotate_bytes must be a whole number of bytes, at least 1", id="no bytes"),
        pytest.param({"rotate_bytes": 1.5}, "rotate_bytes must be a whole number of bytes, at least 1", id="half"),
        pytest.param({"rotate_age": -1}, "rotate_age must be a finite number of seconds above 0", id="negative age"),
        pytest.param(
            {"path": "e.ndjson", "rotate_bytes": 10},
            "rotate_bytes must be None where path has no {seq} or {uuid}, not 10 with 'e.ndjson'",
            id="size of a plain file",
        ),
        pytest.param(
            {"path": "e.ndjson", "rotate_age": 10.0},
            "rotate_age must be None where path has no {seq} or {uuid}, not 10.0 with 'e.ndjson'",
            id="age of a plain file",
        ),
        pytest.param({"fsync": 1}, "fsync must be True or False, not 1", id="fsync"),
        pytest.param({"mode": 0o1600}, "mode must be permission bits up to 0o777 that let the owner", id="sticky"),
        pytest.param({"mode": 0o400}, "mode must be permission bits .* read and write, not 0o400", id="read-only"),
        pytest.param({"mode": "600"}, "mode must be permission bits .* read and write, not '600'", id="text"),
    ],
)
async def test_refuses_bad_options(options: dict[str, Any], message: str) -> None:
    """A wrong option is a ``ValueError`` at construction that names the option, the value and the rule."""
    with pytest.raises(ValueError, match=f"^{message.replace('{', '[{]')}"):
        FileSink(**({"path": "{seq}.ndjson"} | options))
