"""Compression of request bodies."""

from __future__ import annotations

import asyncio
import gzip
import sys
import threading
import zlib
from collections.abc import Iterator

import pytest
from freezegun import freeze_time

from eventpipe.codecs import compression as module
from eventpipe.codecs.compression import Compression, check_compression, compress, compress_body, library

BOTH = pytest.mark.parametrize("compression", ["gzip", "deflate"])


@pytest.fixture(params=["zlib", "isal"], autouse=True)
def chosen(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The library that compresses: Python's own where the other one is not installed."""
    name: str = request.param
    if name == "zlib":
        monkeypatch.setitem(sys.modules, "isal", None)
    else:
        pytest.importorskip("isal", reason="isal, of the extra speed, is not installed")
    library.cache_clear()
    yield name
    monkeypatch.undo()
    library.cache_clear()


def test_the_quickest_library_there_is_compresses(chosen: str) -> None:
    """That of isal, where it is installed."""
    assert library().name == chosen


def expand(data: bytes, compression: Compression | None) -> bytes:
    return gzip.decompress(data) if compression == "gzip" else zlib.decompress(data)


@BOTH
def test_a_repeated_attempt_is_byte_identical(compression: Compression) -> None:
    """No time, no name: the same body gives the same bytes a year later."""
    body = b"event" * 10_000
    with freeze_time("2026-01-01"):
        first = compress(body, compression)
    with freeze_time("2027-01-01"):
        second = compress(body, compression)

    assert first == second
    assert expand(first, compression) == body


def test_gzip_has_no_time_and_deflate_has_the_zlib_wrapper() -> None:
    """Bytes 4 to 8 of a gzip header are its time; HTTP's deflate begins with zlib's header, not bare."""
    assert compress(b"x", "gzip")[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"
    assert compress(b"x", "deflate")[0] == 0x78


@pytest.mark.asyncio
@pytest.mark.parametrize("size", [0, 1, 1024], ids=str)
@BOTH
async def test_a_small_body_is_sent_as_it_is(size: int, compression: Compression) -> None:
    """Up to 1 KiB there is nothing to win."""
    body = b"x" * size

    assert await compress_body(body, compression) == (body, None)


@pytest.mark.asyncio
async def test_without_compression_nothing_is_compressed() -> None:
    """``None`` means that the far end takes plain bodies only."""
    body = b"x" * 1_000_000

    assert await compress_body(body, None) == (body, None)


@pytest.mark.asyncio
@pytest.mark.parametrize("where", ["small", "at", "above"])
@BOTH
async def test_a_large_body_is_compressed_in_a_thread(
    where: str, chosen: str, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 64 KiB (isal: 512) the loop runs on; below, the hop would cost more than the work."""
    bound = {"zlib": 64, "isal": 512}[chosen] * 1024
    size = {"small": 1025, "at": bound, "above": bound + 1}[where]
    threads = []

    def recording(body: bytes, compression: Compression) -> bytes:
        threads.append(threading.current_thread())
        return compress(body, compression)

    monkeypatch.setattr(module, "compress", recording)
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)

    data, encoding = await compress_body(body, compression)

    assert encoding == compression
    assert expand(data, compression) == body
    assert [thread is not threading.main_thread() for thread in threads] == [where == "above"]


@pytest.mark.asyncio
async def test_a_cancelled_compression_is_cancelled() -> None:
    """Who waits is released at once; the thread ends by itself."""
    task = asyncio.create_task(compress_body(b"x" * 1_000_000, "gzip"))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("value", ["br", "GZIP", "", "zstd", 1, True, b"gzip"], ids=repr)
def test_an_unknown_compression_is_refused(value: object) -> None:
    """The message names the option, the value and the rule."""
    with pytest.raises(ValueError, match=r"^compression must be one of 'gzip', 'deflate' or None, not "):
        check_compression("compression", value)


@pytest.mark.parametrize("value", [None, "gzip", "deflate"], ids=repr)
def test_known_compressions_pass(value: object) -> None:
    """Those that ``compress()`` knows, and none at all."""
    check_compression("compression", value)
