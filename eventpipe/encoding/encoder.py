"""An event as its caller describes it, turned into bytes once; everything later joins those bytes."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import orjson
import uuid_utils

from eventpipe.clock import Clock, format_stamp
from eventpipe.encoding.arguments import canonical, identifier, name_of, pairs, snapshot, timestamp_text
from eventpipe.encoding.foreign import Failed, contained
from eventpipe.encoding.repair import NATIVE, Repairs, repair
from eventpipe.errors import InvalidEventError
from eventpipe.events import CapturedEvent, Extra

STAMP_LIFE: Final = 0.001  # seconds for which events share the text of a stamp: writing it costs 1 µs

_NO_PROPERTIES: Final = orjson.Fragment(b"{}")
_uuid7 = uuid_utils.uuid7
_dumps = orjson.dumps

# Of an id, how much the ids of one stamp share, and all there is of the rest.
_SHARED: Final = 34
_TAILS: Final = tuple(f"{tail:02x}" for tail in range(256))
_NO_TAILS: Final[Iterator[str]] = iter(())


class PlainEvent(CapturedEvent):
    """An event without lane and extra, made without a call of its initialiser: 0.045 against 0.12 µs."""

    __slots__ = ()
    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        __init__ = object.__init__


def make_id() -> str:
    """A new UUIDv7: ids that sort by the time at which they were made."""
    return str(_uuid7())


def dependable(new_id: Callable[[], str] | None) -> Callable[[], str]:
    """An id maker that never fails: where ``new_id`` raises, or makes no UUID, ``make_id()`` stands in."""
    if new_id is None or new_id is make_id:
        return make_id
    return lambda: canonical(contained(new_id), Repairs()) or make_id()


class Encoder:
    """Encodes events; any number of threads may use it at once, and none waits.

    Attributes:
        origin: Says where an event is captured; may be set, and taken away with ``None``, at any time.
    """

    def __init__(
        self,
        json_default: Callable[[Any], Any] | None = None,  # Any: what JSON cannot carry, and what it can
        lifted: frozenset[str] = frozenset(),
        *,
        clock: Clock | None = None,
        monotonic: Callable[[], float] | None = None,
        new_id: Callable[[], str] | None = None,
        strict: bool = False,
        origin: Callable[[], object] | None = None,
    ) -> None:
        """Make an encoder.

        Args:
            json_default: Asked first for values that JSON cannot carry; it raises ``TypeError`` for what it does not
                know. ``None``: the built-in answers alone.
            lifted: Names of properties that are kept beside the envelope, each encoded by itself.
            clock: Where the wall clock is read, once per event. ``None``: the clock of this process.
            monotonic: Where the loop clock is read, once per event, from any thread. ``None``: that of ``clock``.
            new_id: Makes ids. ``None``: ``make_id()``.
            strict: Refuse what would otherwise be repaired.
            origin: Says where an event is captured, on the thread that captures it; kept with the event unless it is
                ``None``, or the call raises. ``None``: nobody asks.
        """
        clock = clock or Clock()
        self._json_default = json_default
        self._lifted = lifted
        # Called by its own name, so that a frozen one is found, and without the layer of Clock: 0.06 µs.
        self._is_system_clock = type(clock).time is Clock.time
        self._clock = clock
        self._monotonic = monotonic or clock.reader(None)
        self._new_id = None if new_id is make_id else new_id
        self._is_bare = self._new_id is None and not lifted
        self._strict = strict
        self.origin = origin
        # The last stamp: its bounds on the wall clock, on the loop clock, its text, and for the ids of its events what
        # they share and an iterator over the rest; one tuple, so that each thread sees what belongs together.
        self._stamp: tuple[float, float, float, float, str, str, Iterator[str]] = (
            math.nan, math.nan, math.nan, math.nan, "", "", _NO_TAILS
        )  # fmt: skip
        self._repaired: dict[int, int] = {}  # events by thread; each thread writes its own number only

    @property
    def repaired(self) -> int:
        """Events in which something was replaced so that they could be sent."""
        return sum(list(self._repaired.values()))

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Stamp moments on the clock of ``loop`` from now on."""
        self._monotonic = self._clock.reader(loop)

    def encode_plain(self, event: object, distinct_id: object, properties: object) -> PlainEvent | None:
        """Encode an event of plain types, as nearly all are; ``None``: it is none, and ``encode()`` looks with care."""
        wall = time.time() if self._is_system_clock else self._clock.time()
        monotonic = self._monotonic  # by itself: Python 3.11 is slow to call what an attribute holds, 0.03 µs
        now = monotonic()
        since, until, moment, moment_until, stamp, shared, tails = self._stamp
        if since <= wall < until and moment <= now < moment_until:
            try:
                uuid = shared + next(tails)
            except StopIteration:
                uuid = self._count_on()
        else:
            moment, stamp, uuid = now, format_stamp(wall), str(_uuid7())
            self._stamp = (wall, wall + STAMP_LIFE, now, now + STAMP_LIFE, stamp, "", _NO_TAILS)
        try:
            if (
                type(event) is str
                and event
                and (type(distinct_id) is str or distinct_id is None)
                and (type(properties) is dict or properties is None)
                and (self._is_bare or (self._new_id is None and self._lifted.isdisjoint(properties or ())))
            ):
                envelope = {
                    "uuid": uuid,
                    "timestamp": stamp,
                    "distinct_id": distinct_id,
                    "event": event,
                    "properties": properties or {},
                }
                # The slice drops the closing braces, and with them the 4 KiB that orjson's own result holds on to.
                data = _dumps(envelope, None, NATIVE)[:-2]
                captured: PlainEvent = PlainEvent()
                captured.name = event
                captured.data = data
                captured.lane = captured.extra = captured.settlement = None
                captured.captured_at = moment
                ask = self.origin  # once: another thread may take it away meanwhile
                if ask is not None:
                    captured.origin = ask()  # where it fails, the event is looked at again, with care
                return captured
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001, S110 - something odd in the event; it is looked at again, with care
            pass
        return None

    def encode(
        self,
        event: object,
        distinct_id: object,
        properties: object,
        timestamp: object,
        uuid: object,
        headers: object,
        key: object,
        lane: object,
    ) -> CapturedEvent:
        """Encode one event; the arguments are those of ``capture()``, of any type.

        NaN and infinities become null, which is not counted as a repair.

        Raises:
            InvalidEventError: The event has no name, its properties are not a mapping that can be read, or they are
                too large to be repaired in time; in strict mode also whatever would be repaired.
        """
        if timestamp is uuid is headers is key is None and (lane is None or (type(lane) is str and lane.isascii())):
            plain = self.encode_plain(event, distinct_id, properties)
            if plain is not None:
                plain.lane = lane
                return plain
        moment = self._monotonic()
        repairs = Repairs(self._strict)
        members, lifted = self._properties(properties, repairs)
        cared: dict[str, object] = {
            "uuid": self._id(uuid, repairs),
            "timestamp": timestamp_text(timestamp, repairs) or format_stamp(self._clock.time()),
            "distinct_id": identifier(distinct_id, "distinct_id", repairs),
            "event": (name := name_of(event, repairs)),
            "properties": members,
        }
        kept_headers = snapshot(headers, repairs)
        kept_key = identifier(key, "key", repairs)
        kept_lane = identifier(lane, "lane", repairs)
        extra = Extra(kept_headers, kept_key, lifted) if kept_headers or kept_key or lifted else None
        if repairs.count:
            thread = threading.get_ident()
            self._repaired[thread] = self._repaired.get(thread, 0) + 1
        captured = CapturedEvent(name, _dumps(cared)[:-2], kept_lane, extra, moment)
        self._keep_origin(captured)
        return captured

    def _keep_origin(self, captured: CapturedEvent) -> None:
        ask = self.origin  # once, as above
        if ask is not None:
            origin = contained(ask)
            captured.origin = None if type(origin) is Failed else origin

    def _count_on(self) -> str:
        """Make an id from which the next ones of this stamp count on, in its last two digits.

        A new one for each event costs 0.3 µs more. No two are alike: the digits before are one UUIDv7's alone, and of
        several threads each takes its own tail from the iterator.

        Source: RFC 9562 section 6.2, method 2.
        """
        uuid = make_id()
        tails = iter(_TAILS[int(uuid[_SHARED:], 16) + 1 :])
        self._stamp = (*self._stamp[:5], uuid[:_SHARED], tails)
        return uuid

    def _id(self, given: object, repairs: Repairs) -> str:
        made = canonical(given, repairs) if given is not None else None
        if made is None and self._new_id is not None:
            made = canonical(contained(self._new_id), repairs)
        if made is None:
            made = make_id()
            self._stamp = (*self._stamp[:5], "", _NO_TAILS)  # what is counted on from now sorts behind this one
        return made

    def _properties(self, given: Any, repairs: Repairs) -> tuple[orjson.Fragment, dict[str, bytes] | None]:
        """The encoded properties, and the lifted ones apart from them."""
        if given is None:
            return _NO_PROPERTIES, None
        split: object = None
        if type(given) is dict:
            split = contained(self._split, given.copy() if self._lifted else given)
        if type(split) is not tuple:
            members = given if type(given) is dict else pairs(given, "properties")
            made, _ = repair(members, self._json_default, repairs)
            split = contained(self._split, made) if type(made) is dict else None
        if type(split) is not tuple:
            raise InvalidEventError("properties changed while they were read", path="properties")
        return split

    def _split(self, members: dict[str, Any]) -> tuple[orjson.Fragment, dict[str, bytes] | None]:
        """Take the lifted properties out of ``members``, and encode all."""
        lifted = {name: _dumps(members.pop(name), None, NATIVE) for name in self._lifted if name in members}
        return orjson.Fragment(_dumps(members, None, NATIVE)), lifted or None
