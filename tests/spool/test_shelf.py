"""What a sink is owed in files that damage has changed, while events are put back."""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import cast

import pytest

from eventpipe.events import CapturedEvent
from eventpipe.outcomes import DropReason
from eventpipe.spool.file import SpoolFile
from eventpipe.spool.shelf import Shelf, ticket_of
from eventpipe.spool.values import Holding, Page
from eventpipe.testing import make_event

pytestmark = pytest.mark.asyncio


class SlowFile:
    """A file that reads when it is told what it finds."""

    bits = {"sink": 1}  # noqa: RUF012
    holding = Holding({"sink": 0}, 0, 0, 0, None, 0, 0)

    def __init__(self) -> None:
        self._answers: asyncio.Queue[asyncio.Future[Page]] = asyncio.Queue()

    async def read(self, bit: int, *, after: int, held: Set[int], max_events: int, max_bytes: int) -> Page:
        answer: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
        self._answers.put_nowait(answer)
        return await answer

    async def answer(self, *numbers: int) -> None:
        """Find these with the read that is under way, once there is one."""
        (await self._answers.get()).set_result(Page([(number, make_event("e")) for number in numbers], []))


@pytest.fixture
def file() -> SlowFile:
    return SlowFile()


@pytest.fixture
def lost() -> list[tuple[int, DropReason]]:
    return []


@pytest.fixture
def shelf(file: SlowFile, lost: list[tuple[int, DropReason]]) -> Shelf:
    """Three events are written, and in memory."""
    shelf = Shelf("sink", lambda events, reason: lost.append((events, reason)))
    shelf.add_file(1, cast("SpoolFile", file))
    shelf.wrote(1, range(1, 4))
    return shelf


def begin_to_take(shelf: Shelf) -> asyncio.Task[tuple[list[CapturedEvent], list[tuple[int, list[int]]]]]:
    return asyncio.ensure_future(shelf.take(10, 1 << 20))


async def test_event_that_is_put_back_during_a_look_from_its_place_on_is_not_lost(
    file: SlowFile, shelf: Shelf, lost: list[tuple[int, DropReason]]
) -> None:
    """The look began behind it: another begins before it."""
    shelf.put_back([ticket_of(1, 2)])
    taking = begin_to_take(shelf)
    await file.answer(2)
    await taking
    shelf.put_back([ticket_of(1, 3)])
    taking = begin_to_take(shelf)
    await asyncio.sleep(0)
    shelf.put_back([ticket_of(1, 1)])
    await file.answer()  # a damaged page shows 3 no more
    await file.answer(1)
    events, _ = await taking
    assert [event.ticket for event in events] == [ticket_of(1, 1)]
    assert lost == []
    assert shelf.waiting == 1


async def test_event_that_is_put_back_during_a_look_at_all_is_not_lost_with_those_that_are(
    file: SlowFile, shelf: Shelf, lost: list[tuple[int, DropReason]]
) -> None:
    """Only what waited when the look began is missed by it."""
    shelf.put_back([ticket_of(1, 1)])
    taking = begin_to_take(shelf)
    await asyncio.sleep(0)
    shelf.put_back([ticket_of(1, 3)])
    await file.answer()
    assert (await taking)[0] == []
    assert lost == [(1, DropReason.DAMAGED)]
    assert shelf.waiting == 1
    taking = begin_to_take(shelf)
    await file.answer(3)
    assert [event.ticket for event in (await taking)[0]] == [ticket_of(1, 3)]
    assert (shelf.waiting, shelf.held) == (0, 2)
