"""Typed events: a class for each kind of event, which says what it is called and what is known of it."""

from __future__ import annotations

from typing import Any, ClassVar, Final, Self, Unpack

from pydantic import BaseModel, ConfigDict, model_validator

VERSION_PROPERTY: Final = "event_version"
"""The property that a version travels in."""

CHECKED: Final = "__eventpipe_checked__"
"""The attribute that says of an instance that it came through validation."""

_FIXED: Final[ConfigDict] = {"extra": "forbid", "frozen": True}


class EventModel(BaseModel):
    """A kind of event: a pydantic model whose fields are the properties.

    ``class SignedUp(EventModel): plan: str`` is the event ``signed_up``; ``capture(SignedUp(plan="pro"), …)`` captures
    one. ``class SignedUp(EventModel, name="signed_up", version=2)`` says both itself; neither is inherited. What
    ``model_dump(mode="json", by_alias=True)`` makes of it is sent, which is what its JSON schema describes.

    Its ``repr`` has no values: they are about people, and get into logs. Neither has what a client says of one that it
    drops; the text of a ``ValidationError`` has the keys of mappings, the tags of unions, and names that are no field.

    Attributes:
        __event_name__: What the event is called: as the class says, else the name of the class in snake case.
        __event_version__: The version of its properties; ``None``: none is sent.
    """

    # Set on whatever came through validation. A copy loses it, and is looked at again when it is captured.
    __slots__ = (CHECKED,)

    # No number is one that JSON cannot carry; one inside another model is looked at when the event is captured.
    model_config = ConfigDict(
        **_FIXED,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        defer_build=True,  # of this class alone, see below
    )

    __event_name__: ClassVar[str] = ""
    __event_version__: ClassVar[int | None] = None

    def __init_subclass__(
        cls, *, name: str | None = None, version: int | None = None, **config: Unpack[ConfigDict]
    ) -> None:
        """Take what the class says of the event.

        Args:
            name: What the event is called. ``None``: the name of the class in snake case.
            version: The version of its properties, from 1. ``None``: none is sent.
            config: As for any pydantic model; ``extra`` and ``frozen`` are fixed.

        Raises:
            TypeError: The name is no text, or the version no whole number.
            ValueError: The name is empty, the version is below 1, a field is called as the version's property, or a
                fixed part of the configuration is changed.
        """
        super().__init_subclass__(**config)

    @classmethod
    def __pydantic_init_subclass__(
        cls, *, name: object = None, version: object = None, **config: Any
    ) -> None:  # Any: pydantic's
        super().__pydantic_init_subclass__(**config)
        origin = cls.__pydantic_generic_metadata__["origin"]
        if origin is not None and issubclass(origin, EventModel):  # Paid[int] is the event that Paid is
            cls.__event_name__, cls.__event_version__ = origin.__event_name__, origin.__event_version__
            return
        cls.__event_name__ = _checked_name(cls, name)
        cls.__event_version__ = _checked_version(cls, version)
        for option, fixed in _FIXED.items():
            if cls.model_config.get(option) != fixed:
                raise ValueError(f"{option} of {cls.__name__} must be {fixed!r}, as it is for every event")
        if cls.__event_version__ is not None and VERSION_PROPERTY in _property_names(cls):
            raise ValueError(
                f"{cls.__name__} must not have a property {VERSION_PROPERTY!r} of its own: "
                f"version={cls.__event_version__} travels in it; call the field something else"
            )

    @model_validator(mode="after")
    def _mark_as_checked(self) -> Self:
        object.__setattr__(self, CHECKED, True)
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.__event_name__!r}>"

    __str__ = __repr__


# Importing the package does not pay for building a model, which loads the plugins of pydantic; making an event does.
EventModel.model_config["defer_build"] = False


def _checked_name(model: type[EventModel], name: object) -> str:
    if name is None:
        name = snake_case(model.__name__)
    if not isinstance(name, str):
        raise TypeError(f"name of {model.__name__} must be a text, not a value of type {type(name).__name__}")
    if not name.strip():
        raise ValueError(f"name of {model.__name__} must not be empty; leave it out to have it made of the class's")
    return name


def _checked_version(model: type[EventModel], version: object) -> int | None:
    if version is None:
        return None
    if not isinstance(version, int) or isinstance(version, bool):
        kind = type(version).__name__
        raise TypeError(f"version of {model.__name__} must be a whole number, not a value of type {kind}")
    if version < 1:
        raise ValueError(f"version of {model.__name__} must be at least 1, not {version}; leave it out to send none")
    return version


def _property_names(model: type[EventModel]) -> set[str]:
    """What its properties are called, and its fields."""
    fields = model.model_fields.items()
    computed = model.model_computed_fields.items()
    aliases = {field.serialization_alias or name for name, field in fields}
    return {name for name, _ in fields} | aliases | {field.alias or name for name, field in computed}


def snake_case(name: str) -> str:
    """``SignedUp`` as ``signed_up``, ``HTTPError`` as ``http_error``, ``V2Plan`` as ``v2_plan``."""
    made = ""
    for before, letter, after in zip(" " + name, name, name[1:] + " ", strict=False):
        is_first = letter.isupper() and ((before.isupper() and after.islower()) or before.islower() or before.isdigit())
        made += "_" * is_first + letter
    return made.strip("_").lower()
