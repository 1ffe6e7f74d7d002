"""The words of the report: what each scenario is, for whom its figures are, and what none of them say."""

from __future__ import annotations

from typing import NamedTuple


class Chapter(NamedTuple):
    """A scenario as the report tells it.

    Attributes:
        scenario: Its name.
        title: Of its section.
        text: What happens in it, and what to look at.
    """

    scenario: str
    title: str
    text: str


CHAPTERS = (
    Chapter(
        "throughput",
        "As fast as it goes, the far end answers at once",
        "One task captures in rounds of 8 000 events, each waited for. CPU is that of the subject's whole process, "
        "so that threads cannot hide it; events per second follow from it while one core is all there is.",
    ),
    Chapter(
        "throughput_50ms",
        "As fast as it goes, the far end takes 50 ms",
        "Requests take as long as to another continent, and nobody waits between rounds: what counts is how many are "
        "under way at once. Producers of eventpipe and of the reference wait for room; the floor has room for all.",
    ),
    Chapter(
        "burst",
        "A burst of 20 000 captures",
        "Twice what the queue holds, from one task that does nothing else. What finds no room is lost.",
    ),
    Chapter(
        "paced",
        "2 000 captures a second",
        "A service at work. How long the caller of `capture()` is held up, and how late the loop's other tasks run, "
        "measured by a task that only asks for the time. `nothing` is a capture that does nothing.",
    ),
    Chapter(
        "hanging",
        "One request in ten hangs for 5 s",
        "What the far end has read a second after the last capture: a stalled request must hold up its own batch and "
        "no other.",
    ),
    Chapter(
        "outage",
        "Two seconds of 503",
        "Every request is refused for two seconds. Whether all arrives afterwards, once, and how long after the last "
        "capture that is. The floor, which never tries again, is left out.",
    ),
    Chapter(
        "mute_close",
        "Closing while the far end is silent",
        "Nothing is ever answered. How long the library's own close takes, and whether it tells what it gave up.",
    ),
    Chapter("memory", "100 000 events in the queue", "Resident memory that each waiting event adds."),
    Chapter(
        "idle",
        "Nothing to do",
        "How often the loop of a client wakes up that has worked and has nothing to do, and how many tasks and threads "
        "it keeps. `nothing` is what measuring takes by itself.",
    ),
    Chapter(
        "capture",
        "The call itself",
        "`await capture()` at full speed, each call timed, while batches are made and sent.",
    ),
    Chapter(
        "tight_loop",
        "A loop that gives way to nobody",
        "100 000 captures in a row, ten queues full, from a task that awaits nothing else. What has not arrived when "
        "the loop ends, and what found no room in it. The reference's `capture()` never gives way.",
    ),
    Chapter(
        "fan_out",
        "The same events to three far ends",
        "What a second and a third sink add, for each event captured. The far ends count every copy.",
    ),
    Chapter(
        "hooks",
        "With hooks and receipts",
        "What functions that see every event or every outcome add, and what it takes to keep a receipt or to await it.",
    ),
    Chapter(
        "codecs",
        "Wire formats",
        "PostHog's version 1 beside its version 0: other headers for each request, and an answer that has a verdict on "
        "each event. And plain JSON.",
    ),
    Chapter(
        "onlookers",
        "With somebody looking on",
        "Subscribers that read every outcome, one that never reads, and Prometheus and OpenTelemetry, which ask for "
        "all there is once a second, a span around each request. In the last row every capture is made inside a span, "
        "to which that of the request is linked.",
    ),
    Chapter(
        "flush_storm",
        "A thousand flushes at once",
        "All wait for the same events; what every flush beyond the first adds, without the task around it.",
    ),
    Chapter("producers", "More producers", "The same number of events from 1 to 1 000 tasks, which wait for room."),
    Chapter("batch_size", "Larger batches", "From one event a request to 500, the default."),
    Chapter("workers", "More requests at once", "From 1 worker to 256, with a far end that takes 20 ms."),
    Chapter("event_size", "Larger events", "From 200 B to 64 KiB, in bodies of half a MiB at most."),
    Chapter(
        "growth",
        "Five million events",
        "In one process, 100 000 at a time: whether the last event costs what the first did.",
    ),
    Chapter(
        "handlers",
        "In a web handler",
        "FastAPI under uvicorn, a hundred requests a second by turns of ten seconds: a handler that captures an event, "
        "and one that does not. What is added is the median of five pairs. The far end is well, reads and never "
        "answers, or is not there.",
    ),
    Chapter(
        "log_append",
        "The log: appending",
        "A hundred producers, each of which waits for its append, and in memory also events that are encoded already, "
        "500 at a time. Beside SQLite the floor commits ready-made rows to the same tables by hand, as many at a time "
        "as the log's commits had, and in memory appends ready-made objects to a list: it has no ids, checksums, "
        "bounds, wake-ups or answers. The awaited floor does the same in a thread for a hundred producers, each of "
        "which waits for its row.",
    ),
    Chapter(
        "log_bounded",
        "The log: a topic that is full",
        "The same producers, and a topic of 10 000 events that drops its oldest for each new one, beside one without "
        "bounds in the same file.",
    ),
    Chapter(
        "log_consume",
        "The log: consuming",
        "A consumer whose sink does nothing, from the first event to the last. The floor reads the same rows in the "
        "same batches and keeps its cursor after each: it checks no checksum, makes no events of the rows, and has no "
        "lease, attempts or order. The checked reads compare each checksum and make the events, as any reader has to. "
        "The awaited reads do so in a thread, and an event loop waits for each batch while the next one is read.",
    ),
    Chapter(
        "log_backlog",
        "The log: a long backlog",
        "What it takes to claim and to settle an event, for the whole of a long backlog, and for short ones that were "
        "filled with it and are drained between its parts.",
    ),
    Chapter(
        "log_parked",
        "The log: a thousand receivers that wait",
        "In memory. Receivers of other topics are not woken by an append. Those of the topic all are: append is the "
        "time that this takes the append, by receiver, and each the CPU by receiver until all park again. With a "
        "consumer of its own each of them is handed the event and settles it; of those that share one consumer one "
        "does, and the others look and find nothing.",
    ),
    Chapter(
        "deliveries",
        "Deliveries: through to the far end",
        "A reconciler with 16 workers and one endpoint, whose requests are signed, from rows that wait in SQLite, with "
        "an fsync per commit. The floor is as many tasks, each of which posts one ready-made body after the other with "
        "aiohttp, and keeps nothing. Each works for 0.8 s by turns. What is called lost was accepted by the far end "
        "and is not known to be.",
    ),
    Chapter(
        "deliveries_endpoints",
        "Deliveries: a hundred endpoints",
        "Passes with 16 workers over 10 000 rows that wait in SQLite, a hundred for each of a hundred endpoints, and "
        "over as many for one. All endpoints are one far end; each has connections of its own. The floor is that of "
        "the table before.",
    ),
    Chapter(
        "deliveries_idle",
        "Deliveries: nothing due",
        "A pass that finds nothing, beside a million deliveries that were made with their attempts, and in an empty "
        "file.",
    ),
    Chapter(
        "deliveries_first",
        "Deliveries: the first attempt",
        "A hundred publishes a second, each timed from the call until the far end has read the request. It returns "
        "when the event and its row are on disk; the reconciler is woken then.",
    ),
    Chapter(
        "spool_capture",
        "The spool: as fast as it goes",
        "A hundred producers, each of which waits until its event is on disk. Each event is also sent, to a far end in "
        "the same process that takes everything, and deleted from the disk then. Beside it the same client without a "
        "spool; and the awaited floor, which commits ready-made rows to the same tables by hand, in a thread, for as "
        "many producers that wait for their rows, and neither makes checksums nor deletes anything.",
    ),
    Chapter(
        "spool_paced",
        "The spool: 5 000 captures a second",
        "How long a capture takes that waits for the disk. Beside it the disk by itself: an fsync of one page more, "
        "once a millisecond.",
    ),
    Chapter(
        "spool_unused",
        "The spool: not used",
        "A client with a spool whose events need no disk and are all delivered, beside one without: CPU of the loop's "
        "thread from the capture until all is settled, the fastest of ten turns each time.",
    ),
    Chapter(
        "spool_drain",
        "The spool: a backlog that drains",
        "50 000 events that another process left on disk, from the opening of the folder on; and as many captured and "
        "sent by a client without a spool. The far end takes 50 ms for each batch.",
    ),
    Chapter(
        "spool_opening",
        "The spool: a long backlog",
        "A GiB of events that another process left on disk: until the client has started, and the most memory that the "
        "process has had a second later, the interpreter and all it has imported included. The file was written just "
        "before, and is in the system's cache.",
    ),
)

READERS = """\
For whoever wonders what a library for events costs their service, and for whoever changes eventpipe and wants to know
what that did. Times are those of one machine. What carries over are the **ratios**: beside every subject, in the same
minute and on the same core, ran two loops that anybody could write instead.

- The **floor** is the leanest loop we could write by hand on the same stack, and promises nothing: no retries, no
  bounds in bytes, no counters, no flush, no orderly close. 1.10 to the floor says that all of that costs a tenth.
- The **reference** is the pipeline that a careful engineer writes in an hour, with retries and a flush.

Every subject is a process of its own on one core; the far end has another core and counts what it reads. A figure is
the median of several processes, with the lowest and the highest in parentheses. *Lost* are events that were captured
and that the far end never read, *reported* those of them that the library itself says it gave up, *duplicated* those
that it read twice. **Default** is a library with its far end's address and nothing else, **best** the fastest that its
own options allow without losing events. Batch sizes and compression in the tables are those of eventpipe, the floor and
the reference."""

IN_SHORT = """\
Full load without compression, with a far end that answers at once; delays at 2 000 captures a second. 500 events a
batch are the default of eventpipe; 100 are what it, the floor and the reference have where they are held against other
libraries, whose batches are their own choice. The sections below have the rest, and how far the runs lie apart. In the
picture filled marks are default settings, hollow ones best settings."""

LIMITS = """\
- All traffic stays on loopback: no network's delay, loss or TLS. A far end that takes 50 ms stands for distance.
- One core for the subject. A library with threads cannot gain from a second one here, as it could in a service that
  leaves one idle.
- The libraries speak different protocols. What speaks Kafka meets the mock broker that ships with confluent-kafka, in
  a process of its own, which keeps nothing on disk.
- The far end accepts and counts; it does not check what an event means.
- Events have 432 bytes unless a table says otherwise. A library that adds fields of its own sends more than others.
- Nothing here lasts longer than minutes. Days are for the stress tests, and guarantees for [their
  page](guarantees.md).
- Of the log everything is measured in one process; files that several share are not. The same is true of the spool."""

PARTS = """\
What the steps of an event's way cost by themselves, per event in batches of 500 unless the name says otherwise. The
rows without a ratio are what the others are held against: the least that anybody would do for the same end, run right
before them. `python -m benchmarks parts` repeats this table in two minutes."""
