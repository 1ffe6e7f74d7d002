"""What topics, consumers and endpoints may be called, and how several names are meant at once."""

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
    the_name = f"the name of {'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if not isinstance(name, str):
        raise TypeError(f"{the_name} must be text, not {shown(name)}")
    if not name:
        raise ValueError(f"{the_name} must not be empty")
    is_of_letters = kind == "topic" and name.endswith(DEAD_SUFFIX)
    if is_of_letters and len(name) > MAX_DEAD_NAME:
        raise ValueError(
            f"the name of a topic of dead letters must have at most {MAX_DEAD_NAME} characters, not {len(name)}"
        )
    counted = len(_without_suffixes(name) if is_of_letters else name)
    if counted > MAX_NAME:
        before = f" before {DEAD_SUFFIX}" if is_of_letters else ""
        raise ValueError(f"{the_name} must have at most {MAX_NAME} characters{before}, not {counted}")
    if not name.isprintable() or " " in name:
        raise ValueError(f"{the_name} must have no white space and no control characters, unlike {name!r}")
    return name


def _without_suffixes(name: str) -> str:
    while name.endswith(DEAD_SUFFIX):
        name = name.removesuffix(DEAD_SUFFIX)
    return name


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogate, which no engine keeps as it is, and different ones as the same."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def fits(pattern: str, name: str) -> bool:
    """Whether a name is what a pattern says, in which ``*`` stands for any characters, or none.

    In a time that grows with the length of the name, whatever the pattern is.
    """
    if "*" not in pattern:
        return pattern == name
    first, *middle, last = pattern.split("*")
    at, end = len(first), len(name) - len(last)
    if at > end or not name.startswith(first) or not name.endswith(last):
        return False
    for part in middle:  # each where it comes first leaves most for the others
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
