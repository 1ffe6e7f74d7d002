"""Headers of requests: checked when a sink is made, and again where a codec writes them anew for each attempt."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, cast

from eventpipe.codecs.base import user_agent
from eventpipe.errors import PermanentSinkError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What servers take by default: nginx and Apache 8 KiB for one header, Node.js 16 KiB for all of them. They answer more
# with a 400 or by closing the connection, which says nothing of the reason.
MAX_HEADER = 8 * 1024
MAX_HEADERS = 16 * 1024

_MAX_PLANS = 32  # a codec has a set of names or two; one that makes up names for each attempt only loses time
_SHOWN = 80  # characters of a name that a message shows at most
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LENGTHS = frozenset({"content-length", "transfer-encoding"})
_OURS = _LENGTHS | {"content-encoding", "accept-encoding"}


class Head:
    """The headers of one request, as they go over the wire and as a mapping.

    Attributes:
        lines: All but Host and Content-Length, each with its end of line.
        host: The Host that somebody wanted; ``None``: that of the URL.
    """

    __slots__ = ("host", "lines")

    def __init__(self, lines: str, host: str | None) -> None:
        self.lines = lines
        self.host = host

    @property
    def headers(self) -> Mapping[str, str]:
        """Names to values, with a Host where somebody wanted one."""
        pairs = (line.partition(": ") for line in self.lines.split("\r\n") if line)
        headers = {name: value for name, _, value in pairs}
        return headers if self.host is None else {**headers, "Host": self.host}


class _Plan(NamedTuple):
    """How lines are made of the values for one set of a codec's names.

    Attributes:
        parts: The lines, with room for one of the values at each odd index.
        written: Which of the values go there, in order; ``None``: all, as they come.
        host: The Host, or the index of the value that is.
    """

    parts: list[str]
    written: list[int] | None
    host: str | int | None


class Headers:
    """Makes the head of each request from what the sink, its codec and its auth hook want.

    The last to have a name wins, whatever its case: this library, the codec, the sink's own, the hook's,
    Content-Encoding. Names are looked at once for each set of them, values once for each mapping: a codec that has the
    same for all attempts hands over one dictionary.

    Args:
        own: Those of the sink, checked.

    Source:
        CPU for a dozen of a codec's headers, new at each attempt: 2.1 µs; 13 µs when all was merged and checked.
    """

    def __init__(self, own: Mapping[str, str]) -> None:
        self._own = own
        self._granted: Mapping[str, str] | None = None
        self._wanted: Mapping[str, str] | None = None
        self._seen: Mapping[str, str] | None = None  # what it was then: a codec kept elsewhere may change it after all
        self._heads: dict[str | None, Head] = {}  # of these very mappings, by Content-Encoding
        self._plans: dict[tuple[str | None, tuple[str, ...]], _Plan] = {}

    @property
    def secret(self) -> Mapping[str, str]:
        """Those that only a sink knows: its own, and what its auth hook granted last."""
        return {**self._own, **(self._granted or {})}

    def head(self, wanted: Mapping[str, str], encoding: str | None, granted: Mapping[str, str] | None = None) -> Head:
        """Make the head of one request.

        Args:
            wanted: The codec's.
            encoding: The Content-Encoding of the body; ``None``: it has none.
            granted: The auth hook's, checked. ``None``: there is no hook.

        Raises:
            PermanentSinkError: The codec's cannot be sent: a line break in one would begin another.
        """
        if granted is not self._granted:
            self._plans.clear()
        if wanted is not self._wanted or granted is not self._granted or wanted != self._seen:
            self._heads.clear()
            self._wanted, self._granted = wanted, granted
            self._seen = dict(wanted) if isinstance(wanted, dict) else None
        head = self._heads.get(encoding)
        if head is None:
            head = self._heads[encoding] = self._made(wanted, encoding)
        return head

    def _made(self, wanted: Mapping[str, str], encoding: str | None) -> Head:
        try:
            names, values = tuple(wanted), list(wanted.values())
            together = "".join(values)
            # isascii() and isprintable() together leave the characters from the space to the tilde.
            is_sound = len(together) <= MAX_HEADER and together.isascii() and together.isprintable()
        except (TypeError, AttributeError):  # a codec kept elsewhere may say anything
            is_sound = False
        if not is_sound:
            _check_codecs(wanted)
        plan = self._plans.get((encoding, names))
        if plan is None:
            _check_codecs(wanted)
            plan = self._planned(names, encoding)
        host = values[plan.host] if isinstance(plan.host, int) else plan.host
        parts = plan.parts.copy()
        parts[1::2] = values if plan.written is None else [values[index] for index in plan.written]
        lines = "".join(parts)
        if len(lines) > MAX_HEADERS:
            raise PermanentSinkError(
                f"all headers together must have at most {MAX_HEADERS} bytes, not {len(lines)}", scope="sink"
            )
        return Head(lines, host)

    def _planned(self, names: tuple[str, ...], encoding: str | None) -> _Plan:
        first = {"User-Agent": user_agent(), "Accept": "*/*", "Accept-Encoding": "identity"}
        last = {"Content-Encoding": encoding} if encoding else {}
        winners: dict[str, tuple[str, str | int]] = {name.lower(): (name, value) for name, value in first.items()}
        winners |= {name.lower(): (name, index) for index, name in enumerate(names)}
        for source in (self._own, self._granted or {}, last):
            winners |= {name.lower(): (name, value) for name, value in source.items()}
        _, host = winners.pop("host", ("", None))
        parts, written = [""], list[int]()
        for name, value in winners.values():
            if isinstance(value, int):
                parts[-1] += f"{name}: "
                parts += ["", "\r\n"]
                written.append(value)
            else:
                parts[-1] += f"{name}: {value}\r\n"
        if len(self._plans) == _MAX_PLANS:
            self._plans.clear()
        plan = _Plan(parts, None if written == list(range(len(names))) else written, host)
        self._plans[encoding, names] = plan
        return plan


def check_headers(option: str, headers: object) -> Mapping[str, str]:
    """Refuse what cannot be sent as headers, or should not be; values may be secrets, and no message shows one.

    Args:
        option: Its name, for the message.
        headers: A mapping of names to values. ``None`` means none.

    Returns:
        A copy.

    Raises:
        ValueError: Names the option, the header and the rule.
    """
    if headers is None:
        return {}
    try:
        pairs: dict[object, object] = dict(headers)  # type: ignore[call-overload]  # whatever it is: that is the question
    except (TypeError, ValueError):
        raise ValueError(
            f"{option} must be a mapping of strings to strings or None, not {type(headers).__name__}"
        ) from None
    checked = {}
    for name, value in pairs.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            # Where name and value were swapped, the name is the secret.
            raise ValueError(f"{option} must have names of letters, digits and !#$%&'*+-.^_`|~ (this one is not shown)")
        shown = f"{name!r:.{_SHOWN}}"
        if name.lower() in _OURS:
            raise ValueError(f"{option} must not have {shown}: the sink writes that one")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise ValueError(f"{option}[{shown}] must be a string of printable ASCII (its value is not shown)")
        if len(name) + len(value) > MAX_HEADER:
            raise ValueError(f"{option}[{shown}] must have at most {MAX_HEADER} bytes, which is what servers take")
        checked[name] = value
    if sum(len(name) + len(value) for name, value in checked.items()) > MAX_HEADERS:
        raise ValueError(f"{option} must have at most {MAX_HEADERS} bytes together, which is what servers take")
    return checked


def _check_codecs(headers: Mapping[str, str]) -> None:
    """Refuse what a codec wants if it cannot be sent.

    Raises:
        PermanentSinkError: Names the header and the rule.
    """
    try:
        pairs = cast("list[tuple[object, object]]", list(headers.items()))  # a codec kept elsewhere may say anything
    except (TypeError, AttributeError):
        raise PermanentSinkError("the codec's headers must be a mapping of strings to strings", scope="sink") from None
    for name, value in pairs:
        is_named = isinstance(name, str) and _TOKEN.fullmatch(name) and name.lower() not in _LENGTHS
        is_printable = isinstance(value, str) and value.isascii() and value.isprintable()
        if not is_named or not is_printable or len(str(name)) + len(str(value)) > MAX_HEADER:
            shown = f"{name!r:.{_SHOWN}}" if is_named else "one"
            raise PermanentSinkError(
                f"the codec's headers must have valid names and values of printable ASCII of at most {MAX_HEADER} bytes"
                f" (not so: {shown}; its value is not shown)",
                scope="sink",
            )
