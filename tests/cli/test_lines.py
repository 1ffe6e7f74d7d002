from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.cli import lines
from eventpipe.cli.lines import Line, Lines


def in_blocks(*blocks: bytes) -> Callable[[int], bytes]:
    waiting = list(blocks)
    return lambda _limit: waiting.pop(0) if waiting else b""


@given(
    st.binary(max_size=60).map(lambda data: data.replace(b"\r", b"").replace(b"\xef", b"")),
    st.lists(st.integers(1, 7), max_size=30),
)
def test_lines_do_not_depend_on_the_blocks(data: bytes, cuts: list[int]) -> None:
    """However a file arrives in blocks, its lines and their numbers are the same."""
    blocks = []
    rest = data
    for cut in cuts:
        blocks.append(rest[:cut])
        rest = rest[cut:]
    blocks = [block for block in [*blocks, rest] if block]

    found = list(Lines(in_blocks(*blocks)))

    whole = data.split(b"\n")
    if whole[-1] == b"":
        whole.pop()
    assert found == [Line(number, text) for number, text in enumerate(whole, 1)]


def test_line_breaks_and_byte_order_mark_are_taken_off() -> None:
    """Files written on Windows have the same lines; a last line needs no line break."""
    source = Lines(in_blocks(lines.BOM + b"a\r\nb\n\nc"))

    assert list(source) == [Line(1, b"a"), Line(2, b"b"), Line(3, b""), Line(4, b"c")]
    assert source.bytes_read == 10


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_byte_order_mark_may_come_in_parts(cut: int) -> None:
    """A pipe hands over what its writer wrote; what only begins like the mark is the line's own."""
    for rest in (b"a\n", b""):
        data = lines.BOM + rest
        source = Lines(in_blocks(*filter(None, (data[:cut], data[cut:]))))

        assert [line.text for line in source] == rest.split()
        assert source.bytes_read == len(data)

    alone = Lines(in_blocks(lines.BOM[:cut], b"a\n", lines.BOM + b"b"))

    assert [line.text for line in alone] == [lines.BOM[: cut % 3] + b"a", lines.BOM + b"b"]


def test_a_line_without_end_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a line that is too long its beginning is kept; the lines after it are whole."""
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 10)
    source = Lines(in_blocks(b"ok\n" + b"x" * 8, b"y" * 8, b"z" * 8, b"\nfine\n" + b"w" * 30))

    assert list(source) == [
        Line(1, b"ok"),
        Line(2, b"x" * 8 + b"yy", is_too_long=True),
        Line(3, b"fine"),
        Line(4, b"w" * 10, is_too_long=True),
    ]


def test_nothing_is_read_ahead() -> None:
    """A pipe is read again only when every line that came has been handed out."""
    reads = 0

    def read(_limit: int) -> bytes:
        nonlocal reads
        reads += 1
        return b"a\nb\n" if reads == 1 else b""

    source = Lines(read)

    seen = [source.is_empty, next(source).text, source.is_empty, next(source).text, source.is_empty]
    assert (seen, reads) == ([True, b"a", False, b"b", True], 1)
