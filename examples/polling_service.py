"""A service of one's own: it asks a source for new rows now and then, and captures each of them once."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from eventpipe import AsyncClient, DropReason, Service


class Order(NamedTuple):
    """A row; numbers only grow."""

    number: int
    customer: str
    total: float


class OrderPoller(Service):
    """Captures each order that ``fetch`` finds behind the last one.

    A stop ends the wait at once, and looks a last time: what was there at the stop is captured. Where that takes too
    long it is cut off, and its next life goes on behind the last order that it captured.

    Attributes:
        last: The number of that order.
    """

    def __init__(
        self,
        client: AsyncClient,
        fetch: Callable[[int], Awaitable[Sequence[Order]]],
        *,
        interval: float = 5.0,
    ) -> None:
        super().__init__("order-poller")
        self._client = client
        self._fetch = fetch
        self._interval = interval
        self.last = 0

    async def _open(self) -> None:
        await self._fetch(self.last)  # a source that is out of reach fails the start, and is not found out later

    async def _serve(self) -> None:
        while not await self._wait_for_stop(self._interval):
            await self._look()
        await self._look()

    async def _look(self) -> None:
        while orders := await self._fetch(self.last):
            for order in orders:
                # A plain call: nothing can come between the capture and the note that it is done.
                receipt = self._client.capture_nowait(
                    "ordered", distinct_id=order.customer, properties={"number": order.number, "total": order.total}
                )
                if receipt.reason is DropReason.QUEUE_FULL:
                    return  # the order stays where it is until the next look
                self.last = order.number
