"""The checks of ``eventpipe doctor`` at a far end: in order, each bounded in time, none after what it needs failed."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import aiohttp

from eventpipe.cli import doctor_judgement as judge
from eventpipe.cli.doctor_key import NAME, judge_key, key_question
from eventpipe.cli.doctor_probe import Answer, Place, Question, Web, connect, handshake, look_up
from eventpipe.cli.doctor_report import Finding, Status
from eventpipe.cli.failures import UsageError
from eventpipe.cli.far_end import make_sink
from eventpipe.cli.formats import CompressionName, FormatOptions
from eventpipe.client import AsyncClient
from eventpipe.errors import DeliveryError
from eventpipe.options import RetryPolicy
from eventpipe.sinks.http_errors import error_of
from eventpipe.sinks.reach import check_tls

_AFTER_ADDRESS = ("name", "connection", "tls", "http", "clock", "key")
_REASONS = "the page on outcomes says what each reason means"
_REACHABLE = "check that the far end runs, and what is between"


@dataclass(frozen=True, slots=True)
class FarEnd:
    """A far end, and how it is to be asked.

    Attributes:
        place: Where it is.
        wire: The format, and what it needs.
        compression: How a test event is compressed.
        allow_insecure: Whether plain http may leave this machine.
        send_test_event: Whether to send one.
        timeout: Seconds for each check.
    """

    place: Place
    wire: FormatOptions
    compression: CompressionName
    allow_insecure: bool
    send_test_event: bool
    timeout: float

    async def check(self) -> AsyncIterator[Finding]:
        """Find out step by step, from the address to the key.

        Cancellation:
            Safe. No connection stays.
        """
        names: tuple[str, ...] = ("connection", "http", "clock", "key")
        if self.place.is_encrypted:
            names = _AFTER_ADDRESS[1:]
        names += ("test event",) if self.send_test_event else ()
        judged = judge.judge_address(self.place, allow_insecure=self.allow_insecure)
        yield judged
        is_open = judged.status is not Status.FAILED  # else nothing secret is sent there
        found, addresses = await self._name()
        yield found
        if not addresses:
            for finding in judge.skipped(names, "name"):
                yield finding
            return
        found, address = await self._connection(addresses)
        yield found
        if not address:
            for finding in judge.skipped(names[1:], "connection"):
                yield finding
            return
        context = check_tls(None, is_needed=self.place.is_encrypted, session=None, allow_insecure=False)
        if context is not None:
            found = await self._tls(address, context)
            yield found
            if found.status is Status.FAILED:
                for finding in judge.skipped(names[2:], "tls"):
                    yield finding
                return
        async with Web.open(address, context) as web:
            async for finding in self._http(web, is_open=is_open):
                yield finding

    async def _name(self) -> tuple[Finding, list[str]]:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                addresses = list(await look_up(self.place))
        except TimeoutError:
            return judge.overdue("name", self.timeout, "check this machine's resolver"), []
        except (OSError, UnicodeError) as error:
            gone = error if isinstance(error, OSError) else OSError("no name")
            return judge.judge_no_name(self.place, gone), []
        return _timed(judge.judge_names(self.place, addresses), started), addresses

    async def _connection(self, addresses: list[str]) -> tuple[Finding, str]:
        started = time.monotonic()
        tried = await connect(addresses, self.place.port, self.timeout)
        reached = [one.address for one in tried if not one.problem]
        return _timed(judge.judge_connections(self.place, tried), started), reached[0] if reached else ""

    async def _tls(self, address: str, context: ssl.SSLContext) -> Finding:
        started = time.monotonic()
        try:
            async with asyncio.timeout(self.timeout):
                secured = await handshake(self.place, address, context)
        except TimeoutError:
            return judge.overdue("tls", self.timeout, "check that this port speaks TLS")
        except OSError as error:
            return _timed(judge.judge_no_tls(self.place, error), started)
        return _timed(judge.judge_tls(secured, time.time()), started)

    async def _http(self, web: Web, *, is_open: bool) -> AsyncIterator[Finding]:
        answer = await self._ask(web, Question("HEAD", self.place.url), "http")
        if isinstance(answer, Finding):
            yield answer
            names = ("clock", "key", "test event") if self.send_test_event else ("clock", "key")
            for finding in judge.skipped(names, "http"):
                yield finding
            return
        yield replace(judge.judge_answer(self.place, answer), seconds=answer.answered - answer.asked)
        yield judge.judge_clock(answer)
        key = await self._key(web) if is_open else judge.no_key_here()
        yield key
        if self.send_test_event:
            if key.status is Status.FAILED or not is_open:
                yield judge.after("key" if is_open else "address", "test event")
            else:
                yield await self._test_event()

    async def _key(self, web: Web) -> Finding:
        try:
            self.wire.make()
        except UsageError as error:
            return Finding("key", Status.FAILED, str(error), "give the command what the format needs")
        answer = await self._ask(web, key_question(self.place.url, self.wire), "key")
        return answer if isinstance(answer, Finding) else judge_key(answer, self.wire)

    async def _ask(self, web: Web, question: Question, check: str) -> Answer | Finding:
        try:
            async with asyncio.timeout(self.timeout):
                return await web.ask(question)
        except TimeoutError:
            return judge.overdue(check, self.timeout, _REACHABLE)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Finding(check, Status.FAILED, str(error_of(error)), _REACHABLE)

    async def _test_event(self) -> Finding:
        started = time.monotonic()
        try:
            sink = make_sink(
                self.place.url, self.wire, compression=self.compression, allow_insecure=self.allow_insecure
            )
            sink.on_delivered = lambda _: None
            client = AsyncClient(sink, enabled=True, retry=RetryPolicy(max_attempts=1))
        except (UsageError, ValueError) as error:
            return Finding("test event", Status.UNKNOWN, f"no client can be made: {error}")
        try:
            [outcome] = await client.deliver(NAME, timeout=self.timeout)
        except DeliveryError as error:
            [outcome] = error.outcomes
            status = f", status {outcome.status}" if outcome.status else ""
            finding = Finding("test event", Status.FAILED, f"it was not delivered: {outcome.reason}{status}", _REASONS)
        except TimeoutError:
            finding = judge.overdue("test event", self.timeout, _REACHABLE)
        else:
            finding = Finding("test event", Status.OK, f"{NAME} was delivered, id {outcome.uuids[0]}")
        finally:
            await client.aclose(0)
        return _timed(finding, started)


def _timed(finding: Finding, started: float) -> Finding:
    return replace(finding, seconds=time.monotonic() - started)
