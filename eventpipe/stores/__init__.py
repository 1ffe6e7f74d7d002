"""Engines that keep a log: one file per engine, one contract."""

from typing import TYPE_CHECKING, Any

from eventpipe.stores.base import ConsumerStore, LeaseStore, TopicStore
from eventpipe.stores.memory import MemoryStore
from eventpipe.stores.values import (
    ClaimedEvent,
    Claims,
    ConsumerInfo,
    ConsumerKey,
    Damage,
    Disposal,
    Disposition,
    StoredEvent,
    TopicInfo,
)

if TYPE_CHECKING:
    from eventpipe.stores.sqlite import SqliteStore

__all__ = [
    "ClaimedEvent",
    "Claims",
    "ConsumerInfo",
    "ConsumerKey",
    "ConsumerStore",
    "Damage",
    "Disposal",
    "Disposition",
    "LeaseStore",
    "MemoryStore",
    "SqliteStore",
    "StoredEvent",
    "TopicInfo",
    "TopicStore",
]


def __getattr__(name: str) -> Any:  # Any: whatever is exported
    if name != "SqliteStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from eventpipe.stores.sqlite import SqliteStore  # with sqlite3, which who keeps nothing on disk need not pay for

    return SqliteStore
