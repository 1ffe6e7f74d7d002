"""Ids that say who it was to nobody but the one who has the key."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

import orjson

from eventpipe.checked import shown
from eventpipe.encoding.answers import Elements, answer
from eventpipe.encoding.repair import MAX_WORK, repair
from eventpipe.events import Event, Properties
from eventpipe.privacy.members import checked_names, members, text_of
from eventpipe.vocabulary import ALIAS, ALIAS_ID, ANONYMOUS_ID

# Ids can be guessed one after another, so that all there is to find out is the key: 128 bits.
MIN_KEY_BYTES: Final = 16

# Where the events of the vocabulary have further ids of the person.
_PERSON: Final = ("distinct_id", ANONYMOUS_ID)
_PERSON_BY_EVENT: Final = {ALIAS: (*_PERSON, ALIAS_ID)}


class HashIds:
    """Replaces ids by their HMAC-SHA256 under a key, in hexadecimal: the same id is always the same text.

    Whoever has the key can find out whether a text is a certain id, so that it belongs where passwords are. With
    another key everybody is somebody else. Source: RFC 2104.
    """

    def __init__(self, key: bytes | str, properties: Iterable[str] = (), *, distinct_id: bool = True) -> None:
        """Check the key and the names.

        Args:
            key: At least 16 random bytes, or a text that has as many in UTF-8.
            properties: Names of properties of the top level that are ids. A list of ids becomes a list; what is no id
                is hashed as its JSON.
            distinct_id: Whether to do so with the ids of persons: ``distinct_id``, the event's ``key`` where it is the
                same, and what ``Event.identify()`` and ``Event.alias()`` say beside it.

        Raises:
            ValueError: The key is too short, a name is empty, or there is nothing to hash. No message shows the key.
        """
        self._key = _checked_key(key)
        self._properties = checked_names("properties", properties)
        if type(distinct_id) is not bool:
            raise ValueError(f"distinct_id must be True or False, not {shown(distinct_id)}")
        self._distinct_id = distinct_id
        if not distinct_id and not self._properties:
            raise ValueError("properties must hold at least one name where distinct_id is False")

    def __call__(self, event: Event) -> Event:
        """Leave ``event`` as it is, or make one with hashed ids."""
        properties = self._hashed_properties(event)
        who = event.distinct_id
        if not self._distinct_id or who is None:
            return event if properties is event.properties else replace(event, properties=properties)
        text = text_of(who)
        if text is None:  # no id, which the client does not send as one
            return replace(event, properties=properties)
        hashed = self._hashed(text)
        key = hashed if event.key is not None and text_of(event.key) == text else event.key
        return replace(event, distinct_id=hashed, properties=properties, key=key)

    def _hashed_properties(self, event: Event) -> Properties | None:
        names = self._properties
        if self._distinct_id:
            name: object = event.event
            person = _PERSON_BY_EVENT.get(name if type(name) is str else text_of(name) or "", _PERSON)
            names = (*person, *self._properties)
        given = members(event)
        if given is None:
            return event.properties
        changed: dict[Any, Any] = {}  # Any: as in Properties
        for name in names:
            if name in given and name not in changed and given[name] is not None:
                changed[name] = self._each_hashed(given[name])
        return {**given, **changed} if changed else given

    def _each_hashed(self, value: object) -> object:
        read = answer(value, MAX_WORK)
        if type(read) is not Elements:
            return self._hashed(value)
        hashed = [None if one is None else self._hashed(one) for one in read.elements]
        return sorted(hashed, key=str) if read.sort else hashed

    def _hashed(self, value: object) -> str:
        text = text_of(value)
        data = _json(value) if text is None else text.encode(errors="replace")
        return hmac.digest(self._key, data, "sha256").hex()

    def __repr__(self) -> str:
        return f"HashIds(properties={self._properties!r}, distinct_id={self._distinct_id})"


def _json(value: object) -> bytes:
    made, _ = repair(value)
    return orjson.dumps(orjson.loads(orjson.dumps(made)), option=orjson.OPT_SORT_KEYS)  # at every depth


def _checked_key(key: object) -> bytes:
    data = key.encode(errors="replace") if isinstance(key, str) else key
    if not isinstance(data, bytes):
        raise ValueError(f"key must be bytes or a text, not a value of type {type(key).__name__}")
    if len(data) < MIN_KEY_BYTES:
        raise ValueError(
            f"key must be at least {MIN_KEY_BYTES} bytes, not {len(data)}; "
            f'make one with: python -c "import secrets; print(secrets.token_hex(32))"'
        )
    return data
