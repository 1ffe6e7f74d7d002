"""Servers that fork, reload and preload: what was captured before they end is delivered once, or told in the log."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from eventpipe.cli.collector import Collector
from tests.integration.serving import (
    End,
    HeldRequest,
    Server,
    once,
    press_control_c,
    serving,
    sign_up,
    stored,
    terminate,
)

ANSWERED = [f"u{number}" for number in range(100)]
LOADED = Counter[tuple[str, str | None]](("loaded", f"loaded{number}") for number in range(3))

UVICORN = ("uvicorn", "examples.django_app:application", "--port", "0", "--no-access-log")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket", "--workers", "2", "--preload")
UVICORN_WORKER = (*GUNICORN, "tests.integration.preloaded_asgi:application", "-k", "uvicorn_worker.UvicornWorker")
SYNC_WORKER = (*GUNICORN, "tests.integration.preloaded_wsgi:application")

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@dataclass(frozen=True)
class Way:
    """One way to run a server.

    Attributes:
        command: What is run.
        ready: What each worker prints when it can serve.
        ending: What is printed, as many times as ``endings``, when requests under way are all that is waited for.
    """

    command: tuple[str, ...]
    ready: str = "Application startup complete"
    workers: int = 1
    ending: str = "Shutting down"
    endings: int = 1

    async def is_ready(self, server: Server) -> None:
        for _ in range(self.workers):
            await server.read_until(self.ready)
        await server.accepts()

    async def is_ending(self, server: Server) -> None:
        for _ in range(self.endings):
            await server.read_until(self.ending)


RELOAD = Way((*UVICORN, "--reload", "--reload-dir", "docs"))
WORKERS = Way((*UVICORN, "--workers", "2"), workers=2, endings=2)
PRELOADED = Way(UVICORN_WORKER, workers=2, ending="Handling signal")
PRELOADED_SYNC = Way(SYNC_WORKER, ready="Booting worker", workers=2, ending="Handling signal")


@pytest.mark.parametrize("end", [terminate, press_control_c], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("way", [RELOAD, WORKERS], ids=["reload", "workers"])
async def test_every_event_is_delivered_once_when_workers_end(way: Way, end: End, tmp_path: Path) -> None:
    """Those of answered requests and of requests under way, whichever worker had them."""
    under_way = [f"late{number}" for number in range(6)]
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        serving("-m", *way.command, COLLECTOR_URL=f"{collector.url}/events") as server,
    ):
        await way.is_ready(server)
        await sign_up(server.address, ANSWERED)
        async with HeldRequest.begun(server.address, under_way) as requests:
            end(server)
            await way.is_ending(server)
            statuses = await asyncio.gather(*(request.finish() for request in requests))
        printed = await server.end()

        assert statuses == [204] * len(under_way), printed
        assert "Traceback" not in printed
        assert stored(tmp_path) == once(ANSWERED + under_way)
        assert sorted(collector.ids.values()) == [1] * 2 * len(ANSWERED + under_way)


async def test_a_second_control_c_delivers_what_was_captured_all_the_same(tmp_path: Path) -> None:
    """Uvicorn waits for no request then, and cancels its lifespan in place of ending it: the client closes even so."""
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        serving("-m", *UVICORN, COLLECTOR_URL=f"{collector.url}/events") as server,
    ):
        await server.accepts()
        await sign_up(server.address, ANSWERED)
        async with HeldRequest.begun(server.address, ["too late"]):
            press_control_c(server)
            await server.refuses()
            press_control_c(server)
            await server.end()

        assert stored(tmp_path) == once(ANSWERED)
        assert sorted(collector.ids.values()) == [1] * 2 * len(ANSWERED)


async def test_a_reload_delivers_what_was_captured_before_it(tmp_path: Path) -> None:
    """A changed file ends the worker as a signal does; the next one starts with nothing of it."""
    store, sources = tmp_path / "store", tmp_path / "sources"
    for folder in (store, sources):
        folder.mkdir()
    source = sources / "changed.py"
    source.write_text("")
    way = Way((*UVICORN, "--reload", "--reload-dir", str(sources)))
    async with (
        Collector(store=store, remember_ids=True) as collector,
        serving("-m", *way.command, COLLECTOR_URL=f"{collector.url}/events") as server,
    ):
        await way.is_ready(server)
        await sign_up(server.address, ANSWERED[:50])

        # At once: where a file is emptied and then filled, uvicorn may see two changes, and reload twice.
        (tmp_path / "next").write_text("changed = True")
        (tmp_path / "next").replace(source)
        await server.read_until("Reloading")
        await way.is_ready(server)
        assert stored(store) == once(ANSWERED[:50])
        await sign_up(server.address, ANSWERED[50:])
        press_control_c(server)
        printed = await server.end()

        assert "Traceback" not in printed
        assert stored(store) == once(ANSWERED), printed
        assert sorted(collector.ids.values()) == [1] * 2 * len(ANSWERED)


@pytest.mark.parametrize("end", [terminate, press_control_c], ids=["SIGTERM", "Ctrl-C"])
@pytest.mark.parametrize("way", [PRELOADED, PRELOADED_SYNC], ids=["AsyncClient", "SyncClient"])
async def test_workers_of_a_preloaded_client_send_nothing_of_their_parent_s(way: Way, end: End, tmp_path: Path) -> None:
    """What the parent captured before the fork, it sends itself where it has a loop, and else reports; once."""
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        serving("-m", *way.command, COLLECTOR_URL=f"{collector.url}/events") as server,
    ):
        await way.is_ready(server)
        await sign_up(server.address, ANSWERED)

        end(server)
        printed = await server.end()

        # gunicorn ends a worker by SystemExit, on Ctrl-C by two of them, and logs it where the worker still wrote an
        # answer that had arrived: whatever the exit broke into is above it.
        lines = re.split(r"^(?=\[\d{4}-)", printed, flags=re.MULTILINE)
        ended_by = {line.rstrip().rpartition("\n")[2] for line in lines if "Traceback" in line}
        assert ended_by <= {"SystemExit: 0"}, printed
        reported = re.findall(r"(\d+) events? (?:were|was) pending at exit", printed)
        if way is PRELOADED:
            assert (stored(tmp_path), reported) == (once(ANSWERED), ["3"])
        else:
            assert (stored(tmp_path), reported) == (once(ANSWERED) + LOADED, [])
        assert set(collector.ids.values()) == {1}


@pytest.mark.parametrize("way", [WORKERS, PRELOADED, PRELOADED_SYNC], ids=["workers", "AsyncClient", "SyncClient"])
async def test_what_cannot_be_delivered_is_told_in_the_log_with_its_number(way: Way) -> None:
    """The far end is down, and each worker says how much it gave up when it ended: no event is missing."""
    async with Collector() as gone:
        nowhere = f"{gone.url}/events"
    async with serving("-m", *way.command, COLLECTOR_URL=nowhere, EVENTPIPE_CLOSE_TIMEOUT="1") as server:
        await way.is_ready(server)
        await sign_up(server.address, ANSWERED)

        terminate(server)
        printed = await server.end()

    told = re.findall(r"(\d+) events? (?:were|was) (?:dropped|pending at exit)", printed)
    loaded = 0 if way is WORKERS else LOADED.total()
    assert sum(map(int, told)) == 2 * len(ANSWERED) + loaded, printed
