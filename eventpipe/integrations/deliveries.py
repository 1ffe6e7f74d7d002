"""An ASGI application for people and programs that look after deliveries: mounted in another, or by itself."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol

import orjson

from eventpipe.checked import shown
from eventpipe.core.failures import where_raised
from eventpipe.core.log import contained_logger
from eventpipe.core.service import ServiceState
from eventpipe.delivery import Deliveries
from eventpipe.errors import (
    ClosedError,
    InvalidEventError,
    StoreError,
    StoreFullError,
    UnknownDeliveryError,
    UnknownEndpointError,
)
from eventpipe.integrations.deliveries_endpoints import ENDPOINTS
from eventpipe.integrations.deliveries_openapi import document
from eventpipe.integrations.deliveries_operations import Call, Limits, Operation, Reply, Right, found
from eventpipe.integrations.deliveries_requests import (
    DisconnectedError,
    Fault,
    RefusedError,
    bad_request,
    body_of,
    check_same_site,
    headers_of,
    query_of,
    segments_of,
)
from eventpipe.integrations.deliveries_rows import ROWS
from eventpipe.integrations.health import Receive, Scope, Send

MAX_BODY_BYTES: Final = 1024 * 1024  # an event, which has 900 KiB at most, with what is around it
OPERATIONS: Final = (*ENDPOINTS, *ROWS)
_DOCUMENT: Final = ["openapi.json"]

_logger = contained_logger(__name__)


class ApiRequest(NamedTuple):
    """What a request says before its body; what there is to tell by who asks.

    Attributes:
        method: In capitals.
        path: With whatever the application is mounted under.
        headers: By name, in lower case.
        scope: All of it, as ASGI has it; what a middleware around this has found out is there as well.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    scope: Scope


class Authenticate(Protocol):
    """Says what somebody may do: ``"read"``, ``"write"`` (which is everything), or ``None``, ``False``: nothing."""

    def __call__(self, request: ApiRequest, /) -> Right | bool | Awaitable[Right | bool | None] | None:
        """Look at a request; plain or async."""


class DeliveriesApp:
    """Answers requests for endpoints, rules, deliveries and events; see ``deliveries_app()``."""

    def __init__(self, deliveries: Deliveries, authenticate: Authenticate, limits: Limits, max_body_bytes: int) -> None:
        self._deliveries = deliveries
        self._authenticate = authenticate
        self._limits = limits
        self._max_body_bytes = max_body_bytes
        self._document: dict[str, Any] | None = None  # Any: JSON; made when it is first asked for
        self._has_failed = False

    def __repr__(self) -> str:
        return f"<DeliveriesApp of {self._deliveries!r}>"

    # Any: frameworks and servers have types of their own for these, which are all the same.
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection, as ASGI 3 says.

        Raises:
            ValueError: It is of a kind that this does not know, as ASGI asks of an application.
        """
        kind = scope.get("type")
        if kind == "http":
            await self._serve(scope, receive, send)
        elif kind == "websocket":
            await receive()  # the request to connect, which is denied: the server answers 403
            await send({"type": "websocket.close", "code": 1000})
        elif kind == "lifespan":
            await self._live(receive, send)
        else:
            raise ValueError(f"deliveries answer http, not a scope of type {kind!r}")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        extra: Mapping[str, str] = {}
        try:
            status, body = await self._answered(scope, receive)
        except DisconnectedError:
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, who asks gets an answer of the one shape
            refused = self._refused(error)
            status, extra = refused.status, refused.headers
            body = orjson.dumps({"error": _said(refused)})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            *((name.encode(), value.encode()) for name, value in extra.items()),
        ]
        if status == HTTPStatus.NO_CONTENT:
            headers = headers[2:]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answered(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        right = await self._right(scope)
        segments = segments_of(scope)
        method = "GET" if scope["method"] == "HEAD" else str(scope["method"])
        if segments == _DOCUMENT:
            if method != "GET":
                raise _not_allowed(method, ["GET"])
            return 200, self._openapi(scope)
        operations, names = found(OPERATIONS, segments)
        if not operations:
            raise RefusedError(404, "not_found", "there is no such path; /openapi.json has all of them")
        operation = operations.get(method)
        if operation is None:
            raise _not_allowed(method, operations)
        if operation.right == "write" and right != "write":
            raise RefusedError(403, "forbidden", f"{method} of this path needs the right to write")
        if operation.right == "write":
            check_same_site(scope)
        query = None if operation.query is None else query_of(scope, operation.query)
        body = None
        if operation.body is not None:
            body = await body_of(scope, receive, operation.body, self._max_body_bytes)
        answer = await self._run(operation, Call(self._deliveries, names, query, body, self._limits))
        status = operation.status
        if isinstance(answer, Reply):
            status, answer = answer
        return status, b"" if answer is None else answer.model_dump_json().encode()

    async def _run(self, operation: Operation, call: Call) -> Any:  # Any: as the operation has it
        try:
            answer = await operation.run(call)
        except InvalidEventError as error:
            raise bad_request(str(error), [Fault(error.path or "event", str(error))]) from error
        except ValueError as error:
            if isinstance(error, StoreError):
                raise
            members = () if operation.body is None else operation.body.model_fields
            member = str(error).partition(" ")[0].partition("[")[0]
            raise bad_request(str(error), [Fault(member if member in members else "", str(error))]) from error
        if self._has_failed:
            self._has_failed = False
            _logger.info("the store of %s answers requests again", self._deliveries.name)
        return answer

    async def _right(self, scope: Scope) -> Right:
        """What whoever asks may do; nothing else is looked at before.

        Raises:
            RefusedError: Nothing.
        """
        request = ApiRequest(str(scope["method"]), str(scope.get("path", "")), headers_of(scope), scope)
        try:
            said = self._authenticate(request)
            right = await said if inspect.isawaitable(said) else said
        except PermissionError:
            raise RefusedError(403, "forbidden", "this is not for whoever asks") from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _unauthorized() from None
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody gets in by it
            _logger.warning("authenticate raised, and the request was refused: %s", where_raised(error))
            raise _unauthorized() from None
        if not right:
            raise _unauthorized()
        if right not in ("read", "write"):
            _logger.error("authenticate must return 'read', 'write' or None, not %s", type(right).__name__)
            raise RefusedError(403, "forbidden", "this is not for whoever asks")
        return "write" if right == "write" else "read"

    def _refused(self, error: Exception) -> RefusedError:
        if isinstance(error, RefusedError):
            return error
        if isinstance(error, UnknownEndpointError | UnknownDeliveryError):
            return RefusedError(404, "not_found", str(error))
        if isinstance(error, ClosedError):
            return RefusedError(503, "unavailable", "deliveries do not run", headers={"retry-after": "5"})
        if isinstance(error, StoreError):
            if not self._has_failed:
                self._has_failed = True
                _logger.warning("the store of %s cannot answer requests: %s", self._deliveries.name, error)
            message = "the store is full" if isinstance(error, StoreFullError) else "the store failed"
            return RefusedError(503, "unavailable", message, headers={"retry-after": "5"})
        _logger.error("a request was answered with 500: %s", where_raised(error))
        return RefusedError(500, "internal", "something went wrong; the log of the program says what")

    def _openapi(self, scope: Scope) -> bytes:
        if self._document is None:
            self._document = document(OPERATIONS)
        return orjson.dumps({**self._document, "servers": [{"url": scope.get("root_path") or "/"}]})

    async def _live(self, receive: Receive, send: Send) -> None:
        """Where this is the whole application of a server, deliveries that nobody started live as long as it does."""
        await receive()
        is_ours = self._deliveries.state in (ServiceState.IDLE, ServiceState.STOPPED)
        try:
            if is_ours:
                await self._deliveries.start()
        except Exception as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            if is_ours:
                await self._deliveries.aclose()
        except Exception as error:
            await send({"type": "lifespan.shutdown.failed", "message": str(error)})
            raise
        await send({"type": "lifespan.shutdown.complete"})


def deliveries_app(
    deliveries: Deliveries,
    *,
    authenticate: Authenticate,
    allow_private: bool = False,
    allow_insecure: bool = False,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> DeliveriesApp:
    """Make an ASGI application for whoever looks after deliveries; ``docs/deliveries-http.md`` has its paths.

    ```python
    app.mount("/deliveries", deliveries_app(deliveries, authenticate=who))  # FastAPI and Starlette
    ```

    Mounted, it takes deliveries that run. As the whole application of a server it starts and closes those that do not.

    Args:
        deliveries: Whose. It runs on the loop of whoever started them.
        authenticate: Says what the sender of a request may do; called before all else. What it raises is answered with
            401, ``PermissionError`` with 403.
        allow_private: Whether requests may add endpoints in private networks.
        allow_insecure: Whether requests may add endpoints to which plain http leads.
        max_body_bytes: Of one request.

    Raises:
        TypeError: They are no deliveries, or ``authenticate`` cannot be called.
        ValueError: ``max_body_bytes`` has no meaning.
    """
    if not isinstance(deliveries, Deliveries):
        raise TypeError(f"deliveries must be Deliveries, not {shown(deliveries)}")
    if not callable(authenticate):
        raise TypeError(
            "authenticate must be a function that says what the sender of a request may do ('read', 'write' or None),"
            f" not {shown(authenticate)}"
        )
    for option, value in (("allow_private", allow_private), ("allow_insecure", allow_insecure)):
        if not isinstance(value, bool):
            raise TypeError(f"{option} must be True or False, not {shown(value)}")
    if type(max_body_bytes) is not int or max_body_bytes < 1:
        raise ValueError(f"max_body_bytes must be a whole number, at least 1, not {shown(max_body_bytes)}")
    return DeliveriesApp(deliveries, authenticate, Limits(allow_private, allow_insecure), max_body_bytes)


def _said(refused: RefusedError) -> dict[str, Any]:  # Any: JSON
    faults = [{"member": _text(fault.member), "rule": _text(fault.rule)} for fault in refused.faults]
    return {"code": refused.code, "message": _text(refused.message), "faults": faults}


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _unauthorized() -> RefusedError:
    # RFC 9110, 15.5.2: a 401 names a scheme; which one the callback knows is not known here.
    headers = {"www-authenticate": 'Bearer realm="deliveries"'}
    return RefusedError(401, "unauthorized", "nobody is known who asks this", headers=headers)


def _not_allowed(method: str, allowed: Mapping[str, Operation] | list[str]) -> RefusedError:
    methods = sorted({*allowed, *(["HEAD"] if "GET" in allowed else [])})
    message = f"this path knows {', '.join(methods)}, not {method[:20]}"
    return RefusedError(405, "method_not_allowed", message, headers={"allow": ", ".join(methods)})
