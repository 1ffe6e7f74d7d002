"""What eventpipe promises of its speed, each held against what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.results import Measurement, Results

HERD = 1_000  # flushes at once
LOG = "python -m benchmarks log"
DELIVERIES = "python -m benchmarks deliveries"
SPOOL = "python -m benchmarks spool"

Find = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Promise:
    """One row.

    Attributes:
        what: What is promised.
        unit: Of the figure and the bound; ``""`` for a ratio.
        bound: The highest that keeps it, or the lowest.
        find: The figure; ``None`` where it was not measured.
        command: Which benchmark measures it.
        is_least: Whether the bound is the lowest.
    """

    what: str
    unit: str
    bound: float
    find: Find
    command: str
    is_least: bool = False

    def is_met(self, results: Results) -> bool | None:
        """Whether it is kept; ``None`` where it was not measured."""
        found = self.find(results)
        if found is None:
            return None
        return found >= self.bound if self.is_least else found <= self.bound


def pick(
    results: Results, scenario: str, subject: str = "eventpipe", **parameters: Any
) -> Measurement | None:  # Any: JSON
    """The measurement of a subject with its default settings and no other values of these parameters."""
    for found in results.measurements:
        if (found.scenario, found.subject, found.settings) == (scenario, subject, "default") and all(
            found.parameters.get(name, value) == value for name, value in parameters.items()
        ):
            return found
    return None


def figure(scenario: str, name: str, **parameters: Any) -> Find:  # Any: JSON
    """A figure by itself."""

    def find(results: Results) -> float | None:
        found = pick(results, scenario, **parameters)
        return found.figures[name].median if found and name in found.figures else None

    return find


def ratio(scenario: str, name: str, other: str, **parameters: Any) -> Find:  # Any: JSON
    """A figure as a ratio to that of another subject, which ran beside it."""

    def find(results: Results) -> float | None:
        found = pick(results, scenario, **parameters)
        to_others = found.ratios.get(name, {}) if found else {}
        return to_others[other].median if other in to_others else None

    return find


def against(library: str, scenario: str, name: str) -> Find:
    """A figure as a ratio to that of a library, beside which eventpipe ran, both with their defaults."""

    def find(results: Results) -> float | None:
        found = pick(results, scenario, library)
        to_others = found.ratios.get(name, {}) if found else {}
        return 1 / to_others["eventpipe"].median if "eventpipe" in to_others else None

    return find


def part(name: str) -> Find:
    """What a part is of its baseline."""

    def find(results: Results) -> float | None:
        return next((found["ratio"] for found in results.parts if found["name"] == name), None)

    return find


def further_sink(results: Results) -> float | None:
    """What a sink beyond the first adds, as a share of what the first one costs."""
    three = ratio("fan_out", "cpu_us", "one sink", sinks=3)(results)
    return None if three is None else (three - 1) / 2


def drift(results: Results) -> float | None:
    """The furthest that an event's CPU, as a ratio to the floor, comes from where it began; 0.1: a tenth."""
    found = sorted(
        (one.parameters["events"], one.ratios["cpu_us"]["floor"].median)
        for one in results.measurements
        if (one.scenario, one.subject) == ("growth", "eventpipe")
    )
    return max(abs(later / found[0][1] - 1) for _, later in found[1:]) if len(found) > 1 else None


def by_queue(results: Results) -> float | None:
    """What a flush costs behind the longest queue, as a ratio to that behind the shortest."""
    found = sorted(
        (one.parameters["pending"], one.figures["flush_us"].median)
        for one in results.measurements
        if (one.scenario, one.subject) == ("flush_storm", "eventpipe") and one.parameters["flushers"] == HERD
    )
    return found[-1][1] / found[0][1] if len(found) > 1 else None


_SCENARIOS = "python -m benchmarks scenarios"
_PLAIN = {"batch_events": 500, "gzip": False}
_GZIP = {"batch_events": 500, "gzip": True}
_SMALL = {"batch_events": 100, "gzip": False}
_AT_ONCE, _FAR, _PACED = f"{_SCENARIOS} throughput", f"{_SCENARIOS} throughput_50ms", f"{_SCENARIOS} paced"

PROMISES = (
    Promise(
        "CPU per event, 100 a batch, to the floor",
        "",
        1.15,
        ratio("throughput", "cpu_us", "floor", **_SMALL),
        _AT_ONCE,
    ),
    Promise(
        "CPU per event, 500 a batch, to the floor", "", 1.2, ratio("throughput", "cpu_us", "floor", **_PLAIN), _AT_ONCE
    ),
    Promise(
        "CPU per event, 100 a batch, gzip on both",
        "",
        1.25,
        ratio("throughput", "cpu_us", "floor", batch_events=100, gzip=True),
        _AT_ONCE,
    ),
    Promise(
        "CPU per event, 500 a batch, gzip on both", "", 1.25, ratio("throughput", "cpu_us", "floor", **_GZIP), _AT_ONCE
    ),
    Promise("CPU per event, 500 a batch", "µs", 4.5, figure("throughput", "cpu_us", **_PLAIN), _AT_ONCE),
    Promise(
        "CPU per event, defaults of both, to confluent-kafka's C producer",
        "",
        1.0,
        against("confluent_kafka", "throughput", "cpu_us"),
        f"{_AT_ONCE} --subjects confluent_kafka",
    ),
    Promise(
        "events per second, 500 a batch, to the reference",
        "",
        2.0,
        ratio("throughput", "per_second", "reference", **_PLAIN),
        _AT_ONCE,
        is_least=True,
    ),
    *(
        Promise(
            f"events per second, defaults of both, to {library}",
            "",
            bound,
            against(library, "throughput", "per_second"),
            f"{_AT_ONCE} --subjects {library}",
            is_least=True,
        )
        for library, bound in (("posthog", 20.0), ("posthog_async", 45.0))
    ),
    Promise(
        "events per second, the far end takes 50 ms",
        "per s",
        120_000,
        figure("throughput_50ms", "per_second", **_PLAIN),
        _FAR,
        is_least=True,
    ),
    Promise(
        "events per second, the far end takes 50 ms, gzip",
        "per s",
        95_000,
        figure("throughput_50ms", "per_second", **_GZIP),
        _FAR,
        is_least=True,
    ),
    Promise("`await capture()` at 2 000/s, p50, to the floor", "", 1.3, ratio("paced", "p50_us", "floor"), _PACED),
    Promise("`await capture()` at 2 000/s, p99, to the floor", "", 2.0, ratio("paced", "p99_us", "floor"), _PACED),
    Promise("`await capture()` at 2 000/s, p99.9", "µs", 300, figure("paced", "p999_us"), _PACED),
    Promise("`await capture()` at 2 000/s, max", "µs", 5_000, figure("paced", "max_us"), _PACED),
    Promise("lag of the loop at 2 000/s, p99", "ms", 0.5, figure("paced", "lag_p99_ms"), _PACED),
    Promise("lag of the loop at 2 000/s, p99, to the floor", "", 1.0, ratio("paced", "lag_p99_ms", "floor"), _PACED),
    Promise(
        "read a second after the last capture, one request in ten hangs",
        "%",
        99,
        figure("hanging", "read_within_1_s_percent"),
        f"{_SCENARIOS} hanging",
        is_least=True,
    ),
    Promise("memory per event, 100 000 queued", "B", 600, figure("memory", "bytes_per_event"), f"{_SCENARIOS} memory"),
    Promise(
        "wake-ups per second of an idle client", "per s", 0, figure("idle", "wakeups_per_second"), f"{_SCENARIOS} idle"
    ),
    Promise(
        "tasks of an idle client with 16 workers, none of them a worker's",
        "",
        2,
        figure("idle", "tasks"),
        f"{_SCENARIOS} idle",
    ),
    Promise(
        "`import eventpipe`, to asyncio, orjson and pydantic with a model",
        "",
        1.15,
        part("import eventpipe"),
        "python -m benchmarks parts",
    ),
    Promise("change of CPU per event over 5 million, to the floor", "", 0.1, drift, f"{_SCENARIOS} growth"),
    Promise(
        "flush, each of 1 000 at once, 9 000 events queued",
        "µs",
        15,
        figure("flush_storm", "flush_us", pending=9_000, flushers=HERD),
        f"{_SCENARIOS} flush_storm",
    ),
    Promise("flush, 9 000 events queued to 1 000", "", 1.25, by_queue, f"{_SCENARIOS} flush_storm"),
    Promise("each sink beyond the first, to the first", "", 0.25, further_sink, f"{_SCENARIOS} fan_out"),
    Promise(
        "a `before_send` that changes nothing",
        "µs",
        0.5,
        figure("hooks", "added_cpu_us", hooks="before_send"),
        f"{_SCENARIOS} hooks",
    ),
    *(
        Promise(
            f"CPU per event, {onlookers}, to nobody looking on",
            "",
            bound,
            ratio("onlookers", "cpu_us", "nobody", onlookers=onlookers),
            f"{_SCENARIOS} onlookers",
        )
        for onlookers, bound in (
            ("two subscribers", 1.1),
            ("one that never reads", 1.05),
            ("Prometheus and OpenTelemetry", 1.05),
        )
    ),
    *(
        Promise(
            f"a request's p99 because its handler captures, far end {far_end}",
            "ms",
            1.0,
            figure("handlers", "added_p99_ms", far_end=far_end),
            "python -m benchmarks handlers",
        )
        for far_end in ("well", "stalled", "dead")
    ),
    Promise(
        "CPU per event, PostHog v1 to v0",
        "",
        1.1,
        ratio("codecs", "cpu_us", "posthog", codec="posthog-v1", batch_events=500),
        f"{_SCENARIOS} codecs",
    ),
    *(
        promise
        for durability, what in (("power", "fsync per commit"), ("process", "no fsync"))
        for promise in (
            Promise(
                f"SQLite, {what}: `log.append()` per second, 100 producers, to bare inserts",
                "",
                0.6,
                ratio("log_append", "per_second", "floor", store="sqlite", durability=durability),
                LOG,
                is_least=True,
            ),
            Promise(
                f"SQLite, {what}: the same, to bare inserts that 100 producers wait for",
                "",
                0.6,
                ratio("log_append", "per_second", "awaited floor", store="sqlite", durability=durability),
                LOG,
                is_least=True,
            ),
            Promise(
                f"SQLite, {what}: `log.append()`, p99",
                "ms",
                15,
                figure("log_append", "p99_ms", store="sqlite", durability=durability),
                LOG,
            ),
        )
    ),
    Promise(
        "SQLite: a consumer's events per second, 500 a batch, to bare reads",
        "",
        0.6,
        ratio("log_consume", "per_second", "floor", store="sqlite"),
        LOG,
        is_least=True,
    ),
    Promise(
        "SQLite: the same, to bare reads that compare checksums and make the events",
        "",
        0.6,
        ratio("log_consume", "per_second", "checked reads", store="sqlite"),
        LOG,
        is_least=True,
    ),
    Promise(
        "SQLite: the same, to those reads in a thread that an event loop waits for",
        "",
        0.6,
        ratio("log_consume", "per_second", "awaited reads", store="sqlite"),
        LOG,
        is_least=True,
    ),
    Promise(
        "memory: `log.append()` per second, 100 producers",
        "per s",
        200_000,
        figure("log_append", "per_second", store="memory", call="append"),
        LOG,
        is_least=True,
    ),
    Promise(
        "memory: `log.append_many()` of encoded events per second",
        "per s",
        500_000,
        figure("log_append", "per_second", store="memory", call="append_many"),
        LOG,
        is_least=True,
    ),
    *(
        Promise(
            f"{label}: claim and settle an event of a backlog of {words}, to one of 10 000",
            "",
            1.2,
            ratio("log_backlog", "cpu_us", "10000 events", store=store, events=events),
            LOG,
        )
        for label, store, events, words in (
            ("memory", "memory", 5_000_000, "5 million"),
            ("SQLite", "sqlite", 1_000_000, "a million"),
        )
    ),
    Promise(
        "memory: an append beside 1 000 receivers parked on other topics, to nobody",
        "",
        1.1,
        ratio("log_parked", "cpu_us", "nobody", parked="on other topics"),
        LOG,
    ),
    Promise(
        "memory: each of 1 000 receivers parked on the topic, to an append",
        "µs",
        10,
        figure("log_parked", "append_us", parked="on the topic"),
        LOG,
    ),
    *(
        Promise(
            f"SQLite: deliveries per second, 16 workers, {words} waiting, to bare requests",
            "",
            0.6,
            ratio("deliveries", "per_second", "floor", waiting=waiting),
            DELIVERIES,
            is_least=True,
        )
        for waiting, words in ((10_000, "10 000"), (1_000_000, "a million"))
    ),
    Promise(
        "SQLite: CPU per delivery, a million waiting, to 10 000",
        "",
        1.2,
        ratio("deliveries", "cpu_us", "10000 waiting", waiting=1_000_000),
        DELIVERIES,
    ),
    Promise(
        "SQLite: CPU per delivery, a hundred endpoints, to one",
        "",
        2,
        ratio("deliveries_endpoints", "cpu_us", "one endpoint", endpoints=100),
        DELIVERIES,
    ),
    Promise(
        "SQLite: a pass that finds nothing due beside a million deliveries that were made",
        "ms",
        5,
        figure("deliveries_idle", "pass_ms", settled=1_000_000),
        DELIVERIES,
    ),
    Promise(
        "SQLite: from `publish()` to its first attempt at the far end, p99",
        "ms",
        20,
        figure("deliveries_first", "p99_ms"),
        DELIVERIES,
    ),
    *(
        Promise(
            f"spool, {durability}: captures per second, 100 producers, to bare inserts that they wait for",
            "",
            0.5,
            ratio("spool_capture", "per_second", "awaited floor", durability=durability),
            SPOOL,
            is_least=True,
        )
        for durability in ("process", "power")
    ),
    Promise(
        "spool, process: `await capture()`, 100 producers, p99",
        "ms",
        15,
        figure("spool_capture", "p99_ms", durability="process"),
        SPOOL,
    ),
    Promise(
        "spool, process: `await capture()` at 5 000/s, p99",
        "ms",
        2,
        figure("spool_paced", "p99_ms", durability="process"),
        SPOOL,
    ),
    Promise(
        "spool, power: `await capture()` at 5 000/s, p99, to that of an fsync",
        "",
        3,
        ratio("spool_paced", "p99_ms", "fsync", durability="power"),
        SPOOL,
    ),
    Promise(
        "spool that is not used: CPU per event, to a client without one",
        "",
        1.02,
        ratio("spool_unused", "loop_us", "no spool"),
        SPOOL,
    ),
    Promise(
        "spool: events per second of a backlog that drains, to events from memory",
        "",
        0.9,
        ratio("spool_drain", "per_second", "from memory"),
        SPOOL,
        is_least=True,
    ),
    Promise("spool: opening a GiB of backlog", "s", 2, figure("spool_opening", "opening_seconds"), SPOOL),
    Promise("spool: memory beside a GiB of backlog", "MiB", 100, figure("spool_opening", "memory_mib"), SPOOL),
)
