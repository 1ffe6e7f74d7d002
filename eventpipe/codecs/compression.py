"""Compression of request bodies, by the quickest library there is."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple, get_args

Compression = Literal["gzip", "deflate"]

# Below this a body fits into one packet or two either way, and compressing it costs more than it saves.
MIN_BYTES = 1024
# Of either library. zlib's level 6 costs almost three times the CPU and saves a seventh of the bytes; isal's 3 costs
# twice and saves nothing.
LEVEL = 1

_WINDOW: dict[Compression, int] = {"gzip": 31, "deflate": 15}  # zlib's codes: 16 more asks for the gzip container


class Library(NamedTuple):
    """What compresses.

    Attributes:
        name: Where it comes from.
        compress: Takes the body, a level and a window.
        thread_bytes: From here on the loop had better run meanwhile.
    """

    name: str
    compress: Callable[[bytes, int, int], bytes]
    thread_bytes: int


@cache
def library() -> Library:
    """Choose isal's zlib where it is installed (``eventpipe[speed]``), else that of Python.

    Source: events of 432 bytes, 100 a body: zlib 2.4 µs and 141 bytes an event, isal 0.7 µs and 126. 64 KiB take zlib
    0.3 ms, 512 KiB take isal 0.8 ms, and a hop to a thread 0.03 ms.
    """
    try:
        from isal import isal_zlib
    except ImportError:
        return Library("zlib", zlib.compress, 64 * 1024)
    return Library("isal", isal_zlib.compress, 512 * 1024)


def check_compression(option: str, value: object) -> None:
    """Refuse anything but ``None`` and the names of what ``compress()`` can do.

    Raises:
        ValueError: Names the option, the value and the rule.
    """
    if value is not None and value not in get_args(Compression):
        known = ", ".join(map(repr, get_args(Compression)))
        raise ValueError(f"{option} must be one of {known} or None, not {value!r}")


def compress(body: bytes, compression: Compression) -> bytes:
    """Compress ``body``; the same bytes always give the same bytes, so that a repeated attempt is identical.

    Args:
        body: What to compress.
        compression: ``"gzip"`` (no name and no time in its header), or ``"deflate"`` (zlib-wrapped, as HTTP means it).
    """
    return library().compress(body, LEVEL, _WINDOW[compression])


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
    if len(body) <= library().thread_bytes:
        return compress(body, compression), compression
    return await asyncio.to_thread(compress, body, compression), compression
