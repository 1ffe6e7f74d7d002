"""What a far end says may repeat the headers that let us in; its words are shown to people, and they are not."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from eventpipe.outcomes import Verdict

SHOWN_OF_SECRET = 8  # so many characters of a key tell whose it is
WITHHELD = "(withheld: it repeats a header of ours)"

_OPEN = frozenset({"accept", "accept-language", "content-type", "host", "user-agent"})  # nobody's secret


def without_secrets(verdicts: Sequence[Verdict], headers: Mapping[str, str]) -> Sequence[Verdict]:
    """Withhold details that repeat the beginning of a header's value, as it is, in base64 or as a URL has it.

    Args:
        verdicts: Those of a codec, which does not know the headers of its sink.
        headers: Those of the sink.
    """
    details = {verdict.detail for verdict in verdicts}
    if details == {None} or not headers:
        return verdicts
    forms = set(_forms(headers))
    telling = {detail for detail in details if detail is not None and any(form in detail for form in forms)}
    return [replace(verdict, detail=WITHHELD) if verdict.detail in telling else verdict for verdict in verdicts]


def _forms(headers: Mapping[str, str]) -> Iterator[str]:
    words = [word for name, value in headers.items() if name.lower() not in _OPEN for word in value.split()]
    for word in words:
        if len(word) >= SHOWN_OF_SECRET:  # shorter ones are schemes, such as Bearer
            encoded = base64.b64encode(word.encode()).decode()
            for form in (word, quote(word, safe=""), encoded, encoded.replace("+", "-").replace("/", "_")):
                yield form[:SHOWN_OF_SECRET]
