"""HTTP requests of the deliveries API as ASGI has them: their path, query and body, each bounded, and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from pydantic import BaseModel, ValidationError

from eventpipe.integrations.health import Receive, Scope

BODY_TIME: Final = 30.0  # seconds for a whole body: one that comes a byte at a time is not waited for
MAX_QUERY: Final = 8 * 1024  # bytes
_MAX_PARAMETERS: Final = 100
# Source: Fetch Standard, CORS-safelisted request-header: what a browser sends to any origin without asking there first.
_OF_FORMS: Final = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")

_M = TypeVar("_M", bound=BaseModel)


class Fault(NamedTuple):
    """What is wrong with one member of a request.

    Attributes:
        member: Its path, such as ``headers.authorization``; empty: the whole.
        rule: What it has to be. The value is not shown.
    """

    member: str
    rule: str


class RefusedError(Exception):
    """A request is answered with an error.

    Attributes:
        status: Of the answer.
        code: A word for programs.
        message: A sentence for people.
        faults: What is wrong with its members.
        headers: Sent as well.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        faults: Iterable[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.faults = tuple(faults)
        self.headers = headers or {}


class DisconnectedError(Exception):
    """The client has gone before its request had ended: nobody is there to be answered."""


def bad_request(message: str, faults: Iterable[Fault] = ()) -> RefusedError:
    """A request that means nothing."""
    return RefusedError(400, "bad_request", message, faults)


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:  # Any: as ASGI has it
    """Headers by name, in lower case; values of a name that comes several times are joined, as HTTP says."""
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        text, before = value.decode("latin-1"), found.get(name.decode("latin-1").lower())
        found[name.decode("latin-1").lower()] = text if before is None else f"{before}, {text}"
    return found


def check_same_site(scope: Mapping[str, Any]) -> None:  # Any: as ASGI has it
    """Refuse what a page of somebody else can make a browser send, with the cookies of whoever looks at that page.

    Raises:
        RefusedError: The browser says that it comes from another site, or its kind of body is that of a form, which
            needs no leave of this server; an empty one as well.
    """
    headers = headers_of(scope)
    if headers.get("sec-fetch-site") == "cross-site":
        raise RefusedError(403, "forbidden", "pages of another site may not change anything here")
    if _kind_of(headers) in _OF_FORMS:
        raise _not_json()


def segments_of(scope: Mapping[str, Any]) -> list[str]:  # Any: as ASGI has it
    """The parts of a path below where the application is mounted, each decoded: a name may have a slash in it.

    Raises:
        RefusedError: It cannot be decoded.
    """
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "").rstrip("/")
    # Behind a proxy that cuts the path, the outer application's root path is not in it, and that of a mount is.
    mounted = root.removeprefix(scope.get("app_root_path", "").rstrip("/"))
    prefix = next((prefix for prefix in (root, mounted) if prefix and f"{path}/".startswith(f"{prefix}/")), "")
    raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0]
    decoded = path.encode("utf-8", "surrogateescape")
    if unquote_to_bytes(raw) == decoded:
        parts = [unquote_to_bytes(part) for part in raw.split(b"/")]
    else:  # a framework has cut the one and not the other, or the server has none
        parts = decoded.split(b"/")
    try:
        return [part.decode() for part in parts[1 + prefix.count("/") :]]
    except UnicodeDecodeError:
        raise bad_request("the path must be UTF-8") from None


def query_of(scope: Mapping[str, Any], model: type[_M]) -> _M:  # Any: as ASGI has it
    """The query of a request, as a model says it.

    Raises:
        RefusedError: It is too long, has what the model does not know, or a value that cannot be.
    """
    raw: bytes = scope.get("query_string", b"")
    if len(raw) > MAX_QUERY:
        raise RefusedError(414, "too_large", f"the query must have at most {MAX_QUERY} bytes")
    try:
        pairs = parse_qsl(
            raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS, errors="strict"
        )
    except ValueError:
        raise bad_request(f"the query must be UTF-8, of at most {_MAX_PARAMETERS} parameters") from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    given = {name: several if len(several) > 1 or name == "state" else several[0] for name, several in values.items()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise bad_request("the query cannot be used", _faults(error)) from None


async def body_of(scope: Scope, receive: Receive, model: type[_M], max_bytes: int) -> _M:
    """The body of a request, as a model says it; an empty one is an object without members.

    Raises:
        RefusedError: It is too large, comes too slowly, is no JSON, or not what the model says.
        DisconnectedError: The client has gone.
    """
    headers = headers_of(scope)
    length = headers.get("content-length", "")
    if length.isdecimal() and (len(length) > 18 or int(length) > max_bytes):
        raise _too_large(max_bytes)
    try:
        async with asyncio.timeout(BODY_TIME):
            body = await _read(receive, max_bytes)
    except TimeoutError:
        message = f"the body must come within {BODY_TIME:g} s"
        raise RefusedError(408, "request_timeout", message) from None
    if not body:
        body = b"{}"
    elif _kind_of(headers) != "application/json":
        raise _not_json()
    try:
        orjson.loads(body)  # pydantic takes NaN and Infinity, which JSON has not
        return model.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise bad_request("the body cannot be used", _faults(error)) from None
    except orjson.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise bad_request(f"the body must be JSON: {error.msg}, at {where}", [Fault("", "JSON")]) from None


async def _read(receive: Receive, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise DisconnectedError
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > max_bytes:
            raise _too_large(max_bytes)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _kind_of(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _not_json() -> RefusedError:
    return RefusedError(415, "unsupported_media_type", "content-type must be application/json")


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(413, "too_large", f"the body must have at most {max_bytes} bytes")


def _faults(error: ValidationError) -> list[Fault]:
    """Members and rules; no values, which may be secrets."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [Fault(".".join(map(str, fault["loc"])), fault["msg"]) for fault in found]
