from __future__ import annotations

import pytest

from eventpipe.cli.failures import UsageError
from eventpipe.cli.top_address import check_secrecy, parse_address, parse_headers


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("localhost:8000", "http://localhost:8000"),
        ("localhost:8000/health", "http://localhost:8000/health"),
        (" 10.0.0.7:80/a?b=c ", "http://10.0.0.7:80/a?b=c"),
        ("[::1]:8000/health", "http://[::1]:8000/health"),
        ("shop", "http://shop"),
        ("http://shop/health#part", "http://shop/health"),
        ("HTTPS://shop.example/health", "https://shop.example/health"),
    ],
)
def test_scheme_may_be_left_out(written: str, url: str) -> None:
    """An address without one is one of plain http, which health endpoints speak."""
    assert parse_address(written) == url


@pytest.mark.parametrize(
    ("written", "refusal"),
    [
        ("", "URL must be a string such as"),
        ("ftp://shop/health", "URL must begin with http:// or https://, not 'ftp://shop/…'"),
        ("file:///etc/passwd", "URL must begin with http:// or https://"),
        ("http://", "URL must have a valid host and a port from 1 to 65535"),
        ("localhost:99999", "URL must have a valid host and a port from 1 to 65535"),
        ("localhost:8000/a b", "URL must not have spaces"),
        ("localhost:8000/\x1b[2J", "URL must not have spaces, line breaks or control characters"),
        ("ops:secret@shop:8000", "URL must not carry credentials (pass them as --header), not 'http://shop:8000'"),
    ],
)
def test_what_is_no_address_is_refused(written: str, refusal: str) -> None:
    """With the rule, and without what may be a secret."""
    with pytest.raises(UsageError) as caught:
        parse_address(written)

    assert str(caught.value).startswith(refusal)
    assert "secret" not in str(caught.value)


def test_headers_come_from_the_command_line_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has a line for each; the command line goes first."""
    monkeypatch.delenv("EVENTPIPE_TOP_HEADER", raising=False)
    assert parse_headers(None) == {}

    monkeypatch.setenv("EVENTPIPE_TOP_HEADER", "Authorization: Bearer a:b\n\nX-Team:ops\n")
    assert parse_headers(None) == {"Authorization": "Bearer a:b", "X-Team": "ops"}
    assert parse_headers(["X-Team: dev"]) == {"X-Team": "dev"}


@pytest.mark.parametrize(
    "line", ["tell-nobody", "Authorization:", ": tell-nobody", "A B: tell-nobody", "A: tell-nobody\x07"]
)
def test_header_that_cannot_be_sent_is_refused_without_its_value(line: str) -> None:
    """It is a secret more often than not."""
    with pytest.raises(UsageError, match=r"^--header, EVENTPIPE_TOP_HEADER") as caught:
        parse_headers([line])

    assert "tell-nobody" not in str(caught.value)


def test_headers_leave_this_machine_over_https_unless_told_otherwise() -> None:
    """A token in plain text is everybody's; without headers plain http is fine."""
    headers = {"Authorization": "Bearer x"}
    check_secrecy("http://shop/health", {}, allow_insecure=False)
    check_secrecy("http://127.0.0.1:8000", headers, allow_insecure=False)
    check_secrecy("https://shop/health", headers, allow_insecure=False)
    check_secrecy("http://shop/health", headers, allow_insecure=True)

    with pytest.raises(UsageError, match=r"^--header: plain http to another machine needs --allow-insecure; "):
        check_secrecy("http://shop/health", headers, allow_insecure=False)
