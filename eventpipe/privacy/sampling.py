"""A part of the events instead of all: by chance, or by whom they are about."""

from __future__ import annotations

import random as randomness
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Final

from eventpipe.checked import shown
from eventpipe.events import Event
from eventpipe.outcomes import DropReason
from eventpipe.privacy.members import checked_names, members, text_of

_HASH_BYTES: Final = 8
_HASHES: Final = 2 ** (8 * _HASH_BYTES)


class Sample:
    """Keeps each event with a probability, and drops the others as ``sampled``.

    ``Sample(0.1, by_event={"paid": 1, "scrolled": 0.01})``
    """

    def __init__(
        self, rate: float, by_event: Mapping[str, float] | None = None, *, random: Callable[[], float] | None = None
    ) -> None:
        """Check the rates.

        Args:
            rate: The part that is kept, 0 to 1.
            by_event: The same for events of these names. ``None`` means no other rate for any.
            random: Gives numbers from 0 up to and not including 1, from any thread. ``None``: Python's own.

        Raises:
            ValueError: A rate is not from 0 to 1, a name is empty, or ``random`` is no function.
        """
        self._rate = _checked_rate("rate", rate)
        if by_event is not None and not isinstance(by_event, Mapping):
            raise ValueError(f"by_event must be a mapping of names to rates, not {shown(by_event)}")
        self._by_event: dict[str, float] = {}
        for name in checked_names("by_event", by_event or {}):
            self._by_event[name] = _checked_rate(f"by_event[{name!r}]", (by_event or {})[name])
        if random is not None and not callable(random):
            raise ValueError(f"random must be a function without arguments, not {shown(random)}")
        self._random = random or randomness.random

    def __call__(self, event: Event) -> Event | DropReason:
        """Drop ``event``, or leave it as it is."""
        name: object = event.event
        rate = self._by_event.get(name if type(name) is str else text_of(name) or "", self._rate)
        return event if rate == 1 or self._random() < rate else DropReason.SAMPLED

    def __repr__(self) -> str:
        return f"Sample({self._rate:g}, by_event={self._by_event})"


class SampleBy:
    """Keeps all events of a part of the people, or of whatever a property names, and drops the others as ``sampled``.

    Which ones is a matter of their ids alone: the same in each process, on each machine, at each start, and whoever is
    kept at a rate is kept at each higher one. Events that say nobody are kept.
    """

    def __init__(self, rate: float, key: str | None = None, *, salt: str = "") -> None:
        """Check the options.

        Args:
            rate: The part of the ids that is kept, 0 to 1.
            key: The name of a property of the top level. ``None`` means the event's ``distinct_id``.
            salt: Another one is another choice of ids.

        Raises:
            ValueError: The rate is not from 0 to 1, the name is empty, or the salt is no text.
        """
        self._rate = _checked_rate("rate", rate)
        for option, text in (("key", key), ("salt", salt)):
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{option} must be text, not {shown(text)}")
        if key == "":
            raise ValueError("key must be the name of a property, or None for distinct_id, not ''")
        self._key = key
        self._salt = salt
        self._before = salt.encode(errors="replace") + b"\0"
        self._kept_below = int(rate * _HASHES)

    def __call__(self, event: Event) -> Event | DropReason:
        """Drop ``event``, or leave it as it is."""
        value = event.distinct_id if self._key is None else (members(event) or {}).get(self._key)
        text = text_of(value)
        if not text:
            return event
        hashed = blake2b(self._before + text.encode(errors="replace"), digest_size=_HASH_BYTES).digest()
        return event if int.from_bytes(hashed, "big") < self._kept_below else DropReason.SAMPLED

    def __repr__(self) -> str:
        return f"SampleBy({self._rate:g}, key={self._key!r}, salt={self._salt!r})"


def _checked_rate(option: str, rate: object) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise ValueError(f"{option} must be a number from 0 to 1, not {shown(rate)}")
    return float(rate)
