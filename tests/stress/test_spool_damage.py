"""A spool whose file was altered while nobody had it: nothing altered is sent, and the client goes on."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eventpipe import AsyncClient, DropReason, RetryPolicy, TransientSinkError
from eventpipe.testing import check_ledger
from eventpipe.testing.recording import RecordingSink
from tests.scale import SCALE

EVENTS = 1_000
ROUNDS = 4 * SCALE
STARTS_WITHIN = 1.0  # seconds, for a file far below 100 MB
PAGE = 4_096

pytestmark = [pytest.mark.stress, pytest.mark.wallclock, pytest.mark.timeout(60 + 10 * SCALE)]


class FarEnd(RecordingSink):
    """Is down until it is up."""

    is_up = True

    async def _answer(self, batch: object) -> None:
        if not self.is_up:
            raise TransientSinkError("down")


def client_on(folder: Path, sink: FarEnd) -> AsyncClient:
    return AsyncClient(
        sink,
        spool=folder,
        durability="process",
        max_batch_age=0.01,
        close_timeout=2,
        retry=RetryPolicy(max_attempts=1_000_000, initial=0.01, min_delay=0.01, max_delay=0.01),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A spool that was closed with events in it, and what each of them says."""
    folder = tmp_path_factory.mktemp("whole") / "spool"

    async def fill() -> dict[str, bytes]:
        sink = FarEnd(name="far end")
        sink.is_up = False
        said = {}
        async with client_on(folder, sink) as client:
            for number in range(EVENTS):
                text = random.Random(number).randbytes(number % 200).hex()
                receipt = await client.capture("paid", properties={"number": number, "text": text})
                said[receipt.uuid] = bytes(receipt._event.data)
            report = await client.aclose(0)
        assert report.spooled == EVENTS
        return said

    return folder, asyncio.run(fill())


def flip(bits: int) -> Callable[[bytearray, random.Random], bytearray]:
    def damage(content: bytearray, chance: random.Random) -> bytearray:
        for _ in range(bits):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return content

    return damage


def cut(share: float) -> Callable[[bytearray, random.Random], bytearray]:
    return lambda content, _: content[: int(len(content) * share)]


def zero(content: bytearray, chance: random.Random) -> bytearray:
    first = chance.randrange(len(content) // PAGE) * PAGE
    content[first : first + PAGE] = bytes(PAGE)
    return content


@pytest.mark.parametrize(
    "damage",
    [flip(1), flip(4), flip(16), flip(64), cut(0.5), cut(0.9), cut(0.999), zero],
    ids=["1 bit", "4 bits", "16 bits", "64 bits", "cut to 50 %", "cut to 90 %", "cut to 99.9 %", "a page of zeros"],
)
def test_nothing_altered_is_sent_and_what_is_lost_has_a_number(
    whole: tuple[Path, dict[str, bytes]],
    damage: Callable[[bytearray, random.Random], bytearray],
    chance: random.Random,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What arrives is as it was captured, once; what cannot be read is counted as damaged, or its file is told of.

    Whatever the file looks like, the client starts, and what it captures arrives.
    """
    filled, said = whole
    arrived, lost, left = 0, 0, 0
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        shutil.copytree(filled, folder)
        (file,) = folder.glob("*.db")
        file.write_bytes(damage(bytearray(file.read_bytes()), chance))
        caplog.clear()
        old, dropped = asyncio.run(go_on(folder, said))
        arrived, lost = arrived + old, lost + dropped
        if old + dropped < EVENTS:
            assert str(file) in caplog.text  # left as it is, and told of
            left += 1
    print(f"{arrived} events arrived as they were, {lost} were counted as damaged, {left} files were left")  # noqa: T201


async def go_on(folder: Path, said: dict[str, bytes]) -> tuple[int, int]:
    """Start with what is there; how many of the old events arrived, and how many were counted as damaged."""
    sink = FarEnd(name="far end")
    began = time.perf_counter()
    async with client_on(folder, sink) as client:
        assert time.perf_counter() - began < STARTS_WITHIN
        fresh = await client.capture("fresh")
        deadline = time.perf_counter() + 2
        while client._spool.waiting and time.perf_counter() < deadline:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        report = await client.flush()
        assert report
        numbers = check_ledger(client, received=sink.uuids)
    arrived = {event.uuid: bytes(event.data) for event in sink.events}
    del arrived[fresh.uuid]
    assert {uuid: said.get(uuid) for uuid in arrived} == arrived
    assert numbers.dropped_by_reason.keys() <= {DropReason.DAMAGED}
    assert numbers.recovered == len(arrived) + numbers.dropped + numbers.spooled
    return len(arrived), numbers.dropped
