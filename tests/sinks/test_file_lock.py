"""``FileSink`` and a file that somebody else keeps locked: an attempt ends, in words, and nothing is lost."""

from __future__ import annotations

import asyncio
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest

from eventpipe import AsyncClient
from eventpipe.errors import TransientSinkError
from eventpipe.sinks import FileSink, appending
from eventpipe.testing import check_ledger
from eventpipe.testing.events import make_batch, make_event


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file as another program would."""
    with path.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def test_the_wait_for_a_lock_is_five_seconds() -> None:
    """In a bounded number of looks."""
    assert sum(appending._PAUSES) == pytest.approx(5, abs=0.05)
    assert len(appending._PAUSES) < 200


@pytest.mark.asyncio
async def test_a_lock_that_is_not_released_ends_the_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is transient, names the file and who may hold it; nothing was written, and the next attempt works."""
    monkeypatch.setattr(appending, "_PAUSES", (0.001,) * 3)
    path = tmp_path / "events.ndjson"
    sink = FileSink(path)

    with locked(path), pytest.raises(TransientSinkError) as caught:
        await sink.send(make_batch([make_event("a")]))
    before = path.read_bytes()
    await sink.send(make_batch([make_event("b")]))
    await sink.aclose()

    assert caught.value.reason == "locked"
    assert str(caught.value).startswith(f"{path} is locked (flock)")
    assert "lslocks" in str(caught.value)
    assert before == b""
    assert [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["b"]


@pytest.mark.asyncio
async def test_a_lock_that_is_released_in_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop runs on meanwhile, and the attempt succeeds."""
    waiting, loop = asyncio.Event(), asyncio.get_running_loop()

    def pauses() -> Iterator[float]:
        while True:
            loop.call_soon_threadsafe(waiting.set)
            yield 0.001

    monkeypatch.setattr(appending, "_PAUSES", pauses())
    path = tmp_path / "events.ndjson"
    sink = FileSink(path)

    with locked(path):
        sending = asyncio.create_task(sink.send(make_batch([make_event("a")])))
        await waiting.wait()
    await sending
    await sink.aclose()

    assert [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["a"]


@pytest.mark.asyncio
async def test_events_of_a_locked_file_are_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is in the file once, after the lock was released."""
    monkeypatch.setattr(appending, "_PAUSES", (0.001,))
    path = tmp_path / "events.ndjson"
    failed = asyncio.Event()
    async with AsyncClient(FileSink(path), on_error=lambda outcome: failed.set(), max_batch_age=0) as client:
        with locked(path):
            await client.capture("a")
            await failed.wait()
        assert (await client.flush()).delivered == 1

    assert [orjson.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["a"]
    assert check_ledger(client, drained=True).retries == 1
