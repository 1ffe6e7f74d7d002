"""The sink that ``eventpipe send`` sends to, and whether anybody is there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit

from eventpipe.cli.failures import CommandError, UsageError, reason_of
from eventpipe.codecs import JsonCodec, NdjsonCodec, PostHogV0
from eventpipe.codecs.posthog import posthog_host
from eventpipe.events import Batch
from eventpipe.outcomes import OutcomeKind, Verdict
from eventpipe.sinks.http import HttpSink
from eventpipe.sinks.urls import is_loopback

CodecName = Literal["json", "ndjson", "posthog"]
KEY_VARIABLE = "EVENTPIPE_API_KEY"
CONNECT_TIMEOUT = 5.0  # seconds: a machine that is there answers within one, a filtered port never


class TrackedSink(HttpSink):
    """An ``HttpSink`` that tells which events were delivered.

    Attributes:
        on_delivered: Called with the ids of delivered events after each attempt; set before the first.
    """

    on_delivered: Callable[[Sequence[str]], None]

    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        """Send as ``HttpSink`` does, and pass on what was delivered."""
        verdicts = await super().send(batch)
        if verdicts is None:
            self.on_delivered([event.uuid for event in batch.events])
        else:
            pairs = zip(batch.events, verdicts, strict=True)
            self.on_delivered([event.uuid for event, verdict in pairs if verdict.kind is OutcomeKind.DELIVERED])
        return verdicts


def make_sink(to: str, codec: CodecName, api_key: str | None, *, allow_insecure: bool) -> TrackedSink:
    """The sink for an address.

    Args:
        to: The URL; for PostHog that of the host.
        codec: The wire format.
        api_key: A PostHog project key, or what other far ends take as a bearer token. ``None``: from
            ``EVENTPIPE_API_KEY``, and none if that is empty.
        allow_insecure: Whether plain http may leave this machine.

    Raises:
        UsageError: The address or the key cannot be right, or the key is missing.
    """
    api_key = api_key if api_key is not None else os.environ.get(KEY_VARIABLE) or None
    if api_key is not None and not all("!" <= character <= "~" for character in api_key):
        raise UsageError(f"--api-key, {KEY_VARIABLE}: must be printable ASCII without spaces (its value is not shown)")
    with suppress(ValueError):  # of an address that cannot be taken apart, which the sink refuses with its own words
        parts = urlsplit(to.strip())
        if parts.scheme == "http" and parts.hostname and not (allow_insecure or is_loopback(parts.hostname)):
            raise UsageError("--to: plain http to another machine needs --allow-insecure; use https where you can")
    wire: JsonCodec | PostHogV0
    headers = None
    if codec == "posthog":
        if not api_key:
            raise UsageError(f"--codec posthog needs the project's key: --api-key, or {KEY_VARIABLE}")
        wire = PostHogV0(api_key)
    else:
        wire = NdjsonCodec() if codec == "ndjson" else JsonCodec()
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
    try:
        return TrackedSink(to, wire, headers=headers, allow_insecure=allow_insecure)
    except ValueError as error:
        raise UsageError(f"--to: {error}") from error


async def check_reachable(to: str, codec: CodecName) -> None:
    """Connect once, so that a wrong port is told now and not after minutes of attempts.

    Raises:
        CommandError: Nobody answers there.
    """
    parts = urlsplit(posthog_host(to) if codec == "posthog" else to)
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
