"""Which line a pending event came from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of an input.

    Attributes:
        file: The input's name.
        line: The number of the line, counted from 1.
        text: The line as it was.
    """

    file: str
    line: int
    text: bytes


class Origins:
    """Lines by the id of the event they became, kept while that is pending; two lines may have the same id."""

    def __init__(self) -> None:
        self._origins: dict[str, tuple[Origin, ...]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._origins.values()))

    def add(self, uuid: str, origin: Origin) -> None:
        """Remember where an event comes from."""
        self._origins[uuid] = (*self._origins.get(uuid, ()), origin)

    def take(self, uuid: str) -> Origin | None:
        """Forget one line of an event and return it, the first where there are several; ``None`` for a strange id."""
        origins = self._origins.pop(uuid, ())
        if len(origins) > 1:
            self._origins[uuid] = origins[1:]
        return origins[0] if origins else None
