"""Secrets and personal data, taken out of whatever a caller passed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from eventpipe.checked import shown
from eventpipe.encoding.arguments import identifier, pairs
from eventpipe.encoding.foreign import contained
from eventpipe.encoding.repair import Repairs, repair
from eventpipe.events import Event
from eventpipe.privacy.glance import Glance
from eventpipe.privacy.names import KeyNames
from eventpipe.privacy.patterns import Pattern, patterns
from eventpipe.privacy.rewriting import Rewriting


class Scrub:
    """Replaces values by what their key is called, and texts by what they hold: ``Scrub([SECRET_NAMES], [EMAIL])``.

    It looks at everything of an event that is sent: properties at any depth, keys included, headers, the event's name,
    ``distinct_id`` and ``key``; not at ``lane``, which is a word of your own program. Numbers are looked at as they
    are written, and replaced as a whole.

    An event in which there is nothing to replace, and that is made of plain values, is passed on as it is. Everything
    else is turned into JSON first, by the rules of the encoder, and scrubbed then: what was looked at is what is sent.
    So a model, a set or a foreign mapping is looked into; an object that JSON has no form for is sent as the name of
    its type, cycles and what is nested too deep are cut. None of that is left for ``json_default`` or strict mode.
    """

    def __init__(
        self,
        keys: Iterable[object] = (),
        patterns: Iterable[object] = (),
        replacement: str = "[scrubbed]",
        *,
        json_default: Callable[[Any], Any] | None = None,  # Any: what JSON cannot carry, and what it can
    ) -> None:
        """Check everything.

        Args:
            keys: Names under which everything is replaced, at any depth and in headers; letter case, ``-``, ``_``,
                dots and blanks make no difference. A compiled expression or ``SECRET_NAMES`` is looked for in names.
            patterns: Regular expressions, compiled or as text, and ready-made ones such as ``EMAIL``; what they find
                is replaced, and the rest of the text stays.
            replacement: What stands there instead.
            json_default: The client's, if it has one and its values are to be sent. ``None``: they are not.

        Raises:
            ValueError: There is neither a key nor a pattern, one is wrong, a pattern finds something in an empty
                text or in the replacement, or an option is of the wrong type.
        """
        self._patterns = _checked(patterns, replacement)
        self._names = KeyNames(keys, self._patterns)
        if not self._names and not self._patterns:
            raise ValueError("keys or patterns must say what to scrub, such as Scrub(keys=[SECRET_NAMES])")
        if json_default is not None and not callable(json_default):
            raise ValueError(f"json_default must be a function of one argument, not {shown(json_default)}")
        self._replacement = replacement
        self._json_default = json_default
        self._glance = Glance(self._names, self._patterns)

    def __call__(self, event: Event) -> Event:
        """Leave ``event`` as it is, or make one without what is to be scrubbed.

        Raises:
            InvalidEventError: It is too large to be repaired or scrubbed in time, or cannot be read.
        """
        if contained(self._glance.finds_nothing, event) is True:
            return event
        rewriting = Rewriting(self._names, self._patterns, self._replacement)
        return replace(
            event,
            event=self._name(event.event, rewriting),
            distinct_id=self._identifier(event.distinct_id, rewriting),
            properties=self._members("properties", event.properties, rewriting),
            headers=self._members("headers", event.headers, rewriting),
            key=self._identifier(event.key, rewriting),
        )

    def _members(self, path: str, given: Any, rewriting: Rewriting) -> Any:  # Any: a mapping, if it is one
        if not issubclass(type(given), Mapping):
            return given  # nothing there, or nothing that the client would send
        made, _ = repair(given if type(given) is dict else pairs(given, path), self._json_default, Repairs(), path)
        return rewriting.rewritten(made)

    def _name(self, given: Any, rewriting: Rewriting) -> Any:  # Any: text, if it is right
        made, _ = repair(given)
        return rewriting.text(made) if type(made) is str else given

    def _identifier(self, given: Any, rewriting: Rewriting) -> Any:  # Any: an id, if it is right
        text = identifier(given, "id", Repairs())
        return given if text is None else rewriting.text(text)

    def __repr__(self) -> str:
        names = ", ".join(pattern.name for pattern in self._patterns)
        return f"Scrub({len(self._names)} keys, patterns=[{names}], replacement={self._replacement!r})"


def _checked(given: object, replacement: object) -> tuple[Pattern, ...]:
    if not isinstance(replacement, str):
        raise ValueError(f"replacement must be text, not {shown(replacement)}")
    found = patterns("patterns", given)
    for number, pattern in enumerate(found):
        if pattern.find(""):
            raise ValueError(f"patterns[{number}] finds an empty text, which is in every text: {shown(pattern.name)}")
        if pattern.find(replacement):
            raise ValueError(f"patterns[{number}] finds something in the replacement {shown(replacement)}")
    return found
