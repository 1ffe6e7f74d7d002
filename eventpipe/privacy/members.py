"""The properties of an event under the names that they will have when they are sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventpipe.checked import shown
from eventpipe.encoding.arguments import identifier, pairs
from eventpipe.encoding.repair import Repairs, repair
from eventpipe.events import Event, Properties
from eventpipe.privacy.patterns import several


def members(event: Event) -> Properties | None:
    """Properties whose keys are all text, the event's own where they are so already; never to be changed.

    Of two keys that are written alike, the first is kept.

    Returns:
        ``None`` where there are none, or nothing that could be sent: the client refuses that by itself.

    Raises:
        InvalidEventError: A foreign mapping raised while it was read.
    """
    given = event.properties
    if type(given) is dict and set(map(type, given)) <= {str}:
        return given
    if not issubclass(type(given), Mapping):
        return None
    named: dict[str, Any] = {}  # Any: as in Properties
    for key, value in pairs(given, "properties").members:
        named.setdefault(key if type(key) is str else _written(key), value)
    return named


def text_of(value: object) -> str | None:
    """A text, a number or a UUID as the client writes an id; ``None`` for what is none of these."""
    return value if type(value) is str else identifier(value, "value", Repairs())


def _written(key: object) -> str:
    """A key that is no plain text, as the encoder writes it."""
    made, _ = repair({key: None})
    return str(*made)


def checked_names(option: str, given: object) -> tuple[str, ...]:
    """Names that were given for an option, each once.

    Raises:
        ValueError: It is no list, or a name is no text, or empty.
    """
    names = several(option, given)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ValueError(f"{option} must hold names, not {shown(name)}")
    return tuple(dict.fromkeys(map(str, names)))
