"""Keys, agents, headers and URLs that hold what no request may: refused when the codec or the sink is made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventpipe.codecs import CloudEvents, PostHogV0, PostHogV1, Segment, StandardWebhook
from eventpipe.sinks import HttpSink, WebhookSink
from tests.edge.conftest import Record
from tests.edge.leaks import Watch
from tests.edge.rows import Row

ROW = Row.CONSTRUCTION

URL = "https://collector.example/in"
BAD: dict[str, str] = {
    "CR": "a\rb",
    "LF": "a\nb",
    "CR LF and a header": "a\r\nX-Injected: yes",
    "LF at the end of a line": "a\n b",
    "NUL": "a\x00b",
    "other control characters": "a\x01\x1b\x7fb",
    "U+0085": "a\x85b",
    "U+2028": "a\u2028b",
    "U+2029": "a\u2029b",
    "Latin-1": "a\xe9b",
    "not Latin-1": "a\u20acb\U0001f600",
    "full-width letters": "\uff41\uff42",
    "no-break space": "a\xa0b",
    "zero width": "a\u200bb",
    "right to left": "a\u202eb",
    "half a surrogate pair": "a\ud800b",
    "64 kB": "a" * 65_536,
}


def sink(**options: object) -> object:
    return HttpSink(URL, **options)  # type: ignore[arg-type]


def proxied(headers: dict[str, str]) -> object:
    return sink(proxy="https://proxy.example", proxy_headers=headers)


PLACES: dict[str, Callable[[str], object]] = {
    "key of PostHogV0": lambda bad: PostHogV0(f"phc_{bad}"),
    "key of PostHogV1": lambda bad: PostHogV1(f"phc_{bad}"),
    "key of Segment": lambda bad: Segment(f"wk_{bad}"),
    "secret of a webhook": lambda bad: StandardWebhook(f"whsec_{bad}"),
    "agent": lambda bad: sink(headers={"User-Agent": bad}),
    "value of a header": lambda bad: sink(headers={"Authorization": f"Bearer {bad}"}),
    "name of a header": lambda bad: sink(headers={f"X-{bad}": "a"}),
    "host": lambda bad: HttpSink(f"https://{bad}.example/in"),
    "path": lambda bad: HttpSink(f"https://collector.example/{bad}"),
    "query": lambda bad: HttpSink(f"https://collector.example/?q={bad}"),
    "fragment": lambda bad: HttpSink(f"https://collector.example/#{bad}"),
    "whole URL": HttpSink,
    "scheme": lambda bad: HttpSink(f"{bad}://collector.example/"),
    "proxy": lambda bad: sink(proxy=f"https://{bad}.example"),
    "value of a header for the proxy": lambda bad: proxied({"Proxy-Authorization": f"Bearer {bad}"}),
    "name of a header for the proxy": lambda bad: proxied({f"X-{bad}": "a"}),
    "URL of a webhook": lambda bad: WebhookSink(f"https://{bad}.example/in", None),
    "header of a webhook": lambda bad: WebhookSink(URL, None, headers={"X-A": bad}),
    "source of CloudEvents": CloudEvents,
}
# Letters of Latin-1 are right in a URL, where they travel encoded.
ALLOWED = {
    place: frozenset({"Latin-1"})
    for place in ("host", "path", "query", "fragment", "whole URL", "proxy", "URL of a webhook")
}


@pytest.mark.parametrize("place", PLACES)
def test_what_no_request_may_hold_is_refused_at_once(place: str, record: Record, watch: Watch) -> None:
    """With a ``ValueError`` that is short, and shows nothing of a key or a value."""
    refused = []
    longest = 0
    cases = BAD.keys() - ALLOWED.get(place, frozenset())
    for case in sorted(cases):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  # each option has words of its own
            PLACES[place](BAD[case])
        message = str(caught.value)
        assert len(message) < 500, case
        assert message.isprintable(), case
        longest = max(longest, len(message))
        refused.append(case)
        watch.see(caught.value)
    record(place, refused=f"{len(refused)} of {len(cases)}", longest_message=longest)
