"""What each status means, whatever the codec: one table, as a client of ``HttpSink`` meets it, without a network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio
from aioresponses import CallbackResult, aioresponses

from eventpipe import Batch, DropReason, Event, OutcomeKind, PermanentSinkError, SinkError, TransientSinkError, Verdict
from eventpipe.sinks import HttpSink
from eventpipe.testing import CodecRig
from eventpipe.testing.codec_events import batches, capture
from tests.conformance.codec_rigs import RIGS

pytestmark = pytest.mark.asyncio

Said = tuple[str, str | None, str | None]
URL = "https://collector.example"

DELIVERED = ("delivered", None, None)
UNREADABLE = ("unreadable", None, "unanswered")
SIZE = ("permanent", "size", "too_large")
ONE_EVENT = ("permanent", "event", "rejected")
REJECTED = ("permanent", "batch", "rejected")
UNAUTHORIZED = ("permanent", "sink", "unauthorized")
MISCONFIGURED = ("permanent", "sink", "misconfigured")
AGAIN = ("transient", None, None)  # its reason is the status

NO_STATUS = ("transient", None, "network")  # HTTP has 100 to 599: whatever answers is no server of it

TABLE: dict[int, Said] = {
    **dict.fromkeys([200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 250, 299], DELIVERED),
    **dict.fromkeys([300, 301, 302, 303, 304, 305, 306, 307, 308, 399], MISCONFIGURED),
    400: ONE_EVENT,
    401: UNAUTHORIZED,
    402: UNAUTHORIZED,
    403: UNAUTHORIZED,
    404: MISCONFIGURED,
    405: MISCONFIGURED,
    406: REJECTED,
    407: REJECTED,
    408: AGAIN,
    409: REJECTED,
    410: MISCONFIGURED,
    411: REJECTED,
    412: REJECTED,
    413: SIZE,
    414: REJECTED,
    415: MISCONFIGURED,
    **dict.fromkeys([416, 417, 418, 419, 420, 421], REJECTED),
    422: ONE_EVENT,
    **dict.fromkeys([423, 424, 425, 426, 427, 428], REJECTED),
    429: AGAIN,
    **dict.fromkeys([430, 431, 444, 450, 451, 460, 494, 495, 496, 497, 498, 499], REJECTED),
    500: AGAIN,
    501: REJECTED,
    502: AGAIN,
    503: AGAIN,
    504: AGAIN,
    505: REJECTED,
    **dict.fromkeys([506, 507, 508, 509, 510, 511], AGAIN),
    **dict.fromkeys([*range(520, 531), 540, 561, 598, 599], AGAIN),
    199: REJECTED,
    **dict.fromkeys([99, 600, 700, 999], NO_STATUS),
}
"""Statuses, each with what the sink says, who is to blame, and why events leave that do not get through.

A delivery is that of an answer as the format has it; one that has a verdict for each event and is a 2xx without them is
``UNREADABLE``.
"""

BODIES = [b"", b"{}", b"<html>"]


@dataclass
class Sent:
    """One attempt to send two events, or as many as a request holds."""

    rig: CodecRig
    batch: Batch
    far_end: aioresponses
    sink: HttpSink

    @property
    def url(self) -> str:
        codec = self.rig.codec
        base_url = getattr(codec, "base_url", str)
        return f"{base_url(URL)}{codec.request(self.batch, 1, 0.0).url}"

    @property
    def requests(self) -> int:
        return sum(map(len, self.far_end.requests.values()))

    async def to(self, status: int, body: bytes = b"", **headers: str) -> Said:
        """What the sink says when the far end answers so."""
        self.far_end.post(
            self.url,
            status=status,
            body=body,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )
        verdicts: Sequence[Verdict] | SinkError | None
        try:
            verdicts = await self.sink.send(self.batch)
        except SinkError as error:
            verdicts = error
        return said_by(verdicts, status)


def said_by(verdicts: Sequence[Verdict] | SinkError | None, status: int) -> Said:
    """The three words of the table."""
    match verdicts:
        case TransientSinkError():
            assert verdicts.status == (status if verdicts.reason == f"status_{status}" else None)
            return "transient", None, None if verdicts.status else verdicts.reason
        case PermanentSinkError():
            assert verdicts.status == status
            return "permanent", verdicts.scope, verdicts.reason
        case [*each] if {verdict.kind for verdict in each} != {OutcomeKind.DELIVERED}:
            assert {verdict.reason for verdict in each} == {DropReason.UNANSWERED}
            return UNREADABLE
    return DELIVERED


LANES = {f"posthog-v1, lane {lane}": ("posthog-v1", lane) for lane in ("historical", "ai")}


@pytest_asyncio.fixture(params=[*RIGS, *LANES])
async def sent(request: pytest.FixtureRequest) -> AsyncIterator[Sent]:
    name, lane = LANES.get(request.param, (request.param, None))
    rig = RIGS[name]()
    batch = batches(rig.codec, capture(rig.codec, [Event(f"e{n}", lane=lane) for n in range(2)]))[0]
    assert batch.lane == lane
    if lane == "ai":
        rig.answer = None  # it goes by the status: the format of its answers has no verdicts
    sink = HttpSink(URL, rig.codec, compression=None)
    with aioresponses() as far_end:
        yield Sent(rig, batch, far_end, sink)
    await sink.aclose()


def good_answer(sent: Sent) -> bytes:
    """A success as the format has it."""
    kinds = [OutcomeKind.DELIVERED] * len(sent.batch.events)
    return sent.rig.answer(sent.batch, kinds).body if sent.rig.answer else b"<html>"


async def test_every_status_means_the_same_to_every_codec(sent: Sent) -> None:
    """The table, whole."""
    answer = good_answer(sent)

    found = {status: await sent.to(status, answer) for status in TABLE}

    assert found == TABLE
    assert sent.requests == len(TABLE)  # one each: waiting and trying again is not the sink's


@pytest.mark.parametrize("body", [b"", b"{}", b'{"status": 0}', b"<html>"], ids=repr)
async def test_the_body_of_a_success_counts_where_it_has_the_verdicts(sent: Sent, body: bytes) -> None:
    """Any other format goes by the status alone; an answer without its verdicts leaves the events unanswered."""
    successes = [status for status, said in TABLE.items() if said == DELIVERED]

    found = {status: await sent.to(status, body) for status in successes}

    assert found == dict.fromkeys(successes, UNREADABLE if sent.rig.answer else DELIVERED)


@pytest.mark.parametrize("body", [b"", b"<html>"], ids=repr)
async def test_no_body_and_no_header_turns_a_refusal_into_something_else(sent: Sent, body: bytes) -> None:
    """An address elsewhere is not followed, whatever the status."""
    refusals = {status: said for status, said in TABLE.items() if said != DELIVERED}

    found = {
        status: await sent.to(status, body or good_answer(sent), Location="https://elsewhere.example/")
        for status in refusals
    }

    assert found == refusals
    assert {request.host for _, request in sent.far_end.requests} == {"collector.example"}


async def test_a_wait_is_told_where_another_attempt_may_help(sent: Sent) -> None:
    """Seconds, for each status of the table that is transient."""
    waits = {}
    for status in (status for status, said in TABLE.items() if said == AGAIN):
        sent.far_end.post(sent.url, status=status, headers={"Retry-After": "7"})
        with pytest.raises(TransientSinkError) as caught:
            await sent.sink.send(sent.batch)
        waits[status] = caught.value.retry_after

    assert waits == dict.fromkeys(waits, 7.0)
    assert waits.keys() >= {408, 429, 500, 503}


async def test_no_error_repeats_what_the_far_end_sent(sent: Sent) -> None:
    """A body, a reason phrase or a header may have our key or a payload in it."""
    for status in (status for status, said in TABLE.items() if said != DELIVERED):
        sent.far_end.post(
            sent.url,
            callback=lambda url, *, status=status, **kwargs: CallbackResult(
                status=status,
                body=b"SECRET",
                reason="SECRET",
                headers={"Location": "https://SECRET.example/", "Retry-After": "SECRET", "X": "SECRET"},
            ),
        )

        with pytest.raises(SinkError) as caught:
            await sent.sink.send(sent.batch)

        error = caught.value
        assert "SECRET" not in f"{error!r} {error.__cause__!r} {error.__context__!r}"
