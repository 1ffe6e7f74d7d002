"""What a process does that measures deliveries: a reconciler and bare requests, by turns, to one far end.

Each load is given how many turns to take, how many rows or events there are, and a folder for files that take long to
fill. The first turn, which warms, is not counted.
"""

from __future__ import annotations

import asyncio
import gc
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import aiohttp

from benchmarks.clocks import percentile
from benchmarks.log_loads import captured
from benchmarks.process import Behaviour, SinkProcess
from benchmarks.turns import Found, Stopwatch
from eventpipe.codecs.webhook import WebhookCodec
from eventpipe.delivery import AttemptRecord, Deliveries, DeliveryState, Endpoint, Reconciler
from eventpipe.events import Batch
from eventpipe.stores.delivery_values import Change, Publication
from eventpipe.stores.sqlite import SqliteStore

LONG = 1_000_000
SHORT = LONG // 100
WORKERS = 16
ENDPOINT = "acme"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLwSw"  # noqa: S105  # of the loopback's
PAGE = 10_000  # rows that are filled in in one transaction
BODIES = 1_024

WINDOW = 0.8  # seconds of a turn that are measured where there are LONG rows; fewer take less
SHORTEST = 0.1
MIN_ROWS = 1_000  # more than are delivered in that time
WARMING = 50  # deliveries, and requests, before that
PER_SECOND = 100  # publishes, where they are paced
PASSES = 25  # in a turn
MANY = 100  # endpoints
DAY = 86_400.0

Rates = dict[str, float]


# -- through to the far end -------------------------------------------------------------------------------------------


async def through(turns: int, events: int, folder: str) -> list[Found]:
    """A reconciler's deliveries with so many rows waiting, with a hundredth of them, and bare requests.

    Of each, some time in the middle is measured. Where few rows wait, others are published for those delivered.
    """
    few = max(MIN_ROWS, events * SHORT // LONG)
    window = max(SHORTEST, WINDOW * events / LONG)
    waiting = await _filled(Path(folder, "waiting.db"), events)
    with SinkProcess() as far_end, tempfile.TemporaryDirectory() as own:
        url = far_end.url.replace("/batch", "/webhooks")
        paths = {events: Path(shutil.copy(waiting, own)), few: await _filled(Path(own, "few.db"), few)}
        found = {
            count: Found("deliveries", "eventpipe", {"store": "sqlite", "workers": WORKERS, "waiting": count})
            for count in paths
        }
        floor = Found("deliveries", "floor", {"workers": WORKERS})
        async with _opened(paths[events], url) as with_many, _opened(paths[few], url) as with_few:
            for turn in range(turns + 1):
                rates: dict[int, Rates] = {}
                for count, deliveries in ((events, with_many), (few, with_few)):
                    rates[count], delivered = await _deliver(deliveries, far_end, window)
                    found[count].captured += delivered
                await _publish(with_few, delivered)
                bare, posted = await _post(url, window)
                floor.captured += posted
                floor.delivered += posted
                if turn:
                    floor.add(**bare)
                    for count, one in found.items():
                        one.add(**rates[count])
                    found[events].beside(f"{few} waiting", "cpu_us", rates[events]["cpu_us"] / rates[few]["cpu_us"])
            for count, deliveries in ((events, with_many), (few, with_few)):
                found[count].delivered = await _succeeded(deliveries)
    for one in found.values():
        one.hold_against(floor)
    return [*found.values(), floor]


async def _deliver(deliveries: Deliveries, far_end: SinkProcess, window: float) -> tuple[Rates, int]:
    """Have a reconciler deliver for a while, then stop it; and what the far end accepted in all."""
    far_end.reset()
    gc.collect()
    async with Reconciler(deliveries, workers=WORKERS):
        await _reached(far_end, WARMING)
        before = far_end.counts().events
        watch = Stopwatch()
        await asyncio.sleep(window)
        rates = watch.rates(far_end.counts().events - before)
    return rates, far_end.counts().events


async def _reached(far_end: SinkProcess, events: int) -> None:
    while far_end.counts().events < events:  # noqa: ASYNC110  # it is another process
        await asyncio.sleep(0.01)


async def _post(url: str, window: float) -> tuple[Rates, int]:
    """As many tasks as there are workers, each of which posts one body after the other; and how many in all."""
    bodies = _bodies()
    posted = 0
    is_over = False

    async def post(number: int) -> None:
        nonlocal posted
        while not is_over:
            number += WORKERS
            body = bodies[number % BODIES]
            async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
                await response.read()
                response.raise_for_status()
            posted += 1

    gc.collect()
    connector = aiohttp.TCPConnector(limit=WORKERS)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(post(number))
            while posted < WARMING:  # noqa: ASYNC110  # an event would be a part of what is measured
                await asyncio.sleep(0.01)
            before = posted
            watch = Stopwatch()
            await asyncio.sleep(window)
            rates = watch.rates(posted - before)
            is_over = True
        await asyncio.sleep(0)  # the connections close
    return rates, posted


@cache
def _bodies() -> list[bytes]:
    """What a webhook's requests carry, ready-made."""
    codec = WebhookCodec()
    return [codec.request(Batch("", None, (event,), 0.0, 1), 1, 0.0).body for event in captured(BODIES)]


# -- many endpoints ---------------------------------------------------------------------------------------------------


async def many_endpoints(turns: int, events: int, folder: str) -> list[Found]:
    """Passes over so many rows of a hundred endpoints, over as many of one, and bare requests for as long."""
    del folder
    with SinkProcess() as far_end, tempfile.TemporaryDirectory() as own:
        url = far_end.url.replace("/batch", "/webhooks")
        found = {
            count: Found(
                "deliveries_endpoints", "eventpipe", {"store": "sqlite", "workers": WORKERS, "endpoints": count}
            )
            for count in (MANY, 1)
        }
        floor = Found("deliveries_endpoints", "floor", {"workers": WORKERS})
        async with _opened(Path(own, "many.db"), url) as of_many, _opened(Path(own, "one.db"), url) as of_one:
            names = [ENDPOINT, *(f"{ENDPOINT}-{number}" for number in range(1, MANY))]
            for name in names[1:]:
                await of_many.add_endpoint(Endpoint(name, url, secret=SECRET, allow_private=True))
            for turn in range(turns + 1):
                rates: dict[int, Rates] = {}
                for deliveries, to in ((of_many, names), (of_one, names[:1])):
                    await _publish(deliveries, events // len(to), tuple(to))
                    gc.collect()
                    far_end.reset()
                    watch = Stopwatch()
                    await Reconciler(deliveries, workers=WORKERS).reconcile()
                    delivered = far_end.counts().events
                    rates[len(to)] = watch.rates(delivered)
                    found[len(to)].captured += delivered
                bare, posted = await _post(url, delivered / rates[1]["per_second"])
                floor.captured += posted
                floor.delivered += posted
                if turn:
                    floor.add(**bare)
                    for count, one in found.items():
                        one.add(**rates[count])
                    found[MANY].beside("one endpoint", "cpu_us", rates[MANY]["cpu_us"] / rates[1]["cpu_us"])
            for count, deliveries in ((MANY, of_many), (1, of_one)):
                found[count].delivered = await _succeeded(deliveries)
    for one in found.values():
        one.hold_against(floor)
    return [*found.values(), floor]


# -- nothing due ------------------------------------------------------------------------------------------------------


async def nothing_due(turns: int, events: int, folder: str) -> list[Found]:
    """Passes that find nothing, beside so many deliveries that were made, and beside none."""
    settled = Path(folder, "settled.db")
    if not settled.exists():  # noqa: ASYNC240  # nothing else runs here
        shutil.copy(await _filled(Path(folder, "waiting.db"), events), settled)
        async with _opened(settled) as deliveries:
            await _settle(deliveries, events)
    found = {
        count: Found("deliveries_idle", "eventpipe", {"store": "sqlite", "settled": count}) for count in (events, 0)
    }
    with tempfile.TemporaryDirectory() as own:
        paths = {events: Path(shutil.copy(settled, own)), 0: await _filled(Path(own, "empty.db"), 0)}
        for turn in range(turns + 1):
            for count, one in found.items():
                async with _opened(paths[count]) as deliveries:
                    reports = [await Reconciler(deliveries).reconcile() for _ in range(PASSES)]
                    one.captured, one.delivered = count, await _succeeded(deliveries)
                assert not any(report.claimed for report in reports)
                if turn:
                    one.add(pass_ms=statistics.median(report.elapsed for report in reports) * 1e3)
    return list(found.values())


# -- from publish to the first attempt --------------------------------------------------------------------------------


async def first_attempt(turns: int, events: int, folder: str) -> list[Found]:
    """Publishes at an even pace, each timed from the call until the far end has read the first attempt of it."""
    del folder
    found = Found("deliveries_first", "eventpipe", {"store": "sqlite", "workers": WORKERS, "per_second": PER_SECOND})
    with SinkProcess() as far_end, tempfile.TemporaryDirectory() as own:
        path = await _filled(Path(own, "events.db"), 0)
        async with (
            _opened(path, far_end.url.replace("/batch", "/webhooks")) as deliveries,
            Reconciler(deliveries, workers=WORKERS),
        ):
            for turn in range(turns + 1):
                far_end.reset(Behaviour(verify=True))
                called, took = await _pace(deliveries, events)
                await _reached(far_end, events)
                read = far_end.firsts()
                late = sorted(read[uuid] - then for uuid, then in called.items())
                found.captured += events
                if turn:
                    figures = {f"p{name}_ms": percentile(late, name) * 1e3 for name in (50, 99)}
                    found.add(**figures, max_ms=late[-1] * 1e3, publish_p50_ms=statistics.median(took) * 1e3)
            await asyncio.sleep(0.1)  # the last one is written
            found.delivered = await _succeeded(deliveries)
    return [found]


async def _pace(deliveries: Deliveries, events: int) -> tuple[dict[str, float], list[float]]:
    """Publish so many; when each call was made, by the id of its event, and how long it took."""
    called, took = {}, []
    next_at = time.monotonic()
    for event in captured(events):
        await asyncio.sleep(next_at - time.monotonic())
        called[event.uuid] = then = time.monotonic()
        await deliveries.publish(event, endpoints=[ENDPOINT])
        took.append(time.monotonic() - then)
        next_at += 1 / PER_SECOND
    return called, took


# -- files ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _opened(path: Path, url: str = "http://127.0.0.1/") -> AsyncIterator[Deliveries]:
    """The deliveries of a file, to an endpoint at an address."""
    async with Deliveries(SqliteStore(path)) as deliveries:
        await deliveries.add_endpoint(Endpoint(ENDPOINT, url, secret=SECRET, allow_private=True), replace=True)
        yield deliveries


async def _filled(path: Path, rows: int) -> Path:
    """A file with so many rows that wait, made unless it is there."""
    if not path.exists():  # noqa: ASYNC240  # as above
        async with _opened(path) as deliveries:
            await _publish(deliveries, rows)
    return path


async def _publish(deliveries: Deliveries, events: int, endpoints: tuple[str, ...] = (ENDPOINT,)) -> None:
    now, page = time.time(), PAGE // len(endpoints)
    for first in range(0, events, page):
        made = captured(min(page, events - first))
        await deliveries.kept.publish([Publication(event, endpoints, None, now, now + DAY) for event in made])


async def _settle(deliveries: Deliveries, rows: int) -> None:
    """Have so many rows, which nobody had claimed, delivered at their first attempt."""
    now = time.time()
    attempt = AttemptRecord(1, now, 0.01, "delivered", 200)
    for first in range(1, rows + 1, PAGE):
        ids = range(first, min(first + PAGE, rows + 1))
        changes = [Change(id_, 1, DeliveryState.SUCCESS, None, 1, None, now + DAY, now, attempt=attempt) for id_ in ids]
        assert all(await deliveries.kept.change(changes))


async def _succeeded(deliveries: Deliveries) -> int:
    return sum(stats.rows.get(DeliveryState.SUCCESS, 0) for stats in await deliveries.kept.stats())
