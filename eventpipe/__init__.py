"""Capture events in async handlers; batches reach their sink in the background, every event accounted for."""

from eventpipe.client import AsyncClient
from eventpipe.clock import Clock
from eventpipe.contracts import Codec, Request, Sink
from eventpipe.core.service import Service, ServiceState
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
from eventpipe.options import ClientOptions, RetryPolicy
from eventpipe.outcomes import (
    CloseReport,
    DropReason,
    Durations,
    FlushReport,
    Outcome,
    OutcomeKind,
    Statistics,
    Verdict,
)
from eventpipe.transport.receipts import Receipt

__version__ = "0.1.0.dev0"

__all__ = [
    "AsyncClient",
    "Batch",
    "CapturedEvent",
    "ClientOptions",
    "Clock",
    "CloseReport",
    "ClosedError",
    "Codec",
    "DeliveryError",
    "DropReason",
    "Durations",
    "Event",
    "EventPipeError",
    "FlushReport",
    "InvalidEventError",
    "Outcome",
    "OutcomeKind",
    "PermanentSinkError",
    "QueueFullError",
    "Receipt",
    "Request",
    "RetryPolicy",
    "Service",
    "ServiceState",
    "SignatureError",
    "Sink",
    "SinkError",
    "Statistics",
    "TransientSinkError",
    "Verdict",
]
