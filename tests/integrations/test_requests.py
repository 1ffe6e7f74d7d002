"""What is captured of a request, whatever the framework: facts, what users add, and what never comes along."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from eventpipe import Event
from eventpipe.integrations.requests import RequestCapture

FACTS: dict[str, Any] = {"method": "GET", "route": "/users/{user}", "status": 200, "duration": 0.5}


def described(capture: RequestCapture, request: object = "request", **facts: Any) -> Event | None:
    return capture.describe(request, **{**FACTS, **facts})


def properties(capture: RequestCapture, **facts: Any) -> Mapping[str, Any] | None:
    event = described(capture, **facts)
    assert event is not None
    return event.properties


def test_users_functions_are_asked_of_the_framework_s_own_request() -> None:
    """One says whom it is about, the other what else is known; the facts win."""
    capture = RequestCapture(
        "page", user=lambda request: request["user"], properties=lambda request: {"plan": "pro", "status": 999}
    )

    event = described(capture, {"user": "u1"})

    assert event == Event("page", distinct_id="u1", properties={"plan": "pro", **FACTS})


@pytest.mark.parametrize(
    ("facts", "more"),
    [
        ({"route": None}, {"route": "unmatched"}),
        ({"status": None, "is_disconnected": True}, {"status": None, "disconnected": True}),
        ({"status": 500, "error": ValueError("about u1")}, {"status": 500, "error": "ValueError"}),
        ({"method": "EVIL"}, {"method": "OTHER"}),
        ({"method": "get"}, {"method": "OTHER"}),
        ({"method": "PATCH"}, {"method": "PATCH"}),
        ({"headers": [("Cookie", "secret"), ("User-Agent", "browser")]}, {}),
    ],
    ids=["unmatched", "disconnected", "error", "method", "lower", "patch", "headers"],
)
def test_facts_are_the_same_whatever_a_caller_writes(facts: dict[str, Any], more: dict[str, Any]) -> None:
    """A bounded number of methods and routes, and no header."""
    assert properties(RequestCapture(), **facts) == {**FACTS, **more}


def test_headers_on_the_list_come_along() -> None:
    """In any case, those that come twice joined as HTTP says, and none that is not on it."""
    capture = RequestCapture(allow_headers=["User-Agent", "accept"])
    headers = [("user-agent", "browser"), ("ACCEPT", "a/b"), ("accept", "c/d"), ("Referer", "https://a.example")]

    assert properties(capture, headers=headers) == {**FACTS, "headers": {"user-agent": "browser", "accept": "a/b, c/d"}}
    assert properties(capture, headers=headers[3:]) == FACTS


@pytest.mark.parametrize(
    "header",
    [
        "Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "ApiKey", "X-Auth-Token",
        "X-Access-Token", "X-Amz-Security-Token", "X-CSRF-Token", "X-Vault-Token", "X-Forwarded-Access-Token",
        "X-Session-Id", "SessionId", "CF-Access-JWT-Assertion", "X-Amzn-Oidc-Data", "X-Auth-Key", "Authentication",
    ],
)  # fmt: skip
def test_headers_that_let_somebody_in_cannot_be_allowed(header: str) -> None:
    """By what their name says, however it is written, and whatever else is on the list."""
    with pytest.raises(ValueError, match=f"no header that lets somebody in, unlike {header.lower()}$"):
        RequestCapture(allow_headers=["accept", header])


@pytest.mark.parametrize(
    "header", ["Idempotency-Key", "X-Authenticated-User", "X-Request-Id", "Origin", "Traceparent", "X-Author"]
)
def test_headers_that_only_sound_similar_can_be_allowed(header: str) -> None:
    """They say who or what it is, and let nobody in."""
    assert RequestCapture(allow_headers=[header]).allow_headers == {header.lower()}


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ["/a", "/b", "unmatched"]),
        ({"routes": ["/a", "/c"]}, ["/a"]),
        ({"exclude": ["/a", "unmatched"]}, ["/b"]),
        ({"routes": {"/a", "/b"}, "exclude": {"/b"}}, ["/a"]),
    ],
    ids=["all", "routes", "exclude", "both"],
)
def test_only_wanted_routes_are_captured(options: Any, wanted: list[str]) -> None:
    """By template; users' functions are not asked of others."""
    asked: list[object] = []
    capture = RequestCapture(user=asked.append, **options)

    events = [described(capture, route, route=route) for route in ("/a", "/b", None)]

    assert [event.properties["route"] for event in events if event and event.properties] == wanted
    assert len(asked) == len(wanted)


class Torn(Mapping[str, Any]):
    """A mapping that cannot be read."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize(
    ("options", "logged"),
    [
        ({"user": lambda request: 1 / 0}, "user raised ZeroDivisionError"),
        ({"properties": lambda request: 1 / 0}, "properties raised ZeroDivisionError"),
        ({"properties": lambda request: "u1"}, "properties must return a mapping or None, not str"),
        ({"properties": lambda request: Torn()}, "properties must return a mapping or None, not Torn"),
    ],
    ids=["user", "properties", "text", "torn"],
)
def test_a_function_that_fails_costs_its_answer_alone(
    options: Any, logged: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The event is captured without it; each failure is counted, and the first is in the log."""
    capture = RequestCapture(**options)

    assert [described(capture) for _ in range(3)] == [Event("request", properties=FACTS)] * 3

    assert capture.errors == 3
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, f"{logged}; further errors are counted only")
    ]


async def user_of(request: object) -> str:
    return "u1"


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"event": ""}, ValueError, "event must be a name that is not empty, not ''"),
        ({"event": 3}, ValueError, "event must be a name that is not empty, not 3"),
        ({"user": "u1"}, TypeError, "user must be a function of one argument, not 'u1'"),
        ({"user": user_of}, TypeError, "user must be a plain function, not an async one"),
        ({"properties": {"a": 1}}, TypeError, "properties must be a function of one argument"),
        ({"allow_headers": "accept"}, TypeError, "allow_headers must be a collection of texts, such as a set"),
        ({"allow_headers": [b"accept"]}, TypeError, "allow_headers must be a collection of texts"),
        ({"allow_headers": ["Cookie", "accept", "AUTHORIZATION"]}, ValueError, "unlike authorization, cookie"),
        ({"routes": "/a"}, TypeError, "routes must be a collection of texts, such as a set, not '/a'"),
        ({"routes": []}, ValueError, "routes must name a route or be None"),
        ({"exclude": 3}, TypeError, "exclude must be a collection of texts, such as a set, not 3"),
    ],
)
def test_each_option_is_checked(options: Any, error: type[Exception], rule: str) -> None:
    """When it is made, with the value, the rule and the way out."""
    with pytest.raises(error, match=rule):
        RequestCapture(**options)


def test_it_never_changes() -> None:
    """What it was given may change; it keeps what it read, and is equal to another of the same options."""
    routes = ["/a"]
    capture = RequestCapture(routes=routes)
    routes.append("/b")

    assert capture == RequestCapture(routes={"/a"})
    assert not capture.wants("/b")
    with pytest.raises(AttributeError):
        capture.event = "other"  # type: ignore[misc]
