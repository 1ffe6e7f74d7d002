"""What a test expects of an event, and in what one that was captured differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import TYPE_CHECKING, TypeAlias

from pydantic import BaseModel

from eventpipe.checked import shown
from eventpipe.encoding import Encoder
from eventpipe.errors import InvalidEventError
from eventpipe.models import VERSION_PROPERTY, EventModel

if TYPE_CHECKING:
    from eventpipe.testing.captured import SeenEvent

What: TypeAlias = str | EventModel | type[EventModel]

# Refuses what it would have to repair: a value that cannot travel is equal to none that did.
_encoder = Encoder(strict=True)


class Expected:
    """A name, and as much of the rest as a test cares about.

    Attributes:
        name: The event's name.
    """

    def __init__(
        self, what: What, *, distinct_id: object = ..., properties: Mapping[str, object] | None = None
    ) -> None:
        """Read what the test was written to expect.

        Args:
            what: A name, a class of ``EventModel``, or one of its instances, with all its properties.
            distinct_id: Whom the event is about. ``...``: whoever it is.
            properties: Those that the event must have, beside any others. ``None`` means none.

        Raises:
            TypeError: ``what`` is something else.
        """
        self.name, own = _read(what)
        self._distinct_id = distinct_id
        self._properties = {**own, **(properties or {})}

    def differences(self, event: SeenEvent) -> list[str]:
        """In what ``event``, which has the name, is not as expected: a line each; none when it is."""
        lines = []
        if not isinstance(self._distinct_id, EllipsisType) and not _is_same_person(
            self._distinct_id, event.distinct_id
        ):
            lines.append(f"distinct_id: {event.distinct_id!r}, expected {self._distinct_id!r}")
        for name, expected in self._properties.items():
            if name not in event.properties:
                lines.append(f"{name}: not there, expected {expected!r}")
            elif not matches(expected, event.properties[name]):
                lines.append(f"{name}: {event.properties[name]!r}, expected {expected!r}")
        return lines

    def __str__(self) -> str:
        wanted = {} if isinstance(self._distinct_id, EllipsisType) else {"distinct_id": self._distinct_id}
        wanted.update(self._properties)
        values = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
        return f"{self.name!r}" + (f" with {values}" if values else "")


def matches(expected: object, actual: object) -> bool:
    """Whether ``actual``, read from JSON, is what ``expected`` becomes on its way.

    An object that says of itself what it is equal to, such as ``unittest.mock.ANY``, is asked, in the depth as well.
    """
    if isinstance(expected, Mapping) and isinstance(actual, dict):
        if {*map(str, expected)} == {*actual}:
            return all(matches(value, actual[str(name)]) for name, value in expected.items())
    elif isinstance(expected, list | tuple) and isinstance(actual, list):
        return len(expected) == len(actual) and all(map(matches, expected, actual))
    if isinstance(actual, bool) != isinstance(expected, bool) and isinstance(expected, int | float):
        return False  # in Python 1 is True, in JSON it is not
    if expected == actual:
        return True
    try:
        travelled = _encoder.encode("expected", None, {"value": expected}, None, None, None, None, None)
    except InvalidEventError:
        return False
    return _is_equal_json(travelled.properties["value"], actual)


def _is_equal_json(one: object, other: object) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _is_same_person(expected: object, actual: str | None) -> bool:
    if expected == actual:
        return True
    try:
        return _encoder.encode("expected", expected, None, None, None, None, None, None).distinct_id == actual
    except InvalidEventError:
        return False


def _read(what: object) -> tuple[str, Mapping[str, object]]:
    """A name, and the properties that come with it."""
    if isinstance(what, str):
        return what, {}
    if isinstance(what, type) and issubclass(what, EventModel):
        return what.__event_name__, {}
    if isinstance(what, EventModel):
        version = {} if what.__event_version__ is None else {VERSION_PROPERTY: what.__event_version__}
        return what.__event_name__, {**BaseModel.model_dump(what, mode="json", by_alias=True), **version}
    raise TypeError(f"what must be an event's name, a class of EventModel or one of its instances, not {shown(what)}")
