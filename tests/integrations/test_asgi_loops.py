"""An ASGI application that is called on one event loop after another, as adapters of serverless platforms do it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from eventpipe import AsyncClient, Batch
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture
from eventpipe.sinks import CallbackSink
from tests.integrations.asgi_server import request


async def answering(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.wallclock
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a loop closed by hand leaves tasks
def test_requests_are_sent_on_the_loop_after_one_that_was_closed_by_hand() -> None:
    """Each on its own, although the thread is the same and nothing but requests is captured."""
    ask_on_three_loops()
    gc.collect()  # while the test catches what asyncio logs of the closed loops' tasks


def ask_on_three_loops() -> None:
    waiting: list[asyncio.Future[str]] = []

    async def send(batch: Batch) -> None:
        waiting.pop().set_result(batch.events[0].event)

    client = AsyncClient(CallbackSink(send), max_batch_age=0)
    app = EventMiddleware(answering, client, requests=RequestCapture())

    async def ask() -> str:
        waiting.append(asyncio.get_running_loop().create_future())
        [sent] = waiting
        assert await request(app) == 204
        async with asyncio.timeout(10):
            return await sent

    for _ in range(3):
        loop = asyncio.new_event_loop()
        assert loop.run_until_complete(ask()) == "request"
        loop.close()
    asyncio.run(client.aclose())
