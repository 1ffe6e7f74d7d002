"""``FileSink`` over the life of a process: one event loop after another, and forks."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from pathlib import Path

import orjson
import pytest

from eventpipe.sinks import FileSink
from eventpipe.testing.events import make_batch, make_event
from eventpipe.testing.loop import VirtualTimeLoop


def found(folder: Path) -> dict[str, list[str]]:
    """The names of events, by file."""
    return {
        path.name: [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()]
        for path in sorted(folder.iterdir())
    }


async def send(sink: FileSink, event: str) -> None:
    await sink.send(make_batch([make_event(event)]))


def test_serves_one_loop_after_another(tmp_path: Path) -> None:
    """A sink that was not closed goes on in the next event loop, and its timer with it."""
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60)

    async def again() -> dict[str, list[str]]:
        await send(sink, "b")
        await asyncio.sleep(61)
        files = found(tmp_path)
        await sink.aclose()
        return files

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(send(sink, "a"))
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        files = runner.run(again())

    assert files == {"1.ndjson": ["a", "b"]}


def test_a_timer_of_an_earlier_loop_rings_no_more(tmp_path: Path) -> None:
    """A loop that goes on after the sink was used and closed in another one wakes nothing of it."""
    sink = FileSink(tmp_path / "{seq}.ndjson", rotate_age=60)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as first, asyncio.Runner(loop_factory=VirtualTimeLoop) as second:
        first.run(send(sink, "a"))
        second.run(send(sink, "b"))
        second.run(sink.aclose())
        threads = threading.active_count()
        first.run(asyncio.sleep(120))

    assert threading.active_count() <= threads
    assert found(tmp_path) == {"1.ndjson": ["a", "b"]}


def _send_in_child(sink: FileSink) -> None:
    async def child() -> None:
        await send(sink, "child")
        await sink.aclose()

    asyncio.run(child())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # a fork of a process with threads is what is tested
def test_a_forked_child_has_a_file_of_its_own(tmp_path: Path) -> None:
    """A child neither waits for its parent's thread nor touches the file that its parent fills."""
    sink = FileSink(tmp_path / "{seq}.ndjson")
    asyncio.run(send(sink, "parent"))

    process = multiprocessing.get_context("fork").Process(target=_send_in_child, args=(sink,))
    process.start()
    process.join(10)
    alive = process.is_alive()
    process.kill()

    asyncio.run(send(sink, "parent again"))
    asyncio.run(sink.aclose())
    assert (alive, process.exitcode) == (False, 0)
    assert found(tmp_path) == {"1.ndjson": ["parent", "parent again"], "2.ndjson": ["child"]}
