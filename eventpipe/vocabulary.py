"""Calls other than "something happened": who somebody is, which group, which page. Each is an event with a known name.

PostHog takes these events as they are; a codec for a far end with calls of its own, such as Segment's, translates them.
"""

from __future__ import annotations

from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack

if TYPE_CHECKING:
    import datetime
    import uuid as uuidlib
    from collections.abc import Mapping

    from eventpipe.events import DistinctId, Durability, Overflow, Properties

IDENTIFY: Final = "$identify"
GROUP: Final = "$groupidentify"
ALIAS: Final = "$create_alias"
PAGE: Final = "$pageview"
SCREEN: Final = "$screen"

ANONYMOUS_ID: Final = "$anon_distinct_id"
TRAITS: Final = "$set"
GROUP_TYPE: Final = "$group_type"
GROUP_KEY: Final = "$group_key"
GROUP_TRAITS: Final = "$group_set"
ALIAS_ID: Final = "alias"
SCREEN_NAME: Final = "$screen_name"


class EventOptions(TypedDict, total=False):
    """What every kind of event takes; the attributes of ``Event`` say what each means."""

    timestamp: datetime.datetime | None
    uuid: str | uuidlib.UUID | None
    headers: Mapping[str, str] | None
    key: str | None
    lane: str | None
    overflow: Overflow | None
    durability: Durability | None


class Vocabulary:
    """Makes the events of the known names; ``Event`` has these as class methods."""

    __slots__ = ()
    if TYPE_CHECKING:

        def __init__(
            self, event: str, distinct_id: DistinctId | None, properties: Properties, **options: Unpack[EventOptions]
        ) -> None: ...

    @classmethod
    def identify(
        cls,
        distinct_id: DistinctId,
        traits: Properties | None = None,
        *,
        anonymous_id: DistinctId | None = None,
        **options: Unpack[EventOptions],
    ) -> Self:
        """Say who somebody is: ``Event.identify("u1", {"plan": "pro"}, anonymous_id="a7")``.

        Args:
            distinct_id: Their id from now on.
            traits: What is known of them, kept until it is set anew. ``None`` means nothing new.
            anonymous_id: The id under which they were known before. ``None`` means none.
            options: As for any event.
        """
        return cls(
            IDENTIFY, distinct_id, _given({TRAITS: traits or None, ANONYMOUS_ID: _text(anonymous_id)}), **options
        )

    @classmethod
    def group(
        cls,
        distinct_id: DistinctId,
        group_type: str,
        group_key: DistinctId,
        traits: Properties | None = None,
        **options: Unpack[EventOptions],
    ) -> Self:
        """Say what is known of a group that somebody is in: ``Event.group("u1", "company", "acme", {"seats": 5})``.

        Args:
            distinct_id: A member; PostHog keeps nothing of the group without one.
            group_type: The kind of group.
            group_key: The group's id among those of its kind.
            traits: What is known of it, kept until it is set anew. ``None`` means nothing new.
            options: As for any event.
        """
        properties = {GROUP_TYPE: group_type, GROUP_KEY: _text(group_key), GROUP_TRAITS: traits or None}
        return cls(GROUP, distinct_id, _given(properties), **options)

    @classmethod
    def alias(cls, previous_id: DistinctId, distinct_id: DistinctId, **options: Unpack[EventOptions]) -> Self:
        """Say that two ids are one person: ``Event.alias("a7", "u1")``.

        Args:
            previous_id: The id that was used until now; the event is about this one.
            distinct_id: Their id from now on.
            options: As for any event.
        """
        previous = _text(previous_id)
        return cls(ALIAS, previous, _given({"distinct_id": previous, ALIAS_ID: _text(distinct_id)}), **options)

    @classmethod
    def page(
        cls,
        distinct_id: DistinctId | None,
        name: str | None = None,
        *,
        category: str | None = None,
        url: str | None = None,
        properties: Properties | None = None,
        **options: Unpack[EventOptions],
    ) -> Self:
        """Say that somebody saw a page: ``Event.page("u1", "Pricing", url="https://example.com/pricing")``.

        Args:
            distinct_id: Who saw it. ``None``: nobody in particular.
            name: What the page is called. ``None`` means without a name.
            category: The part of the site that it is in. ``None`` means none.
            url: Its address, set as ``$current_url`` and as ``url``: far ends look for one or the other.
            properties: What else is known; the arguments above win over these. ``None`` means nothing.
            options: As for any event.
        """
        own = _given({"name": name, "category": category, "$current_url": url, "url": url})
        return cls(PAGE, distinct_id, {**(properties or {}), **own}, **options)

    @classmethod
    def screen(
        cls,
        distinct_id: DistinctId | None,
        name: str | None = None,
        *,
        category: str | None = None,
        properties: Properties | None = None,
        **options: Unpack[EventOptions],
    ) -> Self:
        """Say that somebody saw a screen of an app: ``Event.screen("u1", "Inbox")``.

        Args:
            distinct_id: Who saw it. ``None``: nobody in particular.
            name: What the screen is called. ``None`` means without a name.
            category: The part of the app that it is in. ``None`` means none.
            properties: What else is known; the arguments above win over these. ``None`` means nothing.
            options: As for any event.
        """
        own = _given({SCREEN_NAME: name, "category": category})
        return cls(SCREEN, distinct_id, {**(properties or {}), **own}, **options)


def _given(properties: Mapping[str, Any]) -> dict[str, Any]:  # Any: as in Properties
    return {name: value for name, value in properties.items() if value is not None}


def _text(value: Any) -> Any:  # Any: whatever was given for an id
    """An id as the text that it would be as ``distinct_id``; what is none stays, for the capture to judge."""
    if isinstance(value, Enum):
        value = value.value
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    return str(value) if is_number else value
