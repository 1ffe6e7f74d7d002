"""What scenarios of the channel contract do with a channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eventpipe.core.channel import Channel

MakeChannel = Callable[[int], Channel[int]]


async def read(channel: Channel[int], *, pause: bool = False) -> list[int]:
    """The items that are read until the end; others may run between two lists with ``pause``."""
    items: list[int] = []
    async for some in channel:
        items.extend(some)
        if pause:
            await turn()
    return items


async def ignore(items: Sequence[int]) -> None:
    """Handle a list by doing nothing."""


async def stay(items: Sequence[int]) -> None:
    """Handle a list for ever."""
    await asyncio.Event().wait()


async def turn() -> None:
    """Let everybody run who can."""
    await asyncio.sleep(0)
