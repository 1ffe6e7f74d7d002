from __future__ import annotations

import gzip
import sys
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd

from eventpipe.cli.wires.base import RefusedError
from eventpipe.cli.wires.coding import MAX_MEMBERS, inflate


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", b"plain"),
        ("identity", b"plain"),
        ("gzip", gzip.compress(b"plain")),
        ("GZIP", gzip.compress(b"pl") + gzip.compress(b"ain") + b"\0\0"),
        ("deflate", zlib.compress(b"plain")),
        ("br", brotli.compress(b"plain")),
        ("zstd", zstd.compress(b"plain")),
        ("Zstd", zstd.compress(b"pl") + zstd.compress(b"ain")),
    ],
    ids=["none", "identity", "gzip", "gzip in two members", "deflate", "br", "zstd", "zstd in two frames"],
)
def test_body_is_inflated(encoding: str, body: bytes) -> None:
    """Every supported encoding gives back the bytes that were sent."""
    assert inflate(body, encoding) == b"plain"


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("compress", b"x", 415),
        ("gzip, gzip", b"x", 415),
        ("br", b"not brotli", 400),
        ("br", brotli.compress(b"plain")[:-1], 400),
        ("br", b"", 400),
        ("br", brotli.compress(b"x" * 101), 413),
        ("zstd", b"not zstd", 400),
        ("zstd", zstd.compress(b"plain")[:-1], 400),
        ("zstd", b"", 400),
        ("zstd", zstd.compress(b"x" * 101), 413),
        ("zstd", zstd.compress(b"x" * 60) * 2, 413),
        ("gzip", b"not gzip", 400),
        ("gzip", b"", 400),
        ("gzip", gzip.compress(b"plain", mtime=0)[:-4], 400),
        ("deflate", b"plain", 400),
        ("", b"x" * 101, 413),
        ("gzip", gzip.compress(b"x" * 101, mtime=0), 413),
        ("gzip", gzip.compress(b"x" * 60, mtime=0) * 2, 413),
        ("deflate", zlib.compress(b"x" * 101), 413),
    ],
)
def test_body_that_cannot_be_taken_is_refused(encoding: str, body: bytes, status: int) -> None:
    """A body above the limit is 413, an unknown encoding 415, and bytes that are not what they claim are 400."""
    with pytest.raises(RefusedError) as refused:
        inflate(body, encoding, limit=100)

    assert refused.value.status == status


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_parts_share_one_limit(coding: str) -> None:
    """What the first took is not there for the second: a hundred parts make no hundred times the limit."""
    part = gzip.compress(b"x" * 60) if coding == "gzip" else zstd.compress(b"x" * 60)

    with pytest.raises(RefusedError, match=r"^the body inflates to more than 100 bytes$"):
        inflate(part * 2, coding, limit=100)

    assert inflate(part * 2, coding, limit=120) == b"x" * 120


def test_gzip_members_are_bounded() -> None:
    """Each is cut off what follows it, so that a million empty ones would keep the collector busy for minutes."""
    rest = gzip.compress(b"rest")

    assert inflate(gzip.compress(b"") * (MAX_MEMBERS - 1) + rest, "gzip") == b"rest"
    with pytest.raises(RefusedError, match=f"^the body has more than {MAX_MEMBERS} gzip members$") as refused:
        inflate(gzip.compress(b"") * MAX_MEMBERS + rest, "gzip")

    assert refused.value.status == 400


MIB = 1024 * 1024
ZEROS = bytes(64 * MIB)
BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(ZEROS),
    "deflate": lambda: zlib.compress(ZEROS),
    "br": lambda: brotli.compress(ZEROS, quality=1),
    "zstd": lambda: zstd.compress(ZEROS),
}


@pytest.mark.parametrize("coding", BOMBS)
def test_a_bomb_takes_little_more_memory_than_the_limit(coding: str) -> None:
    """What would become 64 MiB takes less than 4 MiB where 1 MiB is the limit."""
    body = BOMBS[coding]()
    tracemalloc.start()
    try:
        with pytest.raises(RefusedError, match=r"^the body inflates to more than 1048576 bytes$") as refused:
            inflate(body, coding, limit=MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert refused.value.status == 413
    assert peak < 4 * MIB


def test_a_zstd_window_is_bounded() -> None:
    """A frame that asks for 128 MiB to be set aside is refused; RFC 9659 lets it ask for 8 MiB."""
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: 27,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(b"plain") + compressor.flush()

    with pytest.raises(RefusedError, match=r"^the body cannot be inflated: ") as refused:
        inflate(body, "zstd")

    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("coding", "module", "extra"), [("br", "brotli", "brotli"), ("zstd", "backports.zstd", "zstd")]
)
def test_a_missing_library_is_named(coding: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender is told that this collector cannot read the coding, and what its owner can install."""
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(RefusedError, match=rf"pip install 'eventpipe\[{extra}\]'") as refused:
        inflate(b"x", coding)

    assert refused.value.status == 415


def test_a_brotli_without_a_bound_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 1.2 it inflated without one."""

    class Decompressor:
        def process(self, body: bytes) -> bytes:
            raise AssertionError(body)

    monkeypatch.setattr(brotli, "Decompressor", Decompressor)

    with pytest.raises(RefusedError, match=r"needs brotli 1\.2") as refused:
        inflate(b"x", "br")

    assert refused.value.status == 415
