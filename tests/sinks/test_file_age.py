"""``FileSink`` completes old files by itself, and keeps no timer that nobody needs."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from pathlib import Path

import orjson
import pytest

from eventpipe.sinks import FileSink, rotation
from eventpipe.sinks.appending import create
from eventpipe.testing import VirtualTimeLoop, make_batch, make_event

pytestmark = pytest.mark.asyncio


def found(folder: Path) -> dict[str, list[str]]:
    """The names of events, by file."""
    return {
        path.name: [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()]
        for path in sorted(folder.iterdir())
    }


async def send(sink: FileSink, *events: str) -> None:
    await sink.send(make_batch([make_event(event) for event in events]))


class GatedRename:
    """Holds the thread that renames a file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: OSError | None = None) -> None:
        self.gate = threading.Event()
        rename = Path.rename

        def wait(path: Path, target: Path) -> None:
            assert self.gate.wait(5)
            if error:
                raise error
            rename(path, target)

        monkeypatch.setattr(Path, "rename", wait)


async def test_an_old_file_is_completed_without_another_batch(tmp_path: Path) -> None:
    """When its age is reached a file gets its name, though nothing more comes, and no timer is left after it."""
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await send(sink, "a")

    await asyncio.sleep(began + 59 - loop.time())
    assert found(tmp_path) == {"1.ndjson.part": ["a"]}
    await asyncio.sleep(began + 61 - loop.time())
    assert found(tmp_path) == {"1.ndjson": ["a"]}
    await asyncio.sleep(600)
    await send(sink, "b")
    await asyncio.sleep(61)

    assert found(tmp_path) == {"1.ndjson": ["a"], "2.ndjson": ["b"]}
    await sink.aclose()


async def test_each_file_has_its_own_age(tmp_path: Path) -> None:
    """A file begun because another was full is completed by its own age, not by that of the other."""
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60, rotate_bytes=400)
    await send(sink, "a", "a", "a")
    await asyncio.sleep(40)
    await send(sink, "b")

    await asyncio.sleep(50)
    assert found(tmp_path) == {"1.ndjson": ["a"] * 3, "2.ndjson.part": ["b"]}
    await asyncio.sleep(11)
    assert found(tmp_path) == {"1.ndjson": ["a"] * 3, "2.ndjson": ["b"]}
    await sink.aclose()


async def test_a_file_that_keeps_its_temporary_name_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A rename that fails by the timer is logged and tried an age later, without a spin between."""
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60)
    await send(sink, "a")

    def fail(self: Path, target: Path) -> None:
        raise PermissionError(13, "no")

    with monkeypatch.context() as patched, caplog.at_level(logging.WARNING, "eventpipe"):
        patched.setattr(Path, "rename", fail)
        await asyncio.sleep(90)
        assert caplog.text.count("keeps its temporary name") == 1
    await asyncio.sleep(60)

    assert found(tmp_path) == {"1.ndjson": ["a"]}
    await sink.aclose()


async def test_a_batch_sent_while_the_timer_rings_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is begun just after the last one was completed by its age is completed by its own."""
    renaming, creating = GatedRename(monkeypatch), threading.Event()

    def create_late(path: Path, *, mode: int) -> bool:
        assert path.name == "1.ndjson.part" or creating.wait(5)
        return create(path, mode=mode)

    monkeypatch.setattr(rotation, "create", create_late)
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60)
    await send(sink, "a")
    await asyncio.sleep(60)  # the thread is renaming 1.ndjson.part
    sending = asyncio.create_task(send(sink, "b"))
    await asyncio.sleep(0)
    renaming.gate.set()
    while (tmp_path / "1.ndjson.part").exists():  # noqa: ASYNC110  # what it waits for is another thread
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.005)  # its end was told to the loop, and there is no file now
    creating.set()
    await sending

    await asyncio.sleep(121)

    assert found(tmp_path) == {"1.ndjson": ["a"], "2.ndjson": ["b"]}
    await sink.aclose()


async def test_an_idle_sink_sets_no_timer(tmp_path: Path) -> None:
    """When there is no file to complete nothing wakes up, however long the sink stays open."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60)
    await send(sink, "a")
    await asyncio.sleep(130)

    steps = loop.steps
    await asyncio.sleep(36_000)

    assert loop.steps - steps < 5
    await sink.aclose()


async def test_a_closed_sink_is_held_by_no_timer(tmp_path: Path) -> None:
    """``aclose`` ends the timer, which would keep the sink in memory for as long as a file may become old."""
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=3600)
    await send(sink, "a")
    await sink.aclose()

    held = weakref.ref(sink)
    del sink
    for thread in threading.enumerate():
        if thread.name.startswith("eventpipe-"):
            thread.join(5)  # until it has ended it holds its last piece of work
    gc.collect()

    assert held() is None


async def test_a_timer_that_rings_during_aclose_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that cannot be renamed is not tried again after the end: no thread comes back to life."""
    renaming = GatedRename(monkeypatch, PermissionError(13, "no"))
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60)
    await send(sink, "a")
    await asyncio.sleep(60)  # the thread is renaming 1.ndjson.part

    closing = asyncio.create_task(sink.aclose())
    await asyncio.sleep(0)
    with caplog.at_level(logging.WARNING, "eventpipe"):
        renaming.gate.set()
        await closing
        await asyncio.sleep(600)

    assert len(caplog.records) == 2
    assert found(tmp_path) == {"1.ndjson.part": ["a"]}
