"""Engines that keep a log and deliveries: one file per engine, one contract for each."""

from typing import TYPE_CHECKING, Any

from eventpipe.stores.base import ConsumerStore, LeaseStore, TopicStore
from eventpipe.stores.delivery_base import DeliveringStore, DeliveryStore
from eventpipe.stores.delivery_values import DELIVERIES, Change, ClaimedRow, DueEndpoint, Place, Publication
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
    "DELIVERIES",
    "Change",
    "ClaimedEvent",
    "ClaimedRow",
    "Claims",
    "ConsumerInfo",
    "ConsumerKey",
    "ConsumerStore",
    "Damage",
    "DeliveringStore",
    "DeliveryStore",
    "Disposal",
    "Disposition",
    "DueEndpoint",
    "LeaseStore",
    "MemoryStore",
    "Place",
    "Publication",
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
