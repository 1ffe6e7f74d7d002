"""An endpoint as its owner describes it, and the part of it that nobody else is to see."""

from __future__ import annotations

from typing import Any

import pytest

from eventpipe.delivery.endpoint import MAX_TIMEOUT, Endpoint, Private
from eventpipe.sinks import MemorySink
from tests.delivery.facade import OTHER, SECRET, URL

HEADERS = {"x-api-key": "tok-8f2b61c97d"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "the name of an endpoint must not be empty"),
        ({"url": None}, "endpoint 'acme' needs a url, or a sink instead, and not both"),
        ({"sink": MemorySink()}, "endpoint 'acme' needs a url, or a sink instead, and not both"),
        ({"url": "ftp://acme.example"}, "url must begin with http:// or https://"),
        ({"url": "https://user:pw@acme.example/"}, "url must not carry credentials"),
        ({"url": "https://127.0.0.1/hooks"}, "url must lead to a public address (or pass allow_private=True)"),
        ({"url": "http://acme.example/hooks"}, "url must begin with https://"),
        ({"secret": "whsec_short"}, "secret must be whsec_ and the base64 of 24 to 64 bytes (its value is not shown)"),
        ({"secret": [None]}, "secret must be text, or a list of texts, not NoneType"),
        ({"secret": [[SECRET]]}, "secret must be text, or a list of texts, not list"),
        ({"secret": [SECRET, 7]}, "secret must be text, or a list of texts, not int"),
        ({"secret": b"whsec_"}, "secret must be text, or a list of texts, not int"),
        ({"secret": []}, "secret must be a secret, or a list of at least one"),
        ({"secret": [SECRET, OTHER], "scheme": "hub"}, "secret must be one secret, not 2"),
        ({"scheme": "github"}, "scheme must be one of 'standard', 'hub', not 'github'"),
        ({"headers": {"X": "tok\r\n"}}, "headers['X'] must be a string of printable ASCII (its value is not shown)"),
        ({"rate_limit": 0}, "rate_limit must be a finite number of attempts per second above 0, or None, not 0"),
        ({"rate_limit": True}, "rate_limit must be a finite number of attempts per second above 0, or None, not True"),
        ({"timeout": -1}, "timeout must be a finite number of seconds above 0, or None, not -1"),
        ({"timeout": MAX_TIMEOUT + 1}, "timeout must be at most 3000 s, not 3001"),
        ({"url": None, "sink": object()}, "sink of endpoint 'acme' must be a sink with an async send(), not object"),
        ({"url": None, "sink": MemorySink}, "sink of endpoint 'acme' must be a sink with an async send(), not"),
        ({"url": None, "sink": MemorySink(), "secret": SECRET}, "endpoint 'acme' has a sink, which signs and sends;"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    """The message names the option and the rule, and shows no secret."""
    with pytest.raises(ValueError, match=r"\w") as caught:
        Endpoint(**{"name": "acme", "url": URL, **options})

    assert str(caught.value).startswith(message)
    assert not any(hidden in str(caught.value) for hidden in (SECRET, OTHER, "whsec_short", "pw@", "tok"))


def test_nothing_secret_is_in_what_everybody_may_see() -> None:
    """Not in a ``repr``, nor in the part that is kept for all; of headers the names alone."""
    endpoint = Endpoint("acme", URL, [SECRET, OTHER], headers=HEADERS)
    text = f"{endpoint!r} {endpoint.info()!r} {Private.of(endpoint)!r}"

    assert not any(hidden in text for hidden in (SECRET[6:], OTHER[6:], HEADERS["x-api-key"]))
    assert endpoint.info().headers == ("x-api-key",)


@pytest.mark.parametrize("secret", [None, SECRET, [SECRET, OTHER]])
@pytest.mark.parametrize("headers", [None, HEADERS])
def test_what_is_private_comes_back_as_it_was(secret: Any, headers: dict[str, str] | None) -> None:
    """From the bytes that a store keeps; where there is nothing, it keeps nothing."""
    private = Private.of(Endpoint("acme", URL, secret, headers=headers))
    packed = private.pack()

    assert (packed is None) is (secret is None and headers is None)
    assert Private.unpack(packed) == private


def test_an_endpoint_may_be_any_sink() -> None:
    """It has no url, and what is kept of it says that a process must be given one."""
    info = Endpoint("acme", sink=MemorySink()).info(created_at=5.0)

    assert (info.kind, info.url, info.created_at) == ("sink", None, 5.0)
