"""``eventpipe endpoints list``, ``show``, ``pause``, ``resume``, ``disable``, ``remove`` and ``test``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import orjson
from rich.console import Console

from eventpipe.cli import delivery_words as words
from eventpipe.cli.columns import Row, show_columns
from eventpipe.cli.deliveries import LookOptions
from eventpipe.cli.delivery_file import endpoint_of, opened, opened_to_read
from eventpipe.cli.display import say, table
from eventpipe.cli.endpoint_changes import DASH
from eventpipe.cli.failures import FAILURE, UsageError, one_line
from eventpipe.cli.log_file import run
from eventpipe.cli.parse import parse_duration
from eventpipe.cli.secrets import read_secrets
from eventpipe.cli.text import count, readable
from eventpipe.delivery import Deliveries, DeliveryOutcome
from eventpipe.delivery.deliveries import TEST_EVENT
from eventpipe.stores.delivery_values import EndpointInfo, EndpointStats

Switch = Literal["pause", "resume", "disable", "remove"]

_HEADINGS = ("<endpoint", "<is", "<kind", "<where", "<scheme", "<limits", "open", "failed", "<due")
_BECOMES: Final = {
    "pause": "is paused",
    "resume": "is delivered to",
    "disable": "is disabled",
    "remove": "is removed, with its secrets,",
}


@dataclass(frozen=True, slots=True)
class HaltOptions:
    """What ``eventpipe endpoints pause`` and ``disable`` were asked for, as the command line spells it.

    Attributes:
        reason: Why, in words, for whoever looks at the endpoint.
        json: Print JSON.
    """

    reason: str | None = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """What ``eventpipe endpoints test`` was asked for, as the command line spells it.

    Attributes:
        event: The name of the event that is sent.
        secret_from: Sign with other secrets than those that are kept, as add has them.
        timeout: How long the attempt may take, unless the endpoint has its own.
        json: Print JSON.
    """

    event: str = TEST_EVENT
    secret_from: Annotated[str | None, DASH] = None
    timeout: str = "15s"
    json: bool = False


# -- looking ----------------------------------------------------------------------------------------------------------


def list_endpoints(file: Path, options: LookOptions, out: Console) -> int:
    """List endpoints, by name; return the exit code.

    Raises:
        CommandError: The file cannot be read.
    """
    return run(_list(file, options, out), out)


async def _list(file: Path, options: LookOptions, out: Console) -> int:
    async with opened_to_read(file) as deliveries:
        endpoints = await deliveries.endpoints()
        stats = {(one.endpoint.name, one.endpoint.created_at): one for one in await deliveries.stats()}
    if options.json:
        say(out, orjson.dumps({"endpoints": [words.endpoint_json(endpoint) for endpoint in endpoints]}).decode())
    elif endpoints:
        now = time.time()
        rows = [_row(endpoint, stats.get((endpoint.name, endpoint.created_at)), now) for endpoint in endpoints]
        show_columns(out, _HEADINGS, rows)
    else:
        say(out, f"{readable(str(file))} has no endpoints yet; eventpipe endpoints add makes one")
    return 0


def _row(endpoint: EndpointInfo, stats: EndpointStats | None, now: float) -> Row:
    return (
        endpoint.name,
        str(endpoint.state),
        endpoint.kind,
        endpoint.url or words.NOTHING,
        endpoint.scheme if endpoint.kind == "webhook" else words.NOTHING,
        words.limits(endpoint),
        "0" if stats is None else count(words.open_rows(stats)),
        "0" if stats is None else count(words.failed_rows(stats)),
        words.NOTHING if stats is None else words.due(stats.first_due_at, now),
    )


def show_endpoint(file: Path, name: str, options: LookOptions, out: Console) -> int:
    """Show an endpoint, the rules that name it, and how its deliveries stand; return the exit code.

    Raises:
        CommandError: There is no such endpoint, or the file cannot be read.
    """
    return run(_show(file, name, options, out), out)


async def _show(file: Path, name: str, options: LookOptions, out: Console) -> int:
    async with opened_to_read(file) as deliveries:
        endpoint = await endpoint_of(deliveries, name)
        rules = [rule for rule in await deliveries.rules() if name in rule.endpoints]
        rows = await _rows_of(deliveries, endpoint)
    said = words.endpoint_json(endpoint)
    if options.json:
        kept = {str(state): number for state, number in rows.items()}
        more = {"rules": [words.rule_json(rule) for rule in rules], "deliveries": kept}
        say(out, orjson.dumps({"endpoint": said, **more}).decode())
        return 0
    said["headers"] = ", ".join(endpoint.headers) or None  # names; their values are private
    said["deliveries"] = words.numbers(rows)
    said["rules"] = ", ".join(rule.name for rule in rules) or None
    out.print(table((key.replace("_", " "), words.NOTHING if v is None else str(v)) for key, v in said.items()))
    return 0


async def _rows_of(deliveries: Deliveries, endpoint: EndpointInfo) -> words.Numbers:
    """How its deliveries stand; those of one of its name that was removed are not its own."""
    for stats in await deliveries.stats():
        if (stats.endpoint.name, stats.endpoint.created_at) == (endpoint.name, endpoint.created_at):
            return stats.rows
    return {}


# -- switching --------------------------------------------------------------------------------------------------------


def switch_endpoint(file: Path, name: str, to: Switch, reason: str | None, out: Console, *, as_json: bool) -> int:
    """Pause, resume, disable or remove an endpoint, and say what it was; return the exit code.

    Raises:
        CommandError: There is no such endpoint, the reason cannot be kept, or the file cannot be used.
    """
    return run(_switch(file, name, to, reason, out, as_json=as_json), out)


async def _switch(file: Path, name: str, to: Switch, reason: str | None, out: Console, *, as_json: bool) -> int:
    async with opened(file) as deliveries:
        before = await endpoint_of(deliveries, name)
        after: EndpointInfo | None = None
        try:
            if to == "pause":
                after = await deliveries.pause_endpoint(name, reason)
            elif to == "disable":
                after = await deliveries.disable_endpoint(name, reason)
            elif to == "resume":
                after = await deliveries.resume_endpoint(name)
            else:
                await deliveries.remove_endpoint(name)
        except ValueError as error:
            raise UsageError(str(error)) from error
        rows = await _rows_of(deliveries, before)  # which takes its time where there are many
    if as_json:
        said = {
            "was": words.endpoint_json(before),
            "is": None if after is None else words.endpoint_json(after),
            "deliveries": {str(state): number for state, number in rows.items()},
        }
        say(out, orjson.dumps(said).decode())
    else:
        again = " as before" if after is not None and after.state is before.state else f" and was {before.state}"
        say(out, one_line(f"{name!r} {_BECOMES[to]}{again}; its deliveries: {words.numbers(rows)}"))
    return 0


# -- testing ----------------------------------------------------------------------------------------------------------


def probe_endpoint(file: Path, name: str, options: ProbeOptions, out: Console) -> int:
    """Send an event to an endpoint once; return the exit code: 0 only if it was accepted.

    Raises:
        CommandError: There is no such endpoint, an option has no meaning, or the file cannot be used.
    """
    timeout = parse_duration("--timeout", options.timeout)
    secrets = None if options.secret_from is None else read_secrets("--secret-from", options.secret_from)
    return run(_test(file, name, timeout, secrets, options, out), out)


async def _test(
    file: Path, name: str, timeout: float, secrets: tuple[str, ...] | None, options: ProbeOptions, out: Console
) -> int:
    async with opened(file, secrets=None if secrets is None else lambda _: secrets) as deliveries:
        await endpoint_of(deliveries, name)
        try:
            attempt = await deliveries.test_endpoint(name, options.event, timeout=timeout)
        except ValueError as error:
            raise UsageError(str(error)) from error
    is_delivered = attempt.outcome == DeliveryOutcome.DELIVERED
    if options.json:
        said = {"ok": is_delivered, "endpoint": name, "attempt": words.attempt_json(attempt)}
        say(out, orjson.dumps(said).decode())
    else:
        say(out, one_line(f"{name!r}: {words.attempt_text(attempt)}"))
        if attempt.response:
            say(out, one_line(f"  it said: {attempt.response}"))
    return 0 if is_delivered else FAILURE
