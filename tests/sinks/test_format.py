"""A codec as a sink uses it: codings of lanes, addresses, and what its failures mean."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from eventpipe.codecs import JsonCodec, StandardWebhook
from eventpipe.contracts import Request
from eventpipe.errors import PermanentSinkError, SinkError, TransientSinkError
from eventpipe.events import Batch
from eventpipe.outcomes import DELIVERED, Verdict
from eventpipe.sinks import HttpSink
from eventpipe.sinks.format import Format
from eventpipe.testing.events import make_batch

EVENT = "phc_" + "x" * 9  # not as it stands in the source, which tracebacks show
URL = "https://collector.example/in"


class Choosy(JsonCodec):
    """Reads other codings in some lanes."""

    def __init__(self, compressions: Mapping[str | None, frozenset[str]]) -> None:
        super().__init__()
        self.compressions = compressions


class Failing(JsonCodec):
    """Raises what it is told to, or returns it."""

    def __init__(self, error: Exception, *, is_returned: bool = False) -> None:
        super().__init__()
        self.error = error
        self.is_returned = is_returned

    def request(self, batch: Batch, attempt: int, now: float) -> Request:
        raise self.error

    def response(
        self, batch: Batch, status: int, headers: Mapping[str, str], body: bytes, complete: bool
    ) -> Sequence[Verdict] | SinkError | None:
        if isinstance(self.error, SinkError) and self.is_returned:
            return self.error
        raise self.error


@pytest.mark.parametrize(
    ("compression", "by_lane"),
    [
        ("zstd", {None: "zstd", "ai": "gzip", "raw": None, "other": "zstd"}),
        ("deflate", {None: "deflate", "ai": "deflate", "raw": None, "other": "deflate"}),
        ("gzip", {None: "gzip", "ai": "gzip", "raw": None, "other": "gzip"}),
        (None, {None: None, "ai": None, "raw": None, "other": None}),
    ],
)
def test_a_lane_without_the_coding_gets_gzip_or_none(
    compression: Any, by_lane: Mapping[str | None, str | None]
) -> None:
    """Lanes that are not named are as the usual one."""
    codec = Choosy(
        {None: frozenset({"gzip", "deflate", "zstd"}), "ai": frozenset({"gzip", "deflate"}), "raw": frozenset()}
    )
    written = Format(codec, URL, compression)

    assert {lane: written.coding(lane) for lane in by_lane} == by_lane


def test_a_coding_that_the_far_end_does_not_read_is_refused() -> None:
    """When the sink is made; gzip, which is the default, then means none."""
    with pytest.raises(
        ValueError, match=r"^compression must be one that the far end reads \('gzip'\) or None, not 'br'$"
    ):
        HttpSink(URL, Choosy({None: frozenset({"gzip"})}), compression="br")

    with pytest.raises(
        ValueError, match=r"^compression must be one that the far end reads \(none\) or None, not 'zstd'$"
    ):
        HttpSink(URL, Choosy({None: frozenset()}), compression="zstd")

    assert Format(Choosy({None: frozenset()}), URL, "gzip").coding(None) is None
    assert Format(Choosy({"ai": frozenset()}), URL, "zstd").coding(None) == "zstd"
    assert Format(JsonCodec(), URL, "br").coding("any") == "br"


def test_a_sink_has_what_its_codec_says_of_batches() -> None:
    """Absent in the codec, it says nothing."""

    class Telling(JsonCodec):
        lane_event_bytes: Mapping[str, int] = {"ai": 7}
        max_batch_events = 50
        unique_ids = True

    told, plain = HttpSink(URL, Telling()), HttpSink(URL)

    assert (told.lane_event_bytes, told.max_batch_events, told.unique_ids) == ({"ai": 7}, 50, True)
    assert (plain.lane_event_bytes, plain.max_batch_events, plain.unique_ids) == ({}, None, False)


def test_a_codec_that_cannot_write_a_batch_is_named_without_what_it_said() -> None:
    """Once it may be by chance; what fails again would fail for ever, and one of the events may be to blame."""
    failing = Format(Failing(KeyError(EVENT)), URL, None)
    said = r"^the codec could not write the batch: KeyError at test_format.py:\d+$"

    with pytest.raises(TransientSinkError, match=said) as first:
        failing.request(make_batch(attempt=1), 0.0)
    with pytest.raises(PermanentSinkError, match=said) as again:
        failing.request(make_batch(attempt=2), 0.0)

    assert (first.value.reason, again.value.scope) == ("sink_error", "event")
    for error in (first.value, again.value):
        assert (error.__cause__, error.__context__) == (None, None)
        assert EVENT not in "".join(traceback.format_exception(error))


def test_a_codec_that_cannot_read_an_answer_is_named_without_what_it_said() -> None:
    """What the far end decided is not known: the same batch goes again."""
    with pytest.raises(TransientSinkError, match=r"^the codec could not read the answer: KeyError at test_f") as caught:
        Format(Failing(KeyError(EVENT)), URL, None).response(make_batch(), 200, {}, b"", is_complete=True)

    error = caught.value
    assert (error.reason, error.status, error.__cause__, error.__context__) == ("sink_error", 200, None, None)
    assert EVENT not in "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("returned", "kind"),
    [
        (None, "NoneType"),
        ((URL, {}, b"[]"), "tuple of bytes, dict, str"),
        (Request("", {}, "[]"), "one of str"),  # type: ignore[arg-type]  # that is the fault
    ],
    ids=["nothing", "tuple", "text"],
)
def test_a_request_that_is_none_is_the_codecs_fault(returned: Any, kind: str) -> None:
    """No event is to blame, and no further attempt helps."""
    codec = JsonCodec()
    codec.request = lambda *_: returned  # type: ignore[method-assign]

    with pytest.raises(PermanentSinkError) as caught:
        Format(codec, URL, None).request(make_batch(), 0.0)

    assert str(caught.value) == f"the codec must return a Request with a body of bytes, not {kind}"
    assert caught.value.scope == "sink"


@pytest.mark.parametrize(
    ("returned", "kind"),
    [
        (True, "bool"),
        ("ok", "str"),
        (["ok", None], "list of NoneType, str"),
        (DELIVERED, "Verdict"),
        ((verdict for verdict in [DELIVERED]), "generator"),
        (ValueError(EVENT), "ValueError"),
        (TransientSinkError, "type"),
    ],
    ids=["boolean", "text", "list of texts", "one verdict", "generator", "foreign error", "class"],
)
def test_verdicts_that_are_none_are_the_codecs_fault(returned: Any, kind: str) -> None:
    """The message says of what kind they are, and nothing that is in them."""
    codec = JsonCodec()
    codec.response = lambda *_: returned  # type: ignore[method-assign]

    with pytest.raises(TransientSinkError) as caught:
        Format(codec, URL, None).response(make_batch(), 200, {}, b"", is_complete=True)

    error = caught.value
    assert str(error) == f"the codec must return None, a sequence of verdicts or an error, not {kind}"
    assert (error.reason, error.status) == ("sink_error", 200)


@pytest.mark.parametrize("make", [lambda codec: HttpSink(URL, codec), lambda codec: StandardWebhook(None, codec)])
@pytest.mark.parametrize(("codec", "kind"), [(JsonCodec, "the class JsonCodec"), ("json", "str"), (object(), "object")])
def test_what_is_no_codec_is_refused_at_construction(make: Any, codec: Any, kind: str) -> None:
    """The class of one is the usual mistake."""
    with pytest.raises(ValueError, match=rf"^codec must be a codec, such as JsonCodec\(\), not {kind}$"):
        make(codec)


@pytest.mark.parametrize("is_returned", [False, True], ids=["raised", "returned"])
def test_an_error_of_ours_is_raised_as_it_is(is_returned: bool) -> None:
    """A codec may raise what it may return."""
    error = TransientSinkError("later", retry_after=7)
    written = Format(Failing(error, is_returned=is_returned), URL, None)

    with pytest.raises(TransientSinkError) as caught:
        written.response(make_batch(), 503, {}, b"", is_complete=True)
    assert caught.value is error
    with pytest.raises(TransientSinkError) as caught:
        written.request(make_batch(), 0.0)
    assert caught.value is error


def test_verdicts_are_handed_on() -> None:
    """``None``, or one for each event."""
    batch = make_batch(2)

    class Answering(JsonCodec):
        def response(self, *args: Any, **kwargs: Any) -> Sequence[Verdict] | None:
            return [DELIVERED, DELIVERED]

    assert Format(JsonCodec(), URL, None).response(batch, 200, {}, b"", is_complete=True) is None
    assert Format(Answering(), URL, None).response(batch, 200, {}, b"", is_complete=True) == [DELIVERED, DELIVERED]


def test_a_codecs_address_is_put_after_the_sinks() -> None:
    """However many it makes up."""
    written = Format(JsonCodec(), URL, None)

    assert written.url("") == URL
    assert [written.url(f"/a?n={n}") for n in range(100)] == [f"{URL}/a?n={n}" for n in range(100)]
    assert (written.url("/a?n=0"), written.url("")) == (f"{URL}/a?n=0", URL)


@pytest.mark.parametrize("relative", ["https://other.example/SECRET", "//other.example", "/a b", "/a\r\nb", "/é"])
def test_an_address_that_a_codec_must_not_name_is_a_wrong_configuration(relative: str) -> None:
    """Another origin, or what cannot be sent."""
    with pytest.raises(PermanentSinkError, match=r"^a codec") as caught:
        Format(JsonCodec(), URL, None).url(relative)

    assert caught.value.scope == "sink"
    assert "SECRET" not in str(caught.value)
