"""What a test captured, and fakes, contracts and loops that prove a pipeline; imported by nothing in the package.

Names are imported when they are asked for: only the contracts need pytest, and only the server needs a loop.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eventpipe.testing.captured import Captured, RefusedEvent, SeenEvent, assert_captured, capturing
    from eventpipe.testing.channel_contract import ChannelContract
    from eventpipe.testing.clock import LoopClock
    from eventpipe.testing.codec_contract import CodecContract
    from eventpipe.testing.codec_rig import CodecRig, ReadEvent
    from eventpipe.testing.delivery_contract import DeliveryStoreContract
    from eventpipe.testing.delivery_rig import DeliveryRig
    from eventpipe.testing.events import make_batch, make_event
    from eventpipe.testing.exchange import Received, Reply
    from eventpipe.testing.leaks import Baseline, LeakError, no_leaks
    from eventpipe.testing.lease_contract import LeaseContract
    from eventpipe.testing.lease_rig import LeaseRig
    from eventpipe.testing.ledger import LedgerError, check_ledger
    from eventpipe.testing.loop import DeadlockError, VirtualTimeLoop
    from eventpipe.testing.recording import RecordingSink
    from eventpipe.testing.server import ScriptedServer
    from eventpipe.testing.service_contract import ServiceContract
    from eventpipe.testing.sink_contract import SinkContract
    from eventpipe.testing.sink_rig import Refusal, SinkRig, Wire
    from eventpipe.testing.sinks import FlakySink, GatedSink, HangingSink
    from eventpipe.testing.store_contract import StoreContract
    from eventpipe.testing.store_rig import StoreRig
    from eventpipe.testing.sweep import Interruption, cancellation_sweep

__all__ = [
    "Baseline",
    "Captured",
    "ChannelContract",
    "CodecContract",
    "CodecRig",
    "DeadlockError",
    "DeliveryRig",
    "DeliveryStoreContract",
    "FlakySink",
    "GatedSink",
    "HangingSink",
    "Interruption",
    "LeakError",
    "LeaseContract",
    "LeaseRig",
    "LedgerError",
    "LoopClock",
    "ReadEvent",
    "Received",
    "RecordingSink",
    "Refusal",
    "RefusedEvent",
    "Reply",
    "ScriptedServer",
    "SeenEvent",
    "ServiceContract",
    "SinkContract",
    "SinkRig",
    "StoreContract",
    "StoreRig",
    "VirtualTimeLoop",
    "Wire",
    "assert_captured",
    "cancellation_sweep",
    "capturing",
    "check_ledger",
    "make_batch",
    "make_event",
    "no_leaks",
]

_MODULES = {
    "captured": ("Captured", "RefusedEvent", "SeenEvent", "assert_captured", "capturing"),
    "channel_contract": ("ChannelContract",),
    "clock": ("LoopClock",),
    "codec_contract": ("CodecContract",),
    "codec_rig": ("CodecRig", "ReadEvent"),
    "delivery_contract": ("DeliveryStoreContract",),
    "delivery_rig": ("DeliveryRig",),
    "events": ("make_batch", "make_event"),
    "exchange": ("Received", "Reply"),
    "leaks": ("Baseline", "LeakError", "no_leaks"),
    "lease_contract": ("LeaseContract",),
    "lease_rig": ("LeaseRig",),
    "ledger": ("LedgerError", "check_ledger"),
    "loop": ("DeadlockError", "VirtualTimeLoop"),
    "recording": ("RecordingSink",),
    "server": ("ScriptedServer",),
    "service_contract": ("ServiceContract",),
    "sink_contract": ("SinkContract",),
    "sink_rig": ("Refusal", "SinkRig", "Wire"),
    "sinks": ("FlakySink", "GatedSink", "HangingSink"),
    "store_contract": ("StoreContract",),
    "store_rig": ("StoreRig",),
    "sweep": ("Interruption", "cancellation_sweep"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:  # Any: whatever is exported
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
