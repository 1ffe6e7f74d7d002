"""Compression of request bodies, by the quickest library there is."""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, cast, get_args

Compression = Literal["gzip", "deflate", "br", "zstd"]

# Below this a body fits into one packet or two either way, and compressing it costs more than it saves.
MIN_BYTES = 1024

# A body of 500 events of 432 bytes takes zlib 1.75 ms and becomes 138 bytes an event; isal 0.27 ms and 124, brotli
# 0.53 ms and 114, zstd 0.30 ms and 107. The next levels cost more and save little or nothing: zlib's 6 almost three
# times the CPU for a seventh of the bytes; isal's 3 (twice), brotli's 2 (twice) and zstd's 2 (half as much again) save
# nothing. Brotli's 0 takes 0.36 ms and leaves a quarter more bytes.
LEVEL = 1

_WINDOW = {"gzip": 31, "deflate": 15}  # zlib's codes: 16 more asks for the gzip container
_EXTRA = {"br": "brotli", "zstd": "zstd"}  # where the library of a coding is not Python's own


class Library(NamedTuple):
    """What compresses.

    Attributes:
        name: Where it comes from.
        compress: Takes the body; the same bytes always give the same bytes.
        thread_bytes: From here on the loop had better run meanwhile: a hop to a thread takes 0.03 ms, and what is
            written at once holds up the loop for at most 0.8 ms.
    """

    name: str
    compress: Callable[[bytes], bytes]
    thread_bytes: int


@cache
def library(compression: Compression = "gzip") -> Library:
    """Choose what compresses to ``compression``.

    For gzip and deflate isal's zlib where it is installed (``eventpipe[speed]``), else that of Python; for zstd that
    of Python, which has it from 3.14, else its backport.

    Raises:
        ImportError: It is not installed.
    """
    if compression == "br":
        return _brotli()
    return _zstd() if compression == "zstd" else _zlib(_WINDOW[compression])


def _zlib(window: int) -> Library:
    try:
        from isal import isal_zlib
    except ImportError:
        return Library("zlib", lambda body: zlib.compress(body, LEVEL, window), 64 * 1024)  # 0.5 ms
    return Library("isal", lambda body: isal_zlib.compress(body, LEVEL, window), 512 * 1024)  # 0.7 ms


def _brotli() -> Library:
    import brotli

    return Library("brotli", lambda body: cast("bytes", brotli.compress(body, quality=LEVEL)), 256 * 1024)  # 0.6 ms


def _zstd() -> Library:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return Library("zstd", lambda body: zstd.compress(body, LEVEL), 512 * 1024)  # 0.7 ms


def check_compression(option: str, value: object) -> None:
    """Refuse anything but ``None`` and the names of what ``compress()`` can do here; import what does it.

    Raises:
        ValueError: Names the option, the value and the rule, or the extra that has the library.
    """
    if value is None:
        return
    known = get_args(Compression)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{option} must be one of {', '.join(map(repr, known))} or None, not {value!r}")
    try:
        library(cast("Compression", value))
    except ImportError:
        raise ValueError(
            f"{option} {value!r} needs a library that is not installed: pip install 'eventpipe[{_EXTRA[value]}]'"
        ) from None


def compress(body: bytes, compression: Compression) -> bytes:
    """Compress ``body``; the same bytes always give the same bytes, so that a repeated attempt is identical.

    Args:
        body: What to compress.
        compression: ``"gzip"`` (no name and no time in its header), ``"deflate"`` (zlib-wrapped, as HTTP means it),
            ``"br"`` or ``"zstd"``.
    """
    return library(compression).compress(body)


async def compress_body(body: bytes, compression: Compression | None) -> tuple[bytes, Compression | None]:
    """Compress ``body`` where that is worth it, a large one in a thread.

    Args:
        body: What to send.
        compression: What the far end takes; ``None``: nothing.

    Returns:
        The bytes to send and their Content-Encoding; ``None`` when they are as they were.

    Cancellation:
        Safe. A thread that has begun ends by itself within milliseconds.
    """
    if compression is None or len(body) <= MIN_BYTES:
        return body, None
    if len(body) <= library(compression).thread_bytes:
        return compress(body, compression), compression
    return await asyncio.to_thread(compress, body, compression), compression
