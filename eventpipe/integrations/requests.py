"""What is captured of a request, for any web framework.

Nothing here knows a framework: an integration hands its own request object to the user's callbacks, and says what the
framework knows. No body, no query value and no raw path is ever asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from eventpipe.checked import shown
from eventpipe.core.log import contained_logger
from eventpipe.encoding.foreign import contained, type_name
from eventpipe.errors import EventPipeError
from eventpipe.events import DistinctId, Event
from eventpipe.integrations.request_callbacks import Callback
from eventpipe.privacy.patterns import SECRET_NAMES

logger = contained_logger("eventpipe")

# The route of a request that the framework found none for. Its path is the caller's own text, and stays out.
UNMATCHED: Final = "unmatched"

# A method is text of whoever asks: one that is none of these would make as many kinds of request as it likes.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY"})
OTHER: Final = "OTHER"

# Headers that let somebody in and that ``SECRET_NAMES`` does not find: no allow-list may name either kind.
_SECRET: Final = re.compile(r"(?:^|-)(?:auth-key|authentication|jwt|oidc-data|session)")


@dataclass(frozen=True)
class RequestCapture:
    """What is captured of each request, when it is over: method, route template, status and duration.

    Attributes:
        event: What the events are called.
        user: Says of a request whom it is about: a plain function of the framework's request. ``None``, or where it
            returns ``None``: whom the scope of the request names.
        properties: Says more of a request: a plain function that returns a mapping, or ``None``. What is captured of
            every request wins over it.
        allow_headers: Request headers to take along, in any case, as the property ``headers``. None of them by default,
            and never one whose name says that it lets somebody in: cookie, token, API key, session and the like.
        routes: Route templates to capture, as the framework writes them. ``None``: all.
        exclude: Route templates to leave out, such as those of health checks; ``"unmatched"`` is what found no route.
    """

    event: str = "request"
    _: KW_ONLY
    user: Callable[[Any], DistinctId | None] | None = None
    properties: Callable[[Any], Mapping[str, Any] | None] | None = None
    allow_headers: Collection[str] = ()
    routes: Collection[str] | None = None
    exclude: Collection[str] = ()
    _user: Callback[DistinctId | None] | None = field(init=False, repr=False, compare=False)
    _properties: Callback[Mapping[str, Any] | None] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check everything.

        Raises:
            ValueError: An option has no meaning, or a header lets somebody in.
            TypeError: An option is of another kind.
        """
        if not _is_text(self.event):
            raise ValueError(f"event must be a name that is not empty, not {shown(self.event)}")
        allowed = {name.lower() for name in _words("allow_headers", self.allow_headers)}
        if secret := sorted(name for name in allowed if SECRET_NAMES.find(name) or _SECRET.search(name)):
            raise ValueError(f"allow_headers must name no header that lets somebody in, unlike {', '.join(secret)}")
        routes = None if self.routes is None else frozenset(_words("routes", self.routes))
        if routes is not None and not routes:
            raise ValueError("routes must name a route or be None, which means all; to capture nothing, leave this out")
        _set(self, "allow_headers", frozenset(allowed))
        _set(self, "routes", routes)
        _set(self, "exclude", frozenset(_words("exclude", self.exclude)))
        _set(self, "_user", None if self.user is None else Callback("user", self.user))
        _set(self, "_properties", None if self.properties is None else Callback("properties", self.properties))

    @property
    def errors(self) -> int:
        """Calls of ``user`` and ``properties`` that raised or returned what makes no sense."""
        return sum(callback.errors for callback in (self._user, self._properties) if callback is not None)

    def wants(self, route: str) -> bool:
        """Whether requests of a route are captured."""
        return route not in self.exclude and (self.routes is None or route in self.routes)

    def describe(
        self,
        request: Any,  # Any: the framework's own, for the user's functions
        *,
        method: str,
        route: str | None,
        status: int | None,
        duration: float,
        headers: Iterable[tuple[str, str]] = (),
        is_disconnected: bool = False,
        error: BaseException | None = None,
    ) -> Event | None:
        """Make the event of a request that is over; ``None``: its route is not wanted.

        Args:
            request: What the user's functions are asked of.
            method: What the request line says.
            route: The template of its route. ``None``: there was none.
            status: What was answered. ``None``: nothing was.
            duration: Seconds from the request to the end of the answer.
            headers: Names and values of the request's headers.
            is_disconnected: Whether the client went away before the end.
            error: What the application raised before the end.
        """
        route = UNMATCHED if route is None else route
        if not self.wants(route):
            return None
        facts: dict[str, Any] = {
            "method": method if method in METHODS else OTHER,
            "route": route,
            "status": status,
            "duration": duration,
        }
        if is_disconnected:
            facts["disconnected"] = True
        if error is not None:
            facts["error"] = type_name(error)
        if self.allow_headers and (taken := self._allowed(headers)):
            facts["headers"] = taken
        said = self._more_of(request)
        user = None if self._user is None else self._user(request)
        return Event(self.event, distinct_id=user, properties={**said, **facts} if said else facts)

    def _more_of(self, request: Any) -> Mapping[str, Any]:  # Any: the framework's own, and what JSON can carry
        said = None if self._properties is None else self._properties(request)
        if self._properties is None or said is None:
            return {}
        copied = contained(dict, said) if _is_mapping(said) else None
        if type(copied) is dict:
            return copied
        self._properties.is_odd("must return a mapping or None", said)
        return {}

    def _allowed(self, headers: Iterable[tuple[str, str]]) -> dict[str, str]:
        taken: dict[str, str] = {}
        for name, value in headers:
            if (name := name.lower()) in self.allow_headers:
                taken[name] = f"{taken[name]}, {value}" if name in taken else value
        return taken


def hand_over(capture: Callable[..., object], event: Event) -> None:
    """Capture with ``client.capture_nowait``, on its short path; what a strict client raises stays here.

    Whatever was refused is counted by the client itself, so that nothing is lost with the error.
    """
    try:
        capture(event.event, distinct_id=event.distinct_id, properties=event.properties)
    except EventPipeError as error:
        logger.debug("a request's event was refused: %s", type_name(error))


def check_requests(requests: object) -> None:
    """Refuse what is no ``RequestCapture`` and not ``None``, naming the way out.

    Raises:
        TypeError: It is something else.
    """
    if requests is not None and not isinstance(requests, RequestCapture):
        raise TypeError(f"requests must be a RequestCapture, such as RequestCapture(), or None, not {shown(requests)}")


def _words(option: str, given: object) -> list[str]:
    """The words of a collection: a single text, which has one too, is a mistake."""
    words = contained(list, given) if not isinstance(given, str | bytes) else given
    if type(words) is not list or not all(isinstance(word, str) for word in words):
        raise TypeError(f"{option} must be a collection of texts, such as a set, not {shown(given)}")
    return words


def _set(capture: RequestCapture, name: str, value: object) -> None:
    object.__setattr__(capture, name, value)  # frozen for everybody else


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)
