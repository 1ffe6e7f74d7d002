"""Events as bytes: what comes back is what was kept, and what was altered is known."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.events import CapturedEvent
from eventpipe.stores.packing import checksum, pack, pack_checked, unpack
from eventpipe.testing import make_event

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def members_of(event: CapturedEvent) -> tuple[object, ...]:
    return (event.name, event.data, event.lane, event.extra, event.captured_at, event.json, event.held)


@given(
    name=texts.filter(bool),
    lane=st.none() | texts,
    headers=st.none() | st.dictionaries(texts, texts, max_size=3),
    key=st.none() | texts,
    lifted=st.none() | st.dictionaries(texts, st.integers() | texts, max_size=3),
)
def test_event_comes_back_as_it_was(
    name: str, lane: str | None, headers: dict[str, str] | None, key: str | None, lifted: dict[str, object] | None
) -> None:
    """Every part of it, to the byte, and the size that it counts for; the moment is the one that is given."""
    small = {k: v for k, v in (lifted or {}).items() if not isinstance(v, int) or abs(v) < 2**63}
    event = make_event(name, lane=lane, headers=headers, key=key, lifted=small, captured_at=3.0)

    packed_name, extra, data, size = pack(event)
    back = unpack(packed_name, extra, data, 3.0)

    assert members_of(back) == members_of(event)
    assert size == event.held


@given(
    name=texts.filter(bool),
    lane=st.none() | texts,
    key=st.none() | texts,
    place=st.integers(0, 2**63 - 1),
    moment=st.floats(allow_nan=False),
)
def test_one_call_makes_what_two_make(name: str, lane: str | None, key: str | None, place: int, moment: float) -> None:
    """An event as bytes, and the checksum of that at its place."""
    event = make_event(name, lane=lane, key=key)

    packed_name, extra, data, size = pack(event)
    check = checksum(place, moment, packed_name, extra, data, size)

    assert pack_checked(event, place, moment) == (size, check, packed_name, extra, data)


def test_plain_event_needs_nothing_beside_it() -> None:
    """What most events do not have takes no room."""
    assert pack(make_event())[1] is None


@pytest.mark.parametrize(
    ("name", "extra", "why"),
    [
        (b"\xff", None, "no text"),
        (b"e", b"{", "no JSON"),
        (b"e", b"[]", "no version"),
        (b"e", b'{"later":1}', "no version"),
    ],
)
def test_what_is_of_no_known_form_is_an_error_without_payload(name: bytes, extra: bytes | None, why: str) -> None:
    """Of a later version, for example; the message names nothing that was captured."""
    with pytest.raises(ValueError, match=why) as caught:
        unpack(name, extra, b"secret", 0.0)
    assert "secret" not in str(caught.value)


def test_every_flipped_bit_changes_the_checksum() -> None:
    """In any part of an event, and in its place, moment and size."""
    name, extra, data, size = pack(make_event("paid", key="k", properties={"sum": 5}))
    assert extra is not None
    before = checksum(5, 1.5, name, extra, data, size)
    random_bits = random.Random(1)

    for _ in range(500):
        parts = [bytearray(name), bytearray(extra), bytearray(data)]
        part = random_bits.choice(parts)
        part[random_bits.randrange(len(part))] ^= 1 << random_bits.randrange(8)
        assert checksum(5, 1.5, bytes(parts[0]), bytes(parts[1]), bytes(parts[2]), size) != before
    assert checksum(4, 1.5, name, extra, data, size) != before
    assert checksum(5, 1.25, name, extra, data, size) != before
    assert checksum(5, 1.5, name, extra, data, size + 1) != before


def test_a_byte_that_moves_to_the_next_part_changes_the_checksum() -> None:
    """The parts together are the same bytes, and each is another."""
    name, _, data, size = pack(make_event("paid"))
    assert checksum(5, 1.5, name[:-1], None, name[-1:] + data, size) != checksum(5, 1.5, name, None, data, size)
    assert checksum(5, 1.5, name, b"", data, size) != checksum(5, 1.5, name, None, data, size)
