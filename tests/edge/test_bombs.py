"""Far ends whose answer is small, and without end once it is inflated."""

from __future__ import annotations

import asyncio
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
from backports import zstd

from eventpipe import DropReason, OutcomeKind
from tests.edge.conftest import Record
from tests.edge.raw_server import Peer, RawServer, answer
from tests.edge.rows import Row

ROW = Row.BOMBS
pytestmark = [
    pytest.mark.wallclock,
    pytest.mark.asyncio,
    pytest.mark.skipif(sys.platform != "linux", reason="asks Linux how much memory was used at most"),
]

MIB = 2**20
INFLATED = 512 * MIB
MAX_KIB = 4 * 1024
MAX_SECONDS = 1.0

Packer = Callable[[], bytes]


def deflated(header: bytes, trailer: bytes) -> bytes:
    """512 MiB of zeros. Blocks that were flushed know nothing of one another: one is made, and repeated."""
    packer = zlib.compressobj(9, wbits=-15)
    packer.compress(bytes(MIB))
    packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return header + block * (INFLATED // MIB) + b"\x03\x00" + trailer


def gzip_bomb() -> bytes:
    """In the container of gzip; its checksum is left at zero, nobody gets that far."""
    return deflated(bytes.fromhex("1f8b08000000000000ff"), bytes(8))


def deflate_bomb() -> bytes:
    """In the container of zlib, as HTTP means it."""
    return deflated(bytes.fromhex("78da"), bytes(4))


def br_bomb() -> bytes:
    """A few hundred bytes."""
    packer = brotli.Compressor(quality=3)
    block = bytes(16 * MIB)
    parts: list[bytes] = [packer.process(block) for _ in range(INFLATED // len(block))]
    return b"".join([*parts, packer.finish()])


def zstd_bomb() -> bytes:
    """Frames that follow one another are one content."""
    return zstd.compress(bytes(16 * MIB), 19) * (INFLATED // (16 * MIB))


def small_gzip_bomb() -> bytes:
    """Short enough to be read whole, and 32 MiB: a codec that reads what it says of events would inflate it."""
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(bytes(32 * MIB)) + packer.flush()


BOMBS: dict[str, Packer] = {"gzip": gzip_bomb, "deflate": deflate_bomb, "br": br_bomb, "zstd": zstd_bomb}
# Where the answer has to say what became of each event: what is cut at 64 KiB may say it next time.
READ: dict[str, tuple[OutcomeKind, str | None]] = {
    "gzip": (OutcomeKind.DROPPED, DropReason.EXHAUSTED),
    "deflate": (OutcomeKind.DROPPED, DropReason.EXHAUSTED),
    "br": (OutcomeKind.DROPPED, DropReason.UNANSWERED),
    "zstd": (OutcomeKind.DROPPED, DropReason.UNANSWERED),
}
STATUSES: dict[str, dict[int, tuple[OutcomeKind, str | None]]] = {
    "json": {
        200: (OutcomeKind.DELIVERED, None),
        400: (OutcomeKind.DROPPED, DropReason.REJECTED),
        503: (OutcomeKind.DROPPED, DropReason.EXHAUSTED),
    },
    "json, lent": {200: (OutcomeKind.DELIVERED, None)},
    "posthog-v1": {
        401: (OutcomeKind.DROPPED, DropReason.UNAUTHORIZED),
        503: (OutcomeKind.DROPPED, DropReason.EXHAUSTED),
    },
}


def inflates(coding: str, bomb: bytes) -> bool:
    """Whether it is a bomb: the first MiB of what it inflates to are there."""
    if coding == "br":
        return len(brotli.Decompressor().process(bomb, output_buffer_limit=MIB)) >= MIB
    if coding == "zstd":
        return len(zstd.ZstdDecompressor().decompress(bomb, MIB)) == MIB
    return len(zlib.decompressobj(47).decompress(bomb, MIB)) == MIB


@pytest.mark.parametrize("coding", BOMBS)
async def test_an_answer_that_inflates_without_end_costs_nothing(coding: str, record: Record) -> None:
    """It is judged by its status in a moment, and no part of it is inflated, in a process that does nothing else."""
    bomb = await asyncio.to_thread(BOMBS[coding])
    assert inflates(coding, bomb)
    cases = [(codec, status, wanted) for codec, by_status in STATUSES.items() for status, wanted in by_status.items()]
    cases.append(("posthog-v1", 200, READ[coding]))

    def says(status: int) -> Callable[[Peer], object]:
        async def script(peer: Peer) -> None:
            await peer.say(answer(status, bomb, f"Content-Encoding: {coding}"))

        return script

    warm = [("json", 200, None), ("posthog-v1", 503, None), ("json, lent", 200, None)]
    script = [answer(status, b"x" * len(bomb)) for _, status, _ in warm] + [says(status) for _, status, _ in cases]
    async with RawServer(*script) as server, asyncio.timeout(50):  # type: ignore[arg-type]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.edge.bombed", cwd=Path(__file__).parents[2],
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        asked = json.dumps([(codec, server.url) for codec, _, _ in [*warm, *cases]]).encode() + b"\n"
        output, _ = await process.communicate(asked)

    measured = [json.loads(line) for line in output.splitlines()][len(warm) :]
    assert process.returncode == 0
    assert len(measured) == len(cases)
    for (codec, status, wanted), found in zip(cases, measured, strict=True):
        assert (found["kind"], found["reason"]) == wanted, (codec, status)
        assert found["KiB"] <= MAX_KIB, (codec, status)
        assert found["seconds"] <= MAX_SECONDS, (codec, status)
    record(
        f"{coding}, {len(bomb)} bytes to {INFLATED // MIB} MiB",
        RSS_KiB=max(found["KiB"] for found in measured),
        seconds=max(found["seconds"] for found in measured),
        answers=len(measured),
    )
