"""What topics and consumers may be called."""

from __future__ import annotations

from typing import Final

from eventpipe.checked import shown
from eventpipe.stores.values import DEAD_SUFFIX

MAX_NAME: Final = 200  # characters; as subjects and keys of engines they are bounded too

# Characters of the name of a topic of dead letters: those of every topic need one, and so do those that a consumer of
# letters gives up in turn, as often as anybody will.
MAX_DEAD_NAME: Final = 255


def check_name(kind: str, name: object) -> str:
    """``name``, when it can be that of a ``kind`` such as a topic.

    Wherever a topic can have a name, the topic of its dead letters can have the one that follows from it.

    Raises:
        ValueError: It is empty, longer than ``MAX_NAME`` characters, or has white space or control characters in it.
            ``DEAD_SUFFIX`` at the end of a topic's name is not counted, within ``MAX_DEAD_NAME``.
        TypeError: It is no text.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of a {kind} must be text, not {shown(name)}")
    if not name:
        raise ValueError(f"the name of a {kind} must not be empty")
    is_of_letters = kind == "topic" and name.endswith(DEAD_SUFFIX)
    if is_of_letters and len(name) > MAX_DEAD_NAME:
        raise ValueError(
            f"the name of a topic of dead letters must have at most {MAX_DEAD_NAME} characters, not {len(name)}"
        )
    counted = len(_without_suffixes(name) if is_of_letters else name)
    if counted > MAX_NAME:
        before = f" before {DEAD_SUFFIX}" if is_of_letters else ""
        raise ValueError(f"the name of a {kind} must have at most {MAX_NAME} characters{before}, not {counted}")
    if not name.isprintable() or " " in name:
        raise ValueError(f"the name of a {kind} must have no white space and no control characters, unlike {name!r}")
    return name


def _without_suffixes(name: str) -> str:
    while name.endswith(DEAD_SUFFIX):
        name = name.removesuffix(DEAD_SUFFIX)
    return name
