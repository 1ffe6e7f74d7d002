"""Lists of what may be sent; everything else stays here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from eventpipe.events import Event
from eventpipe.outcomes import DropReason
from eventpipe.privacy.members import checked_names, members, text_of
from eventpipe.privacy.patterns import several


class AllowEvents:
    """Drops every event that is not listed, as ``not_allowed``.

    ``before_send=AllowEvents("signed_up", "paid")``
    """

    def __init__(self, *names: str) -> None:
        """List the events.

        Args:
            names: At least one, written exactly as they are captured.

        Raises:
            ValueError: There is none, or one is no text, or empty.
        """
        self._names = _set_of("names", names)
        if not names:
            raise ValueError("names must hold at least one event; to send none, AsyncClient(enabled=False)")

    def __call__(self, event: Event) -> Event | DropReason:
        """Drop ``event``, or leave it as it is."""
        name: object = event.event
        if type(name) is str:
            return event if name in self._names else DropReason.NOT_ALLOWED
        text = text_of(name)
        return replace(event, event=text) if text in self._names else DropReason.NOT_ALLOWED

    def __repr__(self) -> str:
        return f"AllowEvents({', '.join(map(repr, sorted(self._names)))})"


class AllowProperties:
    """Leaves out every property that is not listed; the event itself is sent.

    ``AllowProperties(["plan"])``, or for each event its own:
    ``AllowProperties({"signed_up": ["plan"], "paid": ["amount", "currency"]}, others=["plan"])``.
    """

    def __init__(self, names: Iterable[str] | Mapping[str, Iterable[str]], *, others: Iterable[str] = ()) -> None:
        """List the properties.

        Args:
            names: Of the top level, written exactly as they are captured; what is inside a value that is listed is
                sent with it. A mapping has the names of events, each with the names that it may have.
            others: What events may have that such a mapping does not name; nothing, if not said.

        Raises:
            ValueError: A name is no text, or empty; or ``others`` was given without a mapping.
        """
        self._by_event: dict[str, frozenset[str]] = {}
        if isinstance(names, Mapping):
            events = _set_of("names", names)
            self._by_event = {event: _set_of(f"names[{event!r}]", names[event]) for event in events}
            self._others = _set_of("others", others)
        else:
            if several("others", others):
                raise ValueError("others goes with a mapping of events to names; where names is a list, it is for all")
            self._others = _set_of("names", names)

    def __call__(self, event: Event) -> Event:
        """Leave ``event`` as it is, or make one with fewer properties."""
        given = members(event)
        if given is None:
            return event
        name: object = event.event
        allowed = self._by_event.get(name if type(name) is str else text_of(name) or "", self._others)
        if given is event.properties and given.keys() <= allowed:
            return event
        return replace(event, properties={key: value for key, value in given.items() if key in allowed})

    def __repr__(self) -> str:
        if not self._by_event:
            return f"AllowProperties({sorted(self._others)})"
        listed = {event: sorted(names) for event, names in self._by_event.items()}
        return f"AllowProperties({listed}, others={sorted(self._others)})"


def _set_of(option: str, given: object) -> frozenset[str]:
    return frozenset(checked_names(option, given))
