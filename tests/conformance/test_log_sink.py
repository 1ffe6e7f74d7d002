"""``LogSink`` keeps the contract: over topics with room, without room, and that wait for room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import pytest_asyncio

from eventpipe.events import CapturedEvent
from eventpipe.log.eventlog import EventLog
from eventpipe.retention import Retention
from eventpipe.sinks import LogSink
from eventpipe.stores.memory import MemoryStore
from eventpipe.testing.sink_contract import SinkContract
from eventpipe.testing.sink_rig import Refusal, SinkRig

T = TypeVar("T")

TOPICS = {"full": Retention(max_events=100), "waits": Retention(max_events=100, on_full="wait")}
NOWHERE = "no topic"  # which has a space


class LogWire:
    """A log, and the test's hand on where events go: a topic with room, or one of those above, or none."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._topic = "orders"
        self._is_partial = False
        self._reached = asyncio.Event()
        self._open = 0
        self._changed = asyncio.Condition()

    @property
    def received(self) -> Sequence[str]:
        stored = at_once(self._log.store.read("orders", 0, max_events=10**6, max_bytes=10**9))
        return [one.event.uuid for one in stored if one.event is not None]

    def accept(self) -> None:
        self._topic, self._is_partial = "orders", False

    def refuse(self, kind: Refusal, retry_after: float | None = None) -> None:
        self._topic, self._is_partial = {
            "transient": ("full", False), "permanent": (NOWHERE, False), "partial": ("orders", True)
        }[kind]  # fmt: skip

    def hang(self) -> None:
        self._topic = "waits"

    async def reached(self) -> None:
        await self._reached.wait()

    async def left(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._open == 0)

    def topic_of(self, event: CapturedEvent) -> str:
        return NOWHERE if self._is_partial and event.name == "e1" else self._topic

    async def append_many(self, topic: str, events: Sequence[CapturedEvent]) -> list[int]:
        self._open += 1
        try:
            if topic == "waits":
                self._reached.set()
            return await self._log.append_many(topic, events)
        finally:
            self._open -= 1
            async with self._changed:
                self._changed.notify_all()


def at_once(call: Coroutine[Any, Any, T]) -> T:
    """What a call comes to that never suspends, as those of a store in memory."""
    try:
        call.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it suspended")


class TestLogSink(SinkContract):
    @pytest_asyncio.fixture
    async def rig(self) -> AsyncIterator[SinkRig]:
        async with EventLog(MemoryStore(), topics=TOPICS) as log:
            for topic in TOPICS:
                await log.append_many(topic, ["there are many"] * 100)
            wire = LogWire(log)
            sink = LogSink(wire, wire.topic_of)
            yield SinkRig(sink, wire, retry_after=False, partial=True)
            await sink.aclose()
