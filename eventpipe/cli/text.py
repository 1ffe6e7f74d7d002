"""Numbers as people read them."""

from __future__ import annotations


def readable(name: str) -> str:
    """The name of a file as text: names that are not valid in their encoding are handed to us as lone surrogates."""
    return name.encode(errors="replace").decode()


def count(number: int, noun: str = "", plural: str | None = None) -> str:
    """``12,345``; with a noun ``1 line`` and ``12,345 lines``."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def size(octets: float) -> str:
    """``432 B``, ``1.5 KiB``, ``12.0 MiB``."""
    if octets < 1024:
        return f"{octets:.0f} B"
    kib = octets / 1024
    if kib < 1024:
        return f"{kib:.1f} KiB"
    mib = kib / 1024
    return f"{mib:.1f} MiB" if mib < 1024 else f"{mib / 1024:,.1f} GiB"


def duration(seconds: float) -> str:
    """``85 µs``, ``1.2 ms``, ``350 ms``, ``2.4 s``, ``3 m 20 s``."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.01:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} m {rest} s"
