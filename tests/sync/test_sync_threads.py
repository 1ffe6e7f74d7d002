"""Many threads and one client: nothing is lost, nothing is counted twice, nobody hangs."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from eventpipe import DropReason, Receipt
from eventpipe.sinks import MemorySink
from eventpipe.sync import SyncClient
from eventpipe.testing import check_ledger
from eventpipe.transport.inbox import Entry, Inbox

pytestmark = pytest.mark.wallclock

THREADS = 1_000


def at_once(work: Callable[[], object], threads: int) -> None:
    """Run ``work`` in so many threads, which begin at the same moment."""
    gate = threading.Event()

    def run() -> None:
        gate.wait()
        work()

    started = [threading.Thread(target=run) for _ in range(threads)]
    for thread in started:
        thread.start()
    gate.set()
    for thread in started:
        thread.join(30)
    assert not [thread for thread in started if thread.is_alive()]


@pytest.mark.parametrize("overflow", ["drop_newest", "wait", "raise"])
def test_a_thousand_threads_lose_nothing(overflow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their captures are the first of the client, whose one thread they start among themselves."""
    # It has a thousandth of the interpreter, and who has "raise" waits for it.
    monkeypatch.setattr("eventpipe.sync.LOOK_TIMEOUT", 30.0)
    sink = MemorySink()
    receipts: list[Receipt] = []
    with SyncClient(sink, overflow=overflow) as client:  # type: ignore[arg-type]  # three of the words

        def produce() -> None:
            receipts.extend([client.capture("e"), client.capture("e")])

        at_once(produce, THREADS)
        assert len([thread for thread in threading.enumerate() if thread.name == "eventpipe"]) == 1
        assert client.statistics().captured == 2 * THREADS

    assert sorted(event.uuid for event in sink.events) == sorted(receipt.uuid for receipt in receipts)
    assert check_ledger(client._client, drained=True).delivered == 2 * THREADS


def test_first_captures_start_one_thread() -> None:
    """Whoever comes first starts it, and nobody else does."""
    for _ in range(20):
        client = SyncClient(MemorySink())
        seen: set[object] = set()

        def produce(client: SyncClient = client, seen: set[object] = seen) -> None:
            client.capture("e")
            seen.add(client._home.start())

        at_once(produce, 20)

        assert len(seen) == 1
        assert client.close().delivered == 20


@pytest.mark.parametrize("overflow", ["drop_newest", "wait"])
def test_captures_that_race_the_close_are_settled(overflow: str) -> None:
    """Each is delivered, or dropped as ``closed``: by the client's thread, or by the caller when that has ended."""
    for _ in range(20):
        client = SyncClient(MemorySink(), queue_events=100_000)
        client.capture("first")
        receipts: list[Receipt] = []

        def produce(client: SyncClient = client, receipts: list[Receipt] = receipts) -> None:
            while not receipts or receipts[-1].reason != DropReason.CLOSED:
                receipts.append(client.capture("e", overflow=overflow))  # type: ignore[arg-type]  # two of the words

        producers = [threading.Thread(target=produce) for _ in range(3)]
        for producer in producers:
            producer.start()
        client.close()
        for producer in producers:
            producer.join(30)

        numbers = check_ledger(client._client, drained=True)
        assert numbers.captured == len(receipts) + 1
        assert None not in {receipt.accepted for receipt in receipts}
        assert set(numbers.dropped_by_reason) == {"closed"}


def test_capture_while_the_loop_is_closed_is_counted() -> None:
    """What the thread would take over in its next step has no next step; the end of the thread takes it."""
    client = SyncClient(MemorySink())
    client.capture("first")
    loop = client._home.start().loop
    close = loop.close

    def capture_and_close() -> None:
        client.capture_nowait("late")
        close()

    loop.close = capture_and_close  # type: ignore[method-assign]
    client.close()

    numbers = check_ledger(client._client, drained=True)
    assert (numbers.captured, numbers.dropped_by_reason) == (2, {"closed": 1})


def test_capture_overtaken_by_the_whole_close_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It found the client open, and left its event when no thread was there any more: it takes that over itself."""
    client = SyncClient(MemorySink())
    client.capture("first")
    put = Inbox.put

    def close_and_put(inbox: Inbox, entry: Entry) -> bool:
        monkeypatch.undo()
        client.close()
        return put(inbox, entry)

    monkeypatch.setattr(Inbox, "put", close_and_put)
    receipt = client.capture("late")

    assert (receipt.accepted, receipt.reason) == (False, DropReason.CLOSED)
    numbers = check_ledger(client._client, drained=True)
    assert (numbers.captured, numbers.dropped_by_reason) == (2, {"closed": 1})


def test_flushes_of_many_threads_are_exact() -> None:
    """Each finds its own events settled when it returns."""
    sink = MemorySink()
    with SyncClient(sink, max_batch_age=60) as client:

        def produce() -> None:
            receipt = client.capture("e")
            assert client.flush(20).pending == 0
            settled.append(receipt.uuid in {event.uuid for event in list(sink.events)})

        settled: list[bool] = []
        at_once(produce, 50)

    assert settled == [True] * 50
