"""Compression of request bodies."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from typing import cast

import pytest
from freezegun import freeze_time

from eventpipe.codecs import compression as module
from eventpipe.codecs.compression import Compression, check_compression, compress, compress_body, library

ALL = pytest.mark.parametrize("compression", ["gzip", "deflate", "br", "zstd"])
ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"


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
    """That of isal, where it is installed; br and zstd have one library each."""
    codings: list[Compression] = ["gzip", "deflate", "br", "zstd"]

    assert [library(coding).name for coding in codings] == [chosen, chosen, "brotli", "zstd"]
    assert library().name == chosen


def expand(data: bytes, compression: Compression | None) -> bytes:
    """What a far end reads, by the module that one would use."""
    module = {"gzip": "gzip", "deflate": "zlib", "br": "brotli", "zstd": ZSTD}[compression or ""]
    return cast("bytes", import_module(module).decompress(data))


@ALL
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
@ALL
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
@ALL
async def test_a_large_body_is_compressed_in_a_thread(
    where: str, chosen: str, compression: Compression, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above 64 KiB (brotli: 256, isal and zstd: 512) the loop runs on; below, the hop would not be worth it."""
    bound = {"zlib": 64, "isal": 512, "brotli": 256, "zstd": 512}[library(compression).name] * 1024
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


@ALL
def test_events_become_a_third_of_their_bytes_at_most(compression: Compression) -> None:
    """A coding that did nothing would pass all other tests."""
    body = b",".join(b'{"event":"page viewed","n":%d,"url":"https://example.com/%d"}' % (n, n % 7) for n in range(500))

    data = compress(body, compression)

    assert expand(data, compression) == body
    assert len(data) < len(body) / 3


@pytest.mark.parametrize("value", ["brotli", "GZIP", "", "identity", 1, True, b"gzip", ["gzip"]], ids=repr)
def test_an_unknown_compression_is_refused(value: object) -> None:
    """The message names the option, the value and the rule."""
    with pytest.raises(ValueError, match=r"^compression must be one of 'gzip', 'deflate', 'br', 'zstd' or None, not "):
        check_compression("compression", value)


@pytest.mark.parametrize("value", [None, "gzip", "deflate", "br", "zstd"], ids=repr)
def test_known_compressions_pass(value: object) -> None:
    """Those that ``compress()`` knows, and none at all."""
    check_compression("compression", value)


@pytest.mark.parametrize(("value", "module", "extra"), [("br", "brotli", "brotli"), ("zstd", ZSTD, "zstd")])
def test_a_missing_library_is_named_when_a_sink_is_made(
    value: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not at the first send; the message says what to install, and gzip goes on working."""
    parent, _, name = module.rpartition(".")
    if parent:  # once imported, it is also an attribute there
        monkeypatch.delattr(import_module(parent), name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    library.cache_clear()

    with pytest.raises(ValueError, match=rf"pip install 'eventpipe\[{extra}\]'$") as caught:
        check_compression("compression", value)

    assert str(caught.value).startswith(f"compression '{value}' needs a library that is not installed: ")
    check_compression("compression", "gzip")


def test_a_library_is_imported_by_whom_it_serves_only() -> None:
    """Checking a choice imports its library, so that the first send does not; nothing else does."""
    program = f"""
import sys
from eventpipe.codecs.compression import check_compression
def imported():
    return [name for name in ("brotli", {ZSTD!r}) if name in sys.modules]
seen = [imported()]
for value in (None, "gzip", "br", "zstd"):
    check_compression("compression", value)
    seen.append(imported())
print(seen)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == repr([[], [], [], ["brotli"], ["brotli", ZSTD]])
