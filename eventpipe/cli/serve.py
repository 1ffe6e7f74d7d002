"""``eventpipe serve``: a collector for development."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.text import Text

from eventpipe.cli.collector import Collector
from eventpipe.cli.display import say, shown, table
from eventpipe.cli.failures import CommandError, UsageError, one_line, reason_of
from eventpipe.cli.faults import Faults
from eventpipe.cli.parse import (
    parse_duration,
    parse_fail,
    parse_outage,
    parse_port,
    parse_seconds,
    parse_share,
    parse_stall,
    parse_verdicts,
)
from eventpipe.cli.rate import Rate
from eventpipe.cli.secrets import SECRET_VARIABLE, webhook_secrets
from eventpipe.cli.signals import Stop, stop_signals
from eventpipe.cli.text import count, size

SHOWN_NAMES = 10  # event names that fit on a small terminal beside the rest


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What ``eventpipe serve`` was asked for, as the command line spells it.

    Attributes:
        host: The address to listen on.
        port: The port; 0 lets the system choose.
        store: Append what arrives to events.ndjson in this directory.
        latency: Answer each request this much later, such as 50ms.
        stall: Answer a share of requests late, such as 0.1:5s.
        fail: Answer a share of requests with an error, such as 503:0.1.
        reset: Reset the connection of a share of requests, such as 0.05.
        outage: Answer 503 for a while, counted from the first request, such as 3s:2s.
        verdict: Say this of a share of events, such as retry:0.1 or drop:0.05; for formats that answer for each event.
            May be given more than once.
        webhook_secret: Webhooks have to be signed with this, or they get 401; whsec_… for Standard Webhooks, any text
            for X-Hub-Signature-256. May be given more than once, and better put into EVENTPIPE_WEBHOOK_SECRET, with
            spaces between several, where no process list shows it.
        seed: Choose the same faults each time.
        seconds: Stop by itself after so many seconds.
        remember_ids: Count duplicates; memory grows with the number of events.
        quiet: Show nothing but the address.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    store: Path | None = None
    latency: str | None = None
    stall: str | None = None
    fail: str | None = None
    reset: str | None = None
    outage: str | None = None
    verdict: tuple[str, ...] | None = None
    webhook_secret: tuple[str, ...] | None = field(default=None, repr=False)
    seed: int | None = None
    seconds: float | None = None
    remember_ids: bool = False
    quiet: bool = False

    def faults(self) -> Faults:
        """The faults asked for.

        Raises:
            UsageError: One of them is misspelt.
        """
        return Faults(
            latency=parse_duration("--latency", self.latency) if self.latency is not None else 0.0,
            stall=parse_stall("--stall", self.stall) if self.stall is not None else None,
            fail=parse_fail("--fail", self.fail) if self.fail is not None else None,
            reset=parse_share("--reset", self.reset) if self.reset is not None else 0.0,
            outage=parse_outage("--outage", self.outage) if self.outage is not None else None,
            verdicts=parse_verdicts("--verdict", self.verdict or ()),
            seed=self.seed,
        )

    def collector(self) -> Collector:
        """The collector asked for.

        Raises:
            UsageError: An option is misspelt.
        """
        if self.seconds is not None:
            parse_seconds("--seconds", self.seconds)
        faults, port = self.faults(), parse_port("--port", self.port)
        try:
            return Collector(
                host=self.host,
                port=port,
                faults=faults,
                store=self.store,
                remember_ids=self.remember_ids,
                webhook_secrets=webhook_secrets(self.webhook_secret),
            )
        except ValueError as error:
            raise UsageError(f"--webhook-secret, {SECRET_VARIABLE}: {error}") from error


def serve(options: ServeOptions, console: Console) -> int:
    """Run a collector until Ctrl-C, SIGTERM, or the end of ``seconds``; return the exit code.

    Raises:
        CommandError: The address cannot be listened on, or the store not be written.
    """
    collector = options.collector()
    return asyncio.run(_serve(collector, options, console))


async def _serve(collector: Collector, options: ServeOptions, console: Console) -> int:
    with stop_signals() as stop:
        try:
            await collector.start()
        except OSError as error:
            what = f"store events in {error.filename}" if error.filename else f"listen on {options.host}:{options.port}"
            raise CommandError(f"cannot {what}: {reason_of(error)}") from error
        try:
            say(console, f"eventpipe serve: listening on {collector.url}")
            view = ServeView(collector)
            if options.quiet:
                await _until(stop, options.seconds)
            else:
                async with shown(console, view.frame, view.line):
                    await _until(stop, options.seconds)
        finally:
            await collector.aclose()
    if not options.quiet:
        statistics = collector.statistics()
        events, batches = count(statistics.events, "event"), count(statistics.batches, "batch", "batches")
        say(console, f"eventpipe serve: stopped after {events} in {batches}")
    return 0


async def _until(stop: Stop, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


class ServeView:
    """Puts a collector's numbers into words."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._rate = Rate(time.monotonic())
        self._said = ""
        self._told = 0

    def frame(self) -> RenderableType:
        """The live table."""
        statistics = self._collector.statistics()
        faults = f"{statistics.failed:,} failed, {statistics.resets:,} reset, {statistics.stalls:,} stalled"
        rows = [
            ("events", f"{statistics.events:,}"),
            ("batches", f"{statistics.batches:,}"),
            ("received", size(statistics.body_bytes)),
            ("rate", f"{self._rate.of(statistics.events, time.monotonic()):,.0f} events/s"),
            ("refused", f"{statistics.refused:,}"),
            ("on purpose", faults),
        ]
        if self._collector.ids:
            rows.append(("duplicates", f"{statistics.duplicates:,}"))
        if statistics.last_error is not None:
            rows.append(("last error", statistics.last_error))
        by_format = sorted(statistics.formats.items(), key=lambda item: (-item[1], item[0]))
        names = sorted(statistics.names.items(), key=lambda item: (-item[1], item[0]))
        by_name = [(name, f"{number:,}") for name, number in names[:SHOWN_NAMES]]
        if len(names) > SHOWN_NAMES:
            by_name.append((f"{len(names) - SHOWN_NAMES} more", f"{sum(n for _, n in names[SHOWN_NAMES:]):,}"))
        parts: list[RenderableType] = [table(rows)]
        if by_format:
            parts += [Text(), table([(name, f"{number:,}") for name, number in by_format], title="by format")]
        if by_name:
            parts += [Text(), table(by_name, title="by name")]
        if statistics.latest:
            parts += [Text(), Text("latest", style="bold")]
            parts += [Text(line, no_wrap=True, overflow="ellipsis") for line in reversed(statistics.latest)]
        return Group(*parts)

    def line(self) -> str | None:
        """The same as one line, below the events themselves where they are few; ``None`` when nothing came since."""
        statistics = self._collector.statistics()
        rate = self._rate.of(statistics.events, time.monotonic())
        text = f"{count(statistics.events, 'event')} in {count(statistics.batches, 'batch', 'batches')}"
        text += f", {size(statistics.body_bytes)}"
        for word, number in (
            ("refused", statistics.refused),
            ("failed", statistics.failed),
            ("reset", statistics.resets),
            ("stalled", statistics.stalls),
            ("duplicates", statistics.duplicates),
        ):
            text += f", {number:,} {word}" if number else ""
        if statistics.last_error is not None:
            text += f" (last error {one_line(statistics.last_error)})"
        if text == self._said or not statistics.requests:
            return None
        self._said = text
        new, self._told = statistics.events - self._told, statistics.events
        events = statistics.latest[-new:] if 0 < new <= len(statistics.latest) else ()  # of many, some tell nothing
        return "\n".join([*events, f"{text}, {rate:,.0f} events/s"])
