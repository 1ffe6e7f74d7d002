"""Capture events in async handlers; batches reach their sink in the background, every event accounted for."""

from eventpipe.client import AsyncClient
from eventpipe.clock import Clock
from eventpipe.contracts import Codec, Instrument, Request, Sink
from eventpipe.core.channel import Channel, Producer
from eventpipe.core.deadline import Deadline
from eventpipe.core.group import ServiceGroup
from eventpipe.core.reading import Reading
from eventpipe.core.service import Service, ServiceState
from eventpipe.core.stopping import StopReport
from eventpipe.default import aclose, capture, capture_nowait, flush, set_default
from eventpipe.errors import (
    ClosedError,
    DeliveryError,
    EventPipeError,
    InvalidEventError,
    PermanentSinkError,
    QueueFullError,
    SignatureError,
    SinkError,
    TransientSinkError,
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
from eventpipe.sync import SyncClient
from eventpipe.transport.hooks import OutcomeCallback
from eventpipe.transport.reader import StatisticsReader
from eventpipe.transport.receipts import Receipt

__version__ = "0.1.0.dev0"

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
    "Deadline",
    "DeliveryError",
    "DropReason",
    "Durations",
    "Event",
    "EventCounts",
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
    "Outcome",
    "OutcomeCallback",
    "OutcomeKind",
    "PermanentSinkError",
    "Producer",
    "QueueFullError",
    "Rate",
    "Rates",
    "Reading",
    "Receipt",
    "Request",
    "RetryPolicy",
    "Scope",
    "Service",
    "ServiceGroup",
    "ServiceState",
    "SignatureError",
    "Sink",
    "SinkError",
    "SinkHealth",
    "Statistics",
    "StatisticsReader",
    "StopReport",
    "Subscription",
    "SyncClient",
    "TransientSinkError",
    "Verdict",
    "aclose",
    "capture",
    "capture_nowait",
    "flush",
    "scope",
    "set_default",
]
