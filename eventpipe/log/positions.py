"""Where in a topic somebody wants to be, in whatever way they say it, as an offset."""

from __future__ import annotations

import datetime
from typing import Literal

from eventpipe.checked import shown
from eventpipe.errors import CursorError
from eventpipe.stores.base import Store
from eventpipe.stores.values import ConsumerInfo, ConsumerKey, TopicInfo

Position = Literal["earliest", "latest"] | int | datetime.datetime
"""The first event that is kept, the end, an offset, or the first event appended at a time; a naive time is UTC."""


def check_position(option: str, value: object) -> None:
    """Refuse what says no place in a topic.

    Raises:
        ValueError: It is another word.
        TypeError: It is of another type.
    """
    if isinstance(value, str):
        if value not in ("earliest", "latest"):
            raise ValueError(f"{option} must be 'earliest', 'latest', an offset or a datetime, not {shown(value)}")
    elif isinstance(value, bool) or not isinstance(value, int | datetime.datetime):
        raise TypeError(f"{option} must be 'earliest', 'latest', an offset or a datetime, not {shown(value)}")


def stamp_of(moment: datetime.datetime) -> float:
    """Seconds since the epoch; a naive datetime is taken as UTC."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=datetime.UTC)).timestamp()


async def offset_of(store: Store, topic: TopicInfo, position: Position) -> int:
    """The offset that ``position`` stands for now.

    Raises:
        CursorError: It is an offset that the topic does not reach from its first to its end.
    """
    if position == "earliest":
        return topic.first
    if position == "latest":
        return topic.end
    if isinstance(position, datetime.datetime):
        return await store.offset_at(topic.name, stamp_of(position))
    if not topic.first <= position <= topic.end:
        raise CursorError(topic.name, position, first=topic.first, last=topic.end)
    return position


async def move(store: Store, key: ConsumerKey, topic: TopicInfo, to: Position) -> None:
    """Move a consumer to ``to``.

    Raises:
        CursorError: It is an offset outside the topic.
        UnknownConsumerError: The consumer was removed meanwhile.
    """
    offset = await offset_of(store, topic, to)
    while True:
        try:
            return await store.seek(key, offset)
        except CursorError as error:
            if isinstance(to, int):
                raise
            offset = _nearest(offset, error)


async def register(store: Store, key: ConsumerKey, start: Position) -> ConsumerInfo:
    """Register a consumer; one that exists stays as it is.

    Raises:
        CursorError: ``start`` is an offset outside the topic.
    """
    if not isinstance(start, datetime.datetime):
        return await store.add_consumer(key, start)
    offset = await store.offset_at(key.topic, stamp_of(start))
    while True:
        try:
            return await store.add_consumer(key, offset)
        except CursorError as error:
            offset = _nearest(offset, error)


def _nearest(offset: int, error: CursorError) -> int:
    """What is meant by an offset that was a place when it was looked up, and has been trimmed since."""
    if error.first <= offset <= error.last:
        raise error
    return min(max(offset, error.first), error.last)
