"""``eventpipe deliveries resend`` and ``cancel``: ask for deliveries again, or not any more."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import orjson
from rich.console import Console

from eventpipe.cli.agreement import agree
from eventpipe.cli.deliveries import rows_of
from eventpipe.cli.delivery_file import check_endpoint, opened
from eventpipe.cli.delivery_filter import FilterOptions
from eventpipe.cli.display import say
from eventpipe.cli.failures import FAILURE, UsageError
from eventpipe.cli.log_file import run
from eventpipe.cli.text import count
from eventpipe.delivery import Asked, Deliveries
from eventpipe.stores.delivery_values import OPEN, DeliveryFilter, DeliveryState

Request = Literal["resend", "cancel"]

_USUAL: Final = {"resend": frozenset({DeliveryState.FAILED}), "cancel": OPEN}
_DONE: Final = {"resend": "asked for again", "cancel": "cancelled"}


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """What ``eventpipe deliveries resend`` and ``cancel`` were asked for, as the command line spells it.

    Attributes:
        to: Of the event that is named, only the delivery to this endpoint; may be given more than once.
        all: Where nothing else says which: all that failed, or all that are still to be attempted.
        dry_run: Say how many there are, and change nothing.
        yes: Do not ask; needed where nobody can answer.
        json: Print JSON.
    """

    to: tuple[str, ...] | None = None
    all: bool = False
    dry_run: bool = False
    yes: bool = False
    json: bool = False

    def check(self, request: Request, event_uuid: str | None, filters: FilterOptions) -> None:
        """See that these go together.

        Raises:
            UsageError: They do not.
        """
        if event_uuid is not None:
            if self.all or not filters.is_all:
                raise UsageError(f"{request} takes the id of an event, or options that say which; not both")
            if self.dry_run:
                raise UsageError("--dry-run is for options that say which; list shows the deliveries of an event")
            return
        if self.to is not None:
            raise UsageError("--to goes with the id of an event; --endpoint says which deliveries otherwise")
        if self.all is not filters.is_all:
            raise UsageError(
                f"{request} needs the id of an event, or options that say which, such as --endpoint, or --all; and"
                " one of these"
            )


def request(
    file: Path, asked: Request, event_uuid: str | None, filters: FilterOptions, options: RequestOptions, out: Console
) -> int:
    """Ask for deliveries again, or not any more; return the exit code: 0 only if it holds for all of them.

    Args:
        file: Where they are kept.
        asked: For what.
        event_uuid: Of the event whose deliveries are meant. ``None``: the filters say.
        filters: Which.
        options: The rest of the command line.
        out: Gets the report.

    Raises:
        CommandError: There is no such event or endpoint, the file cannot be used, or nobody agreed.
    """
    options.check(asked, event_uuid, filters)
    if event_uuid is not None:
        return run(_of_event(file, asked, event_uuid, options, out), out)
    return run(_of_all(file, asked, filters.filter(_USUAL[asked]), options, out), out)


async def _of_event(file: Path, asked: Request, event_uuid: str, options: RequestOptions, out: Console) -> int:
    async with opened(file) as deliveries:
        for name in options.to or ():
            await check_endpoint(deliveries, name)
        method = deliveries.resend if asked == "resend" else deliveries.cancel_deliveries
        return _tell(asked, await method(event_uuid, options.to), options, out)


async def _of_all(file: Path, asked: Request, wanted: DeliveryFilter, options: RequestOptions, out: Console) -> int:
    async with opened(file) as deliveries:
        await check_endpoint(deliveries, wanted.endpoint)
        if options.dry_run or not options.yes:
            number = await _count(deliveries, wanted)
            if options.dry_run:
                return _tell_number(asked, number, options, out)
            await _agree(asked, number, out)
        method: Callable[[DeliveryFilter], Awaitable[Asked]] = (
            deliveries.resend_all if asked == "resend" else deliveries.cancel_all
        )
        return _tell(asked, await method(wanted), options, out)


async def _count(deliveries: Deliveries, wanted: DeliveryFilter) -> int:
    number = 0
    async for _ in rows_of(deliveries, wanted):
        number += 1
    return number


async def _agree(asked: Request, number: int, out: Console) -> None:
    """Have somebody agree.

    Raises:
        UsageError: Nobody can, or somebody does not.
    """
    if not number:
        return
    what = f"{count(number, 'delivery', 'deliveries')} would be {_DONE[asked]}"
    await agree(what, "--yes to do so, or --dry-run to see the number alone", out)


def _tell_number(asked: Request, number: int, options: RequestOptions, out: Console) -> int:
    if options.json:
        say(out, orjson.dumps({"ok": True, "dry_run": True, "deliveries": number}).decode())
    else:
        say(out, f"{count(number, 'delivery', 'deliveries')} would be {_DONE[asked]}")
    return 0


def _tell(asked: Request, answer: Asked, options: RequestOptions, out: Console) -> int:
    is_done = not answer.missed and not answer.refused
    if options.json:
        said = {"ok": is_done, "done": answer.done, "refused": answer.refused, "missed": answer.missed}
        say(out, orjson.dumps(said).decode())
    else:
        say(out, f"{count(len(answer.done), 'delivery', 'deliveries')} {_DONE[asked]}")
        if answer.refused:
            say(out, f"{_ids(answer.refused)} left as they are: final already")
        if answer.missed:
            say(out, f"{_ids(answer.missed)} changed whenever this was about to change them; ask again")
    return 0 if is_done else FAILURE


def _ids(ids: tuple[int, ...]) -> str:
    """How many, and the first of them by their ids."""
    shown = ", ".join(map(str, sorted(ids)[:10]))
    return f"{count(len(ids), 'delivery', 'deliveries')} ({shown}{', …' if len(ids) > 10 else ''})"
