"""The cases of every scenario: which load, with which parameters, against which far end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmarks.peers import PEERS
from benchmarks.process import Behaviour
from benchmarks.runner import Case, Contender, Figures, Options, Times, Watch
from benchmarks.workload import Result

BATCH_EVENTS = 500  # the default of eventpipe
PER_SECOND = 2_000  # captures of a busy web service
WORKERS = 16

PLAIN = {"batch_events": BATCH_EVENTS, "gzip": False}
# What most libraries send unless told otherwise; beside them the project's own subjects do as well.
SMALL = {"batch_events": 100, "gzip": False}

# A library's run takes ten times as long for each event.
PEER_TOTAL = 8_000
# Where a queue has room for fewer events than a round has, and what comes then is dropped.
PEER_ROUNDS = {"opentelemetry": 2_000, "sentry": 500}


def throughput(subject: str) -> Iterator[Case]:
    """Events as fast as they go, to a far end that answers at once."""
    if subject in PEERS:
        total = {"total": PEER_TOTAL, "round_events": PEER_ROUNDS.get(subject, PEER_TOTAL)}
        # With its defaults, as the library has its own; the floor and the reference send what most libraries send.
        own = Contender("eventpipe", options=PLAIN, arguments={"batch_events": BATCH_EVENTS})
        contenders = [own, *beside(subject, SMALL, arguments=total)]
        baselines = ("floor", "reference", "eventpipe")
        yield Case("throughput", "throughput", contenders, _fast(SMALL, 32_000), baselines=baselines, turns=2)
        return
    for batch_events in (100, 500):
        for gzip in (False, True):
            options = {"batch_events": batch_events, "gzip": gzip}
            yield Case("throughput", "throughput", beside(subject, options), _fast(options, 32_000))


def throughput_50ms(subject: str) -> Iterator[Case]:
    """Events as fast as they go, to a far end that takes 50 ms for each request: whoever captures waits for room."""
    for options, total in (PLAIN, 48_000), (PLAIN | {"gzip": True}, 48_000), (SMALL, 9_600):
        if subject in PEERS and options is not SMALL:
            continue
        own = beside(subject, options | {"overflow": "wait"}, floor={"queue_events": total}, arguments={"total": 2_000})
        far_end = Behaviour(latency=0.05)
        yield Case("throughput_50ms", "flood", own, _fast(options, total), behaviour=far_end, turns=turns(subject))


def capture(subject: str) -> Iterator[Case]:
    """The call itself, at full speed."""
    yield Case("capture", "hurried", beside(subject, PLAIN), _fast(PLAIN, 32_000))


def tight_loop(subject: str) -> Iterator[Case]:
    """A loop of 100 000 captures that gives way to nobody, ten queues full; what has not arrived when it ends?"""

    def watch(turn: Result, times: Times) -> Figures:
        arrived = sum(count for at, count in times["reads"] if at <= turn["moments"]["ended"])
        return {
            "left_percent": 100 * (1 - arrived / turn["captured"]),
            "lost_percent": 100 * turn["dropped"] / turn["captured"],
        }

    total = {"total": 100_000}
    contenders = [contender for contender in beside(subject, PLAIN) if contender.subject != "floor"]
    yield Case("tight_loop", "tight_loop", contenders, total, total, turns=1, warm=None, watch=watch)


def burst(subject: str) -> Iterator[Case]:
    """One handler that captures 20 000 events in a row, twice what a queue holds by default."""
    total = {"total": 20_000}
    contenders = beside(subject, PLAIN, floor={"queue_events": 20_000})
    yield Case("burst", "burst", contenders, total, total, turns=turns(subject), warm={"total": 1_000})


def paced(subject: str) -> Iterator[Case]:
    """A web service at 2 000 captures a second."""
    pace = {"per_second": PER_SECOND, "seconds": 1.5 if subject in PEERS else 2.5}
    contenders = beside(subject, PLAIN)
    if subject not in PEERS:
        contenders.insert(0, Contender("nothing"))
    yield Case("paced", "paced", contenders, pace, {"per_second": PER_SECOND}, turns=1, warm={"seconds": 0.3})


def hanging(subject: str) -> Iterator[Case]:
    """One request in ten hangs for 5 s; what has arrived one second after two seconds of captures?"""
    if _is_kafka(subject):
        return
    pace = {"per_second": PER_SECOND, "seconds": 2.0, "after": 1.0}
    far_end = Behaviour(stall_every=10, stall_seconds=5.0, verify=True)

    def watch(turn: Result, times: Times) -> Figures:
        read = sum(count for at, count in times["reads"] if at <= turn["moments"]["ended"] + 1.0)
        return {"read_within_1_s_percent": 100 * read / turn["captured"]}

    yield _waiting("hanging", "steady", beside(subject, SMALL), pace, {"per_second": PER_SECOND}, far_end, watch)


def outage(subject: str) -> Iterator[Case]:
    """The far end answers 503 for 2 s; what is lost or sent twice, and how long after the last capture is all there?"""
    if _is_kafka(subject):
        return
    pace = {"per_second": PER_SECOND, "seconds": 3.0}
    far_end = Behaviour(outage_seconds=2.0, verify=True)
    contenders = [contender for contender in beside(subject, PLAIN) if contender.subject != "floor"]

    def watch(turn: Result, times: Times) -> Figures:
        ended = turn["moments"]["ended"]
        last = max((at for at, count in times["accepts"] if count), default=ended)
        return {"last_arrived_after_seconds": last - ended}

    yield _waiting("outage", "steady", contenders, pace, {"per_second": PER_SECOND}, far_end, watch)


def mute_close(subject: str) -> Iterator[Case]:
    """The orderly end with events left and a far end that reads and never answers."""
    if _is_kafka(subject):
        return
    total = {"total": 5_000}
    contenders = [contender for contender in beside(subject, PLAIN) if contender.subject != "floor"]
    yield _waiting("mute_close", "mute_close", contenders, total, total, Behaviour(is_mute=True))


def memory(subject: str) -> Iterator[Case]:
    """100 000 events in the queue, beside those that the workers have."""
    if _is_kafka(subject) or subject == "sentry":  # which holds 1 000
        return
    arguments = {"warm": WORKERS * BATCH_EVENTS, "total": 100_000}
    options = PLAIN | {"queue_events": 120_000}
    contenders = beside(subject, options, shared={"queue_events": 120_000})
    contenders = [contender for contender in contenders if contender.settings == "default"]  # but for the bound alike
    total = {"total": arguments["total"]}
    far_end = Behaviour(is_mute=True)
    yield Case("memory", "memory", contenders, arguments, total, behaviour=far_end, turns=1, warm=None)


def idle(subject: str) -> Iterator[Case]:
    """Three seconds in which nothing is captured, after some work."""
    arguments = {"total": PEER_ROUNDS.get(subject, 8_000), "seconds": 3.0}
    yield _waiting("idle", "idle", [Contender("nothing"), *beside(subject, PLAIN)], arguments, {}, Behaviour())


def fan_out(subject: str) -> Iterator[Case]:
    """Each event to one, two and three far ends."""
    contenders = [
        Contender(
            subject, options=PLAIN | {"sinks": sinks}, parameters=PLAIN | {"sinks": sinks}, name=name, copies=sinks
        )
        for sinks, name in ((1, "one sink"), (2, "two sinks"), (3, "three sinks"))
    ]
    yield _compared("fan_out", contenders)


def codecs(subject: str) -> Iterator[Case]:
    """The wire formats of PostHog, and plain JSON beside them; of version 1 the far end answers for each event."""
    for batch_events in (500, 100):
        options = {"batch_events": batch_events, "gzip": False}
        contenders = [
            Contender(subject, options=options | {"codec": codec}, parameters=options | {"codec": codec}, name=codec)
            for codec in ("posthog", "posthog-v1", "json")
        ]
        yield replace(_compared("codecs", contenders), arguments=_fast(options, 32_000), turns=4)


def hooks(subject: str) -> Iterator[Case]:
    """What functions of the user's and receipts add."""
    kinds: list[tuple[str, Options, Options]] = [
        ("none", {}, {}),
        ("before_send", {"hooks": ["before_send"]}, {}),
        ("on_drop and on_error", {"hooks": ["on_drop", "on_error"]}, {}),
        ("receipts kept", {}, {"receipts": "kept"}),
        ("receipts awaited", {}, {"receipts": "awaited"}),
    ]
    contenders = [
        Contender(
            subject, options={**PLAIN, **options}, arguments=arguments, parameters=PLAIN | {"hooks": name}, name=name
        )
        for name, options, arguments in kinds
    ]
    yield _compared("hooks", contenders)


def onlookers(subject: str) -> Iterator[Case]:
    """Subscribers of every outcome, one that never reads, and exporters of metrics and traces."""
    kinds: dict[str, list[str]] = {
        "nobody": [],
        "two subscribers": ["reader", "reader"],
        "one that never reads": ["sleeper"],
        "Prometheus and OpenTelemetry": ["prometheus", "opentelemetry"],
        "the same, captured in a span": ["prometheus", "opentelemetry", "span"],
    }
    contenders = [
        Contender(subject, options=PLAIN | {"onlookers": names}, parameters=PLAIN | {"onlookers": kind}, name=kind)
        for kind, names in kinds.items()
    ]
    yield replace(_compared("onlookers", contenders), turns=16)


def flush_storm(subject: str) -> Iterator[Case]:
    """Many flushes of the same pending events at once; the far end is a gate in the process."""
    contenders = [Contender(name, options={"gated": True}) for name in ("reference", subject)]
    for pending in (1_000, 9_000):
        for flushers in (64, 1_000):
            arguments = {"pending": pending, "flushers": flushers}
            yield Case("flush_storm", "flush_storm", contenders, arguments, arguments)


def producers(subject: str) -> Iterator[Case]:
    """Tasks that capture at once, and wait for room."""
    for count in (1, 10, 100, 1_000):
        total = 32_000
        contenders = beside(subject, PLAIN | {"overflow": "wait"}, floor={"queue_events": total})
        yield Case("producers", "flood", contenders, _fast(PLAIN, total) | {"producers": count}, {"producers": count})


def batch_size(subject: str) -> Iterator[Case]:
    """Events in a batch, and so in a request."""
    for batch_events, total in ((1, 800), (5, 4_000), (20, 8_000), (100, 24_000), (500, 32_000)):
        options = {"batch_events": batch_events, "gzip": False}
        yield Case("batch_size", "throughput", beside(subject, options), _fast(options, total))


def workers(subject: str) -> Iterator[Case]:
    """Requests in flight at once, to a far end that takes 20 ms for each."""
    for count, total in ((1, 2_000), (4, 8_000), (16, 24_000), (64, 48_000), (256, 48_000)):
        options = SMALL | {"workers": count, "queue_events": 60_000}
        far_end = Behaviour(latency=0.02)
        contenders = beside(subject, options | {"overflow": "wait"})
        yield Case("workers", "flood", contenders, _fast(SMALL, total), {"workers": count}, behaviour=far_end, turns=2)


def event_size(subject: str) -> Iterator[Case]:
    """Events from one with a single property to one of 64 KiB; a body has half a MiB at most."""
    for event_bytes, batch_events in ((200, 500), (432, 500), (2_048, 256), (16_384, 32), (65_536, 8)):
        options = {"batch_events": batch_events, "gzip": False}
        round_events = 16 * batch_events
        arguments = _fast(options, 4 * round_events) | {"round_events": round_events}
        parameters = {"event_bytes": event_bytes}
        contenders = beside(subject, options)
        yield Case("event_size", "throughput", contenders, arguments, parameters, event_bytes=event_bytes)


def growth(subject: str) -> Iterator[Case]:
    """One process that sends five million events, 100 000 at a time."""
    yield Case("growth", "throughput", beside(subject, PLAIN), _fast(PLAIN, 100_000), turns=50, warm=None, step=5)


def turns(subject: str) -> int:
    """Turns in a run: one of a library's takes as long as ten of ours."""
    return 1 if subject in PEERS else 3


def beside(
    subject: str,
    options: Options,
    *,
    floor: Options | None = None,
    shared: Options | None = None,
    arguments: Options | None = None,
) -> list[Contender]:
    """A subject beside the floor and the reference.

    Args:
        subject: A library runs twice: with its defaults, and with its best settings.
        options: Those of the project's own subjects.
        floor: Those of the floor beside them.
        shared: Those that a library has to have as well, by our names.
        arguments: Of the load for a library.
    """
    shown = {name: options[name] for name in PLAIN}
    own = [
        Contender("floor", options={**options, **(floor or {})}, parameters=shown),
        Contender("reference", options=options, parameters=shown),
    ]
    if subject not in PEERS:
        return [*own, Contender(subject, options=options, parameters=shown)]
    return [
        *own,
        *(
            Contender(subject, settings, options=shared or {}, arguments=arguments or {}, name=f"{subject} {settings}")
            for settings in ("default", "best")
        ),
    ]


def quick(found: Iterator[Case]) -> Iterator[Case]:
    """The first case, as small as shows that it works."""
    for case in found:
        arguments = {name: SMALLEST.get(name, value) for name, value in case.arguments.items()}
        own = [
            replace(one, arguments={name: SMALLEST.get(name, value) for name, value in one.arguments.items()})
            for one in case.contenders
        ]
        warm: Options | None = None if case.warm is None else {}
        yield replace(case, arguments=arguments, contenders=own, turns=1, warm=warm, step=min(case.step, 1))
        return


SMALLEST = {"total": 1_000, "warm": 1_000, "seconds": 0.2, "flushers": 8, "round_events": 500}


def _fast(options: Options, total: int) -> dict[str, Any]:  # Any: JSON
    return {"total": total, "batch_events": options["batch_events"]}


def _compared(scenario: str, contenders: Sequence[Contender]) -> Case:
    """Ways to use one subject, held against the first of them."""
    base = contenders[0].name or ""
    arguments = _fast(PLAIN, 32_000)
    return Case(scenario, "throughput", contenders, arguments, baselines=(base,), added=("cpu_us",))


def _waiting(
    scenario: str,
    load: str,
    contenders: Sequence[Contender],
    arguments: Options,
    parameters: Options,
    far_end: Behaviour,
    watch: Watch | None = None,
) -> Case:
    return Case(
        scenario,
        load,
        contenders,
        arguments,
        parameters,
        behaviour=far_end,
        turns=1,
        warm=None,
        is_waiting=True,
        watch=watch,
    )


def _is_kafka(subject: str) -> bool:
    """Whether its far end cannot misbehave."""
    return subject in PEERS and PEERS[subject].wire == "Kafka"
