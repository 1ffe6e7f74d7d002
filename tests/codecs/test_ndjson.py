"""One JSON object per line; what it shares with the JSON array is tested in ``test_json``."""

from __future__ import annotations

from eventpipe.codecs import NdjsonCodec
from eventpipe.testing.events import make_batch, make_event


def test_each_event_is_a_line_and_the_last_line_ends_too() -> None:
    """Exactly the captured bytes, a newline after each."""
    one = make_event("a", distinct_id=None)
    two = make_event("b", properties={"text": "two\nlines\r\n\u2028"})

    request = NdjsonCodec().request(make_batch([one, two]), 1, 0.0)

    assert request.body == one.json + b"\n" + two.json + b"\n"
    assert (request.url, dict(request.headers)) == ("", {"Content-Type": "application/x-ndjson"})


def test_a_line_break_inside_a_value_breaks_no_line() -> None:
    """Text of several lines, a key and headers: still one line per event."""
    events = [make_event(f"a\nb{n}", key="k\n", headers={"h": "1\n2"}, properties={"t": "x\ny"}) for n in range(3)]

    body = NdjsonCodec().request(make_batch(events), 1, 0.0).body

    assert body.count(b"\n") == 3
