"""What is measured, seen from the load that measures it: anything that takes events and sends them.

This module and ``workload`` need nothing but the standard library: the driver of another library imports them in an
environment that has that library and not ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

OWN = ("nothing", "floor", "reference", "eventpipe")


@dataclass(frozen=True, slots=True)
class Setup:
    """How a subject is opened.

    Attributes:
        url: The far end's address; of Kafka the bootstrap servers.
        settings: ``"default"``, or ``"best"``: the fastest that the library's own options allow without losing events.
        options: What a load asks of it beyond that. Own subjects know ``batch_events``, ``gzip``, ``workers``,
            ``queue_events``, ``overflow`` and ``onlookers``, and with ``gated`` they are ``Gated``; a driver takes
            those that its library has and leaves the others.
    """

    url: str
    settings: str = "default"
    options: Mapping[str, Any] = field(default_factory=dict)  # Any: JSON


class Subject(Protocol):
    """A library at work, or a loop written by hand.

    Attributes:
        is_async: Whether what ``capture()`` returns must be awaited.
    """

    is_async: bool

    def capture(
        self,
        event: str,
        *,
        distinct_id: str,
        properties: dict[str, Any],  # Any: JSON
    ) -> Any:  # Any: each library answers as it likes
        """Take one event in, as the library's users do."""

    async def drain(self) -> None:
        """Return when all that was captured so far was sent or given up; a blocking flush is called as it is."""

    async def close(self) -> None:
        """End as the library wants to be ended."""


@runtime_checkable
class Accounting(Protocol):
    """A subject that also says what it gave up."""

    def dropped(self) -> int:
        """Events that were captured and will not be delivered, as the subject itself counts them."""


class Gated(Subject, Protocol):
    """A subject without a far end, whose batches wait in this process.

    Attributes:
        gate: While it is set, what is being sent is delivered.
    """

    gate: asyncio.Event


Open = Callable[[Setup], Awaitable[Subject]]


def load(name: str) -> Open:
    """The factory of a subject: ``open(setup)`` of its driver, which only that subject's process imports."""
    if name in OWN:
        return cast("Open", partial(import_module("benchmarks.own").open, name))
    return cast("Open", import_module(f"benchmarks.peers.{name}").open)
