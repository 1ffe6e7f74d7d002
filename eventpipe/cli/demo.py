"""``eventpipe demo``: the main job on one machine, with a far end that fails, and a reconciliation at the end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import orjson
from rich.console import Console

from eventpipe.cli.collector_process import collector_ids, collector_process, collector_statistics
from eventpipe.cli.demo_report import DemoReport
from eventpipe.cli.demo_view import DemoView
from eventpipe.cli.display import say, shown
from eventpipe.cli.failures import FAILURE, UsageError
from eventpipe.cli.parse import parse_seconds
from eventpipe.cli.producer import Producer
from eventpipe.cli.reconciliation import Reconciliation
from eventpipe.cli.signals import Stop, stop_signals
from eventpipe.client import AsyncClient
from eventpipe.options import ClientOptionsDict
from eventpipe.outcomes import Outcome
from eventpipe.sinks.http import HttpSink

MAX_EVENTS = 1_000_000  # every id is kept to compare, at about 200 bytes in each of the two processes
MAX_RATE = 50_000.0  # handlers per second: more than one loop can run
DEFAULT_RATE = 2000.0
QUEUE_SECONDS = 5.0  # the outage, and the backoffs after it
EVENT_BYTES = 4096  # ten times what an event of the demo takes, so that the number is what bounds
FLUSH_TIMEOUT = 60.0  # seconds: several times a stall and the outage together

STALL = "0.1:5s"
RESET = "0.05"
OUTAGE = 2.0  # seconds
OUTAGE_SHARE = 0.3  # of the run at most, and where in the run it begins
SEED = 478  # among the first fifty requests seven stall, the fourth first, and three are reset, the second first


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What ``eventpipe demo`` was asked for, as the command line spells it.

    Attributes:
        seconds: How long events are produced; sending the last of them may take some seconds more.
        rate: Events per second; above 2000 the client gets a queue for five seconds of them.
        json: Print the report as JSON, and nothing else.
    """

    seconds: float = 10.0
    rate: float = DEFAULT_RATE
    json: bool = False

    def check(self) -> None:
        """Refuse what no machine should be asked for.

        Raises:
            UsageError: A number is not above zero, or the numbers together are too large.
        """
        parse_seconds("--seconds", self.seconds)
        if not 0.0 < self.rate <= MAX_RATE:
            raise UsageError(f"--rate: must be above 0 and at most {MAX_RATE:,.0f}, not {self.rate:g}")
        if self.seconds * self.rate > MAX_EVENTS:
            raise UsageError(
                f"--seconds times --rate: at most {MAX_EVENTS:,} events, not {self.seconds * self.rate:,.0f}"
            )

    def client_options(self) -> ClientOptionsDict:
        """The client's defaults, which hold five seconds of 2000 events, or as many seconds of more."""
        if self.rate <= DEFAULT_RATE:
            return {}
        queue_events = round(self.rate * QUEUE_SECONDS)
        return {"queue_events": queue_events, "queue_bytes": queue_events * EVENT_BYTES}

    def faults(self) -> list[str]:
        """The collector's faults, as options of ``eventpipe serve``."""
        start, length = self.seconds * OUTAGE_SHARE, min(OUTAGE, self.seconds * OUTAGE_SHARE)
        outage = f"{start:.3f}s:{length:.3f}s"
        # Long enough for everything here, and an end for a collector whose demo was killed.
        lifetime = min(86_400.0, self.seconds + 2 * FLUSH_TIMEOUT)
        faults = ["--stall", STALL, "--reset", RESET, "--outage", outage, "--seed", str(SEED)]
        return [*faults, "--seconds", f"{lifetime:.0f}"]


def demo(options: DemoOptions, console: Console) -> int:
    """Run the demo and report; return the exit code: 0 only if client and collector agree and nothing was lost.

    The far end resets a connection before it reads the request, so that a reset neither loses nor duplicates; one
    that dies after it took a batch makes duplicates, which at-least-once delivery allows, and which are counted.

    Raises:
        CommandError: The collector did not start, or does not answer any more.
    """
    options.check()
    report = asyncio.run(_demo(options, console))
    if options.json:
        say(console, orjson.dumps(report.as_json()).decode())
    else:
        for line in report.text():
            say(console, line)
    return 0 if report.is_ok else FAILURE


async def _demo(options: DemoOptions, console: Console) -> DemoReport:
    dropped: dict[str, str] = {}

    def on_drop(outcome: Outcome) -> None:
        dropped.update(dict.fromkeys(outcome.uuids, str(outcome.reason)))

    with stop_signals() as stop:
        async with collector_process(*options.faults()) as url:
            client = AsyncClient(HttpSink(f"{url}/events"), on_drop=on_drop, **options.client_options())
            producer = Producer(client, options.rate)
            started = time.monotonic()
            try:
                if options.json:
                    await _run(client, producer, options, stop)
                else:
                    if console.is_terminal:
                        say(console, f"a collector on {url} stalls, fails and resets; Ctrl-C ends early")
                    view = DemoView(client, producer, started, options.seconds)
                    async with shown(console, view.frame, view.line):
                        await _run(client, producer, options, stop)
            finally:
                await client.aclose()
            elapsed = time.monotonic() - started
            seen = await collector_ids(url)
            faults = await collector_statistics(url)
    statistics = client.statistics()
    found = Reconciliation.of(producer.ids, dropped, statistics, seen)
    return DemoReport.of(found, statistics, producer, faults, elapsed)


async def _run(client: AsyncClient, producer: Producer, options: DemoOptions, stop: Stop) -> None:
    """Produce, then wait for the last event; the first Ctrl-C ends the one, the second the other."""
    watching = asyncio.create_task(producer.watch_lag())
    stopping = asyncio.create_task(stop.wait())
    giving_up = asyncio.create_task(stop.wait(2))
    stopping.add_done_callback(lambda _: producer.stop())
    try:
        await producer.run(options.seconds)
        # flush() rather than aclose() alone: closing grants a failed batch one final attempt, and this far end may
        # fail that one too.
        flushing = asyncio.create_task(client.flush(FLUSH_TIMEOUT))
        await asyncio.wait({flushing, giving_up}, return_when=asyncio.FIRST_COMPLETED)
        flushing.cancel()
        await asyncio.wait({flushing})
    finally:
        tasks = {watching, stopping, giving_up}
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
