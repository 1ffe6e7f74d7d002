"""The keys that far ends give to those who may send to them."""

from __future__ import annotations

import base64
from urllib.parse import quote

SHOWN_OF_KEY = 8  # so many characters of a key tell whose it is

MAX_KEY_LENGTH = 4096  # as a header commonly may have at most 8 KiB, and a key in Base64 is a third longer


def checked_key(option: str, key: object) -> str:
    """Cut off the space around a key, which files and environments leave there, and refuse what cannot be one.

    Args:
        option: What the caller knows the key as.
        key: The key.

    Raises:
        ValueError: Names the option and the rule, never the key.
    """
    text = key.strip() if isinstance(key, str) else ""
    if not 0 < len(text) <= MAX_KEY_LENGTH or not all("!" <= character <= "~" for character in text):
        raise ValueError(
            f"{option} must be printable ASCII without spaces inside, not empty, and at most {MAX_KEY_LENGTH} "
            f"characters long (its value is not shown)"
        )
    return text


def forms_of(key: str) -> frozenset[str]:
    """What gives a key away: its beginning as it is, as a URL has it, and in either base64."""
    encoded = base64.b64encode(key.encode()).decode()
    forms = (key, quote(key, safe=""), encoded, encoded.replace("+", "-").replace("/", "_"))
    return frozenset(form[:SHOWN_OF_KEY] for form in forms)
