"""Compression of request bodies."""

from __future__ import annotations

import asyncio
import zlib
from typing import Literal, get_args

Compression = Literal["gzip", "deflate"]

# Below this a body fits into one packet or two either way, and compressing it costs more than it saves.
MIN_BYTES = 1024
# 64 KiB take 0.2 ms at level 1, a hop to a thread 0.03 ms: from here on the loop had better run meanwhile.
THREAD_BYTES = 64 * 1024
# Level 6 costs almost three times the CPU and saves a seventh of the bytes.
LEVEL = 1

_WINDOW: dict[Compression, int] = {"gzip": 31, "deflate": 15}  # zlib's codes: 16 more asks for the gzip container


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
    return zlib.compress(body, level=LEVEL, wbits=_WINDOW[compression])


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
    if len(body) <= THREAD_BYTES:
        return compress(body, compression), compression
    return await asyncio.to_thread(compress, body, compression), compression
