"""Capture events in async handlers; batches reach their sink in the background, every event accounted for."""

import importlib
from typing import TYPE_CHECKING, Any

from eventpipe.client import AsyncClient
from eventpipe.clock import Clock
from eventpipe.contracts import Codec, Instrument, Request, Sink
from eventpipe.core.channel import Channel, Producer
from eventpipe.core.deadline import Deadline
from eventpipe.core.reading import Reading
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.errors import (
    ClosedError,
    CursorError,
    DeliveryError,
    EndpointExistsError,
    EventPipeError,
    InvalidEventError,
    LeaseHeldError,
    LeaseLostError,
    PermanentSinkError,
    QueueFullError,
    SignatureError,
    SinkError,
    SpoolError,
    StoreError,
    StoreFullError,
    TransientSinkError,
    UnknownConsumerError,
    UnknownDeliveryError,
    UnknownEndpointError,
)
from eventpipe.events import Batch, CapturedEvent, Event
from eventpipe.health import Health, SinkHealth
from eventpipe.measures import Histogram, Latencies, Rate, Rates
from eventpipe.models import EventModel
from eventpipe.options import ClientOptions, RetryPolicy
from eventpipe.outcomes import (
    CloseReport,
    DropReason,
    Durations,
    FlushReport,
    Outcome,
    OutcomeKind,
    Verdict,
)
from eventpipe.scopes import Scope, scope
from eventpipe.statistics import EventCounts, HighWater, Statistics
from eventpipe.subscriptions import Gap, Subscription
from eventpipe.transport.hooks import OutcomeCallback
from eventpipe.transport.reader import StatisticsReader
from eventpipe.transport.receipts import Receipt

if TYPE_CHECKING:
    from eventpipe.core.group import ServiceGroup
    from eventpipe.default import aclose, capture, capture_nowait, flush, set_default
    from eventpipe.log import Consumer, Delivery, EventLog, Receiver
    from eventpipe.pipeline import Pipeline
    from eventpipe.retention import Retention
    from eventpipe.stores.base import Store
    from eventpipe.sync import SyncClient

__version__ = "0.1.0.dev0"

# Loaded when they are first asked for: a program that has a client alone does not pay for a log at its start.
_LATER = {
    "Consumer": "eventpipe.log",
    "Delivery": "eventpipe.log",
    "EventLog": "eventpipe.log",
    "Pipeline": "eventpipe.pipeline",
    "Receiver": "eventpipe.log",
    "Retention": "eventpipe.retention",
    "ServiceGroup": "eventpipe.core.group",
    "Store": "eventpipe.stores.base",
    "SyncClient": "eventpipe.sync",
    "aclose": "eventpipe.default",
    "capture": "eventpipe.default",
    "capture_nowait": "eventpipe.default",
    "flush": "eventpipe.default",
    "set_default": "eventpipe.default",
}


def __getattr__(name: str) -> Any:  # Any: whatever is exported
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})


__all__ = [
    "AsyncClient",
    "Batch",
    "CapturedEvent",
    "Channel",
    "ClientOptions",
    "Clock",
    "CloseReport",
    "ClosedError",
    "Codec",
    "Consumer",
    "CursorError",
    "Deadline",
    "Delivery",
    "DeliveryError",
    "DropReason",
    "Durations",
    "EndpointExistsError",
    "Event",
    "EventCounts",
    "EventLog",
    "EventModel",
    "EventPipeError",
    "FlushReport",
    "Gap",
    "Health",
    "HighWater",
    "Histogram",
    "Instrument",
    "InvalidEventError",
    "Latencies",
    "LeaseHeldError",
    "LeaseLostError",
    "Outcome",
    "OutcomeCallback",
    "OutcomeKind",
    "PermanentSinkError",
    "Pipeline",
    "Producer",
    "QueueFullError",
    "Rate",
    "Rates",
    "Reading",
    "Receipt",
    "Receiver",
    "Request",
    "Retention",
    "RetryPolicy",
    "Scope",
    "Service",
    "ServiceGroup",
    "ServiceState",
    "SignatureError",
    "Sink",
    "SinkError",
    "SinkHealth",
    "SpoolError",
    "Statistics",
    "StatisticsReader",
    "StopReport",
    "Store",
    "StoreError",
    "StoreFullError",
    "Subscription",
    "SyncClient",
    "TransientSinkError",
    "UnknownConsumerError",
    "UnknownDeliveryError",
    "UnknownEndpointError",
    "Verdict",
    "aclose",
    "capture",
    "capture_nowait",
    "flush",
    "scope",
    "set_default",
]
