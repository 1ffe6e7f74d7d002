"""The sink that ``eventpipe send`` sends to, and whether anybody is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from eventpipe.cli.failures import CommandError, UsageError, reason_of
from eventpipe.cli.formats import CompressionName, FormatOptions
from eventpipe.events import Batch
from eventpipe.outcomes import OutcomeKind, Verdict
from eventpipe.sinks.http import HttpSink
from eventpipe.sinks.urls import is_loopback

CONNECT_TIMEOUT = 5.0  # seconds: a machine that is there answers within one, a filtered port never


class TrackedSink(HttpSink):
    """An ``HttpSink`` that tells which events were delivered.

    Attributes:
        on_delivered: Called with the ids of delivered events after each attempt; set before the first.
    """

    on_delivered: Callable[[Sequence[str]], None]

    @property
    def url(self) -> str:
        """The address that requests are joined to."""
        return self._url

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Send as ``HttpSink`` does, and pass on what was delivered."""
        verdicts = await super().send(batch)
        if verdicts is None:
            self.on_delivered([event.uuid for event in batch.events])
        else:
            pairs = zip(batch.events, verdicts, strict=True)
            self.on_delivered([event.uuid for event, verdict in pairs if verdict.kind is OutcomeKind.DELIVERED])
        return verdicts


def make_sink(
    to: str, options: FormatOptions, *, compression: CompressionName = "gzip", allow_insecure: bool = False
) -> TrackedSink:
    """The sink for an address.

    Args:
        to: The URL; for PostHog, Segment and OTLP that of the host.
        options: The wire format.
        compression: How bodies are compressed, where the far end reads that.
        allow_insecure: Whether plain http may leave this machine.

    Raises:
        UsageError: The address or an option cannot be right, or one is missing.
    """
    codec = options.make()
    with suppress(ValueError):  # of an address that cannot be taken apart, which the sink refuses with its own words
        parts = urlsplit(to.strip())
        if parts.scheme == "http" and parts.hostname and not (allow_insecure or is_loopback(parts.hostname)):
            raise UsageError("--to: plain http to another machine needs --allow-insecure; use https where you can")
    coding = None if compression == "none" else compression
    try:
        return TrackedSink(to, codec, compression=coding, headers=options.bearer, allow_insecure=allow_insecure)
    except (ValueError, ImportError) as error:  # the latter of a library that compresses
        option = "--compression" if "compression" in str(error) else "--to"
        raise UsageError(f"{option}: {error}") from error


async def check_reachable(url: str) -> None:
    """Connect once, so that a wrong port is told now and not after minutes of attempts.

    Args:
        url: The address that the sink sends to.

    Raises:
        CommandError: Nobody answers there.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            await writer.wait_closed()
    except TimeoutError as error:
        raise CommandError(f"cannot reach {host}:{port}: no answer within {CONNECT_TIMEOUT:g} s") from error
    except OSError as error:
        raise CommandError(f"cannot reach {host}:{port}: {reason_of(error)}") from error
    except UnicodeError as error:  # a part of the name is empty, or too long
        raise CommandError(f"cannot reach {host}:{port}: no such host") from error
