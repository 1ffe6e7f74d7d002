"""Real clients with real HTTP sinks, quick to retry, all of whose words are watched for secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from eventpipe import AsyncClient, Batch, CloseReport, Codec, Event, Outcome, Receipt, RetryPolicy, Sink, Verdict
from eventpipe.codecs import JsonCodec
from eventpipe.sinks import HttpSink
from eventpipe.testing import check_ledger
from tests.edge.leaks import KEY, PAYLOAD, Watch

PATIENT = 20.0  # seconds for what comes in milliseconds, on a machine that has other things to do
QUICK = RetryPolicy(initial=0.001, max_delay=0.001, min_delay=0, jitter=0)
SEEN = 50  # errors and outcomes of one client that the watch looks at
SLOW_CALLBACK = 0.002  # seconds from which on asyncio says what it called, and with what


class WatchedSink(HttpSink):
    """An HTTP sink that shows every error it raises to the watch."""

    watch: Watch
    errors = 0

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        try:
            return await super().send(batch)
        except Exception as exc:
            self.errors += 1
            if self.errors <= SEEN:
                self.watch.see(exc)
            raise


class Pipeline:
    """A client that runs.

    Attributes:
        client: The client.
        told: What ``on_error`` was told, in order.
        failed: Set when it was told something.
        report: Of its end, once it has ended.
    """

    def __init__(self, sinks: Sequence[Sink], options: dict[str, Any]) -> None:
        self.client = AsyncClient(*sinks, on_error=self._tell, **options)
        self.told: list[Outcome] = []
        self.failed = asyncio.Event()
        self.report: CloseReport | None = None

    def _tell(self, outcome: Outcome) -> None:
        self.told.append(outcome)
        self.failed.set()

    async def capture(self, events: int = 1, **properties: object) -> list[Receipt]:
        """Capture so many events."""
        number = self.client.statistics().captured
        return [
            await self.client.capture(
                Event(f"e{number + n}", distinct_id=f"u{n}", properties={"marker": PAYLOAD, "n": n, **properties})
            )
            for n in range(events)
        ]

    async def outcomes(self, events: int = 1) -> list[Outcome]:
        """Capture so many events, and wait for what becomes of them."""
        receipts = await self.capture(events)
        async with asyncio.timeout(PATIENT):
            return [await receipt.outcome() for receipt in receipts]

    @property
    def reasons(self) -> list[str | None]:
        """Why attempts failed, in order."""
        return [outcome.reason for outcome in self.told]


class Pipelines:
    """Makes sinks and clients, and shows the watch all that they are and say."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch

    def sink(self, url: str, codec: Codec | None = None, **options: Any) -> WatchedSink:
        """A sink whose requests carry a key in a header and in the URL, and wherever ``codec`` puts one."""
        options = {"timeout": PATIENT, "compression": None, "headers": {"X-Api-Key": KEY}} | options
        sink = WatchedSink(url, JsonCodec() if codec is None else codec, **options)
        sink.watch = self.watch
        return sink

    @asynccontextmanager
    async def client(self, *sinks: Sink, debug: bool = True, **options: Any) -> AsyncIterator[Pipeline]:
        """A client of its own; afterwards its books are checked, and what it shows of itself.

        Args:
            sinks: Where it sends to.
            debug: Whether asyncio tells of all it does, which takes it five times as long.
            options: Of the client.
        """
        loop = asyncio.get_running_loop()
        loop.set_debug(debug)
        loop.slow_callback_duration = SLOW_CALLBACK
        settings: dict[str, Any] = {"retry": QUICK, "max_batch_age": 0.0, "batch_events": 1, "workers": 1}
        pipeline = Pipeline(sinks, settings | options)
        try:
            yield pipeline
        finally:
            self.watch.see(pipeline.client)
            pipeline.report = await pipeline.client.aclose()
            self.see(pipeline, sinks)
        check_ledger(pipeline.client, drained=True)

    @asynccontextmanager
    async def __call__(self, url: str, codec: Codec | None = None, **options: Any) -> AsyncIterator[Pipeline]:
        """A client with one sink; options of the sink are told by their names."""
        names = {"timeout", "connect_timeout", "compression", "headers", "session", "ssl", "allow_insecure", "clock"}
        sink = self.sink(url, codec, **{name: options.pop(name) for name in names & options.keys()})
        async with self.client(sink, **options) as pipeline:
            yield pipeline

    def see(self, pipeline: Pipeline, sinks: Sequence[Sink]) -> None:
        """Show the watch everything that a program may log or report."""
        self.watch.see(pipeline.client.statistics())
        self.watch.see(pipeline.report)
        for outcome in pipeline.told[:SEEN]:
            self.watch.see(outcome)
        for sink in sinks:
            self.watch.see(sink)
            self.watch.see(getattr(sink, "_codec", None))
