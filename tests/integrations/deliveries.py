"""The deliveries API asked by hand, without a server."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import orjson

from eventpipe.integrations.deliveries import ApiRequest
from eventpipe.integrations.deliveries_operations import Right
from tests.integrations.asgi import Answer, Application, converse

SECRET = "whsec_" + "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"
OTHER = "whsec_" + "b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhl"
RIGHTS: dict[str, Right] = {"Bearer reader": "read", "Bearer writer": "write"}


def by_token(request: ApiRequest) -> Right | None:
    return RIGHTS.get(request.headers.get("authorization", ""))


async def call(
    app: Application,
    method: str,
    target: str,
    body: object = None,
    *,
    token: str | None = "writer",  # noqa: S107  # of tests
    raw: bytes | None = None,
    headers: dict[str, str] | None = None,
    **scope: Any,
) -> Answer:
    """One request; its ``body`` as JSON, or as it stands with ``raw``."""
    path, _, query = target.partition("?")
    content = orjson.dumps(body) if raw is None and body is not None else raw or b""
    named = {"content-type": "application/json", **(headers or {})}
    if token is not None:
        named["authorization"] = f"Bearer {token}"
    start, *rest = await converse(
        app,
        {
            "type": "http",
            "method": method,
            "path": unquote(path),
            "raw_path": quote(path, safe="/%").encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
            **scope,
        },
        {"type": "http.request", "body": content, "more_body": False},
    )
    found = {name.decode(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(message["body"] for message in rest))


def fault(answer: Answer) -> tuple[int, str, list[str]]:
    """Status, code, and the members that are at fault; an answer of another shape has none of them."""
    assert list(answer.json) == ["error"], answer.body
    error = answer.json["error"]
    assert list(error) == ["code", "message", "faults"]
    assert error["message"]
    return answer.status, error["code"], [one["member"] for one in error["faults"]]
