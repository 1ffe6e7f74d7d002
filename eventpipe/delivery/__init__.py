"""Deliveries: one row per event and endpoint, attempted over days, with every attempt to look at."""

from eventpipe.delivery.deliveries import Deliveries
from eventpipe.delivery.endpoint import Endpoint
from eventpipe.delivery.machine import DeliveryOutcome
from eventpipe.delivery.policy import DeliveryPolicy
from eventpipe.delivery.reconciler import Reconciler
from eventpipe.delivery.reports import ReconcileReport, ReconcilerStatistics
from eventpipe.delivery.requests import Asked
from eventpipe.stores.delivery_values import (
    AttemptRecord,
    DeliveryFilter,
    DeliveryRow,
    DeliveryState,
    EndpointInfo,
    EndpointState,
    EndpointStats,
    FailureReason,
    Published,
    PublishedEvent,
    Rule,
)

__all__ = [
    "Asked",
    "AttemptRecord",
    "Deliveries",
    "DeliveryFilter",
    "DeliveryOutcome",
    "DeliveryPolicy",
    "DeliveryRow",
    "DeliveryState",
    "Endpoint",
    "EndpointInfo",
    "EndpointState",
    "EndpointStats",
    "FailureReason",
    "Published",
    "PublishedEvent",
    "ReconcileReport",
    "Reconciler",
    "ReconcilerStatistics",
    "Rule",
]
