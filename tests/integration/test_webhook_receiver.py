"""The receiver of the documentation under a real server, and a client that sends webhooks to it."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from eventpipe import AsyncClient, DropReason
from eventpipe.clock import Clock
from eventpipe.codecs import StandardWebhook
from eventpipe.sinks import WebhookSink
from eventpipe.testing.events import make_batch
from tests.integration.test_fastapi_app import ROOT, address_of, stop

NEW = "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3"
OLD = "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk"
FOREIGN = "whsec_Zm9yZWlnbmZvcmVpZ25mb3JlaWduZm9y"

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


@asynccontextmanager
async def running_receiver() -> AsyncIterator[str]:
    """The example under uvicorn in a process of its own: the address of its webhooks."""
    command = [sys.executable, "-m", "uvicorn", "examples.webhook_receiver:app", "--port", "0", "--no-access-log"]
    environment = {**os.environ, "WEBHOOK_SECRETS": f"{NEW} {OLD}"}
    process: Process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=PIPE, stderr=STDOUT
    )
    try:
        yield f"{await address_of(process)}/hooks"
        assert "Traceback" not in await stop(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_receiver_believes_its_sender_and_nobody_else() -> None:
    """With either secret; a foreign one is unauthorized, and what was changed or copied later is refused."""
    async with running_receiver() as url:
        for secret, delivered in ((NEW, 5), (OLD, 5), ([FOREIGN, OLD], 5), (FOREIGN, 0)):
            async with AsyncClient(WebhookSink(url, secret, allow_private=True)) as client:
                for number in range(5):
                    await client.capture("invoice.paid", distinct_id="u1", properties={"n": number})
                report = await client.flush()
            assert report.delivered == delivered
            assert report.dropped_by_reason == ({} if delivered else {DropReason.UNAUTHORIZED: 5})

        now = Clock().time()
        good = StandardWebhook(NEW).request(make_batch(1), 1, now)
        late = StandardWebhook(NEW).request(make_batch(1), 1, now - 301)
        async with aiohttp.ClientSession() as session:
            answers = []
            for body, headers in (
                (good.body, good.headers),
                (good.body.replace(b"e0", b"e1"), good.headers),
                (late.body, late.headers),
                (good.body, {}),
            ):
                async with session.post(url, data=body, headers=headers) as answer:
                    answers.append((answer.status, (await answer.json() or {}).get("detail")))

        assert answers == [
            (200, None),
            (401, "webhook-signature has no signature that fits the body and the secret"),
            (401, answers[2][1]),
            (401, "webhook-id is missing"),
        ]
        assert str(answers[2][1]).startswith("webhook-timestamp is 30")
