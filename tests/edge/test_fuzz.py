"""Random input for all that reads what others write: answers, Retry-After, results, the environment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from math import isfinite

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eventpipe import ClientOptions, SinkError, Verdict
from eventpipe.codecs import PostHogV1
from eventpipe.core.retry import parse_http_date, parse_retry_after
from eventpipe.environment import variables
from eventpipe.options import resolve
from eventpipe.outcomes import OutcomeKind
from eventpipe.testing.events import make_batch
from tests.edge.conftest import Record
from tests.edge.formats import FORMATS
from tests.edge.leaks import KEY, Watch
from tests.edge.pipeline import WatchedSink
from tests.edge.raw_server import Peer, RawServer
from tests.edge.rows import Row
from tests.scale import SCALE

ROW = Row.FUZZ
# Marked as what they are: pytest does not see it, since each finds its input within.
pytestmark = [pytest.mark.wallclock, pytest.mark.hypothesis]

BOUNDED = settings(max_examples=150 * SCALE, deadline=None, suppress_health_check=[HealthCheck.too_slow])
QUICKER = settings(BOUNDED, max_examples=400 * SCALE)
TIMEOUT = 0.05
KINDS = {OutcomeKind.DELIVERED, OutcomeKind.DROPPED, OutcomeKind.RETRY}

# -- the response reader

CRLF = b"\r\n"
WORDS = [
    b"HTTP/1.1 ",
    b"HTTP/1.0 ",
    b"200",
    b"503",
    b"307",
    b"100",
    b"999",
    b" OK",
    b" ",
    b":",
    b"\t",
    b"\x00",
    b"\xff",
]
FIELDS = [
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 99999999999",
    b"Content-Length: -1",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Content-Encoding: gzip",
    b"Connection: close",
    b"Connection: upgrade",
    b"Upgrade: h2c",
    b"Location: /x",
    b"Location: //[::1",
    b"Location: http://127.0.0.1:99999/",
    b"Retry-After: 1e400",
    b"Date: yesterday",
    b"Set-Cookie: a=b",
    b"X: " + b"y" * 9000,
]
status_lines = st.one_of(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 503 X", b"HTTP/1.1 307 X", b"HTTP/1.1 100 X", b"HTTP/1.1 204 X"]),
    st.lists(st.sampled_from(WORDS), max_size=6).map(b"".join),
    st.binary(max_size=30),
)
fields = st.lists(st.one_of(st.sampled_from(FIELDS), st.binary(max_size=40)), max_size=4)
bodies = st.one_of(
    st.sampled_from(
        [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"5\r\nhel", b"ffffffffffffffffff\r\n", b"-1\r\n", b"{}"]
    ),
    st.binary(max_size=200),
)
like_answers = st.builds(
    lambda line, lines, body: CRLF.join([line, *lines, b"", b""]) + body, status_lines, fields, bodies
)
answers = st.one_of(st.binary(max_size=300), like_answers, st.lists(like_answers, max_size=3).map(b"".join))
pieces = st.lists(answers, min_size=1, max_size=3)
ends = st.sampled_from(["close", "reset", "stay"])


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession()


class FarEnd:
    """One far end and a few sinks, one with a lent session, for all examples, on a loop of their own."""

    def __init__(self, watch: Watch) -> None:
        self.runner = asyncio.Runner()
        self.pieces: list[bytes] = []
        self.end = "close"
        self.server = RawServer(default=self._say)
        self.runner.run(self.server.start())
        self.session = self.runner.run(_session())
        self.sinks = []
        for wire, session in (("json", None), ("posthog-v1", None), ("json", self.session)):
            sink = WatchedSink(self.server.url, FORMATS[wire](), timeout=TIMEOUT, session=session)
            sink.watch = watch
            self.sinks.append(sink)

    async def _say(self, peer: Peer) -> None:
        for piece in self.pieces:
            await peer.say(piece)
            await asyncio.sleep(0)
        if self.end == "reset":
            peer.reset()
        elif self.end == "close":
            peer.close()

    def answer(self, pieces: list[bytes], end: str) -> None:
        """Send one batch with each sink to a far end that says this."""
        self.pieces, self.end = pieces, end
        for sink in self.sinks:
            self.runner.run(self._send(sink))

    async def _send(self, sink: WatchedSink) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        error: SinkError | None = None
        verdicts: Sequence[Verdict] | None = None
        try:
            verdicts = await sink.send(make_batch(2))
        except SinkError as exc:
            error = exc
        assert loop.time() - began < TIMEOUT + 1.0
        assert error is None or (str(error).isprintable() and len(str(error)) < 500)
        assert verdicts is None or [verdict.kind in KINDS for verdict in verdicts] == [True, True]

    def close(self) -> None:
        for sink in self.sinks:
            self.runner.run(sink.aclose())
        self.runner.run(self.session.close())
        self.runner.run(self.server.stop())
        self.runner.close()


@pytest.fixture
def far_end(watch: Watch) -> Iterator[FarEnd]:
    far_end = FarEnd(watch)
    yield far_end
    far_end.close()


def test_any_bytes_are_an_answer_or_an_error_of_a_sink(far_end: FarEnd, record: Record) -> None:
    """Over a real socket, in pieces, with any end: verdicts or a ``SinkError``, in time, and nothing else."""
    runs = 0

    @BOUNDED
    @given(pieces, ends)
    def check(pieces: list[bytes], end: str) -> None:
        nonlocal runs
        runs += 1
        far_end.answer(pieces, end)

    check()
    record("the response reader", answers=3 * runs, other_exceptions=0)


# -- Retry-After

clocks = st.floats(0, 4e9)
numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(repr),
    st.integers(0, 10**30).map(str),
    st.text("0123456789", max_size=400),
    st.integers(300, 8000).map(lambda digits: "9" * digits),
    st.text("0123456789eE+-._ \t", max_size=20),
)
dates = st.builds(
    "{}, {:02} {} {} {:02}:{:02}:{:02} {}".format,
    st.sampled_from(["Mon", "Sun", "Funday", ""]),
    st.integers(0, 99),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo", "jan"]),
    st.integers(0, 99_999),
    st.integers(0, 99),
    st.integers(0, 99),
    st.integers(0, 99),
    st.sampled_from(["GMT", "UTC", "+0100", ""]),
)


def test_any_retry_after_is_a_wait_or_nothing(record: Record) -> None:
    """Finite and above zero, or ``None``; and no codec says anything else of it."""
    runs = 0
    codecs = [make() for make in FORMATS.values()]
    batch = make_batch()

    @QUICKER
    @given(st.one_of(st.text(max_size=60), numbers, dates), st.one_of(st.none(), dates), clocks)
    def check(value: str, date: str | None, now: float) -> None:
        nonlocal runs
        runs += 1
        wait = parse_retry_after(value, now)
        assert wait is None or (wait > 0 and isfinite(wait))
        stamp = parse_http_date(value, now)
        assert stamp is None or isfinite(stamp)
        headers = {"retry-after": value} if date is None else {"retry-after": value, "date": date}
        for codec in codecs:
            error = codec.response(batch, 503, headers, b"", complete=True)
            assert isinstance(error, SinkError)
            retry_after = getattr(error, "retry_after", None)
            assert retry_after is None or (retry_after > 0 and isfinite(retry_after))

    check()
    record("Retry-After", values=runs, codecs=len(codecs), other_exceptions=0)


# -- the results parser

BATCH = make_batch(3)
uuids = [event.uuid for event in BATCH.events]
words = st.one_of(st.sampled_from(["ok", "warning", "drop", "limited", "retry", "", KEY]), st.text(max_size=8))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
verdicts_ = st.one_of(json_values, st.fixed_dictionaries({"result": words}, optional={"details": json_values}))
results = st.dictionaries(st.one_of(st.sampled_from(uuids), st.text(max_size=8)), verdicts_, max_size=6)
contents = st.one_of(json_values, st.fixed_dictionaries({"results": st.one_of(results, json_values)}))
texts = st.one_of(contents.map(lambda content: json.dumps(content).encode()), st.binary(max_size=200))


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A body with a piece cut out, or bytes put in."""
    body = draw(texts)
    start, end = sorted((draw(st.integers(0, len(body))), draw(st.integers(0, len(body)))))
    return body[:start] + draw(st.binary(max_size=5)) + body[end:]


def test_any_body_is_a_verdict_per_event_or_an_error(record: Record, watch: Watch) -> None:
    """One verdict for each, in words that may be shown; whatever the status, the headers, and what is missing."""
    runs = 0
    codec = PostHogV1(KEY)
    headers = st.dictionaries(
        st.sampled_from(["retry-after", "date", "content-encoding", "content-type"]),
        st.one_of(st.sampled_from(["gzip", "deflate", "br", "1e400", "7"]), st.text(max_size=12)),
        max_size=3,
    )

    @QUICKER
    @given(st.one_of(texts, damaged()), st.sampled_from([200, 201, 206, 299]), headers, st.booleans())
    def check(body: bytes, status: int, headers: dict[str, str], complete: bool) -> None:
        nonlocal runs
        runs += 1
        said = codec.response(BATCH, status, headers, body, complete)
        if isinstance(said, SinkError):
            watch.texts[f"error {runs}"] = f"{said!r} {said.__dict__}"
            return
        assert said is None or len(said) == len(BATCH.events)
        for verdict in said or ():
            assert isinstance(verdict, Verdict)
            assert verdict.kind in KINDS
            assert verdict.retry_after is None or (verdict.retry_after > 0 and isfinite(verdict.retry_after))
            assert verdict.detail is None or len(verdict.detail) <= 300
            watch.texts[f"verdict {runs}"] = repr(verdict)

    check()
    record("the results parser", bodies=runs, other_exceptions=0)


def test_any_answer_is_read_by_every_codec(record: Record) -> None:
    """Any status from 100 to 599 with any body: ``None``, verdicts, or an error that may be raised."""
    runs = 0
    codecs = {name: make() for name, make in FORMATS.items()}
    batch = make_batch(3)

    @BOUNDED
    @given(st.integers(100, 599), texts, st.booleans())
    def check(status: int, body: bytes, complete: bool) -> None:
        nonlocal runs
        runs += 1
        for codec in codecs.values():
            said = codec.response(batch, status, {}, body, complete)
            assert said is None or isinstance(said, SinkError) or len(said) == len(batch.events)

    check()
    record("any status, any codec", answers=runs * len(codecs), other_exceptions=0)


# -- the environment

variable_names = sorted(variables(ClientOptions))
settings_ = st.one_of(
    st.text(st.characters(blacklist_characters="\x00"), max_size=20),
    numbers.map(lambda text: text.replace("\x00", "")),
    st.sampled_from(["true", "off", "wait", "spill", "memory", "nan", "inf", "1e400", "0", "-1", "", " ", "9" * 5000]),
)


def test_any_environment_is_options_or_a_value_error(record: Record) -> None:
    """Which names the variable and shows its text in bounds."""
    runs = 0

    @QUICKER
    @given(st.dictionaries(st.one_of(st.sampled_from(variable_names), st.text(max_size=10)), settings_, max_size=4))
    def check(environ: dict[str, str]) -> None:
        nonlocal runs
        runs += 1
        error: ValueError | None = None
        try:
            resolve(None, {}, environ)
        except ValueError as exc:
            error = exc
        assert error is None or any(name in str(error) for name in environ)
        assert error is None or all(len(line) < 400 for line in str(error).splitlines())

    check()
    record("the environment", environments=runs, variables=len(variable_names), other_exceptions=0)
