"""A use of every public name, for the type checker; nothing here runs.

The lines marked ``type: ignore`` are wrong uses that must not pass: mypy warns about an ignore that is not needed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_type

from eventpipe import (
    AsyncClient,
    Batch,
    CapturedEvent,
    ClientOptions,
    Clock,
    ClosedError,
    CloseReport,
    Codec,
    DeliveryError,
    DropReason,
    Durations,
    Event,
    EventPipeError,
    FlushReport,
    InvalidEventError,
    Outcome,
    OutcomeKind,
    PermanentSinkError,
    QueueFullError,
    Receipt,
    Request,
    RetryPolicy,
    Service,
    ServiceState,
    SignatureError,
    Sink,
    SinkError,
    Statistics,
    TransientSinkError,
    Verdict,
)
from eventpipe.codecs import (
    CloudEvents,
    FeatureFlags,
    HttpCodec,
    HubWebhook,
    JsonCodec,
    NdjsonCodec,
    OtlpLogs,
    PostHogV0,
    PostHogV1,
    Segment,
    StandardWebhook,
    VerifiedWebhook,
    read_cloudevents,
    verify_webhook,
)
from eventpipe.sinks import CallbackSink, FileSink, HttpSink, LoggingSink, MemorySink, WebhookSink
from eventpipe.testing import (
    Baseline,
    CodecContract,
    CodecRig,
    DeadlockError,
    FlakySink,
    GatedSink,
    HangingSink,
    Interruption,
    LeakError,
    LedgerError,
    ReadEvent,
    Received,
    RecordingSink,
    Refusal,
    Reply,
    ScriptedServer,
    ServiceContract,
    SinkContract,
    SinkRig,
    VirtualTimeLoop,
    Wire,
    cancellation_sweep,
    check_ledger,
    make_batch,
    make_event,
    no_leaks,
)


def scrub(event: Event) -> Event | None:
    return event if event.event != "debug" else None


async def awaited_scrub(event: Event) -> Event:
    return event


def observe(outcome: Outcome) -> None:
    assert_type(outcome.kind, OutcomeKind)
    assert_type(outcome.uuids, tuple[str, ...])
    assert_type(outcome.events, tuple[str, ...])
    assert_type(outcome.reason, str | None)
    assert_type(outcome.status, int | None)
    assert_type(outcome.durations, Durations)
    assert_type(outcome.durations.queued + outcome.durations.send, float)


def clients() -> None:
    policy = RetryPolicy(max_attempts=3, initial=0.1, factor=2, max_delay=1, jitter=0.5, max_retry_after=60)
    options = ClientOptions(queue_events=100, overflow="wait", retry=policy, clock=Clock())
    AsyncClient(MemorySink(), options=options, before_send=scrub, on_drop=observe, on_error=observe)
    AsyncClient(MemorySink(), LoggingSink(), workers=4, close_timeout=1.5, strict=True)
    AsyncClient(enabled=False)
    AsyncClient(MemorySink(), workers="4")  # type: ignore[arg-type]
    AsyncClient(MemorySink(), wrokers=4)  # type: ignore[call-arg]
    AsyncClient(MemorySink(), overflow="drop")  # type: ignore[arg-type]
    AsyncClient(MemorySink(), before_send=awaited_scrub)  # type: ignore[arg-type]
    AsyncClient(print)  # type: ignore[arg-type]


async def captures(client: AsyncClient) -> None:
    receipt = await client.capture("signed_up", distinct_id="u1", properties={"plan": "pro"}, overflow="wait")
    assert_type(receipt, Receipt)
    assert_type(receipt.uuid, str)
    assert_type(receipt.accepted, bool | None)
    assert_type(receipt.reason, DropReason | None)
    assert_type(await receipt.outcome(timeout=2), Outcome)
    assert_type(client.capture_nowait("clicked", distinct_id=7), Receipt)
    assert_type(await client.capture_ai("asked", distinct_id="u1", properties={"tokens": 7}), Receipt)
    await client.capture_ai("asked", lanes="ai")  # type: ignore[call-arg]
    assert_type(await client.capture_many([Event("viewed", distinct_id="u1"), "left"]), list[Receipt])
    assert_type(await client.deliver(Event("paid"), timeout=5), list[Outcome])
    await client.capture(Event.identify("u1", {"plan": "pro"}, anonymous_id=7, lane="historical"))
    calls = [Event.group("u1", "company", "acme"), Event.alias("a7", "u1"), Event.screen(None, "Inbox")]
    assert_type(calls, list[Event])
    assert_type(Event.page("u1", "Pricing", url="https://x.example", properties={"a": 1}, key="k"), Event)
    Event.identify("u1", lanes="historical")  # type: ignore[call-arg]
    await client.capture("signed_up", "u1")  # type: ignore[call-arg]
    await client.capture(7)  # type: ignore[arg-type]


async def reports(client: AsyncClient) -> None:
    flushed = await client.flush(timeout=5, until="attempted")
    assert_type(flushed, FlushReport)
    assert_type(flushed.dropped_by_reason, Mapping[str, int])
    closed = await client.aclose(timeout=5)
    assert_type(closed, CloseReport)
    assert_type(closed.stragglers, tuple[str, ...])
    statistics = client.statistics()
    assert_type(statistics, Statistics)
    assert_type(statistics.pending, int)


async def errors(client: AsyncClient) -> None:
    try:
        await client.deliver(Event("paid"))
    except DeliveryError as error:
        assert_type(error.outcomes, list[Outcome])
    except QueueFullError as error:
        assert_type(error.capacity, int)
    except InvalidEventError as error:
        assert_type(error.path, str)
    except SinkError as error:
        assert_type(error.status, int | None)
    except (ClosedError, EventPipeError):
        pass


class OwnSink:
    async def send(self, batch: Batch) -> Sequence[Verdict] | None:
        if not batch.events:
            raise PermanentSinkError(scope="size")
        if batch.attempt > 1:
            raise TransientSinkError(retry_after=1.5)
        return [self._judge(event) for event in batch.events]

    def _judge(self, event: CapturedEvent) -> Verdict:
        assert_type(event.headers, Mapping[str, str])
        return Verdict(OutcomeKind.DROPPED, DropReason.REJECTED, detail=event.uuid)

    async def aclose(self) -> None:
        pass


class OwnCodec:
    lifted: frozenset[str] = frozenset({"$session_id"})
    max_event_bytes = 1024
    max_batch_bytes = 4096

    def lane(self, event: CapturedEvent) -> str | None:
        return event.lane

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        return Request("v1", {"X-Attempt": str(attempt)}, b"".join(event.json for event in batch.events))

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        return None if status == 200 else TransientSinkError(status=status)


class OwnHttpCodec(HttpCodec):
    max_batch_events = 100

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        return Request("/v1", {}, batch.events[0].json)

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        return super().response(batch, status, headers, body, complete)


def contracts() -> tuple[Sink, Codec]:
    sink: Sink = OwnSink()
    codec: Codec = OwnCodec()
    return sink, codec


async def auth(refresh: bool) -> dict[str, str]:
    return {"Authorization": str(refresh)}


async def own_function(batch: Batch) -> None:
    assert_type(batch.events, tuple[CapturedEvent, ...])


def sinks() -> list[Sink]:
    return [
        HttpSink("https://collector.example/batch", timeout=5, compression=None, headers={"X-Team": "a"}),
        HttpSink("https://collector.example/batch", NdjsonCodec(), where=lambda event: event.event != "debug"),
        HttpSink("https://eu.i.posthog.com", PostHogV0("phc_key")),
        HttpSink("https://collector.example", proxy="http://proxy.example:3128", proxy_headers={"X-Team": "a"}),
        HttpSink("http://collector.example", socket_path=Path("/run/collector.sock"), auth=auth),
        HttpSink("https://api.segment.io", Segment("key", context={"app": "shop"}, integrations={"All": True})),
        HttpSink("https://collector.example/batch", OwnCodec()),
        WebhookSink("https://hooks.example/in", ["whsec_a2V5", "whsec_b2xk"], timeout=20),
        WebhookSink("https://flags.example/in", "secret", FeatureFlags(), scheme="hub", allow_private=True),
        FileSink(Path("events.ndjson"), fsync=True),
        CallbackSink(own_function),
        CallbackSink(lambda batch: None),
        LoggingSink(),
        MemorySink(max_events=100),
    ]


def otlp() -> Codec:
    OtlpLogs(encoding="xml")  # type: ignore[arg-type]
    return OtlpLogs(encoding="json", resource={"service.name": "shop", "host.cores": 8}, scope_name="checkout")


def cloudevents(headers: Mapping[str, str], body: bytes) -> list[Event]:
    CloudEvents("/shop", mode="stream")  # type: ignore[arg-type]
    return read_cloudevents(headers, body, source="/shop")


def codecs() -> list[Codec]:
    signed = [StandardWebhook("whsec_a2V5", JsonCodec()), HubWebhook("secret", FeatureFlags({"team": "a"}))]
    return [
        JsonCodec(),
        NdjsonCodec(),
        PostHogV0("phc_key"),
        PostHogV1("phc_key", historical=True, disable_geoip=False, super_properties={"team": "growth"}),
        FeatureFlags(),
        CloudEvents("/shop", mode="binary"),
        otlp(),
        *signed,
    ]


def receive(body: bytes, headers: Mapping[str, str]) -> str | None:
    try:
        verified = verify_webhook(body, headers, ["whsec_a2V5", "whsec_b2xk"], tolerance=60)
    except SignatureError as error:
        return error.reason
    assert_type(verified, VerifiedWebhook)
    verify_webhook(body, headers, "secret", scheme="gitlab")  # type: ignore[arg-type]
    return verified.id


async def services(service: Service) -> None:
    async with service:
        assert_type(service.state, ServiceState)
        await service.started()
    await service.stop(timeout=1)


class OwnContract(SinkContract):
    pass


class OwnCodecContract(CodecContract):
    pass


class OwnServiceContract(ServiceContract):
    pass


def rig(wire: Wire) -> SinkRig:
    refusal: Refusal = "transient"
    wire.refuse(refusal, retry_after=3)
    return SinkRig(OwnSink(), wire, partial=True)


def codec_rig() -> CodecRig:
    def answer(batch: Batch, kinds: Sequence[OutcomeKind]) -> Reply:
        return Reply(200, body=str(len(batch.events)).encode())

    codec = OwnHttpCodec(max_event_bytes=1024, max_batch_bytes=4096)
    return CodecRig(codec, lambda request: [], lambda event: ReadEvent.of(event).but(key=None), answer, secrets=["k"])


async def kit(client: AsyncClient) -> None:
    with no_leaks():
        before = Baseline.take()
    with contextlib.suppress(LeakError):
        before.check()
    fakes: list[RecordingSink] = [GatedSink(), FlakySink(seed=1), HangingSink()]
    for fake in fakes:
        await fake.send(make_batch([make_event("paid", distinct_id="u1")]))
    async with ScriptedServer(503, "reset", Reply(200, latency=0.1)) as server:
        assert_type(server.requests, list[Received])
    points = await cancellation_sweep(lambda: client.flush(), interruptions=[Interruption.TWICE])
    assert_type(points, int)
    with contextlib.suppress(LedgerError):
        assert_type(check_ledger(client, drained=True), Statistics)


def virtual_time() -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, contextlib.suppress(DeadlockError):
        runner.run(asyncio.sleep(3600))
