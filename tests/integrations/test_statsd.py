"""The example for StatsD, against a real UDP socket."""

from __future__ import annotations

import asyncio
import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from eventpipe import AsyncClient
from eventpipe.sinks import MemorySink
from eventpipe.testing import FlakySink, HangingSink
from examples.statsd import statsd

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.wallclock

LINE = re.compile(r"eventpipe\.([\w-]+)\.([\w.]+):(\d+)\|([cg])")


class Server:
    """What a StatsD server would have added up."""

    def __init__(self, udp: socket.socket) -> None:
        self._udp = udp
        self.host, self.port = udp.getsockname()
        self.counters: Counter[tuple[str, str]] = Counter()
        self.gauges: dict[tuple[str, str], int] = {}

    def read(self) -> int:
        """Take in all that arrived; the number of datagrams."""
        datagrams = 0
        while True:
            try:
                line = self._udp.recv(2000).decode()
            except BlockingIOError:
                return datagrams
            datagrams += 1
            found = LINE.fullmatch(line)
            assert found is not None, line
            sink, name, value, kind = found.groups()
            if kind == "c":
                self.counters[sink, name] += int(value)
            else:
                self.gauges[sink, name] = int(value)


def test_the_page_on_metrics_shows_the_example() -> None:
    """What is copied from there is what the tests here run."""
    _, _, code = (ROOT / "examples" / "statsd.py").read_text().partition('"""\n\n')

    assert f"```python\n{code}```" in (ROOT / "docs" / "metrics.md").read_text()


@contextmanager
def listening() -> Iterator[Server]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.setblocking(False)
        yield Server(udp)


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()


@pytest.mark.asyncio
async def test_what_arrives_adds_up_to_what_was_counted() -> None:
    """Each report tells what happened since the last one, and the last one tells of the close."""
    client = AsyncClient(
        FlakySink(1, name="far end, Ü:1|c"), HangingSink(), batch_events=10, max_batch_age=0, queue_events=100
    )
    with listening() as server:
        reporting = asyncio.create_task(statsd(client, server.host, server.port, every=0.005))
        async with client:
            for _ in range(20):
                for _ in range(20):
                    await client.capture("a")
                await asyncio.sleep(0.005)
                server.read()
            await client.aclose(0)
        await ended(reporting)
        server.read()

        assert len(client.statistics().by_sink) == 2
        for sink, numbers in client.statistics().by_sink.items():
            shown = re.sub(r"[^a-zA-Z0-9_-]", "_", sink)
            told = {name: events for (one, name), events in server.counters.items() if one == shown}
            assert told == {
                "captured": 400,
                "delivered": numbers.delivered,
                "attempts": numbers.attempts,
                "retries": numbers.retries,
                **{f"dropped.{reason}": events for reason, events in numbers.dropped_by_reason.items()},
            }
            assert {name: value for (one, name), value in server.gauges.items() if one == shown} == {
                "pending": 0,
                "in_flight": 0,
                "queue_bytes": 0,
            }


@pytest.mark.asyncio
async def test_a_server_that_does_not_listen_is_no_error() -> None:
    """The application goes on, and later reports are sent."""
    with listening() as gone:
        pass
    async with AsyncClient(MemorySink()) as client:
        reporting = asyncio.create_task(statsd(client, gone.host, gone.port, every=0.001))
        for _ in range(5):
            await client.capture("a")
            await asyncio.sleep(0.002)

        assert not reporting.done()
        await ended(reporting)
