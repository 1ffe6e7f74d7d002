"""What a sink says of itself, read once."""

from __future__ import annotations

from collections.abc import Collection
from sys import maxsize
from typing import Any, NamedTuple

from eventpipe.contracts import Sink, Where
from eventpipe.transport.batcher import LaneOf
from eventpipe.transport.hooks import is_async


class Traits(NamedTuple):
    """The optional attributes of a sink; ``contracts.Sink`` says what each means."""

    name: str
    where: Where | None
    lifted: frozenset[str]
    max_event_bytes: int
    max_batch_bytes: int
    lane: LaneOf | None

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
            max_event_bytes=_bytes(sink, "max_event_bytes"),
            max_batch_bytes=_bytes(sink, "max_batch_bytes"),
            lane=_function(sink, "lane"),
        )


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


def _bytes(sink: Sink, attribute: str) -> int:
    value = getattr(sink, attribute, None)
    if value is None:
        return maxsize
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise TypeError(f"{type(sink).__name__}.{attribute} must be a number of bytes or None, not {value!r}")
    return value


def named_apart(traits: list[Traits]) -> list[Traits]:
    """Give sinks of the same name a number, because counters are kept by name."""
    names: dict[str, None] = {}  # in order
    for one in traits:
        candidates = (one.name, *(f"{one.name}-{number}" for number in range(2, len(traits) + 1)))
        names[next(name for name in candidates if name not in names)] = None
    return [one._replace(name=name) for one, name in zip(traits, names, strict=True)]
