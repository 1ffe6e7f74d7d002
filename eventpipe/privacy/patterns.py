"""What personal data looks like inside a text, and how it is taken out.

Each ready-made pattern takes time that grows with the length of a text and no faster, whatever the text is. Of a
regular expression of yours nobody can promise that: ``re`` has no limit in time, and ``(a+)+$`` takes hours for forty
characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from eventpipe.checked import shown

# Digits of a card number, by ISO/IEC 7812.
MIN_CARD_DIGITS: Final = 13
MAX_CARD_DIGITS: Final = 19
MIN_GROUP: Final = 3  # digits, but for the last, of a card number among others: lists of small ones look like many
_GROUP: Final = re.compile(r"[0-9]+")
_ZERO: Final = ord("0")
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")  # twice a digit, and the digits of that added up


class Pattern:
    """Something that a text may hold and that is not to be sent.

    Attributes:
        name: What messages call it.
        find: Truth for a text that holds it.
        spans_lines: Whether it might be found across a line break, or depends on where a text begins and ends. One
            that does neither is looked for in many texts at once.
    """

    find: Callable[[str], object]

    def __init__(
        self,
        name: str,
        regex: re.Pattern[str],
        meaning: str = "",
        *,
        hint: re.Pattern[str] | None = None,
        spans_lines: bool = True,
    ) -> None:
        """Make a pattern.

        Args:
            name: What messages call it.
            regex: What it is.
            meaning: The same in words.
            hint: Is in every text that holds the pattern, and found in a fraction of the time. ``None``: no such thing.
            spans_lines: See the attribute.
        """
        self.name = name
        self.spans_lines = spans_lines
        self.find = regex.search if hint is None else lambda text: hint.search(text) and self._find(text)
        self._regex = regex
        self.__doc__ = meaning

    def replace(self, text: str, replacement: str) -> str:
        """``text`` with ``replacement`` wherever it holds the pattern."""
        return self._regex.sub(lambda _: replacement, text)

    def _find(self, text: str) -> object:
        return self._regex.search(text)

    def __repr__(self) -> str:
        return f"<Pattern {self.name}>"


class _CardNumber(Pattern):
    """A number of a card is groups of digits that stand by themselves, so many in all, with the right check digit."""

    def replace(self, text: str, replacement: str) -> str:
        parts: list[str] = []
        end = 0
        for start, stop in self._spans(text):
            parts += text[end:start], replacement
            end = stop
        return "".join(parts) + text[end:]

    def _find(self, text: str) -> object:
        return self._spans(text)

    def _spans(self, text: str) -> list[tuple[int, int]]:
        spans: list[tuple[int, int]] = []
        for run in self._regex.finditer(text):
            if run["other"] is None:
                spans += _cards_in(text, *run.span())
        return spans


def _cards_in(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where in a run of groups card numbers are: all of it, else the longest from each group, none inside another."""
    groups = [group.span() for group in _GROUP.finditer(text, start, stop)]
    if _is_card("".join([text[slice(*group)] for group in groups[: MAX_CARD_DIGITS + 1]])):
        yield start, stop
        return
    first = 0
    while first < len(groups):
        digits = ""
        found = None
        for last in range(first, len(groups)):
            begin, end = groups[last]
            if len(digits) + end - begin > MAX_CARD_DIGITS:
                break
            digits += text[begin:end]
            if _is_card(digits):
                found = last
            if end - begin < MIN_GROUP:
                break
        if found is None:
            first += 1
        else:
            yield groups[first][0], groups[found][1]
            first = found + 1


def _is_card(digits: str) -> bool:
    """Whether so many digits are a number of a card's, with the check digit of Luhn, which one in ten has by chance."""
    if not MIN_CARD_DIGITS <= len(digits) <= MAX_CARD_DIGITS or digits[0] not in "23456":
        return False
    data = digits.encode()
    return (sum(data[::-2]) + sum(data[-2::-2].translate(_DOUBLED)) - len(data) * _ZERO) % 10 == 0


_BETWEEN: Final = r"[ \-\u00a0\u2009\u202f]"  # what people write between the groups of a card number
_LOCAL: Final = r"\w.!#$%'*+^`{|}~\-"
_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_BASE64: Final = r"[A-Za-z0-9_\-]"
_HEX: Final = "[0-9A-Fa-f]{1,4}"
_IPV6: Final = "|".join(
    (
        f"(?:{_HEX}:){{7}}{_HEX}",
        rf"(?:{_HEX}:){{6}}{_OCTET}(?=\.)",  # written in full, with one of version 4 at its end
        *(f"(?:{_HEX}:){{{left}}}(?::{_HEX}){{1,{7 - left}}}" for left in range(6, 0, -1)),
        f":(?::{_HEX}){{1,7}}",
        f"(?:{_HEX}:){{1,7}}:",
    )
)

EMAIL: Final = Pattern(
    "EMAIL",
    # A run of characters is read from its beginning only, so that a long one without an @ costs its length once.
    re.compile(
        rf'(?:(?<![{_LOCAL}])[{_LOCAL}]+|"[^"\n]{{1,64}}"|[/?&=])'
        r"(?:(?:[@\uff20]|%40)(?:[\w\-]+(?:\.[\w\-]+)*|\[(?:IPv6:)?[0-9A-Fa-f.:]{2,64}\]))+"
    ),
    "E-mail addresses, as they are and as a URL has them; those without a dot after the @ too.",
    hint=re.compile(r"[@\uff20]|%40"),
    spans_lines=False,
)
CARD_NUMBER: Final = _CardNumber(
    "CARD_NUMBER",
    # A UUID has as many digits, and so has a fraction; neither is one. Else: at least 13 digits, alone or in groups.
    re.compile(
        r"(?P<other>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}(?![0-9a-fA-F])|(?<=[0-9]\.)[0-9]{13,}+)"
        rf"|(?<![0-9])[0-9](?:{_BETWEEN}?[0-9]){{12,}}+"
    ),
    "Numbers of payment cards: 13 to 19 digits, together or in groups with blanks or dashes, the first from 2 to 6, "
    "with the right check digit. One in twenty other numbers of that length looks the same.",
    hint=re.compile(rf"[0-9](?:{_BETWEEN}?[0-9]){{12}}"),
    spans_lines=False,
)
BEARER_TOKEN: Final = Pattern(
    "BEARER_TOKEN",
    re.compile(
        r"\b[Bb][Ee][Aa][Rr][Ee][Rr](?:[ \t:=+]|%20)+[A-Za-z0-9._~+/=\-]{8,}"
        # As above: each run is read from its beginning only, and only where it ends as the first part of a token does.
        rf"|(?<!{_BASE64})(?={_BASE64}*+\.{_BASE64}){_BASE64}*?"
        rf"(?<![A-Za-z0-9])eyJ{_BASE64}{{8,}}\.{_BASE64}+(?:\.{_BASE64}*)*"
    ),
    "Bearer tokens after their word, from eight characters on, and JSON web tokens, with what is joined in front.",
    hint=re.compile("[Bb][Ee][Aa][Rr][Ee][Rr]|eyJ"),
    spans_lines=False,
)
IP_ADDRESS: Final = Pattern(
    "IP_ADDRESS",
    re.compile(
        rf"(?<![0-9])(?:{_OCTET}\.){{3}}{_OCTET}(?![0-9])"
        rf"|(?<!\w)(?:{_IPV6})(?:(?:\.[0-9]{{1,3}}){{3}})?(?!:?[0-9A-Za-z])",
        re.ASCII,
    ),
    "IP addresses, of version 4 and 6. A version number of four parts looks the same.",
    hint=re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|::|:(?:[0-9A-Fa-f]{1,4}:){6}"),
    spans_lines=False,
)
SECRET_NAMES: Final = Pattern(
    "SECRET_NAMES",
    re.compile(
        r"(?i)passw|passphrase|pwd|secret|credential|authori[sz]ation|cookie|token(?:[\W_]|value|[0-9])*$"
        r"|(?:api|access|private|signing|encryption)[\W_]?key|^(?:auth|jwt|otp|pin|cvc2?|cvv2?|ssn|iban)$"
    ),
    "For ``keys``: names that say password, secret, token, authorization, cookie, API key and the like.",
)


def patterns(option: str, given: object) -> tuple[Pattern, ...]:
    """What was given for an option, as patterns.

    Raises:
        ValueError: Names the option, the one that is wrong, and the rule.
    """
    return tuple(pattern(f"{option}[{number}]", one) for number, one in enumerate(several(option, given)))


def pattern(option: str, given: object) -> Pattern:
    """A regular expression, compiled or as text, or a ready-made pattern.

    Raises:
        ValueError: Names the option and the rule.
    """
    if isinstance(given, Pattern):
        return given
    if isinstance(given, str):
        try:
            given = re.compile(given)
        except re.error as error:
            raise ValueError(f"{option} must be a regular expression, not {shown(given)}: {error.msg}") from None
    if not isinstance(given, re.Pattern) or not isinstance(given.pattern, str):
        raise ValueError(f"{option} must be a regular expression for text, not {shown(given)}")
    return Pattern(given.pattern, given)


def several(option: str, given: object) -> tuple[object, ...]:
    """What was given for an option that takes several of something.

    Raises:
        ValueError: It is one text, which would be taken letter by letter, or nothing that can be iterated over.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise ValueError(f"{option} must be a list, not {shown(given)}; for one, write {option}=[...]")
    return tuple(given)
