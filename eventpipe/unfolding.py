"""What is in a typed event: its name and its properties, or why it cannot be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import isfinite
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from eventpipe.errors import InvalidEventError
from eventpipe.models import CHECKED, VERSION_PROPERTY, EventModel

PROPERTIES: Final = "properties"
"""The path of whatever is wrong with a model."""

_MAX_FAULTS: Final = 5  # fields that one message names
_ODD_KEYS: Final = ("extra_forbidden", "invalid_key")


class Unfit(str):
    """The name of an event whose model cannot be sent; whoever captures it is told why.

    Attributes:
        error: Why.
    """

    error: InvalidEventError


def unfolded(event: object, properties: object) -> tuple[str, dict[str, Any] | None] | None:  # Any: JSON
    """Make a name and properties of a model, or of its class and the properties to be validated.

    Args:
        event: What a caller gave as the event.
        properties: What it gave as properties.

    Returns:
        ``None`` where ``event`` is neither; a name that is ``Unfit`` where it cannot be sent.
    """
    kind = type(event)
    if _is_model(kind):
        return _read(kind, _dumped, event, properties)
    if issubclass(kind, type) and _is_model(event):  # type: ignore[arg-type]  # as it is a class
        return _read(event, _validated, event, properties)
    return None


# Asked of the class itself, beneath what its metaclass says of it: that is the user's code, which may raise.
_is_model: Final = partial(type.__subclasscheck__, EventModel)

_Members = dict[str, Any] | InvalidEventError  # Any: JSON


def _read(
    model: Any,  # Any: of a type that _is_model() found out, as is what is read
    read: Callable[[Any, object], _Members],
    event: object,
    properties: object,
) -> tuple[str, dict[str, Any] | None]:
    """Call ``read``, which calls validators and serializers of the user; nothing that they raise gets further."""
    name: str = model.__event_name__
    version: int | None = model.__event_version__
    try:
        try:
            members = read(event, properties)
        except ValidationError as error:
            members = _invalid(error, model)
        except PydanticSerializationError as error:
            if error.__cause__ is not None:  # what a serializer raised, whatever that was
                raise error.__cause__ from None
            members = _unwritten(error, model)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001  # a model costs itself, nobody else
        members = InvalidEventError(f"{model.__name__} raised {type(error).__name__} when it was read", path=PROPERTIES)
    if type(members) is dict:
        return name, members if version is None else {**members, VERSION_PROPERTY: version}
    unfit = Unfit(name)
    unfit.error = members  # type: ignore[assignment]  # as it is no dictionary
    return unfit, None


def _validated(model: type[EventModel], properties: object) -> _Members:
    if properties is not None and not issubclass(type(properties), Mapping):
        return InvalidEventError(
            f"properties of {model.__name__} must be a mapping, not a value of type {type(properties).__name__}",
            path=PROPERTIES,
        )
    members: Any = properties or {}  # Any: a mapping of anything
    return _dumped(model.model_validate(dict(members)), None)


def _dumped(event: EventModel, properties: object) -> _Members:
    model = type(event)
    if properties is not None:
        return InvalidEventError(
            f"properties must be None beside an instance of {model.__name__}, which has them all; "
            f"give them to {model.__name__}(...), or what is no field to a scope",
            path=PROPERTIES,
        )
    if not hasattr(event, CHECKED):
        # By names, not by aliases, as an instance holds them. What comes of it is not sent: a validator that changes
        # a value would have changed it twice.
        held = {name: event.__dict__[name] for name in model.model_fields if name in event.__dict__}
        model.__pydantic_validator__.validate_python(held, by_alias=False, by_name=True)
    # Not by event.model_dump(), which the model may override: its schema tells of this one. It takes 1 µs less as well.
    members: object = model.__pydantic_serializer__.to_python(event, mode="json", by_alias=True, warnings="error")
    if type(members) is not dict:
        return InvalidEventError(
            f"{model.__name__} is written as a value of type {type(members).__name__}, not as an object",
            path=PROPERTIES,
        )
    if not model.model_config.get("allow_inf_nan") and not _is_finite(members.values()):
        return InvalidEventError(f"{model.__name__} holds a number that is not finite", path=PROPERTIES)
    return members


def _is_finite(values: Iterable[Any]) -> bool:  # Any: JSON
    """Whether every number is one of JSON's: models inside have rules of their own, and defaults are not validated."""
    for value in values:
        kind = type(value)
        if kind is float:
            if not isfinite(value):
                return False
        elif (kind is dict and not _is_finite(value.values())) or (kind is list and not _is_finite(value)):
            return False
    return True


def _invalid(error: ValidationError, model: type[EventModel]) -> InvalidEventError:
    """The fields that do not validate, each with the type of its error, and never a value."""
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        field, *within = fault["loc"] or ("it as a whole",)
        if not within and fault["type"] in _ODD_KEYS:  # the name of what is no field
            field = "a property that is no field"
        # Where within a field may be the key of a mapping.
        faults[f"{field}, within" if within else str(field)] = fault["type"]
    texts = [f"{field} ({kind})" for field, kind in faults.items()]
    more = f" and {len(texts) - _MAX_FAULTS} more" if len(texts) > _MAX_FAULTS else ""
    return InvalidEventError(
        f"{model.__name__} does not validate: {'; '.join(texts[:_MAX_FAULTS])}{more}", path=PROPERTIES
    )


def _unwritten(error: PydanticSerializationError, model: type[EventModel]) -> InvalidEventError:
    """The fields that hold what is not of their type, if pydantic names them; it tells of the value as well."""
    told = str(error)
    fields = [name for name in model.model_fields if f"[field_name='{name}'," in told]
    which = ", ".join(fields) or "a field"
    return InvalidEventError(f"{model.__name__} holds in {which} what is not of its type", path=PROPERTIES)
