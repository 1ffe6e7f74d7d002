from __future__ import annotations

import hmac
import signal
from pathlib import Path

import aiohttp
import orjson
import pytest

from tests.cli.process import command, run
from tests.cli.terminal import terminal

pytestmark = [pytest.mark.asyncio, pytest.mark.wallclock]


async def post(url: str, events: int) -> None:
    body = orjson.dumps([{"event": "signed_up", "uuid": str(number)} for number in range(events)])
    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
async def test_serves_until_it_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """The first line has the actual port; a signal ends it with exit code 0 and a last count; the events are kept."""
    async with command("serve", "--port", "0", "--store", str(tmp_path)) as serving:
        greeting, _, url = (await serving.line()).partition("http://")
        await post(f"http://{url}", 3)
        serving.signal(number)
        ended = await serving.end()

    assert greeting == "eventpipe serve: listening on "
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[-1] == "eventpipe serve: stopped after 3 events in 1 batch"
    assert ended.stdout.splitlines()[-2].startswith("3 events in 1 batch, 100 B, ")
    assert len((tmp_path / "events.ndjson").read_bytes().splitlines()) == 3


async def test_in_the_background_of_a_terminal_it_prints_lines() -> None:
    """It moves no cursor, so that what the shell shows and a person types stays there."""
    async with terminal("serve", "--port", "0", "--seconds", "60", background=True) as screen:
        await screen.shows("\n")
        await post(screen.shown.split()[-1], 1)
        await screen.shows("1 event in 1 batch")
        screen.signal(signal.SIGTERM)
        await screen.shows("stopped after")
        await screen.end()

    assert "\r\nsigned_up\r\n1 event in 1 batch" in screen.shown
    assert "\x1b" not in screen.shown


async def test_stops_by_itself() -> None:
    """With ``--seconds`` it ends without a signal; ``--quiet`` prints the address alone."""
    ended = await run("serve", "--port", "0", "--seconds", "0.01", "--quiet")

    assert (ended.code, ended.stderr, len(ended.stdout.splitlines())) == (0, "", 1)


async def test_secrets_of_the_environment_are_asked_for() -> None:
    """Of several, with spaces between, any will do; without a signature a webhook is refused."""
    body = orjson.dumps({"type": "paid", "data": {}})
    signature = "sha256=" + hmac.new(b"new", body, "sha256").hexdigest()
    words = ["serve", "--port", "0", "--quiet"]
    async with command(*words, environment={"EVENTPIPE_WEBHOOK_SECRET": "old new"}) as serving:
        url = (await serving.line()).rpartition(" ")[2]
        statuses = []
        for headers in ({}, {"X-Hub-Signature-256": signature}):
            wanted = {"Content-Type": "application/json", **headers}
            async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=wanted) as response:
                statuses.append(response.status)
        serving.signal(signal.SIGINT)
        ended = await serving.end()

    assert statuses == [401, 200]
    assert (ended.code, ended.stderr) == (0, "")
