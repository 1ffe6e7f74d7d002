"""JSON without what is to be scrubbed, whatever was in it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import orjson

from eventpipe.errors import InvalidEventError
from eventpipe.privacy.names import KeyNames
from eventpipe.privacy.patterns import Pattern

# A value counts 1 and takes 1 µs at most; one in which something is found up to 10 µs. What far ends take of an event
# comes to a MiB, and has less.
MAX_WORK: Final = 1_000_000
FOUND_WORK: Final = 10


class Rewriting:
    """Rewrites values that the repair pass made: JSON, of its own, and with no cycle in it.

    What one event has is counted, all its parts together: a few lists that are in many places could fill the memory.
    """

    def __init__(self, names: KeyNames, patterns: tuple[Pattern, ...], replacement: str) -> None:
        self._names = names
        self._patterns = patterns
        self._finds = [pattern.find for pattern in patterns]
        self._replacement = replacement
        self._work = 0

    def rewritten(self, root: Any) -> Any:  # Any: JSON, with orjson.Fragment among its leaves
        """``root`` without what is to be scrubbed; it is changed itself.

        Raises:
            InvalidEventError: There is too much to be read, or to be replaced.
        """
        open_containers: list[Any] = [root]
        while open_containers:
            container = open_containers.pop()
            self._count(len(container))
            if type(container) is dict:
                members = self._members(container, open_containers)
                container.clear()
                container.update(members)
            else:
                container[:] = [self._value(value, open_containers) for value in container]
        return root

    def text(self, text: str) -> str:
        """``text`` without what the patterns find; where they find more when that is gone, nothing of it is left.

        Raises:
            InvalidEventError: As above.
        """
        if not self._is_found(text):
            return text
        self._count(FOUND_WORK)
        for pattern in self._patterns:
            text = pattern.replace(text, self._replacement)
        return self._replacement if self._is_found(text) else text

    def _count(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            raise InvalidEventError("properties hold too much to be scrubbed in time", path="properties")

    def _members(self, container: dict[str, Any], open_containers: list[Any]) -> dict[str, Any]:
        members: dict[str, Any] = {}
        numbers: dict[str, int] = {}
        clean = self._names.clean
        for key, value in container.items():
            if key in clean:
                members[key] = self._value(value, open_containers)
                continue
            name = first = self.text(key)
            while name in members or (name != key and name in container):
                numbers[first] = numbers.get(first, 1) + 1
                name = f"{first}~{numbers[first]}"
            members[name] = self._replacement if self._names.hides(key) else self._value(value, open_containers)
        return members

    def _value(self, value: Any, open_containers: list[Any]) -> Any:
        if type(value) is orjson.Fragment:
            value = _read(orjson.dumps(value))
        kind = type(value)
        if kind is dict or kind is list:
            open_containers.append(value)
            return value
        if kind is str:
            return self.text(value)
        if value is None or kind is bool:
            return value
        return self._replacement if self._is_found(str(value)) else value

    def _is_found(self, text: str) -> bool:
        for find in self._finds:  # noqa: SIM110  # any() costs twice as much
            if find(text):
                return True
        return False


def _read(fragment: bytes) -> Any:  # Any: JSON
    """What is encoded already: by the repair pass a container or a decimal, by a caller whatever it is."""
    return Decimal(fragment.decode()) if fragment[0] in b"-0123456789" else orjson.loads(fragment)
