"""What the commands for spools are asked for, as the command line spells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventpipe.cli.formats import CodecName, CompressionName
from eventpipe.cli.whole import Whole


@dataclass(frozen=True, slots=True)
class LookOptions:
    """Of ``status``, ``verify`` and ``repair``.

    Attributes:
        json: Print the report as JSON, and no progress.
    """

    json: bool = False


@dataclass(frozen=True, slots=True)
class ListOptions:
    """Of ``list``.

    Attributes:
        sink: Only what this sink is owed.
        name: Only events of this name.
        limit: So many at most, those that were written first.
        json: Print an object a line, in full.
    """

    sink: str | None = None
    name: str | None = None
    limit: Annotated[Whole, Parameter(alias="-n")] = 50
    json: bool = False


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Of ``export``.

    Attributes:
        sink: Only what this sink is owed.
        output: Write to this file, which must not exist yet; standard output unless given.
    """

    sink: str | None = None
    output: Annotated[Path | None, Parameter(alias="-o")] = None


@dataclass(frozen=True, slots=True)
class PurgeOptions:
    """Of ``purge``.

    Attributes:
        all: Delete everything, also what is damaged.
        sink: Let go of what this sink is owed; what others are owed too stays for them.
        before: Delete what was captured before a time such as 2026-01-31T09:05:00Z, or 10d for ten days ago.
        yes: Do not ask; needed where nobody can answer.
        json: Print the report as JSON.
    """

    all: bool = False
    sink: str | None = None
    before: str | None = None
    yes: bool = False
    json: bool = False


@dataclass(frozen=True, slots=True)
class DrainOptions:
    """Of ``drain``.

    Attributes:
        to: The URL to send to; for PostHog, Segment and OTLP that of the host.
        sink: Only what this sink is owed; what others are owed too stays for them. Unless given, each event is sent
            once, and let go of for all.
        codec: The wire format that the far end reads, as for eventpipe send.
        api_key: As for eventpipe send; better put into EVENTPIPE_API_KEY, where no process list shows it.
        secret: What webhooks are signed with; better put into EVENTPIPE_WEBHOOK_SECRET. May be given more than once.
        source: Who sends, for CloudEvents.
        compression: How bodies are compressed.
        drain: How long sending may go on after Ctrl-C, such as 15s.
        allow_insecure: Send over plain http to other machines too.
        json: Print the report as JSON, and no progress.
    """

    to: str
    sink: str | None = None
    codec: CodecName = "json"
    api_key: str | None = field(default=None, repr=False)
    secret: tuple[str, ...] | None = field(default=None, repr=False)
    source: str | None = None
    compression: CompressionName = "gzip"
    drain: str = "15s"
    allow_insecure: bool = False
    json: bool = False
