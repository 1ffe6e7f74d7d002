"""The subjects of this project: the floor, the reference, eventpipe, and nothing at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Literal

from benchmarks.floor import Floor
from benchmarks.onlookers import attach
from benchmarks.peers import origin
from benchmarks.reference import Item, Pipeline
from benchmarks.subject import Setup, Subject
from eventpipe import AsyncClient, Batch, Codec, Event, Outcome, Sink
from eventpipe.codecs import JsonCodec, PostHogV0, PostHogV1
from eventpipe.sinks import HttpSink

BATCH_EVENTS = 500
EVENT_BYTES = 1024  # of the queue's bound in bytes for each event of its bound in events, where a load sets that


async def open(name: str, setup: Setup) -> Subject:  # noqa: A001  # as every driver calls it
    """Start the subject of that name."""
    return await _OPENERS[name](setup)


class OpenFloor:
    """The hand-written loop; it has no other way of waiting than for whole batches or a second."""

    is_async = True

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self.capture = floor.capture

    async def drain(self) -> None:
        """Wait until all is delivered."""
        await self._floor.settled(self._floor.captured)

    async def close(self) -> None:
        """Stop, whatever is queued."""
        await self._floor.__aexit__(None, None, None)


class OpenReference:
    """The reference; with ``overflow="wait"`` its producers wait for room."""

    def __init__(self, pipeline: Pipeline, gate: asyncio.Event, *, waits: bool) -> None:
        self._pipeline = pipeline
        self.gate = gate
        self.is_async = waits
        self.capture: Callable[..., Any] = pipeline.capture_wait if waits else pipeline.capture  # Any: awaited or not

    async def drain(self) -> None:
        """Wait until all is delivered or dropped."""
        await self._pipeline.flush(timeout=60)

    async def close(self) -> None:
        """Its own close."""
        await self._pipeline.aclose()

    def dropped(self) -> int:
        """As it counts."""
        return self._pipeline.dropped


class OpenClient:
    """eventpipe as its users have it."""

    is_async = True

    def __init__(self, client: AsyncClient, gate: asyncio.Event, onlookers: AsyncExitStack) -> None:
        self._client = client
        self._onlookers = onlookers
        self.gate = gate
        self.capture = client.capture

    async def drain(self) -> None:
        """Wait until all is settled."""
        report = await self._client.flush(60)
        assert not report.pending, report

    async def close(self) -> None:
        """Its own close."""
        await self._onlookers.aclose()
        await self._client.aclose()

    def dropped(self) -> int:
        """As it counts."""
        return self._client.statistics().dropped


class GatedPipeline(Pipeline):
    """The reference without a far end."""

    def __init__(self, gate: asyncio.Event) -> None:
        super().__init__("")
        self._gate = gate

    async def _send(self, batch: list[Item]) -> bool:
        await self._gate.wait()
        return True


class GatedSink:
    """A far end in this process."""

    def __init__(self, gate: asyncio.Event) -> None:
        self._gate = gate

    async def send(self, batch: Batch) -> None:
        """Wait for the gate."""
        await self._gate.wait()

    async def aclose(self) -> None:
        """Do nothing."""


class Nothing:
    """What a load costs by itself: a capture that does nothing."""

    is_async = True

    async def capture(self, event: str, *, distinct_id: str, properties: dict[str, Any]) -> None:  # Any: JSON
        """Do nothing."""

    async def drain(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


async def _open_floor(setup: Setup) -> Subject:
    options = {"batch_events": BATCH_EVENTS, "gzip": False, **setup.options}
    known = {name: options[name] for name in ("batch_events", "gzip", "workers", "queue_events") if name in options}
    return OpenFloor(await Floor(setup.url, **known).__aenter__())


async def _open_reference(setup: Setup) -> Subject:
    options = setup.options
    known = {name: options[name] for name in ("batch_events", "workers", "queue_events") if name in options}
    gate = asyncio.Event()
    if "gated" in options:
        pipeline: Pipeline = GatedPipeline(gate)
    else:
        pipeline = Pipeline(setup.url, compress=options.get("gzip", False), **known)
    await pipeline.start()
    return OpenReference(pipeline, gate, waits=options.get("overflow") == "wait")


async def _open_eventpipe(setup: Setup) -> Subject:
    options = dict(setup.options)
    compression: Literal["gzip"] | None = "gzip" if options.pop("gzip", False) else None
    hooks = {name: _HOOKS[name] for name in options.pop("hooks", ())}
    wire = options.pop("codec", "json")
    url = setup.url if wire == "json" else origin(setup.url)
    gate = asyncio.Event()
    sinks: list[Sink] = [
        HttpSink(url, _CODECS[wire](), compression=compression, name=f"far-{number}")
        for number in range(options.pop("sinks", 1))
    ]
    if options.pop("gated", False):
        sinks = [GatedSink(gate)]
    if "queue_events" in options:
        options["queue_bytes"] = EVENT_BYTES * options["queue_events"]
    names = options.pop("onlookers", ())
    client = AsyncClient(*sinks, **hooks, **options)
    await client.__aenter__()
    onlookers = AsyncExitStack()
    await attach(client, names, onlookers)
    return OpenClient(client, gate, onlookers)


async def _open_nothing(setup: Setup) -> Subject:
    return Nothing()


def _same(event: Event) -> Event:
    return event


def _told(outcome: Outcome) -> None:
    return


_HOOKS: dict[str, Any] = {"before_send": _same, "on_drop": _told, "on_error": _told}  # Any: three kinds of function

_CODECS: dict[str, Callable[[], Codec]] = {
    "json": JsonCodec,
    "posthog": lambda: PostHogV0("phc_benchmark"),
    "posthog-v1": lambda: PostHogV1("phc_benchmark"),
}

_OPENERS = {
    "floor": _open_floor,
    "reference": _open_reference,
    "eventpipe": _open_eventpipe,
    "nothing": _open_nothing,
}
