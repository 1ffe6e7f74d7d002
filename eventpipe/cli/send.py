"""``eventpipe send``: files to a far end, every line accounted for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from eventpipe.cli.display import say, shown, table
from eventpipe.cli.failures import FAILURE, UsageError, one_line
from eventpipe.cli.far_end import TrackedSink, check_reachable, make_sink
from eventpipe.cli.fields import Fields
from eventpipe.cli.formats import CodecName, CompressionName, FormatOptions, LaneName
from eventpipe.cli.inputs import Input, check_inputs
from eventpipe.cli.parse import parse_duration
from eventpipe.cli.rate import Rate
from eventpipe.cli.rejects import Rejects
from eventpipe.cli.rows import Format
from eventpipe.cli.send_report import SendReport
from eventpipe.cli.sending import Sending
from eventpipe.cli.signals import stop_signals
from eventpipe.cli.text import count, size
from eventpipe.client import AsyncClient

BAR_WIDTH = 40


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What ``eventpipe send`` was asked for, as the command line spells it.

    Attributes:
        to: The URL to send to; for PostHog, Segment and OTLP that of the host.
        codec: The wire format that the far end reads: json, ndjson, posthog, posthog-v1, segment, cloudevents,
            cloudevents-structured, cloudevents-binary, otlp, otlp-json, feature-flags or webhook.
        api_key: PostHog's project key, Segment's write key, or a bearer token; better put into EVENTPIPE_API_KEY, where
            no process list shows it.
        secret: What webhooks and exports of feature flags are signed with; better put into EVENTPIPE_WEBHOOK_SECRET.
            May be given more than once for webhooks, while one takes the place of another.
        source: Who sends, for CloudEvents: a URI reference such as /shop/checkout.
        compression: How bodies are compressed; formats whose far ends read no gzip are sent plain unless given.
        lane: Mark all events as an import of old ones, or as those of language models; for PostHog. Unless given, a
            line in our own form has the lane that it says.
        format: How lines are read; by the file's suffix unless given, and NDJSON from standard input.
        event_field: The field that has an event's name.
        distinct_id_field: The field that says whom an event is about.
        timestamp_field: The field that says when it happened: ISO 8601 or Unix time.
        event: The name of events whose line has none.
        delimiter: What parts the values of a CSV line; a comma, and a tab in .tsv, unless given.
        rejects: Write the lines that were not delivered to this file, with the reason.
        drain: How long sending may go on after Ctrl-C, such as 15s.
        allow_insecure: Send over plain http to other machines too.
        json: Print the report as JSON, and no progress.
    """

    to: str
    codec: CodecName = "json"
    api_key: str | None = field(default=None, repr=False)
    secret: tuple[str, ...] | None = field(default=None, repr=False)
    source: str | None = None
    compression: CompressionName = "gzip"
    lane: LaneName | None = None
    format: Format | None = None
    event_field: str = "event"
    distinct_id_field: str = "distinct_id"
    timestamp_field: str = "timestamp"
    event: str | None = None
    delimiter: str | None = None
    rejects: Path | None = None
    drain: str = "15s"
    allow_insecure: bool = False
    json: bool = False

    def fields(self) -> Fields:
        """Which fields name the parts of an event."""
        return Fields(self.event_field, self.distinct_id_field, self.timestamp_field, self.event)

    def sink(self) -> TrackedSink:
        """Where to send, and how.

        Raises:
            UsageError: It cannot be.
        """
        wire = FormatOptions(self.codec, self.api_key, self.secret, self.source, self.lane)
        return make_sink(self.to, wire, compression=self.compression, allow_insecure=self.allow_insecure)


def send(files: Sequence[str], options: SendOptions, out: Console, err: Console) -> int:
    """Send the lines of some files and report; return the exit code: 0 only if every line was delivered.

    Args:
        files: Paths, or ``-`` for standard input.
        options: The rest of the command line.
        out: Gets the report.
        err: Gets progress, and what is wrong with lines.

    Raises:
        CommandError: There is nothing to read, nobody to send to, or the command line is wrong.
    """
    fields = options.fields()
    inputs = check_inputs(files, options.format, fields, options.delimiter)
    drain = parse_duration("--drain", options.drain)
    _check_rejects(options.rejects, inputs)
    report = asyncio.run(_send(options.sink(), inputs, fields, drain, options, err))
    if options.json:
        say(out, orjson.dumps(report.as_json()).decode())
    else:
        for line in report.text():
            say(out, line)
    return 0 if report.is_ok else FAILURE


async def _send(
    sink: TrackedSink, inputs: Sequence[Input], fields: Fields, drain: float, options: SendOptions, err: Console
) -> SendReport:
    rejects = Rejects(options.rejects)
    sending = Sending(inputs, fields, rejects, lambda line: say(err, one_line(line)), lane=options.lane)
    sink.on_delivered = sending.on_delivered
    try:
        client = AsyncClient(sink, overflow="wait", on_drop=sending.on_drop)
    except ValueError as error:  # from an EVENTPIPE_* variable
        raise UsageError(str(error)) from error
    started = time.monotonic()
    try:
        await check_reachable(sink.url)
        rejects.open()
        view = SendView(sending, client, inputs, options.to, started)
        with stop_signals() as stop:
            running = sending.run(client, stop, drain=drain, announce=lambda line: say(err, line))
            if options.json:
                await running
            else:
                async with shown(err, view.frame, view.line):
                    await running
    finally:
        await client.aclose(0)
        sending.close_rejects()
    return SendReport.of(sending, client.statistics(), rejects, options.rejects, time.monotonic() - started)


def _check_rejects(rejects: Path | None, inputs: Sequence[Input]) -> None:
    """Refuse to write over what is to be read."""
    if rejects is not None and rejects.exists():
        for item in inputs:
            if item.size is not None and rejects.samefile(item.name):
                raise UsageError(f"--rejects: {rejects} is one of the files to send")


class SendView:
    """Puts a running send into words."""

    def __init__(self, sending: Sending, client: AsyncClient, inputs: Sequence[Input], to: str, started: float) -> None:
        self._sending = sending
        self._client = client
        self._to = to
        self._rate = Rate(started)
        sizes = [item.size for item in inputs]
        self._total = sum(size for size in sizes if size is not None) if None not in sizes else None

    def frame(self) -> RenderableType:
        """The live table under a progress bar."""
        statistics = self._client.statistics()
        rows = [
            ("delivered", f"{statistics.delivered:,}"),
            ("waiting", f"{statistics.pending:,}"),
            ("rate", f"{self._rate.of(statistics.delivered, time.monotonic()):,.0f} events/s"),
            ("read", self._read()),
            ("retries", f"{statistics.retries:,}"),
            ("dropped", f"{statistics.dropped:,}"),
            ("malformed", f"{self._sending.malformed:,}"),
        ]
        return Group(f"sending to {escape(one_line(self._to))}", self._bar(), table(rows))

    def line(self) -> str:
        """The same as one line."""
        statistics = self._client.statistics()
        rate = self._rate.of(statistics.delivered, time.monotonic())
        text = f"{count(statistics.delivered)} delivered, {count(statistics.pending)} waiting, {rate:,.0f} events/s"
        text += f", {self._read()} read, {count(statistics.retries, 'retry', 'retries')}"
        dropped = statistics.dropped + self._sending.malformed
        return text + (f", {count(dropped)} not delivered" if dropped else "")

    def _bar(self) -> RenderableType:
        """How much of the files was read; without a total the bar only pulses."""
        read, total = self._sending.bytes_read, self._total
        grid = Table.grid(padding=(0, 1))
        share = "" if total is None else f"{100 * read // total if total else 100} %"
        grid.add_row(ProgressBar(total, read, width=BAR_WIDTH, pulse=total is None), share)
        return grid

    def _read(self) -> str:
        read = size(self._sending.bytes_read)
        return f"{read} of {size(self._total)}" if self._total is not None else read
