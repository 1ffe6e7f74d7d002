"""A use of every public name, for the type checker; nothing here runs.

The lines marked ``type: ignore`` are wrong uses that must not pass: mypy warns about an ignore that is not needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import assert_type

from aiohttp.web import Application
from aiohttp.web import Request as AiohttpRequest
from django.http import HttpRequest as DjangoRequest
from django.http import HttpResponse as DjangoResponse
from fastapi import FastAPI
from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry
from quart import Quart
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.routing import Mount

from eventpipe import (
    AsyncClient,
    Batch,
    CapturedEvent,
    Channel,
    ClientOptions,
    Clock,
    ClosedError,
    CloseReport,
    Codec,
    Consumer,
    CursorError,
    Deadline,
    Delivery,
    DeliveryError,
    DropReason,
    Durations,
    EndpointExistsError,
    Event,
    EventCounts,
    EventLog,
    EventModel,
    EventPipeError,
    FlushReport,
    Gap,
    Health,
    HighWater,
    Histogram,
    Instrument,
    InvalidEventError,
    Latencies,
    LeaseHeldError,
    LeaseLostError,
    Outcome,
    OutcomeCallback,
    OutcomeKind,
    PermanentSinkError,
    Pipeline,
    Producer,
    QueueFullError,
    Rate,
    Rates,
    Reading,
    Receipt,
    Receiver,
    Request,
    Retention,
    RetryPolicy,
    Scope,
    Service,
    ServiceGroup,
    ServiceState,
    SignatureError,
    Sink,
    SinkError,
    SinkHealth,
    SpoolError,
    Statistics,
    StatisticsReader,
    StopReport,
    Store,
    StoreError,
    StoreFullError,
    Subscription,
    SyncClient,
    TransientSinkError,
    UnknownConsumerError,
    UnknownDeliveryError,
    UnknownEndpointError,
    Verdict,
    aclose,
    capture,
    capture_nowait,
    flush,
    scope,
    set_default,
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
from eventpipe.contracts import Send
from eventpipe.delivery import (
    Asked,
    AttemptRecord,
    Deliveries,
    DeliveryFilter,
    DeliveryOutcome,
    DeliveryPolicy,
    DeliveryRow,
    DeliveryState,
    Endpoint,
    EndpointInfo,
    EndpointState,
    EndpointStats,
    FailureReason,
    Published,
    PublishedEvent,
    Reconciler,
    ReconcileReport,
    ReconcilerStatistics,
    Rule,
)
from eventpipe.integrations.aiohttp_web import CLIENT, client_ctx
from eventpipe.integrations.aiohttp_web import EventMiddleware as AiohttpMiddleware
from eventpipe.integrations.aiohttp_web import client_of as aiohttp_client_of
from eventpipe.integrations.asgi import EventMiddleware, RequestCapture, client_of, lifespan
from eventpipe.integrations.django import EventMiddleware as DjangoMiddleware
from eventpipe.integrations.django import get_client, get_sync_client, with_client
from eventpipe.integrations.fastapi import Events, get_events
from eventpipe.integrations.health import HealthEndpoint
from eventpipe.integrations.logging import EventHandler
from eventpipe.integrations.opentelemetry import Instrumentation, SendingFilter, add_trace_ids, instrument
from eventpipe.integrations.prometheus import PrometheusMetrics
from eventpipe.integrations.quart import setup
from eventpipe.integrations.snapshots import consistent
from eventpipe.integrations.structlog import EventProcessor
from eventpipe.log import (
    ConsumedEvent,
    ConsumerError,
    ConsumerOptions,
    ConsumerReport,
    ConsumerStatistics,
    DeadLetter,
    Lag,
    LogStatistics,
    PassReport,
    Shard,
    migration,
    shard_name,
    shard_of,
)
from eventpipe.log import Consumer as LogConsumer
from eventpipe.log import Delivery as LogDelivery
from eventpipe.log import EventLog as OpenLog
from eventpipe.log import Receiver as LogReceiver
from eventpipe.pipeline import ConsumerSummary, DeliverySummary, PipelineReport
from eventpipe.pipeline import Pipeline as WholePipeline
from eventpipe.privacy import (
    BEARER_TOKEN,
    CARD_NUMBER,
    EMAIL,
    IP_ADDRESS,
    SECRET_NAMES,
    AllowEvents,
    AllowProperties,
    HashIds,
    Pattern,
    Sample,
    SampleBy,
    Scrub,
    chain,
)
from eventpipe.sinks import (
    CallbackSink,
    DeliverySink,
    FileSink,
    HttpSink,
    LoggingSink,
    LogSink,
    MemorySink,
    WebhookSink,
)
from eventpipe.stores import (
    DELIVERIES,
    Change,
    ClaimedEvent,
    ClaimedRow,
    Claims,
    ConsumerInfo,
    ConsumerKey,
    ConsumerStore,
    Damage,
    DeliveringStore,
    DeliveryStore,
    Disposal,
    Disposition,
    DueEndpoint,
    LeaseStore,
    MemoryStore,
    Place,
    Publication,
    SqliteStore,
    StoredEvent,
    TopicInfo,
    TopicStore,
)
from eventpipe.testing import (
    Baseline,
    Captured,
    ChannelContract,
    CodecContract,
    CodecRig,
    DeadlockError,
    DeliveryRig,
    DeliveryStoreContract,
    FlakySink,
    GatedSink,
    HangingSink,
    Interruption,
    LeakError,
    LeaseContract,
    LeaseRig,
    LedgerError,
    LoopClock,
    ReadEvent,
    Received,
    RecordingSink,
    Refusal,
    RefusedEvent,
    Reply,
    ScriptedServer,
    SeenEvent,
    ServiceContract,
    SinkContract,
    SinkRig,
    StoreContract,
    StoreRig,
    VirtualTimeLoop,
    Wire,
    assert_captured,
    cancellation_sweep,
    capturing,
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
    assert_type(outcome.durations.queue + outcome.durations.send, float)


def clients() -> None:
    policy = RetryPolicy(max_attempts=3, initial=0.1, factor=2, max_delay=1, jitter=0.5, max_retry_after=60)
    options = ClientOptions(queue_events=100, overflow="wait", retry=policy, clock=Clock())
    AsyncClient(MemorySink(), options=options, before_send=scrub, on_drop=observe, on_error=observe)
    AsyncClient(MemorySink(), LoggingSink(), workers=4, close_timeout=1.5, strict=True)
    AsyncClient(
        MemorySink(), spool="var/events", durability="process", spool_overflow="drop_oldest", spool_replay="before"
    )
    AsyncClient(MemorySink(), spool=1)  # type: ignore[arg-type]
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
    assert_type(statistics.by_event, Mapping[str, EventCounts])
    assert_type(statistics.by_sink, Mapping[str, Statistics])
    assert_type(statistics.rates, Rates)
    assert_type(statistics.rates.dropped, Rate)
    assert_type(statistics.rates.delivered.last_10, float)
    assert_type(statistics.latency, Latencies)
    assert_type(statistics.latency.send, Histogram)
    assert_type(statistics.latency.delivery.quantile(0.99), float)
    assert_type(statistics.high_water, HighWater)
    assert_type(statistics.last_success, float | None)
    reader = client.statistics_reader()
    assert_type(reader, StatisticsReader)
    assert_type(reader.read(), Statistics)
    assert_type(statistics - Statistics() + statistics, Statistics)


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


class OwnReading(Reading[int]):
    async def _handle(self, items: Sequence[int]) -> None:
        assert_type(items[0], int)


async def channels() -> None:
    channel: Channel[int] = Channel(capacity=10)
    async with OwnReading(channel) as reading:
        with channel.producer("own") as producer:
            assert_type(producer, Producer[int])
            assert_type(producer.send_nowait([1, 2]), bool)
            await producer.send([3])
        await reading.stopped()


class OwnInstrument:
    def origin(self) -> object:
        return None

    async def around(self, sink: str, batch: Batch, send: Send) -> Sequence[Verdict] | None:
        return await send(batch)


async def observing(client: AsyncClient) -> None:
    async with client.subscribe(OutcomeKind.DROPPED, "retry", overflow="drop_oldest", filter=lambda _: True) as drops:
        assert_type(drops, Subscription)
        async for item in drops:
            if isinstance(item, Gap):
                assert_type(item.outcomes, int)
            else:
                assert_type(item, Outcome)
    client.subscribe(OutcomeKind.DROPPED, overflow="newest")  # type: ignore[arg-type]
    callback = client.on_outcome(print, OutcomeKind.DELIVERED, OutcomeKind.DROPPED)
    assert_type(callback, OutcomeCallback)
    callback.close()
    health = client.health()
    assert_type(health, Health)
    assert_type(health.sinks["far"], SinkHealth)
    instrument: Instrument = OwnInstrument()
    client.instrument(instrument)
    client.instrument(None)


def exported(client: AsyncClient, registry: CollectorRegistry) -> Starlette:
    with PrometheusMetrics(client, name="audit", registry=registry, event_names=True) as metrics:
        metrics.close()
    assert_type(consistent(client), Statistics)
    PrometheusMetrics("client")  # type: ignore[arg-type]
    return Starlette(routes=[Mount("/health", HealthEndpoint(client, event_names=True))])


def traced(client: AsyncClient, tracers: TracerProvider, handler: logging.Handler) -> None:
    attributes = {"client": "audit"}
    with instrument(client, tracer_provider=tracers, attributes=attributes, event_names=True) as instrumentation:
        assert_type(instrumentation, Instrumentation)
        assert_type(instrumentation.errors, int)
        instrumentation.close()
    handler.addFilter(SendingFilter())
    instrument("client")  # type: ignore[arg-type]
    instrument(client, meter_provider=tracers)  # type: ignore[arg-type]


async def services(service: Service) -> None:
    async with service:
        assert_type(service.state, ServiceState)
        await service.started()
    report = await service.stop(timeout=1)
    assert_type(report, StopReport)
    assert_type(report.stragglers, tuple[str, ...])


class OwnService(Service):
    async def _serve(self) -> None:
        while not await self._wait_for_stop(60):
            pass

    def _request_stop(self, deadline: Deadline) -> None:
        assert_type(deadline.remaining(), float)
        assert_type(deadline.when, float | None)


async def group_of_services(service: Service, other: Service) -> None:
    def on_crash(crashed: Service, error: BaseException) -> None:
        group.request_stop()

    group = ServiceGroup(service, other, stop_timeout=5, restart=RetryPolicy(max_attempts=3), on_crash=on_crash)
    async with ServiceGroup(group, name="all") as outer:
        assert_type(outer.crashed, tuple[Service, ...])
    ServiceGroup([service, other])  # type: ignore[arg-type]
    ServiceGroup(service, restart=3)  # type: ignore[arg-type]


class OwnContract(SinkContract):
    pass


class OwnCodecContract(CodecContract):
    pass


class OwnServiceContract(ServiceContract):
    pass


class OwnChannelContract(ChannelContract):
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


class SignedUp(EventModel, name="signed_up", version=2):
    plan: str


async def applications(client: AsyncClient, web: Application) -> FastAPI:
    with scope(distinct_id="u1", properties={"tenant": "acme"}, headers={"a": "b"}) as here:
        assert_type(here, Scope)
        assert_type(await client.capture(SignedUp(plan="pro"), distinct_id="u1"), Receipt)
        client.capture_nowait(SignedUp, properties={"plan": "pro"})
        await client.capture_many([SignedUp(plan="pro"), Event("e")])
        await client.deliver(SignedUp(plan="pro"))
    scope(tenant="acme")  # type: ignore[call-arg]
    SignedUp(plan=5)  # type: ignore[arg-type]
    await client.capture(int)  # type: ignore[arg-type]
    await client.capture_many(SignedUp(plan="pro"))  # type: ignore[arg-type]
    async with client.batch_scope(timeout=3, remaining=lambda: 2.0, margin=0.1) as block:
        assert_type(block.report, FlushReport | None)
    web.cleanup_ctx.append(client_ctx(client))
    assert_type(web[CLIENT], AsyncClient)
    app = FastAPI(lifespan=lifespan(lambda: client))
    app.add_middleware(EventMiddleware, requests=RequestCapture())

    @app.get("/")
    async def handler(request: HttpRequest, events: Events) -> None:
        assert_type(events, AsyncClient)
        assert_type(client_of(request), AsyncClient)

    app.dependency_overrides[get_events] = lambda: client
    return app


def other_applications(client: AsyncClient, quart: Quart, request: AiohttpRequest) -> None:
    setup(quart, lambda: client, requests=RequestCapture(), scope=lambda scope: None)
    setup(client, quart)  # type: ignore[arg-type]
    assert_type(aiohttp_client_of(request), AsyncClient)
    AiohttpMiddleware(requests=RequestCapture(), scope=lambda request: {"properties": {"host": request.host}})
    AiohttpMiddleware(RequestCapture())  # type: ignore[call-arg]
    assert_type(get_client(), AsyncClient)
    assert_type(get_sync_client(), SyncClient)
    with_client(quart)
    DjangoMiddleware(lambda request: DjangoResponse())(DjangoRequest())


def loggers(client: AsyncClient) -> None:
    logging.getLogger("app").addHandler(EventHandler(client, level=logging.WARNING))
    EventProcessor(client)
    EventHandler("client")  # type: ignore[arg-type]


def private(sink: Sink) -> None:
    hook = chain(
        AllowEvents("signed_up"),
        AllowProperties(["plan"]),
        Scrub(keys=[SECRET_NAMES], patterns=[EMAIL, CARD_NUMBER, BEARER_TOKEN, IP_ADDRESS]),
        Scrub(patterns=[Pattern("order", re.compile("A[0-9]+"))]),
        HashIds("a key that is long enough for it", properties=["email"]),
        Sample(0.1, by_event={"signed_up": 1.0}),
        SampleBy(0.5),
        add_trace_ids,
    )
    AsyncClient(sink, before_send=hook)
    AsyncClient(sink, before_send=lambda event: DropReason.SAMPLED)
    Sample("many")  # type: ignore[arg-type]


def plain_code(sink: Sink) -> None:
    with SyncClient(sink, queue_events=10, overflow="wait") as client:
        assert_type(client, SyncClient)
        assert_type(client.capture("e", distinct_id="u1", overflow="raise"), Receipt)
        assert_type(client.capture_nowait(Event("e")), Receipt)
        assert_type(client.flush(1.0, until="attempted"), FlushReport)
        assert_type(client.deliver([Event("e")], timeout=1.0), list[Outcome])
        assert_type(client.statistics(), Statistics)
        assert_type(client.health(), Health)
        assert_type(client.on_outcome(print, OutcomeKind.DROPPED), OutcomeCallback)
        assert_type(client.close(1.0), CloseReport)
    SyncClient(sink, workers="many")  # type: ignore[arg-type]
    client.capture("e", overflow="explode")  # type: ignore[arg-type]


async def default_client(client: AsyncClient) -> None:
    set_default(client)
    set_default(None)
    assert_type(await capture("e", distinct_id="u1"), Receipt)
    assert_type(capture_nowait("e"), Receipt)
    assert_type(await flush(1.0), FlushReport)
    assert_type(await aclose(), CloseReport)
    set_default(SyncClient(MemorySink()))  # type: ignore[arg-type]


def captured_in_a_test() -> list[SeenEvent]:
    with capturing() as captured:
        assert_type(captured, Captured)
        first: SeenEvent = captured.one("signed_up")
        refused: list[RefusedEvent] = captured.refused
        captured.fail(TransientSinkError(reason="busy"), times=2)
        captured.clear()
        return [first, *refused, *captured, *assert_captured("signed_up", times=1, distinct_id="u1", plan="pro")]


async def logs(captured: CapturedEvent) -> None:
    kept = Retention(max_events=1000, max_bytes=1 << 20, max_age=86_400, on_full="drop_oldest")
    store = SqliteStore(Path("events.db"), shared=True, durability="process", clock=Clock())
    async with EventLog(store, topics={"clicks": kept}, trim_interval=5) as log:
        assert_type(log, EventLog)
        assert_type(await log.append("orders", "paid", distinct_id="42", properties={"sum": 5}, timeout=1), int)
        assert_type(await log.append("orders", SignedUp(plan="pro")), int)
        assert_type(await log.append_many("orders", [Event("paid"), captured, "left"]), list[int])
        async for stored in log.read("orders", "earliest", end=datetime.datetime.now(datetime.UTC)):
            assert_type(stored, StoredEvent)
            assert_type(stored.event, CapturedEvent | None)
        async for stored in log.follow("orders", 7):
            assert_type(stored.offset, int)
        await log.declare("orders", Retention())
        assert_type(await log.topic("orders"), TopicInfo)
        assert_type(await log.statistics(), LogStatistics)
        assert_type(await log.add_consumer("orders", "billing", "latest"), ConsumerInfo)
        assert_type((await log.consumer("orders", "billing")).key, ConsumerKey)
        await log.seek("orders", "billing", "earliest")
        assert_type(await log.replay("orders", "billing", 3, 5), int)
        assert_type(await log.reshard("orders", "billing", 8), list[ConsumerInfo])
        assert_type(await log.verify(), list[Damage])
        assert_type(await log.replay_dead_letters("orders", [0], consumer="billing"), list[DeadLetter])
        await log.append("orders", 7)  # type: ignore[arg-type]
        await log.append("orders", "paid", "42")  # type: ignore[call-arg]
        await log.seek("orders", "billing", "end")  # type: ignore[arg-type]
    EventLog(Path("events.db"))  # type: ignore[arg-type]
    Retention(on_full="block")  # type: ignore[arg-type]
    SqliteStore("events.db", durability="memory")  # type: ignore[arg-type]


async def received(log: EventLog) -> None:
    async with log.receiver("orders", "billing", start="latest", max_attempts=3, when_held="raise") as receiver:
        assert_type(receiver, Receiver)
        delivery = await receiver.receive(timeout=1)
        assert_type(delivery, Delivery)
        assert_type(delivery.event, CapturedEvent)
        assert_type(delivery.gap, int)
        await delivery.nack(5, "busy")
        await delivery.ack()
        assert_type(await receiver.receive_batch(10, timeout=1), list[Delivery])
        async for each in receiver:
            async with each:
                assert_type(each.attempt, int)
    async with log.receiver("orders", "mail", competing=True, ttl=30) as shared:
        await (await shared.receive()).extend(30)
    log.receiver("orders", "billing", begin="latest")  # type: ignore[call-arg]


async def handle(consumed: ConsumedEvent) -> None:
    assert_type(consumed.event, CapturedEvent)
    assert_type(consumed.offset, int)


async def consumed_by_services(log: EventLog, sink: Sink) -> None:
    audit = Consumer(log, "orders", "audit", sink, start="latest", batch_events=100, max_attempts=None)
    async with Consumer(log, "orders", "mail", handle, ordered_by="key", concurrency=8, shard=Shard(2, 8)) as mail:
        assert_type(await mail.lag(), Lag)
        assert_type(mail.statistics(), ConsumerStatistics)
        assert_type(mail.subscribe(OutcomeKind.DROPPED), Subscription)
        assert_type(await mail.stop(timeout=5), ConsumerReport)
    try:
        assert_type(await audit.process(timeout=5), PassReport)
    except ConsumerError as error:
        assert_type(error.report.retried, int)
    assert_type(audit.options, ConsumerOptions)
    Consumer(log, "orders", "audit", print)  # type: ignore[arg-type]
    Consumer(log, "orders", "audit", sink, workers=2)  # type: ignore[call-arg]
    Consumer(log, "orders", "audit", sink, ordered_by="offset")  # type: ignore[arg-type]
    assert_type(shard_of("42", 8), int)
    assert_type(shard_name("billing", Shard(2, 8)), str)
    assert_type(migration({0: 5, 1: 7}, 2, 3), list[int])


async def secret_of(endpoint: str) -> list[str] | None:
    return [f"secret of {endpoint}"]


async def deliveries_to_endpoints(captured: CapturedEvent, sink: Sink) -> None:
    store = SqliteStore("events.db", shared=True)
    policy = DeliveryPolicy(delays=[5, 300.0], jitter=0, attempts=3, pending=60)
    async with Deliveries(store, policy=policy, secrets=secret_of, sinks={"bus": sink}, retention=None) as deliveries:
        assert_type(deliveries, Deliveries)
        acme = Endpoint("acme", "https://acme.example/hooks", headers={"x-tenant": "5"}, rate_limit=10, timeout=5)
        assert_type(await deliveries.add_endpoint(acme, replace=True), EndpointInfo)
        await deliveries.add_endpoint(Endpoint("bus", sink=sink))
        assert_type(await deliveries.rotate_secret("acme", ["whsec_…"], keep_old=False), EndpointInfo)
        assert_type((await deliveries.pause_endpoint("acme", "asked to")).state, EndpointState)
        assert_type(await deliveries.endpoints(), list[EndpointInfo])
        assert_type(await deliveries.test_endpoint("acme", timeout=5), AttemptRecord)
        await deliveries.add_rule(Rule("paid", ("invoice.*",), ("acme",), {"plan": ["pro"]}))
        published = await deliveries.publish("paid", endpoints=["acme"], dedupe_key="inv-7", properties={"sum": 5})
        assert_type(published, Published)
        assert_type(published.deliveries, Mapping[str, int])
        assert_type(await deliveries.publish_many([Event("paid"), captured, "left"]), list[Published])
        assert_type(await deliveries.resend(published.event_uuid), Asked)
        assert_type((await deliveries.cancel_deliveries(published.event_uuid, ["acme"])).refused, tuple[int, ...])
        failed = DeliveryFilter(states=[DeliveryState.FAILED], reason=FailureReason.EXHAUSTED)
        assert_type(await deliveries.resend_all(failed), Asked)
        for row in await deliveries.rows(failed, limit=10):
            assert_type(row, DeliveryRow)
            assert_type((await deliveries.attempts(row.id))[0].outcome, str)
        assert_type(await deliveries.event(published.event_uuid), PublishedEvent)
        assert_type(await deliveries.stats(), list[EndpointStats])
        assert_type(deliveries.subscribe(OutcomeKind.DROPPED), Subscription)
        DeliverySink(deliveries, ["acme"], where=lambda event: event.name == "paid", name="hooks")
        async with Reconciler(deliveries, workers=8, interval=5, claim_ttl=30, lock="reconciler") as reconciler:
            report = await reconciler.reconcile()
            assert_type(report, ReconcileReport)
            assert_type(report.errors, tuple[tuple[int, BaseException], ...])
            assert_type(reconciler.statistics(), ReconcilerStatistics)
        outcome: str = DeliveryOutcome.DELIVERED
        assert_type(outcome, str)
        await deliveries.publish("paid", "acme")  # type: ignore[call-arg]
        await deliveries.resend(7)  # type: ignore[arg-type]
        await deliveries.rows({"states": []})  # type: ignore[arg-type]
    try:
        await deliveries.endpoint("acme")
    except EndpointExistsError as error:
        assert_type(error.endpoint, str)
    except UnknownEndpointError as error:
        assert_type(error.endpoint, str)
    except UnknownDeliveryError as error:
        assert_type(error.id, str | int)
    Deliveries("events.db")  # type: ignore[arg-type]
    DeliverySink("deliveries")  # type: ignore[arg-type]


async def pipelines(log: EventLog, client: AsyncClient, consumer: Consumer) -> None:
    LogSink(log, "orders", where=lambda event: event.name == "paid")
    LogSink(log, lambda event: event.name, name="log")
    LogSink("orders", log)  # type: ignore[arg-type]
    async with Pipeline(client=client, log=log, consumers=[consumer], restart=RetryPolicy()) as pipeline:
        assert_type(pipeline, Pipeline)
        assert_type(pipeline.client, AsyncClient)
    report = await pipeline.stop(timeout=1)
    assert_type(report, PipelineReport)
    assert_type(report.consumers, tuple[ConsumerSummary, ...])
    assert_type(report.deliveries, DeliverySummary | None)
    assert_type(report.client, CloseReport | None)
    assert_type(Pipeline.from_file("pipeline.toml"), Pipeline)
    Pipeline(client, log)  # type: ignore[call-arg]


def names_in_their_packages(
    log: EventLog, delivery: Delivery, receiver: Receiver, consumer: Consumer, pipeline: Pipeline
) -> tuple[OpenLog, LogDelivery, LogReceiver, LogConsumer, WholePipeline]:
    return log, delivery, receiver, consumer, pipeline


async def log_errors(log: EventLog) -> None:
    try:
        await log.append("orders", "paid")
    except StoreFullError as error:
        assert_type((error.topic, error.can_ever_fit), tuple[str, bool])
    except UnknownConsumerError as error:
        assert_type((error.topic, error.consumer), tuple[str, str])
    except CursorError as error:
        assert_type((error.offset, error.first, error.last), tuple[int, int, int])
    except LeaseHeldError as error:
        assert_type(error.holder, str)
        assert_type(error.remaining, float | None)
    except LeaseLostError as error:
        assert_type(error.holder, str | None)
    except SpoolError as error:
        assert_type(error, SpoolError)
    except StoreError:
        pass


async def delivery_store(store: DeliveringStore, events: list[Publication]) -> DeliveryStore:
    kept = store.deliveries
    await kept.publish(events)
    due: list[DueEndpoint] = await kept.due()
    page: list[ClaimedRow] = await kept.claim(
        due[0].endpoint, holder="me", cutoff=1.0, after=Place(0.0, 0), now=1.0, until=2.0, limit=1
    )
    row, _ = page[0]
    failed = Change(
        row.id, row.version, DeliveryState.FAILED, FailureReason.CANCELLED, row.attempts, None, row.deadline_at, 1.0
    )
    assert_type(await kept.change([failed]), list[bool])
    assert_type(store.version(DELIVERIES), int)
    return MemoryStore().deliveries


async def stores(claimed: ClaimedEvent) -> tuple[TopicStore, ConsumerStore, LeaseStore]:
    store: Store = MemoryStore(max_events=10, on_full="wait", dedupe_window=60)
    token = await store.acquire("reconciler", "host:1", 60)
    key = ConsumerKey("orders", "billing")
    claims = await store.claim(key, token, max_events=10, max_bytes=1 << 20)
    assert_type(claims, Claims)
    assert_type(claims.events, Sequence[ClaimedEvent])
    await store.settle(key, token, [Disposition(claimed, Disposal.NACK, delay=1.5, reason="busy")])
    await store.wait("orders", store.version("orders"))
    shared: Store = SqliteStore("events.db", shared=True)
    return store, store, shared


class OwnStoreContract(StoreContract):
    pass


class OwnDeliveryStoreContract(DeliveryStoreContract):
    pass


class OwnLeaseContract(LeaseContract):
    pass


def lease_rig(store: MemoryStore) -> LeaseRig:
    return LeaseRig(store, asyncio.sleep, ttl=2.0)


def delivery_rig() -> DeliveryRig:
    clock = LoopClock(start=0.0)
    clock.jump(-600.0)
    return DeliveryRig(MemoryStore(clock=clock), asyncio.sleep, clock)


def store_rig() -> StoreRig:
    clock = LoopClock(start=0.0)
    return StoreRig(MemoryStore(clock=clock), asyncio.sleep, clock, MemoryStore)
