"""``eventpipe deliveries list``, ``show``, ``stats`` and ``purge``: what became of what was published."""

from __future__ import annotations

import datetime
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import orjson
from cyclopts import Parameter
from rich.console import Console

from eventpipe.cli import delivery_words as words
from eventpipe.cli.columns import Row, show_columns
from eventpipe.cli.delivery_file import check_endpoint, opened, opened_to_read
from eventpipe.cli.delivery_filter import FilterOptions
from eventpipe.cli.display import say, table
from eventpipe.cli.failures import UsageError, one_line
from eventpipe.cli.log_file import run
from eventpipe.cli.log_words import age, stamp
from eventpipe.cli.output import Output
from eventpipe.cli.positions import parse_moment
from eventpipe.cli.text import count, readable
from eventpipe.cli.whole import Whole
from eventpipe.delivery import Deliveries
from eventpipe.errors import UnknownDeliveryError
from eventpipe.stores.delivery_values import DeliveryFilter, DeliveryRow, EndpointStats, PublishedEvent

USUAL_NUMBER: Final = 50  # deliveries that fit on a screen or two
PAGE: Final = 500

_HEADINGS = ("id", "<event", "<endpoint", "<state", "attempts", "age", "<due", "<last answer")
_STATS = ("<endpoint", "<is", "pending", "sending", "resending", "success", "failed", "claimed", "<due")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What ``eventpipe deliveries list`` was asked for, as the command line spells it.

    Attributes:
        number: List so many deliveries, the newest first; 50 unless given, and with --json all of them.
        json: Print JSON, an object a line.
    """

    number: Annotated[Whole | None, Parameter(alias="-n")] = None
    json: bool = False


@dataclass(frozen=True, slots=True)
class LookOptions:
    """What commands were asked for where that is all there is to say, as the command line spells it.

    Attributes:
        json: Print JSON.
    """

    json: bool = False


@dataclass(frozen=True, slots=True)
class PurgeOptions:
    """What ``eventpipe deliveries purge`` was asked for, as the command line spells it.

    Attributes:
        before: Delete what was settled before a time such as 2026-01-31T09:05:00Z, or 30d for thirty days ago.
        json: Print JSON.
    """

    before: str
    json: bool = False


# -- list -------------------------------------------------------------------------------------------------------------


def list_deliveries(file: Path, filters: FilterOptions, options: ListOptions, out: Console) -> int:
    """List deliveries, the newest first; return the exit code.

    Raises:
        CommandError: The file cannot be read, or an option has no meaning.
    """
    if options.number is not None and options.number < 0:
        raise UsageError(f"--number: must be at least 0, not {options.number}")
    return run(_list(file, filters.filter(), options, out), out)


async def _list(file: Path, wanted: DeliveryFilter, options: ListOptions, out: Console) -> int:
    async with opened_to_read(file) as deliveries:
        await check_endpoint(deliveries, wanted.endpoint)
        if options.json:
            output = Output(out)
            async for row in rows_of(deliveries, wanted, options.number):
                await output.add(orjson.dumps(words.row_json(row)))
            await output.flush()
            return 0
        number = USUAL_NUMBER if options.number is None else options.number
        rows = [row async for row in rows_of(deliveries, wanted, number + 1)]
    now = time.time()
    if rows[:number]:
        show_columns(out, _HEADINGS, [_row(row, now) for row in rows[:number]])
    if len(rows) > number:
        say(out, "there are more; --number shows more of them")
    elif not rows:
        say(out, f"{readable(str(file))} has no deliveries{'' if wanted == DeliveryFilter() else ' that are so'}")
    return 0


async def rows_of(
    deliveries: Deliveries, wanted: DeliveryFilter, number: int | None = None
) -> AsyncIterator[DeliveryRow]:
    """Deliveries that a filter wants, newest first, a page at a time; at most so many, or all of them."""
    after: int | None = None
    while number is None or number > 0:
        limit = PAGE if number is None else min(PAGE, number)
        rows = await deliveries.rows(wanted, after=after, limit=limit)
        for row in rows:
            yield row
        if len(rows) < limit:
            return
        after = rows[-1].id
        number = None if number is None else number - len(rows)


def _row(row: DeliveryRow, now: float) -> Row:
    return (
        str(row.id),
        row.event_name,
        row.endpoint,
        words.state(row),
        count(row.total_attempts),
        age(now - row.created_at),
        words.due(row.due_at, now),
        words.last(row),
    )


# -- show -------------------------------------------------------------------------------------------------------------


def show_delivery(file: Path, id_: int, options: LookOptions, out: Console) -> int:
    """Show a delivery, its attempts and its event; return the exit code.

    Raises:
        CommandError: There is no such delivery, or the file cannot be read.
    """
    return run(_show(file, id_, options, out), out)


async def _show(file: Path, id_: int, options: LookOptions, out: Console) -> int:
    async with opened_to_read(file) as deliveries:
        row = await deliveries.row(id_)
        attempts = await deliveries.attempts(id_)
        event = await _event_of(deliveries, row)
    said = words.row_json(row)
    if options.json:
        kept = [words.attempt_json(attempt) for attempt in attempts]
        say(out, orjson.dumps({"delivery": said, "attempts": kept, "event": words.event_json(event)}).decode())
        return 0
    out.print(table((name.replace("_", " "), words.NOTHING if v is None else str(v)) for name, v in said.items()))
    if event is not None and event.fault is not None:
        say(out, one_line(f"what is kept of the event cannot be read: {event.fault}"))
    for attempt in attempts:
        say(out, one_line(f"attempt {attempt.number}, {stamp(attempt.began_at)}: {words.attempt_text(attempt)}"))
        if attempt.response:
            say(out, one_line(f"  it said: {attempt.response}"))
    payload = words.event_json(event)
    if payload is not None and payload["event"] is not None:
        say(out, orjson.dumps(payload["event"], option=orjson.OPT_INDENT_2).decode())
    return 0


async def _event_of(deliveries: Deliveries, row: DeliveryRow) -> PublishedEvent | None:
    try:
        return await deliveries.event(row.event_uuid)
    except UnknownDeliveryError:  # retention deleted it since
        return None


# -- stats ------------------------------------------------------------------------------------------------------------


def show_stats(file: Path, options: LookOptions, out: Console) -> int:
    """Show how the deliveries of each endpoint stand; return the exit code.

    Raises:
        CommandError: The file cannot be read.
    """
    return run(_stats(file, options, out), out)


async def _stats(file: Path, options: LookOptions, out: Console) -> int:
    async with opened_to_read(file) as deliveries:
        stats = await deliveries.stats()
    if options.json:
        say(out, orjson.dumps({"endpoints": [words.stats_json(one) for one in stats]}).decode())
    elif stats:
        now = time.time()
        show_columns(out, _STATS, [_stats_row(one, now) for one in stats])
    else:
        say(out, f"{readable(str(file))} has no endpoints yet; eventpipe endpoints add makes one")
    return 0


def _stats_row(stats: EndpointStats, now: float) -> Row:
    rows = {str(state): count(number) for state, number in stats.rows.items()}
    return (
        stats.endpoint.name,
        str(stats.endpoint.state),
        *(rows.get(state, "0") for state in _STATS[2:7]),
        count(stats.claimed),
        words.due(stats.first_due_at, now),
    )


# -- purge ------------------------------------------------------------------------------------------------------------


def purge(file: Path, options: PurgeOptions, out: Console) -> int:
    """Delete deliveries that were settled before a time, with attempts and events; return the exit code.

    Raises:
        CommandError: The file cannot be used, or the time is none.
    """
    before = parse_moment("--before", options.before, datetime.datetime.now(datetime.UTC))
    assert before is not None  # noqa: S101  # the option has to be given
    return run(_purge(file, before, options, out), out)


async def _purge(file: Path, before: float, options: PurgeOptions, out: Console) -> int:
    async with opened(file) as deliveries:
        number = await deliveries.purge(before=before)
    if options.json:
        say(out, orjson.dumps({"ok": True, "deleted": number, "before": stamp(before)}).decode())
    else:
        what = f"{count(number, 'delivery', 'deliveries')} from before {stamp(before)} deleted"
        say(out, f"{what}; an event that had no endpoint counts as one")
    return 0
