"""A collector for development: takes what the codecs send, answers as the real services do, fails when told to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from eventpipe.cli.faults import Fault, Faults
from eventpipe.cli.store import EventFile
from eventpipe.cli.tally import CollectorStatistics, Tally
from eventpipe.cli.text import count
from eventpipe.cli.wires import all_wires, wire_of
from eventpipe.cli.wires.base import MAX_WIRE_BYTES, Answer, Asked, RefusedError, Wire
from eventpipe.cli.wires.coding import inflate
from eventpipe.cli.wires.webhook import Signatures
from eventpipe.clock import Clock, format_stamp

BODY_TIMEOUT = 60.0  # seconds; what drips longer than that is let go
CLOSE_TIMEOUT = 0.25  # seconds that requests in flight get when the collector stops; stalled ones never need longer
STATISTICS_PATH = "/_eventpipe/statistics"
IDS_PATH = "/_eventpipe/ids"

# What PostHog's clients ask for beside capture: no flags, and no error.
_NO_FLAGS = {"flags": {}, "featureFlags": {}, "featureFlagPayloads": {}, "errorsWhileComputingFlags": False}


class Collector:
    """An HTTP server that takes batches of events and counts them; use it with ``async with``.

    Speaks every format that eventpipe's codecs write, each told by its path, content type or headers; see ``wires``. A
    request counts as a whole or not at all, except where its format answers for each event.

    ``GET /`` says in one line what came, ``GET /_eventpipe/statistics`` gives the counters as JSON, and
    ``GET /_eventpipe/ids`` one line for each event id with how often it came.

    Memory does not grow with the number of events unless ``remember_ids`` is set.

    Args:
        host: The address to listen on.
        port: The port; 0 lets the system choose.
        faults: What to do to requests on purpose. ``None``: nothing.
        store: A directory in which taken events are appended to ``events.ndjson``. ``None``: they are not kept.
        remember_ids: Keep the id of every event, to tell which came and which came twice.
        webhook_secrets: What webhooks have to be signed with, any of them. None: they are taken unverified.
        clock: Where the time comes from.

    Raises:
        ValueError: A secret cannot be one.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Faults | None = None,
        store: Path | None = None,
        remember_ids: bool = False,
        webhook_secrets: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._faults = faults or Faults()
        self._file = EventFile(store) if store is not None else None
        self._clock = clock or Clock()
        self._signatures = Signatures(webhook_secrets)
        self._wires = all_wires(self._signatures)
        self._tally = Tally(remember_ids=remember_ids)
        self._runner: web.AppRunner | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Where it listens, with the actual port and no slash at the end.

        Raises:
            RuntimeError: It was never started.
        """
        if self._url is None:
            raise RuntimeError("the collector was not started")
        return self._url

    @property
    def events(self) -> int:
        """Events taken so far, each time they came."""
        return self._tally.events

    @property
    def duplicates(self) -> int:
        """Events that had come before; 0 unless ids are remembered."""
        return self._tally.duplicates

    @property
    def ids(self) -> Mapping[str, int]:
        """How often each event id came; empty unless ids are remembered."""
        return self._tally.ids or {}

    def statistics(self) -> CollectorStatistics:
        """What was seen so far."""
        return self._tally.snapshot()

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The address is taken or not ours, or the store cannot be written.

        Cancellation:
            Safe. Nothing listens.
        """
        if self._file is not None:
            self._file.open()
        app = web.Application()
        app.router.add_get("/", self._answer_visitor)
        app.router.add_get(STATISTICS_PATH, self._answer_statistics)
        app.router.add_get(IDS_PATH, self._answer_ids)
        app.router.add_post("/flags{slash:/?}", self._answer_flags)
        app.router.add_post("/{path:.*}", self._answer)
        # Bodies are inflated by the wires, within their bounds.
        runner = web.AppRunner(
            app,
            access_log=None,
            logger=logging.getLogger(__name__),  # where strangers who speak no HTTP are told of
            handler_cancellation=True,
            auto_decompress=False,
            shutdown_timeout=CLOSE_TIMEOUT,
        )
        self._runner = runner
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port).start()
        except BaseException:
            await self.aclose()
            raise
        port = runner.addresses[0][1]
        self._url = f"http://[{self._host}]:{port}" if ":" in self._host else f"http://{self._host}:{port}"

    async def aclose(self) -> None:
        """Stop listening; requests in flight get a quarter of a second. May come twice, and before ``start()``."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        if self._file is not None:
            self._file.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self._tally.requests += 1
        fault = self._faults.next(self._clock.monotonic())
        if fault.reset:
            return await self._reset(request)
        asked = Asked(request.path.rstrip("/"), request.content_type, request.headers, request.query)
        wire = wire_of(asked, self._wires)
        answer = await self._answer_of(wire, asked, request, fault)
        await self._clock.sleep(fault.delay)
        return web.Response(
            status=answer.status, body=answer.body, content_type=answer.content_type, headers=answer.headers
        )

    async def _answer_of(self, wire: Wire, asked: Asked, request: web.Request, fault: Fault) -> Answer:
        try:
            body = await _read_body(request, wire.max_wire_bytes)
            if fault.status is not None:
                self._tally.failed += 1
                return wire.refuse(asked, RefusedError(fault.status, "failed on purpose"))
            answer = self._take(wire, asked, body)
        except RefusedError as error:
            self._tally.refuse(error.status, error.detail)
            return wire.refuse(asked, error)
        self._tally.stalls += fault.stalled
        return answer

    async def _reset(self, request: web.Request) -> web.StreamResponse:
        """End the connection as a crashing server does: the body is not read, and none of its events can count."""
        self._tally.resets += 1
        if request.transport is not None:
            request.transport.abort()
        # The lost connection cancels this handler; whatever it answered would have nowhere to go.
        await asyncio.get_running_loop().create_future()
        raise AssertionError("unreachable")

    def _take(self, wire: Wire, asked: Asked, body: bytes) -> Answer:
        wire.check(asked)
        inflated = inflate(body, asked.encoding, wire.max_body_bytes, wire.codings)
        self._signatures.check(asked, inflated, self._clock.time())
        taken = wire.read(asked, inflated, self._faults.verdict)
        if self._file is not None:
            try:
                self._file.append(taken.events, format_stamp(self._clock.time()))
            except OSError as error:
                raise RefusedError(500, f"cannot store: {error.strerror}") from error
            except orjson.JSONEncodeError as error:  # read at a depth that it cannot be written at
                raise RefusedError(400, f"cannot store: {error}") from error
        self._tally.take(taken, len(inflated))
        return taken.answer

    async def _answer_flags(self, request: web.Request) -> web.Response:
        try:
            await _read_body(request, MAX_WIRE_BYTES)
        except RefusedError as error:
            self._tally.refuse(error.status, error.detail)
            return _json({"error": error.detail}, error.status)
        return _json(_NO_FLAGS)

    async def _answer_visitor(self, _: web.Request) -> web.Response:
        came = count(self.events, "event")
        return web.Response(text=f"{came} so far; POST events to any path, GET {STATISTICS_PATH} for the counters\n")

    async def _answer_statistics(self, _: web.Request) -> web.Response:
        return _json(asdict(self.statistics()))

    async def _answer_ids(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
        await response.prepare(request)
        ids = list(self.ids.items())  # a copy: events go on arriving meanwhile
        for start in range(0, len(ids), 1000):
            await response.write("".join(f"{uuid} {times}\n" for uuid, times in ids[start : start + 1000]).encode())
        await response.write_eof()
        return response


async def _read_body(request: web.Request, limit: int) -> bytes:
    parts = []
    length = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for part in request.content.iter_any():
                length += len(part)
                if length > limit:
                    raise RefusedError(413, f"the body is larger than {limit} bytes")
                parts.append(part)
    except TimeoutError:
        raise RefusedError(408, f"the body took longer than {BODY_TIMEOUT:g} s") from None
    return b"".join(parts)


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:  # Any: JSON
    return web.Response(status=status, body=orjson.dumps(value), content_type="application/json")
