"""A look at an event that says "nothing here" for nearly all events, and quickly."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from eventpipe.events import Event
from eventpipe.privacy.names import KeyNames
from eventpipe.privacy.patterns import Pattern

# Containers in one event that are looked at like this; a cycle has more of them than any number.
MAX_CONTAINERS: Final = 1000


class Glance:
    """Gathers every text of an event, then looks for all that is to be found.

    Patterns that end with a line look at all texts at once: a search costs 0.15 µs before it reads a letter.
    """

    def __init__(self, names: KeyNames, patterns: tuple[Pattern, ...]) -> None:
        self._names = names
        self._needs_texts = bool(patterns)
        self._at_once = tuple(pattern.find for pattern in patterns if not pattern.spans_lines)
        self._one_by_one = tuple(pattern.find for pattern in patterns if pattern.spans_lines)

    def finds_nothing(self, event: Event) -> bool:
        """Whether the event is of plain values only, with nothing in it that is to be scrubbed.

        Raises:
            Exception: It changes while it is read, or is not what it seems.
        """
        texts = [event.event] if type(event.event) is str else None
        if texts is None:
            return False
        for who in (event.distinct_id, event.key):
            kind = type(who)
            if kind is str or kind is int or kind is UUID:
                texts.append(str(who))
            elif who is not None:
                return False
        properties, headers = event.properties, event.headers
        containers: list[Any] = []  # Any: plain containers of whatever a caller passed
        for mapping in (properties, headers):
            if type(mapping) is dict:
                containers.append(mapping)
            elif mapping is not None:
                return False
        return self._gathers_plain(containers, texts) and not self._finds(texts)

    def _gathers_plain(self, containers: list[Any], texts: list[str]) -> bool:
        """Put every text of ``containers`` into ``texts``; false where not all is plain, or a key hides something."""
        clean = self._names.clean
        needs_texts = self._needs_texts
        for container in containers:  # which grows meanwhile
            if type(container) is dict:
                for key in container:
                    if type(key) is not str or (key not in clean and not self._names.is_clean(key)):
                        return False
                values = container.values()
            else:
                values = container
            for value in values:
                kind = type(value)
                if kind is str:
                    texts.append(value)
                elif kind is int or kind is float or kind is UUID:
                    if needs_texts:
                        texts.append(str(value))
                elif kind is dict or kind is list or kind is tuple:
                    containers.append(value)
                elif value is not None and kind is not bool:
                    return False
            if len(containers) > MAX_CONTAINERS:
                return False
        return True

    def _finds(self, texts: list[str]) -> bool:
        if self._at_once:
            together = "\n".join(texts)
            for find in self._at_once:
                if find(together):
                    return True
        return any(any(map(find, texts)) for find in self._one_by_one)
