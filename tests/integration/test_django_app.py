"""The examples for Django under the servers that people run it with, with real requests and a real signal."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventpipe.cli.collector import Collector
from tests.integration.serving import HeldRequest, once, serving, sign_up, stored

ANSWERED = [f"u{number}" for number in range(100)]

UVICORN = ("uvicorn", "examples.django_app:application", "--port", "0", "--no-access-log")
SYNC_CLIENT = ("uvicorn", "tests.integration.sync_asgi:application", "--port", "0", "--no-access-log")
# In one process: with workers, the one that looks after them listens to their end, and nobody sees them stop.
HYPERCORN = ("hypercorn", "examples.django_app:application", "--bind", "127.0.0.1:0", "--workers", "0")
GUNICORN = ("gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket")
UVICORN_WORKER = (*GUNICORN, "examples.django_app:application", "-k", "uvicorn_worker.UvicornWorker")
SYNC_WORKER = (*GUNICORN, "examples.django_wsgi_app:application")
THREADS = (*SYNC_WORKER, "--threads", "4")

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@pytest.mark.parametrize(
    ("command", "held"),
    [(UVICORN, 5), (SYNC_CLIENT, 5), (HYPERCORN, 5), (UVICORN_WORKER, 5), (SYNC_WORKER, 1), (THREADS, 4)],
    ids=["uvicorn", "uvicorn-SyncClient", "hypercorn", "gunicorn-uvicorn", "gunicorn", "gunicorn-threads"],
)
async def test_example_delivers_every_event_once_when_terminated(
    command: tuple[str, ...], held: int, tmp_path: Path
) -> None:
    """Those of answered requests, and those of requests that were under way when the signal came, each exactly once."""
    under_way = [f"late{number}" for number in range(held)]
    async with (
        Collector(store=tmp_path, remember_ids=True) as collector,
        serving("-m", *command, COLLECTOR_URL=f"{collector.url}/events") as server,
    ):
        await sign_up(server.address, ANSWERED)
        async with HeldRequest.begun(server.address, under_way) as requests:
            await server.stops()
            statuses = await asyncio.gather(*(request.finish() for request in requests))
        printed = await server.end()

        assert statuses == [204] * held, printed
        assert "Traceback" not in printed
        assert sorted(collector.ids.values()) == [1] * 2 * len(ANSWERED + under_way)
        assert stored(tmp_path) == once(ANSWERED + under_way)
