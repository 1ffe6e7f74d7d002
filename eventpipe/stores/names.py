"""What topics and consumers may be called."""

from __future__ import annotations

from typing import Final

from eventpipe.checked import shown

MAX_NAME: Final = 200  # characters; as subjects and keys of engines they are bounded too


def check_name(kind: str, name: object) -> str:
    """``name``, when it can be that of a ``kind`` such as a topic.

    Raises:
        ValueError: It is empty, longer than ``MAX_NAME`` characters, or has white space or control characters in it.
        TypeError: It is no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a {kind} must be text, not {shown(name)}")
    if not name:
        raise ValueError(f"the name of a {kind} must not be empty")
    if len(name) > MAX_NAME:
        raise ValueError(f"the name of a {kind} must have at most {MAX_NAME} characters, not {len(name)}")
    if not name.isprintable() or " " in name:
        raise ValueError(f"the name of a {kind} must have no white space and no control characters, unlike {name!r}")
    return name
