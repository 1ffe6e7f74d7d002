"""The calls that Segment has beside ``track``, and what each makes of an event's properties."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import orjson

from eventpipe.codecs.envelope import as_members
from eventpipe.vocabulary import (
    ALIAS,
    ALIAS_ID,
    ANONYMOUS_ID,
    GROUP,
    GROUP_KEY,
    GROUP_TRAITS,
    IDENTIFY,
    PAGE,
    SCREEN,
    SCREEN_NAME,
    TRAITS,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

HOISTED: Final = {ANONYMOUS_ID: "anonymousId", "$context": "context", "$integrations": "integrations"}
"""Property names that become members of any call."""

_OBJECTS: Final = frozenset({"traits", "context", "integrations"})  # what other members hold is a text
_NOBODY: Final = (b"null", b'""')


class _Call(NamedTuple):
    """A call other than track.

    Attributes:
        type: What it is called.
        members: Property names, each with the member that its value becomes.
        needs: The members without which the event is sent as a track.
        subject: The member that ``distinct_id`` becomes.
        has_properties: Whether ``properties`` is there even when nothing is left for it.
    """

    type: str
    members: Mapping[str, str]
    needs: frozenset[str] = frozenset()
    subject: str = "userId"
    has_properties: bool = False


_CALLS: Final = {
    orjson.dumps(name): call
    for name, call in {
        IDENTIFY: _Call("identify", {TRAITS: "traits"}),
        GROUP: _Call("group", {GROUP_KEY: "groupId", GROUP_TRAITS: "traits"}, needs=frozenset({"groupId"})),
        ALIAS: _Call("alias", {ALIAS_ID: "userId"}, needs=frozenset({"previousId", "userId"}), subject="previousId"),
        PAGE: _Call("page", {"name": "name", "category": "category"}, has_properties=True),
        SCREEN: _Call("screen", {SCREEN_NAME: "name", "category": "category"}, has_properties=True),
    }.items()
}


_NAMES: Final = tuple(_CALLS)


def is_call(named: bytes) -> bool:
    """Whether the name, as JSON and with what follows it, is that of a call other than track."""
    return named.startswith(_NAMES)


def called(name: bytes, distinct_id: bytes, properties: bytes, within: Mapping[str, bytes]) -> dict[str, bytes] | None:
    """Write the members of a call other than track, each value as JSON.

    Args:
        name: The event's name, as JSON.
        distinct_id: Whom it is about, as JSON.
        properties: The properties, without their closing brace.
        within: More of them, by name, each as JSON.

    Returns:
        ``None``: the event is a track, by its name or because it lacks what the call needs.
    """
    call = _CALLS.get(name)
    if call is None:
        return None
    left = {name: orjson.dumps(value) for name, value in orjson.loads(properties + b"}").items()}
    left.update(within)
    said = {"type": orjson.dumps(call.type)} | subject(distinct_id, call.subject) | taken(left, call.members)
    if not call.needs <= said.keys():
        return None
    if left or call.has_properties:
        said["properties"] = as_object(left)
    return said


def subject(distinct_id: bytes, member: str = "userId") -> dict[str, bytes]:
    """Whom a call is about; nothing where that is nobody."""
    return {} if distinct_id in _NOBODY else {member: distinct_id}


def taken(properties: dict[str, bytes], members: Mapping[str, str]) -> dict[str, bytes]:
    """Take out of ``properties`` what has a member of its own, where it is of that member's kind and not empty."""
    found: dict[str, bytes] = {}
    for name, member in members.items():
        value = properties.get(name, b"")
        if value[:1] == (b"{" if member in _OBJECTS else b'"') and len(value) > len(b"{}"):
            found[member] = properties.pop(name)
    return found


def as_object(values: Mapping[str, bytes]) -> bytes:
    """An object of names and values, each value as JSON."""
    return b"{" + as_members(values) + b"}"
