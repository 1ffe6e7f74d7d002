"""What a sink says of itself, read once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from sys import maxsize
from types import MappingProxyType
from typing import Any, NamedTuple

from eventpipe.contracts import Sink, Where
from eventpipe.core.hook import is_async
from eventpipe.events import CapturedEvent
from eventpipe.options import ClientOptions
from eventpipe.transport.batcher import LaneOf

# Of a sink that names no limit. Precedents: PostHog 900 KiB, Segment 32 KiB.
MAX_EVENT_BYTES = 900 * 1024


class Traits(NamedTuple):
    """The optional attributes of a sink; ``contracts.Sink`` says what each means."""

    name: str
    where: Where | None
    lifted: frozenset[str]
    max_event_bytes: int
    max_batch_bytes: int
    lane: LaneOf | None
    lane_event_bytes: Mapping[str, int] = MappingProxyType({})
    max_batch_events: int = maxsize
    unique_ids: bool = False

    @classmethod
    def of(cls, sink: Sink) -> Traits:
        """Read and check them.

        Raises:
            TypeError: It is no sink, or an attribute is of another type than the contract says.
        """
        for method in ("send", "aclose"):
            if isinstance(sink, type) or not callable(getattr(sink, method, None)):
                raise TypeError(
                    f"a sink must be an object with async send(batch) and aclose(), not {sink!r}; "
                    f"wrap a function as CallbackSink(function)"
                )
        return cls(
            name=str(getattr(sink, "name", None) or type(sink).__name__),
            where=_function(sink, "where"),
            lifted=_names(sink, "lifted"),
            max_event_bytes=_number(sink, "max_event_bytes", "bytes"),
            max_batch_bytes=_number(sink, "max_batch_bytes", "bytes"),
            lane=_function(sink, "lane"),
            lane_event_bytes=_sizes(sink, "lane_event_bytes"),
            max_batch_events=_number(sink, "max_batch_events", "events"),
            unique_ids=_switch(sink, "unique_ids"),
        )


class EventLimit:
    """How many bytes an event may have for one sink.

    Attributes:
        smallest: What an event of any lane may have.
    """

    __slots__ = ("_by_lane", "_lane_of", "_usual", "smallest")

    def __init__(self, traits: Traits, options: ClientOptions) -> None:
        asked = options.max_event_bytes
        most = options.queue_bytes if asked is None else min(asked, options.queue_bytes)
        usual = MAX_EVENT_BYTES if traits.max_event_bytes == maxsize and asked is None else traits.max_event_bytes
        self._usual = min(most, usual)
        self._by_lane = {lane: min(most, size) for lane, size in traits.lane_event_bytes.items()}
        self._lane_of = traits.lane if self._by_lane else None
        self.smallest = min([self._usual, *self._by_lane.values()])

    def of(self, event: CapturedEvent) -> int:
        """The limit for this event."""
        if self._lane_of is None:
            return self._usual
        try:
            lane = self._lane_of(event)
            return self._usual if lane is None else self._by_lane.get(lane, self._usual)
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001  # a codec's fault costs its event the lane alone
            return self._usual


def _function(sink: Sink, attribute: str) -> Any:  # Any: what it takes and returns cannot be checked before a call
    value = getattr(sink, attribute, None)
    if value is not None and (not callable(value) or is_async(value)):
        raise TypeError(f"{type(sink).__name__}.{attribute} must be a plain function or None, not {value!r}")
    return value


def _names(sink: Sink, attribute: str) -> frozenset[str]:
    value = getattr(sink, attribute, None) or ()
    # A single string is a collection, of its letters.
    if isinstance(value, str) or not isinstance(value, Collection) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{type(sink).__name__}.{attribute} must be a collection of property names, not {value!r}")
    return frozenset(value)


def _number(sink: Sink, attribute: str, unit: str) -> int:
    value = getattr(sink, attribute, None)
    if value is None:
        return maxsize
    if not _is_count(value):
        raise TypeError(f"{type(sink).__name__}.{attribute} must be a number of {unit} or None, not {value!r}")
    return int(value)


def _sizes(sink: Sink, attribute: str) -> Mapping[str, int]:
    value = getattr(sink, attribute, None)
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(lane, str) and _is_count(value[lane]) for lane in value):
        raise TypeError(
            f"{type(sink).__name__}.{attribute} must be a mapping of lanes to numbers of bytes or None, not {value!r}"
        )
    return dict(value)


def _switch(sink: Sink, attribute: str) -> bool:
    value = getattr(sink, attribute, None)
    if value is not None and not isinstance(value, bool):
        raise TypeError(f"{type(sink).__name__}.{attribute} must be True, False or None, not {value!r}")
    return bool(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def named_apart(traits: list[Traits]) -> list[Traits]:
    """Give sinks of the same name a number, because counters are kept by name."""
    names: dict[str, None] = {}  # in order
    for one in traits:
        candidates = (one.name, *(f"{one.name}-{number}" for number in range(2, len(traits) + 1)))
        names[next(name for name in candidates if name not in names)] = None
    return [one._replace(name=name) for one, name in zip(traits, names, strict=True)]
