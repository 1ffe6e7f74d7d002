"""Bodies inflated within a bound, whatever they claim to be."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Protocol

from eventpipe.cli.wires.base import CODINGS, MAX_BODY_BYTES, RefusedError

MAX_MEMBERS = 100  # of a gzip or zstd body; senders make one, and each costs a copy of all that follows it

# What RFC 9659 lets a sender of HTTP ask for; a frame may claim 2 GiB, which is set aside before anything is inflated.
_ZSTD_WINDOW_LOG = 23

_TOO_EARLY = "the body cannot be inflated: it ends too early"


class Inflater(Protocol):
    """A decompressor of zlib or zstd."""

    @property
    def eof(self) -> bool:
        """Whether the end was reached."""

    @property
    def unused_data(self) -> bytes:
        """What followed the end."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Inflate, to at most so many bytes."""


def inflate(body: bytes, encoding: str, limit: int = MAX_BODY_BYTES, codings: frozenset[str] = CODINGS) -> bytes:
    """Undo a ``Content-Encoding``.

    Args:
        body: The body as it travelled.
        encoding: ``""``, ``identity`` or one of ``codings``, in any case.
        limit: Bytes that the result may have.
        codings: What is read.

    Raises:
        RefusedError: 413 beyond the limit, 415 for another encoding or one whose library is not installed, 400 for
            bytes that are not what they claim.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        inflated = body
    elif name in codings:
        inflated = _INFLATERS[name](body, limit)
    else:
        known = ", ".join(sorted(codings))
        raise RefusedError(415, f"content encoding {name[:40]!r} is not supported; send one of {known}")
    if len(inflated) > limit:
        raise RefusedError(413, f"the body is larger than {limit} bytes")
    return inflated


def _inflate_gzip(body: bytes, limit: int) -> bytes:
    def member(body: bytes, room: int) -> tuple[bytes, bytes]:
        inflated, rest = _inflate(zlib.decompressobj(zlib.MAX_WBITS | 16), zlib.error, body, room, limit)
        return inflated, rest.lstrip(b"\0")  # a member may be padded with zeros

    return _members("gzip", member, body, limit)


def _inflate_deflate(body: bytes, limit: int) -> bytes:
    return _inflate(zlib.decompressobj(), zlib.error, body, limit, limit)[0]


def _inflate_zstd(body: bytes, limit: int) -> bytes:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    zstd = _library(name, "zstd", "zstd")
    options = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}

    def frame(body: bytes, room: int) -> tuple[bytes, bytes]:
        return _inflate(zstd.ZstdDecompressor(options=options), zstd.ZstdError, body, room, limit)

    return _members("zstd", frame, body, limit)


def _inflate_brotli(body: bytes, limit: int) -> bytes:
    brotli = _library("brotli", "br", "brotli")
    inflater = brotli.Decompressor()
    try:
        inflated: bytes = inflater.process(body, output_buffer_limit=limit + 1)
    except TypeError as error:  # before 1.2 it knew no bound
        raise RefusedError(415, "content encoding 'br' needs brotli 1.2: pip install -U 'eventpipe[brotli]'") from error
    except brotli.error as error:
        raise RefusedError(400, "the body cannot be inflated: it is not brotli") from error
    _check_room(inflated, limit, limit)
    if not inflater.is_finished():
        raise RefusedError(400, _TOO_EARLY)
    return inflated


_INFLATERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _inflate_gzip,
    "deflate": _inflate_deflate,
    "br": _inflate_brotli,
    "zstd": _inflate_zstd,
}


def _members(name: str, inflate: Callable[[bytes, int], tuple[bytes, bytes]], body: bytes, limit: int) -> bytes:
    """Inflate one part after another, within one limit for all."""
    members: list[bytes] = []
    room = limit
    while body or not members:
        if len(members) == MAX_MEMBERS:
            raise RefusedError(400, f"the body has more than {MAX_MEMBERS} {name} members")
        member, body = inflate(body, room)
        members.append(member)
        room -= len(member)
    return b"".join(members)


def _inflate(
    inflater: Inflater, kind_of_error: type[Exception], body: bytes, room: int, limit: int
) -> tuple[bytes, bytes]:
    """Inflate one part into what room is left of the limit; gives it and what follows it."""
    try:
        inflated = inflater.decompress(body, room + 1)
    except kind_of_error as error:
        raise RefusedError(400, f"the body cannot be inflated: {error}") from error
    _check_room(inflated, room, limit)
    if not inflater.eof:
        raise RefusedError(400, _TOO_EARLY)
    return inflated, inflater.unused_data


def _check_room(inflated: bytes, room: int, limit: int) -> None:
    if len(inflated) > room:
        raise RefusedError(413, f"the body inflates to more than {limit} bytes")


def _library(module: str, coding: str, extra: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        needed = f"content encoding {coding!r} needs pip install 'eventpipe[{extra}]' where the collector runs"
        raise RefusedError(415, needed) from error
