"""The file that deliveries are kept in, as commands open it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from eventpipe.cli.failures import CommandError
from eventpipe.cli.log_file import check_file, hint, place_to_read
from eventpipe.delivery import Deliveries
from eventpipe.delivery.running import SecretsOf
from eventpipe.stores.delivery_values import DeliveryFilter, EndpointInfo
from eventpipe.stores.sqlite import SqliteStore

_WAY_OUT: Final = "name the file that deliveries are kept in, or begin one with eventpipe endpoints add"


@asynccontextmanager
async def opened(path: Path, *, may_make: bool = False, secrets: SecretsOf | None = None) -> AsyncIterator[Deliveries]:
    """The deliveries in a file, shared with whoever else has it open.

    Args:
        path: The file.
        may_make: Whether one that does not exist is made.
        secrets: As ``Deliveries``.

    Raises:
        CommandError: There is none.
        StoreError: It cannot be opened.
    """
    check_file(path, may_make=may_make, way_out=_WAY_OUT)
    # Nothing is deleted here: whoever runs the deliveries knows for how long they are kept.
    async with Deliveries(SqliteStore(path, shared=True), secrets=secrets, retention=None) as deliveries:
        yield deliveries


@asynccontextmanager
async def opened_to_read(path: Path) -> AsyncIterator[Deliveries]:
    """The same to look at: a copy of it as it is now, where it may only be read.

    Raises:
        CommandError: There is no such file.
        StoreError: It cannot be opened.
    """
    async with place_to_read(path, _WAY_OUT) as place, opened(place) as deliveries:
        yield deliveries


async def endpoint_of(deliveries: Deliveries, name: str) -> EndpointInfo:
    """An endpoint that has to be there.

    Raises:
        CommandError: It is not; the nearest name, or all there are, are told.
    """
    endpoints = {endpoint.name: endpoint for endpoint in await deliveries.endpoints()}
    if name in endpoints:
        return endpoints[name]
    raise CommandError(f"there is no endpoint {name!r}{hint(name, list(endpoints))}")


async def check_endpoint(deliveries: Deliveries, name: str | None) -> None:
    """See that there is an endpoint, or was one that left deliveries; ``None``: none is asked for.

    Raises:
        CommandError: There is and was none.
    """
    if name is not None and not await deliveries.rows(DeliveryFilter(endpoint=name), limit=1):
        await endpoint_of(deliveries, name)
