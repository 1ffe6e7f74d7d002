"""What a far end says may repeat the key that let us in; its words are shown to people, and the key is not."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from eventpipe.codecs.keys import SHOWN_OF_KEY, forms_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eventpipe.outcomes import Verdict

WITHHELD = "(withheld: it repeats a header or the URL of the sink)"

MIN_PASSWORD = 4  # shorter ones are part of any sentence
MIN_KEY_IN_PATH = 16  # shorter parts are words, such as "analytics", that a far end may well say

_OPEN = frozenset({"accept", "accept-language", "content-type", "host", "user-agent"})  # nobody's secret


def without_secrets(verdicts: Sequence[Verdict], headers: Mapping[str, str], url: str) -> Sequence[Verdict]:
    """Withhold details that repeat the beginning of what may be a key: as it is, in base64 or as a URL has it.

    Args:
        verdicts: Those of a codec, which knows neither headers nor URL of its sink.
        headers: Those of the sink; each word of a value may be a key, or have a password in it.
        url: That of the sink; a value in its query may be one, and a long part of its path.
    """
    details = {verdict.detail for verdict in verdicts}
    if details == {None}:
        return verdicts
    forms = forms_within(headers, url)
    telling = {detail for detail in details if detail is not None and any(form in detail for form in forms)}
    return [replace(verdict, detail=WITHHELD) if verdict.detail in telling else verdict for verdict in verdicts]


def forms_within(headers: Mapping[str, str], url: str) -> frozenset[str]:
    """What no text may hold that is shown: the beginnings of what may be keys; as ``without_secrets()`` has it."""
    return frozenset[str]().union(*map(forms_of, [*_words(headers), *_parts(url)]))


def _words(headers: Mapping[str, str]) -> Iterator[str]:
    for name, value in headers.items():
        if name.lower() not in _OPEN:
            for word in value.split():
                if len(word) >= SHOWN_OF_KEY:  # names of schemes, such as Bearer, are shorter
                    yield word
                    yield from _password(word)


def _password(word: str) -> Iterator[str]:
    """What is inside the word of a Basic authorization, behind the name."""
    try:
        _, _, password = b64decode(word, validate=True).decode().partition(":")
    except ValueError:
        return
    if len(password) >= MIN_PASSWORD:
        yield password


def _parts(url: str) -> Iterator[str]:
    split = urlsplit(url)
    yield from (value for _, value in parse_qsl(split.query) if len(value) >= SHOWN_OF_KEY)
    yield from (part for part in map(unquote, split.path.split("/")) if len(part) >= MIN_KEY_IN_PATH)
