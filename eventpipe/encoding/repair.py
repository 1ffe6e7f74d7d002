"""The repair pass: whatever a caller passed, turned into something that JSON can carry.

It costs a field and not the event. What cannot be carried is replaced by a short text in angle brackets that names a
type and never shows a value: ``<type Socket>``, ``<bytes>``, ``<cycle>``, ``<depth>``, ``<error KeyError>``,
``<int of 16610 bits>``. Lone surrogates become U+FFFD, integers over 64 bits become text, and keys that are not
text are written as JSON would write their value.

The pass works through a stack of its own, so that depth costs no recursion, and reads each container once and at a
stroke, so that another thread may go on changing it. It does not hand foreign objects, or a ``default`` that runs
foreign code, to orjson: that has been seen to end the process where such code raised, or changed a container that
was being encoded.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final, NoReturn, cast
from uuid import UUID

import orjson

from eventpipe.checked import shown
from eventpipe.encoding.answers import UNKNOWN, Elements, Pairs, answer
from eventpipe.encoding.foreign import Failed, contained, type_name
from eventpipe.encoding.plain import is_plain
from eventpipe.errors import InvalidEventError

NATIVE: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
"""Options for values as they come: a half-built dataclass, or a time zone that raises, ends the process in orjson."""

MAX_DEPTH: Final = 253  # what orjson takes inside the envelope, so that a repair cuts nothing that would have passed
MAX_WORK: Final = 200_000  # a healthy value counts 1, which takes 0.1 µs: 20 ms, on a busy machine 40
ODD_WORK: Final = 20  # an odd value takes 2 µs, and as much again where it is replaced
KEY_WORK: Final = 10  # a key that has to be looked at
MAX_SURROGATES: Final = 100_000  # about 10 ms
MAX_TEXT: Final = 2 * 1024 * 1024  # characters of texts that are not all ASCII; about 15 ms
MAX_PATH: Final = 200  # characters of a path in a message
_MAX_STEPS: Final = 8  # from one value to the next by ``json_default`` and answers
_LONGEST_INT: Final = 14_000  # bits, about 4 200 digits: Python refuses to write more, and takes quadratic time
_NATIVE_DEPTH: Final = 8  # levels on which orjson is asked first whether a container within is healthy
_NATIVE_FAILURES: Final = 3  # answers "it is not", each of which may cost the time of encoding the whole value
_REPLACEMENT: Final = "\ufffd".encode()
_NATIVE_TYPES: Final = (str, int, float, dict, list, Enum, UUID)  # orjson takes them without asking
_SURROGATES: Final = re.compile(rb"\xed[\xa0-\xbf].", re.DOTALL)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]*", re.ASCII)
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


class Repairs:
    """Counts repairs, or refuses them."""

    __slots__ = ("count", "strict")

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.count = 0

    def note(self, path: str, fault: str) -> None:
        """Count one repair.

        Raises:
            InvalidEventError: Repairs are refused (strict).
        """
        if self.strict:
            raise InvalidEventError(f"{path} {fault}", path=path)
        self.count += 1


def repair(
    value: object,
    default: Callable[[Any], Any] | None = None,  # Any: what JSON cannot carry, and what it can
    repairs: Repairs | None = None,
    path: str = "properties",
) -> tuple[Any, int]:  # Any: JSON, with orjson.Fragment among its leaves
    """Build a copy of ``value`` that ``orjson.dumps()`` takes.

    Args:
        value: Anything.
        default: Asked first for what JSON cannot carry. It raises ``TypeError`` for what it does not know.
        repairs: Where to count. ``None`` means a counter of this call.
        path: The name of ``value`` in messages.

    Returns:
        The copy and the number of repairs in it.

    Raises:
        InvalidEventError: The value is too large to be repaired in time, or ``repairs`` are refused.
    """
    if type(value) is str and value.isascii():
        return value, 0
    repairs = repairs or Repairs()
    before = repairs.count
    made = _Pass(default, repairs, path).run(value)
    return made, repairs.count - before


class _Frame:
    """A container that is being copied."""

    __slots__ = ("items", "key", "sort", "source", "target")

    def __init__(self, source: object, items: Iterator[tuple[Any, Any]], target: Any, *, sort: bool) -> None:
        self.source = source
        self.items = items
        self.target = target
        self.sort = sort
        self.key: str | int = 0


class _Pass:
    """One run over one value."""

    def __init__(self, default: Callable[[Any], Any] | None, repairs: Repairs, path: str) -> None:
        self._default = default
        self._repairs = repairs
        self._path = path
        self._frames: list[_Frame] = []
        self._open: set[int] = set()  # ids of the containers on the way here; their frames keep them alive
        self._work = 0
        self._surrogates = 0
        self._text = 0
        self._native_failures = 0

    def run(self, value: object) -> Any:
        root: list[object] = [None]
        frames = self._frames
        frames.append(_Frame(None, cast("Iterator[tuple[Any, Any]]", iter(((0, value),))), root, sort=False))
        while frames:
            frame = frames[-1]
            target = frame.target
            for key, child in frame.items:
                kind = type(child)
                if (
                    child is None
                    or kind is bool
                    or kind is float
                    or (kind is str and child.isascii())
                    or (kind is int and _INT64_MIN <= child <= _UINT64_MAX)
                ):
                    target[key] = child
                    continue
                frame.key = key
                inner = self._enter(child)
                if type(inner) is _Frame:
                    target[key] = inner.target
                    frames.append(inner)
                    break
                target[key] = inner
            else:
                self._leave(frames.pop())
        return root[0]

    def _enter(self, value: Any) -> object:
        """A leaf, or the frame of a container that is to be copied next."""
        self._spend(ODD_WORK)
        source = value
        if id(source) in self._open:
            return self._replace("<cycle>", "contains itself")
        for _ in range(_MAX_STEPS):
            kind = type(value)
            if kind is str:
                return self._clean(value, "holds a lone surrogate")
            if kind is dict or kind is list:
                if 1 < len(self._frames) <= _NATIVE_DEPTH and (encoded := self._native(value)) is not None:
                    return encoded
                value = contained(answer, value, MAX_WORK - self._work)
                kind = type(value)
            if kind is Pairs:
                self._spend(len(value.members) * value.work)
                return self._frame(source, iter(self._named(value.members)), {})
            if kind is Elements:
                count = len(value.elements)
                self._spend(count * value.work)
                return self._frame(source, enumerate(value.elements), [None] * count, sort=value.sort)
            if kind is int:
                return self._int(value)
            if value is None or kind is bool or kind is float:
                return value
            if kind is orjson.Fragment:
                return self._fragment(value)
            if kind is not Failed:
                value = contained(self._step, value, self._default)
            if type(value) is Failed:
                return self._replace(f"<error {value.error}>", f"raised {value.error} while it was read")
            if value is UNKNOWN:
                break
        if issubclass(type(source), (bytes, bytearray, memoryview)):
            return self._replace("<bytes>", "is bytes, which JSON cannot carry; decode it")
        name = type_name(source)
        return self._replace(f"<type {name}>", f"is of type {name}, which JSON cannot carry; convert it")

    def _frame(self, source: object, items: Iterator[Any], target: Any, *, sort: bool = False) -> object:
        if len(self._frames) > MAX_DEPTH:
            return self._replace("<depth>", f"is nested deeper than {MAX_DEPTH} levels")
        self._open.add(id(source))
        return _Frame(source, items, target, sort=sort)

    def _leave(self, frame: _Frame) -> None:
        self._open.discard(id(frame.source))
        if frame.sort:
            try:
                frame.target.sort()
            except TypeError:
                frame.target.sort(key=orjson.dumps)

    def _step(self, value: Any, default: Callable[[Any], Any] | None) -> Any:
        """One step towards JSON, of the caller's or of ours."""
        if default is not None and not issubclass(type(value), _NATIVE_TYPES):
            with contextlib.suppress(TypeError):  # "I do not know this one", by the convention of such functions
                made = default(value)
                if made is not value:
                    return made
        return answer(value, MAX_WORK - self._work)

    def _native(self, value: object) -> orjson.Fragment | None:
        """The encoded form of a container that is healthy: the fault is elsewhere, and this costs far less."""
        if self._native_failures == _NATIVE_FAILURES:
            return None
        if contained(is_plain, value) is True:
            with contextlib.suppress(TypeError):
                return orjson.Fragment(orjson.dumps(value, None, NATIVE))
        self._native_failures += 1
        return None

    def _clean(self, text: str, fault: str) -> str:
        if text.isascii():
            return text
        self._text += len(text)
        if self._text > MAX_TEXT:
            self._refuse("too much text", MAX_TEXT)
        data = text.encode("utf-8", "surrogatepass")
        data, count = _SURROGATES.subn(_REPLACEMENT, data, MAX_SURROGATES + 1)
        if not count:
            return text
        self._surrogates += count
        if self._surrogates > MAX_SURROGATES:
            self._refuse("too many lone surrogates", MAX_SURROGATES)
        return str(self._replace(data.decode(), fault))

    def _int(self, value: int) -> object:
        if _INT64_MIN <= value <= _UINT64_MAX:
            return value
        bits = value.bit_length()
        text = f"<int of {bits} bits>"
        if bits <= _LONGEST_INT:
            self._spend(bits * bits // 100_000)  # the time grows with the square
            with contextlib.suppress(ValueError):  # the process allows fewer digits than Python does by default
                text = str(value)
        return self._replace(text, f"is an integer of {bits} bits, and JSON carries 64")

    def _fragment(self, value: orjson.Fragment) -> object:
        try:
            orjson.loads(orjson.dumps(value))
        except (TypeError, ValueError):
            return self._replace("<type Fragment>", "is an orjson.Fragment that holds no JSON")
        return value

    def _named(self, members: list[tuple[object, object]]) -> list[tuple[str, object]]:
        """Members with keys that JSON can carry. A key that is text keeps its name, others make way for it."""
        for key, _ in members:
            if type(key) is not str or not key.isascii():
                break
        else:
            return cast("list[tuple[str, object]]", members)
        self._spend(KEY_WORK * len(members))
        reserved = {key for key, _ in members if type(key) is str}
        used: set[str] = set()
        numbers: dict[str, int] = {}
        named: list[tuple[str, object]] = []
        for key, child in members:
            name = first = self._key(key)
            while name in used or (name is not key and name in reserved):
                numbers[first] = numbers.get(first, 1) + 1
                name = f"{first}~{numbers[first]}"
            if name is not first:
                self._replace(name, f"has two keys that are both written {shown(first)}")
            used.add(name)
            named.append((name, child))
        return named

    def _key(self, key: Any) -> str:
        value = key
        for _ in range(_MAX_STEPS):
            if type(value) is orjson.Fragment:
                value = self._fragment(value)
            kind = type(value)
            if kind is str:
                return self._clean(value, "has a key that holds a lone surrogate")
            if kind is int:
                return str(self._int(value))
            if value is None or kind is bool or kind is float or kind is orjson.Fragment:
                return orjson.dumps(value).decode()
            value = contained(self._step, value, None)
            if type(value) is Failed:
                return str(self._replace(f"<error {value.error}>", f"has a key that raised {value.error} when read"))
            if value is UNKNOWN or type(value) is Pairs or type(value) is Elements:
                break
        name = type_name(key)
        return str(self._replace(f"<type {name}>", f"has a key of type {name}; keys are text"))

    def _replace(self, text: str, fault: str) -> str:
        self._spend(ODD_WORK)
        self._repairs.note(self._where() if self._repairs.strict else "", fault)
        return text

    def _spend(self, work: int) -> None:
        self._work += work
        if self._work > MAX_WORK:
            self._refuse("too much", MAX_WORK)

    def _refuse(self, what: str, limit: int) -> NoReturn:
        where = self._where()
        raise InvalidEventError(f"{where} has {what} to repair; the limit is {limit}", path=where, limit=limit)

    def _where(self) -> str:
        """The path of the value that is being entered, cut where it is long."""
        steps = [self._path]
        for frame in self._frames[1:]:
            key = frame.key
            if type(key) is str:
                steps.append(f".{key}" if _IDENTIFIER.fullmatch(key) else f"[{shown(key)}]")
            else:
                steps.append(f"[{key}]")
        path = "".join(steps)
        return path if len(path) <= MAX_PATH else path[: MAX_PATH - 1] + "…"
