"""Heads of requests: who wins, what is checked at every attempt, and their bounds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from eventpipe.codecs.base import user_agent
from eventpipe.errors import PermanentSinkError
from eventpipe.sinks.headers import MAX_HEADER, MAX_HEADERS, Headers, check_headers

FIRST = f"User-Agent: {user_agent()}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"


def test_lines_are_those_of_the_library_the_codec_the_sink_and_the_coding() -> None:
    """In this order, each with its end of line."""
    head = Headers({"X-Own": "1"}).head({"Content-Type": "text/plain"}, "gzip", {"X-Auth": "a"})

    assert head.lines == f"{FIRST}Content-Type: text/plain\r\nX-Own: 1\r\nX-Auth: a\r\nContent-Encoding: gzip\r\n"
    assert head.host is None


def test_the_last_to_have_a_name_wins_whatever_its_case() -> None:
    """The library, the codec, the sink, the auth hook: each over those before it."""
    codec = {"user-agent": "codec", "B": "codec", "C": "codec", "D": "codec"}
    head = Headers({"c": "sink", "d": "sink"}).head(codec, None, {"D": "hook"})

    assert dict(head.headers) == {
        "user-agent": "codec",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "B": "codec",
        "c": "sink",
        "D": "hook",
    }


def test_values_may_change_from_one_attempt_to_the_next() -> None:
    """The names are the same: lines are made of the new values, also where one of them is not written."""
    headers = Headers({"B": "sink"})
    for number in ("1", "2", "3"):
        head = headers.head({"A": number, "B": "never", "C": number}, None)

        assert head.lines == f"{FIRST}A: {number}\r\nB: sink\r\nC: {number}\r\n"


def test_a_dictionary_that_was_changed_is_read_again() -> None:
    """A codec kept elsewhere may have one of its own, and write the number of the attempt into it."""
    headers = Headers({})
    codec = {"A": "1"}
    first = headers.head(codec, None)
    assert headers.head(codec, None) is first

    codec["A"] = "2"

    assert headers.head(codec, None).lines == f"{FIRST}A: 2\r\n"


def test_names_coding_and_grant_may_change_too() -> None:
    """Nothing of an earlier head is left."""
    headers = Headers({})

    assert headers.head({"A": "1"}, "gzip", {"T": "1"}).lines == f"{FIRST}A: 1\r\nT: 1\r\nContent-Encoding: gzip\r\n"
    assert headers.head({"A": "1"}, None, {"T": "1"}).lines == f"{FIRST}A: 1\r\nT: 1\r\n"
    assert headers.head({"A": "1"}, None, {"T": "2"}).lines == f"{FIRST}A: 1\r\nT: 2\r\n"
    assert headers.head({"B": "1"}, None, {"T": "2"}).lines == f"{FIRST}B: 1\r\nT: 2\r\n"
    for number in range(100):
        assert headers.head({f"A{number}": "1"}, None).lines == f"{FIRST}A{number}: 1\r\n"
    assert headers.head({"A": "1"}, None).lines == f"{FIRST}A: 1\r\n"
    assert len(headers._plans) <= 32  # a codec may make up names without an end


@pytest.mark.parametrize(
    ("own", "codec", "host"),
    [({"host": "own"}, {}, "own"), ({}, {"Host": "codec"}, "codec"), ({"Host": "own"}, {"HOST": "codec"}, "own")],
)
def test_a_host_is_kept_apart(own: Mapping[str, str], codec: Mapping[str, str], host: str) -> None:
    """It stands before the others, and once."""
    head = Headers(own).head(codec, None)

    assert (head.lines, head.host, head.headers["Host"]) == (FIRST, host, host)


def test_values_of_the_largest_size_pass() -> None:
    """8 KiB a header, 16 KiB in all; one byte more does not."""
    value = "x" * (MAX_HEADER - 1)
    rest = MAX_HEADERS - len(f"{FIRST}A: {value}\r\nB: \r\n")

    assert len(Headers({}).head({"A": value, "B": "y" * rest}, None).lines) == MAX_HEADERS
    with pytest.raises(PermanentSinkError, match=rf"^all headers together must have at most {MAX_HEADERS} bytes, not "):
        Headers({}).head({"A": value, "B": "y" * (rest + 1)}, None)
    with pytest.raises(PermanentSinkError, match=rf"of at most {MAX_HEADER} bytes \(not so: 'A'; "):
        Headers({}).head({"A": value + "x"}, None)


@pytest.mark.parametrize(
    "bad",
    [
        *({"A": f"SECRET{mark}"} for mark in ("\r", "\n", "\r\nB: c", "\0", "\x7f", "\t", "é", "\u2028", "\ud800")),
        *({name: "SECRET"} for name in ("", "A B", "A:", "A\r\nB", "é", 1, "Content-Length", "transfer-encoding")),
        *({"A": value} for value in (b"SECRET", 1, None)),
        *(["SECRET"], "SECRET", None, 1),
    ],
    ids=ascii,
)
@pytest.mark.parametrize("seen", [False, True], ids=["new names", "names seen before"])
def test_what_a_codec_wants_and_cannot_be_sent_is_refused(bad: Any, seen: bool) -> None:
    """At every attempt, and without showing a value."""
    headers = Headers({})
    if seen and isinstance(bad, dict):
        name = next(iter(bad))
        if not isinstance(name, str) or name != "A":
            return
        headers.head({"A": "fine"}, None)

    with pytest.raises(PermanentSinkError, match=r"^the codec's headers must ") as caught:
        headers.head(bad, None)

    assert caught.value.scope == "sink"
    assert "SECRET" not in str(caught.value)


def test_headers_of_a_sink_are_copied_and_bounded() -> None:
    """One of 8 KiB, 16 KiB together, as servers take them."""
    given = {"A": "1"}
    checked = check_headers("headers", given)
    given["A"] = "2"

    assert checked == {"A": "1"}
    assert check_headers("headers", None) == {}
    with pytest.raises(ValueError, match=rf"^headers\['A'\] must have at most {MAX_HEADER} bytes, which is what"):
        check_headers("headers", {"A": "SECRET" + "x" * MAX_HEADER})
    with pytest.raises(ValueError, match=rf"^headers must have at most {MAX_HEADERS} bytes together, which is what"):
        check_headers("headers", dict.fromkeys("ABC", "x" * (MAX_HEADER - 9)))


def test_a_name_that_cannot_be_one_is_not_shown() -> None:
    """Where names and values were swapped it is the secret."""
    with pytest.raises(ValueError, match=r"^headers must have names of letters, digits and ") as caught:
        check_headers("headers", {"Bearer SECRET": "Authorization"})

    assert "SECRET" not in str(caught.value)
