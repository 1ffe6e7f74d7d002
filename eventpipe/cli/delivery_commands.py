"""The commands for deliveries and endpoints: their words, read by cyclopts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter
from rich.console import Console

from eventpipe.cli.deliveries import (
    ListOptions,
    LookOptions,
    PurgeOptions,
    list_deliveries,
    purge,
    show_delivery,
    show_stats,
)
from eventpipe.cli.delivery_filter import FilterOptions
from eventpipe.cli.delivery_requests import RequestOptions, request
from eventpipe.cli.endpoint_changes import (
    AddOptions,
    RotateOptions,
    RulesOptions,
    add_endpoint,
    rotate_secret,
    rules,
)
from eventpipe.cli.endpoints import (
    HaltOptions,
    ProbeOptions,
    list_endpoints,
    probe_endpoint,
    show_endpoint,
    switch_endpoint,
)
from eventpipe.cli.whole import Whole

_FLAT = Parameter(name="*", negative=())  # a field for each option, no --no-… forms
_GROUP = Group("Commands for the file of deliveries")

_FILTER = FilterOptions()
_LIST = ListOptions()
_LOOK = LookOptions()
_REQUEST = RequestOptions()
_HALT = HaltOptions()
_TEST = ProbeOptions()
_ADD = AddOptions()
_RULES = RulesOptions()

deliveries = App(
    name="deliveries", help="Look at deliveries, ask for them again, or not any more, and hold them back.", group=_GROUP
)
endpoints = App(name="endpoints", help="Look at endpoints and rules, and change where deliveries go.", group=_GROUP)


def add_delivery_commands(app: App) -> None:
    """Add them to the application."""
    app.command(deliveries)
    app.command(endpoints)


# -- deliveries -------------------------------------------------------------------------------------------------------


@deliveries.command(name="list")
def _list(
    file: Path,
    /,
    *,
    filters: Annotated[FilterOptions, _FLAT] = _FILTER,
    options: Annotated[ListOptions, _FLAT] = _LIST,
) -> int:
    """List deliveries, the newest first: where each is, how often it was attempted, what the far end said last.

    The file may be in use by processes that opened it as shared, or by nobody.

    Args:
        file: The SQLite file of the deliveries.
        filters: Which of them.
        options: How they are shown.
    """
    return list_deliveries(file, filters, options, Console())


@deliveries.command(name="show")
def _show(file: Path, id_: Whole, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Show a delivery, each attempt that is kept, and its event, payload included.

    Args:
        file: The SQLite file of the deliveries.
        id_: Its number, as list shows it.
        options: How it is shown.
    """
    return show_delivery(file, id_, options, Console())


@deliveries.command(name="resend")
def _resend(
    file: Path,
    event_uuid: str | None = None,
    /,
    *,
    filters: Annotated[FilterOptions, _FLAT] = _FILTER,
    options: Annotated[RequestOptions, _FLAT] = _REQUEST,
) -> int:
    """Have an event delivered again, or all deliveries that options say, which are counted before.

    They are due at once, with all attempts and deadlines anew; whoever delivers from this file sends them. The exit
    code is 0 only if it holds for all of them.

    Args:
        file: The SQLite file of the deliveries.
        event_uuid: The event's id.
        filters: Without an event, which deliveries.
        options: Whether it is done.
    """
    return request(file, "resend", event_uuid, filters, options, Console())


@deliveries.command(name="cancel")
def _cancel(
    file: Path,
    event_uuid: str | None = None,
    /,
    *,
    filters: Annotated[FilterOptions, _FLAT] = _FILTER,
    options: Annotated[RequestOptions, _FLAT] = _REQUEST,
) -> int:
    """Attempt the deliveries of an event no more, or all that options say, which are counted before.

    One that is being attempted in this moment may arrive all the same. The exit code is 0 only if it holds for all of
    them.

    Args:
        file: The SQLite file of the deliveries.
        event_uuid: The event's id.
        filters: Without an event, which deliveries.
        options: Whether it is done.
    """
    return request(file, "cancel", event_uuid, filters, options, Console())


@deliveries.command(name="stats")
def _stats(file: Path, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Show for each endpoint how many of its deliveries are in each state, and when the first is due.

    Args:
        file: The SQLite file of the deliveries.
        options: How it is shown.
    """
    return show_stats(file, options, Console())


@deliveries.command(name="purge")
def _purge(file: Path, /, *, options: Annotated[PurgeOptions, _FLAT]) -> int:
    """Delete deliveries that were settled before a time, with their attempts and events.

    Args:
        file: The SQLite file of the deliveries.
        options: Which of them.
    """
    return purge(file, options, Console())


# -- endpoints --------------------------------------------------------------------------------------------------------


@endpoints.command(name="list")
def _list_endpoints(file: Path, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """List endpoints: where each leads, whether it is delivered to, and how many deliveries are open or failed.

    Args:
        file: The SQLite file of the deliveries.
        options: How they are shown.
    """
    return list_endpoints(file, options, Console())


@endpoints.command(name="show")
def _show_endpoint(file: Path, name: str, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Show an endpoint, the rules that name it, and how its deliveries stand; no secret and no value of a header.

    Args:
        file: The SQLite file of the deliveries.
        name: The endpoint.
        options: How it is shown.
    """
    return show_endpoint(file, name, options, Console())


@endpoints.command(name="add")
def _add(file: Path, name: str, url: str, /, *, options: Annotated[AddOptions, _FLAT] = _ADD) -> int:
    """Register a webhook that deliveries go to. The file is made if there is none.

    Args:
        file: The SQLite file of the deliveries.
        name: What rules and other commands call it.
        url: Where to.
        options: How it is delivered to.
    """
    return add_endpoint(file, name, url, options, Console())


@endpoints.command(name="pause")
@deliveries.command(name="pause")
def _pause(file: Path, name: str, /, *, options: Annotated[HaltOptions, _FLAT] = _HALT) -> int:
    """Let the deliveries of an endpoint wait; those that are being attempted go on.

    Args:
        file: The SQLite file of the deliveries.
        name: The endpoint.
        options: Why.
    """
    return switch_endpoint(file, name, "pause", options.reason, Console(), as_json=options.json)


@endpoints.command(name="resume")
@deliveries.command(name="resume")
def _resume(file: Path, name: str, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Go on with an endpoint that was paused or disabled; what failed meanwhile waits for a resend.

    Args:
        file: The SQLite file of the deliveries.
        name: The endpoint.
        options: How it is told.
    """
    return switch_endpoint(file, name, "resume", None, Console(), as_json=options.json)


@endpoints.command(name="disable")
def _disable(file: Path, name: str, /, *, options: Annotated[HaltOptions, _FLAT] = _HALT) -> int:
    """Let the deliveries of an endpoint fail, those that are published from now on as well.

    Args:
        file: The SQLite file of the deliveries.
        name: The endpoint.
        options: Why.
    """
    return switch_endpoint(file, name, "disable", options.reason, Console(), as_json=options.json)


@endpoints.command(name="remove")
def _remove(file: Path, name: str, /, *, options: Annotated[LookOptions, _FLAT] = _LOOK) -> int:
    """Forget an endpoint and its secrets; its open deliveries fail, and all stay for whoever looks.

    Args:
        file: The SQLite file of the deliveries.
        name: The endpoint.
        options: How it is told.
    """
    return switch_endpoint(file, name, "remove", None, Console(), as_json=options.json)


@endpoints.command(name="rotate")
def _rotate(file: Path, name: str, /, *, options: Annotated[RotateOptions, _FLAT]) -> int:
    """Sign for an endpoint with another secret from now on, and with the old one as well until the next rotation.

    Args:
        file: The SQLite file of the deliveries.
        name: The endpoint.
        options: Where the secret is.
    """
    return rotate_secret(file, name, options, Console())


@endpoints.command(name="test")
def _test(file: Path, name: str, /, *, options: Annotated[ProbeOptions, _FLAT] = _TEST) -> int:
    """Send an event to an endpoint once, also where it is paused or disabled; nothing of that is kept.

    The exit code is 0 only if it was accepted.

    Args:
        file: The SQLite file of the deliveries.
        name: The endpoint.
        options: What is sent.
    """
    return probe_endpoint(file, name, options, Console())


@endpoints.command(name="rules")
def _rules(file: Path, name: str | None = None, /, *, options: Annotated[RulesOptions, _FLAT] = _RULES) -> int:
    """Show the rules that say which events go to which endpoints; make one, in place of that of its name, or forget it.

    Args:
        file: The SQLite file of the deliveries.
        name: The rule; without it all are shown.
        options: What it says.
    """
    return rules(file, name, options, Console())
