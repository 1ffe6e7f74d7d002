"""URLs of far ends."""

from __future__ import annotations

import pytest

from eventpipe.sinks.urls import check_url, follow, is_loopback, join_url, shown_url


@pytest.mark.parametrize(
    ("url", "checked"),
    [
        ("https://collector.example/batch", "https://collector.example/batch"),
        ("  https://collector.example\n", "https://collector.example"),
        ("HTTPS://collector.example:8443/?a=b#part", "https://collector.example:8443/?a=b"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://127.1.2.3:1/", "http://127.1.2.3:1/"),
        ("http://[::1]:9/x", "http://[::1]:9/x"),
        ("https://[::ffff:93.184.216.34]/x", "https://[::ffff:93.184.216.34]/x"),
        ("https://bücher.example/x", "https://bücher.example/x"),
    ],
)
def test_an_address_of_a_collector_passes(url: str, checked: str) -> None:
    """Space around it and a fragment are cut off; plain http reaches this machine."""
    assert check_url("url", url, allow_insecure=False) == checked


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "url must be a string such as 'https://collector.example/batch', not ''"),
        (None, "url must be a string such as 'https://collector.example/batch', not 'NoneType'"),
        (7, "url must be a string such as 'https://collector.example/batch', not 'int'"),
        ("collector.example/SECRET", "url must begin with http:// or https://, not 'collector.example/…'"),
        ("ftp://collector.example", "url must begin with http:// or https://, not 'ftp://collector.example'"),
        ("//collector.example", "url must begin with http:// or https://, not '/…'"),
        ("https://", "url must have a valid host and a port from 1 to 65535, not 'https://'"),
        ("https://:443", "url must have a valid host and a port from 1 to 65535, not 'https://:443'"),
        ("https://h:0", "url must have a valid host and a port from 1 to 65535, not 'https://h:0'"),
        ("https://h:65536", "url must have a valid host and a port from 1 to 65535, not 'https://h:65536'"),
        ("https://h:http", "url must have a valid host and a port from 1 to 65535, not 'https://h:http'"),
        ("https://[::1", "url must have a valid host and a port from 1 to 65535, not 'https://[::1'"),
        ("https://a b", "url must not have spaces, line breaks or control characters, not 'https://a b'"),
        ("https://h/\r\nX: y", "url must not have spaces, line breaks or control characters, not 'https://h/…'"),
        ("https://h/\x00", "url must not have spaces, line breaks or control characters, not 'https://h/…'"),
        (
            "https://user:SECRET@h/x",
            "url must not carry credentials (pass them in headers), not 'https://h/…'",
        ),
        ("https://SECRET@h", "url must not carry credentials (pass them in headers), not 'https://h'"),
        ("https://h/\u2028SECRET", "url must not have spaces, line breaks or control characters, not 'https://h/…'"),
        ("file:///etc/passwd", "url must begin with http:// or https://, not 'file:///…'"),
        (
            "https://h/" + "x" * 8183,
            "url must have at most 8192 characters, which is what servers take, not 'https://h/…'",
        ),
        (
            "http://collector.example/?token=SECRET",
            "url must begin with https:// (plain http needs a loopback host, or allow_insecure=True), "
            "not 'http://collector.example/…'",
        ),
    ],
)
def test_what_is_no_address_is_refused(url: object, message: str) -> None:
    """The message names the option, the rule, and the value without its secrets."""
    with pytest.raises(ValueError, match=r"^url must ") as caught:
        check_url("url", url, allow_insecure=False)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    "host",
    ["127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "a.0x", "1.2.3.4.5", "256.0.0.1", "0X7F000001", "1."],
)
def test_a_number_is_no_host_unless_it_is_four_decimal_ones(host: str) -> None:
    """Some resolvers take it for an address, others for a name: where events went would be theirs to say."""
    with pytest.raises(ValueError, match=r"^url must ") as caught:
        check_url("url", f"https://{host}/SECRET", allow_insecure=True)

    assert str(caught.value) == (
        f"url must have a host that is a name, or an address as four decimal numbers, not 'https://{host}/…'"
    )


@pytest.mark.parametrize(
    "host",
    [
        *("a%00b", "%31.example", "a,b", "[127.0.0.1]", "[v1.x]", "[::1", "a[b]", "(h)", "\xb9*", "a..b", ".a"),
        *("x" * 64, "a." * 126 + "bc"),
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    """Escapes, marks, parts that are empty or too long, and brackets around something other than IPv6."""
    with pytest.raises(ValueError, match=r"^url must have a valid host and a port from 1 to 65535, not 'https://"):
        check_url("url", f"https://{host}", allow_insecure=True)


@pytest.mark.parametrize("url", ["https://例え.jp", "https://\uff11\uff12\uff17.0.0.1", "https://h\\@x", "https://h/€"])
def test_a_url_has_neither_backslashes_nor_letters_beyond_latin_1(url: str) -> None:
    """Readers of URLs differ in what they take these for."""
    with pytest.raises(ValueError, match=r"^url must not have backslashes or characters beyond Latin-1 "):
        check_url("url", url, allow_insecure=True)


@pytest.mark.parametrize("host", ["127.example", "localhost.example", "10.0.0.1", "0.0.0.0", "[fe80::1]"])
def test_plain_http_leaves_this_machine_only_when_allowed(host: str) -> None:
    """Neither a name that looks local nor a private address is this machine."""
    with pytest.raises(ValueError, match="allow_insecure=True"):
        check_url("url", f"http://{host}/", allow_insecure=False)

    assert check_url("url", f"http://{host}/", allow_insecure=True) == f"http://{host}/"


def test_loopback_is_this_machine() -> None:
    """The name, the whole of 127.0.0.0/8, and ``::1``."""
    assert [is_loopback(host) for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.255.255.254", "::1")] == [
        True
    ] * 5
    assert [is_loopback(host) for host in ("::2", "128.0.0.1", "", "localhost.")] == [False] * 4


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h", "https://h"),
        ("https://h:1/", "https://h:1"),
        ("https://h/SECRET/hook?key=SECRET#SECRET", "https://h/…"),
        ("https://h?key=SECRET", "https://h/…"),
        ("https://u:SECRET@h", "https://h"),
        ("https://u:SEC@RET@h/x", "https://h/…"),
        ("u:SECRET@h/x", "h/…"),
        ("https://h\\SECRET", "https://h/…"),
        ("https://" + "h" * 200, "https://" + "h" * 80),
        (b"https://h", "bytes"),
    ],
    ids=repr,
)
def test_a_message_shows_scheme_and_host_only(url: object, shown: str) -> None:
    """Users, passwords, paths and queries may be secrets."""
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("base", "relative", "joined"),
    [
        ("https://h", "", "https://h"),
        ("https://h/x?a=b", "", "https://h/x?a=b"),
        ("https://h", "/batch/", "https://h/batch/"),
        ("https://h/", "/batch/", "https://h/batch/"),
        ("https://h/posthog", "/batch/", "https://h/posthog/batch/"),
        ("https://h/posthog/?a=b", "batch", "https://h/posthog/batch?a=b"),
        ("https://h/x?a=b", "/y?c=d", "https://h/x/y?c=d"),
        ("https://h/x", "?c=d", "https://h/x?c=d"),
    ],
)
def test_a_codecs_path_goes_after_the_sinks(base: str, relative: str, joined: str) -> None:
    """A far end behind a path prefix is reached under its prefix."""
    assert join_url(base, relative) == joined


@pytest.mark.parametrize("relative", ["https://other.example/x", "//other.example/x", "ftp:x"])
def test_a_codec_cannot_lead_to_another_origin(relative: str) -> None:
    """The sink's headers go to the sink's address only."""
    with pytest.raises(ValueError, match=r"^a codec must name a path, not "):
        join_url("https://h", relative)


@pytest.mark.parametrize(
    ("url", "location", "target"),
    [
        ("https://h/a/b", "/c", "https://h/c"),
        ("https://h/a/b", "c", "https://h/a/c"),
        ("https://h/a", "https://h/c?x=y#z", "https://h/c?x=y"),
        ("https://h/a", "https://H:443/c", "https://H:443/c"),
        ("https://h:443/a", "//h/c", "https://h/c"),
        ("http://h:80/a", "?q", "http://h:80/a?q"),
        ("https://h/a", "https://h:444/", None),
        ("https://h/a", "https://other/", None),
        ("https://h/a", "//other/", None),
        ("https://h/a", "http://h/a", None),
        ("http://h/a", "https://h/a", None),
        ("https://h/a", "https://u:p@h/a", None),
        ("https://h/a", "https://h@other/a", None),
        ("https://h/a", "https://h:port/", None),
        ("https://h/a", "https://[h/", None),
        ("https://h/a", "file:///etc/passwd", None),
        ("https://h/a", "/b, /c", None),
        ("https://h/a", "/b\x00", None),
        ("https://h/a", "", None),
        ("https://h/a", None, None),
    ],
)
def test_a_redirect_is_followed_within_the_origin_only(url: str, location: str | None, target: str | None) -> None:
    """Same scheme, host and port, and no credentials smuggled in."""
    assert follow(url, location) == target
