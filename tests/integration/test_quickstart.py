"""The README's first example, copied, as whoever tries it would run it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from tests.far_end import FarEnd
from tests.integration.serving import Server, serving

README = Path(__file__).parents[2] / "README.md"
REQUESTS = 5_000


def quickstart() -> str:
    block = re.search(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None
    return block[1]


def test_the_quickstart_is_short() -> None:
    """Twelve lines, blank ones not counted."""
    assert len([line for line in quickstart().splitlines() if line.strip()]) <= 12


@pytest.mark.wallclock
@pytest.mark.timeout(120)
@pytest.mark.asyncio
async def test_two_workers_told_to_end_in_the_middle_lose_nothing(tmp_path: Path) -> None:
    """5 000 requests to real uvicorn, SIGTERM in the middle: whoever was answered has an event that arrived once."""
    (tmp_path / "app.py").write_text(quickstart())
    command = ("-m", "uvicorn", "app:app", "--app-dir", str(tmp_path), "--workers", "2", "--port", "0")
    with FarEnd() as far_end:
        async with serving(*command, "--no-access-log", COLLECTOR_URL=far_end.url) as server:
            for _ in range(2):
                await server.read_until("Application startup complete")
            answered = await ask(server)
            printed = await server.end()

    assert REQUESTS / 2 <= len(answered) < REQUESTS
    assert len(set(far_end.ids)) == len(far_end.ids)
    assert len(set(far_end.people)) == len(far_end.people)
    missing = set(answered) - {person or "" for person in far_end.people}
    listed = sum(int(number) for number in re.findall(r"(\d+) events? (?:were|was) (?:dropped|pending)", printed))
    assert len(missing) <= listed, printed


async def ask(server: Server) -> list[str]:
    """Make all requests, 50 at once, and tell the server to end when half of them were answered; who was answered."""
    answered: list[str] = []
    users = iter(range(REQUESTS))

    async def go_on(session: aiohttp.ClientSession) -> None:
        for number in users:
            try:
                async with session.post("/signup", params={"user": f"u{number}"}) as answer:
                    if answer.status == 200:
                        answered.append(f"u{number}")
            except aiohttp.ClientError:  # it has ended, or ends with the request under way
                continue
            if len(answered) == REQUESTS // 2:
                server.signal()

    async with aiohttp.ClientSession(server.address, connector=aiohttp.TCPConnector(limit=50)) as session:
        await asyncio.gather(*(go_on(session) for _ in range(50)))
    return answered
