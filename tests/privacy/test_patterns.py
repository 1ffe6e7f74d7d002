"""The ready-made patterns: what they find, what they leave alone, and that no text keeps them for long."""

from __future__ import annotations

import re
import time
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipe.privacy import BEARER_TOKEN, CARD_NUMBER, EMAIL, IP_ADDRESS, SECRET_NAMES
from eventpipe.privacy.patterns import MAX_CARD_DIGITS, MIN_CARD_DIGITS, Pattern

READY_MADE = (EMAIL, CARD_NUMBER, BEARER_TOKEN, IP_ADDRESS)


def name(pattern: object) -> str | None:
    return pattern.name if isinstance(pattern, Pattern) else None


@pytest.mark.parametrize(
    ("pattern", "text", "left"),
    [
        (EMAIL, "a@b.c", "*"),
        (EMAIL, "to Ann.O'Neil+x@Mail.Example.COM.", "to *."),
        (EMAIL, "<root@localhost>", "<*>"),
        (EMAIL, "/find?mail=ann%2Bx%40b.org&x=1", "/find?mail=*&x=1"),
        (EMAIL, "jürgen@bücher.example", "*"),
        (EMAIL, '"ann b"@c.de', "*"),
        (EMAIL, "ann@[192.0.2.1]", "*"),
        (EMAIL, "ann\uff20b.c", "*"),
        (EMAIL, "postgres://ann:word@db/x", "postgres://ann:*/x"),
        (EMAIL, "@ann and b @ c, 5 %40 6", None),
        (CARD_NUMBER, "4111111111111111", "*"),
        (CARD_NUMBER, "4111 1111 1111 1111", "*"),
        (CARD_NUMBER, "5500-0000-0000-0004, 340000000000009", "*, *"),
        (CARD_NUMBER, "22 4111 1111 1111 1111 12/27", "22 * 12/27"),
        (CARD_NUMBER, "2026.4111 1111 1111 1111", "2026.*"),
        (CARD_NUMBER, "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "*"),
        (CARD_NUMBER, "4111111111111111.0", "*.0"),
        (CARD_NUMBER, "card4111111111111111EUR", "card*EUR"),
        (CARD_NUMBER, "4111111111111112", None),
        (CARD_NUMBER, "1700000000000", None),
        (CARD_NUMBER, "0.2306419794152834", None),
        (CARD_NUMBER, "41111111111111114111111111111111", None),
        (CARD_NUMBER, "a4111111-1111-1111-1111-111111111111", None),
        (CARD_NUMBER, "a4111111-1111-1111-1bcd-411111111111", None),
        (CARD_NUMBER, "10 20 30 40 50 60 70 80 90 11 12 13 14 15 16", None),
        (BEARER_TOKEN, "Authorization: Bearer abc.DEF-12~3", "Authorization: *"),
        (BEARER_TOKEN, "BEARER  abcdefgh==", "*"),
        (BEARER_TOKEN, "q=bearer%20abcdefgh", "q=*"),
        (BEARER_TOKEN, "t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln!", "t=*!"),
        (BEARER_TOKEN, "in session_eyJhbGciOiJI.eyJzdWIi-x.: id-eyJhbGciOiJI.e30", "in *: *"),
        (BEARER_TOKEN, "the bearer of news, eyJ, eyJhbGciOiJI., KeyJsonReader.read", None),
        (IP_ADDRESS, "from 192.168.7.9:443", "from *:443"),
        (IP_ADDRESS, "at 10.0.0.1.", "at *."),
        (IP_ADDRESS, "010.001.000.255", "*"),
        (IP_ADDRESS, "[::1]:80 fe80::1%eth0", "[*]:80 *%eth0"),
        (IP_ADDRESS, "ip:2001:db8::1, 1:2:3:4:5:6:7:8", "ip:*, *"),
        (IP_ADDRESS, "::ffff:192.0.2.1", "*"),
        (IP_ADDRESS, "07:45:59.123 de:ad:be:ef:00:01 std::vector 1.2.3 999.1.1.1", None),
    ],
    ids=str,
)
def test_what_is_found_is_taken_out(pattern: Pattern, text: str, left: str | None) -> None:
    """And no more than that."""
    assert bool(pattern.find(text)) == (left is not None)
    assert pattern.replace(text, "*") == (text if left is None else left)


def with_check_digit(digits: str) -> str:
    """``digits`` and the one that Luhn's formula asks for behind them, by trying."""
    for last in "0123456789":
        total = 0
        for place, digit in enumerate(reversed(digits + last)):
            value = int(digit) * (1 + place % 2)
            total += value - 9 * (value > 9)
        if total % 10 == 0:
            return digits + last
    raise AssertionError(digits)


@given(
    st.from_regex(rf"[2-6][0-9]{{{MIN_CARD_DIGITS - 2},{MAX_CARD_DIGITS - 2}}}", fullmatch=True).map(with_check_digit),
    st.sampled_from(["", "pay ", "nr:", "12/27 ", "(", "7 "]),
    st.sampled_from(["", ".", " now", ")", " 12/27", " 7", ".0"]),
    st.sampled_from(["", " ", "-"]),
)
def test_every_card_number_is_found(digits: str, before: str, after: str, between: str) -> None:
    """Of any length, in groups of four, alone or among other words and numbers; a digit changed, and it is none."""
    card = between.join(digits[at : at + 4] for at in range(0, len(digits), 4))
    text = before + card + after
    other = str((int(digits[-1]) + 1) % 10)

    assert CARD_NUMBER.find(text)
    assert digits[:8] not in CARD_NUMBER.replace(text, "*").replace(between or "*", "")
    assert not CARD_NUMBER.find(digits[:-1] + other)


def test_one_number_in_twenty_is_taken_for_a_card() -> None:
    """By chance: five first digits of ten, and one last digit of ten."""
    numbers = [f"{first}11111111111111{last}" for first in range(10) for last in range(10)]

    assert len(list(filter(CARD_NUMBER.find, numbers))) == len(numbers) / 20


@given(
    st.ip_addresses(v=4).map(str), st.sampled_from(["", "from ", "(", "v", "/"]), st.sampled_from(["", ":8", ".", ")"])
)
def test_every_address_of_version_4_is_found(address: str, before: str, after: str) -> None:
    """Whatever is beside it."""
    assert IP_ADDRESS.replace(before + address + after, "*") == before + "*" + after


@given(
    st.ip_addresses(v=6),
    st.sampled_from(["", "from ", "[", "ip:", "="]),
    st.sampled_from(["", "]:8", ".", "/64", ": "]),
)
def test_every_address_of_version_6_is_found(address: IPv6Address, before: str, after: str) -> None:
    """Short and long, in either case, with one of version 4 at its end; only the one that has no digit is left."""
    groups = IPv6Address(address).exploded.split(":")[:6] if address.ipv4_mapped is None else ["0"] * 5 + ["ffff"]
    mixed = ":".join([*groups, str(IPv4Address(int(address) & 0xFFFFFFFF))])
    for text in {str(address), address.exploded, str(address).upper(), mixed} - {"::"}:
        assert IP_ADDRESS.replace(before + text + after, "*") == before + "*" + after


@given(st.emails(), st.sampled_from(["", "mailto:", "<", "a=", "\n"]), st.sampled_from(["", ">", ", and", "?x", "\n"]))
def test_every_mail_address_is_found(address: str, before: str, after: str) -> None:
    """The domain and the last part before it are gone, whatever the address is made of."""
    local, _, domain = address.rpartition("@")
    last = re.split("[/?&=]", local)[-1]

    left = EMAIL.replace(before + address + after, "*")

    assert "@" not in left
    assert left.endswith("*" + after)
    assert len(left) - len("*") <= len(before + address + after) - len(last) - len("@" + domain)


@given(
    st.lists(st.text("a1@.: -e\n%40", max_size=20) | st.sampled_from(["4111111111111111", "a@b", "::1"]), max_size=5)
)
def test_a_look_at_many_texts_at_once_misses_nothing(texts: list[str]) -> None:
    """What is found in one of them is found in all of them, joined by line breaks."""
    for pattern in READY_MADE:
        if any(map(pattern.find, texts)):
            assert pattern.find("\n".join(texts))


@given(st.text('abe@.: -%401\n\u00e9/=[]"', max_size=40))
def test_what_is_taken_out_is_not_found_again(text: str) -> None:
    """One round is enough, for the ready-made ones."""
    for pattern in READY_MADE:
        assert not pattern.find(pattern.replace(text, "[x]"))


@pytest.mark.parametrize(
    ("key", "is_secret"),
    [
        ("password", True),
        ("newPassword2", True),
        ("client_secret", True),
        ("accessToken", True),
        ("csrf-token", True),
        ("Authorization", True),
        ("Set-Cookie", True),
        ("X-Api-Key", True),
        ("cvv", True),
        ("CVV2", True),
        ("jwt", True),
        ("user[token]", True),
        ("token_value", True),
        ("token2", True),
        ("encryption_key", True),
        ("input_tokens", False),
        ("token_count", False),
        ("plan", False),
        ("session_id", False),
        ("pin_count", False),
        ("key", False),
    ],
)
def test_names_that_say_secret(key: str, is_secret: bool) -> None:
    """Wherever in the name, where the word has one meaning."""
    assert bool(SECRET_NAMES.find(key)) is is_secret


UNITS = (
    "a", "a.", "1", "2 ", "22 ", "333 ", "4-", "a@", "a@[", "%40", '"a', "bearer ", "bearer=", "eyJaaaaaaaa.", "-eyJ",
    "eyJ-", "eyJaaaaaaaa-", "1.", "255.255.255.", "a:", "::", "ffff:", "1::", "3333 3333 3333 333 ", "passwor", "token",
    "api", "é",
)  # fmt: skip


@pytest.mark.wallclock
@pytest.mark.parametrize("pattern", [*READY_MADE, SECRET_NAMES], ids=name)
def test_no_text_takes_longer_than_its_length(pattern: Pattern) -> None:
    """Ten times the text takes no more than thirty times as long, whatever it is made of and however it ends."""

    def cost(text: str) -> float:
        began = time.process_time()
        for end in ("!", ".!"):
            pattern.find(text + end)
            pattern.replace(text + end, "*")
        return time.process_time() - began

    for unit in UNITS:
        short, long = (unit * (size // len(unit)) for size in (5_000, 50_000))
        quickest = min(cost(short) for _ in range(3))

        assert min(cost(long) for _ in range(2)) < max(30 * quickest, 0.01), unit
